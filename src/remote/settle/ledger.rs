//! The ledger of an endpoint: samples taken from the log = sent + pending + dropped, by reason.
//!
//! A native histogram is a sample like a float; one that the section does not send is not taken. Exemplars are not in
//! the ledger: they have counters of their own, and are waited for all the same. Plain numbers; who counts when is
//! `progress`, how they are kept over restarts is `position`.

use scraped_engine::mutant::{self, Mutant};

/// What is sent; metrics count each kind on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A float sample.
    #[default]
    Float,
    /// A native histogram.
    Histogram,
    /// An exemplar, which is no sample.
    Exemplar,
}

impl Kind {
    /// All of them; metrics by kind stand in this order.
    pub const ALL: [Kind; 3] = [Kind::Float, Kind::Histogram, Kind::Exemplar];

    /// As in names of metrics.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Float => "samples",
            Kind::Histogram => "histograms",
            Kind::Exemplar => "exemplars",
        }
    }
}

/// Why a sample is never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DropReason {
    /// `write_relabel_configs` say so.
    DroppedSeries,
    /// Older than `sample_age_limit`.
    TooOld,
    /// The endpoint refused it for good.
    Rejected,
    /// Its series was forgotten by the log before it could be sent.
    WalTruncated,
    /// Remote write 1.0 has no custom buckets.
    NhcbInV1,
    /// It made a thread panic: a bug.
    Panicked,
}

impl DropReason {
    /// All of them, in the order of [`Ledger::dropped`].
    pub const ALL: [DropReason; 6] = [
        DropReason::DroppedSeries,
        DropReason::TooOld,
        DropReason::Rejected,
        DropReason::WalTruncated,
        DropReason::NhcbInV1,
        DropReason::Panicked,
    ];

    /// As in the label `reason` of the metrics; Prometheus' names where it has them.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::DroppedSeries => "dropped_series",
            DropReason::TooOld => "too_old",
            DropReason::Rejected => "rejected",
            DropReason::WalTruncated => "wal_truncated",
            DropReason::NhcbInV1 => "nhcb_in_rw1_not_supported",
            DropReason::Panicked => "panicked",
        }
    }
}

/// What became of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Read from the log.
    pub taken: u64,
    /// Acknowledged.
    pub sent: u64,
    /// By reason, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The endpoint has it.
    Sent,
    /// No one will send it.
    Dropped(DropReason),
}

impl Ledger {
    /// Taken and neither sent nor dropped.
    pub fn pending(&self) -> u64 {
        self.taken.saturating_sub(self.sent + self.dropped.iter().sum::<u64>())
    }

    /// Counts `n` samples that met `fate`.
    pub fn settle(&mut self, fate: Fate, n: u64) {
        match fate {
            Fate::Dropped(DropReason::Rejected) if mutant::is_on(Mutant::RefusedCountsAsSent) => {
                self.sent += n
            }
            Fate::Sent => self.sent += n,
            Fate::Dropped(reason) => {
                if let Some(dropped) = self.dropped.get_mut(reason as usize) {
                    *dropped += n;
                }
            }
        }
    }

    /// Adds another ledger to this one.
    pub fn add(&mut self, other: &Ledger) {
        self.taken += other.taken;
        self.sent += other.sent;
        for (dropped, more) in self.dropped.iter_mut().zip(other.dropped) {
            *dropped += more;
        }
    }
}
