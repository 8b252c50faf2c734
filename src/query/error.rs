//! Why a question has no answer.

use scraped_engine::history::error::HistoryError;
use std::fmt;
use std::io;

/// Why there is no answer. The sentences are Prometheus' where it has one.
#[derive(Debug)]
pub enum QueryError {
    /// As many questions wait as may.
    QueueFull {
        /// The bound.
        limit: usize,
    },
    /// Its time was over before its turn came.
    TimedOutInQueue,
    /// Others do not read their answers.
    AnswersUnread {
        /// Bytes of them.
        unread_bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The system refuses the thread.
    NoThread(io::Error),
    /// A parameter is wrong, in Prometheus' words.
    BadParameter(String),
    /// The expression needs PromQL's engine.
    NeedsEngine,
    /// The log has no answer.
    History(HistoryError),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::QueueFull { limit } => {
                write!(f, "{limit} queries wait (limit: {limit}); ask again when some of them are answered")
            }
            Self::TimedOutInQueue => f.write_str("query timed out in query queue"),
            Self::AnswersUnread { unread_bytes, limit } => write!(
                f,
                "answers of {unread_bytes} bytes are not read yet by those who asked for them (limit: {limit}); ask again \
                 later"
            ),
            Self::NoThread(error) => write!(f, "cannot start a thread for queries: {error}"),
            Self::BadParameter(why) => f.write_str(why),
            Self::NeedsEngine => f.write_str(
                "this needs PromQL's engine, which an agent has not; series selectors with range, offset and @ are \
                 answered here, everything else by a Prometheus that has this agent's /api/v1/read in its remote_read",
            ),
            Self::History(HistoryError::TimedOut) => f.write_str("query timed out in query execution"),
            Self::History(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for QueryError {}

impl From<HistoryError> for QueryError {
    fn from(error: HistoryError) -> Self {
        Self::History(error)
    }
}
