//! Names to addresses: IP literals at once, everything else by the resolver, behind a cache.
//!
//! Each lookup runs on a short-lived `http-lookup` thread: callers of one name share it and wait only as long as they have
//! time, and an answer that comes after the last of them has left is still there for the next. No more than a fixed
//! number runs at once. An answer that was good once is kept for when the name server is away. Knows neither HTTP nor
//! sockets.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::names::address::Address;
use crate::names::resolver::{Failure, Resolver};
use scraped_engine::threads::ThreadKind;

/// A new connection asks again after this, however long the name server says that its answer is good: what moves is
/// noticed, and the hosts file says nothing of it.
const FRESH_FOR: Duration = Duration::from_secs(30);

/// A failure is the answer for all who ask within this: thousands of targets may have one name, and a name that
/// comes back is not to be missed.
const FAILURE_GOOD_FOR: Duration = Duration::from_secs(1);

/// Lookups that run at once. A hung name server holds one thread each until the resolver gives up.
const MAX_LOOKUPS: usize = 16;

/// How long a caller that could use an old answer waits for a new one.
const PATIENCE_WITH_OLD_ANSWER: Duration = Duration::from_secs(2);

/// How often a waiting caller looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// Names that no one asked for since are forgotten, looked at when this many are known.
const MANY_NAMES: usize = 1024;

/// Answers lie on the heap, but for those of the link.
const THREAD: ThreadKind = ThreadKind { name: "http-lookup", stack_bytes: 128 << 10 };

/// Why there is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) enum LookupError {
    /// The answer, in Go's words where it has them.
    Failed(Failure),
    /// No answer in time.
    Deadline,
    /// The caller was cancelled.
    Cancelled,
}

type LookUp = dyn Fn(&str) -> Result<Vec<Address>, Failure> + Send + Sync;

/// The cache; one a process, so that targets of one host share its lookups.
pub(in crate::http) struct Names {
    look_up: Box<LookUp>,
    state: Mutex<State>,
    answered: Condvar,
}

impl Debug for Names {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("state", &self.state).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<Box<str>, Name>,
    n_lookups: usize,
}

#[derive(Debug, Default)]
struct Name {
    addresses: Vec<Address>,
    /// When `addresses` came.
    answered_at: Option<Instant>,
    /// A connection to `addresses` failed since.
    is_doubted: bool,
    failed_at: Option<Instant>,
    last_failure: Option<Failure>,
    n_answers: u64,
    is_being_looked_up: bool,
}

impl Names {
    /// A cache over the resolver.
    pub(in crate::http) fn system() -> Arc<Self> {
        let resolver = Resolver::system();
        Self::over(Box::new(move |host| resolver.look_up(host)))
    }

    /// A cache over another one.
    pub(in crate::http) fn over(look_up: Box<LookUp>) -> Arc<Self> {
        Arc::new(Self { look_up, state: Mutex::default(), answered: Condvar::new() })
    }

    /// Addresses of `host`, at least one; without a host, this machine's. Waits until `deadline` at most.
    pub(in crate::http) fn addresses(
        self: &Arc<Self>,
        host: &str,
        deadline: Instant,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Vec<Address>, LookupError> {
        if host.is_empty() {
            return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into()]);
        }
        if let Some(address) = Address::parse(host) {
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
                return name.old_answer().ok_or_else(|| {
                    LookupError::Failed(name.last_failure.clone().unwrap_or_else(Failure::no_such_host))
                });
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

    /// A connection to an address of `host` failed: the next caller asks again.
    pub(in crate::http) fn doubt(&self, host: &str) {
        if let Some(name) = self.state.lock().names.get_mut(host) {
            name.is_doubted = true;
        }
    }

    /// Whether `host` still leads to `address`, by an answer that came after `since`; without one, `None`, and a
    /// lookup is begun that no one waits for.
    pub(in crate::http) fn still_leads_to(
        self: &Arc<Self>,
        host: &str,
        address: &Address,
        since: Instant,
    ) -> Option<bool> {
        let now = Instant::now();
        let mut state = self.state.lock();
        let has_slot = state.n_lookups < MAX_LOOKUPS;
        let name = state.names.entry(host.into()).or_default();
        if name.answered_at.is_some_and(|answered_at| answered_at > since) {
            return Some(name.addresses.contains(address));
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
        let spawned = THREAD.spawn_owned("", "its name stays unknown", move || {
            // A panic that took the thread along would leave the name "being looked up" for ever.
            let outcome = THREAD.catch(|| (names.look_up)(&owned_host)).unwrap_or_else(|panicked| {
                log::error!("BUG: the lookup of {owned_host} {panicked}");
                Err(failed("a bug, the lookup panicked"))
            });
            names.take_answer(&owned_host, outcome);
        });
        if let Err(error) = spawned {
            self.take_answer(host, Err(failed(&format!("cannot look it up: {error}"))));
        }
    }

    fn take_answer(&self, host: &str, outcome: Result<Vec<Address>, Failure>) {
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
            Ok(_) => Some(Failure::no_such_host()),
            Err(failure) => Some(failure),
        };
        if failure.is_some() {
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

    fn old_answer(&self) -> Option<Vec<Address>> {
        (!self.addresses.is_empty()).then(|| self.addresses.clone())
    }
}

fn failed(cause: &str) -> Failure {
    Failure { server: None, cause: cause.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::resolver::NO_SUCH_HOST;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;

    fn over(look_up: fn(&str) -> Result<Vec<Address>, Failure>) -> Arc<Names> {
        Names::over(Box::new(look_up))
    }

    fn ten(last: u8) -> Address {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(200)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn literals_need_no_lookup() {
        let names = over(|_| panic!("looked up"));
        for host in ["127.0.0.1", "::1", "fe80::1%lo"] {
            let address = Address::parse(host).expect("an address");
            assert_eq!(names.addresses(host, soon(), || false), Ok(vec![address]));
        }
        let of_this_machine = names.addresses("", soon(), || false);
        assert_eq!(of_this_machine, Ok(vec![IpAddr::from([127, 0, 0, 1]).into()]));
    }

    #[test]
    fn callers_of_one_name_share_a_lookup_until_its_answer_is_doubted() {
        static N_LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let names = over(|_| {
            N_LOOKUPS.fetch_add(1, Ordering::SeqCst);
            Ok(vec![ten(1)])
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
        let names = over(|_| match IS_AWAY.load(Ordering::SeqCst) {
            true => Err(failed("server misbehaving")),
            false => Ok(vec![ten(1)]),
        });
        let answer = names.addresses("box", late(), || false);
        IS_AWAY.store(true, Ordering::SeqCst);
        names.doubt("box");
        assert_eq!(names.addresses("box", late(), || false), answer);
        let failure = LookupError::Failed(failed("server misbehaving"));
        assert_eq!(names.addresses("other", late(), || false), Err(failure));
    }

    #[test]
    fn a_lookup_that_panics_is_a_failure_like_others() {
        static N_LOOKUPS: AtomicUsize = AtomicUsize::new(0);
        let names = over(|_| match N_LOOKUPS.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("meant"),
            _ => Ok(vec![ten(1)]),
        });
        let failure = Err(LookupError::Failed(failed("a bug, the lookup panicked")));
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
        let names = over(|_| match N_LOOKUPS.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Failure::no_such_host()),
            _ => Ok(vec![ten(1)]),
        });
        let failure = Err(LookupError::Failed(failed(NO_SUCH_HOST)));
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
        let (before, after) = (ten(1), ten(2));
        let names = over(|_| match HAS_MOVED.load(Ordering::SeqCst) {
            true => Ok(vec![ten(2), ten(3)]),
            false => Ok(vec![ten(1)]),
        });
        let answer_since = |since| {
            let start = Instant::now();
            loop {
                // Never waits itself.
                match names.still_leads_to("box", &before, since) {
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
        assert_eq!(names.still_leads_to("box", &after, connected_at), Some(true));
    }

    #[test]
    fn hung_lookups_are_bounded_in_number_and_bounded_by_the_deadline() {
        static N_THREADS: AtomicUsize = AtomicUsize::new(0);
        let names = over(|_| {
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
}
