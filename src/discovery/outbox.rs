//! Target sets on their way out of the manager: when they are made, and what happens to them while no one takes them.
//!
//! Owned by the thread `sd-manager`. Changes are collected for a moment, longer with every set that is made, and for a
//! moment again once it was calm for a while (the backoff of Prometheus' `discovery/manager.go` since 3.12, but counted
//! in sets instead of in ticks, so that a change which comes alone never waits for long).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::target_group::TargetSets;

/// How long changes are collected at first (Prometheus: `InitialInterval`).
pub(in crate::discovery) const MIN_WAIT: Duration = Duration::from_millis(100);

/// How long changes are collected when they never stop, and how long it must be calm to begin again (Prometheus:
/// `updatert`).
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Each wait is longer than the one before by this, in percent (Prometheus: `Multiplier`).
const GROWTH_PERCENT: u32 = 150;

/// Target sets on their way out.
pub(in crate::discovery) struct Outbox {
    target_sets: Sender<TargetSets>,
    /// Offered to while there is nothing to send: its receiver lives and never receives.
    never: (Sender<TargetSets>, Receiver<TargetSets>),
    pending: Option<TargetSets>,
    due: Option<Instant>,
    made_at: Option<Instant>,
    wait: Duration,
    metrics: Arc<DiscoveryMetrics>,
}

impl Outbox {
    /// An empty outbox in front of `target_sets`.
    pub(in crate::discovery) fn new(target_sets: Sender<TargetSets>, metrics: Arc<DiscoveryMetrics>) -> Self {
        let never = bounded(0);
        Self { target_sets, never, pending: None, due: None, made_at: None, wait: MIN_WAIT, metrics }
    }

    /// When the next sets are to be made.
    pub(in crate::discovery) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Where [`Outbox::take_pending`] can be sent to.
    pub(in crate::discovery) fn offer(&self) -> Sender<TargetSets> {
        if self.pending.is_some() { self.target_sets.clone() } else { self.never.0.clone() }
    }

    /// What waits to be sent.
    pub(in crate::discovery) fn take_pending(&mut self) -> TargetSets {
        self.pending.take().unwrap_or_default()
    }

    /// New sets replace those that no one has taken.
    pub(in crate::discovery) fn put(&mut self, sets: TargetSets) {
        self.due = None;
        self.made_at = Some(Instant::now());
        if self.target_sets.is_full() {
            self.metrics.delayed_updates.inc();
        }
        self.pending = Some(sets);
    }

    /// Sets are to be made after `wait` at the latest.
    pub(in crate::discovery) fn due_after(&mut self, wait: Duration) {
        let due = Instant::now() + wait;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// Something has changed: waits for more of it, longer while changes keep coming.
    pub(in crate::discovery) fn collect(&mut self) {
        if self.due.is_some() {
            return;
        }
        self.wait = match self.made_at.is_some_and(|made_at| made_at.elapsed() <= MAX_WAIT) {
            true => (self.wait * GROWTH_PERCENT / 100).min(MAX_WAIT),
            false => MIN_WAIT,
        };
        self.due_after(self.wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_while_changes_come_and_are_short_again_when_it_was_calm() {
        let (target_sets, receiver) = bounded(1);
        let mut outbox = Outbox::new(target_sets, Arc::default());
        let mut waits = Vec::new();
        for _ in 0..13 {
            outbox.collect();
            // More of it until then does not move the time.
            let due = outbox.due;
            outbox.collect();
            assert_eq!(outbox.due, due);
            waits.push(outbox.wait.as_millis());
            outbox.put(TargetSets::new());
        }
        assert_eq!(waits, [100, 150, 225, 337, 506, 759, 1139, 1708, 2562, 3844, 5000, 5000, 5000]);
        outbox.made_at = Instant::now().checked_sub(MAX_WAIT + Duration::from_millis(1));
        outbox.collect();
        assert_eq!(outbox.wait, MIN_WAIT);
        drop(receiver);
    }

    #[test]
    fn what_cannot_be_sent_at_once_is_counted() {
        let (target_sets, receiver) = bounded(1);
        let mut outbox = Outbox::new(target_sets, Arc::default());
        for n_delayed in [0, 1, 2] {
            outbox.put(TargetSets::new());
            assert_eq!(outbox.metrics.delayed_updates.get(), n_delayed);
            let _ = outbox.offer().try_send(outbox.take_pending());
        }
        drop(receiver);
    }
}
