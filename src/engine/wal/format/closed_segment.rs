//! A segment that is no longer written, and what it holds.

use std::io::{self, Read};
use std::path::Path;

use crate::disk::{Disk, Reader};

/// Read at once for a checksum, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// What truncation needs to know of a segment that is no longer written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClosedSegment {
    /// Its number.
    pub number: u32,
    /// Size of the file.
    pub bytes: u64,
    /// Samples in it, native histograms among them.
    pub samples: u64,
    /// Native histograms in it.
    pub histograms: u64,
    /// Timestamp of its newest sample in milliseconds.
    pub newest_ts_ms: Option<i64>,
    /// How it begins.
    pub head: Head,
}

/// What a batch holds, for truncation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchSamples {
    /// Number of samples, native histograms among them.
    pub samples: u64,
    /// Number of native histograms.
    pub histograms: u64,
    /// Newest timestamp in milliseconds.
    pub newest_ts_ms: Option<i64>,
}

/// How a file begins, by which it is known again: the samples of a log's first commits have times that no other has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Bytes looked at; 0 of an empty file.
    pub bytes: u64,
    /// CRC-32C of them.
    pub checksum: u32,
}

impl Head {
    /// Of a file that begins with `bytes`.
    pub fn of(bytes: &[u8]) -> Head {
        Head { bytes: bytes.len() as u64, checksum: crc32c::crc32c(bytes) }
    }

    /// Of a file, from at most its first `max_bytes` bytes.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(disk: &dyn Disk, path: &Path, max_bytes: u64) -> io::Result<Head> {
        let mut file = Reader::open(disk, path)?.take(max_bytes);
        let mut head = Head::default();
        let mut buf = vec![0; READ_BYTES];
        loop {
            let n_read = file.read(&mut buf)?;
            if n_read == 0 {
                return Ok(head);
            }
            head.checksum = crc32c::crc32c_append(head.checksum, buf.get(..n_read).unwrap_or_default());
            head.bytes += n_read as u64;
        }
    }
}
