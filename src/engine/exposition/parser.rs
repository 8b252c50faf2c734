//! The one interface to all formats (Prometheus' `textparse.Parser`): entries in the order of the page, and for the
//! sample read last its text, its labels, its histogram and its exemplars.
//!
//! An entry holds no text of its own, since one format has the series as a piece of the page and another has to put
//! it together.

use crate::exposition::Entry;
use crate::exposition::content_type::Format;
use crate::exposition::error::ExpositionError;
use crate::exposition::exemplar::Exemplar;
use crate::exposition::nhcb::{Nhcb, NhcbBuffers};
use crate::exposition::openmetrics::OpenMetricsParser;
use crate::exposition::options::ParserOptions;
use crate::exposition::protobuf::{ProtobufBuffers, ProtobufParser};
use crate::exposition::reader::Reader;
use crate::exposition::recall::Recall;
use crate::exposition::series_text::{InvalidUtf8, LabelScratch};
use crate::exposition::text::TextParser;
use crate::histogram::Histogram;
use crate::metric_type::MetricType;
use std::mem;

/// Memory of a parser that the next one uses again; one a thread that parses.
#[derive(Debug, Default)]
pub struct ParserBuffers {
    protobuf: ProtobufBuffers,
    nhcb: NhcbBuffers,
}

/// Reads a page of any format.
#[derive(Debug)]
pub struct Parser<'page> {
    reader: Reader<'page>,
    /// Between a reader of text and the caller if classic histograms are converted.
    nhcb: Option<Nhcb<'page>>,
    buffers: ParserBuffers,
}

impl<'page> Parser<'page> {
    /// A parser at the start of `page`.
    pub fn new(
        format: Format,
        page: &'page [u8],
        options: ParserOptions,
        mut buffers: ParserBuffers,
    ) -> Self {
        let (reader, converts_itself) = match format {
            Format::Text => (Reader::Text(TextParser::new(page)), false),
            Format::OpenMetrics => (Reader::OpenMetrics(OpenMetricsParser::new(page, options)), false),
            Format::Protobuf => {
                let own_buffers = mem::take(&mut buffers.protobuf);
                (Reader::Protobuf(ProtobufParser::new(page, options, own_buffers)), true)
            }
        };
        let nhcb = (options.convert_classic_histograms && !converts_itself)
            .then(|| Nhcb::new(options.keep_classic_histograms, mem::take(&mut buffers.nhcb)));
        Self { reader, nhcb, buffers }
    }

    /// Its memory, for the next page.
    pub fn into_buffers(self) -> ParserBuffers {
        let Self { reader, nhcb, mut buffers } = self;
        if let Reader::Protobuf(parser) = reader {
            buffers.protobuf = parser.into_buffers();
        }
        if let Some(nhcb) = nhcb {
            buffers.nhcb = nhcb.into_buffers();
        }
        buffers
    }

    /// The next entry, or `None` at the end of the page. `known` says what need not be read again.
    ///
    /// # Errors
    /// The page is malformed. Nothing can be read from it any more.
    #[inline(always)]
    pub fn next(&mut self, known: &mut impl Recall) -> Result<Option<Entry<'page>>, ExpositionError> {
        match &mut self.nhcb {
            None => self.reader.next(known),
            Some(nhcb) => nhcb.next(&mut self.reader, known),
        }
    }

    /// The series of the sample read last, as the scrape cache knows it: a key that need not be a text.
    #[inline]
    pub fn series_text(&self) -> &[u8] {
        self.converted().map_or_else(|| self.reader.series_text(), Nhcb::key)
    }

    /// Type of the family that the sample read last belongs to.
    pub fn metric_type(&self) -> MetricType {
        self.converted().map_or_else(|| self.reader.metric_type(), |_| MetricType::Histogram)
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
        match self.converted() {
            Some(nhcb) => {
                nhcb.visit_labels(visit);
                Ok(())
            }
            None => self.reader.visit_labels(scratch, visit),
        }
    }

    /// The histogram behind the last [`Entry::Histogram`]; the caller may lower its resolution.
    pub fn histogram(&mut self) -> Option<&mut Histogram> {
        match (self.nhcb.as_mut().and_then(Nhcb::current_mut), &mut self.reader) {
            (Some(nhcb), _) => Some(nhcb.histogram()),
            (None, Reader::Protobuf(parser)) => Some(parser.histogram()),
            (None, Reader::Text(_) | Reader::OpenMetrics(_)) => None,
        }
    }

    /// False if the sample read last has no exemplar for sure.
    #[inline]
    pub fn may_have_exemplars(&self) -> bool {
        self.nhcb.is_some() || self.reader.may_have_exemplars()
    }

    /// The next exemplar of the sample read last; false when there is none left.
    pub fn exemplar(&mut self, exemplar: &mut Exemplar) -> bool {
        match self.nhcb.as_mut().and_then(Nhcb::current_mut) {
            Some(nhcb) => nhcb.exemplar(exemplar),
            None => self.reader.exemplar(exemplar),
        }
    }

    /// When the counter of the sample read last was started, in milliseconds, if the page says so.
    pub fn start_time_ms(&mut self) -> Option<i64> {
        match self.converted() {
            Some(nhcb) => nhcb.start_time_ms(),
            None => self.reader.start_time_ms(),
        }
    }

    /// Set if the current sample is a classic histogram that was converted.
    fn converted(&self) -> Option<&Nhcb<'page>> {
        self.nhcb.as_ref().and_then(Nhcb::current)
    }
}
