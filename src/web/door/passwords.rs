//! Whether a password is right: by memory, or by a thread that computes bcrypt. The `web` thread never does.
//!
//! What was checked is remembered by a keyed hash, right passwords apart from wrong ones, so that a flood of wrong ones
//! makes no right one be checked again.

use crate::config::web::password_hash::PasswordHash;
use crate::web::serve::reply::{Fingerprint, Verdict};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use ring::hmac;
use ring::rand::SystemRandom;
use scraped_engine::threads::ThreadKind;
use scraped_engine::threads::stop::{Stopper, stop_pair};
use std::collections::VecDeque;
use std::io;

/// Computes; the tables of bcrypt take 4 KiB of it.
const THREAD: ThreadKind = ThreadKind { name: "web-password", stack_bytes: 64 << 10 };
/// Checks that may wait; whoever comes then is to come again.
const MAX_WAITING: usize = 32;
/// One verdict; its reader may be gone.
const VERDICT_CAPACITY: usize = 1;
/// Passwords that are remembered, of each verdict.
const MAX_REMEMBERED: usize = 100;
/// Scraping goes first.
const NICENESS: i32 = 10;

/// Passwords that were checked, and the thread that checks others.
#[derive(Debug)]
pub(super) struct Passwords {
    key: hmac::Key,
    right: VecDeque<Fingerprint>,
    wrong: VecDeque<Fingerprint>,
    /// `None`: no password was checked yet.
    checker: Option<Checker>,
}

/// The thread that checks. When this is dropped, it ends behind the check that it is at.
#[derive(Debug)]
struct Checker {
    checks: Sender<Check>,
    _stopper: Stopper,
}

/// Who somebody says to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    pub(super) user: &'a [u8],
    pub(super) password: &'a [u8],
    /// The user's, or one that no password fits.
    pub(super) hash: &'a PasswordHash,
}

/// What is known of a claim.
#[derive(Debug)]
pub(super) enum Finding {
    Right,
    Wrong,
    /// It is being found out.
    Checking(Receiver<Verdict>),
    /// Too many wait to be checked.
    Busy,
}

struct Check {
    fingerprint: Fingerprint,
    password: Vec<u8>,
    hash: PasswordHash,
    verdict: Sender<Verdict>,
}

impl Passwords {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub(super) fn new() -> io::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| io::Error::other("the system has no random numbers"))?;
        Ok(Self { key, right: VecDeque::new(), wrong: VecDeque::new(), checker: None })
    }

    /// What is known of a claim; what is not is checked.
    pub(super) fn look_up(&mut self, claim: &Claim<'_>) -> Finding {
        let fingerprint = self.fingerprint(claim);
        if self.right.contains(&fingerprint) {
            return Finding::Right;
        }
        if self.wrong.contains(&fingerprint) {
            return Finding::Wrong;
        }
        let checker = match &self.checker {
            Some(checker) => checker,
            None => match start() {
                Ok(checker) => self.checker.insert(checker),
                Err(err) => {
                    log::warn!("cannot start a thread that checks passwords: {err}");
                    return Finding::Busy;
                }
            },
        };
        let (verdict, verdicts) = bounded(VERDICT_CAPACITY);
        let check = Check { fingerprint, password: claim.password.to_vec(), hash: *claim.hash, verdict };
        match checker.checks.try_send(check) {
            Ok(()) => Finding::Checking(verdicts),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Finding::Busy,
        }
    }

    /// Remembers what a check came to.
    pub(super) fn remember(&mut self, Verdict { fingerprint, is_right }: Verdict) {
        let list = if is_right { &mut self.right } else { &mut self.wrong };
        if !list.contains(&fingerprint) {
            list.truncate(MAX_REMEMBERED - 1);
            list.push_front(fingerprint);
        }
    }

    /// Of user, hash and password; without the key no one finds the password in it.
    fn fingerprint(&self, claim: &Claim<'_>) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [claim.user, &claim.hash.identity(), claim.password] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }
}

fn start() -> io::Result<Checker> {
    let (checks, to_check) = bounded::<Check>(MAX_WAITING);
    let (stopper, stop) = stop_pair();
    THREAD.spawn_restarting("", stop, move || {
        let _ = rustix::process::nice(NICENESS);
        for Check { fingerprint, password, hash, verdict } in &to_check {
            // Whoever asked may be gone.
            let _ = verdict.send(Verdict { fingerprint, is_right: hash.is_of(&password) });
        }
    })?;
    Ok(Checker { checks, _stopper: stopper })
}

#[cfg(test)]
mod tests {
    use super::{Claim, Finding, MAX_REMEMBERED, MAX_WAITING, Passwords, Verdict};
    use crate::config::web::password_hash::PasswordHash;

    const HASH: &str = "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe";

    #[test]
    fn a_flood_of_wrong_passwords_forgets_no_right_one() {
        let hash = PasswordHash::parse(HASH).unwrap();
        let mut passwords = Passwords::new().unwrap();
        fn claim<'a>(password: &'a [u8], hash: &'a PasswordHash) -> Claim<'a> {
            Claim { user: b"eve", password, hash }
        }
        let Finding::Checking(verdicts) = passwords.look_up(&claim(b"a", &hash)) else {
            panic!("not checked")
        };
        let verdict = verdicts.recv().unwrap();
        assert!(verdict.is_right);
        passwords.remember(verdict);
        for number in 0..2 * MAX_REMEMBERED {
            let password = number.to_string();
            let fingerprint = passwords.fingerprint(&claim(password.as_bytes(), &hash));
            passwords.remember(Verdict { fingerprint, is_right: false });
        }
        assert!(matches!(passwords.look_up(&claim(b"a", &hash)), Finding::Right));
        assert!(matches!(passwords.look_up(&claim(b"199", &hash)), Finding::Wrong));
        assert!(matches!(passwords.look_up(&claim(b"0", &hash)), Finding::Checking(_)));
        assert_eq!(passwords.wrong.len(), MAX_REMEMBERED);
    }

    #[test]
    fn no_more_than_a_few_wait() {
        // A check takes seconds: none of them ends while others are sent.
        let hash = PasswordHash::parse(&HASH.replace("$06$", "$15$")).unwrap();
        let mut passwords = Passwords::new().unwrap();
        let mut findings = Vec::new();
        for number in 0..2 * MAX_WAITING {
            let password = number.to_string();
            findings.push(passwords.look_up(&Claim {
                user: b"eve",
                password: password.as_bytes(),
                hash: &hash,
            }));
        }
        let n_busy = findings.iter().filter(|finding| matches!(finding, Finding::Busy)).count();
        assert!((MAX_WAITING - 1..=MAX_WAITING).contains(&n_busy), "{n_busy}");
    }
}
