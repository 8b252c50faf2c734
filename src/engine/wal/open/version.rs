//! The file `version` of a data directory: which format is in it, and who wrote it last.
//!
//! One line: the number of the format and the program. A directory without it is of a Prometheus agent or of the first
//! `scraped`, and both are format 1. It is looked at before anything is read, so that an older program leaves alone what it
//! would misread.

use std::io::ErrorKind;
use std::path::Path;

use crate::data_dir;
use crate::disk::Disk;
use crate::wal::error::WalError;

/// Its name in the data directory.
pub const VERSION_FILE_NAME: &str = "version";

/// The newest format that this program reads, and the one that it writes. All before it are read.
pub const FORMAT: u32 = 1;

/// Longer is no version.
const MAX_BYTES: usize = 200;

const THIS: &str = concat!("scraped ", env!("CARGO_PKG_VERSION"));

/// Checks the file of `data_dir`, and makes it this program's.
///
/// # Errors
/// It is of a newer format, says nothing that is a version, or cannot be read.
pub fn take_over(disk: &dyn Disk, data_dir: &Path) -> Result<(), WalError> {
    let path = data_dir.join(VERSION_FILE_NAME);
    let bytes = match disk.read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        read => Some(read.map_err(WalError::io("read", &path))?),
    };
    let ours = format!("{FORMAT} {THIS}\n");
    if let Some(bytes) = bytes {
        let text = String::from_utf8_lossy(bytes.get(..MAX_BYTES).unwrap_or(&bytes)).trim_end().to_owned();
        let number = text.split(' ').next().and_then(|word| word.parse::<u32>().ok());
        match number {
            Some(format) if format > FORMAT => return Err(WalError::NewerFormat { path, text, this: THIS }),
            Some(1..) => {}
            _ => return Err(WalError::UnknownFormat { path, text, this: THIS }),
        }
        if ours.trim_end() == text {
            return Ok(());
        }
        log::info!("data directory {}: written last by {text:?}, taken over by {THIS}", data_dir.display());
    }
    // A disk that refuses it will be heard of by the log; the next start tries again.
    if let Err(error) = data_dir::replace(disk, &path, ours.as_bytes()) {
        log::debug!("cannot write {}: {error}", path.display());
        let _ = disk.remove_file(&path.with_extension("tmp"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use std::fs;

    #[test]
    fn what_is_newer_or_unknown_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(VERSION_FILE_NAME);
        take_over(&RealDisk, dir.path()).unwrap();
        let ours = fs::read_to_string(&path).unwrap();
        assert_eq!(ours, format!("1 {THIS}\n"));
        take_over(&RealDisk, dir.path()).unwrap();
        for older in ["1 scraped 0.0.9\n", "1 scraped 9.0.0, which writes what we read", "1"] {
            fs::write(&path, older).unwrap();
            take_over(&RealDisk, dir.path()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), ours);
        }
        for (text, sentence) in [
            ("2 scraped 3.0.0\n", "\"2 scraped 3.0.0\", a newer format than scraped"),
            ("4294967295", "a newer format"),
            ("", "\"\", which is no version"),
            ("0 scraped", "which is no version"),
            ("-1", "which is no version"),
            ("\u{0}\u{0}\u{0}", "which is no version"),
            ("99999999999999999999", "which is no version"),
        ] {
            fs::write(&path, text).unwrap();
            let error = take_over(&RealDisk, dir.path()).unwrap_err();
            assert!(error.to_string().contains(sentence) && !error.may_pass(), "{text:?}: {error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::write(&path, [b'7'; 5000]).unwrap();
        assert!(take_over(&RealDisk, dir.path()).unwrap_err().to_string().len() < 600);
    }
}
