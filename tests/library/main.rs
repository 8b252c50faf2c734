//! The library's parts, driven as the daemon drives them: over real sockets, files and threads, without the program.
//!
//! In the order of a sample's life:
//!
//! - [`config`]: documents and what is made of them.
//! - [`discovery`]: each kind of source, and the manager that merges them.
//! - [`http`]: the client: names, proxies, certificates, tokens.
//! - [`scrape`]: the schedule, one scrape, what a sequence of pages leaves in the log.
//! - [`exposition`]: pages and what parsers make of them; [`fuzz`]: any bytes for every parser.
//! - [`simulation`]: log, endpoint and wal-maintenance of a box, driven from a seed.
//! - `mutants`: deliberate mistakes, all of which the simulation and the power cuts find (`--features mutants`).
//! - [`wal`]: the log under truncation, damage, kills, power cuts and full disks.
//! - [`remote`]: requests from the log.
//! - [`web`]: the web server.
//!
//! What needs a process of its own runs again, alone (`support::system::own_process`).

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]
#![allow(clippy::print_stdout, reason = "a test says what it could not do")]

mod config;
mod discovery;
mod exposition;
mod fuzz;
mod http;
#[cfg(feature = "mutants")]
mod mutants;
mod remote;
mod scrape;
mod simulation;
mod wal;
mod web;
