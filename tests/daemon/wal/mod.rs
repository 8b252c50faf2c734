//! The log under a running daemon.

mod vanished;
