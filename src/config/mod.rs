//! The configuration: parsed strictly, defaults filled in, checked, then never typed text again.
//!
//! Three steps: `yaml` keeps what was typed as a tree with lines, `fields` reads values out of that tree and collects
//! every mistake, and `load` and its neighbours fill in Prometheus' defaults and check what depends on more than one
//! field. Everything runs on the thread that calls [`load()`]; nothing here knows a socket or a thread.

pub mod client;
pub mod error;
pub mod remote_write;
pub mod scrape_options;
pub mod text;
pub mod web;

pub mod discovery;
mod load;
mod print;
mod relabel;
mod schema;
mod scrape;
mod sections;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::client::http_client::HttpClientConfig;
use crate::config::discovery::DiscoveryConfig;
use crate::config::error::{ConfigError, ConfigErrors};
use crate::config::print::emit::{Yaml, emit};
use crate::config::remote_write::RemoteWriteConfig;
use crate::config::scrape_options::{ScrapeLimits, ScrapeOptions, ScrapeProtocol, TypedScrapeOptions};
use crate::config::text::node::Node;
use scraped_engine::labels::Labels;
use scraped_engine::labels::relabel::RelabelRule;

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
    /// `--enable-feature=exec-targets`: targets may be commands.
    pub exec_targets: bool,
    /// `--local-targets.dir`: where files, sockets and programs of targets may be; empty: where the configuration names
    /// them.
    pub local_target_dirs: Arc<[PathBuf]>,
    /// `evaluation_interval`, default 1m; only printed.
    pub evaluation_interval: Duration,
    /// `rule_query_offset`, default 0; only printed.
    pub rule_query_offset: Duration,
    /// `query_log_file`, joined with the directory of the main file; only printed.
    pub query_log_file: PathBuf,
    /// `external_labels`, `${VAR}` expanded.
    pub external_labels: Labels,
    /// What jobs inherit if they have no limit of their own.
    pub limits: ScrapeLimits,
    /// What jobs inherit of formats, names and histograms.
    pub options: TypedScrapeOptions,
    /// `scrape_failure_log_file`, joined with the directory of the main file; empty for none.
    pub scrape_failure_log_file: PathBuf,
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
    /// `--enable-feature=exec-targets`: targets may be commands.
    pub exec_targets: bool,
    /// `--local-targets.dir`: where files, sockets and programs of targets may be; empty: where the configuration names
    /// them.
    pub local_target_dirs: Arc<[PathBuf]>,
    pub limits: ScrapeLimits,
    pub options: ScrapeOptions,
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Buckets of a native histogram; 0 for any number.
    pub native_histogram_bucket_limit: u64,
    /// Least growth from one bucket to the next; 0 for any.
    pub native_histogram_min_bucket_factor: f64,
    /// Joined with the directory of its file; empty for none.
    pub scrape_failure_log_file: PathBuf,
    pub http_client: Arc<HttpClientConfig>,
    pub relabel_configs: Vec<RelabelRule>,
    pub metric_relabel_configs: Vec<RelabelRule>,
    /// All `static_configs` of the job are one element; each entry of a `*_sd_configs` is one.
    pub discovery: Vec<DiscoveryConfig>,
}

impl Default for ScrapeConfig {
    /// A job without a name and without targets; the rest is Prometheus' `DefaultScrapeConfig`.
    fn default() -> Self {
        let global = GlobalConfig::default();
        Self {
            job_name: String::new(),
            scrape_interval: global.scrape_interval,
            scrape_timeout: global.scrape_timeout,
            metrics_path: "/metrics".to_owned(),
            scheme: Scheme::Http,
            params: Vec::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            enable_compression: true,
            exec_targets: false,
            local_target_dirs: Arc::default(),
            enable_http2: true,
            limits: ScrapeLimits::default(),
            options: ScrapeOptions::default(),
            fallback_scrape_protocol: None,
            native_histogram_bucket_limit: 0,
            native_histogram_min_bucket_factor: 0.0,
            scrape_failure_log_file: PathBuf::new(),
            http_client: Arc::default(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            discovery: Vec::new(),
        }
    }
}

/// What is true of a configuration that does not say otherwise; set by `--enable-feature`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureDefaults {
    /// `global.extra_scrape_metrics`.
    pub extra_scrape_metrics: bool,
    /// Whether `exec:` targets may run.
    pub exec_targets: bool,
    /// `--local-targets.dir`.
    pub local_target_dirs: Arc<[PathBuf]>,
}

/// Reads, completes and checks the configuration in `path`, with the environment of this process for external labels.
///
/// # Errors
///
/// Every mistake in the file and in those it names, or that they cannot be read.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    load_with(path, FeatureDefaults::default())
}

/// [`load()`] with other defaults.
///
/// # Errors
///
/// As for [`load()`].
pub fn load_with(path: &Path, defaults: FeatureDefaults) -> Result<Config, ConfigErrors> {
    load::load(path, defaults, &|variable| std::env::var(variable).ok())
}

/// What is wrong with the text of a configuration, without a look at the files that it names.
pub fn mistakes_of(text: &str) -> Vec<ConfigError> {
    load::mistakes_of(text)
}

/// A tree as YAML.
pub fn printed(node: &Node) -> String {
    emit(&Yaml::of(node))
}

/// Reads a file that is a list of relabel rules and nothing else, as `scraped relabel test --rules` takes it.
///
/// # Errors
///
/// Every mistake in it.
pub fn load_rules(path: &Path) -> Result<Vec<RelabelRule>, ConfigErrors> {
    load::load_rules(path)
}

/// Reads a file with the settings of one client and nothing else, as `--http.config.file` of sub-commands names it.
///
/// # Errors
///
/// Every mistake in it.
pub fn load_http_client(path: &Path) -> Result<HttpClientConfig, ConfigErrors> {
    load::load_http_client(path)
}
