//! How soon what has died may start again, and how often it has.

use crate::metrics::Counter;
use crate::threads::panics::metrics;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first pause; each one after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause. What has run longer than this begins with the first pause again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The restarts of a thread, or of several that go together.
#[derive(Debug)]
pub struct Restarts {
    pause: Duration,
    began_at: Instant,
    /// `scraped_thread_restarts_total` of its kind.
    counter: Arc<Counter>,
}

impl Restarts {
    /// None so far; it begins now. `kind` is the name of the kind of thread.
    pub fn of(kind: &str) -> Self {
        let counter = metrics().restarts.with(&[kind]);
        Self { pause: FIRST_PAUSE, began_at: Instant::now(), counter }
    }

    /// It has died: the pause before it starts again.
    pub fn next_pause(&mut self) -> Duration {
        if self.began_at.elapsed() > LONGEST_PAUSE {
            self.pause = FIRST_PAUSE;
        }
        let pause = self.pause;
        self.pause = (2 * pause).min(LONGEST_PAUSE);
        pause
    }

    /// It starts again.
    pub fn count(&mut self) {
        self.began_at = Instant::now();
        self.counter.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_begin_again_after_a_good_run() {
        let mut restarts = Restarts::of("dies");
        let pauses: Vec<u64> = (0..8).map(|_| restarts.next_pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        restarts.began_at -= LONGEST_PAUSE * 2;
        assert_eq!(restarts.next_pause(), FIRST_PAUSE);
    }
}
