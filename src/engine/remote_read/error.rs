//! Why a request of remote read is refused, in Prometheus' words where it has them.

use crate::labels::pattern::PatternError;
use crate::labels::selector::PATTERNS_TOO_LARGE;
use crate::protobuf::error::WireError;
use std::fmt;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestError {
    /// It is no snappy block.
    Snappy,
    /// It would be longer than a request may be.
    TooLong {
        /// Bytes that it says it has.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// It is no message.
    Wire(WireError),
    /// It has more queries, or a query more matchers, than it may.
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// An operator that there is not.
    UnknownMatcher,
    /// A label name or value that is not UTF-8.
    NotUtf8,
    /// A value that is no regular expression.
    Pattern(PatternError),
    /// Regular expressions that are too large together.
    PatternsTooLarge,
    /// It accepts no answer that there is: the numbers of those that it accepts.
    NoAnswerType(Vec<i32>),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snappy => f.write_str("snappy: corrupt input"),
            Self::TooLong { bytes, limit } => {
                write!(f, "snappy: decoded length {bytes} exceeds limit {limit}")
            }
            Self::Wire(error) => error.fmt(f),
            Self::TooMany { what, limit } => {
                write!(f, "more than {limit} {what} in a request (limit: {limit})")
            }
            Self::UnknownMatcher => f.write_str("invalid matcher type"),
            Self::NotUtf8 => f.write_str("a matcher whose name or value is not UTF-8 matches nothing"),
            Self::Pattern(error) => error.fmt(f),
            Self::PatternsTooLarge => f.write_str(PATTERNS_TOO_LARGE),
            Self::NoAnswerType(accepted) => {
                let accepted: Vec<String> = accepted.iter().map(i32::to_string).collect();
                write!(
                    f,
                    "server does not support any of the requested response types: [{}]; supported: map[SAMPLES:{{}} \
                     STREAMED_XOR_CHUNKS:{{}}]",
                    accepted.join(" ")
                )
            }
        }
    }
}

impl std::error::Error for RequestError {}

impl From<WireError> for RequestError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<PatternError> for RequestError {
    fn from(error: PatternError) -> Self {
        Self::Pattern(error)
    }
}
