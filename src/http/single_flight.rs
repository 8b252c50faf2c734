//! What many need and one fetches: the first caller starts a thread that asks, all of them wait for its answer as long as
//! each has time, and a failure is the answer for whoever asks within the next second.
//!
//! An answer that comes after the last caller has left is still there for the next one, so the thread has a deadline of its
//! own. A panic of it is one more failure: the next caller starts another.

use parking_lot::{Condvar, Mutex, MutexGuard};
use scraped_engine::threads::{Panicked, ThreadKind};
use std::io;
use std::time::{Duration, Instant};

/// Thousands of targets may need the same; what is there again should not be missed for long either.
const FAILURE_GOOD_FOR: Duration = Duration::from_secs(1);

/// How often a waiting caller looks whether it was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);

/// The fetches of one thing, one at a time.
#[derive(Debug)]
pub(in crate::http) struct Flight<E> {
    is_under_way: bool,
    n_landed: u64,
    /// Of the last one, if it has failed.
    failure: Option<(Instant, E)>,
}

impl<E> Default for Flight<E> {
    fn default() -> Self {
        Self { is_under_way: false, n_landed: 0, failure: None }
    }
}

impl<E> Flight<E> {
    /// Begins a fetch, unless one is under way; whether it did. Who has begun one calls [`start`].
    pub(in crate::http) fn take_off(&mut self) -> bool {
        !std::mem::replace(&mut self.is_under_way, true)
    }

    /// The fetch has ended.
    pub(in crate::http) fn land(&mut self, failure: Option<E>, now: Instant) {
        self.is_under_way = false;
        self.n_landed += 1;
        self.failure = failure.map(|failure| (now, failure));
    }

    /// Whether one is under way.
    pub(in crate::http) fn is_under_way(&self) -> bool {
        self.is_under_way
    }

    /// How many have ended so far: a caller remembers it when it comes.
    pub(in crate::http) fn n_landed(&self) -> u64 {
        self.n_landed
    }

    /// Whether the last one is the answer for a caller that came after `n_landed` of them: it has ended since, or has
    /// failed shortly before.
    pub(in crate::http) fn answers(&self, n_landed: u64, now: Instant) -> bool {
        self.n_landed > n_landed || self.has_just_failed(now)
    }

    /// Whether it is too soon for another.
    pub(in crate::http) fn has_just_failed(&self, now: Instant) -> bool {
        let is_young = |failed_at| now.saturating_duration_since(failed_at) < FAILURE_GOOD_FOR;
        self.failure.as_ref().is_some_and(|(failed_at, _)| is_young(*failed_at))
    }

    /// Why the last one has failed, if it has.
    pub(in crate::http) fn failure(&self) -> Option<&E> {
        self.failure.as_ref().map(|(_, failure)| failure)
    }
}

/// What a caller does after a look at the state.
pub(in crate::http) enum Look<R> {
    /// It has its answer.
    Done(R),
    /// It has begun a fetch.
    Fetch,
    /// It waits for the one that is under way.
    Wait,
}

/// The state that holds flights and what they have brought, and the callers that wait for it.
#[derive(Debug, Default)]
pub(in crate::http) struct Arrivals<S> {
    state: Mutex<S>,
    landed: Condvar,
}

impl<S> Arrivals<S> {
    /// A look at the state.
    pub(in crate::http) fn lock(&self) -> MutexGuard<'_, S> {
        self.state.lock()
    }

    /// Waits until `look` is done. It is asked again whenever a fetch has ended, and often enough to see a cancellation;
    /// `fetch` starts what it has begun.
    pub(in crate::http) fn wait<R>(
        &self,
        deadline: Instant,
        mut look: impl FnMut(&mut S, Instant) -> Look<R>,
        fetch: impl Fn(),
    ) -> R {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            match look(&mut state, now) {
                Look::Done(answer) => return answer,
                Look::Fetch => MutexGuard::unlocked(&mut state, &fetch),
                Look::Wait => drop(self.landed.wait_until(&mut state, deadline.min(now + CANCEL_POLL))),
            }
        }
    }

    /// Puts what a fetch has brought into the state, and wakes those who wait.
    pub(in crate::http) fn land(&self, take: impl FnOnce(&mut S, Instant)) {
        take(&mut self.state.lock(), Instant::now());
        self.landed.notify_all();
    }
}

/// Why a fetch has brought nothing.
#[derive(Debug)]
pub(in crate::http) enum NotFetched<E> {
    /// It says why.
    Failed(E),
    /// A bug.
    Panicked(Panicked),
    /// The system refuses a thread.
    NoThread(io::Error),
}

/// Runs `fetch` on a short-lived thread and hands `land` what came of it, whatever that is.
pub(in crate::http) fn start<T, E>(
    kind: ThreadKind,
    fetch: impl FnOnce() -> Result<T, E> + Send + 'static,
    land: impl FnOnce(Result<T, NotFetched<E>>) + Clone + Send + 'static,
) {
    let land_there = land.clone();
    let spawned = kind.spawn("", fetch, move |outcome| {
        land_there(match outcome {
            Ok(outcome) => outcome.map_err(NotFetched::Failed),
            Err(panicked) => Err(NotFetched::Panicked(panicked)),
        });
    });
    if let Err(error) = spawned {
        land(Err(NotFetched::NoThread(error)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    const THREAD: ThreadKind = ThreadKind { name: "flight", stack_bytes: 256 << 10 };

    type State = (Flight<String>, Option<u32>);

    /// What a caller that has half a minute gets.
    fn ask(state: &Arc<Arrivals<State>>, fetch: fn() -> Result<u32, String>) -> Result<u32, String> {
        let n_landed = state.lock().0.n_landed();
        let look = |(flight, value): &mut State, now| match (*value, flight.answers(n_landed, now)) {
            (Some(value), _) => Look::Done(Ok(value)),
            (None, true) => Look::Done(Err(flight.failure().cloned().unwrap_or_default())),
            (None, false) if flight.take_off() => Look::Fetch,
            (None, false) => Look::Wait,
        };
        let land = {
            let state = Arc::clone(state);
            move |outcome: Result<u32, NotFetched<String>>| {
                state.land(|(flight, value), now| {
                    *value = outcome.as_ref().ok().copied();
                    flight.land(outcome.err().map(|cause| format!("{cause:?}")), now);
                });
            }
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        state.wait(deadline, look, || start(THREAD, fetch, land.clone()))
    }

    #[test]
    fn many_ask_and_one_fetches() {
        static N_FETCHES: AtomicUsize = AtomicUsize::new(0);
        let state = Arc::default();
        thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let answer = ask(&state, || {
                        N_FETCHES.fetch_add(1, Ordering::SeqCst);
                        Ok(7)
                    });
                    assert_eq!(answer, Ok(7));
                });
            }
        });
        assert_eq!(N_FETCHES.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failure_or_a_panic_answers_for_a_moment_and_then_another_is_begun() {
        let state: Arc<Arrivals<State>> = Arc::default();
        let failure = ask(&state, || Err("no".to_owned())).unwrap_err();
        assert_eq!(failure, r#"Failed("no")"#);
        state.lock().0 = Flight::default();
        assert!(ask(&state, || panic!("meant")).unwrap_err().starts_with("Panicked("));
        let begun_at = Instant::now();
        while ask(&state, || Ok(7)) != Ok(7) {
            assert!(begun_at.elapsed() < Duration::from_secs(120), "never again");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
