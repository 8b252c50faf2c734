//! Self-metrics of the WAL and the head under Prometheus' names where the meaning is the same.
//!
//! Counted by the writer, the head and wal-maintenance; read by the web server through [`Collect`]. Knows none of
//! them.

use crate::metrics::page::Page;
use crate::metrics::{Collect, Counter, Family, Gauge, Summary};
use crate::wal::options::Compression;

/// Counters and gauges of one log.
#[derive(Debug)]
#[allow(missing_docs, reason = "the help texts below say what each one is")]
pub struct WalMetrics {
    compression: Compression,
    /// Set when it is read: see `head`.
    pub active_series: Gauge,
    pub float_samples_appended: Counter,
    pub histograms_appended: Counter,
    pub exemplars_appended: Counter,
    pub out_of_order_samples: Counter,
    pub truncate_duration: Summary,
    pub corruptions: Counter,
    pub replay_duration: Gauge,
    pub checkpoint_creations: Counter,
    pub checkpoint_creations_failed: Counter,
    pub checkpoint_deletions: Counter,
    pub checkpoint_deletions_failed: Counter,
    /// 1 after a clean stop, 0 after a crash, -1 without a lock file.
    pub clean_start: Gauge,

    pub fsync_duration: Summary,
    /// Segments that were given up because their fsync failed.
    pub fsyncs_failed: Counter,
    /// Samples in them that no good fsync has covered.
    pub samples_not_durable: Counter,
    pub page_flushes: Counter,
    pub completed_pages: Counter,
    pub truncations: Counter,
    pub truncations_failed: Counter,
    pub segment_current: Gauge,
    pub writes_failed: Counter,
    /// Bytes of segments and checkpoints.
    pub storage_size: Gauge,
    pub record_part_writes: Counter,
    pub record_parts_bytes_written: Counter,
    pub record_bytes_saved: Counter,

    /// 1 while the last write failed.
    pub poisoned: Gauge,
    /// Samples of commits that the disk refused.
    pub samples_lost_to_writes: Counter,
    /// Samples in segments that a retention bound removed before `retention.min-time`.
    pub samples_lost_to_retention: Counter,
    /// Samples in segments that vanished: somebody removed them, or the disk went away.
    pub samples_lost_to_vanishing: Counter,
    /// 1 while the log's directory is gone or read-only.
    pub unusable: Gauge,
    /// Records whose type or content was not understood, by `type`.
    pub records_skipped: Family<Counter>,
    /// Set when it is read: see `head`.
    pub series_bytes: Gauge,
}

impl WalMetrics {
    /// All zero; `compression` is a label of one of them.
    pub fn new(compression: Compression) -> Self {
        Self {
            compression,
            active_series: Gauge::default(),
            float_samples_appended: Counter::default(),
            histograms_appended: Counter::default(),
            exemplars_appended: Counter::default(),
            out_of_order_samples: Counter::default(),
            truncate_duration: Summary::default(),
            corruptions: Counter::default(),
            replay_duration: Gauge::default(),
            checkpoint_creations: Counter::default(),
            checkpoint_creations_failed: Counter::default(),
            checkpoint_deletions: Counter::default(),
            checkpoint_deletions_failed: Counter::default(),
            clean_start: Gauge::default(),
            fsync_duration: Summary::default(),
            fsyncs_failed: Counter::default(),
            samples_not_durable: Counter::default(),
            page_flushes: Counter::default(),
            completed_pages: Counter::default(),
            truncations: Counter::default(),
            truncations_failed: Counter::default(),
            segment_current: Gauge::default(),
            writes_failed: Counter::default(),
            storage_size: Gauge::default(),
            record_part_writes: Counter::default(),
            record_parts_bytes_written: Counter::default(),
            record_bytes_saved: Counter::default(),
            poisoned: Gauge::default(),
            samples_lost_to_writes: Counter::default(),
            samples_lost_to_retention: Counter::default(),
            samples_lost_to_vanishing: Counter::default(),
            unusable: Gauge::default(),
            records_skipped: Family::new(&["type"]),
            series_bytes: Gauge::default(),
        }
    }
}

impl Collect for WalMetrics {
    fn collect(&self, page: &mut Page) {
        self.collect_agent(page);
        self.collect_wal(page);
        self.collect_ours(page);
    }
}

impl WalMetrics {
    fn collect_agent(&self, page: &mut Page) {
        let series = "Number of active series being tracked by the WAL storage";
        page.gauge("prometheus_agent_active_series", series, &self.active_series);
        // A series that truncation removes is gone at once here; Prometheus keeps it until its records are gone.
        let deleted = "Number of series pending deletion from the WAL";
        page.gauge("prometheus_agent_deleted_series", deleted, &Gauge::default());
        let name = "prometheus_agent_samples_appended_total";
        page.header(name, "Total number of samples appended to the storage", "counter");
        page.sample(name, &[("type", "float")], self.float_samples_appended.get() as f64);
        page.sample(name, &[("type", "histogram")], self.histograms_appended.get() as f64);
        page.counter(
            "prometheus_agent_exemplars_appended_total",
            "Total number of exemplars appended to the storage",
            &self.exemplars_appended,
        );
        page.counter(
            "prometheus_agent_out_of_order_samples_total",
            "Total number of out of order samples ingestion failed attempts.",
            &self.out_of_order_samples,
        );
        page.summary(
            "prometheus_agent_truncate_duration_seconds",
            "Duration of WAL truncation.",
            &self.truncate_duration,
        );
        page.counter(
            "prometheus_agent_corruptions_total",
            "Total number of WAL corruptions.",
            &self.corruptions,
        );
        page.gauge(
            "prometheus_agent_data_replay_duration_seconds",
            "Time taken to replay the data on disk.",
            &self.replay_duration,
        );
        page.gauge(
            "prometheus_agent_clean_start",
            "-1: lockfile is disabled. 0: a lockfile from a previous execution was replaced. 1: lockfile creation \
             was clean",
            &self.clean_start,
        );
        page.counter(
            "prometheus_agent_checkpoint_creations_total",
            "Total number of checkpoint creations attempted.",
            &self.checkpoint_creations,
        );
        page.counter(
            "prometheus_agent_checkpoint_creations_failed_total",
            "Total number of checkpoint creations that failed.",
            &self.checkpoint_creations_failed,
        );
        page.counter(
            "prometheus_agent_checkpoint_deletions_total",
            "Total number of checkpoint deletions attempted.",
            &self.checkpoint_deletions,
        );
        page.counter(
            "prometheus_agent_checkpoint_deletions_failed_total",
            "Total number of checkpoint deletions that failed.",
            &self.checkpoint_deletions_failed,
        );
    }

    fn collect_wal(&self, page: &mut Page) {
        page.summary(
            "prometheus_tsdb_wal_fsync_duration_seconds",
            "Duration of write log fsync.",
            &self.fsync_duration,
        );
        let counters: [(&str, &str, &Counter); 8] = [
            ("page_flushes_total", "Total number of page flushes.", &self.page_flushes),
            ("completed_pages_total", "Total number of completed pages.", &self.completed_pages),
            ("truncations_total", "Total number of write log truncations attempted.", &self.truncations),
            (
                "truncations_failed_total",
                "Total number of write log truncations that failed.",
                &self.truncations_failed,
            ),
            ("writes_failed_total", "Total number of write log writes that failed.", &self.writes_failed),
            (
                "record_part_writes_total",
                "Total number of record parts written before flushing.",
                &self.record_part_writes,
            ),
            (
                "record_parts_bytes_written_total",
                "Total number of record part bytes written before flushing, including CRC and compression headers.",
                &self.record_parts_bytes_written,
            ),
            ("reader_corruption_errors_total", "Errors encountered when reading the WAL.", &self.corruptions),
        ];
        for (name, help, counter) in counters {
            page.counter(&format!("prometheus_tsdb_wal_{name}"), help, counter);
        }
        let name = "prometheus_tsdb_wal_record_bytes_saved_total";
        page.header(name, "Total number of bytes saved by the optional record compression.", "counter");
        let saved = self.record_bytes_saved.get() as f64;
        page.sample(name, &[("compression", self.compression.name())], saved);
        page.gauge(
            "prometheus_tsdb_wal_segment_current",
            "Write log segment index that TSDB is currently writing to.",
            &self.segment_current,
        );
        page.gauge(
            "prometheus_tsdb_wal_storage_size_bytes",
            "Size of the write log directory.",
            &self.storage_size,
        );
    }

    fn collect_ours(&self, page: &mut Page) {
        let help = "1 while the disk refuses writes to the log: samples are lost and counted until it is 0.";
        page.gauge("scraped_wal_poisoned", help, &self.poisoned);
        let name = "scraped_wal_samples_lost_total";
        page.header(name, "Samples that are not in the log, by the reason why.", "counter");
        let write_failed = self.samples_lost_to_writes.get() as f64;
        page.sample(name, &[("reason", "write_failed")], write_failed);
        page.sample(name, &[("reason", "retention")], self.samples_lost_to_retention.get() as f64);
        page.sample(name, &[("reason", "vanished")], self.samples_lost_to_vanishing.get() as f64);
        let help = "1 while the log's directory is gone or read-only; see also /-/ready.";
        page.gauge("scraped_wal_unusable", help, &self.unusable);
        page.counters(
            "scraped_wal_records_skipped_total",
            "Records read at start whose type or content was not understood.",
            &self.records_skipped,
        );
        page.counter(
            "scraped_wal_fsyncs_failed_total",
            "Segments whose fsync failed: each was closed and a new one begun.",
            &self.fsyncs_failed,
        );
        page.counter(
            "scraped_wal_samples_not_durable_total",
            "Samples in these segments that a loss of power may take: no good fsync has covered them.",
            &self.samples_not_durable,
        );
        page.gauge("scraped_series_bytes", "Memory of the series table in bytes.", &self.series_bytes);
    }
}
