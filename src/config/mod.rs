//! The configuration: parsed strictly, defaults filled in, checked, then never typed text again.
//!
//! Three steps: `yaml` keeps what was typed as a tree with lines, `fields` reads values out of that tree and collects
//! every mistake, and `document` and its neighbours fill in Prometheus' defaults and check what depends on more than one
//! field. Everything runs on the thread that calls [`load`]; nothing here knows a socket or a thread.

pub mod duration;
pub mod error;
pub mod http_client;
pub mod node;
pub mod paths;
pub mod remote_write;
pub mod secret;
pub mod yaml;

pub mod discovery;
mod document;
mod emit;
mod fields;
mod locate;
mod print;
mod relabel;
mod schema;
mod scrape;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::discovery::DiscoveryConfig;
use crate::config::error::ConfigErrors;
use crate::config::http_client::HttpClientConfig;
use crate::config::remote_write::RemoteWriteConfig;
use crate::labels::Labels;
use crate::labels::relabel::RelabelRule;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `global`.
    pub global: GlobalConfig,
    /// `scrape_configs` and those of `scrape_config_files`, in order.
    pub scrape_configs: Vec<Arc<ScrapeConfig>>,
    /// How many of `scrape_configs` stand in the main file; only these are printed by [`Config::to_yaml`].
    pub n_main_file_jobs: usize,
    /// `remote_write`, in order.
    pub remote_write: Vec<Arc<RemoteWriteConfig>>,
    /// `scrape_config_files`: the patterns, joined with the directory of the main file.
    pub scrape_config_files: Vec<PathBuf>,
    /// Sentences about what was accepted without effect.
    pub notes: Vec<String>,
}

/// `global`, as far as it lives on after its defaults went into the jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalConfig {
    /// `scrape_interval`, default 1m.
    pub scrape_interval: Duration,
    /// `scrape_timeout`, default 10s.
    pub scrape_timeout: Duration,
    /// `evaluation_interval`, default 1m; only printed.
    pub evaluation_interval: Duration,
    /// `rule_query_offset`, default 0; only printed.
    pub rule_query_offset: Duration,
    /// `query_log_file`, joined with the directory of the main file; only printed.
    pub query_log_file: PathBuf,
    /// `external_labels`, `${VAR}` expanded.
    pub external_labels: Labels,
    /// `body_size_limit`, default 0: none.
    pub body_size_limit_bytes: u64,
    /// `sample_limit`, default 0: none.
    pub sample_limit: u64,
    /// `keep_dropped_targets`, default 0: all.
    pub keep_dropped_targets: u64,
}

/// How to reach a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Scheme {
    Http,
    Https,
}

/// One entry of `scrape_configs`; limits of 0 mean none.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields carry Prometheus' names and meaning")]
pub struct ScrapeConfig {
    pub job_name: String,
    pub scrape_interval: Duration,
    pub scrape_timeout: Duration,
    pub metrics_path: String,
    pub scheme: Scheme,
    /// Name → values, sorted by name.
    pub params: Vec<(String, Vec<String>)>,
    pub honor_labels: bool,
    pub honor_timestamps: bool,
    pub track_timestamps_staleness: bool,
    pub enable_compression: bool,
    /// Only printed: requests are HTTP/1.1 either way.
    pub enable_http2: bool,
    pub body_size_limit_bytes: u64,
    pub sample_limit: u64,
    pub keep_dropped_targets: u64,
    pub http_client: Arc<HttpClientConfig>,
    pub relabel_configs: Vec<RelabelRule>,
    pub metric_relabel_configs: Vec<RelabelRule>,
    /// All `static_configs` of the job are one element; each entry of a `*_sd_configs` is one.
    pub discovery: Vec<DiscoveryConfig>,
}

/// Reads, completes and checks the configuration in `path`, with the environment of this process for external labels.
///
/// # Errors
///
/// Every mistake in the file and in those it names, or that they cannot be read.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    document::load(path, &|variable| std::env::var(variable).ok())
}
