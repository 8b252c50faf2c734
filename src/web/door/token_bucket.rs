//! `rate_limit`: one more request per interval, and some at once (Go's `golang.org/x/time/rate`).

use crate::config::web::RateLimit;
use std::time::{Duration, Instant};

/// A bucket for all requests together.
#[derive(Debug)]
pub(super) struct TokenBucket {
    limit: RateLimit,
    /// What is in the bucket, as the time that it takes to fill so far.
    filled: Duration,
    looked_at: Instant,
}

impl TokenBucket {
    /// A full one.
    pub(super) fn new(limit: RateLimit, now: Instant) -> Self {
        Self { limit, filled: full(limit), looked_at: now }
    }

    /// Takes a token; false if there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let grown = self.filled.saturating_add(now.saturating_duration_since(self.looked_at));
        self.filled = grown.min(full(self.limit));
        self.looked_at = now;
        match self.filled.checked_sub(self.limit.interval) {
            Some(rest) => {
                self.filled = rest;
                true
            }
            None => false,
        }
    }
}

fn full(limit: RateLimit) -> Duration {
    let burst = u32::try_from(limit.burst).unwrap_or(u32::MAX);
    limit.interval.checked_mul(burst).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::{RateLimit, TokenBucket};
    use std::time::{Duration, Instant};

    #[test]
    fn a_burst_and_then_one_per_interval() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut bucket = TokenBucket::new(RateLimit { interval: Duration::from_secs(1), burst: 2 }, start);
        let taken = [0, 0, 0, 999, 1000, 1500, 2000, 9000, 9000, 9000].map(|millis| bucket.take(at(millis)));
        assert_eq!(taken, [true, true, false, false, true, false, true, true, true, false]);
        let mut never = TokenBucket::new(RateLimit { interval: Duration::from_secs(1), burst: 0 }, start);
        assert!(!never.take(at(0)) && !never.take(at(100_000)));
    }
}
