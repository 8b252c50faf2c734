//! From the disk to the endpoint: configurations with one endpoint, and what has arrived of what is on disk.

pub mod message;
pub mod receiver;
pub mod sigv4;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::api::metric_sum;
use crate::command::query;
use crate::scraped::{Scraped, is_memory_first};
use crate::{PATIENCE, pause};
use receiver::Receiver;

/// Series as `{a="1",b="2"}` → milliseconds and the bits of the value; a NaN is a staleness marker or the NaN.
pub type Series = BTreeMap<String, Vec<(i64, u64)>>;

/// The value of a staleness marker.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Every series.
pub const ALL: &str = r#"{__name__=~".+"}"#;

/// Short pauses, so that a test does not take long; a timeout that a busy machine keeps.
pub const QUICK_QUEUE: &str = "batch_send_deadline: 100ms, min_backoff: 30ms, max_backoff: 250ms";

/// A configuration that scrapes one target twice a second and sends to `url`; `section` are more lines of the entry of
/// `remote_write`, `queue` more fields of its `queue_config`.
pub fn config(target: &str, path: &str, url: &str, section: &str, queue: &str) -> String {
    let queue = if queue.is_empty() { String::new() } else { format!(", {queue}") };
    let section: String = section.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "global:\n  scrape_interval: 500ms\n  scrape_timeout: 500ms\nscrape_configs:\n- job_name: fake\n  metrics_path: \
         {path}\n  static_configs:\n  - targets: ['{target}']\nremote_write:\n- url: {url}\n  remote_timeout: 5s\n  \
         queue_config: {{{QUICK_QUEUE}{queue}}}\n{section}"
    )
}

/// What `query` finds on disk.
pub fn on_disk(data_dir: &Path) -> Series {
    on_disk_of(data_dir, ALL)
}

/// What `query` finds on disk of these series.
pub fn on_disk_of(data_dir: &Path, selector: &str) -> Series {
    let samples = query(data_dir, selector).into_iter().map(|(key, samples)| {
        let samples = samples.into_iter().map(|(ts_ms, value)| (ts_ms, bits(number(&value))));
        (key, samples.collect())
    });
    samples.collect()
}

/// What the receiver has stored.
pub fn arrived(receiver: &Receiver) -> Series {
    let state = receiver.state();
    let samples = state.series.iter().map(|(key, samples)| {
        let samples = samples.iter().map(|(ts_ms, value)| (*ts_ms, bits(f64::from_bits(*value))));
        (key.clone(), samples.collect())
    });
    samples.collect()
}

/// What the log has taken: what is on disk, and what an endpoint has had before it was written.
pub fn committed(data_dir: &Path, receiver: &Receiver) -> Series {
    let mut all = on_disk(data_dir);
    if is_memory_first() {
        for (key, samples) in arrived(receiver) {
            let known = all.entry(key).or_default();
            known.extend(samples);
            known.sort_unstable();
            known.dedup();
        }
    }
    all
}

/// `query` tells a staleness marker from any other NaN, and no more than that.
fn bits(value: f64) -> u64 {
    let is_real_nan = value.is_nan() && value.to_bits() != STALE_BITS;
    if is_real_nan { f64::NAN.to_bits() } else { value.to_bits() }
}

/// Samples of `whole` that `part` does not have, a line a series.
pub fn missing(whole: &Series, part: &Series) -> Vec<String> {
    missing_times(whole, part)
        .filter_map(|(key, samples, gone)| {
            let (first, last) = (gone.first()?, gone.last()?);
            Some(format!("{key}: {} of {}, from {first} to {last}", gone.len(), samples.len()))
        })
        .collect()
}

/// Each series of `whole` with its samples, and the times of those that `part` does not have.
fn missing_times<'a>(
    whole: &'a Series,
    part: &'a Series,
) -> impl Iterator<Item = (&'a String, &'a [(i64, u64)], Vec<i64>)> {
    whole.iter().map(|(key, samples)| {
        let there = part.get(key).map(Vec::as_slice).unwrap_or_default();
        let gone = samples.iter().filter(|sample| there.binary_search(sample).is_err()).map(|it| it.0);
        (key, samples.as_slice(), gone.collect())
    })
}

/// The ledger of an endpoint by one page of metrics: taken, sent, pending, and what was dropped by its reasons.
pub fn ledger(scraped: &Scraped, endpoint: &str) -> [f64; 7] {
    let page = scraped.get("/metrics").body;
    ["taken", "sent", "pending", "dropped_series", "too_old", "rejected", "wal_truncated"].map(|state| {
        let series = format!("scraped_remote_ledger_samples{{remote_name={endpoint:?},state={state:?}}} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap_or_else(|| panic!("no {series}")).parse().expect("a number")
    })
}

/// Number of samples.
pub fn n_samples(series: &Series) -> usize {
    series.values().map(Vec::len).sum()
}

/// Number of samples that have arrived.
pub fn n_arrived(receiver: &Receiver) -> usize {
    receiver.state().series.values().map(Vec::len).sum()
}

/// Samples that the log gave up before the endpoints had them, of all endpoints.
pub fn given_up(scraped: &Scraped) -> f64 {
    let series = "prometheus_remote_storage_samples_dropped_total";
    let page = scraped.get("/metrics").body;
    let of_reason = page.lines().filter(|line| line.starts_with(series) && line.contains("wal_truncated"));
    of_reason.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Waits for a moment at which all samples have arrived or were given up by the log: `n_before`, which stood in it before this
/// process, and those appended since.
pub fn wait_until_accounted(scraped: &Scraped, receiver: &Receiver, n_before: usize) {
    let start = Instant::now();
    loop {
        let appended = metric_sum(scraped, "prometheus_agent_samples_appended_total");
        let (n_arrived, given_up) = (n_arrived(receiver), given_up(scraped));
        let all = n_before as f64 + appended;
        if n_arrived as f64 + given_up == all {
            return;
        }
        let state = receiver.state();
        assert!(
            start.elapsed() < 4 * PATIENCE,
            "{n_arrived} arrived, {given_up} given up, {all} in all; {} twice, problems: {:?}",
            state.n_duplicates,
            state.problems.first()
        );
        drop(state);
        pause(start);
    }
}

/// Waits until all that is on disk now has arrived.
pub fn wait_until_sent(data_dir: &Path, receiver: &Receiver) {
    wait_until_sent_but(data_dir, receiver, 0);
}

/// The same, but for this many samples at most, which were given up and are on disk again.
pub fn wait_until_sent_but(data_dir: &Path, receiver: &Receiver, n_given_up: usize) {
    let whole = on_disk(data_dir);
    let start = Instant::now();
    loop {
        let arrived = arrived(receiver);
        let n_gone: usize = missing_times(&whole, &arrived).map(|(.., gone)| gone.len()).sum();
        if n_gone <= n_given_up {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "not arrived: {:#?}", missing(&whole, &arrived));
        pause(start);
    }
}

/// A value of `query`.
fn number(text: &str) -> f64 {
    if text == "stale" {
        return f64::from_bits(STALE_BITS);
    }
    text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"))
}
