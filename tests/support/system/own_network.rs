//! A test in a network and file system of its own: loopback alone, and files of `/etc` that say what the test wants.

use std::env;
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::own_process::alone;

/// Set in the second run.
const INSIDE: &str = "SCRAPED_TEST_HAS_OWN_NETWORK";

/// Files of the system, for the second run alone.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// `/etc/resolv.conf`.
    pub resolv_conf: &'a str,
    /// `/etc/hosts`.
    pub hosts: &'a str,
}

/// Runs the test of this name in `module` (`module_path!()`) again, alone and with `files`; false where it is to be run now.
/// True and a line where no such network can be had.
pub fn runs_elsewhere(module: &str, test: &str, files: &Files<'_>) -> bool {
    if env::var_os(INSIDE).is_some() {
        return false;
    }
    let unshare = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--net", "--mount", "--", "sh", "-c", command]);
        unshare
    };
    if !unshare("ip link set lo up").output().is_ok_and(|output| output.status.success()) {
        println!("no network namespace can be had here: nothing was tested");
        return true;
    }
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("writable");
        path
    };
    let mut inside = unshare(
        "ip link set lo up && mount --bind \"$0\" /etc/resolv.conf && mount --bind \"$1\" /etc/hosts && shift && \
         exec \"$@\"",
    );
    inside.arg(write("resolv.conf", files.resolv_conf)).arg(write("hosts", files.hosts));
    inside.arg(env::current_exe().expect("a path")).args(alone(module, test));
    let status = inside.env(INSIDE, "1").status().expect("unshare runs");
    assert!(status.success(), "{test} failed inside");
    true
}
