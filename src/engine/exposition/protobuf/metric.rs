//! The messages `MetricFamily` and `Metric`, read as far as a sample needs.
//!
//! A family is walked twice: once for its own fields, which may stand behind its metrics, once metric by metric.
//! Nothing is kept of a metric but where it is, so a family of any size costs no memory.

use crate::exposition::excerpt::Excerpt;
use crate::exposition::protobuf::error::ProtobufError;
use crate::exposition::protobuf::histogram::{Head, timestamp_ms};
use crate::exposition::protobuf::place::{Field, Message, Result};
use crate::histogram::CounterResetHint;
use crate::metric_type::MetricType;

/// Number of a `Metric`'s labels.
const LABEL: i32 = 1;
/// Number of a `Metric`'s histogram.
const HISTOGRAM: i32 = 7;
/// Number of a `Metric`'s summary.
const SUMMARY: i32 = 4;
/// Number of the quantiles of a `Summary` and of the buckets of a `Histogram`.
const ITEM: i32 = 3;

/// A family without its metrics.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family<'page> {
    pub(super) name: &'page str,
    pub(super) help: &'page str,
    pub(super) unit: &'page str,
    pub(super) kind: Kind,
    /// All of its fields.
    pub(super) metrics: Message<'page>,
}

/// `MetricType` of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Summary,
    Untyped,
    Histogram,
    GaugeHistogram,
}

impl Kind {
    fn new(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Summary,
            3 => Self::Untyped,
            4 => Self::Histogram,
            5 => Self::GaugeHistogram,
            _ => return None,
        })
    }

    pub(super) fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Summary => MetricType::Summary,
            Self::Untyped => MetricType::Unknown,
            Self::Histogram => MetricType::Histogram,
            Self::GaugeHistogram => MetricType::GaugeHistogram,
        }
    }

    /// What is known of its native histograms.
    pub(super) fn counter_reset_hint(self) -> CounterResetHint {
        match self {
            Self::GaugeHistogram => CounterResetHint::Gauge,
            _ => CounterResetHint::Unknown,
        }
    }
}

impl<'page> Family<'page> {
    /// Stands for none.
    pub(super) fn none() -> Self {
        Self { name: "", help: "", unit: "", kind: Kind::Untyped, metrics: Message::empty() }
    }

    /// Reads a `MetricFamily`; `None` if it has no metric, and then nothing of it is checked.
    ///
    /// # Errors
    /// It is malformed, or one of its texts is not UTF-8.
    pub(super) fn read(message: Message<'page>) -> Result<Option<Self>> {
        let mut fields = message;
        let (mut name, mut help, mut unit) = (&b""[..], &b""[..], &b""[..]);
        let mut metric_type = 0;
        let mut has_metrics = false;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => name = field.bytes("Name")?,
                2 => help = field.bytes("Help")?,
                3 => metric_type = field.integer("Type")? as i32,
                4 => {
                    field.bytes("Metric")?;
                    has_metrics = true;
                }
                5 => unit = field.bytes("Unit")?,
                _ => {}
            }
        }
        if !has_metrics {
            return Ok(None);
        }
        let valid_name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        let name = valid_name
            .ok_or_else(|| ProtobufError::InvalidMetricName(Excerpt::unquoted(name)).at(message.place()))?;
        let shown_name = || Excerpt::new(name.as_bytes());
        let help = std::str::from_utf8(help).map_err(|_| {
            ProtobufError::InvalidHelp { name: shown_name(), help: Excerpt::unquoted(help) }
                .at(message.place())
        })?;
        let kind = Kind::new(metric_type).ok_or_else(|| {
            ProtobufError::UnknownMetricType { name: shown_name(), metric_type }.at(message.place())
        })?;
        // Prometheus looks at no unit; one that cannot be shown is none.
        let unit = std::str::from_utf8(unit).unwrap_or_default();
        Ok(Some(Self { name, help, unit, kind, metrics: message }))
    }

    /// Its next metric.
    pub(super) fn next_metric(&mut self) -> Result<Option<Message<'page>>> {
        while let Some(field) = self.metrics.field()? {
            if field.number == 4 {
                return Ok(Some(field.message("Metric", "Metric")?));
            }
        }
        Ok(None)
    }
}

/// One metric, as far as all of its samples share it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric<'page> {
    message: Message<'page>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) start_time_ms: Option<i64>,
    /// Of counters, gauges and untyped metrics; the sum of a summary.
    pub(super) value: f64,
    /// Of a counter.
    pub(super) exemplar: Option<Message<'page>>,
    /// Observations of a summary.
    pub(super) summary_count: u64,
    /// Of histograms.
    pub(super) head: Head,
}

impl<'page> Metric<'page> {
    /// Stands for none.
    pub(super) fn none() -> Self {
        Self::new(Message::empty())
    }

    fn new(message: Message<'page>) -> Self {
        Self {
            message,
            timestamp_ms: None,
            start_time_ms: None,
            value: 0.0,
            exemplar: None,
            summary_count: 0,
            head: Head::default(),
        }
    }

    /// Becomes a `Metric` of a family of this kind, and appends its labels to `key` as they are encoded.
    ///
    /// # Errors
    /// It is malformed.
    #[inline]
    pub(super) fn read(&mut self, message: Message<'page>, kind: Kind, key: &mut Vec<u8>) -> Result<()> {
        *self = Self::new(message);
        let mut fields = message;
        // Labels mostly stand together, and are copied together.
        let (mut labels_start, mut labels_end) = (0, 0);
        while let Some(field) = fields.field()? {
            match (field.number, kind) {
                (LABEL, _) => {
                    field.bytes("Label")?;
                    if field.start != labels_end {
                        key.extend_from_slice(message.piece(labels_start, labels_end));
                        labels_start = field.start;
                    }
                    labels_end = field.end;
                }
                (2, Kind::Gauge) => self.read_value(field.message("Gauge", "Gauge")?)?,
                (3, Kind::Counter) => self.read_counter(field.message("Counter", "Counter")?)?,
                (SUMMARY, Kind::Summary) => self.read_summary(field.message("Summary", "Summary")?)?,
                (5, Kind::Untyped) => self.read_value(field.message("Untyped", "Untyped")?)?,
                (6, _) => {
                    let ms = field.integer("TimestampMs")? as i64;
                    // In this format the epoch and nothing look the same.
                    self.timestamp_ms = (ms != 0).then_some(ms);
                }
                (HISTOGRAM, Kind::Histogram | Kind::GaugeHistogram) => {
                    self.head.read(field.message("Histogram", "Histogram")?)?;
                    self.start_time_ms = self.head.start_time_ms;
                }
                _ => {}
            }
        }
        key.extend_from_slice(message.piece(labels_start, labels_end));
        Ok(())
    }

    fn read_value(&mut self, mut message: Message<'page>) -> Result<()> {
        while let Some(field) = message.field()? {
            if field.number == 1 {
                self.value = field.double("Value")?;
            }
        }
        Ok(())
    }

    fn read_counter(&mut self, mut message: Message<'page>) -> Result<()> {
        while let Some(field) = message.field()? {
            match field.number {
                1 => self.value = field.double("Value")?,
                2 => self.exemplar = Some(field.message("Exemplar", "Exemplar")?),
                3 => self.start_time_ms = timestamp_ms(field.message("StartTimestamp", "Timestamp")?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_summary(&mut self, mut message: Message<'page>) -> Result<()> {
        while let Some(field) = message.field()? {
            match field.number {
                1 => self.summary_count = field.integer("SampleCount")?,
                2 => self.value = field.double("SampleSum")?,
                4 => self.start_time_ms = timestamp_ms(field.message("StartTimestamp", "Timestamp")?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Its labels, as names and values that need not be UTF-8.
    pub(super) fn visit_labels(&self, mut visit: impl FnMut(LabelPair<'page>) -> Result<()>) -> Result<()> {
        let mut fields = self.message;
        while let Some(field) = fields.field()? {
            if field.number == LABEL {
                visit(LabelPair::read(field.message("Label", "LabelPair")?)?)?;
            }
        }
        Ok(())
    }

    /// Where it is.
    pub(super) fn place(&self) -> (u64, &'static str) {
        self.message.place()
    }

    /// The quantiles of its summary.
    pub(super) fn quantiles(&self) -> Parts<'page> {
        Parts { outer: self.message, inner: Message::empty(), outer_number: SUMMARY }
    }

    /// The fields of its histogram.
    pub(super) fn histogram_parts(&self) -> Parts<'page> {
        Parts { outer: self.message, inner: Message::empty(), outer_number: HISTOGRAM }
    }
}

/// The fields of all messages with one number in a metric: a message may be written in several pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'page> {
    outer: Message<'page>,
    inner: Message<'page>,
    outer_number: i32,
}

impl<'page> Parts<'page> {
    /// No field.
    pub(super) fn none() -> Self {
        Self { outer: Message::empty(), inner: Message::empty(), outer_number: 0 }
    }

    /// The next field.
    pub(super) fn next(&mut self) -> Result<Option<Field<'page>>> {
        loop {
            if let Some(field) = self.inner.field()? {
                return Ok(Some(field));
            }
            match self.outer.field()? {
                Some(field) if field.number == self.outer_number => {
                    let name = if self.outer_number == HISTOGRAM { "Histogram" } else { "Summary" };
                    self.inner = field.message(name, name)?;
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next bucket or quantile.
    pub(super) fn next_item(&mut self) -> Result<Option<Message<'page>>> {
        let (field_name, name) =
            if self.outer_number == HISTOGRAM { ("Bucket", "Bucket") } else { ("Quantile", "Quantile") };
        self.next_message(ITEM, field_name, name)
    }

    /// The next message with this number.
    pub(super) fn next_message(
        &mut self,
        number: i32,
        field_name: &'static str,
        name: &'static str,
    ) -> Result<Option<Message<'page>>> {
        while let Some(field) = self.next()? {
            if field.number == number {
                return Ok(Some(field.message(field_name, name)?));
            }
        }
        Ok(None)
    }
}

/// A label.
#[derive(Clone, Copy, Debug)]
pub(super) struct LabelPair<'page> {
    /// `None` if it is not there at all.
    pub(super) name: Option<&'page [u8]>,
    pub(super) value: &'page [u8],
    message: Message<'page>,
}

impl<'page> LabelPair<'page> {
    pub(super) fn read(message: Message<'page>) -> Result<Self> {
        let mut pair = Self { name: None, value: b"", message };
        let mut fields = message;
        while let Some(field) = fields.field()? {
            match field.number {
                1 => pair.name = Some(field.bytes("Name")?),
                2 => pair.value = field.bytes("Value")?,
                _ => {}
            }
        }
        Ok(pair)
    }

    /// Its texts.
    ///
    /// # Errors
    /// A text is not UTF-8, or the name is there and empty.
    pub(super) fn valid(&self) -> Result<(&'page str, &'page str)> {
        let name = match self.name {
            None => "",
            Some(name) => {
                std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).ok_or_else(|| {
                    ProtobufError::InvalidLabelName(Excerpt::unquoted(name)).at(self.message.place())
                })?
            }
        };
        let value = std::str::from_utf8(self.value).map_err(|_| {
            ProtobufError::InvalidLabelValue(Excerpt::unquoted(self.value)).at(self.message.place())
        })?;
        Ok((name, value))
    }
}

/// Reads a `Quantile` message: which one it is, and its value.
pub(super) fn quantile(mut message: Message<'_>) -> Result<(f64, f64)> {
    let (mut quantile, mut value) = (0.0, 0.0);
    while let Some(field) = message.field()? {
        match field.number {
            1 => quantile = field.double("Quantile")?,
            2 => value = field.double("Value")?,
            _ => {}
        }
    }
    Ok((quantile, value))
}
