//! A start: whatever lies on the disk becomes the series table, or a sentence.

pub mod import;
pub mod loader;
pub mod lock;
pub mod repair;
pub mod replay;
pub mod replay_summary;
pub mod version;
