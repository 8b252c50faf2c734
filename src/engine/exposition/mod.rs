//! Exposition formats: bytes in, borrowed entries out (Prometheus' `model/textparse`).
//!
//! Knows neither labels nor series nor targets, and allocates nothing in the steady state.

mod braces;
pub mod content_type;
pub mod error;
pub mod excerpt;
pub mod exemplar;
pub mod label_list;
pub mod nhcb;
pub mod openmetrics;
pub mod options;
mod page_cursor;
pub mod parser;
pub mod protobuf;
pub mod reader;
pub mod recall;
pub mod series_text;
pub mod text;
pub mod token;

use crate::metric_type::MetricType;

/// One entry of a page, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Entry<'page> {
    /// A sample; the parser has its text, labels and exemplars until the next entry.
    Series {
        /// True if the caller knew its text, so that it was not read again.
        known: bool,
        /// The value.
        value: f64,
        /// Explicit timestamp in milliseconds.
        timestamp_ms: Option<i64>,
    },
    /// A native histogram; the parser has it, its text, labels and exemplars until the next entry.
    Histogram {
        /// True if the caller knew its text.
        known: bool,
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
    /// `# UNIT`.
    Unit {
        /// Family name as written, without quotes.
        name: &'page [u8],
        /// The unit; may be empty.
        unit: &'page str,
    },
    /// One of these three, and the caller knew it.
    KnownMetadata {
        /// Family name as written.
        name: &'page [u8],
        /// Of `# TYPE`.
        metric_type: Option<MetricType>,
    },
    /// Another comment.
    Comment,
}
