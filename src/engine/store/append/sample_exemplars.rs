//! The exemplars of one sample on their way to the appender, in Prometheus' order (`exemplar.Compare`).
//!
//! Kept by the permit and reused, so that a page with exemplars allocates nothing in the steady state. What is wrong
//! with an exemplar costs only itself and is said at debug level, as in Prometheus.

use crate::exposition::exemplar::Exemplar;
use crate::exposition::parser::Parser;
use crate::series::SeriesHandle;
use crate::wal::appender::Appender;
use crate::wal::write::staged::ExemplarTime;
use std::cmp::Ordering;

/// What a sample is, as far as its exemplars care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExemplarOwner {
    /// A float: an exemplar without a timestamp has that of the sample.
    Float,
    /// A native histogram, which has many: those without a timestamp are dropped, since a repeated one could not be
    /// told from a new one.
    Histogram,
}

/// Memory for the exemplars of one sample.
#[derive(Debug, Default)]
pub struct SampleExemplars {
    /// Of which the first `n_used` are this sample's.
    list: Vec<Exemplar>,
    n_used: usize,
}

impl SampleExemplars {
    /// Stages the exemplars of the sample that `parser` read last, which has this timestamp.
    pub fn append(
        &mut self,
        parser: &mut Parser<'_>,
        owner: ExemplarOwner,
        ts_ms: i64,
        appender: &mut Appender,
        handle: SeriesHandle,
    ) {
        self.n_used = 0;
        while parser.exemplar(self.next()) {
            let is_dropped = owner == ExemplarOwner::Histogram && self.next().timestamp_ms.is_none();
            self.n_used += usize::from(!is_dropped);
        }
        let Some(used) = self.list.get_mut(..self.n_used) else { return };
        used.sort_unstable_by(|a, b| compare(a, b, ts_ms));
        for exemplar in used {
            let time = exemplar.timestamp_ms.map_or(ExemplarTime::OfSample(ts_ms), ExemplarTime::Own);
            if let Err(error) = appender.append_exemplar(handle, time, exemplar.value, exemplar.labels()) {
                log::debug!("{error}; the exemplar is left out");
            }
        }
    }

    fn next(&mut self) -> &mut Exemplar {
        if self.list.len() == self.n_used {
            self.list.push(Exemplar::default());
        }
        &mut self.list[self.n_used]
    }
}

/// By time, value and labels; a value that is no number is neither more nor less than another.
fn compare(a: &Exemplar, b: &Exemplar, ts_ms: i64) -> Ordering {
    let ts_of = |exemplar: &Exemplar| exemplar.timestamp_ms.unwrap_or(ts_ms);
    ts_of(a)
        .cmp(&ts_of(b))
        .then_with(|| a.value.partial_cmp(&b.value).unwrap_or(Ordering::Equal))
        .then_with(|| a.labels().cmp(b.labels()))
}
