//! Why a question to the log has no answer. There is never a part of one.

use crate::wal::error::WalError;
use std::fmt;

/// Why there is no answer.
#[derive(Debug)]
pub enum HistoryError {
    /// The log is not open yet, or closed.
    NotOpen,
    /// More series match than one answer may have.
    TooManySeries {
        /// The bound.
        limit: usize,
    },
    /// More label names or values match than one answer may have.
    TooManyTexts {
        /// The bound.
        limit: usize,
    },
    /// More samples are in the range than one answer may have; a native histogram counts as one for each 16 bytes.
    TooManySamples {
        /// The bound.
        limit: usize,
    },
    /// A pattern and a label value are so long that comparing them could take seconds.
    PatternTooCostly {
        /// The label.
        name: String,
    },
    /// The deadline has passed.
    TimedOut,
    /// The log cannot be read.
    Wal(WalError),
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => {
                f.write_str("the log is not open: the daemon starts, stops, or waits for its disk")
            }
            Self::TooManySeries { limit } => {
                write!(
                    f,
                    "the selector matches more than {limit} series (limit: {limit}); add matchers to it"
                )
            }
            Self::TooManyTexts { limit } => {
                write!(
                    f,
                    "there are more than {limit} of them (limit: {limit}); select fewer series with match[]"
                )
            }
            Self::TooManySamples { limit } => write!(
                f,
                "the selected series have more than {limit} samples in this range (limit: {limit}); ask for fewer series \
                 or less time"
            ),
            Self::PatternTooCostly { name } => write!(
                f,
                "a value of label {name:?} is too long for the regular expression it is compared with; use a shorter \
                 expression or ="
            ),
            Self::TimedOut => {
                f.write_str("the query took longer than it may; ask for fewer series or less time")
            }
            Self::Wal(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HistoryError {}

impl From<WalError> for HistoryError {
    fn from(error: WalError) -> Self {
        Self::Wal(error)
    }
}
