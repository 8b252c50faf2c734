//! What the caller of a parser has seen in earlier pages, so that a line that comes again is compared and not read.

use crate::exposition::content_type::Format;
use crate::exposition::text::lexer::metric_name_len;
use crate::metric_type::MetricType;

/// Asked by a parser before it reads a line.
pub trait Recall {
    /// Asked with a text that starts with a series' text. It may answer with the length of that text if the parser
    /// has given it before, in this page or an earlier one: then it is not read again.
    fn series(&mut self, text: &[u8]) -> Option<usize>;

    /// Asked with the page from a `#` on that starts a line. It may answer with a line of metadata that stands there,
    /// made of what [`is_plain_name`], [`is_plain_help`] and [`type_as_written`] allow: then it is not read again.
    fn metadata(&mut self, text: &[u8]) -> Option<KnownLine>;
}

/// A line of metadata that says again what it said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownLine {
    /// Of the family's name, which starts behind the keyword and its blank.
    pub name_len: u32,
    /// Of the line without its line feed.
    pub len: u32,
    /// Of a TYPE line.
    pub metric_type: Option<MetricType>,
}

/// Length of `# HELP `, `# TYPE ` and `# UNIT `.
pub const KEYWORD_LEN: usize = 7;

/// What a line of metadata says of its family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the keywords")]
pub enum Keyword {
    #[default]
    Help,
    Type,
    Unit,
}

impl Keyword {
    /// The keyword with its blanks that `text` starts with, if a byte stands behind it. One comparison of numbers each:
    /// this is asked at every line of metadata.
    #[inline]
    pub fn at(text: &[u8]) -> Option<Self> {
        const HELP: u64 = u64::from_le_bytes(*b"# HELP \0");
        const TYPE: u64 = u64::from_le_bytes(*b"# TYPE \0");
        const UNIT: u64 = u64::from_le_bytes(*b"# UNIT \0");
        match u64::from_le_bytes(*text.first_chunk()?) & (u64::MAX >> 8) {
            HELP => Some(Self::Help),
            TYPE => Some(Self::Type),
            UNIT => Some(Self::Unit),
            _ => None,
        }
    }
}

impl KnownLine {
    /// The family's name in the line at the start of `text`, if a line ends there.
    #[inline]
    pub(in crate::exposition) fn name_in<'page>(&self, text: &'page [u8]) -> Option<&'page [u8]> {
        if text.get(self.len as usize) != Some(&b'\n') {
            return None;
        }
        text.get(KEYWORD_LEN..KEYWORD_LEN + self.name_len as usize)
    }
}

/// Nothing was seen before.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRecall;

impl Recall for NoRecall {
    fn series(&mut self, _: &[u8]) -> Option<usize> {
        None
    }

    fn metadata(&mut self, _: &[u8]) -> Option<KnownLine> {
        None
    }
}

/// Series are known as a function says, and no metadata.
#[derive(Clone, Copy, Debug)]
pub struct KnownSeries<F>(pub F);

impl<F: FnMut(&[u8]) -> Option<usize>> Recall for KnownSeries<F> {
    fn series(&mut self, text: &[u8]) -> Option<usize> {
        self.0(text)
    }

    fn metadata(&mut self, _: &[u8]) -> Option<KnownLine> {
        None
    }
}

/// Whether a family's name stands in a page as it is.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && metric_name_len(name.as_bytes()) == name.len()
}

/// Whether a help text stands in a page as it is, in text and in OpenMetrics.
pub fn is_plain_help(help: &str) -> bool {
    !help.contains(['\\', '\n']) && !help.is_empty() && !help.starts_with([' ', '\t', '\0'])
}

/// How a page spells a type, if the format has it.
#[inline]
pub fn type_as_written(format: Format, metric_type: MetricType) -> Option<&'static str> {
    Some(match (metric_type, format) {
        (MetricType::Counter, _) => "counter",
        (MetricType::Gauge, _) => "gauge",
        (MetricType::Histogram, _) => "histogram",
        (MetricType::Summary, _) => "summary",
        (MetricType::Unknown, Format::Text) => "untyped",
        (MetricType::GaugeHistogram, Format::OpenMetrics) => "gaugehistogram",
        (MetricType::Info, Format::OpenMetrics) => "info",
        (MetricType::StateSet, Format::OpenMetrics) => "stateset",
        (MetricType::Unknown, Format::OpenMetrics) => "unknown",
        _ => return None,
    })
}
