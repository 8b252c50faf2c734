//! Why the daemon does not start.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::web::serve::listen::error::ListenError;
use scraped_engine::wal::error::WalError;

/// Why the daemon did not start: one sentence with the way out.
#[derive(Debug)]
pub enum StartError {
    /// The configuration file is missing or wrong.
    Config {
        /// `--config.file`.
        file: PathBuf,
        /// Every mistake, a line each.
        mistakes: String,
    },
    /// There is no configuration, and the one that was made cannot be kept.
    FirstConfig {
        /// Where it was to be.
        file: PathBuf,
        /// Why it is not.
        cause: io::Error,
    },
    /// `--web.config.file` is missing or wrong: every mistake, a line each.
    WebConfig(String),
    /// A web address cannot be bound.
    Listen(ListenError),
    /// The data directory cannot be used.
    Wal(WalError),
    /// The system refuses a thread.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config { file, .. } if !file.exists() => write!(
                f,
                "no configuration file at {}; name one with --config.file=FILE, etc/scraped.yml is one to start from",
                file.display()
            ),
            StartError::Config { mistakes, .. } => f.write_str(mistakes),
            StartError::FirstConfig { file, cause } => write!(
                f,
                "no configuration file at {}, and none can be written there: {cause}; name one with --config.file=FILE, \
                 etc/scraped.yml is one to start from",
                file.display()
            ),
            StartError::WebConfig(mistakes) => f.write_str(mistakes),
            StartError::Listen(err) => err.fmt(f),
            StartError::Wal(err) => err.fmt(f),
            StartError::Thread(err) => {
                write!(
                    f,
                    "cannot start a thread: {err}; raise the limit of processes or memory of this service"
                )
            }
        }
    }
}

impl std::error::Error for StartError {}

impl From<WalError> for StartError {
    fn from(err: WalError) -> Self {
        StartError::Wal(err)
    }
}
