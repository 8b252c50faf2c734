//! The directory of the log goes away, the log is begun again in its place, and then the old files are back: they are
//! part of the log again if they are its own, and set aside if they are not. What is on disk is whole in any case.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::keep::truncate_files::truncate;
use support::wal::{Answer, ask_all, check_log, commit, open, series};
use tempfile::TempDir;

/// A place where disks can be mounted: one directory has the place's name, the others stand beside it.
struct Place {
    base: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { base: TempDir::with_prefix("scraped-test-").unwrap() };
        fs::create_dir(place.data()).unwrap();
        place
    }

    fn data(&self) -> PathBuf {
        self.base.path().join("data")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// What is in place becomes `away`; `back` comes in its place, if it exists.
    fn swap(&self, away: &str, back: &str) {
        fs::rename(self.data(), self.beside(away)).unwrap();
        if self.beside(back).exists() {
            fs::rename(self.beside(back), self.data()).unwrap();
        }
    }
}

fn maintenance(wal: &Wal) -> Maintenance {
    Maintenance::new(wal.clone(), wal.reader().are_all_known())
}

/// A log of two segments and one begun: `a` and `b` at 1, `a` and `c` at 2; with a checkpoint in front or without.
fn begin(data: &Path, has_checkpoint: bool) -> (Wal, Maintenance) {
    if has_checkpoint {
        let (wal, _) = open(data);
        commit(&mut wal.appender(), &["a", "z"], -1, 0.0);
        wal.reader().start_segment().unwrap();
        commit(&mut wal.appender(), &["a"], 0, 0.0);
        truncate(&wal, 0, &[], None).unwrap();
        wal.close().unwrap();
    }
    let (wal, _) = open(data);
    let mut maintenance = maintenance(&wal);
    maintenance.cycle(Instant::now());
    commit(&mut wal.appender(), &["a", "b"], 1, 1.0);
    wal.reader().start_segment().unwrap();
    maintenance.cycle(Instant::now());
    commit(&mut wal.appender(), &["a", "c"], 2, 2.0);
    (wal, maintenance)
}

fn times(answer: &Answer, name: &str) -> Vec<i64> {
    answer.get(&series(name)).map(|it| it.iter().map(|(ts_ms, _)| *ts_ms).collect()).unwrap_or_default()
}

/// Closes the log, looks at the files, and whether a start finds all of it.
fn end(wal: &Wal, data: &Path) -> Answer {
    wal.close().unwrap();
    check_log(data);
    let answer = ask_all(data);
    let (wal, summary) = open(data);
    assert_eq!(summary.losses, Vec::<String>::new());
    commit(&mut wal.appender(), &["a"], 1000, 0.0);
    wal.close().unwrap();
    check_log(data);
    answer
}

#[test]
fn what_comes_back_is_part_of_the_log_again() {
    for has_checkpoint in [false, true] {
        let place = Place::new();
        let data = place.data();
        let (wal, mut maintenance) = begin(&data, has_checkpoint);
        let mut appender = wal.appender();
        let mut cycle = || maintenance.cycle(Instant::now());
        place.swap("disk", "none");
        // Still written to the file that has no name here.
        commit(&mut appender, &["a"], 3, 3.0);
        cycle();
        check_log(&data);
        commit(&mut appender, &["a", "d"], 4, 4.0);
        place.swap("mount point", "disk");
        commit(&mut appender, &["b", "d"], 5, 5.0);
        cycle();
        check_log(&data);
        commit(&mut appender, &["a", "b", "c", "d", "e"], 6, 6.0);

        // Once more, and a third time: both have files with the same numbers by now.
        place.swap("disk", "mount point");
        cycle();
        check_log(&data);
        commit(&mut appender, &["a", "f"], 7, 7.0);
        place.swap("mount point", "disk");
        cycle();
        check_log(&data);
        commit(&mut appender, &["a", "f"], 8, 8.0);
        let answer = end(&wal, &data);
        let front: &[i64] = if has_checkpoint { &[0] } else { &[] };
        assert_eq!(times(&answer, "a"), [front, &[1, 2, 3, 6, 8]].concat(), "{answer:?}");
        assert_eq!([times(&answer, "b"), times(&answer, "c")], [[1, 6], [2, 6]]);
        assert_eq!([times(&answer, "d"), times(&answer, "e"), times(&answer, "f")], [[6], [6], [8]]);
        assert!(!data.join("wal/found.1").exists());
    }
}

/// What the log was in the mount point is known again there, too.
#[test]
fn what_was_written_in_the_mount_point_is_known_there() {
    let place = Place::new();
    let data = place.data();
    let (wal, mut maintenance) = begin(&data, false);
    let mut appender = wal.appender();
    let mut cycle = || maintenance.cycle(Instant::now());
    place.swap("disk", "none");
    cycle();
    commit(&mut appender, &["a", "d"], 4, 4.0);
    place.swap("mount point", "disk");
    cycle();
    commit(&mut appender, &["a", "e"], 6, 6.0);
    place.swap("disk", "mount point");
    cycle();
    commit(&mut appender, &["a", "e"], 7, 7.0);
    let answer = end(&wal, &data);
    assert_eq!(
        [times(&answer, "a"), times(&answer, "d"), times(&answer, "e")],
        [vec![4, 7], vec![4], vec![7]]
    );
}

/// The disk lost what was written last, down to nothing.
#[test]
fn what_comes_back_without_its_end_is_taken_as_far_as_it_goes() {
    for left in [None, Some(0), Some(1)] {
        let place = Place::new();
        let data = place.data();
        let (wal, mut maintenance) = begin(&data, false);
        let mut appender = wal.appender();
        place.swap("disk", "none");
        (3..50).for_each(|ts_ms| commit(&mut appender, &["a", "c"], ts_ms, 3.0));
        maintenance.cycle(Instant::now());
        commit(&mut appender, &["a"], 60, 4.0);
        let path = place.beside("disk/wal/00000001");
        let bytes = fs::metadata(&path).unwrap().len();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(left.unwrap_or(bytes - 3)).unwrap();
        place.swap("mount point", "disk");
        maintenance.cycle(Instant::now());
        check_log(&data);
        commit(&mut appender, &["a", "b", "c"], 70, 6.0);
        let answer = end(&wal, &data);
        let whole: Vec<i64> = (1..49).chain([70]).collect();
        match left {
            None => assert_eq!(times(&answer, "a"), whole),
            Some(_) => assert_eq!(times(&answer, "a").last(), Some(&70)),
        }
        assert_eq!(times(&answer, "b").last(), Some(&70));
    }
}

fn foreign(data: &Path, n_segments: i64, has_checkpoint: bool) {
    let (wal, _) = open(data);
    for segment in 0..n_segments {
        // The same series under the same refs, and others.
        commit(&mut wal.appender(), &["a", "b"], 100 + 2 * segment, 1.0);
        commit(&mut wal.appender(), &[&format!("other_{segment}"), "a"], 101 + 2 * segment, 1.0);
        wal.reader().start_segment().unwrap();
    }
    if has_checkpoint {
        truncate(&wal, 0, &[], None).unwrap();
    }
    wal.close().unwrap();
}

#[test]
fn another_log_is_set_aside_and_never_mixed_in() {
    for (n_segments, has_checkpoint) in [(1, false), (1, true), (2, true), (6, false), (6, true)] {
        let place = Place::new();
        let data = place.data();
        foreign(&place.beside("other"), n_segments, has_checkpoint);
        let theirs = ask_all(&place.beside("other"));
        let (wal, mut maintenance) = begin(&data, false);
        let mut appender = wal.appender();
        let mut cycle = || maintenance.cycle(Instant::now());
        place.swap("disk", "other");
        cycle();
        check_log(&data);
        commit(&mut appender, &["a", "b", "d"], 4, 4.0);
        // And ours comes back, and theirs again: nothing is taken for what it is not.
        place.swap("other", "disk");
        cycle();
        check_log(&data);
        commit(&mut appender, &["a", "b", "d"], 5, 5.0);
        place.swap("disk", "other");
        cycle();
        let found: Vec<_> =
            (1..9).map(|n| data.join(format!("wal/found.{n}"))).filter(|it| it.exists()).collect();
        let mut back = Answer::new();
        for (name, samples) in found.iter().flat_map(|dir| ask_all(dir)) {
            back.entry(name).or_default().extend(samples);
        }
        assert_eq!(back, theirs, "{n_segments} {has_checkpoint} {found:?}");
        let answer = end(&wal, &data);
        assert_eq!(times(&answer, "a"), [4], "{n_segments} {has_checkpoint}");
        assert!(!answer.keys().any(|name| name.contains("other")), "{answer:?}");

        place.swap("other", "disk");
        let (wal, _) = open(&data);
        let answer = end(&wal, &data);
        assert_eq!([times(&answer, "a"), times(&answer, "c")], [vec![1, 2, 5], vec![2]]);
    }
}

/// Ours by how they begin, and damaged behind that; or with a file more, or one less, or a checkpoint of another.
#[test]
fn what_is_not_whole_is_set_aside() {
    let spoil: [&dyn Fn(&Path); 4] = [
        &|wal| {
            let mut bytes = fs::read(wal.join("00000000")).unwrap();
            let at = bytes.len() - 2;
            bytes[at] ^= 0xff;
            fs::write(wal.join("00000000"), bytes).unwrap();
        },
        &|wal| fs::remove_file(wal.join("00000000")).unwrap(),
        &|wal| fs::write(wal.join("00000002"), "something").unwrap(),
        &|wal| {
            fs::create_dir(wal.join("checkpoint.00000001")).unwrap();
            fs::write(wal.join("checkpoint.00000001/00000000"), "something").unwrap();
        },
    ];
    for (spoil, idx) in spoil.iter().zip(0..) {
        let place = Place::new();
        let data = place.data();
        let (wal, mut maintenance) = begin(&data, false);
        let mut appender = wal.appender();
        place.swap("disk", "none");
        maintenance.cycle(Instant::now());
        commit(&mut appender, &["a", "d"], 4, 4.0);
        wal.reader().start_segment().unwrap();
        commit(&mut appender, &["a", "d"], 5, 5.0);
        spoil(&place.beside("disk/wal"));
        place.swap("mount point", "disk");
        maintenance.cycle(Instant::now());
        check_log(&data);
        assert!(data.join("wal/found.1/wal").exists(), "{idx}");
        commit(&mut appender, &["a", "b", "c", "d"], 6, 6.0);
        let answer = end(&wal, &data);
        assert_eq!([times(&answer, "a"), times(&answer, "c")], [[6], [6]], "{idx}");
    }
}
