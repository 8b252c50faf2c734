//! `scraped cost FILE`: what a configuration would cost, measured by one scrape of each target.
//!
//! Nothing is sent anywhere, and the log of the daemon is not touched.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::commands::check::service_discovery::discover;
use crate::commands::log_files;
use crate::commands::scrape::{Phases, ScratchDir, store};
use crate::commands::service::figures::bytes;
use crate::config::{Config, ScrapeConfig, load};
use crate::flags::{Arguments, Done, Outcome};
use crate::scrape::targets::target::{Target, targets_from_group};
use crate::terminal::{Progress, Terminal};
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;

const DAY_S: f64 = 86_400.0;
const DAYS_A_MONTH: f64 = 30.4;
/// For a source of targets.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Samples of a request, as by default.
const MAX_SAMPLES_PER_SEND: usize = 2000;

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
    /// A request of remote write for each [`MAX_SAMPLES_PER_SEND`] samples.
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
    let n_endpoints = config.remote_write.len() as f64;
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
        let measured = measure(&dir.0.join("wal"), &config.global.external_labels)?;
        let a_day = DAY_S / target.scrape_interval.as_secs_f64();
        cost.series += measured.n_series;
        cost.bytes_a_day_on_disk += measured.disk_bytes as f64 * a_day;
        cost.bytes_a_day_on_wire += measured.wire_bytes as f64 * a_day * n_endpoints;
    }
    Ok(costs)
}

/// What is written again with each scrape: samples, not series.
fn measure(wal_dir: &Path, external_labels: &Labels) -> Result<Measured, WalError> {
    let mut measured = Measured::default();
    let mut by_ref: HashMap<u64, Labels> = HashMap::new();
    let mut request = Request::default();
    for file in log_files::of(wal_dir)? {
        let mut reader = file.read_from(0)?;
        while let Ok(Some(raw)) = reader.next_record() {
            match record::decode(raw.bytes) {
                Record::Series(entries) => {
                    for entry in entries.flatten() {
                        measured.n_series += 1;
                        by_ref.insert(entry.series_ref, Labels::from_pairs(entry.labels));
                    }
                }
                Record::Samples(entries) => {
                    measured.disk_bytes += raw.end - raw.start;
                    for sample in entries.flatten() {
                        let labels = by_ref.get(&sample.series_ref).into_iter().flat_map(Labels::iter);
                        request.push(
                            labels.chain(external_labels.iter()),
                            &sample.value.to_le_bytes(),
                            sample.ts_ms,
                        );
                    }
                }
                Record::Histograms(entries) => {
                    measured.disk_bytes += raw.end - raw.start;
                    for entry in entries.flatten() {
                        let labels = by_ref.get(&entry.series_ref).into_iter().flat_map(Labels::iter);
                        request.push(
                            labels.chain(external_labels.iter()),
                            entry.histogram.bytes(),
                            entry.ts_ms,
                        );
                    }
                }
                Record::Exemplars(_) | Record::Metadata(_) | Record::Other(_) => {}
            }
        }
    }
    measured.wire_bytes = request.finish();
    Ok(measured)
}

/// Requests of remote write 1.0, of which only the size is of interest.
#[derive(Default)]
struct Request {
    bytes: Vec<u8>,
    n_samples: usize,
    n_packed_bytes: u64,
}

impl Request {
    fn push<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str)>, value: &[u8], ts_ms: i64) {
        let mut series = Vec::new();
        for (name, value) in labels {
            let mut label = Vec::new();
            put(&mut label, 1, name.as_bytes());
            put(&mut label, 2, value.as_bytes());
            put(&mut series, 1, &label);
        }
        let mut sample = value.to_vec();
        sample.extend_from_slice(&[0x09, 0x10]);
        put_varint(&mut sample, ts_ms as u64);
        put(&mut series, 2, &sample);
        put(&mut self.bytes, 1, &series);
        self.n_samples += 1;
        if self.n_samples == MAX_SAMPLES_PER_SEND {
            self.pack();
        }
    }

    fn pack(&mut self) {
        let packed =
            snap::raw::Encoder::new().compress_vec(&self.bytes).map_or(self.bytes.len(), |it| it.len());
        self.n_packed_bytes += packed as u64;
        self.bytes.clear();
        self.n_samples = 0;
    }

    fn finish(mut self) -> u64 {
        if self.n_samples > 0 {
            self.pack();
        }
        self.n_packed_bytes
    }
}

/// A field with a length.
fn put(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
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
