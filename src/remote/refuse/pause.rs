//! The pause of an endpoint that is wrong: whatever is sent, the answer is about the endpoint and not about samples.
//!
//! All shards of the endpoint pause together. When the pause is over one of them asks, and the others go on when the
//! endpoint has answered as it should. A closed channel wakes those who wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};
use parking_lot::Mutex;
use scraped_engine::threads::stop::StopToken;

/// The first pause; each is twice the one before.
const SHORTEST: Duration = Duration::from_secs(30);

/// The longest pause that the endpoint did not ask for.
const LONGEST: Duration = Duration::from_secs(5 * 60);

/// The endpoint may ask for a pause within these bounds: it may be wrong by a unit.
const LEAST_ASKED: Duration = Duration::from_secs(1);
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// The pause of one endpoint.
#[derive(Debug)]
pub struct Pause {
    /// Looked at before every request, without the lock.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When to ask again; `None` without a pause.
    until: Option<Instant>,
    /// Somebody asks.
    is_asking: bool,
    /// The length of the next pause.
    next: Duration,
    /// No pause holds anything up any more.
    is_ending: bool,
    /// Dropped to wake those who wait.
    waker: Sender<()>,
    woken: Receiver<()>,
}

/// Leave to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// There is no pause.
    Free,
    /// The pause is over, and this request finds out whether the endpoint is right again.
    Asks,
}

impl Default for Pause {
    fn default() -> Self {
        let (waker, woken) = bounded(0);
        let state = State { until: None, is_asking: false, next: SHORTEST, is_ending: false, waker, woken };
        Self { is_on: AtomicBool::new(false), state: Mutex::new(state) }
    }
}

impl Pause {
    /// Waits until something may be sent; `None` when the caller is to end.
    pub fn pass(&self, stop: &StopToken) -> Option<Pass> {
        if !self.is_on.load(Ordering::Relaxed) {
            return Some(Pass::Free);
        }
        loop {
            let (left, woken) = {
                let mut state = self.state.lock();
                let Some(until) = state.until else { return Some(Pass::Free) };
                if state.is_ending {
                    return None;
                }
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() && !state.is_asking {
                    state.is_asking = true;
                    return Some(Pass::Asks);
                }
                // Who asks wakes the others.
                (if state.is_asking { LONGEST } else { left }, state.woken.clone())
            };
            select! {
                recv(stop.receiver()) -> _ => return None,
                recv(woken) -> _ => {}
                default(left) => {}
            }
        }
    }

    /// The endpoint is wrong: a pause begins, or goes on. How long it is; `None` if another request has begun it.
    pub fn begin(&self, pass: Pass, asked: Option<Duration>) -> Option<Duration> {
        let mut state = self.state.lock();
        if state.until.is_some() && pass == Pass::Free {
            return None;
        }
        let own = state.next;
        state.next = (own * 2).min(LONGEST);
        let pause = asked.map_or(own, |asked| asked.clamp(LEAST_ASKED, LONGEST_ASKED));
        state.until = Some(Instant::now() + pause);
        state.is_asking = false;
        self.is_on.store(true, Ordering::Relaxed);
        state.wake();
        Some(pause)
    }

    /// The endpoint has answered as it should, or is away, which has pauses of its own. True if there was a pause.
    pub fn end(&self, is_right: bool) -> bool {
        if !self.is_on.load(Ordering::Relaxed) {
            return false;
        }
        let mut state = self.state.lock();
        if is_right {
            state.next = SHORTEST;
        }
        let was_on = state.until.take().is_some();
        state.is_asking = false;
        // Kept on after an answer that says nothing, so that the next good one makes pauses short again.
        self.is_on.store(!is_right, Ordering::Relaxed);
        state.wake();
        was_on
    }

    /// Somebody may have mended it: the next request goes out at once.
    pub fn cut_short(&self) {
        let mut state = self.state.lock();
        if state.until.is_some() {
            state.until = Some(Instant::now());
            state.wake();
        }
    }

    /// The daemon ends: a pause is not waited for, the samples stay in the log.
    pub fn give_up_waiting(&self) {
        let mut state = self.state.lock();
        state.is_ending = true;
        state.wake();
    }

    /// When to ask again; `None` without a pause.
    pub fn until(&self) -> Option<Instant> {
        self.state.lock().until
    }
}

impl State {
    fn wake(&mut self) {
        (self.waker, self.woken) = bounded(0);
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, Pass, Pause, SHORTEST};
    use scraped_engine::threads::stop::stop_pair;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn pauses_grow_until_the_endpoint_is_right() {
        let pause = Pause::default();
        assert_eq!(pause.begin(Pass::Free, None), Some(SHORTEST));
        assert_eq!(pause.begin(Pass::Free, None), None, "another shard had a request in flight");
        assert_eq!(pause.begin(Pass::Asks, None), Some(2 * SHORTEST));
        for _ in 0..5 {
            pause.begin(Pass::Asks, None);
        }
        assert_eq!(pause.begin(Pass::Asks, None), Some(LONGEST));
        assert_eq!(pause.begin(Pass::Asks, Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(pause.begin(Pass::Asks, Some(Duration::ZERO)), Some(Duration::from_secs(1)));
        assert!(pause.end(false) && pause.until().is_none());
        assert_eq!(pause.begin(Pass::Free, None), Some(LONGEST), "away is not right");
        assert!(pause.end(true) && !pause.end(true));
        assert_eq!(pause.begin(Pass::Free, None), Some(SHORTEST));
    }

    #[test]
    fn one_asks_and_the_others_wait_for_its_answer() {
        let pause = Pause::default();
        let (stopper, stop) = stop_pair();
        pause.begin(Pass::Free, None);
        pause.cut_short();
        assert_eq!(pause.pass(&stop), Some(Pass::Asks));
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..3).map(|_| scope.spawn(|| pause.pass(&stop))).collect();
            thread::sleep(Duration::from_millis(50));
            assert!(waiting.iter().all(|thread| !thread.is_finished()));
            pause.end(true);
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap() == Some(Pass::Free)));
        });

        // A stop, and a daemon that ends, do not wait.
        pause.begin(Pass::Free, None);
        let start = Instant::now();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| pause.pass(&stop));
            drop(stopper);
            assert_eq!(waiting.join().unwrap(), None);
        });
        let (_stopper, stop) = stop_pair();
        pause.give_up_waiting();
        assert_eq!(pause.pass(&stop), None);
        assert!(start.elapsed() < SHORTEST / 2);
    }
}
