//! The storage page: the log on disk, what was written to it, and what it lost.
//!
//! Made of `/metrics` and of what is in memory: nothing on disk is looked at.

use crate::web::pages::figures::{Figures, figure};
use crate::web::pages::{DAY, HOUR, ago, bytes, escape, in_window, live_page, today};
use crate::web::serve::http::Response;
use crate::web::state::WebState;
use scraped_engine::disk::written::{CAUSES, Written};
use std::cmp::Reverse;
use std::fmt::Write as _;

/// What went wrong: a family of counters, and what it counts.
const LOSSES: [(&str, &str); 7] = [
    ("scraped_wal_samples_lost_total", "samples are not in the log"),
    ("prometheus_remote_storage_samples_dropped_total", "samples are not sent to an endpoint"),
    ("scraped_wal_samples_not_durable_total", "samples may go with a loss of power: their fsync failed"),
    ("prometheus_tsdb_wal_writes_failed_total", "writes failed"),
    ("scraped_wal_fsyncs_failed_total", "fsyncs failed"),
    ("prometheus_agent_corruptions_total", "repairs of a damaged log"),
    ("scraped_wal_records_skipped_total", "records were not understood at the start"),
];

/// `/storage`.
pub(in crate::web) fn storage(state: &WebState) -> Response {
    let figures = Figures::read(state);
    let of = |family| figures.of(family);
    let size_bytes = of("prometheus_tsdb_wal_storage_size_bytes");
    let written = *state.remote.log_traffic.lock();
    let mut content = String::new();
    if of("scraped_wal_unusable") > 0.0 {
        content.push_str("<p class=down>The directory of the log is gone or read-only.</p>");
    }
    if of("scraped_wal_poisoned") > 0.0 {
        content.push_str("<p class=down>The disk refuses writes to the log.</p>");
    }
    content.push_str("<dl class=figures>");
    let per_second = written.minute.per_second().unwrap_or_default();
    let (first, current) = (of("scraped_wal_segment_first"), of("prometheus_tsdb_wal_segment_current"));
    let shown = [
        ("Log on disk", bytes(size_bytes)),
        ("Log in memory", bytes(of("scraped_wal_memory_bytes"))),
        ("Waiting for the clock", format!("{} samples", of("scraped_unstamped_samples"))),
        ("Bound", bound(of("scraped_wal_limit_bytes"))),
        ("Segments", format!("{first} to {current}, which is being written")),
        ("Reaches back to", reach(of("scraped_wal_segment_first_timestamp_seconds"))),
        ("Written since the start", causes(since_start(&state.written))),
        ("Written in the last minute", format!("{} per second", bytes(per_second))),
        ("Written in the last hour", in_window(bytes(written.hour.n as f64), written.hour, HOUR)),
        ("Written in the last day", in_window(bytes(written.day.n as f64), written.day, DAY)),
        ("Written today", today(causes(state.written.today.by_cause()), written.today)),
        (
            "Checkpoints",
            attempts(
                &figures,
                [
                    "prometheus_agent_checkpoint_creations_total",
                    "prometheus_agent_checkpoint_creations_failed_total",
                ],
            ),
        ),
        (
            "Truncations",
            attempts(
                &figures,
                ["prometheus_tsdb_wal_truncations_total", "prometheus_tsdb_wal_truncations_failed_total"],
            ),
        ),
        (
            "Series",
            format!("{} in {}", of("prometheus_agent_active_series"), bytes(of("scraped_series_bytes"))),
        ),
    ];
    for (name, text) in shown {
        content.push_str(&figure(name, &text));
    }
    content.push_str("</dl>");
    if let Some(bound) = state.board.series_bound() {
        let _ = write!(content, "<p>{}</p>", escape(&bound.to_string()));
    }
    write_losses(&mut content, &losses(state.registry.pieces()));
    live_page(&state.site, "storage", 15, std::iter::once(content))
}

/// A bound of bytes that is 0 before it is known.
fn bound(limit_bytes: f64) -> String {
    match limit_bytes {
        0.0 => "not known yet".to_owned(),
        limit_bytes => format!("{}, then the oldest segments go", bytes(limit_bytes)),
    }
}

fn since_start(written: &Written) -> [(&'static str, u64); CAUSES.len()] {
    CAUSES.map(|cause| (cause, written.bytes.with(&[cause]).get()))
}

/// Bytes that were written to the disk, by what they are for.
fn causes<const N: usize>(mut parts: [(&'static str, u64); N]) -> String {
    parts.sort_by_key(|(_, n)| Reverse(*n));
    let all = bytes(parts.iter().map(|(_, n)| *n).sum::<u64>() as f64);
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(cause, n)| format!("{cause} {}", bytes(*n as f64)))
        .collect();
    match parts.is_empty() {
        true => all,
        false => format!("{all} <small>{}</small>", parts.join(", ")),
    }
}

/// The newest sample of the oldest segment is at this time.
fn reach(timestamp_s: f64) -> String {
    match timestamp_s {
        0.0 => "not known yet".to_owned(),
        timestamp_s => format!("at least {}", ago((timestamp_s * 1000.0) as i64)),
    }
}

/// Of a pair of families that count attempts and failures.
fn attempts(figures: &Figures, [all, failed]: [&str; 2]) -> String {
    format!("{} since the start, {} failed", figures.of(all), figures.of(failed))
}

/// A counter that is not zero: how much, what, and its labels.
type Loss = (f64, &'static str, String);

fn losses(pages: impl Iterator<Item = String>) -> Vec<Loss> {
    let mut losses = Vec::new();
    for page in pages {
        for line in page.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let known = LOSSES.iter().find(|(family, _)| *family == name);
            let value = value.parse::<f64>().ok().filter(|value| *value > 0.0);
            if let Some(((_, what), value)) = known.zip(value) {
                losses.push((value, *what, labels.trim_end_matches('}').to_owned()));
            }
        }
    }
    losses
}

fn write_losses(out: &mut String, losses: &[Loss]) {
    out.push_str("<h2>Losses and repairs since the start</h2>");
    if losses.is_empty() {
        out.push_str("<p class=up>None.</p>");
        return;
    }
    out.push_str("<table><thead><tr><th>Number<th>What<th>Which</tr></thead><tbody>");
    for (n, what, labels) in losses {
        let _ = write!(
            out,
            "<tr><td data-label=Number>{n}<td data-label=What>{what}<td data-label=Which>{}</tr>",
            escape(labels)
        );
    }
    out.push_str("</tbody></table>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_listed_with_their_labels() {
        let page = "# TYPE scraped_wal_samples_lost_total counter\n\
                    scraped_wal_samples_lost_total{reason=\"retention\"} 7\n\
                    scraped_wal_samples_lost_total{reason=\"vanished\"} 0\n\
                    scraped_wal_fsyncs_failed_total 1\nscraped_wal_fsyncs_failed_total_more 3\nother 5\n";
        let found = losses([page.to_owned()].into_iter());
        let want = [
            (7.0, "samples are not in the log", "reason=\"retention\"".to_owned()),
            (1.0, "fsyncs failed", String::new()),
        ];
        assert_eq!(found, want);
        let mut out = String::new();
        write_losses(&mut out, &found);
        assert!(
            out.contains("<td data-label=Number>7<td data-label=What>samples are not in the log"),
            "{out}"
        );
        out.clear();
        write_losses(&mut out, &[]);
        assert!(out.ends_with("<p class=up>None.</p>"), "{out}");
    }
}
