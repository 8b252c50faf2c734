//! The write-ahead log in Prometheus' own format, and the head: the series it speaks of.
//!
//! Nothing here knows what a target or a remote is.

pub mod appender;
pub mod error;
pub mod follow;
pub mod format;
pub mod gone;
pub mod head;
pub mod keep;
mod log_readers;
pub mod metrics;
pub mod open;
pub mod options;
pub mod write;

/// Bits of the NaN that says "this series ended" (`model/value/value.go`: `StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// The staleness marker.
pub fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// True for the stale marker, which no other NaN is.
pub fn is_stale_nan(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}
