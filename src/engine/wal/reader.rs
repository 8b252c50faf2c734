//! The log as those see it who read it while it is written: claims, positions, what is lost, and what the refs of its
//! records mean.
//!
//! No sample is written and no segment removed through it. [`crate::wal::follow`] reads the records themselves.

use super::{Wal, wake};
use crate::disk::Disk;
use crate::metric_type::MetricType;
use crate::metrics::Counter;
use crate::series::table::{LabelPairs, SeriesTable};
use crate::series::{SeriesHandle, SeriesRef};
use crate::wal::error::WalError;
use crate::wal::format::position::Position;
use crate::wal::format::segment;
use crate::wal::gone::{Gone, OpenSegment};
use crate::wal::memory::ring::Ring;
use crate::wal::rest::rest_before_slice;
use crossbeam_channel::Sender;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;

/// Refs looked up under one hold of the head lock: some tens of microseconds.
const SLICE_REFS: usize = 1024;

/// Label sets read under one hold of the head lock.
const SLICE_LABELS: usize = 128;

/// Series compared with a selector under one hold of the head lock: some tens of microseconds. Whoever compares has less
/// priority than those who commit, and should not be interrupted while it holds the lock.
const SLICE_COMPARED: usize = 256;

/// What a reader does with a log; cheap to clone.
#[derive(Clone, Debug)]
pub struct LogReader {
    wal: Wal,
}

/// A reader's claim on the log; dropping it ends the claim.
#[derive(Debug)]
pub struct ReaderMark {
    wal: Wal,
    id: u64,
}

impl ReaderMark {
    /// What stands before `position` is not needed any more.
    pub fn keep_from(&self, position: Position) {
        self.wal.readers().keep(self.id, position);
    }

    /// Everything before `position` is settled, which need not be remembered on the disk yet: what is in memory before it
    /// may go.
    pub fn settle(&self, position: Position) {
        self.wal.readers().settle(self.id, position);
    }
}

impl Drop for ReaderMark {
    fn drop(&mut self) {
        self.wal.readers().release(self.id);
    }
}

/// Says that all who read the log have registered: what they need is known, and truncation may begin.
#[derive(Debug)]
pub struct ReadersKnown(());

/// The record's segment was truncated: its refs may belong to other series by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated {
    /// The last segment that went.
    pub last: u32,
}

impl LogReader {
    pub(super) fn new(wal: Wal) -> Self {
        Self { wal }
    }

    /// Says that all readers there are have registered, before the first truncation.
    pub fn are_all_known(&self) -> ReadersKnown {
        self.wal.readers().are_known();
        ReadersKnown(())
    }

    /// From now on truncation by age leaves what stands behind `position`.
    pub fn claim(&self, position: Position) -> ReaderMark {
        if let Some(ring) = self.wal.ring() {
            ring.note_readers();
        }
        ReaderMark { wal: self.wal.clone(), id: self.wal.readers().register(position) }
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        self.wal.path()
    }

    /// Most bytes of a segment, unless one commit is more.
    pub fn segment_size_bytes(&self) -> u64 {
        self.wal.segment_size_bytes()
    }

    /// Bytes of a complete segment, or as many as there may be where that is not known.
    pub fn bytes_of_segment(&self, number: u32) -> u64 {
        self.wal.ring().and_then(|ring| ring.size_of(number)).unwrap_or_else(|| self.segment_size_bytes())
    }

    /// Floats, histograms and exemplars written since the start.
    pub fn appended(&self) -> [u64; 3] {
        let metrics = self.wal.metrics();
        [&metrics.float_samples_appended, &metrics.histograms_appended, &metrics.exemplars_appended]
            .map(|counter| counter.get())
    }

    /// Bytes of records written since the start.
    pub fn bytes_written(&self) -> u64 {
        self.wal.metrics().record_parts_bytes_written.get()
    }

    /// Bytes of the data directory above which the oldest segments go; 0 before maintenance has measured it.
    pub fn limit_bytes(&self) -> f64 {
        self.wal.metrics().limit.get()
    }

    /// From now on `follower`, a channel with room for one, gets a message after each commit; `skipped` counts the
    /// commits without a message, because the one before was still in the channel.
    pub fn notify(&self, follower: Sender<()>, skipped: Arc<Counter>) {
        self.wal.shared.head.lock().followers.push((follower, skipped));
    }

    /// The end of the newest commit; `None` once closed.
    pub fn committed_end(&self) -> Option<Position> {
        self.wal.end()
    }

    /// Timestamp of the newest sample in the segment being written; `None` once closed or while that is empty.
    pub fn newest_ts_ms(&self) -> Option<i64> {
        match self.wal.ring().filter(|ring| !ring.is_empty()) {
            Some(ring) => ring.newest_ts_ms(),
            None => self.wal.current()?.newest_ts_ms,
        }
    }

    /// From now on commits go to a segment of which nothing is written yet; its number.
    ///
    /// # Errors
    /// The segment cannot be made; [`WalError::Closed`].
    pub fn start_segment(&self) -> Result<u32, WalError> {
        let head = self.wal.shared.head.lock();
        if let Some(number) = self.wal.ring().and_then(Ring::rotate) {
            return Ok(number);
        }
        let mut writer = self.wal.shared.writer.lock();
        let writer = writer.as_mut().ok_or(WalError::Closed)?;
        writer.rotate()?;
        wake(&head.waker);
        Ok(writer.number())
    }

    /// Whether everything up to this place in its segment survives a loss of power.
    pub fn is_durable(&self, position: Position) -> bool {
        self.wal.shared.durable.reaches(position)
    }

    /// Makes what is written durable; see [`super::Upkeep::sync`].
    ///
    /// # Errors
    /// [`WalError::Unsynced`], or the directory refused.
    pub fn sync(&self) -> Result<(), WalError> {
        self.wal.upkeep().sync()
    }

    /// Whether this place is behind all that was written to the disk.
    pub fn is_only_in_memory(&self, position: Position) -> bool {
        let is_in_use = self.wal.ring().is_some_and(|ring| !ring.is_empty());
        is_in_use && self.wal.upkeep().disk_end().is_ok_and(|end| position > end)
    }

    /// The last record that survives a loss of power: its end and its checksum; `None` where that is not known.
    pub fn last_durable(&self) -> Option<(Position, u32)> {
        self.wal.shared.durable.last_record()
    }

    pub(in crate::wal) fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Copies from place `at` of a segment that is in memory; `None` if it is not.
    pub(in crate::wal) fn read_memory(&self, number: u32, buf: &mut [u8], at: u64) -> Option<usize> {
        self.wal.ring()?.read_at(number, buf, at)
    }

    /// The start of the oldest segment.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn oldest_position(&self) -> Result<Position, WalError> {
        let segments = segment::list(self.wal.disk(), self.wal_dir())?;
        let truncated = self.truncated();
        let is_kept = |number: u32| truncated.is_none_or(|last| number > last);
        let on_disk = segments.into_iter().map(|segment| segment.number).find(|number| is_kept(*number));
        let in_memory = self.wal.ring().and_then(Ring::first_number);
        let oldest = on_disk.into_iter().chain(in_memory).min();
        Ok(Position { segment: oldest.unwrap_or_default(), offset: 0 })
    }

    /// The oldest segment that is there, or of which is known what it held when it went.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn oldest_accounted(&self) -> Result<u32, WalError> {
        let oldest = self.oldest_position()?.segment;
        Ok(self.gone_from(0).segments.keys().next().map_or(oldest, |gone| oldest.min(*gone)))
    }

    /// What has gone of the log from segment `first` on.
    pub fn gone_from(&self, first: u32) -> Gone {
        // Looked up first: what went up to there is noted by then.
        let before = self.truncated().map_or(0, |last| last.saturating_add(1));
        self.wal.readers().gone_from(first, before)
    }

    /// The last segment that was truncated since the start.
    fn truncated(&self) -> Option<u32> {
        self.wal.with_table(|_, mark| mark.truncated)
    }

    /// The series of refs that stand in a record of `segment`, into `handles`; `None` for a ref without a series.
    ///
    /// # Errors
    /// The segment was truncated meanwhile.
    pub fn handles(
        &self,
        segment: u32,
        refs: &[u64],
        handles: &mut Vec<Option<SeriesHandle>>,
    ) -> Result<(), Truncated> {
        handles.clear();
        for slice in refs.chunks(SLICE_REFS) {
            self.wal.with_table(|table, mark| {
                if let Some(last) = mark.truncated.filter(|last| segment <= *last) {
                    return Err(Truncated { last });
                }
                handles.extend(slice.iter().map(|number| {
                    let number = u32::try_from(*number).ok().and_then(NonZeroU32::new)?;
                    table.handle(SeriesRef(number))
                }));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Calls `visit` with the labels of each series in turn, `None` for one that is gone. Runs under the head lock, in
    /// slices: `visit` only copies.
    pub fn visit_labels(
        &self,
        handles: &[SeriesHandle],
        mut visit: impl FnMut(usize, Option<LabelPairs<'_>>),
    ) {
        self.visit_series(handles, |idx, series| visit(idx, series.map(|series| series.labels)));
    }

    /// As [`LogReader::visit_labels`], with what the log says of the series beside its labels.
    pub fn visit_series(
        &self,
        handles: &[SeriesHandle],
        mut visit: impl FnMut(usize, Option<SeriesView<'_>>),
    ) {
        for (slice, first_idx) in handles.chunks(SLICE_LABELS).zip((0..).step_by(SLICE_LABELS)) {
            if first_idx > 0 {
                rest_before_slice();
            }
            self.wal.with_table(|table, _| {
                let table = &*table;
                for (handle, idx) in slice.iter().zip(first_idx..) {
                    let series_ref = handle.series_ref;
                    let labels = table.labels_of(*handle);
                    visit(idx, labels.map(|labels| SeriesView { labels, table, series_ref }));
                }
            });
        }
    }

    /// Calls `visit` with some of all series: those whose slots come from `first` on, 0 to begin with. The slot to go on from;
    /// `None` when all were visited. Runs under the head lock: `visit` only compares and copies.
    pub fn visit_table(&self, first: u32, visit: impl FnMut(SeriesHandle, LabelPairs<'_>)) -> Option<u32> {
        self.wal.with_next_slice(|table, _| table.visit_from(first, SLICE_COMPARED, visit))
    }

    /// Numbers of the segments that a start found, with the timestamp of the newest sample of each.
    pub fn newest_at_start(&self) -> impl Iterator<Item = (u32, Option<i64>)> {
        self.wal.upkeep().segments_at_start().iter().map(|segment| (segment.number, segment.newest_ts_ms))
    }

    /// What the data directory is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.wal.options().disk
    }

    pub(in crate::wal) fn wal_dir(&self) -> &Path {
        self.wal.wal_dir()
    }

    /// A place for the file that a follower has open.
    pub(in crate::wal) fn open_segment(&self) -> Arc<OpenSegment> {
        self.wal.readers().open_segment()
    }

    /// Whether this segment, of which there is no file, was settled as a whole while it was in memory.
    pub(in crate::wal) fn has_left_memory(&self, number: u32) -> bool {
        let has_left = self.wal.ring().and_then(Ring::skipped).is_some_and(|skipped| number <= skipped);
        has_left && !self.is_hollow(number) && self.truncated().is_none_or(|last| number > last)
    }

    /// Whether the content of this segment has vanished.
    pub(in crate::wal) fn is_hollow(&self, number: u32) -> bool {
        self.wal.readers().is_hollow(number)
    }
}

/// A series of the head while the lock is held.
#[derive(Clone, Debug)]
pub struct SeriesView<'a> {
    /// In order of name.
    pub labels: LabelPairs<'a>,
    table: &'a SeriesTable,
    series_ref: SeriesRef,
}

impl SeriesView<'_> {
    /// Type, unit and help by the series' metadata record; `None` without one.
    pub fn metadata(&self) -> Option<(MetricType, &str, &str)> {
        self.table.metadata(self.series_ref)
    }
}
