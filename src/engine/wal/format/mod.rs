//! What the bytes of the log mean: segments, pages, fragments, records.

pub mod closed_segment;
pub mod compression;
pub mod page;
pub mod position;
pub mod record;
pub mod record_batch;
pub mod segment;
pub mod segment_reader;
