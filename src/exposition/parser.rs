//! The one interface to all formats (Prometheus' `textparse.Parser`): entries in the order of the page, and for the
//! sample read last its text, its labels, its histogram and its exemplars.
//!
//! An entry holds no text of its own, since one format has the series as a piece of the page and another has to put
//! it together.

use crate::exposition::content_type::Format;
use crate::exposition::error::ExpositionError;
use crate::exposition::exemplar::Exemplar;
use crate::exposition::openmetrics::OpenMetricsParser;
use crate::exposition::series_text::{InvalidUtf8, LabelScratch, visit_labels};
use crate::exposition::text::TextParser;
use crate::exposition::{Entry, MetricType};
use crate::histogram::Histogram;

/// Reads a page of any format that is built.
#[derive(Debug)]
pub enum Parser<'page> {
    /// Text format 0.0.4 and 1.0.0.
    Text(TextParser<'page>),
    /// OpenMetrics 0.0.1 and 1.0.0.
    OpenMetrics(OpenMetricsParser<'page>),
}

impl<'page> Parser<'page> {
    /// A parser at the start of `page`; `None` if the format is not built.
    pub fn new(format: Format, page: &'page [u8]) -> Option<Self> {
        match format {
            Format::Text => Some(Self::Text(TextParser::new(page))),
            Format::OpenMetrics => Some(Self::OpenMetrics(OpenMetricsParser::new(page))),
            Format::Protobuf => None,
        }
    }

    /// The next entry, or `None` at the end of the page.
    ///
    /// `known` is asked with a text that starts with a series' text. It may answer with the length of that text if
    /// this parser has given it before, in this page or an earlier one: then it is not read again.
    ///
    /// # Errors
    /// The page is malformed. Nothing can be read from it any more.
    pub fn next(
        &mut self,
        known: impl FnMut(&[u8]) -> Option<usize>,
    ) -> Result<Option<Entry<'page>>, ExpositionError> {
        match self {
            Self::Text(parser) => parser.next(known),
            Self::OpenMetrics(parser) => parser.next(known),
        }
    }

    /// The series of the sample read last, as the scrape cache knows it.
    pub fn series_text(&self) -> &[u8] {
        match self {
            Self::Text(parser) => parser.series_text(),
            Self::OpenMetrics(parser) => parser.series_text(),
        }
    }

    /// Type of the family that the sample read last belongs to.
    pub fn metric_type(&self) -> MetricType {
        match self {
            Self::Text(parser) => parser.metric_type(),
            Self::OpenMetrics(parser) => parser.metric_type(),
        }
    }

    /// Calls `visit` with each label of the sample read last, `__name__` among them.
    ///
    /// # Errors
    /// A quoted name is not UTF-8; what stands before it was visited.
    pub fn visit_labels(
        &self,
        scratch: &mut LabelScratch,
        visit: impl FnMut(&str, &str),
    ) -> Result<(), InvalidUtf8> {
        match self {
            Self::Text(_) | Self::OpenMetrics(_) => {
                visit_labels(self.series_text(), self.metric_type(), scratch, visit)
            }
        }
    }

    /// The histogram behind the last [`Entry::Histogram`].
    pub fn histogram(&self) -> Option<&Histogram> {
        match self {
            Self::Text(_) | Self::OpenMetrics(_) => None,
        }
    }

    /// The next exemplar of the sample read last; false when there is none left.
    pub fn exemplar(&mut self, exemplar: &mut Exemplar) -> bool {
        match self {
            Self::Text(_) => false,
            Self::OpenMetrics(parser) => parser.exemplar(exemplar),
        }
    }

    /// When the counter of the sample read last was started, in milliseconds, if the page says so.
    pub fn start_time_ms(&mut self) -> Option<i64> {
        match self {
            Self::Text(_) | Self::OpenMetrics(_) => None,
        }
    }
}
