//! The files of a log in the order in which they are read, also while a daemon writes them.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use scraped_engine::disk::RealDisk;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::format::page::PAGE_BYTES;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::format::segment_reader::{ReadBuffers, SegmentReader, Tail};
use scraped_engine::wal::keep::checkpoint;

/// A segment, or a file of the checkpoint that stands for those before.
#[derive(Clone, Debug)]
pub(in crate::commands) struct LogFile {
    /// Where it is.
    pub(in crate::commands) path: PathBuf,
    /// The segment's, or the checkpoint's.
    pub(in crate::commands) number: u32,
    /// Its size.
    pub(in crate::commands) bytes: u64,
    /// Whether it may be written.
    pub(in crate::commands) tail: Tail,
    /// Whether it is the checkpoint's.
    pub(in crate::commands) is_of_checkpoint: bool,
}

/// All of them: the newest checkpoint, then the segments that it does not stand for.
pub(in crate::commands) fn of(wal_dir: &Path) -> Result<Vec<LogFile>, WalError> {
    let checkpoint = checkpoint::list(&RealDisk, wal_dir)?.pop();
    let segments = segment::list(&RealDisk, wal_dir)?;
    let mut files = Vec::new();
    if let Some(checkpoint) = &checkpoint {
        files.extend(checkpoint.segments(&RealDisk)?.into_iter().map(|file| LogFile {
            path: file.path,
            number: checkpoint.number,
            bytes: file.bytes,
            tail: Tail::Closed,
            is_of_checkpoint: true,
        }));
    }
    let last = segments.last().map(|segment| segment.number);
    for segment in segments {
        // A checkpoint stands for segments up to its number, also before the daemon has removed them.
        if checkpoint.as_ref().is_some_and(|checkpoint| segment.number <= checkpoint.number) {
            continue;
        }
        let tail = if Some(segment.number) == last { Tail::Live } else { Tail::Closed };
        let (path, number, bytes) = (segment.path, segment.number, segment.bytes);
        files.push(LogFile { path, number, bytes, tail, is_of_checkpoint: false });
    }
    Ok(files)
}

impl LogFile {
    /// Its records from this place on: zero, or the end of a record.
    pub(in crate::commands) fn read_from(&self, offset: u64) -> Result<SegmentReader<File>, WalError> {
        let open = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(offset - offset % PAGE_BYTES as u64))?;
            Ok(file)
        };
        let file = open().map_err(WalError::io("open segment", &self.path))?;
        Ok(SegmentReader::resume(file, self.number, self.tail, offset, ReadBuffers::default()))
    }

    /// `00000007`, or `checkpoint.00000007/00000000`.
    pub(in crate::commands) fn name(&self) -> String {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let own = name(&self.path).unwrap_or_default();
        match self.path.parent().and_then(name).filter(|_| self.is_of_checkpoint) {
            Some(dir) => format!("{dir}/{own}"),
            None => own,
        }
    }
}
