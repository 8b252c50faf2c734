//! Names to addresses: IP literals at once, everything else by the system's resolver, behind a cache.
//!
//! The system's resolver cannot be interrupted, so each lookup runs on a short-lived `http-lookup` thread of its
//! own; callers wait for it only as long as they have time. Callers of one name share one lookup, and no more than a
//! fixed number runs at once, however many hang. An answer that was good once is kept for when the name server is
//! away. Knows neither HTTP nor sockets.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::http::error::system_words;

/// A new connection asks again after this; the system's resolver does not tell how long an answer is good.
const FRESH_FOR: Duration = Duration::from_secs(30);

/// Lookups that run at once. A hung name server holds one thread each for as long as its resolver retries.
const MAX_LOOKUPS: usize = 16;

/// How long a caller that could use an old answer waits for a new one.
const PATIENCE_WITH_OLD_ANSWER: Duration = Duration::from_secs(2);

/// How often a waiting caller looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// Names that nobody asked for since are forgotten, looked at when this many are known.
const MANY_NAMES: usize = 1024;

/// The C library's resolver keeps packets of up to 64 KiB on the stack.
const LOOKUP_STACK_BYTES: usize = 256 << 10;

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum LookupError {
    /// The answer, in Go's words where it has them.
    Failed(String),
    /// No answer in time.
    Deadline,
    /// The caller was cancelled.
    Cancelled,
}

/// The cache; one a process, so that targets of one host share its lookups.
#[derive(Debug)]
pub(in crate::http) struct Names {
    look_up: fn(&str) -> io::Result<Vec<IpAddr>>,
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<Box<str>, Name>,
    n_lookups: usize,
}

#[derive(Debug, Default)]
struct Name {
    addresses: Vec<IpAddr>,
    /// When `addresses` came; `None` when a connection to them failed since.
    answered_at: Option<Instant>,
    last_failure: String,
    n_answers: u64,
    is_being_looked_up: bool,
}

impl Names {
    /// A cache over the system's resolver.
    pub(in crate::http) fn system() -> Arc<Self> {
        Self::over(|host| Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
    }

    /// Asks `look_up` instead of the system.
    pub(in crate::http) fn over(look_up: fn(&str) -> io::Result<Vec<IpAddr>>) -> Arc<Self> {
        Arc::new(Self { look_up, state: Mutex::default(), answered: Condvar::new() })
    }

    /// Addresses of `host`, at least one. Waits until `deadline` at most.
    pub(in crate::http) fn addresses(
        self: &Arc<Self>,
        host: &str,
        deadline: Instant,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Vec<IpAddr>, LookupError> {
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(address) = literal.parse() {
            return Ok(vec![address]);
        }
        let patience_ends = Instant::now() + PATIENCE_WITH_OLD_ANSWER;
        let mut state = self.state.lock();
        let n_answers_before = state.names.get(host).map_or(0, |name| name.n_answers);
        loop {
            let now = Instant::now();
            let has_slot = state.n_lookups < MAX_LOOKUPS;
            if state.names.len() >= MANY_NAMES && !state.names.contains_key(host) {
                state.forget_old_names(now);
            }
            let name = state.names.entry(host.into()).or_default();
            if name.is_fresh(now) {
                return Ok(name.addresses.clone());
            }
            if name.n_answers > n_answers_before {
                // A lookup ended after this call began, and it failed.
                return name.old_answer().ok_or_else(|| LookupError::Failed(name.last_failure.clone()));
            }
            if now >= deadline || now >= patience_ends {
                if let Some(addresses) = name.old_answer() {
                    return Ok(addresses);
                }
                if now >= deadline {
                    return Err(LookupError::Deadline);
                }
            }
            if is_cancelled() {
                return Err(LookupError::Cancelled);
            }
            if !name.is_being_looked_up && has_slot {
                name.is_being_looked_up = true;
                state.n_lookups += 1;
                drop(state);
                self.start_lookup(host);
                state = self.state.lock();
                continue;
            }
            let wake_at = deadline.min(now + CANCEL_POLL);
            self.answered.wait_until(&mut state, wake_at);
        }
    }

    /// A connection to an address of `host` failed: the next caller asks anew.
    pub(in crate::http) fn doubt(&self, host: &str) {
        if let Some(name) = self.state.lock().names.get_mut(host) {
            name.answered_at = None;
        }
    }

    fn start_lookup(self: &Arc<Self>, host: &str) {
        let names = Arc::clone(self);
        let owned_host = host.to_owned();
        let thread = thread::Builder::new().name("http-lookup".to_owned()).stack_size(LOOKUP_STACK_BYTES);
        let spawned = thread.spawn(move || {
            let outcome = (names.look_up)(&owned_host);
            names.take_answer(&owned_host, outcome);
        });
        if let Err(error) = spawned {
            self.take_answer(host, Err(error));
        }
    }

    fn take_answer(&self, host: &str, outcome: io::Result<Vec<IpAddr>>) {
        let mut state = self.state.lock();
        state.n_lookups -= 1;
        let name = state.names.entry(host.into()).or_default();
        name.is_being_looked_up = false;
        name.n_answers += 1;
        match outcome {
            Ok(addresses) if !addresses.is_empty() => {
                name.addresses = addresses;
                name.answered_at = Some(Instant::now());
            }
            Ok(_) => name.last_failure = "no such host".to_owned(),
            Err(error) => name.last_failure = failure_words(&error),
        }
        drop(state);
        self.answered.notify_all();
    }
}

impl State {
    fn forget_old_names(&mut self, now: Instant) {
        self.names.retain(|_, name| name.is_being_looked_up || name.is_fresh(now));
    }
}

impl Name {
    fn is_fresh(&self, now: Instant) -> bool {
        self.answered_at.is_some_and(|answered_at| now.duration_since(answered_at) < FRESH_FOR)
    }

    fn old_answer(&self) -> Option<Vec<IpAddr>> {
        (!self.addresses.is_empty()).then(|| self.addresses.clone())
    }
}

/// Go's words for a failed lookup; std wraps the C library's in a sentence of its own.
fn failure_words(error: &io::Error) -> String {
    let words = system_words(error);
    let cause = words.rsplit(": ").next().unwrap_or_default();
    match cause {
        // glibc and musl.
        "Name or service not known"
        | "No address associated with hostname"
        | "Name does not resolve"
        | "Name has no usable address" => "no such host".to_owned(),
        _ => system_words(&io::Error::other(cause)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn literals_need_no_lookup() {
        let names = Names::over(|_| panic!("looked up"));
        for (host, address) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1")] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(names.addresses(host, soon(), || false), Ok(vec![address]));
        }
    }

    #[test]
    fn callers_of_one_name_share_a_lookup_until_its_answer_is_doubted() {
        static N_LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let names = Names::over(|_| {
            N_LOOKUPS.fetch_add(1, Ordering::SeqCst);
            Ok(vec![IpAddr::from([10, 0, 0, 1])])
        });
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| names.addresses("box", late(), || false).expect("answered"));
            }
        });
        assert_eq!(N_LOOKUPS.load(Ordering::SeqCst), 1);
        names.doubt("box");
        names.addresses("box", late(), || false).expect("answered");
        assert_eq!(N_LOOKUPS.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn an_old_answer_serves_while_the_name_server_fails() {
        static IS_AWAY: AtomicBool = AtomicBool::new(false);
        let names = Names::over(|_| match IS_AWAY.load(Ordering::SeqCst) {
            true => Err(io::Error::other("Temporary failure in name resolution")),
            false => Ok(vec![IpAddr::from([10, 0, 0, 1])]),
        });
        let answer = names.addresses("box", late(), || false);
        IS_AWAY.store(true, Ordering::SeqCst);
        names.doubt("box");
        assert_eq!(names.addresses("box", late(), || false), answer);
        let failure = LookupError::Failed("temporary failure in name resolution".to_owned());
        assert_eq!(names.addresses("other", late(), || false), Err(failure));
    }

    #[test]
    fn hung_lookups_are_bounded_in_number_and_bounded_by_the_deadline() {
        static N_THREADS: AtomicUsize = AtomicUsize::new(0);
        let names = Names::over(|_| {
            N_THREADS.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_secs(3600));
            Ok(Vec::new())
        });
        thread::scope(|scope| {
            for caller in 0..3 * MAX_LOOKUPS {
                let names = &names;
                scope.spawn(move || {
                    let outcome = names.addresses(&format!("box-{caller}"), soon(), || false);
                    assert_eq!(outcome, Err(LookupError::Deadline));
                });
            }
        });
        assert_eq!(N_THREADS.load(Ordering::SeqCst), MAX_LOOKUPS);
        assert_eq!(names.addresses("late", late(), || true), Err(LookupError::Cancelled));
    }

    #[test]
    fn the_systems_words_become_gos() {
        let sentence = "failed to lookup address information: Name or service not known";
        assert_eq!(failure_words(&io::Error::other(sentence)), "no such host");
    }
}
