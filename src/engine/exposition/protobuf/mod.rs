//! Delimited protobuf (`io.prometheus.client.MetricFamily`), as Prometheus' `model/textparse/protobufparse.go` reads
//! it: one family after the other, metric by metric, entries in the order that a text page would have.
//!
//! Hand-written, without generated code, and without a copy of anything but a series' key: its name and the bytes of
//! its labels, so that a series that the caller knows costs no look at a label.

pub mod error;
mod exemplars;
mod histogram;
mod metric;
mod place;

use crate::exposition::Entry;
use crate::exposition::error::ExpositionError;
use crate::exposition::exemplar::Exemplar;
use crate::exposition::options::ParserOptions;
use crate::exposition::protobuf::error::ProtobufError;
use crate::exposition::protobuf::exemplars::Exemplars;
use crate::exposition::protobuf::metric::{Family, Kind, Metric, Parts, quantile};
use crate::exposition::protobuf::place::{Message, Result};
use crate::exposition::recall::Recall;
use crate::float;
use crate::histogram::Histogram;
use crate::histogram::nhcb::ClassicHistogram;
use crate::metric_type::MetricType;

/// The length in front of a family is spread over at most this many bytes (`binary.MaxVarintLen32`).
const MAX_LENGTH_BYTES: usize = 5;

/// Ends the name in a key, and the labels: no UTF-8 text has it.
const SEPARATOR: u8 = 0xff;

/// Name of the label that stands for the name of a series.
const METRIC_NAME: &str = "__name__";

/// Memory that a parser takes over from the one before.
#[derive(Debug, Default)]
pub struct ProtobufBuffers {
    /// Name, labels as encoded, and a tail of [`TAIL_LEN`] bytes that distinguishes the series of a metric.
    key: Vec<u8>,
    histogram: Histogram,
    classic: ClassicHistogram,
}

/// A byte for the kind of series, eight for the bound of a bucket or quantile.
const TAIL_LEN: usize = 9;

/// Reads a page.
#[derive(Debug)]
pub struct ProtobufParser<'page> {
    families: Message<'page>,
    options: ParserOptions,
    family: Family<'page>,
    metric: Metric<'page>,
    /// Buckets or quantiles that are still to come.
    items: Parts<'page>,
    exemplars: Exemplars<'page>,
    /// What is wrong with an exemplar that was asked for.
    failed: Option<ExpositionError>,
    step: Step,
    part: Part,
    /// Length of the key without its tail.
    labels_end: usize,
    buffers: ProtobufBuffers,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Family,
    Unit,
    Type,
    Metric,
    Count,
    Sum,
    Items,
    /// The classic histogram as a native one.
    Converted,
}

/// Which series of its metric a sample is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    /// The only one, or the native histogram.
    Whole,
    Count,
    Sum,
    Bucket(f64),
    Quantile(f64),
}

impl Part {
    fn tail(self) -> [u8; TAIL_LEN] {
        let (kind, bound) = match self {
            Self::Whole => (0, 0.0),
            Self::Count => (1, 0.0),
            Self::Sum => (2, 0.0),
            Self::Bucket(bound) => (3, bound),
            Self::Quantile(bound) => (4, bound),
        };
        // One text, one key: both zeros are written alike, and so are all NaN.
        let bits = match bound {
            _ if bound == 0.0 => 0,
            _ if bound.is_nan() => float::NORMAL_NAN_BITS,
            _ => bound.to_bits(),
        };
        let mut tail = [kind; TAIL_LEN];
        if let Some(bytes) = tail.last_chunk_mut() {
            *bytes = bits.to_le_bytes();
        }
        tail
    }
}

impl<'page> ProtobufParser<'page> {
    /// A parser at the start of `page`.
    pub fn new(page: &'page [u8], options: ParserOptions, buffers: ProtobufBuffers) -> Self {
        Self {
            families: Message::new(page, "the page"),
            options,
            family: Family::none(),
            metric: Metric::none(),
            items: Parts::none(),
            exemplars: Exemplars::None,
            failed: None,
            step: Step::Family,
            part: Part::Whole,
            labels_end: 0,
            buffers,
        }
    }

    /// Its memory, for the next page.
    pub fn into_buffers(self) -> ProtobufBuffers {
        self.buffers
    }

    /// Type of the family that is being read.
    pub fn metric_type(&self) -> MetricType {
        self.family.kind.metric_type()
    }

    /// The key of the sample read last: other samples of the page have others.
    pub fn series_text(&self) -> &[u8] {
        &self.buffers.key
    }

    /// The histogram read last.
    pub fn histogram(&mut self) -> &mut Histogram {
        &mut self.buffers.histogram
    }

    /// When the metric read last was started, in milliseconds.
    pub fn start_time_ms(&self) -> Option<i64> {
        self.metric.start_time_ms
    }

    /// Whether the sample read last has exemplars that were not given yet, good ones or not.
    #[inline]
    pub fn may_have_exemplars(&self) -> bool {
        !matches!(self.exemplars, Exemplars::None)
    }

    /// The next exemplar of the sample read last; false when there is none left.
    pub fn exemplar(&mut self, exemplar: &mut Exemplar) -> bool {
        match self.exemplars.next(exemplar) {
            Ok(is_there) => is_there,
            Err(error) => {
                self.exemplars = Exemplars::None;
                self.failed.get_or_insert(error);
                false
            }
        }
    }

    /// Calls `visit` with each label of the sample read last, its name first, the others in the order of the page.
    pub fn visit_labels(&self, mut visit: impl FnMut(&str, &str)) {
        let suffix = match self.part {
            Part::Count => "_count",
            Part::Sum => "_sum",
            Part::Bucket(_) => "_bucket",
            Part::Whole | Part::Quantile(_) => "",
        };
        visit(METRIC_NAME, &[self.family.name, suffix].concat());
        // They were found to be good when the sample was read.
        let _ = self.metric.visit_labels(|pair| {
            let (name, value) = pair.valid()?;
            visit(name, value);
            Ok(())
        });
        if let Part::Bucket(bound) | Part::Quantile(bound) = self.part {
            let mut text = String::new();
            float::format_openmetrics(bound, &mut text);
            visit(if matches!(self.part, Part::Bucket(_)) { "le" } else { "quantile" }, &text);
        }
    }

    /// The next entry, or `None` at the end of the page.
    ///
    /// `known` is asked with the key of a sample, and never for metadata; the labels of one that it knows are not looked at.
    ///
    /// # Errors
    /// The page is malformed. Nothing can be read from it any more.
    #[inline(never)]
    pub fn next(&mut self, known: &mut impl Recall) -> Result<Option<Entry<'page>>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        loop {
            match self.step {
                Step::Family => {
                    let Some(message) = next_family(&mut self.families)? else { return Ok(None) };
                    let Some(family) = Family::read(message)? else { continue };
                    self.family = family;
                    self.step = if family.unit.is_empty() { Step::Type } else { Step::Unit };
                    return Ok(Some(Entry::Help { name: family.name.as_bytes(), text: family.help }));
                }
                Step::Unit => {
                    self.step = Step::Type;
                    let Family { name, unit, .. } = self.family;
                    return Ok(Some(Entry::Unit { name: name.as_bytes(), unit }));
                }
                Step::Type => {
                    self.step = Step::Metric;
                    let Family { name, kind, .. } = self.family;
                    return Ok(Some(Entry::Type { name: name.as_bytes(), metric_type: kind.metric_type() }));
                }
                Step::Metric => {
                    let Some(message) = self.family.next_metric()? else {
                        self.step = Step::Family;
                        continue;
                    };
                    if let Some(entry) = self.metric(message, known)? {
                        return Ok(Some(entry));
                    }
                }
                Step::Count => {
                    self.step = Step::Sum;
                    let count = match self.family.kind {
                        Kind::Summary => self.metric.summary_count as f64,
                        _ => self.metric.head.classic_count(),
                    };
                    return self.series(Part::Count, count, known).map(Some);
                }
                Step::Sum => {
                    self.step = Step::Items;
                    let sum = match self.family.kind {
                        Kind::Summary => {
                            self.items = self.metric.quantiles();
                            self.metric.value
                        }
                        _ => {
                            self.items = self.metric.histogram_parts();
                            self.metric.head.sum
                        }
                    };
                    return self.series(Part::Sum, sum, known).map(Some);
                }
                Step::Converted => {
                    self.step = Step::Metric;
                    return self.converted(known).map(Some);
                }
                Step::Items => {
                    if let Some(entry) = self.item(known)? {
                        return Ok(Some(entry));
                    }
                }
            }
        }
    }

    /// Goes to a metric; gives its sample if it has one only.
    fn metric(&mut self, message: Message<'page>, known: &mut impl Recall) -> Result<Option<Entry<'page>>> {
        let Self { family, buffers: ProtobufBuffers { key, histogram, .. }, .. } = self;
        key.clear();
        key.extend_from_slice(family.name.as_bytes());
        key.push(SEPARATOR);
        let metric = &mut self.metric;
        metric.read(message, family.kind, key)?;
        key.push(SEPARATOR);
        self.labels_end = key.len();
        match family.kind {
            Kind::Counter | Kind::Gauge | Kind::Untyped => {
                let value = metric.value;
                let entry = self.series(Part::Whole, value, known)?;
                self.exemplars = Exemplars::of_sample(self.metric.exemplar);
                Ok(Some(entry))
            }
            Kind::Histogram | Kind::GaugeHistogram
                if metric.head.is_native() && !self.options.ignore_native_histograms =>
            {
                let hint = family.kind.counter_reset_hint();
                let mut parts = metric.histogram_parts();
                let name = family.name.as_bytes();
                histogram::read_native(&metric.head, name, hint, histogram, || parts.next())?;
                let is_classic_too = self.options.keep_classic_histograms && metric.head.has_buckets;
                self.step = if is_classic_too { Step::Count } else { Step::Metric };
                let known = self.series_key(Part::Whole, known)?;
                self.exemplars = Exemplars::of_native(&self.metric);
                Ok(Some(Entry::Histogram { known, timestamp_ms: self.metric.timestamp_ms }))
            }
            Kind::Histogram | Kind::GaugeHistogram if !self.options.keep_classic_histograms => {
                self.step =
                    if self.options.convert_classic_histograms { Step::Converted } else { Step::Count };
                Ok(None)
            }
            Kind::Histogram | Kind::GaugeHistogram | Kind::Summary => {
                self.step = Step::Count;
                Ok(None)
            }
        }
    }

    /// The classic histogram as a native one.
    fn converted(&mut self, known: &mut impl Recall) -> Result<Entry<'page>> {
        let Self { metric, family, buffers: ProtobufBuffers { histogram, classic, .. }, .. } = self;
        classic.clear();
        classic.set_count(metric.head.classic_count());
        classic.set_sum(metric.head.sum);
        let mut buckets = metric.histogram_parts();
        while let Some(message) = buckets.next_item()? {
            let bucket = histogram::bucket(message)?;
            classic.set_bucket(bucket.upper_bound, bucket.cumulative_count);
        }
        classic
            .convert(histogram)
            .map_err(|error| ProtobufError::Convert(error.to_string().into()).at(metric.place()))?;
        histogram.counter_reset_hint = family.kind.counter_reset_hint();
        let exemplars = Exemplars::of_native(metric);
        let timestamp_ms = metric.timestamp_ms;
        let known = self.series_key(Part::Whole, known)?;
        self.exemplars = exemplars;
        Ok(Entry::Histogram { known, timestamp_ms })
    }

    /// What comes behind the last classic series of a histogram.
    fn behind_classic(&self) -> Step {
        let is_native = self.metric.head.is_native() && !self.options.ignore_native_histograms;
        match self.options.convert_classic_histograms && !is_native {
            true => Step::Converted,
            false => Step::Metric,
        }
    }

    /// The next bucket or quantile; `None` behind the last one.
    fn item(&mut self, known: &mut impl Recall) -> Result<Option<Entry<'page>>> {
        let item = self.items.next_item()?;
        if self.family.kind == Kind::Summary {
            let Some(message) = item else {
                self.step = Step::Metric;
                return Ok(None);
            };
            let (bound, value) = quantile(message)?;
            return self.series(Part::Quantile(bound), value, known).map(Some);
        }
        let bucket = match item {
            Some(message) => histogram::bucket(message)?,
            // The last bound may be left out.
            None => histogram::Bucket {
                upper_bound: f64::INFINITY,
                cumulative_count: self.metric.head.classic_count(),
                exemplar: None,
            },
        };
        if bucket.upper_bound == f64::INFINITY {
            self.step = self.behind_classic();
        }
        let entry = self.series(Part::Bucket(bucket.upper_bound), bucket.cumulative_count, known)?;
        self.exemplars = Exemplars::of_sample(bucket.exemplar);
        Ok(Some(entry))
    }

    fn series(&mut self, part: Part, value: f64, known: &mut impl Recall) -> Result<Entry<'page>> {
        let known = self.series_key(part, known)?;
        Ok(Entry::Series { known, value, timestamp_ms: self.metric.timestamp_ms })
    }

    /// Completes the key, and checks the labels unless the caller knows it.
    fn series_key(&mut self, part: Part, known: &mut impl Recall) -> Result<bool> {
        self.part = part;
        self.exemplars = Exemplars::None;
        let key = &mut self.buffers.key;
        key.truncate(self.labels_end);
        key.extend_from_slice(&part.tail());
        let is_known = known.series(key) == Some(key.len());
        if !is_known {
            self.metric.visit_labels(|pair| pair.valid().map(|_| ()))?;
        }
        Ok(is_known)
    }
}

/// The next family of a page in which each stands behind its length.
///
/// # Errors
/// There is no length, or one beyond the end of the page.
#[inline]
fn next_family<'page>(page: &mut Message<'page>) -> Result<Option<Message<'page>>> {
    if page.is_empty() {
        return Ok(None);
    }
    let family = page.delimited(MAX_LENGTH_BYTES, "MetricFamily");
    family.map(Some).ok_or_else(|| no_family(*page))
}

#[cold]
fn no_family(rest: Message<'_>) -> ExpositionError {
    let mut body = rest;
    let length = body.varint().ok().filter(|_| rest.len() - body.len() <= MAX_LENGTH_BYTES);
    let error = match length {
        None => ProtobufError::InvalidFamilyLength,
        // At most 35 bits.
        Some(length) => ProtobufError::FamilyBeyondPage {
            needed: (rest.len() - body.len()) as u64 + length,
            found: rest.len() as u64,
        },
    };
    error.at(rest.place())
}
