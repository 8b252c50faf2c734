//! Why a scrape failed, in Prometheus' own words: this text is `lastError` of the targets API, and people grep for it.
//!
//! Knows no socket and no parser; the HTTP client and the append path make these values.

use crate::duration::format_duration;
use crate::http::error::Phase;
use crate::scrape::targets::history::ScrapeStage;
use scraped_engine::store::error::{PageError, Work};
use std::fmt;
use std::time::Duration;

/// Why a scrape failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScrapeError {
    /// The host's name has no address.
    Lookup {
        /// The page's address.
        url: String,
        /// The name that was looked up.
        host: String,
        /// "no such host" or what the system said.
        cause: String,
    },
    /// No connection.
    Connect {
        /// The page's address.
        url: String,
        /// Address and port that were tried.
        address: String,
        /// What the system said, in lower case as Go prints it: "connection refused".
        cause: String,
    },
    /// The target's host or port is none; no request was made.
    NotAUrl {
        /// Go's sentence.
        sentence: String,
    },
    /// The connection broke or spoke nonsense before the end of the head ("EOF", "stopped after 10 redirects").
    Request {
        /// The page's address.
        url: String,
        /// What happened.
        cause: String,
        /// How far the exchange had come.
        phase: Phase,
    },
    /// `scrape_timeout` ran out before the end of the head.
    Timeout {
        /// The page's address.
        url: String,
        /// How far the exchange had come.
        phase: Phase,
    },
    /// `scrape_timeout` ran out inside the body.
    BodyTimeout,
    /// Another status than 200.
    Status {
        /// The code.
        code: u16,
        /// The words behind it.
        reason: String,
        /// How the body begins, if it is not packed.
        start: Option<Box<[u8]>>,
    },
    /// The connection broke inside the body ("unexpected EOF").
    Body {
        /// What happened.
        cause: String,
    },
    /// `target_limit` of the job is exceeded: none of its targets is scraped.
    TargetLimit {
        /// Targets of the job.
        targets: u64,
        /// The limit.
        limit: u64,
    },
    /// All workers that suspects may use are taken.
    NoWorker {
        /// Suspect targets that wait.
        waiting: usize,
        /// Suspects that may run at once.
        limit: usize,
    },
    /// The scrape ran into a bug; it was caught and counted.
    Panicked,
    /// Several scrapes ran into a bug one after the other: the target is not asked for a while.
    SetAside {
        /// How many.
        panics: u32,
        /// For how long.
        pause: Duration,
    },
    /// A file or a command gave no page.
    Local {
        /// Which one, and what happened.
        cause: String,
    },
    /// `scrape_timeout` ran out while a command ran.
    LocalTimeout {
        /// What happened.
        cause: String,
    },
    /// The page was there and could not be stored.
    Page(PageError),
}

impl ScrapeError {
    /// The same without a word of the page: a file of this machine may be none, and anyone who can reach the pages may
    /// read the error.
    pub fn without_page(self) -> Self {
        match self {
            Self::Page(error) => Self::Local { cause: error.without_excerpts() },
            other => other,
        }
    }

    /// Where the scrape was.
    pub fn stage(&self) -> ScrapeStage {
        match self {
            Self::NotAUrl { .. }
            | Self::TargetLimit { .. }
            | Self::NoWorker { .. }
            | Self::Panicked
            | Self::SetAside { .. } => ScrapeStage::Begin,
            Self::Lookup { .. } => ScrapeStage::Resolve,
            Self::Connect { .. } => ScrapeStage::Connect,
            Self::Request { phase, .. } | Self::Timeout { phase, .. } => match phase {
                Phase::Token => ScrapeStage::Token,
                Phase::Resolve => ScrapeStage::Resolve,
                Phase::Connect => ScrapeStage::Connect,
                Phase::Handshake => ScrapeStage::Tls,
                Phase::Send => ScrapeStage::Send,
                Phase::Head => ScrapeStage::FirstByte,
                Phase::Body => ScrapeStage::Body,
            },
            Self::Status { .. } => ScrapeStage::Answer,
            Self::BodyTimeout | Self::Body { .. } | Self::Local { .. } | Self::LocalTimeout { .. } => {
                ScrapeStage::Body
            }
            Self::Page(error) => stage_of_page(error),
        }
    }

    /// Whether the target gave an answer within its timeout, be it one that is of no use.
    pub fn answered(&self) -> bool {
        match self {
            Self::Page(error) => error.answered(),
            Self::Status { .. } | Self::Local { .. } => true,
            Self::Lookup { .. }
            | Self::Connect { .. }
            | Self::NotAUrl { .. }
            | Self::Request { .. }
            | Self::Timeout { .. }
            | Self::BodyTimeout
            | Self::Body { .. }
            | Self::TargetLimit { .. }
            | Self::LocalTimeout { .. }
            | Self::NoWorker { .. }
            | Self::Panicked
            | Self::SetAside { .. } => false,
        }
    }
}

impl fmt::Display for ScrapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookup { url, host, cause } => write!(f, "Get {url:?}: dial tcp: lookup {host}: {cause}"),
            Self::Connect { url, address, cause } => {
                write!(f, "Get {url:?}: dial tcp {address}: connect: {cause}")
            }
            Self::NotAUrl { sentence } => f.write_str(sentence),
            Self::Request { url, cause, .. } => write!(f, "Get {url:?}: {cause}"),
            Self::Timeout { url, phase } => {
                write!(f, "Get {url:?}: context deadline exceeded (while {phase})")
            }
            Self::BodyTimeout => write!(f, "context deadline exceeded (while {})", Phase::Body),
            Self::Status { code, reason, .. } if reason.is_empty() => {
                write!(f, "server returned HTTP status {code}")
            }
            Self::Status { code, reason, .. } => write!(f, "server returned HTTP status {code} {reason}"),
            Self::Body { cause } => f.write_str(cause),
            Self::TargetLimit { targets, limit } => {
                write!(f, "target_limit exceeded (number of targets: {targets}, limit: {limit})")
            }
            Self::NoWorker { waiting, limit } => {
                write!(f, "no scrape worker free (suspect targets waiting: {waiting}, limit: {limit})")
            }
            Self::Panicked => {
                f.write_str("scrape panicked: a bug; its series are stale, the next scrape starts afresh")
            }
            Self::SetAside { panics, pause } => write!(
                f,
                "set aside: {panics} scrapes in a row panicked, a bug; it is tried again after {} or when its settings \
                 change",
                format_duration(*pause)
            ),
            Self::Local { cause } | Self::LocalTimeout { cause } => f.write_str(cause),
            Self::Page(error) => error.fmt(f),
        }
    }
}

fn stage_of_page(error: &PageError) -> ScrapeStage {
    match error {
        PageError::WorkTimeout { work: Work::Unpacking } | PageError::Gzip { .. } => ScrapeStage::Unpack,
        PageError::BlankContentType
        | PageError::UnparsableContentType { .. }
        | PageError::UnsupportedContentType { .. } => ScrapeStage::Answer,
        PageError::Exposition(_) | PageError::Histogram { .. } => ScrapeStage::Parse,
        PageError::BodySizeLimit { .. }
        | PageError::BodySizeCap { .. }
        | PageError::BodyBudget { .. }
        | PageError::SampleLimit { .. }
        | PageError::LabelLimit(_)
        | PageError::RegexCost { .. }
        | PageError::Amplified { .. }
        | PageError::BucketLimit { .. } => ScrapeStage::Limit,
        _ => ScrapeStage::Store,
    }
}

impl std::error::Error for ScrapeError {}

impl From<PageError> for ScrapeError {
    fn from(error: PageError) -> Self {
        Self::Page(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::exposition::excerpt::Excerpt;
    use scraped_engine::exposition::recall::NoRecall;
    use scraped_engine::exposition::text::TextParser;

    /// `want` is `lastError` of Prometheus 3.5.3; what we add comes behind it.
    fn check(error: impl Into<ScrapeError>, want: &str, added: &str) {
        assert_eq!(error.into().to_string(), format!("{want}{added}"));
    }

    fn url(path: &str) -> String {
        format!("http://127.0.0.1:39001/{path}")
    }

    fn page_error(page: &str) -> PageError {
        let mut parser = TextParser::new(page.as_bytes());
        loop {
            match parser.next(&mut NoRecall) {
                Ok(entry) => assert!(entry.is_some(), "{page:?} is a good page"),
                Err(error) => return error.into(),
            }
        }
    }

    #[test]
    fn speaks_prometheus() {
        check(
            ScrapeError::Connect {
                url: "http://127.0.0.1:39009/metrics".to_owned(),
                address: "127.0.0.1:39009".to_owned(),
                cause: "connection refused".to_owned(),
            },
            r#"Get "http://127.0.0.1:39009/metrics": dial tcp 127.0.0.1:39009: connect: connection refused"#,
            "",
        );
        check(
            ScrapeError::Request { url: url("close"), cause: "EOF".to_owned(), phase: Phase::Head },
            r#"Get "http://127.0.0.1:39001/close": EOF"#,
            "",
        );
        check(ScrapeError::Body { cause: "unexpected EOF".to_owned() }, "unexpected EOF", "");
        check(
            ScrapeError::Status { code: 503, reason: "Service Unavailable".to_owned(), start: None },
            "server returned HTTP status 503 Service Unavailable",
            "",
        );
        check(PageError::Gzip { cause: "invalid header".to_owned() }, "gzip: invalid header", "");
        check(
            PageError::BodySizeLimit { limit_bytes: 10 },
            "body size limit exceeded",
            " (body_size_limit: 10B)",
        );
        check(
            PageError::UnsupportedContentType { content_type: Excerpt::new(b"text/html; charset=utf-8") },
            r#"received unsupported Content-Type "text/html; charset=utf-8" and no fallback_scrape_protocol specified for target"#,
            "",
        );
        check(
            PageError::UnparsableContentType {
                content_type: Excerpt::new(b";;;"),
                cause: "mime: no media type",
            },
            "cannot parse Content-Type \";;;\" and no fallback_scrape_protocol for target\nmime: no media type",
            "",
        );
        check(
            PageError::BlankContentType,
            "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target",
            "",
        );
        check(
            page_error("a 1\nb{x=\"1\" 2\nc 3\n"),
            r#"expected label name, got "2" ("INVALID") while parsing: "b{x=\"1\" 2""#,
            " (line 2, column 9)",
        );
        check(
            page_error("a 1\nb foo\nc 3\n"),
            r#"strconv.ParseFloat: parsing "foo": invalid syntax while parsing: "b foo""#,
            " (line 2, column 3)",
        );
        check(
            PageError::SampleLimit { samples: 3, limit: 2 },
            "sample limit exceeded",
            " (samples: 3, sample_limit: 2)",
        );
        check(
            ScrapeError::TargetLimit { targets: 2, limit: 1 },
            "target_limit exceeded (number of targets: 2, limit: 1)",
            "",
        );
        check(PageError::NameLabelMandatory, "missing metric name (__name__ label)", "");
        check(
            PageError::DuplicateLabel { name: "b".to_owned() },
            "label name \"b\" is not unique: invalid sample",
            "",
        );
    }
}
