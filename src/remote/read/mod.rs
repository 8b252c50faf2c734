//! From the log to batches: what an endpoint has not had yet.

pub mod backlog;
pub mod claims;
pub mod dealer;
pub mod orders;
pub mod record_items;
pub mod watcher;
