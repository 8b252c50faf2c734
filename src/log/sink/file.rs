//! A log file with a bound: when it is half as large it becomes `….1`, and the one before it goes.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(in crate::log) struct BoundedFile {
    path: PathBuf,
    /// Of the file and of the one before it, each.
    max_bytes: u64,
    file: File,
    bytes: u64,
}

impl BoundedFile {
    pub(in crate::log) fn open(path: &Path, max_bytes: u64) -> io::Result<BoundedFile> {
        let (file, bytes) = open(path)?;
        Ok(BoundedFile { path: path.to_owned(), max_bytes: max_bytes / 2, file, bytes })
    }

    pub(in crate::log) fn write(&mut self, line: &str) -> io::Result<()> {
        let line_bytes = line.len() as u64;
        if self.bytes > 0 && self.bytes + line_bytes > self.max_bytes {
            let mut before = OsString::from(&self.path);
            before.push(".1");
            fs::rename(&self.path, before)?;
            (self.file, self.bytes) = open(&self.path)?;
        }
        self.file.write_all(line.as_bytes())?;
        self.bytes += line_bytes;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}
