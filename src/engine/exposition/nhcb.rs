//! Classic histograms of a text page as native ones with custom buckets (Prometheus' `model/textparse/nhcbparse.go`).
//!
//! A text has a histogram line by line, so lines are collected until one comes that is of another series or none at
//! all; then the histogram stands before that line. What the page calls a histogram is collected only where the name
//! fits. Protobuf has a histogram in one piece and converts it itself.

use crate::exposition::Entry;
use crate::exposition::error::ExpositionError;
use crate::exposition::exemplar::Exemplar;
use crate::exposition::label_list::LabelList;
use crate::exposition::reader::Reader;
use crate::exposition::recall::Recall;
use crate::exposition::series_text::LabelScratch;
use crate::float;
use crate::histogram::Histogram;
use crate::histogram::nhcb::{ClassicHistogram, Suffix, base_name};
use crate::metric_type::MetricType;

/// Name of the label that stands for the name of a series.
const METRIC_NAME: &str = "__name__";

/// Name of the label that has a bucket's upper bound.
const BUCKET_LABEL: &str = "le";

/// Exemplars of an idle parser that memory is kept for.
const KEPT_EXEMPLARS: usize = 64;

/// Ends a name and a value in a key: no UTF-8 text has it.
const SEPARATOR: u8 = 0xff;

type Result<T> = std::result::Result<T, ExpositionError>;

/// Memory that a collector takes over from the one before.
#[derive(Debug, Default)]
pub struct NhcbBuffers {
    scratch: LabelScratch,
    /// Of the series read last, without `le`, sorted.
    series: Series,
    /// Of the histogram that is being collected, or was collected last.
    collected: Series,
    classic: ClassicHistogram,
    histogram: Histogram,
    key: Vec<u8>,
    exemplars: Vec<Exemplar>,
}

/// What a histogram and its series have in common.
#[derive(Debug, Default, PartialEq)]
struct Series {
    /// Name of the histogram.
    name: String,
    labels: LabelList,
}

/// Makes native histograms of what a parser reads.
#[derive(Debug)]
pub(in crate::exposition) struct Nhcb<'page> {
    keep_classic: bool,
    /// Of the last TYPE line.
    family: &'page [u8],
    family_type: MetricType,
    is_collecting: bool,
    /// What was read behind the histogram that was given last; while it waits, the histogram is the current sample.
    pending: Option<Pending<'page>>,
    /// Of the histogram being collected.
    n_exemplars: usize,
    /// Of the current histogram, and how many of them were given.
    n_current_exemplars: usize,
    n_given_exemplars: usize,
    timestamp_ms: Option<i64>,
    start_time_ms: Option<i64>,
    buffers: NhcbBuffers,
}

#[derive(Clone, Copy, Debug)]
enum Pending<'page> {
    Entry(Entry<'page>, Option<Part>),
    End,
}

/// What a series is to its histogram.
#[derive(Clone, Copy, Debug)]
enum Part {
    Bucket(f64),
    Sum,
    Count,
}

impl<'page> Nhcb<'page> {
    pub(in crate::exposition) fn new(keep_classic: bool, mut buffers: NhcbBuffers) -> Self {
        buffers.classic.clear();
        buffers.exemplars.truncate(KEPT_EXEMPLARS);
        Self {
            keep_classic,
            family: b"",
            family_type: MetricType::Unknown,
            is_collecting: false,
            pending: None,
            n_exemplars: 0,
            n_current_exemplars: 0,
            n_given_exemplars: 0,
            timestamp_ms: None,
            start_time_ms: None,
            buffers,
        }
    }

    /// Its memory, for the next page.
    pub(in crate::exposition) fn into_buffers(self) -> NhcbBuffers {
        self.buffers
    }

    /// The current sample if it is a histogram that was made here.
    pub(in crate::exposition) fn current(&self) -> Option<&Self> {
        self.pending.is_some().then_some(self)
    }

    /// The current sample if it is a histogram that was made here.
    pub(in crate::exposition) fn current_mut(&mut self) -> Option<&mut Self> {
        self.pending.is_some().then_some(self)
    }

    /// The key of the current histogram.
    pub(in crate::exposition) fn key(&self) -> &[u8] {
        &self.buffers.key
    }

    /// The current histogram.
    pub(in crate::exposition) fn histogram(&mut self) -> &mut Histogram {
        &mut self.buffers.histogram
    }

    /// When the current histogram was started, in milliseconds.
    pub(in crate::exposition) fn start_time_ms(&self) -> Option<i64> {
        self.start_time_ms
    }

    /// The labels of the current histogram.
    pub(in crate::exposition) fn visit_labels(&self, mut visit: impl FnMut(&str, &str)) {
        visit(METRIC_NAME, &self.buffers.collected.name);
        for (name, value) in self.buffers.collected.labels.iter() {
            visit(name, value);
        }
    }

    /// The next exemplar of the current histogram: those of all its series.
    pub(in crate::exposition) fn exemplar(&mut self, exemplar: &mut Exemplar) -> bool {
        let n_left = self.n_current_exemplars - self.n_given_exemplars;
        match self.buffers.exemplars.get_mut(self.n_given_exemplars).filter(|_| n_left > 0) {
            Some(given) => {
                std::mem::swap(exemplar, given);
                self.n_given_exemplars += 1;
                true
            }
            None => false,
        }
    }

    /// The next entry of `reader`, or a histogram of the series before it.
    ///
    /// # Errors
    /// The page is malformed.
    #[inline(never)]
    pub(in crate::exposition) fn next(
        &mut self,
        reader: &mut Reader<'page>,
        known: &mut impl Recall,
    ) -> Result<Option<Entry<'page>>> {
        match self.pending.take() {
            Some(Pending::End) => return Ok(None),
            Some(Pending::Entry(entry, part)) if !self.hide(entry, part, reader) => return Ok(Some(entry)),
            Some(Pending::Entry(..)) | None => {}
        }
        loop {
            let Some(entry) = reader.next(known)? else {
                return Ok(self.finish(Pending::End, known));
            };
            let part = match entry {
                Entry::Series { .. } => self.read_series(reader),
                Entry::Type { name, metric_type }
                | Entry::KnownMetadata { name, metric_type: Some(metric_type) } => {
                    (self.family, self.family_type) = (name, metric_type);
                    None
                }
                _ => None,
            };
            let goes_on = matches!(entry, Entry::Series { .. }) && self.is_of_collected();
            if !goes_on && let Some(histogram) = self.finish(Pending::Entry(not_known(entry), part), known) {
                return Ok(Some(histogram));
            }
            if !self.hide(entry, part, reader) {
                return Ok(Some(entry));
            }
        }
    }

    /// Takes the labels of the series that was read last; gives its part in a histogram if it has one.
    fn read_series(&mut self, reader: &Reader<'page>) -> Option<Part> {
        // Nothing else needs labels, unless it may end what is being collected.
        if self.family_type != MetricType::Histogram {
            return None;
        }
        let NhcbBuffers { scratch, series: Series { name, labels }, .. } = &mut self.buffers;
        labels.clear();
        let mut suffix = None;
        let mut bound = None;
        let visited = reader.visit_labels(scratch, |label, value| match label {
            METRIC_NAME => {
                let (found, base) = base_name(value);
                suffix = found;
                name.clear();
                name.push_str(base);
            }
            BUCKET_LABEL => bound = Some(float::parse(value.as_bytes())),
            _ => labels.push(label, value),
        });
        labels.sort();
        if visited.is_err() || name.as_bytes() != self.family {
            return None;
        }
        match (suffix?, bound) {
            (Suffix::Sum, _) => Some(Part::Sum),
            (Suffix::Count, _) => Some(Part::Count),
            (Suffix::Bucket, Some(Ok(bound))) if !bound.is_nan() => Some(Part::Bucket(bound)),
            (Suffix::Bucket, _) => None,
        }
    }

    /// Whether the series that was read last is of the histogram that is being collected.
    fn is_of_collected(&self) -> bool {
        self.family_type == MetricType::Histogram && self.buffers.series == self.buffers.collected
    }

    /// Collects a series that is part of a histogram; true if it does not stand for itself then.
    fn hide(&mut self, entry: Entry<'page>, part: Option<Part>, reader: &mut Reader<'page>) -> bool {
        let (Some(part), Entry::Series { value, timestamp_ms, .. }) = (part, entry) else {
            return false;
        };
        let buffers = &mut self.buffers;
        if !self.is_collecting {
            self.is_collecting = true;
            self.n_exemplars = 0;
            self.start_time_ms = reader.start_time_ms();
            std::mem::swap(&mut buffers.series, &mut buffers.collected);
            buffers.classic.clear();
        }
        self.timestamp_ms = timestamp_ms;
        loop {
            if self.n_exemplars == buffers.exemplars.len() {
                buffers.exemplars.push(Exemplar::default());
            }
            let exemplar = buffers.exemplars.get_mut(self.n_exemplars);
            if !exemplar.is_some_and(|exemplar| reader.exemplar(exemplar)) {
                break;
            }
            self.n_exemplars += 1;
        }
        match part {
            Part::Bucket(bound) => buffers.classic.set_bucket(bound, value),
            Part::Sum => buffers.classic.set_sum(value),
            Part::Count => buffers.classic.set_count(value),
        }
        !self.keep_classic
    }

    /// The histogram of the series collected so far, if they are one.
    fn finish(&mut self, pending: Pending<'page>, known: &mut impl Recall) -> Option<Entry<'page>> {
        if !std::mem::take(&mut self.is_collecting) {
            return None;
        }
        let NhcbBuffers { classic, histogram, collected, key, .. } = &mut self.buffers;
        // Series that are no histogram are lost, as they are in Prometheus.
        classic.convert(histogram).ok()?;
        histogram.validate().ok()?;
        key.clear();
        key.extend_from_slice(collected.name.as_bytes());
        for (name, value) in collected.labels.iter() {
            for text in [name, value] {
                key.push(SEPARATOR);
                key.extend_from_slice(text.as_bytes());
            }
        }
        self.pending = Some(pending);
        (self.n_current_exemplars, self.n_given_exemplars) = (self.n_exemplars, 0);
        let known = known.series(key) == Some(key.len());
        Some(Entry::Histogram { known, timestamp_ms: self.timestamp_ms })
    }
}

/// The caller's guess of what comes next is used up by the histogram that stands before the entry.
fn not_known(entry: Entry<'_>) -> Entry<'_> {
    match entry {
        Entry::Series { value, timestamp_ms, .. } => Entry::Series { known: false, value, timestamp_ms },
        entry => entry,
    }
}
