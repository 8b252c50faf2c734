//! Exposition formats: bytes in, borrowed entries out (Prometheus' `model/textparse`).
//!
//! Knows neither labels nor series nor targets, and allocates nothing in the steady state.

pub mod error;
pub mod lexer;
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
    /// A sample. The parser that gave it also gives its labels.
    Series {
        /// Name and labels as spelled in the page: the key of the scrape cache.
        text: &'page [u8],
        /// The value.
        value: f64,
        /// Explicit timestamp in milliseconds.
        timestamp_ms: Option<i64>,
    },
    /// `# TYPE`.
    Type {
        /// Family name.
        name: &'page str,
        /// Its kind.
        metric_type: MetricType,
    },
    /// `# HELP`.
    Help {
        /// Family name.
        name: &'page str,
        /// Text as written, escapes included.
        text: &'page str,
    },
    /// Another comment.
    Comment,
}
