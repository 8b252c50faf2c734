//! A page on its way into the log: bytes are unpacked, read, relabelled and staged, and what a target exposed before is
//! remembered. Knows no configuration, no socket and no target.

pub mod append;
pub mod body_budget;
pub mod cache;
pub mod decode;
pub mod error;
pub mod family_cache;
pub mod pace;
pub mod page_format;
pub mod permits;
pub mod report;
pub mod rules;
pub mod turns;
