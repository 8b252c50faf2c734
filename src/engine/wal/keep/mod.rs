//! What keeps the log short and whole while it is written: the thread `wal-maintenance` and its tools.

mod byte_bound;
pub mod checkpoint;
pub(in crate::wal) mod durable;
pub mod flush;
pub mod maintenance;
pub(crate) mod place;
pub mod reserve;
pub mod retention;
pub(crate) mod returned;
pub mod truncate_files;
pub mod truncate_series;
