//! One reader for all formats: the entries of a page as they stand there.

use crate::exposition::Entry;
use crate::exposition::error::ExpositionError;
use crate::exposition::exemplar::Exemplar;
use crate::exposition::openmetrics::OpenMetricsParser;
use crate::exposition::protobuf::ProtobufParser;
use crate::exposition::recall::Recall;
use crate::exposition::series_text::InvalidUtf8;
use crate::exposition::series_text::LabelScratch;
use crate::exposition::series_text::visit_labels;
use crate::exposition::text::TextParser;
use crate::metric_type::MetricType;

/// Reads the entries that stand in a page.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a thread has one, on its stack")]
pub(in crate::exposition) enum Reader<'page> {
    /// Text format 0.0.4 and 1.0.0.
    Text(TextParser<'page>),
    /// OpenMetrics 0.0.1 and 1.0.0.
    OpenMetrics(OpenMetricsParser<'page>),
    /// Delimited protobuf.
    Protobuf(ProtobufParser<'page>),
}

impl<'page> Reader<'page> {
    // The lines of most pages are known: what reads those is a part of the loop that asks for them.
    #[inline(always)]
    pub(in crate::exposition) fn next(
        &mut self,
        known: &mut impl Recall,
    ) -> Result<Option<Entry<'page>>, ExpositionError> {
        match self {
            Self::Text(parser) => parser.next(known),
            Self::OpenMetrics(parser) => parser.next(known),
            Self::Protobuf(parser) => parser.next(known),
        }
    }

    pub(in crate::exposition) fn series_text(&self) -> &[u8] {
        match self {
            Self::Text(parser) => parser.series_text(),
            Self::OpenMetrics(parser) => parser.series_text(),
            Self::Protobuf(parser) => parser.series_text(),
        }
    }

    pub(in crate::exposition) fn metric_type(&self) -> MetricType {
        match self {
            Self::Text(parser) => parser.metric_type(),
            Self::OpenMetrics(parser) => parser.metric_type(),
            Self::Protobuf(parser) => parser.metric_type(),
        }
    }

    pub(in crate::exposition) fn visit_labels(
        &self,
        scratch: &mut LabelScratch,
        visit: impl FnMut(&str, &str),
    ) -> Result<(), InvalidUtf8> {
        match self {
            Self::Text(_) | Self::OpenMetrics(_) => {
                visit_labels(self.series_text(), self.metric_type(), scratch, visit)
            }
            Self::Protobuf(parser) => {
                parser.visit_labels(visit);
                Ok(())
            }
        }
    }

    /// Whether [`Reader::exemplar`] has anything to say of the sample read last.
    #[inline]
    pub(in crate::exposition) fn may_have_exemplars(&self) -> bool {
        match self {
            Self::Text(_) => false,
            Self::OpenMetrics(parser) => parser.has_exemplar(),
            Self::Protobuf(parser) => parser.may_have_exemplars(),
        }
    }

    pub(in crate::exposition) fn exemplar(&mut self, exemplar: &mut Exemplar) -> bool {
        match self {
            Self::Text(_) => false,
            Self::OpenMetrics(parser) => parser.exemplar(exemplar),
            Self::Protobuf(parser) => parser.exemplar(exemplar),
        }
    }

    pub(in crate::exposition) fn start_time_ms(&mut self) -> Option<i64> {
        match self {
            Self::Text(_) => None,
            Self::OpenMetrics(parser) => parser.start_time_ms(),
            Self::Protobuf(parser) => parser.start_time_ms(),
        }
    }
}
