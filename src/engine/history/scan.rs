//! Goes through the log and gives the samples of some series, segment by segment.
//!
//! Holds one record in memory. A segment that is removed meanwhile is passed over; one that cannot hold the range is not
//! opened.

use crate::history::error::HistoryError;
use crate::history::spans::Spans;
use crate::series::SeriesHandle;
use crate::wal::follow::{Ended, Follower, Next};
use crate::wal::format::position::Position;
use crate::wal::format::record;
use crate::wal::format::record::Record;
use crate::wal::format::record::histograms::EncodedHistogram;
use crate::wal::head::LogReader;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::time::Instant;

/// Bytes of a native histogram in the log that count as one sample, as a float and its timestamp take in memory.
const HISTOGRAM_SAMPLE_BYTES: usize = 16;

/// A sample as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct SeenSample<'a> {
    /// Which of the series it is of.
    pub series_idx: usize,
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// What it says.
    pub value: SeenValue<'a>,
}

/// A value as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub enum SeenValue<'a> {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(EncodedHistogram<'a>),
}

impl SeenValue<'_> {
    /// As how many samples it counts: a float as one, a native histogram by its size.
    pub fn weight(self) -> usize {
        match self {
            Self::Float(_) => 1,
            Self::Histogram(histogram) => 1 + histogram.bytes().len() / HISTOGRAM_SAMPLE_BYTES,
        }
    }
}

/// Series of one moment, and the part of the log that speaks of them.
///
/// **Invariant:** no segment that was removed before the series were found is read, and nothing that was written since:
/// all refs in between are of these series.
#[derive(Debug)]
pub struct Matched {
    pub(super) handles: Vec<SeriesHandle>,
    first_segment: u32,
    end: Position,
}

impl Matched {
    /// `find` gives the series.
    pub(super) fn of(
        log: &LogReader,
        find: impl FnOnce() -> Result<Vec<SeriesHandle>, HistoryError>,
    ) -> Result<Self, HistoryError> {
        let end = log.committed_end().ok_or(HistoryError::NotOpen)?;
        let handles = find()?;
        // A ref is given to another series only after the segments that spoke of it were marked as gone.
        let first_segment = log.oldest_position()?.segment;
        Ok(Self { handles, first_segment, end })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// True if no series matched.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }
}

/// Why no more records are read.
enum Stop {
    ByVisitor,
    ByDeadline,
}

/// Calls `visit` with each sample of `series` in the range, as it stands in the log.
pub(super) fn scan(
    log: &LogReader,
    spans: &Spans,
    series: &Matched,
    range_ms: &RangeInclusive<i64>,
    deadline: Instant,
    visit: &mut dyn FnMut(SeenSample<'_>) -> ControlFlow<()>,
) -> Result<(), HistoryError> {
    if series.is_empty() {
        return Ok(());
    }
    let refs = series.handles.iter().map(|handle| u64::from(handle.series_ref.0.get()));
    let wanted: HashMap<u64, usize, RandomState> = refs.zip(0..).collect();
    let Matched { first_segment, end, .. } = *series;
    let mut follower = Follower::new(log.clone(), Position { segment: first_segment, offset: 0 });
    for number in first_segment..=end.segment {
        let is_complete = number < end.segment;
        if is_complete && !spans.may_hold(log, number, range_ms) {
            continue;
        }
        follower.go_to(Position { segment: number, offset: 0 });
        let mut span = None;
        let mut stop = None;
        let mut is_damaged = false;
        let ended = follower.read(
            &mut |at, _, bytes| {
                if at.segment > number || at >= end {
                    return Next::Keep;
                }
                if Instant::now() > deadline {
                    stop = Some(Stop::ByDeadline);
                    return Next::Keep;
                }
                let flow = visit_record(bytes, &wanted, range_ms, &mut span, visit);
                if flow.is_break() {
                    stop = Some(Stop::ByVisitor);
                    return Next::Keep;
                }
                Next::Record
            },
            &mut |_| is_damaged = true,
        )?;
        match stop {
            Some(Stop::ByVisitor) => return Ok(()),
            Some(Stop::ByDeadline) => return Err(HistoryError::TimedOut),
            None => {}
        }
        let is_whole = is_complete && !is_damaged && !matches!(ended, Ended::Truncated);
        if let Some(span) = span.filter(|_| is_whole) {
            spans.note(number, span, first_segment);
        }
    }
    Ok(())
}

fn visit_record(
    bytes: &[u8],
    wanted: &HashMap<u64, usize, RandomState>,
    range_ms: &RangeInclusive<i64>,
    span: &mut Option<RangeInclusive<i64>>,
    visit: &mut dyn FnMut(SeenSample<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut see = |series_ref: u64, ts_ms: i64, value: SeenValue<'_>| {
        let known = span.get_or_insert(ts_ms..=ts_ms);
        if !known.contains(&ts_ms) {
            *known = ts_ms.min(*known.start())..=ts_ms.max(*known.end());
        }
        match wanted.get(&series_ref).filter(|_| range_ms.contains(&ts_ms)) {
            Some(series_idx) => visit(SeenSample { series_idx: *series_idx, ts_ms, value }),
            None => ControlFlow::Continue(()),
        }
    };
    // What is damaged inside a record ends it; the log's other readers count it.
    match record::decode(bytes) {
        Record::Samples(samples) => {
            samples.flatten().try_for_each(|it| see(it.series_ref, it.ts_ms, SeenValue::Float(it.value)))
        }
        Record::Histograms(entries) => entries
            .flatten()
            .try_for_each(|it| see(it.series_ref, it.ts_ms, SeenValue::Histogram(it.histogram))),
        _ => ControlFlow::Continue(()),
    }
}

/// Records of samples that are looked at for the oldest one: pages with timestamps of their own are not in order of time.
const LOOKED_AT: usize = 256;

/// Timestamps of about the oldest sample in the log, and of the newest one as far as it is known.
pub(super) fn extent(log: &LogReader) -> Result<Option<RangeInclusive<i64>>, HistoryError> {
    let end = log.committed_end().ok_or(HistoryError::NotOpen)?;
    let mut follower = Follower::new(log.clone(), log.oldest_position()?);
    let (mut oldest, mut n_left) = (None, LOOKED_AT);
    while follower.position() < end && n_left > 0 {
        let ended = follower.read(
            &mut |at, _, bytes| {
                if at >= end {
                    return Next::Pause;
                }
                let of_record = match record::decode(bytes) {
                    Record::Samples(samples) => samples.flatten().map(|it| it.ts_ms).min(),
                    Record::Histograms(entries) => entries.flatten().map(|it| it.ts_ms).min(),
                    _ => None,
                };
                n_left -= usize::from(of_record.is_some());
                oldest = [oldest, of_record].into_iter().flatten().min();
                if n_left > 0 { Next::Record } else { Next::Pause }
            },
            &mut |_| {},
        )?;
        match ended {
            Ended::Truncated => {
                let next = log.oldest_position()?.segment.max(follower.position().segment.saturating_add(1));
                follower.go_to(Position { segment: next, offset: 0 });
            }
            Ended::CaughtUp => break,
            Ended::Paused => {}
        }
    }
    // Nothing was written since the start: what was found then is the newest.
    let newest = log.newest_ts_ms().or_else(|| log.newest_at_start().filter_map(|(_, newest)| newest).max());
    Ok(oldest.map(|oldest| oldest..=newest.unwrap_or(i64::MAX).max(oldest)))
}
