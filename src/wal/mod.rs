//! The write-ahead log in Prometheus' own format, and the head: the series it speaks of.
//!
//! Nothing here knows what a target or a remote is.

pub mod appender;
pub mod batch;
pub mod bulk;
pub mod checkpoint;
mod commit;
pub mod compression;
pub mod disk;
pub mod error;
pub mod follow;
pub mod gone;
pub mod head;
pub mod import;
pub mod loader;
pub mod lock;
pub mod maintenance;
pub mod metrics;
pub mod page;
mod place;
pub mod reader;
pub mod readers;
pub mod record;
mod records;
pub mod repair;
pub mod replay;
pub mod retention;
pub mod room;
pub mod segment;
mod staged;
pub mod truncate;
pub mod truncation;
pub mod writer;

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
