//! The scheduler's slab: one slot a scrape loop, and the heap of what is due next.
//!
//! Belongs to the scheduler thread. A deadline is never searched for: scheduling a slot again gives it another generation,
//! and the old deadline is skipped when it surfaces.

use crate::scrape::schedule::end_of_run::EndOfRun;
use crate::scrape::schedule::set_aside::Panics;
use crate::scrape::schedule::suspects::Suspicion;
use crate::scrape::targets::loop_key::LoopKey;
use crate::scrape::targets::on_demand::{Outcome, Refusal, ScrapeRequest};
use crate::scrape::targets::pool::LoopSettings;
use scraped_engine::metrics::Summary;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between a scrape on demand and others of its target: timestamps are whole milliseconds, and each needs its own.
const ON_DEMAND_GAP: Duration = Duration::from_millis(10);

/// All loops, those that run included.
pub(in crate::scrape) struct Slots<L> {
    slots: Vec<SlabSlot<L>>,
    free: Vec<usize>,
    by_key: BTreeMap<LoopKey, usize>,
    deadlines: BinaryHeap<Reverse<Deadline>>,
}

struct SlabSlot<L> {
    /// Goes up whenever an older deadline becomes void; never back, not even for the next tenant.
    generation: u32,
    tenant: Option<Tenant<L>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Deadline {
    due: Instant,
    slot_idx: usize,
    generation: u32,
}

/// One loop and what the scheduler knows of it.
pub(in crate::scrape) struct Tenant<L> {
    pub(in crate::scrape) settings: LoopSettings,
    pub(in crate::scrape) state: State<L>,
    /// Ends the loop's scrape from here; belongs to the loop, wherever that is.
    pub(in crate::scrape) canceller: Option<Box<dyn Fn() + Send>>,
    /// The settings are newer than the loop.
    pub(in crate::scrape) is_replaced: bool,
    /// Of its last scrapes.
    pub(in crate::scrape) panics: Panics,
    /// None once it answered last time.
    pub(in crate::scrape) suspicion: Option<Suspicion>,
    /// False until the first scrape of a loop that scrapes at once.
    pub(in crate::scrape) is_on_grid: bool,
    /// The next slot; while the loop runs, the one after that.
    pub(in crate::scrape) next_due: Instant,
    /// The slot that is running.
    pub(in crate::scrape) running_due: Instant,
    /// Who waits for the scrape that is running, which is none of a slot.
    pub(in crate::scrape) request: Option<ScrapeRequest>,
    /// The last time the target was asked.
    pub(in crate::scrape) last_start: Option<Instant>,
    /// Something was written for it, so its end has to be.
    pub(in crate::scrape) has_written: bool,
    /// Number of the clock's step after which the loop was sent off.
    pub(in crate::scrape) clock_epoch: u32,
    /// Where its intervals are counted.
    pub(in crate::scrape) interval_length: Arc<Summary>,
}

/// Where a loop is. `None` where it was not needed yet.
pub(in crate::scrape) enum State<L> {
    /// At home until its next slot.
    Idle(Option<Box<L>>),
    /// A suspect that waits for a worker.
    Waiting(Option<Box<L>>),
    /// With a worker, or on its way to one.
    Running(Lane, AfterRun),
    /// Waits for the time of its staleness markers.
    Retired(Box<L>, EndOfRun),
}

/// What a running loop is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scrape) enum Lane {
    /// Answered last time.
    Proven,
    /// Holds one of the workers that suspects may have.
    Suspect,
    /// A waiting suspect that is only reported down.
    Report,
    /// It is set aside, and only reported down.
    SetAside,
    /// Writes the staleness markers of a retired loop.
    EndOfRun,
}

/// What becomes of a loop when it comes home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scrape) enum AfterRun {
    /// It goes on.
    Keep,
    /// Its target is gone.
    Retire,
    /// Its job is gone, or its markers are written.
    Free,
}

impl<L> Tenant<L> {
    /// The answer to a request for a scrape that begins at `now`; `None` if it may begin.
    pub(in crate::scrape) fn answer_at_once(&self, now: Instant) -> Option<Outcome> {
        match &self.state {
            State::Running(..) | State::Retired(..) => {
                Some(Err(Refusal::Running(now.saturating_duration_since(self.running_due))))
            }
            State::Waiting(_) => Some(Err(Refusal::NoWorker)),
            State::Idle(_) if self.panics.is_set_aside(now) => Some(Err(Refusal::SetAside)),
            // The request came while it was being scraped.
            State::Idle(_) if self.last_start.is_some_and(|start| now < start + ON_DEMAND_GAP) => {
                Some(Ok(()))
            }
            State::Idle(_) => None,
        }
    }

    /// A scrape has ended. If it was a request's, a slot that has come meanwhile was its slot, too: a second scrape would
    /// get a timestamp that is not newer.
    pub(in crate::scrape) fn answer_request(&mut self, now: Instant) {
        let Some(request) = self.request.take() else { return };
        if self.next_due <= now + ON_DEMAND_GAP {
            self.next_due += self.settings.target.scrape_interval;
        }
        request.answer(Ok(()));
    }
}

impl<L> Slots<L> {
    pub(in crate::scrape) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_key: BTreeMap::new(), deadlines: BinaryHeap::new() }
    }

    /// Takes a loop in; it still has to be scheduled.
    pub(in crate::scrape) fn insert(&mut self, key: LoopKey, tenant: Tenant<L>) -> usize {
        let slot_idx = self.free.pop().unwrap_or_else(|| {
            self.slots.push(SlabSlot { generation: 0, tenant: None });
            self.slots.len() - 1
        });
        self.slots[slot_idx].tenant = Some(tenant);
        self.by_key.insert(key, slot_idx);
        slot_idx
    }

    /// The slot of a loop that its pool still names.
    pub(in crate::scrape) fn find(&self, key: LoopKey) -> Option<usize> {
        self.by_key.get(&key).copied()
    }

    /// From here on no pool names the loop.
    pub(in crate::scrape) fn forget_key(&mut self, key: LoopKey) -> Option<usize> {
        self.by_key.remove(&key)
    }

    /// From here on no pool names the loops in these slots, which are in ascending order.
    pub(in crate::scrape) fn forget_keys(&mut self, gone: &[usize]) {
        self.by_key.retain(|_, slot_idx| gone.binary_search(slot_idx).is_err());
    }

    pub(in crate::scrape) fn get_mut(&mut self, slot_idx: usize) -> Option<&mut Tenant<L>> {
        self.slots.get_mut(slot_idx).and_then(|slot| slot.tenant.as_mut())
    }

    pub(in crate::scrape) fn get(&self, slot_idx: usize) -> Option<&Tenant<L>> {
        self.slots.get(slot_idx).and_then(|slot| slot.tenant.as_ref())
    }

    /// All loops with their slots.
    pub(in crate::scrape) fn iter(&self) -> impl Iterator<Item = (usize, &Tenant<L>)> {
        self.slots.iter().enumerate().filter_map(|(slot_idx, slot)| Some((slot_idx, slot.tenant.as_ref()?)))
    }

    /// Frees the slot; its deadlines are void.
    pub(in crate::scrape) fn free(&mut self, slot_idx: usize) -> Option<Tenant<L>> {
        let slot = self.slots.get_mut(slot_idx)?;
        let tenant = slot.tenant.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(slot_idx);
        Some(tenant)
    }

    /// The slot's one deadline is `due`; an older one is void.
    pub(in crate::scrape) fn schedule(&mut self, slot_idx: usize, due: Instant) {
        self.unschedule(slot_idx);
        if let Some(SlabSlot { generation, .. }) = self.slots.get(slot_idx) {
            self.deadlines.push(Reverse(Deadline { due, slot_idx, generation: *generation }));
        }
    }

    /// The slot has no deadline.
    pub(in crate::scrape) fn unschedule(&mut self, slot_idx: usize) {
        if let Some(slot) = self.slots.get_mut(slot_idx) {
            slot.generation = slot.generation.wrapping_add(1);
        }
    }

    /// When the scheduler has to look again. A void deadline wakes it once for nothing.
    pub(in crate::scrape) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.peek().map(|Reverse(deadline)| deadline.due)
    }

    /// The next slot that is due at `now`.
    pub(in crate::scrape) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        loop {
            let Reverse(deadline) = self.deadlines.peek()?;
            if deadline.due > now {
                return None;
            }
            let Reverse(deadline) = self.deadlines.pop()?;
            if self.is_valid(&deadline) {
                return Some(deadline.slot_idx);
            }
        }
    }

    /// When a slot is due, how many are due before it, and how many have a deadline at all. Looks at all of them: for
    /// whoever asks, not for a schedule.
    pub(in crate::scrape) fn place(&self, slot_idx: usize) -> Option<(Instant, usize, usize)> {
        let all = || self.deadlines.iter().map(|Reverse(it)| it).filter(|it| self.is_valid(it));
        let own = all().find(|it| it.slot_idx == slot_idx)?;
        Some((own.due, all().filter(|it| *it < own).count(), all().count()))
    }

    fn is_valid(&self, deadline: &Deadline) -> bool {
        let slot = self.slots.get(deadline.slot_idx);
        slot.is_some_and(|slot| slot.generation == deadline.generation && slot.tenant.is_some())
    }

    /// Nothing is due any more.
    pub(in crate::scrape) fn clear_deadlines(&mut self) {
        self.deadlines.clear();
    }
}
