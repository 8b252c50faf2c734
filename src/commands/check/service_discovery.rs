//! `scraped check service-discovery FILE JOB`: what a job's sources find, and what becomes of it.
//!
//! Prints what promtool prints: a list of objects with `discoveredLabels`, `labels` (none if the target is dropped) and
//! `error`. Ends as soon as every source has found something, not only after `--timeout`.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, bounded};
use serde_json::{Map, Value, json};

use crate::config::error::ConfigErrors;
use crate::config::{Config, ScrapeConfig, load};
use crate::discovery;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::target_group::{TargetGroup, TargetSets};
use crate::flags::{Arguments, Done, Outcome};
use crate::scrape::targets::target::{Discovered, targets_from_group};
use crate::terminal::{Progress, Terminal};
use scraped_engine::disk::RealDisk;
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::relabel::relabel;

/// promtool's.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks at how long it takes.
const TICK: Duration = Duration::from_millis(200);
/// No directory: nothing is to be remembered.
const NOWHERE: &str = "/dev/null/scraped";
/// Complaints that are shown.
const MAX_COMPLAINTS: usize = 20;

/// Why nothing was discovered.
#[derive(Debug)]
pub(in crate::commands) enum DiscoveryError {
    Config(ConfigErrors),
    UnknownJob { job: String, jobs: Vec<String> },
    Thread(io::Error),
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(errors) => errors.fmt(f),
            Self::UnknownJob { job, jobs } => {
                write!(f, "no job is called {job:?}; there are: {}", jobs.join(", "))
            }
            Self::Thread(cause) => write!(f, "cannot start discovery: {cause}"),
        }
    }
}

impl std::error::Error for DiscoveryError {}

pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let config = load(arguments.file(0)).map_err(DiscoveryError::Config)?;
    let job = find_job(&config, &arguments.word(1))?;
    let timeout = arguments.flag_duration("timeout").unwrap_or(TIMEOUT);
    let (groups, complaints) = discover(&config, &job, timeout)?;
    let mut found = Vec::new();
    for group in &groups {
        targets_from_group(&job, group, &mut LabelsBuilder::new(), |discovered, outcome| {
            found.push(shown(&job, &discovered, outcome.map_err(|error| error.to_string())));
        });
    }
    serde_json::to_writer_pretty(&mut *terminal, &Value::Array(found))?;
    writeln!(terminal)?;
    for complaint in &complaints {
        let _ = writeln!(io::stderr().lock(), "scraped: {complaint}");
    }
    Ok(if complaints.is_empty() { Outcome::Good } else { Outcome::Bad })
}

fn find_job(config: &Config, name: &str) -> Result<Arc<ScrapeConfig>, DiscoveryError> {
    let found = config.scrape_configs.iter().find(|job| job.job_name == name).cloned();
    found.ok_or_else(|| DiscoveryError::UnknownJob {
        job: name.to_owned(),
        jobs: config.scrape_configs.iter().map(|job| job.job_name.clone()).collect(),
    })
}

/// All groups of the job, within the time, and what its sources complain of.
pub(in crate::commands) fn discover(
    config: &Config,
    job: &ScrapeConfig,
    timeout: Duration,
) -> Result<(Vec<Arc<TargetGroup>>, Vec<String>), DiscoveryError> {
    // A job for each source, so that it can be seen which of them have found something.
    let each = job.discovery.iter().enumerate().map(|(idx, source)| {
        let discovery = vec![source.clone()];
        Arc::new(ScrapeConfig { job_name: format!("{idx:08}"), discovery, ..job.clone() })
    });
    let each = Arc::new(Config { scrape_configs: each.collect(), ..config.clone() });
    let (sender, sets) = bounded(1);
    let metrics = Arc::new(DiscoveryMetrics::default());
    let handle = discovery::Handle::spawn(
        each,
        (Path::new(NOWHERE), Arc::new(RealDisk)),
        sender,
        Arc::clone(&metrics),
    )
    .map_err(DiscoveryError::Thread)?;
    let deadline = Instant::now() + timeout;
    let mut newest = TargetSets::new();
    let complaints = || metrics.complaints.oldest(MAX_COMPLAINTS).0;
    let mut progress = Progress::new("waiting for sources", timeout.as_secs());
    let began = Instant::now();
    while Instant::now() < deadline {
        progress.at(began.elapsed().as_secs());
        match sets.recv_deadline(deadline.min(Instant::now() + TICK)) {
            Ok(set) => newest = set,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let n_silent = newest.values().filter(|groups| groups.iter().all(|it| it.targets.is_empty())).count();
        if n_silent <= complaints().len() && newest.len() == job.discovery.len() {
            break;
        }
    }
    let said = complaints().into_iter().map(|it| it.sentence).collect();
    handle.stop();
    Ok((newest.into_values().flatten().collect(), said))
}

fn shown(
    job: &ScrapeConfig,
    discovered: &Discovered,
    outcome: Result<Option<crate::scrape::targets::target::Target>, String>,
) -> Value {
    let before = discovered.labels();
    let mut object = Map::new();
    object.insert("discoveredLabels".to_owned(), object_of(before.iter()));
    let mut after = LabelsBuilder::new();
    match outcome {
        Ok(Some(target)) => {
            after.reset(&before);
            relabel(&mut after, &job.relabel_configs);
            for (name, value) in target.labels.iter() {
                after.set(name, value);
            }
        }
        Ok(None) => {}
        Err(error) => drop(object.insert("error".to_owned(), json!(error))),
    }
    let after: Labels = after.labels();
    let kept = after.iter().filter(|(name, _)| !name.starts_with("__meta_"));
    object.insert("labels".to_owned(), object_of(kept));
    Value::Object(object)
}

fn object_of<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    Value::Object(labels.map(|(name, value)| (name.to_owned(), json!(value))).collect())
}
