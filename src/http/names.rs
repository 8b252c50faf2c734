//! Names to addresses: IP literals at once, everything else by the system's resolver, behind a cache.
//!
//! The system's resolver cannot be interrupted, so each lookup runs on a short-lived `http-lookup` thread of its
//! own; callers wait for it only as long as they have time. Callers of one name share one lookup, and no more than a
//! fixed number runs at once, however many hang. An answer that was good once is kept for when the name server is
//! away. Knows neither HTTP nor sockets.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::http::error::system_words;
use crate::http::local_names::{self, is_local};
use crate::mdns::Link;

/// A new connection asks again after this; the system's resolver does not tell how long an answer is good.
const FRESH_FOR: Duration = Duration::from_secs(30);

/// A failure is the answer for all who ask within this: thousands of targets may have one name, and a name that
/// comes back is not to be missed.
const FAILURE_GOOD_FOR: Duration = Duration::from_secs(1);

/// Where the name server stands that Go names in its errors.
const RESOLV_CONF: &str = "/etc/resolv.conf";

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
    /// When `addresses` came.
    answered_at: Option<Instant>,
    /// A connection to `addresses` failed since.
    is_doubted: bool,
    failed_at: Option<Instant>,
    last_failure: String,
    n_answers: u64,
    is_being_looked_up: bool,
}

impl Names {
    /// A cache over the link, for names under `.local`, and the system's resolver.
    pub(in crate::http) fn system() -> Arc<Self> {
        Self::over(ask)
    }

    /// A cache over another one.
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
            if name.n_answers > n_answers_before || name.has_just_failed(now) {
                // A lookup ended after this call began, or shortly before, and it failed.
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
            name.is_doubted = true;
        }
    }

    /// Whether `host` still leads to `address`, by an answer that came after `since`; without one, `None`, and a
    /// lookup is begun that nobody waits for.
    pub(in crate::http) fn still_leads_to(
        self: &Arc<Self>,
        host: &str,
        address: IpAddr,
        since: Instant,
    ) -> Option<bool> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let has_slot = state.n_lookups < MAX_LOOKUPS;
        let name = state.names.entry(host.into()).or_default();
        if name.answered_at.is_some_and(|answered_at| answered_at > since) {
            return Some(name.addresses.contains(&address));
        }
        if has_slot && !name.is_being_looked_up && !name.has_just_failed(now) {
            name.is_being_looked_up = true;
            state.n_lookups += 1;
            drop(state);
            self.start_lookup(host);
        }
        None
    }

    fn start_lookup(self: &Arc<Self>, host: &str) {
        let names = Arc::clone(self);
        let owned_host = host.to_owned();
        let thread = thread::Builder::new().name("http-lookup".to_owned()).stack_size(LOOKUP_STACK_BYTES);
        let spawned = thread.spawn(move || {
            // A panic that took the thread along would leave the name "being looked up" for ever.
            let look_up = names.look_up;
            let outcome = catch_unwind(|| look_up(&owned_host));
            let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("a bug, the lookup panicked")));
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
        name.failed_at = None;
        let failure = match outcome {
            Ok(addresses) if !addresses.is_empty() => {
                name.addresses = addresses;
                name.answered_at = Some(Instant::now());
                name.is_doubted = false;
                None
            }
            Ok(_) => Some(NO_SUCH_HOST.to_owned()),
            Err(error) => Some(failure_words(&error)),
        };
        if let Some(failure) = failure {
            name.last_failure = failure;
            name.failed_at = Some(Instant::now());
        }
        drop(state);
        self.answered.notify_all();
    }
}

impl State {
    fn forget_old_names(&mut self, now: Instant) {
        self.names
            .retain(|_, name| name.is_being_looked_up || name.is_fresh(now) || name.has_just_failed(now));
    }
}

impl Name {
    fn is_fresh(&self, now: Instant) -> bool {
        let is_young = |answered_at| now.saturating_duration_since(answered_at) < FRESH_FOR;
        !self.is_doubted && self.answered_at.is_some_and(is_young)
    }

    fn has_just_failed(&self, now: Instant) -> bool {
        self.failed_at.is_some_and(|failed_at| now.saturating_duration_since(failed_at) < FAILURE_GOOD_FOR)
    }

    fn old_answer(&self) -> Option<Vec<IpAddr>> {
        (!self.addresses.is_empty()).then(|| self.addresses.clone())
    }
}

/// The link knows its own names; some have such names in their name server all the same.
fn ask(host: &str) -> io::Result<Vec<IpAddr>> {
    if is_local(host)
        && let Ok(addresses) = Link::open(&[]).and_then(|link| local_names::look_up(host, &link))
        && !addresses.is_empty()
    {
        return Ok(addresses);
    }
    Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
}

const NO_SUCH_HOST: &str = "no such host";

/// Go's words for a failed lookup; std wraps the C library's in a sentence of its own.
fn failure_words(error: &io::Error) -> String {
    let words = error.to_string();
    let cause = words.rsplit(": ").next().unwrap_or_default();
    let cause = system_words(&io::Error::other(cause));
    match cause.as_str() {
        // glibc and musl.
        "name or service not known"
        | "no address associated with hostname"
        | "name does not resolve"
        | "name has no usable address" => NO_SUCH_HOST.to_owned(),
        "temporary failure in name resolution" | "try again" => "server misbehaving".to_owned(),
        _ => cause,
    }
}

/// ` on 192.0.2.53:53`: the name server that failures come from, as Go names it; empty where none is known.
pub(in crate::http) fn name_server_words() -> String {
    let conf = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    first_name_server(&conf).map_or(String::new(), |address| format!(" on {}", SocketAddr::new(address, 53)))
}

fn first_name_server(conf: &str) -> Option<IpAddr> {
    conf.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse().ok()
    })
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
        let failure = LookupError::Failed("server misbehaving".to_owned());
        assert_eq!(names.addresses("other", late(), || false), Err(failure));
    }

    #[test]
    fn a_lookup_that_panics_is_a_failure_like_others() {
        static N_LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let names = Names::over(|_| match N_LOOKUPS.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("meant"),
            _ => Ok(vec![IpAddr::from([10, 0, 0, 1])]),
        });
        let failure = Err(LookupError::Failed("a bug, the lookup panicked".to_owned()));
        assert_eq!(names.addresses("box", late(), || false), failure);
        let start = Instant::now();
        while names.addresses("box", late(), || false).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "never again");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_failure_is_short_lived() {
        static N_LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let names = Names::over(|_| match N_LOOKUPS.fetch_add(1, Ordering::SeqCst) {
            0 => Err(io::Error::other("Name or service not known")),
            _ => Ok(vec![IpAddr::from([10, 0, 0, 1])]),
        });
        let failure = Err(LookupError::Failed(NO_SUCH_HOST.to_owned()));
        for _ in 0..100 {
            assert_eq!(names.addresses("box", late(), || false), failure);
        }
        assert_eq!(N_LOOKUPS.load(Ordering::SeqCst), 1);
        let start = Instant::now();
        while names.addresses("box", late(), || false).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "still the old failure");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_name_that_moved_is_noticed_by_who_is_still_connected() {
        static HAS_MOVED: AtomicBool = AtomicBool::new(false);
        let (before, after) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let names = Names::over(|_| match HAS_MOVED.load(Ordering::SeqCst) {
            true => Ok(vec![IpAddr::from([10, 0, 0, 2]), IpAddr::from([10, 0, 0, 3])]),
            false => Ok(vec![IpAddr::from([10, 0, 0, 1])]),
        });
        let answer_since = |since| {
            let start = Instant::now();
            loop {
                // Never waits itself.
                match names.still_leads_to("box", before, since) {
                    Some(answer) => return answer,
                    None => thread::sleep(Duration::from_millis(1)),
                }
                assert!(start.elapsed() < Duration::from_secs(30), "no answer");
            }
        };
        let connected_at = Instant::now();
        assert!(answer_since(connected_at));
        HAS_MOVED.store(true, Ordering::SeqCst);
        assert!(answer_since(connected_at), "by the answer of before");
        assert!(!answer_since(Instant::now()));
        assert_eq!(names.still_leads_to("box", after, connected_at), Some(true));
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
        let conf = "# nameserver 10.0.0.1\noptions ndots:5\nnameserver fd00::53\nnameserver 10.0.0.2\n";
        assert_eq!(first_name_server(conf), "fd00::53".parse().ok());
        assert_eq!(first_name_server("search box\n"), None);
    }
}
