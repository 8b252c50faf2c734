//! What the ring keeps, gives and lets go.

use super::{Appended, Full, Ring};
use crate::wal::format::closed_segment::BatchSamples;
use crate::wal::format::closed_segment::ClosedSegment;
use crate::wal::format::position::Position;
use crate::wal::format::record_batch::RecordBatch;
use crate::wal::options::Compression;
use std::time::{Duration, Instant};

const KIB: u64 = 1024;

/// A record of so many bytes with ten samples at `ts_ms`.
fn append(ring: &Ring, n_bytes: usize, now: Instant) -> Result<Appended, Full> {
    let mut batch = RecordBatch::new(Compression::None);
    batch.push(&vec![7; n_bytes]);
    let holds = BatchSamples { samples: 10, histograms: 0, newest_ts_ms: Some(5) };
    ring.append(&batch, holds, 1 << 20, now)
}

fn begun(max_bytes: u64) -> Ring {
    let ring = Ring::new(max_bytes);
    assert!(ring.is_empty());
    ring.begin(ClosedSegment { number: 3, bytes: 100, ..ClosedSegment::default() });
    ring
}

fn at(segment: u32, offset: u64) -> Position {
    Position { segment, offset }
}

const NEVER: fn(Position) -> bool = |_| false;

#[test]
fn what_was_added_is_read_where_it_will_stand() {
    let ring = begun(64 * KIB);
    assert_eq!(ring.end(), Some(at(3, 100)));
    append(&ring, 50, Instant::now()).unwrap();
    append(&ring, 60, Instant::now()).unwrap();
    let end = ring.end().unwrap();
    assert_eq!(end, at(3, 100 + 50 + 60 + 2 * 7));
    let mut buf = [0; 1000];
    assert_eq!(ring.read_at(3, &mut buf, 99), None, "on the disk");
    assert_eq!(ring.read_at(4, &mut buf, 0), None);
    assert_eq!(ring.read_at(3, &mut buf, 100), Some(124));
    assert_eq!(buf[7..57], [7; 50]);
    assert_eq!(ring.read_at(3, &mut buf, 220), Some(4));
    assert_eq!(ring.read_at(3, &mut buf, 224), Some(0));
}

#[test]
fn reads_go_over_pieces() {
    let ring = begun(1 << 20);
    for _ in 0..30 {
        append(&ring, 5000, Instant::now()).unwrap();
    }
    let (mut read, mut buf) = (Vec::new(), [0; 3333]);
    while let Some(n) = ring.read_at(3, &mut buf, 100 + read.len() as u64).filter(|n| *n > 0) {
        read.extend_from_slice(&buf[..n]);
    }
    assert_eq!(100 + read.len() as u64, ring.end().unwrap().offset);
    assert_eq!(ring.bytes(), read.len() as u64);
    let mut written = Vec::new();
    while let Some(unwritten) = ring.next_unwritten() {
        assert_eq!((unwritten.number, unwritten.piece.start), (3, 100 + written.len() as u64));
        written.extend_from_slice(&unwritten.piece.bytes);
        ring.note_written(3, unwritten.piece.end());
    }
    assert!(written == read);
    // What was given away to be written does not grow.
    append(&ring, 10, Instant::now()).unwrap();
    assert_eq!(ring.next_unwritten().unwrap().piece.start, 100 + written.len() as u64);
}

#[test]
fn what_is_settled_leaves_by_the_segment_and_what_is_on_the_disk_by_the_piece() {
    let ring = begun(64 * KIB);
    for _ in 0..5 {
        append(&ring, 10_000, Instant::now()).unwrap();
    }
    let end = ring.end().unwrap();
    assert!(end.segment > 4, "a segment is a quarter of the ring: {end:?}");
    ring.free(None, NEVER);
    ring.free(Some(at(3, 100)), NEVER);
    assert_eq!((ring.first_number(), ring.skipped()), (Some(3), None));
    ring.free(Some(at(4, 1)), NEVER);
    assert_eq!((ring.first_number(), ring.skipped()), (Some(4), Some(3)));
    let bytes = ring.bytes();
    let piece = ring.next_unwritten().unwrap();
    ring.note_written(piece.number, piece.piece.end());
    ring.free(None, NEVER);
    assert_eq!(ring.bytes(), bytes, "not durable");
    ring.free(None, |position| position <= at(4, piece.piece.end()));
    assert!(ring.bytes() < bytes);
    assert_eq!(ring.skipped(), Some(3), "as a whole on the disk");
    assert_eq!(ring.size_of(3), None, "nobody needs to know");
    assert!(ring.size_of(4).is_some_and(|bytes| bytes > 10_000));
    ring.free(Some(end), NEVER);
    assert_eq!(ring.first_number(), Some(end.segment), "commits go on there");
}

#[test]
fn a_little_of_the_past_stays() {
    let ring = begun(64 * KIB);
    for _ in 0..30 {
        append(&ring, 600, Instant::now()).unwrap();
        ring.rotate();
    }
    let end = ring.end().unwrap();
    ring.free(Some(end), NEVER);
    assert!((1400..=2048).contains(&ring.bytes()), "{}", ring.bytes());
    ring.forget_past(Some(end));
    assert_eq!((ring.bytes(), ring.end()), (0, Some(end)));
}

#[test]
fn a_full_ring_takes_no_more_until_the_oldest_goes() {
    let ring = begun(32 * KIB);
    let mut n_batches = 0;
    while append(&ring, 4000, Instant::now()).is_ok() {
        n_batches += 1;
    }
    assert_eq!(n_batches, 8);
    let dropped = ring.drop_oldest(|_| {}).unwrap();
    assert_eq!((dropped.number, dropped.samples), (3, 20));
    append(&ring, 4000, Instant::now()).unwrap();
    // One that is larger than all of it has it for itself.
    while ring.drop_oldest(|_| {}).is_some() {}
    append(&ring, 100_000, Instant::now()).unwrap();
}

#[test]
fn age_and_room_say_when_to_write() {
    let ring = begun(64 * KIB);
    let (start, minute) = (Instant::now(), Duration::from_secs(60));
    append(&ring, 100, start).unwrap();
    let first = ring.end().unwrap();
    append(&ring, 100, start + minute).unwrap();
    let second = ring.end().unwrap();
    let is_due = |settled, seconds| ring.is_due(settled, 2 * minute, start + Duration::from_secs(seconds));
    assert!(!is_due(Some(at(3, 100)), 119) && is_due(Some(at(3, 100)), 120));
    assert!(!is_due(Some(first), 179) && is_due(Some(first), 180));
    assert!(!is_due(Some(second), 3600));
    assert!(ring.has_unsettled(Some(first)) && !ring.has_unsettled(Some(second)));
    // Half of it is used up.
    let filling: Vec<bool> =
        (0..6).map(|_| append(&ring, 6000, start + minute).unwrap().is_filling).collect();
    assert_eq!(filling, [false, false, false, false, false, true]);
    assert!(is_due(ring.end(), 60));
    ring.note_final();
    assert!(!is_due(None, 3600) && !ring.has_unsettled(None));
    ring.note_readers();
    assert!(is_due(None, 3600));
}

#[test]
fn a_segment_whose_file_has_gone_stays_until_it_is_settled() {
    let ring = begun(64 * KIB);
    append(&ring, 100, Instant::now()).unwrap();
    let end = ring.end().unwrap();
    ring.give_up(3);
    assert!(ring.next_unwritten().is_none());
    ring.rotate();
    append(&ring, 100, Instant::now()).unwrap();
    assert_eq!(ring.next_unwritten().unwrap().number, 4);
    ring.free(None, |_| true);
    assert_eq!(ring.first_number(), Some(3));
    ring.forget_past(Some(end));
    assert_eq!(ring.first_number(), Some(4));
}

#[test]
fn commits_go_to_the_disk_again_when_all_is_there() {
    let ring = begun(64 * KIB);
    append(&ring, 100, Instant::now()).unwrap();
    let end = ring.end().unwrap();
    ring.leave(at(3, 100));
    assert!(!ring.is_empty());
    ring.note_written(3, end.offset);
    ring.leave(end);
    assert!(ring.is_empty() && ring.end().is_none());
}
