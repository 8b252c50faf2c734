//! One line: what it says, and how that is written.

use crate::calendar;
use log::Level;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// `--log.format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `time=… level=INFO source=scrape msg="…"`.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) format: LogFormat,
    /// With the time; a log daemon puts its own in front.
    pub(super) is_timed: bool,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) level: Level,
    /// The module that says it.
    pub(super) source: String,
    pub(super) message: String,
}

impl Line {
    /// The same, which was said this many times more.
    pub(super) fn repeated(&self, n_times: u64) -> Line {
        if n_times == 0 {
            return self.clone();
        }
        let times = if n_times == 1 { "once" } else { &format!("{n_times} times") };
        Line { message: format!("{} (repeated {times})", self.message), ..self.clone() }
    }

    /// With a line end.
    pub(super) fn text(&self, style: Style, now: SystemTime) -> String {
        let Line { level, source, message } = self;
        let time = style.is_timed.then(|| rfc3339_ms(now));
        match style.format {
            LogFormat::Logfmt => {
                let time = time.map_or(String::new(), |time| format!("time={time} "));
                format!("{time}level={level} source={source} msg={}\n", logfmt_value(message))
            }
            LogFormat::Json => {
                let mut line = serde_json::Map::new();
                let fields = [
                    ("time", time.as_deref()),
                    ("level", Some(level.as_str())),
                    ("source", Some(source)),
                    ("msg", Some(message)),
                ];
                for (name, text) in fields {
                    line.extend(text.map(|text| (name.to_owned(), text.into())));
                }
                format!("{}\n", serde_json::Value::Object(line))
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
