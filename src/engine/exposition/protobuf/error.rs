//! What is wrong with a protobuf page, in the words of Prometheus and of the decoder that it uses.

use crate::exposition::excerpt::Excerpt;
use crate::protobuf::error::Mistake;
use std::fmt;

/// Why a protobuf page was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtobufError {
    /// What is there is no message at all.
    Wire(Mistake),
    /// What stands before a family is no length.
    InvalidFamilyLength,
    /// A family is longer than the rest of the page.
    FamilyBeyondPage {
        /// Bytes it needs, its length included.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// A family without a name, or with one that is not UTF-8.
    InvalidMetricName(Excerpt),
    /// A help text that is not UTF-8.
    InvalidHelp {
        /// The family.
        name: Excerpt,
        /// The text.
        help: Excerpt,
    },
    /// A type that the format does not have.
    UnknownMetricType {
        /// The family.
        name: Excerpt,
        /// The type.
        metric_type: i32,
    },
    /// A label name that is empty or not UTF-8.
    InvalidLabelName(Excerpt),
    /// A label value that is not UTF-8.
    InvalidLabelValue(Excerpt),
    /// A native histogram whose spans do not fit its buckets.
    SpansMismatch {
        /// The family.
        name: Excerpt,
        /// `positive` or `negative`.
        side: &'static str,
        /// Buckets that the spans describe.
        described: u64,
        /// Buckets there are.
        found: u64,
    },
    /// A classic histogram that is none: why, as a sentence.
    Convert(Box<str>),
    /// More spans or buckets on a side of a native histogram than any resolution has.
    TooManyBuckets {
        /// The bound.
        limit: usize,
    },
}

impl fmt::Display for ProtobufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(mistake) => mistake.fmt(f),
            Self::InvalidFamilyLength => f.write_str("clientpb: invalid varint encountered"),
            Self::FamilyBeyondPage { needed, found } => write!(
                f,
                "clientpb: insufficient length of buffer, expected at least {needed} bytes, got {found} bytes"
            ),
            Self::InvalidMetricName(name) => write!(f, "invalid metric name: {name}"),
            Self::InvalidHelp { name, help } => write!(f, "invalid help for metric {name}: {help}"),
            Self::UnknownMetricType { name, metric_type } => {
                write!(f, "unknown metric type for metric {name}: {metric_type}")
            }
            Self::InvalidLabelName(name) => write!(f, "invalid label name: {name}"),
            Self::InvalidLabelValue(value) => write!(f, "invalid label value: {value}"),
            Self::SpansMismatch { name, side, described, found } => {
                write!(f, "histogram {name}: {side} side: spans require {described} buckets, have {found}")
            }
            Self::Convert(sentence) => f.write_str(sentence),
            Self::TooManyBuckets { limit } => {
                write!(f, "native histogram with more than {limit} spans or buckets on one side")
            }
        }
    }
}
