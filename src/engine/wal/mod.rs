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
mod memory;
pub mod metrics;
pub mod open;
pub mod options;
mod rest;
pub mod unstamped;
pub mod write;
