//! Those who read the log while it is written: what truncation keeps for them, and what it takes from them.
//!
//! A reader is nothing but a position here. Truncation by age waits for the lowest of them; the bounds in bytes and
//! time, and a full disk, do not. Then the reader learns how many samples it has lost. Also: up to where the log is
//! durable, for those who remember positions in it.

use crate::metric_type::MetricType;
use crate::series::SeriesHandle;
use crate::series::SeriesRef;
use crate::series::table::{LabelPairs, SeriesTable};
use crate::wal::error::WalError;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::position::Position;
use crate::wal::format::segment;
use crate::wal::gone::{Gone, OpenSegment, SegmentSamples};
use crate::wal::head::Wal;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, Weak};

/// Refs looked up under one hold of the head lock: some tens of microseconds.
const SLICE_REFS: usize = 1024;

/// Label sets read under one hold of the head lock.
const SLICE_LABELS: usize = 128;

/// What the log knows of its readers.
#[derive(Debug, Default)]
pub(in crate::wal) struct Readers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    kept: BTreeMap<u64, Position>,
    /// What segments that went held although a reader needed it, and those that are about to go.
    gone: BTreeMap<u32, SegmentSamples>,
    /// Numbers in `gone` of segments whose content has vanished while they stay in the log.
    hollow: BTreeSet<u32>,
    /// `gone` has what a start found, and not all readers have registered yet.
    awaits_readers: bool,
    open_segments: Vec<Weak<OpenSegment>>,
    durable: Durable,
}

/// What survives a loss of power.
#[derive(Debug, Default)]
struct Durable {
    /// Everything before it, but for what is in `given_up`.
    end: Position,
    /// Samples of the segment at `end` that are before it.
    samples: u64,
    /// Segments of which an fsync failed, and from where on they are not durable. A later fsync that works says nothing:
    /// the system may have thrown away what it could not write.
    given_up: BTreeMap<u32, u64>,
    /// What the start found was fsynced: its writer may have been killed before.
    is_start_synced: bool,
}

impl Durable {
    fn give_up(&mut self, segment: u32, samples: u64) -> u64 {
        let is_begun = self.end.segment == segment;
        let (from, before) = if is_begun { (self.end.offset, self.samples) } else { (0, 0) };
        self.given_up.entry(segment).or_insert(from);
        samples.saturating_sub(before)
    }
}

impl Readers {
    /// The first segment that a reader needs; `None` without readers.
    pub(in crate::wal) fn needed_from(&self) -> Option<u32> {
        self.0.lock().kept.values().map(|position| position.segment).min()
    }

    /// These segments are about to go: what they hold is remembered for readers that have not come so far.
    pub(in crate::wal) fn note_going<'a>(&self, segments: impl Iterator<Item = &'a ClosedSegment>) {
        let mut state = self.0.lock();
        let Some(needed_from) = state.kept.values().map(|position| position.segment).min() else { return };
        for segment in segments.filter(|segment| segment.number >= needed_from) {
            state.gone.insert(segment.number, SegmentSamples::from(segment));
        }
    }

    /// What the start found of segments that are to be removed, for readers that will register.
    pub(in crate::wal) fn note_covered(&self, segments: &[ClosedSegment]) {
        let mut state = self.0.lock();
        state.awaits_readers = !segments.is_empty();
        state.gone.extend(segments.iter().map(|segment| (segment.number, SegmentSamples::from(segment))));
    }

    /// The content of this segment has vanished; its number stays.
    pub(in crate::wal) fn note_hollow(&self, segment: &ClosedSegment) {
        let mut state = self.0.lock();
        // What it held is known already if it is hollow for the second time.
        state.gone.entry(segment.number).or_insert_with(|| SegmentSamples::from(segment));
        state.hollow.insert(segment.number);
    }

    /// A place for the file that a reader has open.
    pub(in crate::wal) fn open_segment(&self) -> Arc<OpenSegment> {
        let place = Arc::new(OpenSegment::default());
        let mut state = self.0.lock();
        state.open_segments.retain(|other| other.strong_count() > 0);
        state.open_segments.push(Arc::downgrade(&place));
        place
    }

    /// Whether the content of this segment has vanished.
    pub(in crate::wal) fn is_hollow(&self, number: u32) -> bool {
        self.0.lock().hollow.contains(&number)
    }

    /// Closes what readers have open of these segments, which are removed.
    pub(in crate::wal) fn close_where(&self, is_removed: impl Fn(u32) -> bool) {
        let open: Vec<_> = self.0.lock().open_segments.iter().filter_map(Weak::upgrade).collect();
        open.iter().for_each(|place| place.close_where(&is_removed));
    }

    /// Whether an fsync of this segment failed.
    pub(in crate::wal) fn is_given_up(&self, segment: u32) -> bool {
        self.0.lock().durable.given_up.contains_key(&segment)
    }

    fn keep(&self, id: u64, position: Position) {
        let mut state = self.0.lock();
        state.kept.insert(id, position);
        state.forget_gone();
    }
}

impl State {
    fn forget_gone(&mut self) {
        if self.awaits_readers {
            return;
        }
        match self.kept.values().map(|position| position.segment).min() {
            Some(needed_from) => {
                self.gone = self.gone.split_off(&needed_from);
                self.hollow = self.hollow.split_off(&needed_from);
            }
            None => {
                self.gone.clear();
                self.hollow.clear();
            }
        }
    }
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
}

impl Drop for ReaderMark {
    fn drop(&mut self) {
        let mut state = self.wal.readers().0.lock();
        state.kept.remove(&self.id);
        state.forget_gone();
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

impl Wal {
    /// Registers all readers there are, before the first truncation.
    pub fn claim(&self, positions: impl IntoIterator<Item = Position>) -> (Vec<ReaderMark>, ReadersKnown) {
        let marks = positions.into_iter().map(|position| self.register_reader(position)).collect();
        let mut state = self.readers().0.lock();
        state.awaits_readers = false;
        state.forget_gone();
        drop(state);
        (marks, ReadersKnown(()))
    }

    /// From now on truncation by age leaves what stands behind `position`.
    pub fn register_reader(&self, position: Position) -> ReaderMark {
        let id = {
            let mut state = self.readers().0.lock();
            state.last_id += 1;
            state.last_id
        };
        self.readers().keep(id, position);
        ReaderMark { wal: self.clone(), id }
    }

    /// The start of the oldest segment.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn oldest_position(&self) -> Result<Position, WalError> {
        let segments = segment::list(self.wal_dir())?;
        let truncated = self.truncated();
        let is_kept = |number: u32| truncated.is_none_or(|last| number > last);
        let oldest = segments.into_iter().map(|segment| segment.number).find(|number| is_kept(*number));
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

    /// The last segment that was truncated since the start.
    pub fn truncated(&self) -> Option<u32> {
        self.with_table(|_, mark| mark.truncated)
    }

    /// What has gone of the log from segment `first` on.
    pub fn gone_from(&self, first: u32) -> Gone {
        // Looked up first: what went up to there is noted by then.
        let before = self.truncated().map_or(0, |last| last.saturating_add(1));
        let state = self.readers().0.lock();
        let is_gone = |number: u32| number < before || state.hollow.contains(&number);
        let gone = state.gone.range(first..).filter(|(number, _)| is_gone(**number));
        Gone { before, segments: gone.map(|(number, samples)| (*number, *samples)).collect() }
    }

    /// Whether everything up to this place in its segment survives a loss of power.
    pub fn is_durable(&self, position: Position) -> bool {
        let state = self.readers().0.lock();
        let given_up = state.durable.given_up.get(&position.segment);
        position <= state.durable.end && given_up.is_none_or(|from| position.offset <= *from)
    }

    /// Makes what is written durable, unless a rotated file waits for wal-maintenance. A segment that cannot be fsynced is
    /// left for a new one: no later fsync can say anything of it.
    ///
    /// # Errors
    /// [`WalError::Unsynced`], or the directory refused.
    pub fn sync(&self) -> Result<(), WalError> {
        self.sync_what_was_found()?;
        let Some((segment, file)) = self.to_sync() else { return Ok(()) };
        if self.readers().is_given_up(segment.number) {
            // There was no room for a new one.
            return self.upkeep().rotate();
        }
        match file.sync() {
            Ok(()) => {
                let mut state = self.readers().0.lock();
                let end = Position { segment: segment.number, offset: segment.bytes };
                if state.durable.end <= end {
                    (state.durable.end, state.durable.samples) = (end, segment.samples);
                }
                Ok(())
            }
            Err(cause) => {
                let error = self.give_up(segment, cause);
                // Without room for a new one the next call tries again.
                let _ = self.upkeep().rotate();
                Err(error)
            }
        }
    }

    /// The fsync of a segment has failed: what was written to it since the last one is not durable, and never will be.
    pub(in crate::wal) fn give_up(&self, segment: ClosedSegment, cause: io::Error) -> WalError {
        let path = segment::segment_path(self.wal_dir(), segment.number);
        if segment.bytes == 0 {
            return WalError::io("fsync segment", &path)(cause);
        }
        let n_samples = self.readers().0.lock().durable.give_up(segment.number, segment.samples);
        self.metrics().fsyncs_failed.inc();
        self.metrics().samples_not_durable.add(n_samples);
        WalError::Unsynced { path, n_samples, cause }
    }

    /// The directory cannot be synced: the name of the segment being written may not survive, so neither does what is
    /// in it. The next fsync leaves it.
    pub(in crate::wal) fn give_up_name(&self) {
        if let Some(current) = self.current() {
            self.readers().0.lock().durable.give_up(current.number, 0);
        }
    }

    fn sync_what_was_found(&self) -> Result<(), WalError> {
        if self.readers().0.lock().durable.is_start_synced {
            return Ok(());
        }
        for found in self.upkeep().segments_at_start() {
            let path = segment::segment_path(self.wal_dir(), found.number);
            match File::open(&path) {
                // Truncated meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(WalError::io("open segment", &path)(error)),
                Ok(file) => {
                    if let Err(cause) = file.sync_data() {
                        log::error!("{}", self.give_up(*found, cause));
                    }
                }
            }
        }
        segment::sync_dir(self.wal_dir())?;
        self.readers().0.lock().durable.is_start_synced = true;
        Ok(())
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
            self.with_table(|table, mark| {
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

    /// As [`Wal::visit_labels`], with what the log says of the series beside its labels.
    pub fn visit_series(
        &self,
        handles: &[SeriesHandle],
        mut visit: impl FnMut(usize, Option<SeriesView<'_>>),
    ) {
        for (slice, first_idx) in handles.chunks(SLICE_LABELS).zip((0..).step_by(SLICE_LABELS)) {
            self.with_table(|table, _| {
                let table = &*table;
                for (handle, idx) in slice.iter().zip(first_idx..) {
                    let series_ref = handle.series_ref;
                    let labels = table.labels_of(*handle);
                    visit(idx, labels.map(|labels| SeriesView { labels, table, series_ref }));
                }
            });
        }
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
