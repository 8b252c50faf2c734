//! What things cost: allocations, memory, processor time, and what neighbours notice of it.
//!
//! One test at a time, since each of them counts what the others would disturb.
//!
//! - Of the library, by the allocator of this binary: [`series`] in the table, a page like the last one
//!   ([`steady_state`]), targets and connections that idle ([`fetch_memory`], [`tls_memory`]); by the clock of the thread:
//!   pages that are made to be expensive ([`linear_cost`]).
//! - Of the daemon: such pages beside good ones ([`cpu_work`]), answers of sources that are large in memory
//!   ([`discovery_memory`]), ten thousand targets ([`discovery_many`]), long answers of its own ([`web_memory`]).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]
#![allow(clippy::print_stdout, reason = "figures for whoever runs it with --nocapture")]

mod allocator;
mod cpu_work;
mod discovery_many;
mod discovery_memory;
mod fetch_memory;
mod linear_cost;
mod series;
mod steady_state;
mod tls_memory;
mod web_memory;

use std::sync::{Mutex, MutexGuard, PoisonError};

static ALONE: Mutex<()> = Mutex::new(());

/// Every test begins with it and runs while it has it.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    // One that failed is reported by itself.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
