//! Start: the newest valid checkpoint and the segments after it become the series table.
//!
//! Runs once, on the thread that opens the log, before anything else touches the directory: it may rewrite files
//! (`repair`, `import`). Needs constant memory beside the table. Knows nothing of the writer.

use std::path::Path;

use crate::series::table::SeriesTable;
use crate::wal::error::WalError;
use crate::wal::head::ReplaySummary;

/// What truncation needs to know of a segment that is no longer written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClosedSegment {
    /// Its number.
    pub number: u32,
    /// Size of the file.
    pub bytes: u64,
    /// Samples in it.
    pub samples: u64,
    /// Timestamp of its newest sample in milliseconds.
    pub newest_ts_ms: Option<i64>,
}

/// What replay hands to the head.
#[derive(Debug)]
pub struct Replayed {
    /// All series in the log with their states.
    pub table: SeriesTable,
    /// The segments on disk, oldest first, numbers contiguous.
    pub segments: Vec<ClosedSegment>,
    /// Number and size of the newest checkpoint.
    pub checkpoint: Option<(u32, u64)>,
    /// Number of the segment to write next; it does not exist yet.
    pub next_segment: u32,
    /// For people.
    pub summary: ReplaySummary,
}

/// Repairs, imports and reads the log in `wal_dir` (made if it is missing).
///
/// `progress` is called with (segments read, segments in all).
///
/// # Errors
/// The directory cannot be read, or a file that must be rewritten cannot be written.
pub fn replay(wal_dir: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Replayed, WalError> {
    let _ = (wal_dir, progress);
    todo!("wal-life helper")
}
