//! Why a scrape failed, in Prometheus' own words: this text is `lastError` of the targets API, and people grep for it.
//!
//! Knows no socket and no parser; the HTTP client and the append path make these values.

use crate::exposition::error::{Excerpt, ExpositionError};
use crate::http::error::Phase;
use crate::scrape::label_check::LabelLimitError;
use std::fmt;

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
    /// `scrape_timeout` ran out after the page was there.
    WorkTimeout {
        /// What was being done.
        work: Work,
    },
    /// Another status than 200.
    Status {
        /// The code.
        code: u16,
        /// The words behind it.
        reason: String,
    },
    /// The connection broke inside the body ("unexpected EOF").
    Body {
        /// What happened.
        cause: String,
    },
    /// The body says gzip and is not ("gzip: invalid header").
    Gzip {
        /// What happened, without the prefix.
        cause: String,
    },
    /// The body, unpacked, reached `body_size_limit`.
    BodySizeLimit {
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The job sets no `body_size_limit` and the body reached the cap that every body has.
    BodySizeCap {
        /// The cap in bytes.
        cap_bytes: u64,
    },
    /// Bodies in flight hold the whole budget and none came free in time.
    BodyBudget {
        /// Bytes this body needed.
        needed_bytes: u64,
        /// The budget in bytes.
        budget_bytes: u64,
    },
    /// No `Content-Type` and no `fallback_scrape_protocol`.
    BlankContentType,
    /// A `Content-Type` that is none.
    UnparsableContentType {
        /// As sent, or its start: what a target chooses stays in memory with its last error.
        content_type: Excerpt,
        /// What is wrong with it.
        cause: &'static str,
    },
    /// A `Content-Type` that is no exposition format.
    UnsupportedContentType {
        /// As sent.
        content_type: Excerpt,
    },
    /// The page is malformed.
    Exposition(ExpositionError),
    /// More samples after relabelling than `sample_limit`.
    SampleLimit {
        /// Samples after relabelling.
        samples: u64,
        /// The limit.
        limit: u64,
    },
    /// A series lost its name to relabelling.
    NameLabelMandatory,
    /// A label stands twice in a series.
    DuplicateLabel {
        /// Its name.
        name: String,
    },
    /// Relabelling made a label that no label may be.
    InvalidLabels {
        /// The label set as Prometheus prints it.
        labels: String,
    },
    /// The labels of a series exceed a limit.
    LabelLimit(LabelLimitError),
    /// A label is so long that one of the rules would work on it for seconds.
    RegexCost {
        /// Its place in `metric_relabel_configs`, from 1.
        rule: usize,
    },
    /// Labels that stand once in the page belong to so many series that they would fill memory and log.
    Amplified {
        /// Bytes of labels of the page's new series, as far as it was read.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A native histogram has more buckets than `native_histogram_bucket_limit`, and its resolution cannot be reduced
    /// any more.
    BucketLimit {
        /// The limit.
        limit: u64,
    },
    /// A native histogram that is none.
    Histogram {
        /// What is wrong with it.
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
    /// The daemon is stopping or the target is gone: nothing is recorded.
    Cancelled,
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
    /// The log did not take the samples.
    Wal {
        /// What it said.
        cause: String,
    },
}

/// What is done with a page that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// It waits for a processor.
    Waiting,
    /// It is unpacked.
    Unpacking,
    /// Its samples are read and staged.
    Storing,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "the page waited for a processor",
            Self::Unpacking => "unpacking the page",
            Self::Storing => "reading the page",
        })
    }
}

impl ScrapeError {
    /// The same without a word of the page: a file of this machine may be none, and anyone who can reach the pages may
    /// read the error.
    pub fn without_page(self) -> Self {
        let cause = match self {
            Self::Exposition(error) => error.without_excerpts(),
            Self::DuplicateLabel { .. } => {
                "a label name is not unique in its series: invalid sample".to_owned()
            }
            Self::InvalidLabels { .. } => {
                "invalid metric name or label names after metric_relabel_configs".to_owned()
            }
            Self::LabelLimit(error) => error.without_labels(),
            Self::Histogram { .. } => "a native histogram is not valid".to_owned(),
            other => return other,
        };
        Self::Local { cause }
    }

    /// Whether the target gave an answer within its timeout, be it one that is of no use.
    pub fn answered(&self) -> bool {
        match self {
            Self::Lookup { .. }
            | Self::Connect { .. }
            | Self::NotAUrl { .. }
            | Self::Request { .. }
            | Self::Timeout { .. }
            | Self::BodyTimeout
            | Self::WorkTimeout { .. }
            | Self::Body { .. }
            | Self::BodyBudget { .. }
            | Self::TargetLimit { .. }
            | Self::LocalTimeout { .. }
            | Self::NoWorker { .. }
            | Self::Panicked
            | Self::Cancelled => false,
            Self::Status { .. }
            | Self::Gzip { .. }
            | Self::BodySizeLimit { .. }
            | Self::BodySizeCap { .. }
            | Self::BlankContentType
            | Self::UnparsableContentType { .. }
            | Self::UnsupportedContentType { .. }
            | Self::Exposition(_)
            | Self::SampleLimit { .. }
            | Self::NameLabelMandatory
            | Self::DuplicateLabel { .. }
            | Self::InvalidLabels { .. }
            | Self::LabelLimit(_)
            | Self::Amplified { .. }
            | Self::RegexCost { .. }
            | Self::BucketLimit { .. }
            | Self::Histogram { .. }
            | Self::Local { .. }
            | Self::Wal { .. } => true,
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
            Self::Request { url, cause } => write!(f, "Get {url:?}: {cause}"),
            Self::Timeout { url, phase } => {
                write!(f, "Get {url:?}: context deadline exceeded (while {phase})")
            }
            Self::BodyTimeout => write!(f, "context deadline exceeded (while {})", Phase::Body),
            Self::WorkTimeout { work } => write!(f, "context deadline exceeded (while {work})"),
            Self::Status { code, reason } if reason.is_empty() => {
                write!(f, "server returned HTTP status {code}")
            }
            Self::Status { code, reason } => write!(f, "server returned HTTP status {code} {reason}"),
            Self::Body { cause } => f.write_str(cause),
            Self::Gzip { cause } => write!(f, "gzip: {cause}"),
            Self::BodySizeLimit { limit_bytes } => {
                write!(f, "body size limit exceeded (body_size_limit: {limit_bytes}B)")
            }
            Self::BodySizeCap { cap_bytes } => write!(
                f,
                "body size limit exceeded (limit: {cap_bytes}B, the smaller of --scrape.max-body-bytes and \
                 --scrape.body-budget)"
            ),
            Self::BodyBudget { needed_bytes, budget_bytes } => write!(
                f,
                "no memory for the body (needed: {needed_bytes}B, --scrape.body-budget of all bodies in flight: \
                 {budget_bytes}B)"
            ),
            Self::BlankContentType => f.write_str(
                "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified \
                 for target",
            ),
            Self::UnparsableContentType { content_type, cause } => write!(
                f,
                "cannot parse Content-Type {content_type} and no fallback_scrape_protocol for target\n{cause}"
            ),
            Self::UnsupportedContentType { content_type } => write!(
                f,
                "received unsupported Content-Type {content_type} and no fallback_scrape_protocol specified for \
                 target"
            ),
            Self::Exposition(error) => error.fmt(f),
            Self::SampleLimit { samples, limit } => {
                write!(f, "sample limit exceeded (samples: {samples}, sample_limit: {limit})")
            }
            Self::NameLabelMandatory => f.write_str("missing metric name (__name__ label)"),
            Self::DuplicateLabel { name } => write!(f, "label name \"{name}\" is not unique: invalid sample"),
            Self::InvalidLabels { labels } => write!(f, "invalid metric name or label names: {labels}"),
            Self::LabelLimit(error) => error.fmt(f),
            Self::RegexCost { rule } => write!(
                f,
                "a label is too long for the regex of rule {rule} of metric_relabel_configs, which would take seconds; \
                 make the regex smaller"
            ),
            Self::Amplified { bytes, limit } => write!(
                f,
                "the labels of the page's new series take more than eight times the page and 64 MiB (bytes: {bytes}, \
                 limit: {limit}); let the target have shorter labels or fewer buckets"
            ),
            Self::BucketLimit { limit } => {
                write!(f, "histogram bucket limit exceeded (native_histogram_bucket_limit: {limit})")
            }
            Self::TargetLimit { targets, limit } => {
                write!(f, "target_limit exceeded (number of targets: {targets}, limit: {limit})")
            }
            Self::NoWorker { waiting, limit } => {
                write!(f, "no scrape worker free (suspect targets waiting: {waiting}, limit: {limit})")
            }
            Self::Panicked => f.write_str("scrape panicked: a bug; its series are stale, the next scrape starts anew"),
            Self::Cancelled => f.write_str("context canceled"),
            Self::Histogram { cause }
            | Self::Local { cause }
            | Self::LocalTimeout { cause }
            | Self::Wal { cause } => f.write_str(cause),
        }
    }
}

impl std::error::Error for ScrapeError {}

impl From<ExpositionError> for ScrapeError {
    fn from(error: ExpositionError) -> Self {
        Self::Exposition(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::recall::NoRecall;
    use crate::exposition::text::TextParser;

    /// `want` is `lastError` of Prometheus 3.5.3; what we add comes behind it.
    fn check(error: ScrapeError, want: &str, added: &str) {
        assert_eq!(error.to_string(), format!("{want}{added}"));
    }

    fn url(path: &str) -> String {
        format!("http://127.0.0.1:39001/{path}")
    }

    fn page_error(page: &str) -> ScrapeError {
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
            ScrapeError::Request { url: url("close"), cause: "EOF".to_owned() },
            r#"Get "http://127.0.0.1:39001/close": EOF"#,
            "",
        );
        check(ScrapeError::Body { cause: "unexpected EOF".to_owned() }, "unexpected EOF", "");
        check(
            ScrapeError::Status { code: 503, reason: "Service Unavailable".to_owned() },
            "server returned HTTP status 503 Service Unavailable",
            "",
        );
        check(ScrapeError::Gzip { cause: "invalid header".to_owned() }, "gzip: invalid header", "");
        check(
            ScrapeError::BodySizeLimit { limit_bytes: 10 },
            "body size limit exceeded",
            " (body_size_limit: 10B)",
        );
        check(
            ScrapeError::UnsupportedContentType { content_type: Excerpt::new(b"text/html; charset=utf-8") },
            r#"received unsupported Content-Type "text/html; charset=utf-8" and no fallback_scrape_protocol specified for target"#,
            "",
        );
        check(
            ScrapeError::UnparsableContentType {
                content_type: Excerpt::new(b";;;"),
                cause: "mime: no media type",
            },
            "cannot parse Content-Type \";;;\" and no fallback_scrape_protocol for target\nmime: no media type",
            "",
        );
        check(
            ScrapeError::BlankContentType,
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
            ScrapeError::SampleLimit { samples: 3, limit: 2 },
            "sample limit exceeded",
            " (samples: 3, sample_limit: 2)",
        );
        check(
            ScrapeError::TargetLimit { targets: 2, limit: 1 },
            "target_limit exceeded (number of targets: 2, limit: 1)",
            "",
        );
        check(ScrapeError::NameLabelMandatory, "missing metric name (__name__ label)", "");
        check(
            ScrapeError::DuplicateLabel { name: "b".to_owned() },
            "label name \"b\" is not unique: invalid sample",
            "",
        );
    }
}
