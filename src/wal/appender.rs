//! `Appender`: one transaction. Stage, then [`Appender::commit`]; [`Appender::rollback`] or a drop touches no disk.
//!
//! Lives in a scrape worker and is reused for every scrape of it. Staging takes no lock; only a series that the
//! caller has no handle for does. Knows no file.

use crate::labels::builder::LabelsBuilder;
use crate::series::SeriesHandle;
use crate::wal::error::WalError;
use crate::wal::head::Wal;

/// Staged samples an idle appender keeps room for; there are as many appenders as workers.
const KEPT_SAMPLES: usize = 4096;

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

/// A sample on its way.
#[derive(Clone, Copy, Debug)]
pub(in crate::wal) struct StagedSample {
    pub(in crate::wal) handle: SeriesHandle,
    pub(in crate::wal) ts_ms: i64,
    pub(in crate::wal) value: f64,
}

/// One transaction over the WAL, reused by its worker.
#[derive(Debug)]
pub struct Appender {
    wal: Wal,
    staged: Vec<StagedSample>,
    /// Series made since the last commit; nobody else may have logged them yet.
    created: Vec<SeriesHandle>,
}

impl Appender {
    pub(in crate::wal) fn new(wal: Wal) -> Self {
        Self { wal, staged: Vec::new(), created: Vec::new() }
    }

    /// Finds or makes the series with these labels. Series made here and never committed are taken back by
    /// [`Appender::rollback`].
    ///
    /// # Errors
    /// [`WalError::TooManySeries`], [`WalError::Closed`].
    pub fn series(&mut self, labels: &LabelsBuilder) -> Result<SeriesLookup, WalError> {
        let (lookup, last_ts_ms) = self.wal.lookup(labels)?;
        if lookup.created {
            self.created.push(lookup.handle);
        }
        Ok(SeriesLookup { handle: lookup.handle, last_ts_ms })
    }

    /// Stages one float sample; the order check happens in [`Appender::commit`].
    pub fn append(&mut self, handle: SeriesHandle, ts_ms: i64, value: f64) {
        self.staged.push(StagedSample { handle, ts_ms, value });
    }

    /// False once truncation has taken the series away: for those whose commit found [`WalError::StaleSeries`].
    pub fn is_live(&self, handle: SeriesHandle) -> bool {
        self.wal.is_live(handle)
    }

    /// Number of staged samples.
    pub fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Forgets what is staged and the series made since the last commit.
    pub fn rollback(&mut self) {
        if !self.created.is_empty() {
            self.wal.take_back(&self.created);
        }
        self.clear();
    }

    /// Writes series records, then samples, in one append, and clears the staging area.
    ///
    /// # Errors
    /// [`WalError::StaleSeries`]: nothing was written, staging is as after [`Appender::rollback`]; look all series up
    /// again. [`WalError::Poisoned`]: the samples are lost and counted; handles stay good. [`WalError::Closed`].
    pub fn commit(&mut self) -> Result<CommitReport, WalError> {
        let committed = self.wal.commit(&self.staged);
        match &committed {
            // A series that could not be written stays: its next sample logs it, or truncation removes it.
            Ok(_) | Err(WalError::Poisoned { .. }) => self.clear(),
            Err(_) => self.rollback(),
        }
        committed
    }

    fn clear(&mut self) {
        self.staged.clear();
        self.staged.shrink_to(KEPT_SAMPLES);
        self.created.clear();
        self.created.shrink_to(KEPT_SAMPLES);
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.rollback();
    }
}
