//! Self-metrics of the WAL and the head under Prometheus' names where the meaning is the same.
//!
//! Counted by the writer, the head and wal-maintenance; read by the web server through `Collect`. Knows none of them.

use crate::metrics::{Counter, Family, Gauge, Labelled, Summary};
use crate::metrics_table;

metrics_table! {
    /// Metrics of one log.
    pub struct WalMetrics {
        /// Set when it is read: see `head`.
        active_series: Gauge => "prometheus_agent_active_series",
            "Number of active series being tracked by the WAL storage";
        /// Stays 0: a series that truncation removes is gone at once here; Prometheus keeps it until its records are
        /// gone.
        deleted_series: Gauge => "prometheus_agent_deleted_series", "Number of series pending deletion from the WAL";
        float_samples_appended: Counter => "prometheus_agent_samples_appended_total" ["type" = "float"],
            "Total number of samples appended to the storage";
        histograms_appended: Counter => "prometheus_agent_samples_appended_total" ["type" = "histogram"];
        exemplars_appended: Counter => "prometheus_agent_exemplars_appended_total",
            "Total number of exemplars appended to the storage";
        out_of_order_samples: Counter => "prometheus_agent_out_of_order_samples_total",
            "Total number of out of order samples ingestion failed attempts.";
        truncate_duration: Summary => "prometheus_agent_truncate_duration_seconds", "Duration of WAL truncation.";
        corruptions: Counter => "prometheus_agent_corruptions_total", "Total number of WAL corruptions.";
        replay_duration: Gauge => "prometheus_agent_data_replay_duration_seconds",
            "Time taken to replay the data on disk.";
        clean_start: Gauge => "prometheus_agent_clean_start",
            "-1: lockfile is disabled. 0: a lockfile from a previous execution was replaced. 1: lockfile creation \
             was clean";
        prev_shutdown_unclean: Gauge => "scraped_prev_shutdown_unclean",
            "1 if the last process on this data directory was killed or lost its power.";
        checkpoint_creations: Counter => "prometheus_agent_checkpoint_creations_total",
            "Total number of checkpoint creations attempted.";
        checkpoint_creations_failed: Counter => "prometheus_agent_checkpoint_creations_failed_total",
            "Total number of checkpoint creations that failed.";
        checkpoint_deletions: Counter => "prometheus_agent_checkpoint_deletions_total",
            "Total number of checkpoint deletions attempted.";
        checkpoint_deletions_failed: Counter => "prometheus_agent_checkpoint_deletions_failed_total",
            "Total number of checkpoint deletions that failed.";
        fsync_duration: Summary => "prometheus_tsdb_wal_fsync_duration_seconds", "Duration of write log fsync.";
        page_flushes: Counter => "prometheus_tsdb_wal_page_flushes_total", "Total number of page flushes.";
        completed_pages: Counter => "prometheus_tsdb_wal_completed_pages_total", "Total number of completed pages.";
        truncations: Counter => "prometheus_tsdb_wal_truncations_total",
            "Total number of write log truncations attempted.";
        truncations_failed: Counter => "prometheus_tsdb_wal_truncations_failed_total",
            "Total number of write log truncations that failed.";
        writes_failed: Counter => "prometheus_tsdb_wal_writes_failed_total",
            "Total number of write log writes that failed.";
        record_part_writes: Counter => "prometheus_tsdb_wal_record_part_writes_total",
            "Total number of record parts written before flushing.";
        record_parts_bytes_written: Counter => "prometheus_tsdb_wal_record_parts_bytes_written_total",
            "Total number of record part bytes written before flushing, including CRC and compression headers.";
        reader_corruptions: Counter => "prometheus_tsdb_wal_reader_corruption_errors_total",
            "Errors encountered when reading the WAL.";
        record_bytes_saved: Labelled<Counter> = Labelled::new("compression", "none") =>
            "prometheus_tsdb_wal_record_bytes_saved_total",
            "Total number of bytes saved by the optional record compression.";
        segment_current: Gauge => "prometheus_tsdb_wal_segment_current",
            "Write log segment index that TSDB is currently writing to.";
        /// Bytes of segments and checkpoints.
        storage_size: Gauge => "prometheus_tsdb_wal_storage_size_bytes", "Size of the write log directory.";
        limit: Gauge => "scraped_wal_limit_bytes",
            "Bytes of the data directory above which the oldest segments are removed, sent or not.";
        segment_first: Gauge => "scraped_wal_segment_first", "Number of the oldest segment of the log.";
        /// 0 without one.
        segment_first_timestamp: Gauge => "scraped_wal_segment_first_timestamp_seconds",
            "Timestamp of the newest sample in the oldest segment, in seconds since epoch: the log reaches back as far.";
        poisoned: Gauge => "scraped_wal_poisoned",
            "1 while the disk refuses writes to the log: samples are lost and counted until it is 0.";
        /// Samples of commits that the disk refused.
        samples_lost_to_writes: Counter => "scraped_wal_samples_lost_total" ["reason" = "write_failed"],
            "Samples that are not in the log, by the reason why.";
        /// Samples in segments that a retention bound removed before `retention.min-time`.
        samples_lost_to_retention: Counter => "scraped_wal_samples_lost_total" ["reason" = "retention"];
        /// Samples in segments that vanished: somebody removed them, or the disk went away.
        samples_lost_to_vanishing: Counter => "scraped_wal_samples_lost_total" ["reason" = "vanished"];
        /// Samples in memory that went for newer ones, while the disk took none.
        samples_lost_to_full_memory: Counter => "scraped_wal_samples_lost_total" ["reason" = "memory_full"];
        /// In memory and in side files.
        unstamped_samples: Gauge => "scraped_unstamped_samples",
            "Samples that wait for the time of the day: they have the time since the boot so far.";
        memory_bytes: Gauge => "scraped_wal_memory_bytes",
            "Bytes of the log that are in memory: not sent yet, or not written yet.";
        unusable: Gauge => "scraped_wal_unusable",
            "1 while the log's directory is gone or read-only; see also /-/ready.";
        records_skipped: Family<Counter> = Family::new(&["type"]) => "scraped_wal_records_skipped_total",
            "Records read at start whose type or content was not understood.";
        fsyncs_failed: Counter => "scraped_wal_fsyncs_failed_total",
            "Segments whose fsync failed: each was closed and a new one begun.";
        samples_not_durable: Counter => "scraped_wal_samples_not_durable_total",
            "Samples in these segments that a loss of power may take: no good fsync has covered them.";
        /// Set when it is read: see `head`.
        series_bytes: Gauge => "scraped_series_bytes", "Memory of the series table in bytes.";
    }
}
