//! Exposition formats: bytes in, borrowed entries out (Prometheus' `model/textparse`).
//!
//! Knows neither labels nor series nor targets, and allocates nothing in the steady state.

pub mod content_type;
pub mod error;
pub mod float;
pub mod lexer;
pub mod series_text;
pub mod text;

/// Kind of a metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the exposition formats' own")]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    Unknown,
}

/// One entry of a page, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry<'page> {
    /// A sample. [`series_text::visit_labels`] gives its labels.
    Series {
        /// Name and labels as spelled in the page: the key of the scrape cache.
        text: &'page [u8],
        /// True if the caller knew this text, so that it was not read again.
        known: bool,
        /// The value.
        value: f64,
        /// Explicit timestamp in milliseconds.
        timestamp_ms: Option<i64>,
    },
    /// `# TYPE`.
    Type {
        /// Family name as written, without quotes.
        name: &'page [u8],
        /// Its kind.
        metric_type: MetricType,
    },
    /// `# HELP`.
    Help {
        /// Family name as written, without quotes.
        name: &'page [u8],
        /// Text as written, escapes included.
        text: &'page str,
    },
    /// Another comment.
    Comment,
}
