//! A log that is looked at.

use std::error::Error;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::commands::data_dir;
use crate::commands::log_files;
use crate::commands::log_files::LogFile;
use crate::flags::Arguments;
use crate::terminal::Progress;
use scraped_engine::wal::format::segment_reader::{CorruptionError, RawRecord, Tail};

/// In the data directory, as Prometheus has it.
pub(in crate::commands::wal) const LOCK_FILE: &str = "lock";

/// A record, or damage.
type Found<'a> = Result<RawRecord<'a>, CorruptionError>;

/// A data directory that is looked at.
pub(in crate::commands::wal) struct Log {
    pub(in crate::commands::wal) path: PathBuf,
    /// Whether a daemon has it.
    pub(in crate::commands::wal) is_in_use: bool,
    pub(in crate::commands::wal) files: Vec<LogFile>,
}

impl Log {
    /// The one in the directory that is named, or of the daemon that runs.
    pub(in crate::commands::wal) fn open(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        let path = data_dir_of(arguments);
        let wal_dir = data_dir::wal_dir(&path)?;
        let is_in_use = is_locked(&path.join(LOCK_FILE));
        let mut files = log_files::of(&wal_dir)?;
        for file in files.iter_mut().filter(|_| !is_in_use) {
            // No daemon writes it any more.
            file.tail = Tail::Closed;
        }
        Ok(Self { path, is_in_use, files })
    }

    /// Calls `each` for every record and every damage, in order.
    pub(in crate::commands::wal) fn walk(
        &self,
        each: &mut dyn FnMut(&LogFile, Found<'_>) -> io::Result<()>,
    ) -> Result<(), Box<dyn Error>> {
        let mut progress = Progress::new("reading the log", self.files.iter().map(|file| file.bytes).sum());
        let mut n_bytes = 0;
        for file in &self.files {
            let mut reader = file.read_from(0)?;
            loop {
                match reader.next_record() {
                    Ok(None) => break,
                    Ok(Some(record)) => {
                        progress.at(n_bytes + record.start);
                        each(file, Ok(record))?;
                    }
                    // What is being written may look like anything.
                    Err(_) if file.tail == Tail::Live => {}
                    Err(error) => each(file, Err(error))?,
                }
            }
            n_bytes += file.bytes;
        }
        Ok(())
    }
}

/// The directory that is named, or that of the daemon that runs.
pub(in crate::commands::wal) fn data_dir_of(arguments: &Arguments) -> PathBuf {
    let given = arguments.file(0);
    if given.as_os_str().is_empty() { data_dir::chosen(arguments) } else { given.to_owned() }
}

/// Whether a process holds the lock; asked of the kernel, since a try would be in the way of a daemon that starts.
pub(in crate::commands::wal) fn is_locked(lock_file: &Path) -> bool {
    let Ok(metadata) = fs::metadata(lock_file) else { return false };
    match fs::read_to_string("/proc/locks") {
        Ok(locks) => locks.contains(&format!(":{} ", metadata.ino())),
        // Left by a kill, or held.
        Err(_) => true,
    }
}
