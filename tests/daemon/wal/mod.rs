//! The log under a running daemon.

mod clock;
mod memory;
mod vanished;
