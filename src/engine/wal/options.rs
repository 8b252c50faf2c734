//! What may be chosen about a log.

use crate::disk::{Disk, RealDisk};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

impl Compression {
    /// As on the command line and in Prometheus' metrics.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
        }
    }
}

/// Settings of the log, from the command line.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// `--storage.agent.path`.
    pub path: PathBuf,
    /// `--storage.agent.wal-segment-size` in bytes; `None` means 8 MiB or a sixtieth of the file system, whichever is
    /// less.
    pub segment_size_bytes: Option<u64>,
    /// `--storage.agent.wal-compression-type`.
    pub compression: Compression,
    /// `--storage.agent.retention.min-time`.
    pub retention_min_time: Duration,
    /// `--storage.agent.retention.max-time`; zero means none.
    pub retention_max_time: Duration,
    /// `--storage.agent.retention.max-bytes`; `None` means 1 GiB or a tenth of the file system, whichever is less, or
    /// up to half of a small one where its series need that.
    pub retention_max_bytes: Option<u64>,
    /// `--wal.fsync-interval`.
    pub fsync_interval: Duration,
    /// `--storage.agent.memory-first` in bytes: commits stay in memory until there is a reason to write them. `None`: each
    /// is written at once.
    pub memory_bytes: Option<u64>,
    /// `--storage.agent.flush-after`: what is in memory and not settled is written when it is as old.
    pub flush_after: Duration,
    /// `--storage.agent.no-lockfile` is false.
    pub lock_file: bool,
    /// What the data directory is on. Tests put another one below a log.
    pub disk: Arc<dyn Disk>,
    /// The monotonic clock by which what is in memory gets old. Tests have another one.
    pub now: fn() -> Instant,
}

impl WalOptions {
    /// The defaults of the command line, for a log in `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            segment_size_bytes: None,
            compression: Compression::Snappy,
            retention_min_time: Duration::from_secs(3600),
            retention_max_time: Duration::ZERO,
            retention_max_bytes: None,
            fsync_interval: Duration::from_secs(15),
            memory_bytes: None,
            flush_after: Duration::from_secs(300),
            lock_file: true,
            disk: Arc::new(RealDisk),
            now: Instant::now,
        }
    }
}
