//! The suspect lane: loops that are not known to answer never take the last quarter of the workers.
//!
//! Belongs to the scheduler thread. Counts who runs and queues who waits, by slot; knows no loop.

use crate::scrape::metrics::ScrapeMetrics;
use std::collections::VecDeque;
use std::sync::Arc;

/// A target that did not answer last time or was never asked: counted for as long as this lives.
#[derive(Debug)]
pub(in crate::scrape) struct Suspicion(Arc<ScrapeMetrics>);

impl Suspicion {
    /// One suspect more.
    pub(in crate::scrape) fn new(metrics: &Arc<ScrapeMetrics>) -> Self {
        metrics.suspect_targets.add(1.0);
        Self(Arc::clone(metrics))
    }
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        self.0.suspect_targets.add(-1.0);
    }
}

/// Who runs and who waits.
#[derive(Debug)]
pub(in crate::scrape) struct SuspectLane {
    limit: usize,
    n_running: usize,
    /// Slots of the scheduler, the one that waits longest first.
    waiting: VecDeque<usize>,
}

impl SuspectLane {
    /// A lane for ¾ of the workers, at least one.
    pub(in crate::scrape) fn new(max_workers: usize) -> Self {
        let limit = max_workers.saturating_sub(max_workers.div_ceil(4)).max(1);
        Self { limit, n_running: 0, waiting: VecDeque::new() }
    }

    /// How many may run at once.
    pub(in crate::scrape) fn limit(&self) -> usize {
        self.limit
    }

    /// How many wait for a place.
    pub(in crate::scrape) fn n_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many wait longer than this slot.
    pub(in crate::scrape) fn n_before(&self, slot_idx: usize) -> usize {
        self.waiting.iter().take_while(|it| **it != slot_idx).count()
    }

    /// Takes a place, if there is one and no one waits for it.
    pub(in crate::scrape) fn enter(&mut self) -> bool {
        let may_enter = self.waiting.is_empty() && self.n_running < self.limit;
        self.n_running += usize::from(may_enter);
        may_enter
    }

    /// Gives a place back.
    pub(in crate::scrape) fn leave(&mut self) {
        self.n_running = self.n_running.saturating_sub(1);
    }

    /// Queues a slot for the next place.
    pub(in crate::scrape) fn wait(&mut self, slot_idx: usize) {
        self.waiting.push_back(slot_idx);
    }

    /// Takes a slot out of the queue: its target is gone.
    pub(in crate::scrape) fn forget(&mut self, slot_idx: usize) {
        self.waiting.retain(|it| *it != slot_idx);
    }

    /// Takes a place for the first in the queue whose loop is at home. The others are being marked as down just now and keep
    /// their turn.
    pub(in crate::scrape) fn enter_first(&mut self, is_home: impl Fn(usize) -> bool) -> Option<usize> {
        if self.n_running >= self.limit {
            return None;
        }
        let idx = self.waiting.iter().position(|slot_idx| is_home(*slot_idx))?;
        self.n_running += 1;
        self.waiting.remove(idx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_workers_stays_free_of_suspects() {
        for (max_workers, limit) in [(1, 1), (2, 1), (4, 3), (8, 6), (10, 7), (1024, 768)] {
            let mut lane = SuspectLane::new(max_workers);
            let n_entered = (0..max_workers).filter(|_| lane.enter()).count();
            assert_eq!(n_entered, limit, "of {max_workers}");
        }
    }

    #[test]
    fn the_queue_is_served_in_order_and_nobody_jumps_it() {
        let mut lane = SuspectLane::new(2);
        assert!(lane.enter());
        (0..4).for_each(|slot_idx| lane.wait(slot_idx));
        lane.forget(0);
        assert_eq!(lane.enter_first(|_| true), None);
        lane.leave();
        assert!(!lane.enter());
        assert_eq!((lane.n_before(1), lane.n_before(3)), (0, 2));
        // The first is not at home and keeps its turn.
        assert_eq!(lane.enter_first(|slot_idx| slot_idx != 1), Some(2));
        lane.leave();
        assert_eq!(lane.enter_first(|_| true), Some(1));
        lane.leave();
        lane.forget(3);
        assert_eq!((lane.n_waiting(), lane.enter()), (0, true));
    }
}
