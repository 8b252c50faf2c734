//! `scraped scrape URL|JOB`: one scrape, shown as it would be stored, with what each phase took.
//!
//! Goes the way of every scrape, into a log of its own that is thrown away, and prints that log as `scraped query`
//! does. Touches neither the data directory nor a daemon that runs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::clock::Clock;
use crate::commands::query;
use crate::commands::query::{QueryError, QueryFormat, QueryOptions};
use crate::commands::service;
use crate::config::discovery::{DiscoveryConfig, Provenance};
use crate::config::error::ConfigErrors;
use crate::config::{FeatureDefaults, ScrapeConfig, load_with};
use crate::discovery::target_group::TargetGroup;
use crate::flags::{Arguments, Done, Outcome};
use crate::scrape::error::ScrapeError;
use crate::scrape::fetch::scraper::Fetched;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::scrape_loop::{PhaseWatch, ScrapeLoop, ScrapeTime, Worker};
use crate::scrape::targets::pool::LoopSettings;
use crate::scrape::targets::status::{LastScrape, TargetStatus};
use crate::scrape::targets::target::{Target, targets_from_group};
use crate::terminal::Terminal;
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::permits::Permits;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::options::{Compression, WalOptions};

/// Everything that one scrape writes.
const ALL_SERIES: &str = "{__name__=~\".+\"}";

/// The log is thrown away before anything of it could be truncated.
const SEGMENT_BYTES: u64 = 64 << 20;

/// Memory for the page, packed and unpacked, as in the daemon by default.
const BODY_BYTES: u64 = 256 << 20;

/// Directories for the log, where there is no temporary one.
const OTHER_PLACES: [&str; 4] = ["/dev/shm", "/run", "/var/tmp", "."];

/// What to scrape, and with which settings.
#[derive(Clone, Debug)]
pub struct ScrapeOptions {
    /// A URL, a `file:` or `exec:` target, or the name of a job whose static targets are scraped.
    pub what: String,
    /// `--job`: whose settings a URL is scraped with; without it, the defaults.
    pub job: Option<String>,
    /// `--config.file`, if it was given; read only if a job is asked for.
    pub config_file: Option<PathBuf>,
    /// How to print what was stored.
    pub format: QueryFormat,
}

/// Why nothing was scraped, or what was scraped is not shown.
#[derive(Debug)]
#[non_exhaustive]
pub enum ScrapeCommandError {
    /// The configuration has mistakes.
    Config(ConfigErrors),
    /// No job has this name.
    UnknownJob {
        /// The name.
        job: String,
    },
    /// The job's targets are not in the configuration.
    NoStaticTargets {
        /// Its name.
        job: String,
    },
    /// The address is none, or relabelling drops it.
    NoTarget {
        /// A sentence.
        cause: String,
    },
    /// The log of its own cannot be written or read.
    Log(String),
    /// The answer cannot be written.
    Output(io::Error),
}

impl fmt::Display for ScrapeCommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::UnknownJob { job } => {
                write!(f, "no job is called {job:?}; give a URL or the name of a job")
            }
            Self::NoStaticTargets { job } => {
                write!(f, "job {job:?} has no static_configs; give the URL of a target and --job={job}")
            }
            Self::NoTarget { cause } => f.write_str(cause),
            Self::Log(cause) => write!(f, "the log for this scrape: {cause}"),
            Self::Output(error) => write!(f, "cannot write the answer: {error}"),
        }
    }
}

impl std::error::Error for ScrapeCommandError {}

impl From<WalError> for ScrapeCommandError {
    fn from(error: WalError) -> Self {
        Self::Log(error.to_string())
    }
}

/// `scraped scrape`.
pub(in crate::commands) fn command(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let options = ScrapeOptions {
        what: arguments.word(0),
        job: arguments.flag("job"),
        config_file: arguments.flag_file("config.file"),
        format: match arguments.is_json() {
            true => QueryFormat::Json,
            false => QueryFormat::Table { columns: terminal.columns() },
        },
    };
    Ok(if run(&options, terminal)? { Outcome::Good } else { Outcome::Bad })
}

/// Scrapes and prints; true if every scrape was good.
///
/// # Errors
/// Nothing was scraped, or it cannot be shown. A scrape that fails is no error.
pub fn run(options: &ScrapeOptions, out: &mut dyn Write) -> Result<bool, ScrapeCommandError> {
    let mut is_good = true;
    for (config, target) in targets(options)? {
        let dir = ScratchDir::new().map_err(|error| ScrapeCommandError::Log(error.to_string()))?;
        is_good &= scrape(options, &config, target, &dir.0, out)?;
    }
    Ok(is_good)
}

/// A directory that is gone afterwards.
pub(in crate::commands) struct ScratchDir(pub(in crate::commands) PathBuf);

impl ScratchDir {
    /// Where such things belong, or anywhere else: a small system may have no `/tmp`.
    pub(in crate::commands) fn new() -> io::Result<Self> {
        let name = format!("scraped-scrape-{}", std::process::id());
        let mut failure = None;
        for place in [std::env::temp_dir()].into_iter().chain(OTHER_PLACES.map(PathBuf::from)) {
            let dir = place.join(&name);
            match fs::create_dir(&dir) {
                Ok(()) => return Ok(Self(dir)),
                Err(cause) => drop(failure.get_or_insert(cause)),
            }
        }
        Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be removed lies where such things are cleaned up.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn targets(options: &ScrapeOptions) -> Result<Vec<(Arc<ScrapeConfig>, Target)>, ScrapeCommandError> {
    let what = &options.what;
    let is_local = what.starts_with("file:") || what.starts_with("exec:");
    let is_address = is_local || what.contains("://") || is_host_and_port(what);
    let job_name = if is_address { options.job.as_ref() } else { Some(what) };
    let config = match job_name {
        // A user who names the command wants it run.
        None => Arc::new(ScrapeConfig {
            job_name: "scrape".to_owned(),
            exec_targets: true,
            ..ScrapeConfig::default()
        }),
        Some(job) => {
            let file = service::config_file(options.config_file.as_deref());
            let defaults = FeatureDefaults { exec_targets: true, ..FeatureDefaults::default() };
            let config = load_with(&file, defaults).map_err(ScrapeCommandError::Config)?;
            let found = config.scrape_configs.iter().find(|it| it.job_name == *job);
            Arc::clone(found.ok_or_else(|| ScrapeCommandError::UnknownJob { job: job.clone() })?)
        }
    };
    let groups = if is_local {
        vec![group([("__address__", what.as_str())])]
    } else if is_address {
        vec![group_of_url(what)]
    } else {
        static_groups(&config)
    };
    if groups.is_empty() {
        return Err(ScrapeCommandError::NoStaticTargets { job: config.job_name.clone() });
    }
    let mut targets = Vec::new();
    let mut failure = None;
    for group in &groups {
        targets_from_group(&config, group, &mut LabelsBuilder::new(), |discovered, outcome| match outcome {
            Ok(Some(target)) => targets.push((Arc::clone(&config), target)),
            Ok(None) => failure = Some(format!("relabel_configs drop the target {}", discovered.labels())),
            Err(error) => failure = Some(error.to_string()),
        });
    }
    match failure {
        Some(cause) if targets.is_empty() => Err(ScrapeCommandError::NoTarget { cause }),
        _ => Ok(targets),
    }
}

/// `host:port`, with or without a path.
fn is_host_and_port(what: &str) -> bool {
    let authority = what.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn group<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Arc<TargetGroup> {
    let targets = vec![Labels::from_pairs(labels)];
    let provenance = Provenance::Operator;
    Arc::new(TargetGroup { provenance, source: String::new(), targets, labels: Labels::default() })
}

/// A URL as the labels that a target is made of.
fn group_of_url(url: &str) -> Arc<TargetGroup> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (address, path_and_query) = rest.split_at(path_at);
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let path = if path.is_empty() { "/metrics" } else { path };
    let params = query.split('&').filter_map(|pair| pair.split_once('='));
    let params: Vec<(String, &str)> =
        params.map(|(name, value)| (format!("__param_{name}"), value)).collect();
    let fixed = [("__scheme__", scheme), ("__address__", address), ("__metrics_path__", path)];
    group(fixed.into_iter().chain(params.iter().map(|(name, value)| (name.as_str(), *value))))
}

fn static_groups(config: &ScrapeConfig) -> Vec<Arc<TargetGroup>> {
    let groups = config.discovery.iter().filter_map(|provider| match provider {
        DiscoveryConfig::Static(groups) => Some(groups),
        _ => None,
    });
    let group = |(idx, group): (usize, &crate::config::discovery::statics::StaticConfig)| {
        let targets =
            group.targets.iter().map(|it| Labels::from_pairs([("__address__", it.as_str())])).collect();
        let (provenance, source) = (Provenance::Operator, idx.to_string());
        Arc::new(TargetGroup { provenance, source, targets, labels: group.labels.clone() })
    };
    groups.flatten().enumerate().map(group).collect()
}

/// What each phase brought and took, a line per phase.
pub(in crate::commands) struct Phases {
    /// When the phase began that is running.
    began: Instant,
    lines: Vec<String>,
}

impl Phases {
    /// Of a scrape that begins now.
    pub(in crate::commands) fn new() -> Self {
        Self { began: Instant::now(), lines: Vec::new() }
    }

    fn end(&mut self, line: impl FnOnce(&str) -> String) {
        let took = format!("{:.1} ms", self.began.elapsed().as_secs_f64() * 1e3);
        self.lines.push(line(&took));
        self.began = Instant::now();
    }
}

impl PhaseWatch for Phases {
    fn fetched(&mut self, fetched: &Result<Fetched, ScrapeError>) {
        self.end(|took| match fetched {
            Ok(Fetched { wire_bytes, content_encoding, content_type }) => format!(
                "fetched {wire_bytes} bytes in {took}, {content_encoding:?}, Content-Type {content_type:?}"
            ),
            Err(_) => format!("not fetched in {took}"),
        });
    }

    fn unpacked(&mut self, n_bytes: usize) {
        self.end(|took| format!("unpacked to {n_bytes} bytes in {took}"));
    }
}

/// One scrape.
fn scrape(
    options: &ScrapeOptions,
    config: &Arc<ScrapeConfig>,
    target: Target,
    dir: &Path,
    out: &mut dyn Write,
) -> Result<bool, ScrapeCommandError> {
    let target = Arc::new(target);
    let mut phases = Phases::new();
    let last = store(config, &target, dir, &mut phases)?;
    let (n_kept, n_scraped) = (last.samples_post_metric_relabeling, last.samples_scraped);
    phases.end(|took| format!("stored {n_kept} of {n_scraped} samples in {took}"));

    if options.format == QueryFormat::Json {
        let mut series = Vec::new();
        query_all(dir, QueryFormat::Json, &mut series)?;
        let series = String::from_utf8_lossy(&series);
        let labels: BTreeMap<&str, &str> = target.labels.iter().collect();
        let known = serde_json::json!({"url": target.url.to_string(), "labels": labels, "phases": phases.lines, "error": last.error});
        // One object: what is known of the scrape, and the answer of the query as it is.
        let known = known.to_string();
        let line = writeln!(
            out,
            "{},\"stored\":{}}}",
            known.strip_suffix('}').unwrap_or_default(),
            series.trim_end()
        );
        line.map_err(ScrapeCommandError::Output)?;
        return Ok(last.error.is_none());
    }
    let mut print = || -> io::Result<()> {
        writeln!(out, "{} {}", target.url, target.labels)?;
        for line in &phases.lines {
            writeln!(out, "{line}")?;
        }
        last.error.iter().try_for_each(|error| writeln!(out, "FAILED: {error}"))
    };
    print().map_err(ScrapeCommandError::Output)?;
    query_all(dir, options.format, out)?;
    Ok(last.error.is_none())
}

/// Everything that the scrape has stored.
fn query_all(dir: &Path, format: QueryFormat, out: &mut dyn Write) -> Result<(), ScrapeCommandError> {
    let query = QueryOptions { selector: ALL_SERIES.to_owned(), since: None, path: dir.to_owned(), format };
    query::run(query, out).map_err(|error| match error {
        QueryError::Output(error) => ScrapeCommandError::Output(error),
        error => ScrapeCommandError::Log(error.to_string()),
    })
}

/// Scrapes a target into a log of its own in `dir`.
///
/// # Errors
/// The log cannot be written. A scrape that fails is no error.
pub(in crate::commands) fn store(
    config: &Arc<ScrapeConfig>,
    target: &Arc<Target>,
    dir: &Path,
    phases: &mut Phases,
) -> Result<LastScrape, ScrapeCommandError> {
    let wal = open_log(dir)?;
    let clock = Clock::system();
    let budget = BodyBudget::new(BODY_BYTES, BODY_BYTES);
    let metrics = Arc::new(ScrapeMetrics::default());
    let mut worker = Worker::new(Permits::new(1, &wal), Arc::clone(&budget), metrics, clock.clone());
    let status = Arc::new(TargetStatus::default());
    let settings = LoopSettings::alone(Arc::clone(target), Arc::clone(config), Arc::clone(&status));
    let start = Instant::now();
    let at = ScrapeTime { start, ts_ms: clock.wall_ms(), deadline: start + target.scrape_timeout };
    ScrapeLoop::new(&settings).scrape_watched(&mut worker, at, phases);
    drop(worker);
    wal.close()?;
    Ok(status.last().unwrap_or_default())
}

fn open_log(dir: &Path) -> Result<Wal, WalError> {
    let options = WalOptions {
        segment_size_bytes: Some(SEGMENT_BYTES),
        compression: Compression::Snappy,
        lock_file: false,
        ..WalOptions::at(dir)
    };
    Ok(Wal::open(options, &mut |_, _| {})?.0)
}
