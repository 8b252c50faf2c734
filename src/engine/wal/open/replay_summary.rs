//! What a start found.

use std::collections::BTreeMap;

/// What replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    /// Series in the table.
    pub series: usize,
    /// Segments read, checkpoint not counted.
    pub segments: usize,
    /// Sample records' samples read.
    pub samples: u64,
    /// Sentences about what repair lost; empty when nothing was damaged.
    pub losses: Vec<String>,
    /// Timestamp of the newest sample in milliseconds. If it is in the future,
    /// [`restart_order_check`](crate::wal::head::Wal::restart_order_check) keeps the samples until then from being
    /// refused.
    pub newest_ts_ms: Option<i64>,
    /// A sentence if the log was written by another program and taken over.
    pub takeover: Option<String>,
    /// Records of types that are passed over, by Prometheus' name of the type.
    pub skipped_records: BTreeMap<&'static str, u64>,
}
