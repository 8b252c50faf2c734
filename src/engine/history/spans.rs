//! From when to when the samples of each complete segment are, as far as it is known.

use crate::wal::head::LogReader;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Timestamps of the oldest and the newest sample of a segment, in milliseconds.
type Span = RangeInclusive<i64>;

/// By number of the segment. What a start found, and what questions have read since.
#[derive(Debug, Default)]
pub(super) struct Spans(Mutex<Option<BTreeMap<u32, Span>>>);

impl Spans {
    /// Whether a complete segment may hold samples in the range.
    pub(super) fn may_hold(&self, log: &LogReader, segment: u32, range_ms: &RangeInclusive<i64>) -> bool {
        let mut spans = self.0.lock();
        let spans = spans.get_or_insert_with(|| {
            let newest = log.newest_at_start().filter_map(|(number, newest)| Some((number, newest?)));
            newest.map(|(number, newest_ts_ms)| (number, i64::MIN..=newest_ts_ms)).collect()
        });
        spans
            .get(&segment)
            .is_none_or(|span| span.start() <= range_ms.end() && range_ms.start() <= span.end())
    }

    /// A complete segment was read from its start to its end. Those before `oldest` are gone.
    pub(super) fn note(&self, segment: u32, span: Span, oldest: u32) {
        let mut spans = self.0.lock();
        if let Some(spans) = spans.as_mut() {
            *spans = spans.split_off(&oldest);
            spans.insert(segment, span);
        }
    }
}
