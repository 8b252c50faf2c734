//! The boot that the machine is in: how long it lasts, and which one it is.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Where the kernel says which boot it is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Milliseconds since the boot, suspended time included (`CLOCK_BOOTTIME`).
pub(super) fn elapsed_ms() -> i64 {
    let since = clock_gettime(ClockId::Boottime);
    since
        .tv_sec
        .saturating_mul(1000)
        .saturating_add(since.tv_nsec / Duration::from_millis(1).as_nanos() as i64)
}

/// The boot's name; without `/proc` one that no other process has.
pub(super) fn id() -> String {
    match fs::read_to_string(BOOT_ID) {
        Ok(id) => id.trim().to_owned(),
        Err(_) => format!("process-{}-{}", std::process::id(), elapsed_ms()),
    }
}
