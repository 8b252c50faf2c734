//! `Appender`: one transaction. Stage, then [`Appender::commit`]; [`Appender::rollback`] or a drop touches no disk.

use crate::labels::builder::LabelsBuilder;
use crate::series::SeriesHandle;
use crate::wal::error::WalError;

/// What [`Appender::series`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLookup {
    /// Handle for [`Appender::append`].
    pub handle: SeriesHandle,
    /// Newest sample's timestamp in milliseconds; `i64::MIN` when there is none.
    pub last_ts_ms: i64,
}

/// What a commit did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Samples written.
    pub appended: usize,
    /// Samples left out because they are not newer than their series' newest.
    pub out_of_order: usize,
}

/// One transaction over the WAL, reused by its worker.
#[derive(Debug)]
pub struct Appender {}

impl Appender {
    /// Finds or makes the series with these labels. Series made here and never committed are taken back by
    /// [`Appender::rollback`].
    ///
    /// # Errors
    /// [`WalError::TooManySeries`], [`WalError::Closed`].
    pub fn series(&mut self, labels: &LabelsBuilder) -> Result<SeriesLookup, WalError> {
        let _ = labels;
        todo!("wal helper")
    }

    /// Stages one float sample; the order check happens in [`Appender::commit`].
    pub fn append(&mut self, handle: SeriesHandle, ts_ms: i64, value: f64) {
        let _ = (handle, ts_ms, value);
        todo!("wal helper")
    }

    /// Number of staged samples.
    pub fn staged(&self) -> usize {
        todo!("wal helper")
    }

    /// Forgets what is staged and the series made since the last commit.
    pub fn rollback(&mut self) {
        todo!("wal helper")
    }

    /// Writes series records, then samples, in one append, and clears the staging area.
    ///
    /// # Errors
    /// [`WalError::StaleSeries`]: nothing was written, staging is as after [`Appender::rollback`]; look all series up
    /// again. [`WalError::Poisoned`]: the samples are lost and counted. [`WalError::Closed`].
    pub fn commit(&mut self) -> Result<CommitReport, WalError> {
        todo!("wal helper")
    }
}
