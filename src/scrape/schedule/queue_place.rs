//! Where a loop stands: in the heap, in a line for a worker, or with one.

use crate::scrape::schedule::slots::{Slots, State};
use crate::scrape::schedule::suspects::SuspectLane;
use crate::scrape::schedule::workers::{Scrapeable, Workers};
use crate::scrape::targets::loop_key::LoopKey;
use crate::scrape::targets::on_demand::{Located, QueuePlace, Refusal};
use std::time::Instant;

/// Where the loop `key` stands at `now`.
pub(in crate::scrape) fn queue_place<L: Scrapeable>(
    key: LoopKey,
    now: Instant,
    slots: &Slots<L>,
    suspects: &SuspectLane,
    workers: &Workers<L>,
) -> Located {
    let slot_idx = slots.find(key).ok_or(Refusal::Gone)?;
    let tenant = slots.get(slot_idx).ok_or(Refusal::Gone)?;
    let lasts = now.saturating_duration_since(tenant.running_due);
    Ok(match &tenant.state {
        State::Running(..) => match workers.n_before(slot_idx) {
            Some(n_before) => QueuePlace::Due { lasts, n_before },
            None => QueuePlace::Running { lasts },
        },
        State::Waiting(_) => QueuePlace::Waiting { n_before: suspects.n_before(slot_idx) },
        State::Idle(_) | State::Retired(..) => {
            let (due, n_before, n_scheduled) = slots.place(slot_idx).ok_or(Refusal::Gone)?;
            QueuePlace::Scheduled { due_in: due.saturating_duration_since(now), n_before, n_scheduled }
        }
    })
}
