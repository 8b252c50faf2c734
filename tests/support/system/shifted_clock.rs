//! The clocks of a box without a battery: it boots in 1970, and its wall clock is set right later. Needs root.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

/// The clocks of processes that are started through [`ShiftedClock::command`] with [`ShiftedClock::environment`].
#[derive(Debug)]
pub struct ShiftedClock {
    dir: TempDir,
    /// From the boot of this machine to that of the box, in whole seconds.
    booted_after_s: i64,
}

impl ShiftedClock {
    /// A box that has just booted.
    ///
    /// # Panics
    /// There is no C compiler.
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
        let mut clock = Self { dir, booted_after_s: 0 };
        let source = crate::data("clock/shifted.c");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.file("shifted.so"))
            .arg(source)
            .arg("-ldl");
        assert!(compiler.status().expect("cc runs").success(), "the library is built");
        clock.boot("first");
        clock
    }

    /// The box boots now: it is a minute after the start of 1970.
    pub fn boot(&mut self, id: &str) {
        fs::write(self.file("boot_id"), id).expect("writable");
        self.set(60_000 - real_ms());
        self.booted_after_s = clock_gettime(ClockId::Boottime).tv_sec;
    }

    /// Somebody sets the wall clock right.
    pub fn set_right(&self) {
        self.set(0);
    }

    fn set(&self, shift_ms: i64) {
        let file = fs::File::options().write(true).create(true).truncate(false).open(self.file("shift"));
        file.expect("writable").write_all_at(&shift_ms.to_ne_bytes(), 0).expect("written");
    }

    /// Runs the program that follows in its arguments with the time since this boot.
    pub fn command(&self) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--time", "--boottime", &format!("-{}", self.booted_after_s)]);
        command
    }

    /// What a process needs in its environment.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        let text = |name| self.file(name).display().to_string();
        [
            ("LD_PRELOAD", text("shifted.so")),
            ("SHIFTED_CLOCK", text("shift")),
            ("SHIFTED_BOOT_ID", text("boot_id")),
        ]
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Default for ShiftedClock {
    fn default() -> Self {
        Self::new()
    }
}

/// What the real clock says, in milliseconds since the Unix epoch.
pub fn real_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_millis() as i64
}
