//! Targets that are not behind a socket: text files (`file:`) and commands that print a page (`exec:`).
//!
//! Owned by the target's `Scraper` and used by the worker that holds it. What comes is a page in text format, whole and
//! not packed. A file system that hangs, as a dead NFS does, hangs the worker: there is no system call for it that takes
//! a deadline, and no other target waits for this one.

use scraped_engine::sorting::sort;
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crate::config::text::encoding::{MARK, without_mark};
use crate::duration::{format_duration, parse_duration};
use crate::exec::{ExecError, Run, run};
use crate::scrape::error::ScrapeError;
use crate::scrape::targets::local_access::Bounds;
use scraped_engine::exposition::recall::NoRecall;
use scraped_engine::exposition::text::TextParser;
use scraped_engine::store::body_budget::BodyBuffer;
use scraped_engine::store::error::PageError;

/// `Content-Type` of what is read here.
pub(in crate::scrape) const TEXT: &str = "text/plain; version=0.0.4";

/// Files of a directory that are read, as node_exporter's textfile collector has it.
const EXTENSION: &str = "prom";

/// Without `params: {max_age: [...]}`: what wrote the file is taken for dead after this long.
const DEFAULT_MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// The parameter that says otherwise; 0 for ever.
const MAX_AGE_PARAMETER: &str = "max_age=";

/// Of a command's output so much is taken if the job sets no `body_size_limit`.
const EXEC_LIMIT_BYTES: u64 = 16 << 20;

/// A file, or all `*.prom` files of a directory.
#[derive(Debug)]
pub(in crate::scrape) struct FileTarget {
    path: PathBuf,
    max_age: Result<Duration, String>,
    limit_bytes: u64,
    bounds: Bounds,
    /// Of a directory: how many files are left out, and the first of them, as the log has it.
    reported: (usize, String),
}

impl FileTarget {
    /// `query` is that of the target's URL.
    pub(in crate::scrape) fn new(path: &str, query: &str, limit_bytes: u64, bounds: Bounds) -> Self {
        let parameters = query.trim_start_matches('?').split('&');
        let max_age = match parameters.filter_map(|it| it.strip_prefix(MAX_AGE_PARAMETER)).next() {
            None => Ok(DEFAULT_MAX_AGE),
            Some(text) => parse_duration(text).map_err(|error| format!("max_age: {error}")),
        };
        Self { path: PathBuf::from(path), max_age, limit_bytes, bounds, reported: Default::default() }
    }

    /// Reads everything into `body`. Of a directory, files that are too old, or cannot be read or understood, are left
    /// out, so that one writer does not take the others along; without any other it is an error.
    pub(in crate::scrape) fn read(
        &mut self,
        deadline: Instant,
        body: &mut BodyBuffer,
    ) -> Result<(), ScrapeError> {
        let max_age = self.max_age.clone().map_err(|cause| ScrapeError::Local { cause })?;
        let metadata = fs::metadata(&self.path).map_err(|error| failed(&self.path, &error.to_string()))?;
        if !metadata.is_dir() {
            return self.read_file(&self.path, None, max_age, deadline, body);
        }
        self.bounds.check_named(&self.path).map_err(|what| failed(&self.path, &what))?;
        let entries = fs::read_dir(&self.path).map_err(|error| failed(&self.path, &error.to_string()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == EXTENSION));
        sort(&mut paths);
        let mut left_out = Vec::new();
        for (n_read, path) in paths.iter().enumerate() {
            if Instant::now() >= deadline {
                let n_files = paths.len();
                let cause = format!(
                    "context deadline exceeded: {n_read} of {n_files} files of {} were read",
                    self.path.display()
                );
                return Err(ScrapeError::LocalTimeout { cause });
            }
            let start = body.len();
            let read = self.read_file(path, Some(&self.path), max_age, deadline, body);
            match read.and_then(|()| check_page(path, body.get(start..).unwrap_or_default())) {
                Ok(()) => {}
                Err(ScrapeError::Local { cause }) => {
                    body.truncate(start);
                    left_out.push(cause);
                }
                Err(error) => return Err(error),
            }
        }
        if left_out.len() == paths.len()
            && let Some(first) = left_out.first()
        {
            return Err(ScrapeError::Local { cause: first.clone() });
        }
        self.report(left_out.len(), left_out.first().map(String::as_str).unwrap_or_default());
        Ok(())
    }

    /// Says what is left out, once.
    fn report(&mut self, n_left_out: usize, first: &str) {
        // Ages change all the time.
        let which = first.split(": ").next().unwrap_or_default();
        if self.reported != (n_left_out, which.to_owned()) {
            self.reported = (n_left_out, which.to_owned());
            if n_left_out > 0 {
                log::warn!("file:{}: {n_left_out} of its files are left out: {first}", self.path.display());
            }
        }
    }

    fn read_file(
        &self,
        path: &Path,
        listed: Option<&Path>,
        max_age: Duration,
        deadline: Instant,
        body: &mut BodyBuffer,
    ) -> Result<(), ScrapeError> {
        let io = |error: std::io::Error| failed(path, &error.to_string());
        // Opening a device may do something, and opening a pipe would wait for its writer, also if it has come to stand
        // there a moment ago.
        if !fs::metadata(path).map_err(io)?.is_file() {
            return Err(failed(path, "not a regular file"));
        }
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(io)?;
        self.bounds.check_open(path, &file, listed).map_err(|what| failed(path, &what))?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(failed(path, "not a regular file"));
        }
        // A file from the future is as old as the clock is wrong: it is taken for new.
        let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if let Some(age) = age.filter(|age| !max_age.is_zero() && *age > max_age) {
            let (age, max_age) = (format_duration(whole_seconds(age)), format_duration(max_age));
            return Err(failed(path, &format!("last written {age} ago (max_age: {max_age})")));
        }
        let mut head = [0; MARK.len()];
        let n_read = file.read_at(&mut head, 0).map_err(io)?;
        let content = without_mark(&head[..n_read]).map_err(|utf16| failed(path, &utf16.to_string()))?;
        let start = n_read - content.len();
        file.seek(SeekFrom::Start(start as u64)).map_err(io)?;
        loop {
            // Somebody may write to it as fast as it is read.
            if Instant::now() >= deadline {
                let cause = format!("context deadline exceeded: {} was not read to its end", path.display());
                return Err(ScrapeError::LocalTimeout { cause });
            }
            if body.room().is_empty() {
                let hint_bytes = body.len() as u64 + metadata.len() + 1;
                body.grow(hint_bytes, self.limit_bytes, deadline)?;
            }
            match file.read(body.room()).map_err(io)? {
                0 => break,
                n_read => body.filled(n_read),
            }
        }
        // A last line without its end must not run into the next file.
        if body.last().is_some_and(|byte| *byte != b'\n') {
            append(body, b"\n", self.limit_bytes, deadline)?;
        }
        Ok(())
    }
}

/// A command that prints a page.
#[derive(Debug)]
pub(in crate::scrape) struct ExecTarget {
    /// Program and arguments; empty while `--enable-feature=exec-targets` does not allow it.
    command: Vec<String>,
    limit_bytes: u64,
    bounds: Bounds,
    is_cancelled: Arc<AtomicBool>,
}

impl ExecTarget {
    /// `command_line` is split at blanks; there is no shell.
    pub(in crate::scrape) fn new(
        command_line: &str,
        is_allowed: bool,
        limit_bytes: u64,
        bounds: Bounds,
    ) -> Self {
        let words = command_line.split_ascii_whitespace().filter(|_| is_allowed);
        Self {
            command: words.map(str::to_owned).collect(),
            limit_bytes,
            bounds,
            is_cancelled: Arc::default(),
        }
    }

    /// Set: a command that runs is killed.
    pub(in crate::scrape) fn is_cancelled(&self) -> &Arc<AtomicBool> {
        &self.is_cancelled
    }

    /// Runs the command and puts what it printed into `body`.
    pub(in crate::scrape) fn run(&self, deadline: Instant, body: &mut BodyBuffer) -> Result<(), ScrapeError> {
        if self.command.is_empty() {
            let cause = "exec: targets are off; --enable-feature=exec-targets allows them".to_owned();
            return Err(ScrapeError::Local { cause });
        }
        if let Some(program) = self.command.first().map(Path::new).filter(|_| self.bounds.are_any()) {
            self.bounds.check_named(program).map_err(|what| failed(program, &what))?;
        }
        let limit_bytes =
            if self.limit_bytes > 0 { self.limit_bytes.min(EXEC_LIMIT_BYTES) } else { EXEC_LIMIT_BYTES };
        let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        let order = Run { command: &self.command, deadline, limit_bytes: limit };
        let mut refusal = None;
        let take = |piece: &[u8]| {
            refusal = append(body, piece, limit_bytes, deadline).err();
            refusal.is_none()
        };
        match run(order, || self.is_cancelled.load(Ordering::Relaxed), take) {
            Ok(()) => Ok(()),
            Err(ExecError::Unwanted) => {
                Err(refusal.unwrap_or(ScrapeError::Page(PageError::BodySizeLimit { limit_bytes })))
            }
            Err(ExecError::Cancelled) => Err(ScrapeError::Page(PageError::Cancelled)),
            Err(ExecError::Deadline) => {
                Err(ScrapeError::LocalTimeout { cause: ExecError::Deadline.to_string() })
            }
            Err(ExecError::TooMuchOutput { .. }) => {
                Err(ScrapeError::Page(PageError::BodySizeLimit { limit_bytes }))
            }
            Err(error) => Err(ScrapeError::Local { cause: error.to_string() }),
        }
    }
}

/// Whether a file can be understood by itself.
fn check_page(path: &Path, page: &[u8]) -> Result<(), ScrapeError> {
    let mut parser = TextParser::new(page);
    loop {
        match parser.next(&mut NoRecall) {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(()),
            Err(error) => return Err(failed(path, &error.without_excerpts())),
        }
    }
}

fn append(
    body: &mut BodyBuffer,
    mut bytes: &[u8],
    limit_bytes: u64,
    deadline: Instant,
) -> Result<(), ScrapeError> {
    while !bytes.is_empty() {
        if body.room().is_empty() {
            let hint_bytes = body.len() as u64 + bytes.len() as u64;
            body.grow(hint_bytes, limit_bytes, deadline)?;
        }
        let n_fits = bytes.len().min(body.room().len());
        body.room()[..n_fits].copy_from_slice(&bytes[..n_fits]);
        body.filled(n_fits);
        bytes = &bytes[n_fits..];
    }
    Ok(())
}

/// An error about a file, a program or a socket.
pub(in crate::scrape) fn failed(path: &Path, what: &str) -> ScrapeError {
    ScrapeError::Local { cause: format!("{}: {what}", path.display()) }
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}
