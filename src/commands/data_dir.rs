//! Which data directory is meant, and whether it can be read.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::commands::service::Service;
use crate::commands::service::running;
use crate::flags::{Arguments, Flags};

/// The way out where permission is missing: the data directory is for one user alone.
const AS_WHOM: &str = "; ask as root or as the user that scraped runs as";

/// Why it cannot be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum DataDirError {
    /// There is no log in the directory.
    NoData {
        /// Where it should be.
        wal_dir: PathBuf,
    },
    /// There is no such directory.
    NoDirectory {
        /// As it was named.
        path: PathBuf,
    },
    /// A file stands where a directory should be.
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// Whether there is a log cannot be seen.
    Hidden {
        /// What cannot be looked at.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoData { wal_dir } => write!(
                f,
                "no write-ahead log in {}; start scraped first or name its data directory with --storage.agent.path",
                wal_dir.display()
            ),
            Self::NoDirectory { path } => write!(
                f,
                "no such directory: {}; name the data directory of scraped with --storage.agent.path",
                path.display()
            ),
            Self::NotADirectory { path } => write!(
                f,
                "{} is not a directory; name the data directory of scraped with --storage.agent.path",
                path.display()
            ),
            Self::Hidden { path, cause } => {
                write!(f, "cannot look into {}: {cause}", path.display())?;
                match cause.kind() {
                    io::ErrorKind::PermissionDenied => f.write_str(AS_WHOM),
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for DataDirError {}

/// The one that is named; the one below this directory; the one of the daemon that runs, which is said; the default.
pub(in crate::commands) fn chosen(arguments: &Arguments) -> PathBuf {
    if let Some(path) = arguments.flag_file("storage.agent.path") {
        return path;
    }
    let usual = Flags::default().wal.path;
    if usual.join("wal").is_dir() {
        return usual;
    }
    let Some((path, whose)) = of_running() else { return usual };
    let path_text = path.display();
    let sentence =
        format!("data directory {path_text}, of {whose}; what that has only in memory is not in it");
    let _ = writeln!(io::stderr().lock(), "scraped: {sentence}");
    path
}

/// By `/proc`, or by whoever answers where daemons usually listen.
fn of_running() -> Option<(PathBuf, String)> {
    let found = running::all();
    let dirs = found.iter().filter_map(|it| Some((it.data_dir()?, it.pid)));
    if let Some((path, pid)) = dirs.min_by_key(|(_, pid)| *pid) {
        let others = if found.len() > 1 { ", the oldest that runs" } else { "" };
        return Some((path, format!("process {pid}{others}")));
    }
    let mut service = Service::running(found.first(), &Arc::default()).ok()?;
    let flags = service.data("/api/v1/status/flags").ok()?;
    let info = service.data("/api/v1/status/runtimeinfo").ok()?;
    let path = Path::new(info["CWD"].as_str()?).join(flags["storage.agent.path"].as_str()?);
    Some((path, format!("the daemon at {}", service.url)))
}

/// Its log, if that can be read.
///
/// # Errors
/// Says what is wrong with it.
pub(in crate::commands) fn wal_dir(path: &Path) -> Result<PathBuf, DataDirError> {
    let wal_dir = path.join("wal");
    let is_dir = |path: &Path| fs::metadata(path).map(|metadata| metadata.is_dir());
    let (path, cause) = match (is_dir(path), is_dir(&wal_dir)) {
        (_, Ok(true)) => return Ok(wal_dir),
        (Ok(false), _) => return Err(DataDirError::NotADirectory { path: path.to_owned() }),
        (_, Ok(false)) => return Err(DataDirError::NotADirectory { path: wal_dir.clone() }),
        (Ok(true), Err(cause)) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(DataDirError::NoData { wal_dir });
        }
        (Err(cause), _) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(DataDirError::NoDirectory { path: path.to_owned() });
        }
        (Ok(true), Err(cause)) => (wal_dir.as_path(), cause),
        (Err(cause), Err(_)) => (path, cause),
    };
    Err(DataDirError::Hidden { path: path.to_owned(), cause })
}
