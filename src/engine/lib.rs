//! The engine of `scraped`: what turns the bytes of a page into samples in a log, and samples of the log into requests.
//!
//! It knows no configuration, no socket and no target; it takes small structs of rules. The modules stand in the order
//! of a sample's life; `ARCHITECTURE.md` is the map.

pub mod data_dir;
pub mod disk;
pub mod float;
pub mod metric_type;
pub mod metrics;
pub mod mutant;
pub mod protobuf;
pub mod sorting;
pub mod threads;

pub mod labels;

pub mod families;
pub mod histogram;

pub mod exposition;

pub mod series;

pub mod wal;

pub mod store;

pub mod chunk;
pub mod encode;
pub mod remote_read;

pub mod history;

#[cfg(test)]
#[path = "../../tests/support/cases.rs"]
pub mod cases;
