//! Reads the log while it is written, from any record on: what a reader in this process is woken for.
//!
//! Runs on the reader's thread and never reads behind the newest whole commit. A segment that is deleted under it can
//! be read to its end, but what its refs mean is no longer known: whoever asks the head is told so and has to jump.

use crate::wal::error::WalError;
use crate::wal::head::Wal;
use crate::wal::page::PAGE_BYTES;
use crate::wal::reader::{CorruptionError, ReadBuffers, SegmentReader, Tail};
use crate::wal::record::{self, Record};
use crate::wal::segment;
use crate::wal::writer::Position;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

/// What to do after a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is done with: read the next one.
    Record,
    /// It is done with: read no further for now.
    Pause,
    /// It is not done with: the next call starts with it.
    Keep,
}

/// Why a call ended.
#[derive(Debug)]
pub enum Ended {
    /// There is nothing more for now.
    CaughtUp,
    /// The visitor said so.
    Paused,
    /// The segment to read next was truncated; [`Follower::jump`] goes on behind it.
    Truncated,
}

/// A place in the log that moves forward.
#[derive(Debug)]
pub struct Follower {
    wal: Wal,
    position: Position,
    file: Option<(u32, Arc<File>)>,
    buffers: ReadBuffers,
}

impl Follower {
    /// Starts at `position`, which is the end of a record or the start of a segment.
    pub fn new(wal: Wal, position: Position) -> Self {
        Self { wal, position, file: None, buffers: ReadBuffers::default() }
    }

    /// The end of the last record that is done with.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Calls `visit` with each record (its place and its end) up to the newest commit, and `damaged` with what cannot
    /// be read.
    ///
    /// # Errors
    /// A segment cannot be opened or read; the next call tries again.
    pub fn read(
        &mut self,
        visit: &mut dyn FnMut(Position, Position, &[u8]) -> Next,
        damaged: &mut dyn FnMut(&CorruptionError),
    ) -> Result<Ended, WalError> {
        loop {
            let number = self.position.segment;
            // A closed log is read to the end that it has on disk.
            let end = self.wal.committed_end();
            let is_current = end.is_some_and(|end| end.segment == number);
            if end.is_some_and(|end| end <= self.position) {
                return Ok(Ended::CaughtUp);
            }
            let tail = if is_current { Tail::Live } else { Tail::Closed };
            let limit = end.filter(|_| is_current).map_or(u64::MAX, |end| end.offset);
            let file = match self.file() {
                Err(error) if error.kind() == io::ErrorKind::NotFound && end.is_some() => {
                    return Ok(Ended::Truncated);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ended::CaughtUp),
                file => file.map_err(WalError::io("read segment in", self.wal.wal_dir()))?,
            };
            let source = pages(&file, self.position.offset, limit)
                .map_err(WalError::io("read segment in", self.wal.wal_dir()))?;
            let buffers = std::mem::take(&mut self.buffers);
            let mut reader = SegmentReader::resume(source, number, tail, self.position.offset, buffers);
            let mut is_paused = false;
            while !is_paused {
                match reader.next_record() {
                    Ok(Some(record)) => {
                        let at = Position { segment: number, offset: record.start };
                        let end = Position { segment: number, offset: record.end };
                        let next = visit(at, end, record.bytes);
                        if next != Next::Keep {
                            self.position = end;
                        }
                        is_paused = next != Next::Record;
                    }
                    Ok(None) => break,
                    Err(error) => damaged(&error),
                }
            }
            let reached = reader.offset();
            self.buffers = reader.into_buffers();
            if is_paused {
                return Ok(Ended::Paused);
            }
            if is_current {
                // What the reader passed over, such as damage, is not read again.
                self.position.offset = self.position.offset.max(reached.min(limit));
                continue;
            }
            let Some(next) = number.checked_add(1) else { return Ok(Ended::CaughtUp) };
            self.position = Position { segment: next, offset: 0 };
            self.file = None;
        }
    }

    /// Gives up what was truncated and goes on at the oldest record there is, but not behind the start of segment
    /// `until`; returns the samples passed over.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn jump(&mut self, until: Option<u32>) -> Result<u64, WalError> {
        let mut oldest = self.wal.oldest_position()?;
        if let Some(until) = until.filter(|until| *until < oldest.segment) {
            oldest = Position { segment: until, offset: 0 };
        }
        let first_unopened = match &self.file {
            Some((number, _)) => number.saturating_add(1),
            None => self.position.segment,
        };
        let in_open_file = if self.file.is_some() { self.count_rest() } else { 0 };
        if oldest.segment <= self.position.segment {
            // Nothing went, or what comes next is not there for another reason than truncation.
            let next = self.position.segment.saturating_add(1);
            self.position = Position { segment: next, offset: 0 };
            self.file = None;
            return Ok(in_open_file);
        }
        let passed_over = in_open_file + self.wal.samples_gone(first_unopened, oldest.segment - 1);
        self.position = oldest;
        self.file = None;
        Ok(passed_over)
    }

    /// Samples in what is left of the open segment.
    fn count_rest(&mut self) -> u64 {
        let offset = self.position.offset;
        let number = self.position.segment;
        let Ok(file) = self.file() else { return 0 };
        let Ok(source) = pages(&file, offset, u64::MAX) else { return 0 };
        let mut reader = SegmentReader::resume(source, number, Tail::Closed, offset, ReadBuffers::default());
        let mut n_samples = 0;
        loop {
            match reader.next_record() {
                Ok(Some(found)) => {
                    n_samples += match record::decode(found.bytes) {
                        Record::Samples(samples) => samples.filter(Result::is_ok).count(),
                        Record::Histograms(histograms) => histograms.filter(Result::is_ok).count(),
                        _ => 0,
                    } as u64;
                }
                Ok(None) => return n_samples,
                Err(_) => {}
            }
        }
    }

    /// The segment that is being read.
    fn file(&mut self) -> io::Result<Arc<File>> {
        let number = self.position.segment;
        if let Some((_, file)) = self.file.as_ref().filter(|(open, _)| *open == number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(segment::segment_path(self.wal.wal_dir(), number))?);
        self.file = Some((number, Arc::clone(&file)));
        Ok(file)
    }
}

/// A segment's bytes from the page that holds `offset` up to `limit` bytes from the segment's start.
fn pages(file: &File, offset: u64, limit: u64) -> io::Result<io::Take<&File>> {
    let page_start = offset - offset % PAGE_BYTES as u64;
    let mut file = file;
    file.seek(SeekFrom::Start(page_start))?;
    Ok(file.take(limit.saturating_sub(page_start)))
}

/// Checksum of a record, by which a remembered position is known again.
pub fn fingerprint(record: &[u8]) -> u32 {
    crc32c::crc32c(record)
}

/// Fingerprint of the record that ends at `position`; `None` if none does.
///
/// # Errors
/// The segment cannot be read for another reason than that it is not there.
pub fn record_before(wal: &Wal, position: Position) -> Result<Option<u32>, WalError> {
    let path = segment::segment_path(wal.wal_dir(), position.segment);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(WalError::io("read segment", &path))?,
    };
    let mut reader = SegmentReader::new(file.take(position.offset), position.segment, Tail::Live);
    let mut last = None;
    loop {
        match reader.next_record() {
            Ok(Some(record)) => last = Some((record.end, fingerprint(record.bytes))),
            Ok(None) => break,
            Err(_) => {}
        }
    }
    Ok(last.filter(|(end, _)| *end == position.offset).map(|(_, fingerprint)| fingerprint))
}

#[cfg(test)]
mod tests {
    use super::{Ended, Follower, Next, fingerprint, record_before};
    use crate::labels::builder::LabelsBuilder;
    use crate::wal::head::{Compression, Wal, WalOptions};
    use crate::wal::record::{self, Record};
    use crate::wal::truncate::truncate;
    use crate::wal::writer::Position;
    use std::path::Path;
    use std::time::Duration;

    fn open(dir: &Path) -> Wal {
        let options = WalOptions {
            path: dir.to_owned(),
            segment_size_bytes: 1 << 20,
            compression: Compression::Snappy,
            retention_min_time: Duration::from_secs(3600),
            retention_max_time: Duration::ZERO,
            retention_max_bytes: None,
            fsync_interval: Duration::from_secs(15),
            lock_file: false,
        };
        Wal::open(options, &mut |_, _| {}).unwrap().0
    }

    /// One sample of series `name` at `ts_ms`.
    fn commit(wal: &Wal, name: &str, ts_ms: i64) {
        let mut labels = LabelsBuilder::new();
        labels.set("__name__", name);
        let mut appender = wal.appender();
        let handle = appender.series(&labels).unwrap().handle;
        appender.append(handle, ts_ms, 1.0);
        appender.commit().unwrap();
    }

    fn timestamps(follower: &mut Follower) -> (Vec<i64>, Ended) {
        let mut found = Vec::new();
        let ended = follower.read(
            &mut |_, _, bytes| {
                if let Record::Samples(samples) = record::decode(bytes) {
                    found.extend(samples.map(|sample| sample.unwrap().ts_ms));
                }
                Next::Record
            },
            &mut |error| panic!("{error}"),
        );
        (found, ended.unwrap())
    }

    #[test]
    fn commits_are_read_as_they_come_over_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path());
        let mut follower = Follower::new(wal.clone(), Position::default());
        assert!(timestamps(&mut follower).0.is_empty());
        for ts_ms in 1..2000 {
            commit(&wal, "a", ts_ms);
            if ts_ms % 150 == 0 {
                wal.rotate().unwrap();
            }
            if ts_ms % 7 != 0 {
                continue;
            }
            assert_eq!(timestamps(&mut follower).0, (ts_ms - 6..=ts_ms).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_record_that_is_kept_comes_again_and_a_position_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path());
        (1..=3).for_each(|ts_ms| commit(&wal, "a", ts_ms));
        let mut follower = Follower::new(wal.clone(), Position::default());
        let mut ends = Vec::new();
        let mut read = |last: Next| {
            let mut n_records = 0;
            let mut visit = |_, end, bytes: &[u8]| {
                n_records += 1;
                ends.push((end, fingerprint(bytes)));
                if n_records == 2 { last } else { Next::Record }
            };
            follower.read(&mut visit, &mut |error| panic!("{error}")).unwrap();
            follower.position()
        };
        // The first commit has a series record before its samples.
        let first = read(Next::Keep);
        assert_eq!(read(Next::Pause).segment, first.segment);
        read(Next::Record);
        assert_eq!(ends[1], ends[2]);
        for (end, fingerprint) in ends {
            assert_eq!(record_before(&wal, end).unwrap(), Some(fingerprint));
            assert_eq!(record_before(&wal, Position { offset: end.offset + 1, ..end }).unwrap(), None);
        }
        assert_eq!(record_before(&wal, Position { segment: 9, offset: 9 }).unwrap(), None);
    }

    #[test]
    fn what_truncation_takes_from_a_reader_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path());
        let mark = wal.register_reader(Position::default());
        let mut follower = Follower::new(wal.clone(), Position::default());
        commit(&wal, "a", 1);
        timestamps(&mut follower);
        commit(&wal, "a", 2);
        let mut closed = Vec::new();
        for ts_ms in 3..6 {
            closed.push(wal.current().unwrap());
            wal.rotate().unwrap();
            commit(&wal, "a", ts_ms);
        }
        wal.readers().note_going(closed.iter());
        truncate(&wal, 2, None).unwrap();
        let mut handles = Vec::new();
        assert_eq!(wal.handles(2, &[1], &mut handles).unwrap_err().last, 2);
        assert!(wal.handles(3, &[1], &mut handles).is_ok());
        // One left in the open file, one in each of two segments that were never opened.
        assert_eq!(follower.jump(None).unwrap(), 3);
        assert_eq!(timestamps(&mut follower).0, [5]);
        drop(mark);
        assert_eq!(wal.samples_gone(0, 9), 0);
    }
}
