//! Why a page was not stored, in Prometheus' own words: the text becomes `lastError` of the targets API.
//!
//! Knows no socket and no target; what unpacks, reads and stages a page makes these values.

use crate::exposition::error::ExpositionError;
use crate::exposition::excerpt::Excerpt;
use crate::store::append::label_check::LabelLimitError;
use std::fmt;

/// Why a page was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageError {
    /// `scrape_timeout` ran out after the page was there.
    WorkTimeout {
        /// What was being done.
        work: Work,
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
    /// Labels that stand once in the page belong to more series than memory and log could hold.
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
    /// The daemon is stopping or the target is gone: nothing is recorded.
    Cancelled,
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

impl PageError {
    /// The same without a word of the page, where it has one.
    pub fn without_excerpts(self) -> String {
        match self {
            Self::Exposition(error) => error.without_excerpts(),
            Self::DuplicateLabel { .. } => {
                "a label name is not unique in its series: invalid sample".to_owned()
            }
            Self::InvalidLabels { .. } => {
                "invalid metric name or label names after metric_relabel_configs".to_owned()
            }
            Self::LabelLimit(error) => error.without_labels(),
            Self::Histogram { .. } => "a native histogram is not valid".to_owned(),
            other => other.to_string(),
        }
    }

    /// Whether the page was there in time, be it one that is of no use.
    pub fn answered(&self) -> bool {
        !matches!(self, Self::WorkTimeout { .. } | Self::BodyBudget { .. } | Self::Cancelled)
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkTimeout { work } => write!(f, "context deadline exceeded (while {work})"),
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
            Self::Cancelled => f.write_str("context canceled"),
            Self::Histogram { cause } | Self::Wal { cause } => f.write_str(cause),
        }
    }
}

impl std::error::Error for PageError {}

impl From<ExpositionError> for PageError {
    fn from(error: ExpositionError) -> Self {
        Self::Exposition(error)
    }
}
