//! `scrape_failure_log_file`: a line of JSON for every scrape that got no page, as Prometheus writes it
//! (`util/logging/file.go`).
//!
//! One value a file, shared by all loops of the jobs that name it; workers write, the scrape manager opens it again with
//! every reload, so that a file which was moved away is let go. A file that cannot be written costs no scrape.

use crate::calendar::rfc3339_ms;
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The value of `source`, where Prometheus has its source file and line.
const SOURCE: &str = "scrape";

/// A file that failures are appended to.
#[derive(Debug)]
pub struct FailureLog {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl FailureLog {
    /// Opens the file, which is made if it is missing. One that cannot be opened is said so and tried again by
    /// [`FailureLog::reopen`].
    pub fn open(path: &Path) -> Self {
        let log = Self { path: path.to_owned(), file: Mutex::default() };
        log.reopen();
        log
    }

    /// Opens the file by its name again.
    pub fn reopen(&self) {
        let opened = OpenOptions::new().append(true).create(true).open(&self.path);
        *self.file.lock() = match opened {
            Ok(file) => Some(file),
            Err(cause) => {
                log::error!(
                    "cannot open scrape_failure_log_file {}: {cause}; failures are not written to it until a reload can \
                     open it",
                    self.path.display()
                );
                None
            }
        };
    }

    /// Appends one line.
    pub fn write(&self, wall_ms: i64, job_name: &str, target: &str, message: &str) {
        let line = line(wall_ms, job_name, target, message);
        let mut file = self.file.lock();
        let Some(open) = &mut *file else { return };
        if let Err(cause) = append(open, &line) {
            *file = None;
            drop(file);
            log::error!(
                "cannot write scrape_failure_log_file {}: {cause}; failures are not written to it until the next reload",
                self.path.display()
            );
        }
    }
}

/// In one write, so that lines of several daemons do not mix.
fn append(file: &mut File, line: &str) -> io::Result<()> {
    file.write_all(line.as_bytes())
}

fn line(wall_ms: i64, job_name: &str, target: &str, message: &str) -> String {
    let text = |text: &str| serde_json::Value::from(text);
    format!(
        "{{\"time\":\"{}\",\"level\":\"ERROR\",\"source\":\"{SOURCE}\",\"msg\":{},\"job_name\":{},\"target\":{}}}\n",
        rfc3339_ms(wall_ms),
        text(message),
        text(job_name),
        text(target),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_prometheus() {
        let got = line(1_779_840_000_123, "a", "http://127.0.0.1:1/metrics", "Get \"x\": <refused>\n");
        assert_eq!(
            got,
            "{\"time\":\"2026-05-27T00:00:00.123Z\",\"level\":\"ERROR\",\"source\":\"scrape\",\
             \"msg\":\"Get \\\"x\\\": <refused>\\n\",\"job_name\":\"a\",\"target\":\"http://127.0.0.1:1/metrics\"}\n"
        );
    }

    #[test]
    fn a_file_that_was_moved_away_is_let_go_with_the_next_reload() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("failures.log"), dir.path().join("moved.log"));
        let log = FailureLog::open(&path);
        log.write(0, "job", "target", "first");
        std::fs::rename(&path, &moved).unwrap();
        log.write(0, "job", "target", "second");
        log.reopen();
        log.write(0, "job", "target", "third");
        let messages = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap();
            let message =
                |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["msg"].clone();
            text.lines().map(|line| message(line).as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(messages(&moved), ["first", "second"]);
        assert_eq!(messages(&path), ["third"]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/failures.log");
        let log = FailureLog::open(&path);
        log.write(0, "job", "target", "lost");
        std::fs::create_dir(dir.path().join("later")).unwrap();
        log.reopen();
        log.write(0, "job", "target", "kept");
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
    }
}
