//! Deliberate mistakes, to see that tests find them: each is one line where somebody might make it.
//!
//! Nothing that is shipped has them: without the feature `mutants` the question is a constant, and a build without debug
//! assertions refuses the feature. With it a thread turns one on for all that it calls; `tests/library/mutants.rs` does. A leaf.

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("mutants are for tests alone");

macro_rules! mutants {
    ($($(#[doc = $sentence:literal])+ $name:ident,)+) => {
        /// Which mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $($(#[doc = $sentence])+ $name,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)+];
        }
    };
}

mutants! {
    /// The segment being written counts as durable without its fsync.
    SyncSkipped,
    /// A segment that was left counts as durable without its fsync.
    RotatedNotSynced,
    /// Names of new segments count as durable without the fsync of their directory.
    DirectoryNotSynced,
    /// The name of a checkpoint is not synced before what it stands for is removed.
    CheckpointNotSynced,
    /// A checkpoint leaves a live series out.
    CheckpointWithoutSeries,
    /// A commit that was refused leaves its series as if it were written.
    CommitNotTakenBack,
    /// Bytes of a write that failed stay in the segment.
    TornBytesLeft,
    /// A sample of the same time as the one before is taken, or of an earlier one.
    OrderUnchecked,
    /// By age a segment more goes than is old enough.
    RetentionTakesOneMore,
    /// By age segments go that a reader still needs.
    RetentionForgetsReaders,
    /// What a segment held is not noted when a reader stands in it.
    GoneNotNoted,
    /// The memory lets a segment go that is not settled to its end.
    MemoryFreedTooEarly,
    /// A segment that left a full memory is not counted.
    DroppedNotNoted,
    /// What is in memory is written when it is twice as old as it may be.
    FlushTooLate,
    /// A piece that the disk refused counts as written.
    RefusedPieceWritten,
    /// The watermark passes records that are not settled.
    WatermarkIgnoresPending,
    /// The position that is saved is that up to which was read.
    PositionAheadOfSettled,
    /// A position is saved before the log is durable up to there.
    PositionBeforeLog,
    /// A reload goes on where was read, not where was settled.
    RewindStaysAhead,
    /// What is lost is counted again at each look.
    LossCountedAgain,
    /// All samples of a segment that went count as lost, also those that were read.
    LossCountsRead,
    /// What an endpoint refuses counts as sent.
    RefusedCountsAsSent,
}

/// Whether this mistake is made here and now.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn is_on(_: Mutant) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use on::{is_on, turn_on};

#[cfg(feature = "mutants")]
mod on {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// Whether this mistake is made here and now.
    pub fn is_on(mutant: Mutant) -> bool {
        ON.get() == Some(mutant)
    }

    /// From now on this thread makes this mistake and no other.
    pub fn turn_on(mutant: Option<Mutant>) {
        ON.set(mutant);
    }
}
