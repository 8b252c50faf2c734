//! What is fetched when the first request needs it, kept until it expires, and shared by all clients with the same
//! settings: tokens, and keys that are good for a while.
//!
//! Fetching runs on a short-lived thread `http-token`, with a deadline of its own; whoever needs the thing waits as long as
//! they have time, and can be cancelled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::error::{HttpErrorKind, Phase};
use crate::http::single_flight::{Arrivals, Flight, Look, NotFetched, start};
use crate::http::wire::exchange::Exchange;
use scraped_engine::threads::ThreadKind;

/// It is not used in its last moments: it would expire on the way (`golang.org/x/oauth2`: `defaultExpiryDelta`).
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// A server may refuse a token before it expires. One that refuses every token must not cost those who give them a
/// request each time.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);

/// TLS and its checks take most of the stack.
const THREAD: ThreadKind = ThreadKind { name: "http-token", stack_bytes: 512 << 10 };

/// One thing, there or not.
#[derive(Debug)]
pub(in crate::http) struct Lease<T> {
    /// For sentences: what could not be done when nothing was fetched.
    failure: &'static str,
    state: Arrivals<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    held: Option<Held<T>>,
    fetches: Flight<String>,
    renewed_at: Option<Instant>,
}

/// What was fetched.
#[derive(Clone, Debug)]
pub(in crate::http) struct Held<T> {
    pub(in crate::http) value: T,
    /// `None`: never, as far as is known.
    expires_at: Option<Instant>,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self { held: None, fetches: Flight::default(), renewed_at: None }
    }
}

impl<T> Held<T> {
    /// Good for so long from now on. What is good for seconds only is at least used for a part of them.
    pub(in crate::http) fn good_for(value: T, good_for: Option<Duration>) -> Self {
        let margin = |good_for: Duration| EXPIRY_MARGIN.min(good_for / 2);
        Self { value, expires_at: good_for.map(|it| Instant::now() + it.saturating_sub(margin(it))) }
    }

    /// Something made of it, which is good for as long.
    pub(in crate::http) fn map<U>(self, make: impl FnOnce(T) -> U) -> Held<U> {
        Held { value: make(self.value), expires_at: self.expires_at }
    }
}

impl<T: Clone + Send + 'static> Lease<T> {
    /// Nothing is fetched yet.
    pub(in crate::http) fn new(failure: &'static str) -> Arc<Self> {
        Arc::new(Self { failure, state: Arrivals::default() })
    }

    /// The thing, if `is_good` says that it still is what is needed; waits for `fetch` until `deadline` at most.
    pub(in crate::http) fn get(
        self: &Arc<Self>,
        deadline: Instant,
        exchange: &Exchange,
        is_good: impl Fn(&T) -> bool,
        fetch: impl FnOnce() -> Result<Held<T>, String> + Clone + Send + 'static,
    ) -> Result<T, HttpErrorKind> {
        let n_landed = self.state.lock().fetches.n_landed();
        let look = |state: &mut State<T>, now: Instant| {
            let is_fresh =
                |held: &&Held<T>| held.expires_at.is_none_or(|at| now < at) && is_good(&held.value);
            if let Some(held) = state.held.as_ref().filter(is_fresh) {
                return Look::Done(Ok(held.value.clone()));
            }
            if let Some(failure) = state.fetches.failure()
                && state.fetches.answers(n_landed, now)
            {
                return Look::Done(Err(HttpErrorKind::Setup(failure.clone())));
            }
            if exchange.is_cancelled() {
                return Look::Done(Err(HttpErrorKind::Cancelled));
            }
            if now >= deadline {
                return Look::Done(Err(HttpErrorKind::Deadline(Phase::Token)));
            }
            if state.fetches.take_off() { Look::Fetch } else { Look::Wait }
        };
        let lease = Arc::clone(self);
        let land = move |outcome| lease.land(outcome);
        self.state.wait(deadline, look, || start(THREAD, fetch.clone(), land.clone()))
    }

    /// A server did not take it. True if it is worth to ask it again: what is shown next will be another one.
    pub(in crate::http) fn refused(&self, is_that: impl Fn(&T) -> bool) -> bool {
        let mut state = self.state.lock();
        match &state.held {
            // Somebody else has seen to it.
            None => true,
            Some(held) if !is_that(&held.value) => true,
            Some(_) => {
                let now = Instant::now();
                let is_due = state.renewed_at.is_none_or(|at| now.duration_since(at) >= RENEWAL_INTERVAL);
                if is_due {
                    state.held = None;
                    state.renewed_at = Some(now);
                }
                is_due
            }
        }
    }

    fn land(&self, outcome: Result<Held<T>, NotFetched<String>>) {
        let failed = self.failure;
        let (held, failure) = match outcome {
            Ok(held) => (Some(held), None),
            Err(NotFetched::Failed(failure)) => (None, Some(failure)),
            // Without its words: they may hold the secret.
            Err(NotFetched::Panicked(panicked)) => {
                log::error!("BUG: asking for a token panicked at {}", panicked.place());
                (None, Some(format!("{failed}: a bug, it panicked")))
            }
            Err(NotFetched::NoThread(error)) => (None, Some(format!("{failed}: {error}"))),
        };
        self.state.land(|state, now| {
            state.held = held;
            state.fetches.land(failure, now);
        });
    }
}
