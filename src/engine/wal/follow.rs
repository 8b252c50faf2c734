//! Reads the log while it is written, from any record on: what a reader in this process is woken for.
//!
//! Runs on the reader's thread and never reads behind the newest whole commit. A segment that is deleted under it is
//! closed at once, in the middle of a read too; who asks the head what a record's refs mean gets the same answer.

use crate::wal::error::WalError;
use crate::wal::format::page::PAGE_BYTES;
use crate::wal::format::position::Position;
use crate::wal::format::record;
use crate::wal::format::record::Record;
use crate::wal::format::segment;
use crate::wal::format::segment_reader::{
    CorruptionCause, CorruptionError, ReadBuffers, SegmentReader, Tail,
};
use crate::wal::gone::{OpenSegment, Place, SegmentSamples};
use crate::wal::head::LogReader;
use std::io::{self, Read};
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
    /// The segment to read next is not there; [`Follower::go_to`] goes on behind it.
    Truncated,
}

/// Why records of a segment are visited no more.
enum Stopped {
    AtEnd,
    ByVisitor,
    ByDisk(io::Error),
}

/// A place in the log that moves forward.
#[derive(Debug)]
pub struct Follower {
    log: LogReader,
    position: Position,
    /// Closed by whoever removes the segment.
    open: Arc<OpenSegment>,
    buffers: ReadBuffers,
}

impl Follower {
    /// Starts at `position`, which is the end of a record or the start of a segment.
    pub fn new(log: LogReader, position: Position) -> Self {
        let open = log.open_segment();
        Self { log, position, open, buffers: ReadBuffers::default() }
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
            if let Some(ended) = self.read_segment(visit, damaged)? {
                return Ok(ended);
            }
        }
    }

    /// Reads one segment as far as it goes, and moves on to the next one if it is complete. `None`: there may be more.
    fn read_segment(
        &mut self,
        visit: &mut dyn FnMut(Position, Position, &[u8]) -> Next,
        damaged: &mut dyn FnMut(&CorruptionError),
    ) -> Result<Option<Ended>, WalError> {
        // A closed log is read to the end that it has on disk.
        let end = self.log.committed_end();
        if end.is_some_and(|end| end <= self.position) {
            return Ok(Some(Ended::CaughtUp));
        }
        if self.has_vanished() {
            return Ok(Some(Ended::Truncated));
        }
        let before = self.position;
        let limit = end.filter(|end| end.segment == before.segment).map(|end| end.offset);
        let (stopped, reached) = self.visit_records(limit, visit, damaged);
        match stopped {
            Stopped::AtEnd => {}
            Stopped::ByVisitor => return Ok(Some(Ended::Paused)),
            // A closed log belongs to somebody else.
            Stopped::ByDisk(cause) if cause.kind() == io::ErrorKind::NotFound && end.is_none() => {
                return Ok(Some(Ended::CaughtUp));
            }
            Stopped::ByDisk(cause) if cause.kind() == io::ErrorKind::NotFound => {
                if !self.log.has_left_memory(before.segment) {
                    return Ok(Some(Ended::Truncated));
                }
                // All who need it have had it, and stand at its end.
                return Ok(self.go_to_next_segment());
            }
            Stopped::ByDisk(cause) => {
                let path = segment::segment_path(self.log.wal_dir(), before.segment);
                return Err(WalError::io("read segment", &path)(cause));
            }
        }
        if let Some(limit) = limit {
            // What the reader passed over, such as damage, is not read again.
            self.position.offset = self.position.offset.max(reached.min(limit));
            if self.position == before {
                // Another file has this name now, or the one that is open has lost its end.
                self.open.close();
                return Ok(Some(Ended::CaughtUp));
            }
            return Ok(None);
        }
        if self.has_vanished() {
            return Ok(Some(Ended::Truncated));
        }
        Ok(self.go_to_next_segment())
    }

    fn go_to_next_segment(&mut self) -> Option<Ended> {
        let Some(segment) = self.position.segment.checked_add(1) else { return Some(Ended::CaughtUp) };
        self.go_to(Position { segment, offset: 0 });
        None
    }

    /// Visits the records from the position on, and moves it behind those that are done with. `limit` is where the newest
    /// commit ends if the segment is still being written. Gives how far the reader has come in it, too.
    fn visit_records(
        &mut self,
        limit: Option<u64>,
        visit: &mut dyn FnMut(Position, Position, &[u8]) -> Next,
        damaged: &mut dyn FnMut(&CorruptionError),
    ) -> (Stopped, u64) {
        let Position { segment, offset } = self.position;
        let source = Pages {
            log: &self.log,
            segment: &self.open,
            number: segment,
            at: offset - offset % PAGE_BYTES as u64,
            from: offset,
            limit: limit.unwrap_or(u64::MAX),
        };
        let tail = if limit.is_some() { Tail::Live } else { Tail::Closed };
        let buffers = std::mem::take(&mut self.buffers);
        let mut reader = SegmentReader::resume(source, segment, tail, offset, buffers);
        let stopped = loop {
            match reader.next_record() {
                Ok(Some(record)) => {
                    let at = Position { segment, offset: record.start };
                    let end = Position { segment, offset: record.end };
                    let next = visit(at, end, record.bytes);
                    if next != Next::Keep {
                        self.position = end;
                    }
                    if next != Next::Record {
                        break Stopped::ByVisitor;
                    }
                }
                Ok(None) => break Stopped::AtEnd,
                Err(CorruptionError { cause: CorruptionCause::Read(cause), .. }) if !is_damage(&cause) => {
                    break Stopped::ByDisk(cause);
                }
                Err(error) => damaged(&error),
            }
        };
        let reached = reader.offset();
        self.buffers = reader.into_buffers();
        (stopped, reached)
    }

    /// Whether another file has the name of the segment that is being read, without what was in it.
    fn has_vanished(&self) -> bool {
        self.position.offset > 0 && self.log.is_hollow(self.position.segment)
    }

    /// Goes on at `position`.
    pub fn go_to(&mut self, position: Position) {
        self.position = position;
        self.open.close();
    }
}

/// Whether the system says that the disk has lost what stood there. All other errors pass: too many open files, a
/// network file system that is away.
fn is_damage(cause: &io::Error) -> bool {
    cause.raw_os_error() == Some(libc::EIO)
}

/// A segment's bytes from a page's start on up to `limit` bytes from the segment's start.
struct Pages<'a> {
    log: &'a LogReader,
    segment: &'a OpenSegment,
    number: u32,
    at: u64,
    /// What stands before it was read, and may be nowhere by now.
    from: u64,
    limit: u64,
}

impl Read for Pages<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.limit.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let n_wanted = buf.len().min(left);
        let Some(buf) = buf.get_mut(..n_wanted).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        if self.at < self.from {
            let n_passed = buf.len().min(usize::try_from(self.from - self.at).unwrap_or(usize::MAX));
            buf.get_mut(..n_passed).unwrap_or_default().fill(0);
            self.at += n_passed as u64;
            return Ok(n_passed);
        }
        let n_read = match self.log.read_memory(self.number, buf, self.at) {
            Some(n_read) => n_read,
            None => {
                let place = Place { number: self.number, n_remade: self.log.wal().n_remade() };
                self.segment.read_at(&**self.log.disk(), self.log.wal_dir(), place, buf, self.at)?
            }
        };
        self.at += n_read as u64;
        Ok(n_read)
    }
}

/// Checksum of a record, by which a remembered position is known again.
pub fn fingerprint(record: &[u8]) -> u32 {
    crc32c::crc32c(record)
}

/// Fingerprint of the record that ends at `position`, and the samples that stand before it in its segment; `None` if no
/// record ends there.
///
/// # Errors
/// The segment cannot be read for another reason than that it is not there.
pub fn record_before(log: &LogReader, position: Position) -> Result<Option<(u32, SegmentSamples)>, WalError> {
    let Position { segment, offset: limit } = position;
    let path = segment::segment_path(log.wal_dir(), segment);
    let open = log.open_segment();
    let source = Pages { log, segment: &open, number: segment, at: 0, from: 0, limit };
    let mut reader = SegmentReader::new(source, segment, Tail::Live);
    let mut last = None;
    let mut samples = SegmentSamples::default();
    loop {
        match reader.next_record() {
            Ok(Some(record)) => {
                last = Some((record.end, fingerprint(record.bytes)));
                match record::decode(record.bytes) {
                    Record::Samples(floats) => samples.floats += floats.flatten().count() as u64,
                    Record::Histograms(entries) => samples.histograms += entries.flatten().count() as u64,
                    _ => {}
                }
            }
            Ok(None) => break,
            Err(CorruptionError { cause: CorruptionCause::Read(cause), .. })
                if cause.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(None);
            }
            Err(CorruptionError { cause: CorruptionCause::Read(cause), .. }) if !is_damage(&cause) => {
                return Err(WalError::io("read segment", &path)(cause));
            }
            Err(_) => {}
        }
    }
    Ok(last.filter(|(end, _)| *end == position.offset).map(|(_, fingerprint)| (fingerprint, samples)))
}

#[cfg(test)]
mod tests {
    use super::{Ended, Follower, Next, fingerprint, record_before};
    use crate::disk::faulty::{Faults, FaultyDisk, Operation};
    use crate::labels::builder::LabelsBuilder;
    use crate::wal::format::position::Position;
    use crate::wal::format::record;
    use crate::wal::format::record::Record;
    use crate::wal::head::Wal;
    use crate::wal::keep::truncate_files::truncate;
    use crate::wal::options::WalOptions;
    use std::path::Path;
    use std::sync::Arc;

    fn open(dir: &Path) -> Wal {
        let options =
            WalOptions { segment_size_bytes: Some(1 << 20), lock_file: false, ..WalOptions::at(dir) };
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

    /// As after a write that failed where the disk could not cut the file.
    #[test]
    fn the_end_of_a_segment_is_read_though_it_stands_in_another_file() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FaultyDisk::default();
        let options = WalOptions {
            segment_size_bytes: Some(1 << 20),
            lock_file: false,
            disk: Arc::new(disk.clone()),
            ..WalOptions::at(dir.path())
        };
        let wal = Wal::open(options, &mut |_, _| {}).unwrap().0;
        let mut follower = Follower::new(wal.reader(), Position::default());
        commit(&wal, "a", 1);
        assert_eq!(timestamps(&mut follower).0, [1]);
        disk.set(Faults::refusing([Operation::SetLen], libc::EIO).with_room(3));
        let mut labels = LabelsBuilder::new();
        labels.set("__name__", "a");
        let mut appender = wal.appender();
        let handle = appender.series(&labels).unwrap().handle;
        appender.append(handle, 2, 1.0);
        appender.commit().unwrap_err();
        disk.heal();
        commit(&wal, "a", 3);
        wal.upkeep().rotate().unwrap();
        commit(&wal, "a", 4);
        assert_eq!(timestamps(&mut follower).0, [3, 4]);
    }

    #[test]
    fn commits_are_read_as_they_come_over_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path());
        let mut follower = Follower::new(wal.reader(), Position::default());
        assert!(timestamps(&mut follower).0.is_empty());
        for ts_ms in 1..2000 {
            commit(&wal, "a", ts_ms);
            if ts_ms % 150 == 0 {
                wal.upkeep().rotate().unwrap();
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
        let mut follower = Follower::new(wal.reader(), Position::default());
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
            assert_eq!(record_before(&wal.reader(), end).unwrap().unwrap().0, fingerprint);
            assert_eq!(
                record_before(&wal.reader(), Position { offset: end.offset + 1, ..end }).unwrap(),
                None
            );
        }
        assert_eq!(record_before(&wal.reader(), Position { segment: 9, offset: 9 }).unwrap(), None);
    }

    #[test]
    fn what_is_removed_is_closed_at_once_and_noted() {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path());
        let mark = wal.reader().claim(Position::default());
        let mut follower = Follower::new(wal.reader(), Position::default());
        commit(&wal, "a", 1);
        timestamps(&mut follower);
        commit(&wal, "a", 2);
        let mut closed = Vec::new();
        for ts_ms in 3..6 {
            closed.push(wal.current().unwrap());
            wal.upkeep().rotate().unwrap();
            commit(&wal, "a", ts_ms);
        }
        while let Some(rotated) = wal.upkeep().rotated() {
            wal.upkeep().forget_rotated(rotated.closed.number);
        }
        let deleted = || {
            let wal_dir = dir.path().join("wal").display().to_string();
            let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            let links = open.filter_map(|fd| std::fs::read_link(fd.path()).ok());
            links
                .map(|link| link.display().to_string())
                .filter(|it| it.starts_with(&wal_dir))
                .collect::<Vec<_>>()
        };
        let mut is_first = true;
        // In the middle of a read, where a reader waits for an endpoint that is away.
        let ended = follower.read(
            &mut |_, _, _| {
                if std::mem::take(&mut is_first) {
                    truncate(&wal, 2, &closed, None).unwrap();
                    assert!(!deleted().iter().any(|it| it.contains("(deleted)")), "{:?}", deleted());
                }
                Next::Record
            },
            &mut |error| panic!("{error}"),
        );
        assert!(matches!(ended, Ok(Ended::Truncated)), "{ended:?}");
        let mut handles = Vec::new();
        assert_eq!(wal.reader().handles(2, &[1], &mut handles).unwrap_err().last, 2);
        assert!(wal.reader().handles(3, &[1], &mut handles).is_ok());
        let gone = wal.reader().gone_from(0);
        assert_eq!(gone.before, 3);
        assert_eq!(gone.segments.values().map(|it| it.total()).collect::<Vec<_>>(), [2, 1, 1]);
        follower.go_to(Position { segment: gone.before, offset: 0 });
        assert_eq!(timestamps(&mut follower).0, [5]);
        drop(mark);
        assert!(wal.reader().gone_from(0).segments.is_empty());
    }

    #[test]
    fn a_segment_that_cannot_be_opened_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(dir.path());
        (1..=2).for_each(|ts_ms| commit(&wal, "a", ts_ms));
        wal.upkeep().rotate().unwrap();
        commit(&wal, "a", 3);
        let path = dir.path().join("wal/00000000");
        let aside = dir.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        // A link to itself: no one, not even root, can open it.
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let mut follower = Follower::new(wal.reader(), Position::default());
        let read = follower.read(&mut |_, _, _| Next::Record, &mut |error| panic!("{error}"));
        assert!(matches!(read, Err(crate::wal::error::WalError::Io { .. })), "{read:?}");
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(timestamps(&mut follower).0, [1, 2, 3]);
    }
}
