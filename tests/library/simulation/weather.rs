//! What is wrong with the disk and the wire of a box, and for how long.

use portable_atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use scraped_engine::disk::Access;
use scraped_engine::disk::draw::Draw;
use scraped_engine::disk::faulty::{Before, Chance, Faults, FaultyDisk, Operation};

/// `EIO` and `EROFS`, as Linux has them.
const EIO: i32 = 5;
const EROFS: i32 = 30;

/// How an endpoint takes requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// Each is answered at once.
    Healthy,
    /// Some are answered late, some are refused, of some the answer is lost.
    Shaky,
    /// None arrives.
    Away,
}

impl Wire {
    /// What it is from now on.
    pub(super) fn drawn(draw: &mut Draw) -> Wire {
        match draw.below(6) {
            0 | 1 => Wire::Away,
            2 | 3 => Wire::Shaky,
            _ => Wire::Healthy,
        }
    }
}

/// What is wrong with a disk from now on; what it refuses, it refuses until it is healed.
pub(super) fn faults(draw: &mut Draw) -> Faults {
    match draw.below(6) {
        0 => Faults::refusing([Operation::Write], EIO),
        1 => Faults::refusing([Operation::Sync, Operation::SyncDir], EIO),
        2 => Faults::refusing(Operation::CHANGES, EROFS),
        3 => {
            Faults::refusing([Operation::Rename, Operation::Remove, Operation::Open(Access::CreateNew)], EIO)
        }
        4 => Faults::default().with_room(draw.below(20_000)),
        _ => Faults {
            chance: Some(Chance::new(draw.below(u64::MAX), 2 + draw.below(20))),
            ..Faults::default()
        },
    }
}

/// A process that is killed before it has done `n_changes` more changes to the disk.
pub(super) fn killed_after(disk: &FaultyDisk, n_changes: u64) {
    let left = Arc::new(AtomicU64::new(n_changes));
    let killed = disk.clone();
    let before = Before::each(move |operation| {
        if Operation::CHANGES.contains(&operation) && left.fetch_sub(1, Ordering::Relaxed) == 0 {
            killed.set(Faults::refusing(Operation::CHANGES, EIO));
        }
    });
    disk.set(Faults { before: Some(before), ..Faults::default() });
}
