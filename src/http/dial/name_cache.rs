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

use crate::http::single_flight::{Arrivals, Flight, Look, NotFetched, start};
use crate::names::address::Address;
use crate::names::resolver::{Failure, Resolver};
use scraped_engine::threads::ThreadKind;

/// A new connection asks again after this, however long the name server says that its answer is good: what moves is
/// noticed, and the hosts file says nothing of it.
const FRESH_FOR: Duration = Duration::from_secs(30);

/// Lookups that run at once. A hung name server holds one thread each until the resolver gives up.
const MAX_LOOKUPS: usize = 16;

/// How long a caller that could use an old answer waits for a new one.
const PATIENCE_WITH_OLD_ANSWER: Duration = Duration::from_secs(2);

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
    state: Arrivals<State>,
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
    lookups: Flight<Failure>,
}

impl Names {
    /// A cache over the resolver.
    pub(in crate::http) fn system() -> Arc<Self> {
        let resolver = Resolver::system();
        Self::over(Box::new(move |host| resolver.look_up(host)))
    }

    /// A cache over another one.
    pub(in crate::http) fn over(look_up: Box<LookUp>) -> Arc<Self> {
        Arc::new(Self { look_up, state: Arrivals::default() })
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
        let n_landed = self.state.lock().names.get(host).map_or(0, |name| name.lookups.n_landed());
        let look = |state: &mut State, now: Instant| {
            let has_slot = state.n_lookups < MAX_LOOKUPS;
            if state.names.len() >= MANY_NAMES && !state.names.contains_key(host) {
                state.forget_old_names(now);
            }
            let name = state.names.entry(host.into()).or_default();
            if name.is_fresh(now) {
                return Look::Done(Ok(name.addresses.clone()));
            }
            if name.lookups.answers(n_landed, now) {
                let failure = || name.lookups.failure().cloned().unwrap_or_else(Failure::no_such_host);
                return Look::Done(name.old_answer().ok_or_else(|| LookupError::Failed(failure())));
            }
            if now >= deadline || now >= patience_ends {
                if let Some(addresses) = name.old_answer() {
                    return Look::Done(Ok(addresses));
                }
                if now >= deadline {
                    return Look::Done(Err(LookupError::Deadline));
                }
            }
            if is_cancelled() {
                return Look::Done(Err(LookupError::Cancelled));
            }
            if has_slot && name.lookups.take_off() {
                state.n_lookups += 1;
                return Look::Fetch;
            }
            Look::Wait
        };
        self.state.wait(deadline, look, || self.start_lookup(host))
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
        if has_slot && !name.lookups.has_just_failed(now) && name.lookups.take_off() {
            state.n_lookups += 1;
            drop(state);
            self.start_lookup(host);
        }
        None
    }

    fn start_lookup(self: &Arc<Self>, host: &str) {
        let (names, host) = (Arc::clone(self), host.to_owned());
        let fetch = {
            let (names, host) = (Arc::clone(&names), host.clone());
            move || (names.look_up)(&host)
        };
        start(THREAD, fetch, move |outcome| names.take_answer(&host, outcome));
    }

    fn take_answer(&self, host: &str, outcome: Result<Vec<Address>, NotFetched<Failure>>) {
        let outcome = outcome.map_err(|cause| match cause {
            NotFetched::Failed(failure) => failure,
            NotFetched::Panicked(panicked) => {
                log::error!("BUG: the lookup of {host} {panicked}");
                failed("a bug, the lookup panicked")
            }
            NotFetched::NoThread(error) => failed(&format!("cannot look it up: {error}")),
        });
        self.state.land(|state, now| {
            state.n_lookups -= 1;
            let name = state.names.entry(host.into()).or_default();
            let failure = match outcome {
                Ok(addresses) if !addresses.is_empty() => {
                    name.addresses = addresses;
                    name.answered_at = Some(now);
                    name.is_doubted = false;
                    None
                }
                Ok(_) => Some(Failure::no_such_host()),
                Err(failure) => Some(failure),
            };
            name.lookups.land(failure, now);
        });
    }
}

impl State {
    fn forget_old_names(&mut self, now: Instant) {
        self.names.retain(|_, name| {
            name.lookups.is_under_way() || name.is_fresh(now) || name.lookups.has_just_failed(now)
        });
    }
}

impl Name {
    fn is_fresh(&self, now: Instant) -> bool {
        let is_young = |answered_at| now.saturating_duration_since(answered_at) < FRESH_FOR;
        !self.is_doubted && self.answered_at.is_some_and(is_young)
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
