//! Logging on standard error: logfmt or JSON lines behind the `log` crate.
//!
//! Prometheus' field names (`time`, `level`, `source`, `msg`). A line that repeats within a second is counted instead
//! of written, so that a broken target can not fill a small disk. Any thread may log.

use crate::calendar;
use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Equal lines closer together than this are counted, not written.
const REPEAT_WINDOW: Duration = Duration::from_secs(10);
/// How many different lines are watched for repeats; the oldest gives way.
const REPEATS_WATCHED: usize = 64;

/// `--log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `time=… level=INFO source=scrape msg="…"`.
    Logfmt,
    /// One JSON object a line.
    Json,
}

struct Logger {
    format: LogFormat,
    repeats: Mutex<Vec<Repeat>>,
}

struct Repeat {
    message: String,
    written: Instant,
    suppressed: u64,
}

/// Installs the logger; a second call has no effect.
pub fn init(level: LevelFilter, format: LogFormat) {
    let logger = Box::new(Logger { format, repeats: Mutex::default() });
    if log::set_boxed_logger(logger).is_ok() {
        log::set_max_level(level);
    }
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
        let mut message = record.args().to_string();
        match self.pass(&message) {
            None => return,
            Some(0) => {}
            Some(suppressed) => {
                let _ = write!(message, " (repeated {suppressed} times)");
            }
        }
        let line = self.line(&rfc3339_ms(SystemTime::now()), record.level(), record.target(), &message);
        // A closed standard error must not stop the daemon.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

impl Logger {
    /// `None` if the message was written a moment ago, else how often it was held back since.
    fn pass(&self, message: &str) -> Option<u64> {
        let now = Instant::now();
        let mut repeats = self.repeats.lock();
        if let Some(repeat) = repeats.iter_mut().find(|repeat| repeat.message == message) {
            if now.duration_since(repeat.written) < REPEAT_WINDOW {
                repeat.suppressed += 1;
                return None;
            }
            repeat.written = now;
            return Some(std::mem::take(&mut repeat.suppressed));
        }
        if repeats.len() == REPEATS_WATCHED {
            repeats.remove(0);
        }
        repeats.push(Repeat { message: message.to_owned(), written: now, suppressed: 0 });
        Some(0)
    }

    fn line(&self, time: &str, level: Level, target: &str, message: &str) -> String {
        let source = target.strip_prefix("scraped::").unwrap_or(target);
        match self.format {
            LogFormat::Logfmt => {
                format!("time={time} level={level} source={source} msg={}\n", logfmt_value(message))
            }
            LogFormat::Json => {
                let line = serde_json::json!({
                    "time": time, "level": level.as_str(), "source": source, "msg": message,
                });
                format!("{line}\n")
            }
        }
    }
}

/// Quotes a value when logfmt needs it.
fn logfmt_value(value: &str) -> String {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '"' && c != '=' && c != '\\';
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for c in value.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A time as `2026-01-02T03:04:05.678Z`; the epoch for times before it.
pub fn rfc3339_ms(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    calendar::rfc3339_ms(since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logger(format: LogFormat) -> Logger {
        Logger { format, repeats: Mutex::default() }
    }

    #[test]
    fn a_line_in_each_format() {
        let line = |format| logger(format).line("T", Level::Warn, "scraped::wal", "lost 3 \"samples\"\n");
        assert_eq!(
            line(LogFormat::Logfmt),
            "time=T level=WARN source=wal msg=\"lost 3 \\\"samples\\\"\\n\"\n"
        );
        let json: serde_json::Value = serde_json::from_str(&line(LogFormat::Json)).unwrap();
        assert_eq!(json["msg"], "lost 3 \"samples\"\n");
        assert_eq!(json["level"], "WARN");
    }

    #[test]
    fn a_repeated_line_is_counted() {
        let logger = logger(LogFormat::Logfmt);
        assert_eq!(logger.pass("a"), Some(0));
        assert_eq!(logger.pass("a"), None);
        assert_eq!(logger.pass("b"), Some(0));
        logger.repeats.lock()[0].written = Instant::now() - REPEAT_WINDOW;
        assert_eq!(logger.pass("a"), Some(1));
    }

    #[test]
    fn dates() {
        let at = |seconds| rfc3339_ms(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59.000Z");
    }
}
