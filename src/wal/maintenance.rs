//! The wal-maintenance thread: fsync, checkpoint, truncation by age and bytes.
