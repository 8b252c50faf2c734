//! From a transaction to the newest segment.

pub mod bulk_writer;
pub(crate) mod commit;
pub(crate) mod encoded_records;
pub mod log_end;
pub mod room;
pub mod segment_writer;
pub mod staged;
