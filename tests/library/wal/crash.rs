//! Damage of every kind: the start always succeeds, only what is damaged is lost, and the log is whole afterwards.

use support::cases;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::collection::vec;
use proptest::prelude::{any, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};
use scraped_engine::disk::RealDisk;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::format::segment_reader::{SegmentReader, Tail};
use scraped_engine::wal::keep::checkpoint;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::options::WalOptions;
use std::time::{Duration, Instant};

use support::wal::{
    Answer, Foreign, ask_all, check_log, commit, copy_dir, open, open_with, options, series, write_segment,
};
use tempfile::TempDir;

/// Ten commits of two old series, one of which brings a new one: in one segment that ends as after a kill.
fn log_of_one_segment() -> TempDir {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    for ts_ms in 1..=10 {
        let names: &[&str] = if ts_ms == 9 { &["a", "b", "new"] } else { &["a", "b"] };
        commit(&mut appender, names, ts_ms * 1000, ts_ms as f64);
    }
    drop((appender, wal));
    dir
}

/// A copy to damage.
fn copy_of(dir: &Path) -> TempDir {
    let copy = TempDir::with_prefix("scraped-test-").unwrap();
    copy_dir(&dir.join("wal"), &copy.path().join("wal"));
    copy
}

/// Start and end of every record, and what it holds.
struct Placed {
    start: usize,
    end: usize,
    series: Vec<(u64, String)>,
    samples: Vec<(u64, i64)>,
}

fn records(path: &Path) -> Vec<Placed> {
    let mut reader = SegmentReader::new(segment::open(&RealDisk, path).unwrap(), 0, Tail::Closed);
    let mut records = Vec::new();
    while let Some(raw) = reader.next_record().unwrap() {
        let mut placed = Placed {
            start: raw.start as usize,
            end: raw.end as usize,
            series: Vec::new(),
            samples: Vec::new(),
        };
        match record::decode(raw.bytes) {
            Record::Series(entries) => {
                for entry in entries.flatten() {
                    let name = entry.labels.clone().find(|(name, _)| *name == "__name__").unwrap().1;
                    placed.series.push((entry.series_ref, series(name)));
                }
            }
            Record::Samples(samples) => {
                placed.samples.extend(samples.flatten().map(|sample| (sample.series_ref, sample.ts_ms)));
            }
            _ => panic!("we never wrote that"),
        }
        records.push(placed);
    }
    records
}

/// What a reader of the surviving records finds.
fn survivors(records: &[Placed], is_lost: impl Fn(&Placed) -> bool) -> Answer {
    let mut names = std::collections::BTreeMap::new();
    let mut answer = Answer::new();
    for record in records.iter().filter(|record| !is_lost(record)) {
        names.extend(record.series.iter().cloned());
        for (series_ref, ts_ms) in &record.samples {
            if let Some(name) = names.get(series_ref) {
                answer
                    .entry(name.clone())
                    .or_default()
                    .push((*ts_ms, format!("{:?}", *ts_ms as f64 / 1000.0)));
            }
        }
    }
    answer
}

/// Starts on a damaged log; the answer must be `expected` before and after, and the log whole and writable.
fn check(dir: &Path, expected: &Answer, is_loss: bool, case: &str) {
    let (wal, summary) = open(dir);
    assert_eq!(!summary.losses.is_empty(), is_loss, "{case}: {:?}", summary.losses);
    assert_eq!(ask_all(dir), *expected, "{case}: {:?}", summary.losses);
    let mut appender = wal.appender();
    commit(&mut appender, &["a", "after"], 99_000, 99.0);
    wal.close().unwrap();
    drop((appender, wal));
    check_log(dir);
    let mut expected = expected.clone();
    expected.entry(series("a")).or_default().push((99_000, "99.0".to_owned()));
    expected.entry(series("after")).or_default().push((99_000, "99.0".to_owned()));
    assert_eq!(ask_all(dir), expected, "{case}");
    let (_, summary) = open(dir);
    assert_eq!(summary.losses, Vec::<String>::new(), "{case}: nothing is left to repair");
}

#[test]
fn a_flip_of_any_byte_of_the_last_records_costs_one_record() {
    let dir = log_of_one_segment();
    let path = dir.path().join("wal/00000000");
    let whole = fs::read(&path).unwrap();
    let records = records(&path);
    let from = records[records.len() - 4].start;
    assert!(records[records.len() - 3].series.len() == 1 || records[records.len() - 4].series.len() == 1);
    for at in from..whole.len() {
        let copy = copy_of(dir.path());
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(copy.path().join("wal/00000000"), &damaged).unwrap();
        let expected = survivors(&records, |record| record.start <= at && at < record.end);
        check(copy.path(), &expected, true, &format!("byte {at} flipped"));
    }
}

#[test]
fn a_cut_at_any_byte_of_the_last_records_costs_what_is_behind_it() {
    let dir = log_of_one_segment();
    let path = dir.path().join("wal/00000000");
    let whole = fs::read(&path).unwrap();
    let records = records(&path);
    let from = records[records.len() - 4].start;
    for cut in from..=whole.len() {
        let copy = copy_of(dir.path());
        fs::write(copy.path().join("wal/00000000"), &whole[..cut]).unwrap();
        let expected = survivors(&records, |record| record.end > cut);
        let is_clean = records.iter().any(|record| record.end == cut);
        check(copy.path(), &expected, !is_clean, &format!("cut at {cut}"));
    }
}

#[test]
fn zeros_and_garbage_behind_the_end_cost_nothing_else() {
    let dir = log_of_one_segment();
    let path = dir.path().join("wal/00000000");
    let whole = fs::read(&path).unwrap();
    let all = survivors(&records(&path), |_| false);
    for (tail, is_loss) in
        [(vec![0; 100], false), (vec![0; 70_000], false), (vec![0xa5; 100], true), (vec![1; 70_000], true)]
    {
        let copy = copy_of(dir.path());
        fs::write(copy.path().join("wal/00000000"), [whole.clone(), tail.clone()].concat()).unwrap();
        check(copy.path(), &all, is_loss, &format!("{} bytes {:#x} behind the end", tail.len(), tail[0]));
    }
}

/// Three segments behind a checkpoint: series `old` is named only in the checkpoint, `mid` in the first segment.
fn log_with_a_checkpoint() -> (TempDir, Answer) {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let hour_ms = 3_600_000;
    // Every start opens a new segment.
    for (hour, names) in [
        (0, &["old", "gone"][..]),
        (1, &["old"]),
        (3, &["old", "mid"]),
        (4, &["old", "mid"]),
        (5, &["old", "mid", "young"]),
    ] {
        let (wal, _) = open(dir.path());
        commit(&mut wal.appender(), names, hour * hour_ms, hour as f64);
        if hour == 5 {
            let mut options = support::wal::options(dir.path());
            options.retention_min_time = std::time::Duration::from_secs(3 * 3600);
            wal.close().unwrap();
            drop(wal);
            let (wal, _) = support::wal::open_with(options);
            Maintenance::new(wal.clone(), wal.reader().are_all_known()).cycle(Instant::now());
            wal.close().unwrap();
            break;
        }
        wal.close().unwrap();
    }
    fs::remove_file(dir.path().join("reserve")).unwrap();
    check_log(dir.path());
    assert_eq!(checkpoint::list(&RealDisk, &dir.path().join("wal")).unwrap()[0].number, 1);
    let answer = ask_all(dir.path());
    assert_eq!(answer[&series("old")].len(), 3, "{answer:?}");
    assert!(!answer.contains_key(&series("gone")), "{answer:?}");
    (dir, answer)
}

fn wal_file(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join("wal").join(name)
}

#[test]
fn a_missing_segment_leaves_no_gap() {
    let (dir, all) = log_with_a_checkpoint();
    // `mid` was named in segment 2.
    fs::remove_file(wal_file(&dir, "00000002")).unwrap();
    let mut expected = all.clone();
    expected.remove(&series("mid"));
    expected.get_mut(&series("old")).unwrap().remove(0);
    check(dir.path(), &expected, true, "segment 2 is missing");

    let (dir, all) = log_with_a_checkpoint();
    fs::remove_file(wal_file(&dir, "00000003")).unwrap();
    let mut expected = all;
    expected.get_mut(&series("old")).unwrap().remove(1);
    expected.get_mut(&series("mid")).unwrap().remove(1);
    check(dir.path(), &expected, true, "segment 3 is missing");
}

#[test]
fn a_stray_segment_far_away_costs_no_million_files() {
    let (dir, all) = log_with_a_checkpoint();
    let last = segment::list(&RealDisk, &dir.path().join("wal")).unwrap().pop().unwrap();
    fs::rename(&last.path, wal_file(&dir, "04000000")).unwrap();
    check(dir.path(), &all, true, "the last segment has a wild number");
}

#[test]
fn a_missing_checkpoint_costs_only_the_series_it_named() {
    let (dir, all) = log_with_a_checkpoint();
    fs::remove_dir_all(wal_file(&dir, "checkpoint.00000001")).unwrap();
    let mut expected = all;
    expected.remove(&series("old"));
    check(dir.path(), &expected, true, "no checkpoint");
}

#[test]
fn a_broken_checkpoint_costs_only_the_series_it_named() {
    for what in ["flipped", "empty file", "no file", "a file"] {
        let (dir, all) = log_with_a_checkpoint();
        let path = wal_file(&dir, "checkpoint.00000001");
        let file = path.join("00000000");
        match what {
            "flipped" => {
                let mut bytes = fs::read(&file).unwrap();
                bytes[10] ^= 4;
                fs::write(&file, bytes).unwrap();
            }
            "empty file" => fs::write(&file, "").unwrap(),
            "no file" => fs::remove_file(&file).unwrap(),
            _ => {
                fs::remove_dir_all(&path).unwrap();
                fs::write(&path, "x").unwrap();
            }
        }
        let mut expected = all;
        expected.remove(&series("old"));
        check(dir.path(), &expected, true, what);
    }
}

#[test]
fn a_broken_newest_checkpoint_is_replaced_by_the_one_before() {
    let (dir, all) = log_with_a_checkpoint();
    // As after a kill between the rename of checkpoint 2 and the deletion of segment 2.
    let newer = wal_file(&dir, "checkpoint.00000002");
    fs::create_dir(&newer).unwrap();
    fs::write(newer.join("00000000"), [0xff; 100]).unwrap();
    check(dir.path(), &all, true, "checkpoint 2 is broken");
}

#[test]
fn an_unfinished_checkpoint_is_removed() {
    let (dir, all) = log_with_a_checkpoint();
    let unfinished = wal_file(&dir, "checkpoint.00000003.tmp");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("00000000"), [0xff; 100]).unwrap();
    fs::write(wal_file(&dir, "00000003.rewrite"), [0xff; 100]).unwrap();
    check(dir.path(), &all, false, "killed while writing");
    assert!(!unfinished.exists() && !wal_file(&dir, "00000003.rewrite").exists());
}

#[test]
fn segments_that_the_checkpoint_stands_for_are_removed() {
    // Whichever of them a loss of power has left.
    for left in ["00000000", "00000001"] {
        let (dir, all) = log_with_a_checkpoint();
        fs::write(wal_file(&dir, left), "left behind by a kill").unwrap();
        // Not by the start itself: it does not know yet who has had them.
        let (wal, _) = open_with(WalOptions {
            retention_min_time: Duration::from_secs(100 * 3600),
            ..options(dir.path())
        });
        assert!(wal_file(&dir, left).exists());
        assert_eq!(
            wal.reader().gone_from(0).before,
            2,
            "a reader that stood in one of them goes on behind all"
        );
        Maintenance::new(wal.clone(), wal.reader().are_all_known()).cycle(Instant::now());
        assert!(!wal_file(&dir, left).exists());
        wal.close().unwrap();
        check(dir.path(), &all, false, "killed while deleting");
    }
}

#[test]
fn an_empty_segment_is_no_damage() {
    let (dir, all) = log_with_a_checkpoint();
    let last = segment::list(&RealDisk, &dir.path().join("wal")).unwrap().pop().unwrap();
    fs::write(wal_file(&dir, &segment::segment_name(last.number + 1)), "").unwrap();
    check(dir.path(), &all, false, "an empty segment");
}

#[test]
fn damage_in_the_middle_keeps_the_later_segments() {
    let (dir, all) = log_with_a_checkpoint();
    let path = wal_file(&dir, "00000003");
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut expected = all;
    expected.get_mut(&series("old")).unwrap().remove(1);
    expected.get_mut(&series("mid")).unwrap().remove(1);
    check(dir.path(), &expected, true, "segment 3 is damaged");
}

#[test]
fn a_second_record_of_a_series_is_left_out() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let labels = [("__name__", "a"), ("job", "test")];
    let other = [("__name__", "b"), ("job", "test")];
    write_segment(
        &dir.path().join("wal"),
        0,
        &[Foreign::Series(1, &labels), Foreign::Samples(&[(1, 1000, 1.0)])],
    );
    // As after a kill during a truncation: logged anew, and the old record is still there.
    write_segment(
        &dir.path().join("wal"),
        1,
        &[
            Foreign::Series(2, &other),
            Foreign::Series(1, &labels),
            Foreign::Samples(&[(1, 2000, 2.0), (2, 2000, 2.0)]),
        ],
    );
    let expected = Answer::from([
        (series("a"), vec![(1000, "1.0".to_owned()), (2000, "2.0".to_owned())]),
        (series("b"), vec![(2000, "2.0".to_owned())]),
    ]);
    check(dir.path(), &expected, false, "a repeated series record");
}

#[test]
fn losses_are_sentences_with_place_and_size() {
    let (dir, _) = log_with_a_checkpoint();
    let path = wal_file(&dir, "00000003");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[9] ^= 1;
    bytes.truncate(end);
    bytes.extend_from_slice(&fs::read(wal_file(&dir, "00000004")).unwrap());
    fs::write(&path, bytes).unwrap();
    fs::remove_file(wal_file(&dir, "00000002")).unwrap();
    let (_, summary) = open(dir.path());
    assert_eq!(summary.losses[0], "write-ahead log: segment 00000002 is missing; its samples are lost");
    let expected = format!("write-ahead log: segment 00000003 is damaged at offset 0: {end} bytes");
    assert!(summary.losses[1].starts_with(&expected), "{:?}", summary.losses);
    assert!(summary.losses.iter().all(|loss| !loss.ends_with('.')));
}

/// One thing that happens to a log on a bad day.
#[derive(Clone, Debug)]
enum Accident {
    Flip { file: usize, at: usize, mask: u8 },
    Cut { file: usize, at: usize },
    Fill { file: usize, at: usize, n_bytes: usize, byte: u8 },
    Insert { file: usize, at: usize, bytes: Vec<u8> },
    Remove { file: usize },
    Copy { from: usize, to: usize },
    Stray { name: &'static str, bytes: Vec<u8> },
}

fn accident() -> impl Strategy<Value = Accident> {
    let (file, at) = (0..100_usize, 0..100_000_usize);
    prop_oneof![
        4 => (file.clone(), at.clone(), 1..=255_u8).prop_map(|(file, at, mask)| Accident::Flip { file, at, mask }),
        2 => (file.clone(), at.clone()).prop_map(|(file, at)| Accident::Cut { file, at }),
        2 => (file.clone(), at.clone(), 1..40_000_usize, any::<u8>())
            .prop_map(|(file, at, n_bytes, byte)| Accident::Fill { file, at, n_bytes, byte }),
        1 => (file.clone(), at, vec(any::<u8>(), 1..50)).prop_map(|(file, at, bytes)| Accident::Insert { file, at, bytes }),
        1 => file.clone().prop_map(|file| Accident::Remove { file }),
        1 => (file.clone(), file).prop_map(|(from, to)| Accident::Copy { from, to }),
        1 => (prop_oneof![
            Just("00000009"),
            Just("checkpoint.00000000.tmp"),
            Just("00000001.rewrite"),
            Just("00000003.repair"),
            Just("notes.txt"),
        ], vec(any::<u8>(), 0..50)).prop_map(|(name, bytes)| Accident::Stray { name, bytes }),
    ]
}

fn happen(wal_dir: &Path, accident: &Accident) {
    let mut files: Vec<PathBuf> = Vec::new();
    for checkpoint in checkpoint::list(&RealDisk, wal_dir).unwrap() {
        files.extend(checkpoint.segments(&RealDisk).unwrap().into_iter().map(|file| file.path));
    }
    files.extend(segment::list(&RealDisk, wal_dir).unwrap().into_iter().map(|file| file.path));
    if files.is_empty() {
        return;
    }
    let pick = |idx: usize| files[idx % files.len()].clone();
    let change = |file: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let path = pick(file);
        let mut bytes = fs::read(&path).unwrap();
        if !bytes.is_empty() {
            change(&mut bytes);
            fs::write(&path, bytes).unwrap();
        }
    };
    match accident {
        Accident::Flip { file, at, mask } => change(*file, &|bytes| {
            let at = at % bytes.len();
            bytes[at] ^= mask;
        }),
        Accident::Cut { file, at } => change(*file, &|bytes| bytes.truncate(at % bytes.len())),
        Accident::Fill { file, at, n_bytes, byte } => change(*file, &|bytes| {
            let at = at % bytes.len();
            let end = (at + n_bytes).min(bytes.len());
            bytes[at..end].fill(*byte);
        }),
        Accident::Insert { file, at, bytes: inserted } => change(*file, &|bytes| {
            let at = at % bytes.len();
            bytes.splice(at..at, inserted.iter().copied());
        }),
        Accident::Remove { file } => fs::remove_file(pick(*file)).unwrap(),
        Accident::Copy { from, to } => drop(fs::copy(pick(*from), pick(*to)).unwrap()),
        Accident::Stray { name, bytes } => fs::write(wal_dir.join(name), bytes).unwrap(),
    }
}

/// A checkpoint and four segments, one of several pages.
fn log_to_break() -> TempDir {
    let (dir, _) = log_with_a_checkpoint();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    let names: Vec<String> = (0..300).map(|idx| format!("many_{idx}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for scrape in 0..60 {
        commit(&mut appender, &names, 18_000_000 + scrape * 1000, (scrape as f64).sqrt());
    }
    wal.close().unwrap();
    drop((appender, wal));
    let (wal, _) = open(dir.path());
    commit(&mut wal.appender(), &["old", "last", "many_7"], 19_000_000, 1.5);
    dir
}

/// Whatever happens: the log opens, holds nothing that was never written, is whole, and takes new samples.
fn check_after(accidents: &[Accident]) {
    thread_local!(static LOG: (TempDir, Answer) = {
        let dir = log_to_break();
        let answer = ask_all(dir.path());
        (dir, answer)
    });
    LOG.with(|(log, before)| {
        let copy = copy_of(log.path());
        for accident in accidents {
            happen(&copy.path().join("wal"), accident);
        }
        let (wal, summary) = open(copy.path());
        let after = ask_all(copy.path());
        for (name, samples) in &after {
            let known = before.get(name).unwrap_or_else(|| panic!("{name} was never written"));
            assert!(samples.iter().all(|sample| known.contains(sample)), "{name}: {samples:?}");
        }
        // What is cut at a record's end or removed at the log's end leaves no trace; changed bytes do.
        let is_traceable = |accident| matches!(accident, &Accident::Flip { .. } | &Accident::Insert { .. });
        if after != *before && accidents.iter().all(is_traceable) {
            assert!(!summary.losses.is_empty(), "a loss without a word");
        }
        commit(&mut wal.appender(), &["old", "after", "many_7"], 99_000_000, 99.0);
        wal.close().unwrap();
        drop(wal);
        check_log(copy.path());
        let (_, summary) = open(copy.path());
        assert_eq!(summary.losses, Vec::<String>::new());
        let newest = &ask_all(copy.path())[&series("old")];
        assert_eq!(newest.last(), Some(&(99_000_000, "99.0".to_owned())));
    });
}

#[test]
fn the_first_segment_in_place_of_the_last() {
    check_after(&[Accident::Copy { from: 0, to: 9 }]);
}

proptest! {
    #![proptest_config(cases::cases(60))]

    #[test]
    fn any_accident_leaves_a_log_that_works(accidents in vec(accident(), 1..4)) {
        check_after(&accidents);
    }
}
