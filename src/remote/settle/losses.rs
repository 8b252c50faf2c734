//! Counts what an endpoint has lost because the log gave it up: at once, and not when the endpoint is back.
//!
//! Called by the manager every second and by a reader that finds its segment gone; `progress` counts a loss once.

use std::time::Instant;

use crate::config::remote_write::{ProtobufMessage, RemoteWriteConfig};
use crate::remote::metrics::EndpointMetrics;
use crate::remote::settle::ledger::{DropReason, Fate, Kind};
use crate::remote::settle::progress::Progress;
use scraped_engine::wal::head::LogReader;

/// Counts what has gone since the last call, and reports it now and then.
pub fn count_gone(
    log: &LogReader,
    config: &RemoteWriteConfig,
    progress: &Progress,
    metrics: &EndpointMetrics,
) {
    let gone = log.gone_from(progress.needed_from());
    let sends_histograms = config.send_native_histograms || config.protobuf_message == ProtobufMessage::V2;
    let lost = progress.lose(&gone, sends_histograms);
    let fate = Fate::Dropped(DropReason::WalTruncated);
    metrics.count(Kind::Float, lost.floats, fate);
    metrics.count(Kind::Histogram, lost.histograms, fate);
    if let Some(n_lost) = progress.report_lost(Instant::now()) {
        log::error!(
            "remote_write {}: {n_lost} samples were removed from the log before they could be sent; raise \
             storage.agent.retention.max-bytes, or make room on the disk; more of that is reported once a minute and \
             counted in prometheus_remote_storage_samples_dropped_total",
            metrics.name
        );
    }
}
