//! Where lines are written.

mod file;
mod syslog;

use crate::log::LogOutput;
use crate::log::sink::file::BoundedFile;
use crate::log::sink::syslog::Syslog;
use log::Level;
use std::io::Write;
use std::os::fd::AsFd;
use std::{env, io};

pub(super) enum Sink {
    Stderr,
    /// The standard error output, which systemd reads: a number in front says the priority.
    Journal,
    Syslog(Syslog),
    File(BoundedFile),
}

impl Sink {
    pub(super) fn open(output: &LogOutput) -> io::Result<Sink> {
        Ok(match output {
            LogOutput::Stderr if is_journal() => Sink::Journal,
            LogOutput::Stderr => Sink::Stderr,
            LogOutput::Syslog => Sink::Syslog(Syslog::default()),
            LogOutput::File { path, max_bytes } => Sink::File(BoundedFile::open(path, *max_bytes)?),
        })
    }

    /// Whether lines get their time there.
    pub(super) fn has_clock(&self) -> bool {
        matches!(self, Sink::Journal | Sink::Syslog(_))
    }

    pub(super) fn write(&mut self, level: Level, line: &str) {
        let written = match self {
            Sink::Stderr => return to_stderr(line),
            Sink::Journal => return to_stderr(&format!("<{}>{line}", priority(level))),
            Sink::Syslog(syslog) => syslog.write(priority(level), line),
            Sink::File(file) => file.write(line),
        };
        // Better there than nowhere.
        if written.is_err() {
            to_stderr(line);
        }
    }
}

fn to_stderr(line: &str) {
    // A closed standard error must not stop the daemon.
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// As in `syslog(3)`.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// Whether the standard error output is the stream to the journal that systemd names: it may have been led elsewhere since.
fn is_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    let is_it = |stat: rustix::fs::Stat| format!("{}:{}", stat.st_dev, stat.st_ino) == stream;
    rustix::fs::fstat(io::stderr().as_fd()).is_ok_and(is_it)
}
