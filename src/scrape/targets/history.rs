//! How a target fared lately: its last attempts, how many failed, and since when it is as it is.
//!
//! A ring of fixed size in the target's row: some 250 bytes once the target was scraped, and no allocation after that.

/// Attempts that are kept.
pub const KEPT_ATTEMPTS: usize = 20;

/// Where a scrape was when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`as_str` says it")]
pub enum ScrapeStage {
    /// No request was made: no worker, no turn, a setting that is wrong.
    Begin,
    Token,
    Resolve,
    Connect,
    Tls,
    Send,
    FirstByte,
    /// The head of the answer, with its status and its type.
    Answer,
    Body,
    Unpack,
    Parse,
    Limit,
    Store,
}

impl ScrapeStage {
    /// A word or two, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begin => "begin",
            Self::Token => "token",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "TLS",
            Self::Send => "send",
            Self::FirstByte => "first byte",
            Self::Answer => "answer",
            Self::Body => "body",
            Self::Unpack => "unpack",
            Self::Parse => "parse",
            Self::Limit => "limit",
            Self::Store => "store",
        }
    }
}

/// One scrape that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Timestamp of its samples, in seconds since the Unix epoch.
    pub ts_s: u32,
    /// How long it took, in microseconds.
    pub duration_us: u32,
    /// Where it failed; `None` if its page was stored.
    pub failed_in: Option<ScrapeStage>,
}

/// The last attempts of a target, and what is to be said of all of them.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// A ring once it is full.
    attempts: Vec<Attempt>,
    oldest_idx: usize,
    n_attempts: u64,
    n_failed: u64,
    since_s: u32,
    last_success_s: Option<u32>,
}

impl History {
    /// Takes one more; the oldest goes once there are [`KEPT_ATTEMPTS`].
    pub fn push(&mut self, attempt: Attempt) {
        let was_up = self.newest().map(|newest| newest.failed_in.is_none());
        let is_up = attempt.failed_in.is_none();
        if was_up != Some(is_up) {
            self.since_s = attempt.ts_s;
        }
        if is_up {
            self.last_success_s = Some(attempt.ts_s);
        }
        self.n_attempts += 1;
        self.n_failed += u64::from(!is_up);
        if self.attempts.len() < KEPT_ATTEMPTS {
            if self.attempts.is_empty() {
                self.attempts.reserve_exact(KEPT_ATTEMPTS);
            }
            self.attempts.push(attempt);
        } else if let Some(oldest) = self.attempts.get_mut(self.oldest_idx) {
            *oldest = attempt;
            self.oldest_idx = (self.oldest_idx + 1) % KEPT_ATTEMPTS;
        }
    }

    /// From the oldest that is kept to the newest.
    pub fn attempts(&self) -> impl Iterator<Item = Attempt> + '_ {
        let (newer, older) = self.attempts.split_at(self.oldest_idx);
        older.iter().chain(newer).copied()
    }

    /// The last attempt.
    pub fn newest(&self) -> Option<Attempt> {
        let idx = self.oldest_idx.checked_sub(1).unwrap_or(self.attempts.len().wrapping_sub(1));
        self.attempts.get(idx).copied()
    }

    /// Attempts since the target came.
    pub fn n_attempts(&self) -> u64 {
        self.n_attempts
    }

    /// Those of them that failed.
    pub fn n_failed(&self) -> u64 {
        self.n_failed
    }

    /// The first scrape with the outcome of the last one, without another outcome between: seconds since the Unix epoch.
    pub fn since_s(&self) -> u32 {
        self.since_s
    }

    /// The last scrape whose page was stored, in seconds since the Unix epoch.
    pub fn last_success_s(&self) -> Option<u32> {
        self.last_success_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(ts_s: u32, failed_in: Option<ScrapeStage>) -> Attempt {
        Attempt { ts_s, duration_us: ts_s * 10, failed_in }
    }

    #[test]
    fn the_newest_attempts_are_kept_in_order() {
        let mut history = History::default();
        assert_eq!((history.newest(), history.attempts().count()), (None, 0));
        for ts_s in 0..50 {
            history.push(attempt(ts_s, None));
            assert_eq!(history.newest(), Some(attempt(ts_s, None)));
            let kept: Vec<u32> = history.attempts().map(|it| it.ts_s).collect();
            let first = (ts_s + 1).saturating_sub(KEPT_ATTEMPTS as u32);
            assert_eq!(kept, (first..=ts_s).collect::<Vec<u32>>());
        }
        assert_eq!(history.attempts.capacity(), KEPT_ATTEMPTS);
        assert_eq!((history.n_attempts(), history.n_failed()), (50, 0));
    }

    #[test]
    fn since_when_is_the_first_of_the_same_outcome() {
        let mut history = History::default();
        let mut check = |ts_s, failed_in, since_s, last_success_s, n_failed| {
            history.push(attempt(ts_s, failed_in));
            let got = (history.since_s(), history.last_success_s(), history.n_failed());
            assert_eq!(got, (since_s, last_success_s, n_failed), "at {ts_s}");
        };
        check(10, Some(ScrapeStage::Connect), 10, None, 1);
        check(20, Some(ScrapeStage::Body), 10, None, 2);
        check(30, None, 30, Some(30), 2);
        check(40, None, 30, Some(40), 2);
        check(50, Some(ScrapeStage::Parse), 50, Some(40), 3);
    }
}
