//! Start: the newest valid checkpoint and the segments after it become the series table.
//!
//! Runs once, on the thread that opens the log, before anything else touches the directory: it may rewrite files
//! (`repair`, `import`). Needs constant memory beside the table. Knows nothing of the writer.
//!
//! Whose log it is, is decided by what stands in it and not by a marker, so that a directory may go back and forth
//! between programs: it is ours as long as every ref fits the table, no label set stands under two refs and there
//! is no record of a type that we do not write. The first record that breaks this ends the replay and starts an
//! import.

use crate::data_dir;
use crate::disk::is_full;
use crate::series::table::SeriesTable;
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::{ClosedSegment, Head};
use crate::wal::format::segment::SegmentInfo;
use crate::wal::keep::reserve::Reserve;
use crate::wal::open::import;
use crate::wal::open::loader;
use crate::wal::open::loader::{FileCounts, Loader, Stop};
use crate::wal::open::repair;
use crate::wal::open::repair::Layout;
use crate::wal::open::replay_summary::ReplaySummary;
use crate::wal::options::WalOptions;
use crate::wal::unstamped::side_files;
use std::collections::BTreeSet;

/// A file that was found is known again by at most this much of its front, in bytes.
const HEAD_BYTES: u64 = 4096;

/// What replay hands to the head.
#[derive(Debug)]
pub struct Replayed {
    /// All series in the log with their states.
    pub table: SeriesTable,
    /// The segments on disk, oldest first, numbers contiguous.
    pub segments: Vec<ClosedSegment>,
    /// Segments before those that the checkpoint stands for: its writer was killed before it could remove them.
    pub covered: Vec<ClosedSegment>,
    /// Number and size of the newest checkpoint.
    pub checkpoint: Option<(u32, u64)>,
    /// Number of the segment to write next; it does not exist yet.
    pub next_segment: u32,
    /// For people.
    pub summary: ReplaySummary,
}

/// Repairs, imports and reads the log in `wal/` under the data directory (made if it is missing).
///
/// `progress` is called with (segments read, segments in all). What repairs cost is added to `losses`, once for each if
/// they are tried again.
///
/// # Errors
/// The directory cannot be read, or a file that must be rewritten cannot be written.
pub fn replay(
    options: &WalOptions,
    segment_size_bytes: u64,
    losses: &mut Vec<String>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Replayed, WalError> {
    let replayed = replay_all(options, segment_size_bytes, losses, progress);
    let mut known = BTreeSet::new();
    losses.retain(|loss| known.insert(loss.clone()));
    replayed
}

fn replay_all(
    options: &WalOptions,
    segment_size_bytes: u64,
    losses: &mut Vec<String>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Replayed, WalError> {
    let disk = &*options.disk;
    let wal_dir = options.path.join("wal");
    data_dir::create_dirs(disk, &wal_dir).map_err(WalError::io("create", &wal_dir))?;
    import::finish_or_undo(disk, &wal_dir)?;
    side_files::undo_unfinished(disk, &options.path, &wal_dir)?;
    let mut takeover = None;
    let reserve = Reserve::in_dir(disk, &options.path, segment_size_bytes);
    loop {
        let layout = repair::put_in_order(disk, &wal_dir, losses)?;
        match read(options, &layout, losses, progress) {
            Ok(mut replayed) => {
                replayed.summary.takeover = takeover;
                return Ok(replayed);
            }
            // A repair found no room: what is set aside for a checkpoint is spent on it.
            Err(Stop::Failed(error)) if error.cause().is_some_and(is_full) && reserve.release(disk) => {}
            Err(Stop::Failed(error)) => return Err(error),
            Err(Stop::Foreign(reason)) if takeover.is_none() => {
                let imported = import::import(options, segment_size_bytes, &wal_dir, &layout, progress)?;
                losses.extend(imported.loss());
                takeover = Some(imported.sentence(&reason));
            }
            Err(Stop::Foreign(reason)) => {
                unreachable!("BUG: an imported write-ahead log is not ours: {reason}")
            }
        }
    }
}

fn read(
    options: &WalOptions,
    layout: &Layout,
    losses: &mut Vec<String>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Replayed, Stop> {
    let mut replay = Replay { options, loader: Loader::default(), losses };
    let mut checkpoint_bytes = 0;
    if let Some(checkpoint) = &layout.checkpoint {
        let place = format!("checkpoint {:08}", checkpoint.number);
        for file in checkpoint.segments(&*options.disk)? {
            checkpoint_bytes += replay.read_file(&file, checkpoint.number, &place)?.bytes;
        }
    }
    let n_segments = layout.segments.len() as u64;
    let covered =
        layout.covered.iter().map(|file| loader::count(&*options.disk, file)).collect::<Result<_, _>>()?;
    progress(0, n_segments);
    let mut segments = Vec::with_capacity(layout.segments.len());
    for (file, n_read) in layout.segments.iter().zip(1..) {
        let place = format!("segment {:08}", file.number);
        segments.push(replay.read_file(file, file.number, &place)?);
        progress(n_read, n_segments);
    }
    let last = segments.last().map(|segment| segment.number);
    let last = last.or(layout.checkpoint.as_ref().map(|checkpoint| checkpoint.number));
    let next_segment = match last {
        Some(last) => last.checked_add(1).ok_or(WalError::TooManySegments)?,
        None => 0,
    };
    let summary = ReplaySummary {
        series: replay.loader.table.len(),
        segments: segments.len(),
        samples: segments.iter().map(|segment| segment.samples).sum(),
        newest_ts_ms: replay.loader.newest_ts_ms,
        skipped_records: replay.loader.skipped_records,
        ..ReplaySummary::default()
    };
    let checkpoint = layout.checkpoint.as_ref().map(|checkpoint| (checkpoint.number, checkpoint_bytes));
    Ok(Replayed { table: replay.loader.table, segments, covered, checkpoint, next_segment, summary })
}

struct Replay<'a> {
    options: &'a WalOptions,
    loader: Loader,
    losses: &'a mut Vec<String>,
}

impl Replay<'_> {
    /// Reads a file into the table; if something in it must not stay, rewrites it and reads it again.
    fn read_file(&mut self, file: &SegmentInfo, number: u32, place: &str) -> Result<ClosedSegment, Stop> {
        let disk = &*self.options.disk;
        let mut counts = self.loader.load(disk, file, number)?;
        let mut bytes = file.bytes;
        if counts.must_be_rewritten {
            let loss = repair::rewrite(disk, file, number, self.options.compression, &mut self.loader)?;
            self.losses.extend(loss.sentence(place));
            counts = self.loader.load_rewritten(disk, file, number)?;
            bytes = loss.bytes_after;
        }
        let FileCounts { samples, histograms, newest_ts_ms, .. } = counts;
        let head =
            Head::read(disk, &file.path, HEAD_BYTES).map_err(WalError::io("read segment", &file.path))?;
        Ok(ClosedSegment { number, bytes, samples, histograms, newest_ts_ms, head })
    }
}
