//! Targets whose scrapes panic each time: after three in a row one is set aside, so that a bug costs no more than that.
//!
//! Belongs to the scheduler, since a loop may not survive its panic.

use std::time::{Duration, Instant};

/// Scrapes of a target that may panic one after the other.
pub(in crate::scrape) const MAX_PANICS: u32 = 3;

/// After this a target that is set aside is asked again: its page may be another one.
pub(in crate::scrape) const SET_ASIDE_FOR: Duration = Duration::from_secs(10 * 60);

/// Panics of a target's last scrapes.
#[derive(Debug, Default)]
pub(in crate::scrape) struct Panics {
    n_in_a_row: u32,
    set_aside_until: Option<Instant>,
}

impl Panics {
    /// A scrape has panicked; whether the target is set aside now.
    pub(in crate::scrape) fn add(&mut self, now: Instant) -> bool {
        self.n_in_a_row += 1;
        // One that is tried again has one try.
        let is_over = self.n_in_a_row >= MAX_PANICS;
        self.set_aside_until = is_over.then(|| now + SET_ASIDE_FOR);
        is_over
    }

    /// Whether the target is not asked now.
    pub(in crate::scrape) fn is_set_aside(&self, now: Instant) -> bool {
        self.set_aside_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_in_a_row_are_too_many_and_afterwards_one_is() {
        let start = Instant::now();
        let mut panics = Panics::default();
        assert_eq!([0, 1, 2].map(|_| panics.add(start)), [false, false, true]);
        assert!(panics.is_set_aside(start));
        let later = start + SET_ASIDE_FOR;
        assert!(!panics.is_set_aside(later));
        assert!(panics.add(later) && panics.is_set_aside(later));
    }
}
