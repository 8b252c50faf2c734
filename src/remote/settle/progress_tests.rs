use super::{Ahead, Gap, Mark, Progress, Saved};
use crate::remote::settle::ledger::{DropReason, Fate, Kind, Ledger};
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::gone::{Gone, SegmentSamples};

fn mark(offset: u64) -> Mark {
    Mark { position: Position { segment: 1, offset }, fingerprint: offset as u32 }
}

fn at_start() -> Progress {
    Progress::new(&Saved { mark: mark(0), ..Saved::default() }, &[])
}

/// Takes a record of `n` samples that ends at `end`; the fates of its samples come later.
fn take(progress: &Progress, end: Mark, n: u64) -> super::RecordSeq {
    let seq = progress.open(progress.newest_lane().0, Kind::Float, end, n, None).unwrap();
    progress.close(seq);
    seq
}

fn all_sent(n: u64) -> Ledger {
    Ledger { taken: n, sent: n, ..Ledger::default() }
}

#[test]
fn the_watermark_waits_for_the_oldest_record() {
    let progress = at_start();
    let first = take(&progress, mark(10), 2);
    let second = progress.open(first.lane(), Kind::Float, mark(20), 1, None).unwrap();
    progress.settle([second].into_iter(), Fate::Sent);
    assert_eq!(progress.settled().mark, mark(0));
    progress.close(second);
    progress.settle([first].into_iter(), Fate::Sent);
    assert_eq!(progress.settled().mark, mark(0));
    assert_eq!((progress.ledger().pending(), progress.settled().ledger), (1, Ledger::default()));
    progress.settle([first].into_iter(), Fate::Dropped(DropReason::Rejected));
    let mut ledger = Ledger { taken: 3, sent: 2, ..Ledger::default() };
    ledger.dropped[DropReason::Rejected as usize] = 1;
    assert_eq!(progress.settled(), Saved { mark: mark(20), ledger, ahead: Vec::new() });
    assert_eq!(progress.ledger(), ledger);
}

#[test]
fn the_oldest_that_waits_is_known() {
    let progress = at_start();
    let (lane, _) = progress.newest_lane();
    assert_eq!(progress.oldest_pending_ms(), None);
    let open = |kind, offset, oldest_ms| {
        let seq = progress.open(lane, kind, mark(offset), 1, oldest_ms).unwrap();
        progress.close(seq);
        seq
    };
    let first = open(Kind::Float, 10, Some(7000));
    let second = open(Kind::Histogram, 20, Some(8000));
    open(Kind::Exemplar, 30, None);
    assert_eq!(progress.oldest_pending_ms(), Some(7000));
    progress.settle([second].into_iter(), Fate::Sent);
    assert_eq!(progress.oldest_pending_ms(), Some(7000));
    progress.settle([first].into_iter(), Fate::Sent);
    assert_eq!(progress.oldest_pending_ms(), None, "an exemplar is no sample");

    // What was left out to send the newest first is older, and has not been read.
    progress.split(2).unwrap();
    let (newest, _) = progress.newest_lane();
    let end = Mark { position: Position { segment: 2, offset: 10 }, fingerprint: 1 };
    progress.open(newest, Kind::Float, end, 1, Some(9000)).unwrap();
    assert_eq!(progress.oldest_pending_ms(), None);
}

#[test]
fn a_record_being_taken_is_not_settled_however_fast_its_samples_are() {
    let progress = at_start();
    let seq = progress.open(progress.newest_lane().0, Kind::Float, mark(10), 1, None).unwrap();
    progress.settle([seq].into_iter(), Fate::Sent);
    assert_eq!(progress.settled().mark, mark(0));
    progress.close(seq);
    assert_eq!(progress.settled().mark, mark(10));
}

#[test]
fn records_without_samples_do_not_hold_anything_up() {
    let progress = at_start();
    let (lane, _) = progress.newest_lane();
    progress.pass(lane, mark(10));
    assert_eq!(progress.settled().mark, mark(10));
    let seq = take(&progress, mark(20), 1);
    progress.pass(lane, mark(30));
    assert_eq!(progress.settled().mark, mark(10));
    progress.settle([seq].into_iter(), Fate::Sent);
    assert_eq!(progress.settled().mark, mark(30));
}

#[test]
fn what_is_taken_again_is_counted_once() {
    let progress = at_start();
    let lost = take(&progress, mark(10), 2);
    progress.settle([lost].into_iter(), Fate::Sent);
    progress.rewind();
    // An answer that comes too late.
    progress.settle([lost].into_iter(), Fate::Sent);
    assert_eq!(progress.ledger(), Ledger::default());
    let again = take(&progress, mark(10), 2);
    progress.settle([again, again].into_iter(), Fate::Sent);
    assert_eq!(progress.settled(), Saved { mark: mark(10), ledger: all_sent(2), ahead: Vec::new() });
}

#[test]
fn exemplars_hold_the_watermark_and_are_no_samples() {
    let progress = at_start();
    let (lane, _) = progress.newest_lane();
    let histograms = progress.open(lane, Kind::Histogram, mark(10), 2, None).unwrap();
    let exemplars = progress.open(lane, Kind::Exemplar, mark(20), 2, None).unwrap();
    for seq in [histograms, exemplars] {
        progress.close(seq);
    }
    assert_eq!(progress.pending(), [0, 2, 2]);
    progress.settle([histograms, histograms, exemplars].into_iter(), Fate::Sent);
    assert_eq!((progress.settled().mark, progress.pending()), (mark(10), [0, 0, 1]));
    progress.settle([exemplars].into_iter(), Fate::Dropped(DropReason::TooOld));
    let saved = Saved { mark: mark(20), ledger: all_sent(2), ahead: Vec::new() };
    assert_eq!((progress.ledger(), progress.settled()), (all_sent(2), saved));
}

#[test]
fn numbers_of_records_wrap() {
    let progress = at_start();
    progress.0.lock().lanes[0].first_number = (1 << crate::remote::settle::lane::NUMBER_BITS) - 1;
    let before = take(&progress, mark(10), 1);
    let behind = take(&progress, mark(20), 1);
    progress.settle([behind].into_iter(), Fate::Sent);
    assert_eq!(progress.settled().mark, mark(0));
    progress.settle([before].into_iter(), Fate::Sent);
    assert_eq!(progress.settled().mark, mark(20));
}

#[test]
fn a_gap_keeps_its_watermark_until_it_is_settled() {
    let progress = at_start();
    let in_flight = take(&progress, mark(10), 1);
    assert_eq!(progress.split(1), None, "nothing lies between");
    let fresh = progress.split(5).unwrap();
    let gap = Gap { lane: in_flight.lane(), from: mark(10).position, until: 5 };
    assert_eq!(progress.gap(), Some(gap));
    assert_eq!(progress.newest_lane(), (fresh, Position { segment: 5, offset: 0 }));
    let newest = Mark { position: Position { segment: 6, offset: 7 }, fingerprint: 9 };
    let sent = take(&progress, newest, 3);
    progress.settle([sent, sent, sent].into_iter(), Fate::Sent);
    let ahead = Ahead { start: 5, mark: newest, ledger: all_sent(3) };
    let saved = Saved { mark: mark(0), ledger: Ledger::default(), ahead: vec![ahead] };
    assert_eq!(progress.settled(), saved);
    assert_eq!((saved.newest(), saved.total()), (newest.position, all_sent(3)));
    // Four segments from the watermark on, and nothing behind the newest.
    assert_eq!(progress.lag_bytes(newest.position, |_| 100), 400);

    // As after a kill: the same from what was remembered.
    let progress = Progress::new(&saved, &[]);
    assert_eq!(progress.settled(), saved);
    assert_eq!(progress.newest_lane().1, newest.position);
    let gap = progress.gap().unwrap();
    assert_eq!((gap.from, gap.until), (mark(0).position, 5));
    let old = progress.open(gap.lane, Kind::Float, mark(10), 2, None).unwrap();
    progress.close(old);
    progress.finish(gap);
    assert_eq!(progress.gap(), None);
    progress.settle([old].into_iter(), Fate::Sent);
    assert!(progress.is_split());
    assert_eq!(progress.settled(), saved);
    progress.settle([old].into_iter(), Fate::Sent);
    assert!(!progress.is_split());
    assert_eq!(progress.settled(), Saved { mark: newest, ledger: all_sent(5), ahead: Vec::new() });
}

#[test]
fn gaps_close_in_any_order_and_are_bounded() {
    let progress = at_start();
    while progress.split(10 * progress.settled().ahead.len() as u32 + 10).is_some() {}
    assert_eq!(progress.settled().ahead.len(), super::MAX_LANES - 1);
    let first = progress.gap().unwrap();
    assert_eq!((first.from, first.until), (mark(0).position, 10));
    // The second one is done before the first.
    let second = Gap { lane: first.lane + 1, from: Mark::start_of(10).position, until: 20 };
    progress.finish(second);
    let ahead = progress.settled().ahead;
    assert_eq!((ahead.len(), ahead[0].start, ahead[0].mark), (super::MAX_LANES - 2, 10, Mark::start_of(20)));
    while let Some(gap) = progress.gap() {
        progress.finish(gap);
    }
    assert_eq!(progress.settled(), Saved { mark: Mark::start_of(150), ..Saved::default() });
}

fn gone(before: u32, segments: &[(u32, u64, u64)]) -> Gone {
    let holds = |(number, floats, histograms): &(u32, u64, u64)| {
        (*number, SegmentSamples { floats: *floats, histograms: *histograms })
    };
    Gone { before, segments: segments.iter().map(holds).collect() }
}

fn lost(n: u64) -> Ledger {
    let mut ledger = Ledger { taken: n, ..Ledger::default() };
    ledger.dropped[DropReason::WalTruncated as usize] = n;
    ledger
}

#[test]
fn what_goes_before_it_is_read_is_lost_at_once_and_once() {
    let progress = at_start();
    let (lane, _) = progress.newest_lane();
    let pending = take(&progress, mark(10), 2);
    let gone = gone(3, &[(1, 5, 4), (2, 7, 0)]);
    // Two of the five floats of segment 1 were taken. Histograms are nothing that this endpoint gets.
    assert_eq!(progress.lose(&gone, false), SegmentSamples { floats: 10, histograms: 0 });
    assert_eq!(progress.lose(&gone, true), SegmentSamples::default());
    assert_eq!(progress.read_to(lane), Some(Position { segment: 3, offset: 0 }));
    assert_eq!(progress.needed_from(), 3);
    // The reader was about to take another record of it.
    assert_eq!(progress.open(lane, Kind::Float, mark(20), 3, None), None);
    progress.pass(lane, mark(30));
    assert_eq!(progress.ledger(), Ledger { taken: 12, ..lost(10) });
    assert_eq!(progress.ledger().pending(), 2);
    // After a kill the two that are in memory would be lost as well.
    let saved = Saved { mark: Mark::start_of(3), ledger: lost(12), ahead: Vec::new() };
    assert_eq!(progress.settled(), saved);
    progress.settle([pending, pending].into_iter(), Fate::Sent);
    let ledger = Ledger { sent: 2, taken: 12, ..lost(10) };
    assert_eq!(progress.settled(), Saved { ledger, ..saved });
    let now = std::time::Instant::now();
    assert_eq!((progress.report_lost(now), progress.report_lost(now)), (Some(10), None));
}

#[test]
fn what_cannot_be_taken_again_is_lost_with_a_new_start() {
    let progress = at_start();
    take(&progress, mark(10), 2);
    progress.lose(&gone(2, &[(1, 6, 0)]), true);
    let newer = Mark { position: Position { segment: 2, offset: 5 }, fingerprint: 1 };
    take(&progress, newer, 8);
    assert_eq!(progress.rewind(), [2, 0, 0]);
    assert_eq!(progress.ledger(), lost(6));
    assert_eq!(progress.newest_lane().1, Position { segment: 2, offset: 0 });
    // What is still there is taken again, and what was read before is not lost with it.
    take(&progress, newer, 8);
    assert_eq!(progress.lose(&gone(3, &[(1, 6, 0), (2, 11, 0)]), true).total(), 3);
}

#[test]
fn samples_before_the_watermark_are_not_lost() {
    let before = [SegmentSamples { floats: 4, histograms: 1 }];
    let progress = Progress::new(&Saved { mark: mark(50), ..Saved::default() }, &before);
    let sent = take(&progress, mark(60), 2);
    progress.settle([sent, sent].into_iter(), Fate::Sent);
    take(&progress, mark(70), 1);
    assert_eq!(progress.rewind(), [0, 0, 0]);
    let lost = progress.lose(&gone(2, &[(1, 10, 3)]), true);
    assert_eq!(lost, SegmentSamples { floats: 4, histograms: 2 });
}

#[test]
fn a_segment_whose_content_vanished_is_lost_where_it_stands() {
    let progress = at_start();
    let (lane, _) = progress.newest_lane();
    let sent = take(&progress, mark(10), 2);
    let hollow = gone(0, &[(1, 5, 0), (4, 6, 0)]);
    assert_eq!(progress.lose(&hollow, true).total(), 3 + 6);
    assert_eq!(progress.lose(&hollow, true).total(), 0);
    // The reader goes on behind what has vanished where it stands; what lies ahead is counted already.
    assert_eq!(progress.read_to(lane), Some(Position { segment: 2, offset: 0 }));
    progress.settle([sent, sent].into_iter(), Fate::Sent);
    let ledger = Ledger { sent: 2, taken: 11, ..lost(9) };
    assert_eq!(progress.settled(), Saved { mark: Mark::start_of(2), ledger, ahead: Vec::new() });
    assert_eq!(progress.lose(&gone(5, &[(1, 5, 0), (2, 2, 0), (4, 6, 0)]), true).total(), 2);
}

#[test]
fn what_is_on_its_way_stays_needed_though_what_is_behind_it_vanished() {
    let progress = at_start();
    let start = progress.settled().mark;
    let sent = take(&progress, mark(10), 2);
    let behind = Mark { position: Position { segment: 2, offset: 0 }, fingerprint: 0 };
    progress.pass(progress.newest_lane().0, behind);
    let hollow = gone(0, &[(2, 5, 0), (3, 6, 0)]);
    assert_eq!(progress.lose(&hollow, true).total(), 5 + 6);
    assert_eq!(progress.newest_lane().1, Position { segment: 4, offset: 0 });
    assert_eq!(progress.settled().mark, start);
    // Nothing of it is lost with a new start.
    assert_eq!(progress.rewind(), [0, 0, 0]);
    assert_eq!(progress.newest_lane().1, start.position);
    assert_eq!(progress.lose(&hollow, true).total(), 0);
    let again = take(&progress, mark(10), 2);
    assert_ne!(sent, again);
    progress.settle([again, again].into_iter(), Fate::Sent);
    progress.pass(progress.newest_lane().0, behind);
    assert_eq!(progress.lose(&hollow, true).total(), 0);
    let ledger = Ledger { sent: 2, taken: 13, ..lost(11) };
    assert_eq!(progress.settled(), Saved { mark: Mark::start_of(4), ledger, ahead: Vec::new() });
}

#[test]
fn each_lane_loses_its_own() {
    let progress = at_start();
    take(&progress, mark(10), 2);
    progress.split(5).unwrap();
    let newest = Mark { position: Position { segment: 5, offset: 7 }, fingerprint: 9 };
    let sent = take(&progress, newest, 3);
    progress.settle([sent; 3].into_iter(), Fate::Sent);
    // The whole gap, but for what was read, and of segment 5 what is behind the newest lane's place.
    let all = gone(6, &[(1, 5, 0), (2, 1, 0), (4, 1, 0), (5, 10, 0)]);
    assert_eq!(progress.lose(&all, true).total(), 3 + 1 + 1 + 7);
    let gap = progress.gap();
    assert!(gap.is_none_or(|gap| gap.from.segment >= gap.until), "{gap:?}");
    assert_eq!(progress.newest_lane().1, Position { segment: 6, offset: 0 });
}
