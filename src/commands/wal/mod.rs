//! `scraped wal …`: what is in a log, and whether it is whole. All but `repair` only read, also while a daemon writes.

pub(in crate::commands) mod dump;
mod log;
pub(in crate::commands) mod repair;
pub(in crate::commands) mod stat;
pub(in crate::commands) mod verify;
