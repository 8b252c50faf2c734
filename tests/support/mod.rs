//! What integration tests share: targets that behave badly on purpose, and the real binary under a handle.
//!
//! Plain threads over real sockets on loopback; nothing here knows the library's types.

#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of it")]
#![allow(clippy::expect_used, reason = "a test that cannot be set up has to fail")]

pub mod api;
pub mod command;
pub mod deny;
pub mod peers;
pub mod receiver;
pub mod remote;
pub mod remote_message;
pub mod scraped;
pub mod small_disk;
pub mod targets;

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
        thread::sleep(Duration::from_millis(10));
    }
}
