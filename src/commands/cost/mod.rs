//! `scraped cost FILE`: what a configuration would cost, measured by one scrape of each target.
//!
//! Nothing is sent anywhere, and the log of the daemon is not touched.

mod wire;

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::commands::check::service_discovery::discover;
use crate::commands::cost::wire::{Sample, Value, request_bytes};
use crate::commands::log_files;
use crate::commands::scrape::{Phases, ScratchDir, store};
use crate::commands::service::figures::bytes;
use crate::config::{Config, ScrapeConfig, load};
use crate::flags::{Arguments, Done, Outcome};
use crate::scrape::targets::target::{Target, targets_from_group};
use crate::terminal::{Progress, Terminal};
use scraped_engine::histogram::Histogram;
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;

const DAY_S: f64 = 86_400.0;
const DAYS_A_MONTH: f64 = 30.4;
/// For a source of targets.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a job, or all of them, would cost.
#[derive(Default, Serialize)]
struct Cost {
    job: String,
    targets: u64,
    failed: u64,
    series: u64,
    bytes_a_day_on_disk: f64,
    /// To all endpoints.
    bytes_a_day_on_wire: f64,
}

impl Cost {
    fn add(&mut self, other: &Self) {
        self.targets += other.targets;
        self.failed += other.failed;
        self.series += other.series;
        self.bytes_a_day_on_disk += other.bytes_a_day_on_disk;
        self.bytes_a_day_on_wire += other.bytes_a_day_on_wire;
    }
}

/// What one scrape wrote.
#[derive(Default)]
struct Measured {
    n_series: u64,
    disk_bytes: u64,
    /// Bodies of requests to all endpoints.
    wire_bytes: u64,
}

/// `scraped cost`.
pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let config = load(arguments.file(0)).map_err(|errors| errors.to_string())?;
    let timeout = arguments.flag_duration("timeout").unwrap_or(TIMEOUT);
    let mut troubles = Vec::new();
    let mut targets = Vec::new();
    for job in &config.scrape_configs {
        let (groups, complaints) = discover(&config, job, timeout)?;
        troubles.extend(complaints.into_iter().map(|it| format!("job {:?}: {it}", job.job_name)));
        for group in &groups {
            targets_from_group(job, group, &mut LabelsBuilder::new(), |_, outcome| match outcome {
                Ok(Some(target)) => targets.push((Arc::clone(job), Arc::new(target))),
                Ok(None) => {}
                Err(error) => troubles.push(format!("job {:?}: {error}", job.job_name)),
            });
        }
    }
    let costs = costs(&config, &targets, &mut troubles)?;
    let mut total = Cost { job: "total".to_owned(), ..Cost::default() };
    costs.iter().for_each(|cost| total.add(cost));
    if arguments.is_json() {
        let all = serde_json::json!({
            "jobs": costs, "total": total, "troubles": troubles,
            "bytes_a_month_on_wire": total.bytes_a_day_on_wire * DAYS_A_MONTH
        });
        writeln!(terminal, "{all}")?;
    } else {
        print(&costs, &total, config.remote_write.len(), terminal)?;
        troubles.iter().try_for_each(|trouble| writeln!(terminal, "{trouble}"))?;
    }
    Ok(if troubles.is_empty() { Outcome::Good } else { Outcome::Bad })
}

fn costs(
    config: &Config,
    targets: &[(Arc<ScrapeConfig>, Arc<Target>)],
    troubles: &mut Vec<String>,
) -> Result<Vec<Cost>, Box<dyn std::error::Error>> {
    let of_job = |job: &Arc<ScrapeConfig>| Cost { job: job.job_name.clone(), ..Cost::default() };
    let mut costs: Vec<Cost> = config.scrape_configs.iter().map(of_job).collect();
    let mut progress = Progress::new("scraping", targets.len() as u64);
    for (n_done, (job, target)) in (0..).zip(targets) {
        progress.at(n_done);
        let Some(cost) = costs.iter_mut().find(|cost| cost.job == job.job_name) else { continue };
        cost.targets += 1;
        let dir = ScratchDir::new().map_err(|cause| CostError::Scratch { cause })?;
        let last = store(job, target, &dir.0, &mut Phases::new())?;
        if let Some(error) = last.error {
            cost.failed += 1;
            troubles.push(format!("job {:?}: {}: {error}", job.job_name, target.url));
            continue;
        }
        let measured = measure(&dir.0.join("wal"), config)?;
        let a_day = DAY_S / target.scrape_interval.as_secs_f64();
        cost.series += measured.n_series;
        cost.bytes_a_day_on_disk += measured.disk_bytes as f64 * a_day;
        cost.bytes_a_day_on_wire += measured.wire_bytes as f64 * a_day;
    }
    Ok(costs)
}

/// What is written again with each scrape: samples, not series.
fn measure(wal_dir: &Path, config: &Config) -> Result<Measured, WalError> {
    let mut measured = Measured::default();
    let mut by_ref: HashMap<u64, Labels> = HashMap::new();
    let mut samples = Vec::new();
    for file in log_files::of(wal_dir)? {
        let mut reader = file.read_from(0)?;
        while let Ok(Some(raw)) = reader.next_record() {
            let n_bytes = raw.end - raw.start;
            match record::decode(raw.bytes) {
                Record::Series(entries) => {
                    for entry in entries.flatten() {
                        measured.n_series += 1;
                        by_ref.insert(entry.series_ref, Labels::from_pairs(entry.labels));
                    }
                }
                Record::Samples(entries) => {
                    measured.disk_bytes += n_bytes;
                    for sample in entries.flatten() {
                        let Some(labels) = by_ref.get(&sample.series_ref).cloned() else { continue };
                        samples.push(Sample {
                            labels,
                            ts_ms: sample.ts_ms,
                            value: Value::Float(sample.value),
                        });
                    }
                }
                Record::Histograms(entries) => {
                    measured.disk_bytes += n_bytes;
                    for entry in entries.flatten() {
                        let Some(labels) = by_ref.get(&entry.series_ref).cloned() else { continue };
                        let mut histogram = Box::<Histogram>::default();
                        entry.histogram.decode_into(&mut histogram);
                        samples.push(Sample {
                            labels,
                            ts_ms: entry.ts_ms,
                            value: Value::Histogram(histogram),
                        });
                    }
                }
                Record::Exemplars(_) | Record::Metadata(_) | Record::Other(_) => {}
            }
        }
    }
    for endpoint in &config.remote_write {
        measured.wire_bytes += request_bytes(&mut samples, endpoint, &config.global.external_labels);
    }
    Ok(measured)
}

fn print(costs: &[Cost], total: &Cost, n_endpoints: usize, out: &mut dyn Write) -> io::Result<()> {
    let width = costs.iter().map(|cost| cost.job.chars().count()).max().unwrap_or_default().max(5);
    writeln!(
        out,
        "{:width$} {:>8} {:>7} {:>9} {:>12} {:>12} {:>13}",
        "JOB", "TARGETS", "FAILED", "SERIES", "DISK A DAY", "WIRE A DAY", "WIRE A MONTH"
    )?;
    for cost in costs.iter().chain([total]) {
        let Cost { job, targets, failed, series, .. } = cost;
        let disk = bytes(cost.bytes_a_day_on_disk);
        let (wire, month) = match n_endpoints {
            0 => ("-".to_owned(), "-".to_owned()),
            _ => (bytes(cost.bytes_a_day_on_wire), bytes(cost.bytes_a_day_on_wire * DAYS_A_MONTH)),
        };
        writeln!(out, "{job:width$} {targets:>8} {failed:>7} {series:>9} {disk:>12} {wire:>12} {month:>13}")?;
    }
    match n_endpoints {
        0 => writeln!(out, "nothing would be sent: no remote_write is configured"),
        1 => Ok(()),
        n => writeln!(out, "on the wire: to {n} endpoints together"),
    }
}

/// Why it cannot be measured.
#[derive(Debug)]
enum CostError {
    /// There is no room for a log.
    Scratch { cause: io::Error },
}

impl fmt::Display for CostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scratch { cause } => {
                write!(f, "no directory for a log that is thrown away: {cause}; set TMPDIR to one")
            }
        }
    }
}

impl std::error::Error for CostError {}
