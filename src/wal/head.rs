//! The head: series table and segment writer behind one lock, so that a commit is one critical section.
//!
//! **Invariant:** a label set has exactly one series record in all kept WAL, and no sample stands before its series.

use crate::labels::builder::LabelsBuilder;
use crate::series::table::Lookup;
use crate::wal::appender::Appender;
use crate::wal::error::WalError;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// Snappy blocks, Prometheus' default.
    Snappy,
    /// Zstandard frames.
    Zstd,
}

/// Settings of the log, from the command line.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// `--storage.agent.path`.
    pub path: PathBuf,
    /// `--storage.agent.wal-segment-size` in bytes, at least 1 MiB.
    pub segment_size_bytes: u64,
    /// `--storage.agent.wal-compression-type`.
    pub compression: Compression,
    /// `--storage.agent.retention.min-time`.
    pub retention_min_time: Duration,
    /// `--storage.agent.retention.max-time`; zero means none.
    pub retention_max_time: Duration,
    /// `--storage.agent.retention.max-bytes`; `None` means 1 GiB or a tenth of the file system, whichever is less.
    pub retention_max_bytes: Option<u64>,
    /// `--wal.fsync-interval`.
    pub fsync_interval: Duration,
    /// `--storage.agent.no-lockfile` is false.
    pub lock_file: bool,
}

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
    /// Timestamp of the newest sample in milliseconds.
    pub newest_ts_ms: Option<i64>,
    /// A sentence if the log was written by another program and taken over.
    pub takeover: Option<String>,
}

/// The log and its series; cheap to clone.
#[derive(Clone, Debug)]
pub struct Wal {
    shared: Arc<()>,
}

impl Wal {
    /// Locks the data directory, replays what is there, repairs it and opens a new segment.
    ///
    /// `progress` is called with (segments read, segments in all).
    ///
    /// # Errors
    /// The directory is locked, cannot be made, read or written.
    pub fn open(
        options: WalOptions,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Wal, ReplaySummary), WalError> {
        let _ = (options, progress);
        todo!("wal helper")
    }

    /// A new appender; a worker keeps one and reuses its memory.
    pub fn appender(&self) -> Appender {
        todo!("wal helper")
    }

    /// Finds or makes a series.
    pub(in crate::wal) fn lookup(&self, labels: &LabelsBuilder) -> Result<(Lookup, i64), WalError> {
        let _ = labels;
        todo!("wal helper")
    }

    /// After a step of the wall clock the next sample of every series is in order whatever its timestamp.
    pub fn restart_order_check(&self) {
        let _ = &self.shared;
        todo!("wal helper")
    }

    /// The data directory.
    pub fn path(&self) -> &Path {
        todo!("wal helper")
    }

    /// Flushes, fsyncs and closes; later commits fail with [`WalError::Closed`].
    ///
    /// # Errors
    /// The last fsync failed.
    pub fn close(&self) -> Result<(), WalError> {
        todo!("wal helper")
    }
}
