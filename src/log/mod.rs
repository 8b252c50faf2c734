//! What the daemon says: lines of logfmt or JSON behind the `log` crate, each to one place.
//!
//! Prometheus' field names (`time`, `level`, `source`, `msg`). What repeats is counted instead of written (`repeats`), so
//! that a broken target fills no disk. Any thread may log.

mod line;
mod repeats;
mod sink;

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use std::io;
use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use line::{Line, Style};
pub use line::{LogFormat, rfc3339_ms};
use repeats::{Passed, Repeats};
use sink::Sink;

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogOutput {
    /// The standard error output; with the priorities that it knows where that is systemd's journal.
    #[default]
    Stderr,
    /// The system's log daemon, by `/dev/log`.
    Syslog,
    /// A file of a box without a log daemon.
    File {
        /// It; what was there before it is beside it, as `….1`.
        path: PathBuf,
        /// Both together are no larger.
        max_bytes: u64,
    },
}

struct Logger {
    style: Style,
    state: Mutex<State>,
}

struct State {
    repeats: Repeats,
    sink: Sink,
}

/// Installs the logger; a second call has no effect.
///
/// # Errors
/// The file cannot be opened.
pub fn init(level: LevelFilter, format: LogFormat, output: &LogOutput) -> io::Result<()> {
    let sink = Sink::open(output)?;
    let style = Style { format, is_timed: !sink.has_clock() };
    let state = Mutex::new(State { repeats: Repeats::default(), sink });
    if log::set_boxed_logger(Box::new(Logger { style, state })).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The HTTP client's own messages are not for our log.
        metadata.target().starts_with("scraped") || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let line = Line {
            level: record.level(),
            source: source(record.target()),
            message: record.args().to_string(),
        };
        let State { repeats, sink } = &mut *self.state.lock();
        match repeats.pass(&line, Instant::now()) {
            Passed::New { given_way } => {
                given_way.iter().for_each(|line| self.write(sink, line));
                self.write(sink, &line);
            }
            Passed::Again { n_repeated } => self.write(sink, &line.repeated(n_repeated)),
            Passed::HeldBack => {}
        }
    }

    /// Writes how often lines were repeated that nothing repeats any more.
    fn flush(&self) {
        let State { repeats, sink } = &mut *self.state.lock();
        repeats.ended(Instant::now()).iter().for_each(|line| self.write(sink, line));
    }
}

impl Logger {
    fn write(&self, sink: &mut Sink, line: &Line) {
        sink.write(line.level, &line.text(self.style, SystemTime::now()));
    }
}

fn source(target: &str) -> String {
    target.strip_prefix("scraped::").unwrap_or(target).to_owned()
}

#[cfg(test)]
mod log_tests;
