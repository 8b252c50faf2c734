//! What the tests share: targets, endpoints, sources and disks that behave as a test wants, real peers, and the real
//! binary under a handle.
//!
//! Plain threads over real sockets on loopback. `scraped`, `command` and `api` run the binary and take apart what it says; `counts` finds scrapes
//! that were lost;
//! `targets`, `remote`, `discovery` and `tls` are what it talks to; `system` is what the kernel does to it; `peers` are the
//! real programs that it is compared with. `exposition`, `protobuf`, `wal` and `fake_loops` put the library's own types into
//! a form that a test can compare. `cases` says where random cases come from.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]
#![allow(clippy::print_stdout, reason = "a test says what it could not do")]

pub mod api;
pub mod cases;
pub mod command;
pub mod counts;
pub mod discovery;
pub mod empty_values;
pub mod exposition;
pub mod fake_loops;
pub mod peers;
mod process_output;
pub mod protobuf;
pub mod remote;
pub mod scraped;
pub mod system;
pub mod targets;
pub mod tls;
pub mod wal;

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for something that normally takes milliseconds: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `holds`; panics with `what` when it does not within [`PATIENCE`].
pub fn wait_until(what: &str, holds: impl FnMut() -> bool) {
    wait(what, PATIENCE, holds);
}

/// The same for what takes a while on an idle machine too.
pub fn wait_for_long(what: &str, holds: impl FnMut() -> bool) {
    wait(what, 4 * PATIENCE, holds);
}

fn wait(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < patience, "still waiting for: {what}");
        pause(start);
    }
}

/// The pause before another look at what has been waited for since `start`: longer and longer, since a look may start a
/// process.
pub fn pause(start: Instant) {
    thread::sleep((start.elapsed() / 10).clamp(Duration::from_millis(5), Duration::from_millis(200)));
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A file or directory below `tests/data`.
pub fn data(name: &str) -> PathBuf {
    repository().join("tests/data").join(name)
}

/// Copies a program to where it will be run. In a process of its own: one that another thread starts meanwhile would inherit
/// the file as open for writing, and the kernel starts no such file.
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("--").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "{} cannot be copied to {}", from.display(), to.display());
}

/// The binary, which cargo puts beside the directory of the tests' own.
pub fn program() -> PathBuf {
    let test = env::current_exe().expect("this test's own path");
    let program = test.ancestors().nth(2).expect("a directory of cargo's").join("scraped");
    assert!(program.is_file(), "{} is not there: run the tests by `cargo test`", program.display());
    program
}
