//! The log under a running daemon.

mod memory;
mod vanished;
