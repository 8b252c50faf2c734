//! Samples of a box that does not know the time yet.
//!
//! They carry the time since the boot, behind [`EPOCH_MS`], so that no timestamp of a page is taken for one of these. They
//! wait in front of the log: in memory ([`waiting`]), and in [`side_files`] once they have waited long. When the time is known they
//! get it, and are committed as if they came now. Readers never see them before.

mod hold;
pub mod side_files;
pub(in crate::wal) mod waiting;

/// A timestamp from here on, in milliseconds, is this and the time since the boot. No clock comes this far in 36 million
/// years, and no page may: its own timestamps are refused some minutes behind now.
pub const EPOCH_MS: i64 = 1 << 60;

/// Whether a timestamp in milliseconds counts from the boot.
pub fn is_unstamped(ts_ms: i64) -> bool {
    ts_ms >= EPOCH_MS
}

/// The timestamp in milliseconds since the Unix epoch, if the boot was `offset_ms` behind that.
pub(in crate::wal) fn stamped(ts_ms: i64, offset_ms: i64) -> i64 {
    if is_unstamped(ts_ms) { (ts_ms - EPOCH_MS).saturating_add(offset_ms) } else { ts_ms }
}
