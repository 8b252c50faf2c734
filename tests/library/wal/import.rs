//! A log that another program wrote is taken over: refs of any size, a label set under two of them, other records.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use support::wal::kinds::{self, Exemplars, Histograms};
use support::wal::{
    Answer, Foreign, MIB, ask_all, check_log, commit, copy_dir, normal, open, open_with, options, series,
    write_segment,
};
use tempfile::TempDir;

fn labels(name: &'static str) -> [(&'static str, &'static str); 2] {
    [("__name__", name), ("job", "test")]
}

/// Sparse refs, one over 32 bits, and `twice` under two of them; sample 5 stands in a checkpoint, as Prometheus does.
fn foreign_log() -> TempDir {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let wal = dir.path().join("wal");
    write_segment(
        &wal.join("checkpoint.00000006"),
        0,
        &[
            Foreign::Series(5, &labels("five")),
            Foreign::Series(70_000_000, &labels("twice")),
            Foreign::Series(6, &labels("without_samples")),
            Foreign::Samples(&[(5, 1000, 1.0)]),
        ],
    );
    write_segment(
        &wal,
        7,
        &[
            Foreign::Samples(&[(70_000_000, 2000, 2.0), (5, 2000, 2.0)]),
            Foreign::Series(1 << 33, &labels("twice")),
            Foreign::Series((1 << 33) + 1, &labels("large")),
            Foreign::Samples(&[(1 << 33, 3000, 3.0), ((1 << 33) + 1, 3000, 3.0), (4_711, 3000, 3.0)]),
        ],
    );
    write_segment(&wal, 8, &[Foreign::Samples(&[(70_000_000, 4000, 4.0), (5, 4000, 4.0)])]);
    dir
}

fn expected() -> Answer {
    let samples = |seconds: &[i64]| seconds.iter().map(|s| (s * 1000, format!("{:?}", *s as f64))).collect();
    Answer::from([
        (series("five"), samples(&[1, 2, 4])),
        (series("twice"), samples(&[2, 3, 4])),
        (series("large"), samples(&[3])),
    ])
}

#[test]
fn sparse_refs_and_a_label_set_under_two_refs_are_taken_over() {
    let dir = foreign_log();
    assert_eq!(ask_all(dir.path()), expected(), "the query reads it as it is");
    let (wal, summary) = open(dir.path());
    let takeover = summary.takeover.unwrap();
    assert!(takeover.contains("7 samples of 3 series"), "{takeover}");
    assert_eq!(summary.losses, ["write-ahead log taken over: 1 samples without a series were left out"]);
    assert_eq!((summary.series, summary.samples), (3, 7));
    assert_eq!(ask_all(dir.path()), expected());
    commit(&mut wal.appender(), &["five", "new"], 5000, 5.0);
    wal.close().unwrap();
    check_log(dir.path());
    let mut after = expected();
    after.get_mut(&series("five")).unwrap().push((5000, "5.0".to_owned()));
    after.insert(series("new"), vec![(5000, "5.0".to_owned())]);
    assert_eq!(ask_all(dir.path()), after);

    let (_, summary) = open(dir.path());
    assert_eq!((summary.takeover, summary.losses), (None, vec![]), "once is enough");
}

#[test]
fn dense_refs_are_read_as_they_are() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    write_segment(
        &dir.path().join("wal"),
        0,
        &[Foreign::Series(1, &labels("a")), Foreign::Samples(&[(1, 1000, 1.0)])],
    );
    let before = fs::read(dir.path().join("wal/00000000")).unwrap();
    let (wal, summary) = open(dir.path());
    assert_eq!((summary.takeover, summary.losses), (None, vec![]));
    wal.close().unwrap();
    assert_eq!(fs::read(dir.path().join("wal/00000000")).unwrap(), before);
}

#[test]
fn one_huge_ref_among_few_series_takes_no_memory() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    write_segment(
        &dir.path().join("wal"),
        0,
        &[Foreign::Series(4_000_000_000, &labels("a")), Foreign::Samples(&[(4_000_000_000, 1000, 1.0)])],
    );
    let (_, summary) = open(dir.path());
    assert!(summary.takeover.is_some());
    assert_eq!(ask_all(dir.path())[&series("a")], [(1000, "1.0".to_owned())]);
}

#[test]
fn a_few_series_left_of_very_many_get_dense_refs() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let names: Vec<String> = (0..40_000).map(|idx| format!("idle_{idx}")).collect();
    let idle: Vec<[(&str, &str); 1]> = names.iter().map(|name| [("__name__", name.as_str())]).collect();
    let few = labels("few");
    let mut records = vec![Foreign::Series(3_000_000, &few), Foreign::Samples(&[(3_000_000, 1000, 1.0)])];
    records
        .extend(idle.iter().zip(3_000_001..).map(|(labels, series_ref)| Foreign::Series(series_ref, labels)));
    write_segment(&dir.path().join("wal"), 0, &records);
    let (wal, summary) = open(dir.path());
    assert!(summary.takeover.is_some());
    assert_eq!(summary.series, 1);
    commit(&mut wal.appender(), &["few", "next"], 2000, 2.0);
    wal.close().unwrap();
    check_log(dir.path());
    assert_eq!(ask_all(dir.path())[&series("few")].len(), 2);
}

#[test]
fn histograms_with_start_times_are_taken_over_without_them() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    // Ref 1, t 1000, start 500; then ref 1 again, 1 s later, with the same start; each count 3, sum 1.5.
    let histogram = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let record = [&[12, 2, 0xd0, 0x0f, 0xe8, 0x07][..], &histogram, &[0, 0xd0, 0x0f, 1], &histogram].concat();
    let tombstone = [3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
    write_segment(
        &dir.path().join("wal"),
        0,
        &[
            Foreign::Series(1, &labels("a")),
            Foreign::Raw(&tombstone),
            Foreign::Samples(&[(1, 900, 1.0)]),
            Foreign::Raw(&record),
        ],
    );
    let before = kinds::histograms(dir.path());
    let times: Vec<i64> = before[&series("a")].iter().map(|(ts_ms, _)| *ts_ms).collect();
    assert_eq!(times, [1000, 2000], "{before:?}");
    assert_eq!(before[&series("a")][1].1.to_string(), r#"{"count":"3","sum":"1.5"}"#);
    let (_, summary) = open(dir.path());
    assert!(summary.takeover.unwrap().contains("histogram_samples_v2"));
    assert_eq!(summary.losses, Vec::<String>::new());
    assert_eq!(kinds::histograms(dir.path()), before);
    check_log(dir.path());
    assert_eq!(ask_all(dir.path())[&series("a")], [(900, "1.0".to_owned())]);
}

#[test]
fn records_that_concern_nobody_are_passed_over_and_counted() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let labels = labels("a");
    let records = [
        Foreign::Series(1, &labels),
        Foreign::Raw(&[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]),
        Foreign::Raw(&[200, 1, 2, 3]),
        Foreign::Samples(&[(1, 1000, 1.0)]),
        Foreign::Raw(&[200]),
    ];
    write_segment(&dir.path().join("wal"), 0, &records);
    let before = fs::read(dir.path().join("wal/00000000")).unwrap();
    let (_, summary) = open(dir.path());
    assert_eq!((summary.takeover, summary.losses), (None, vec![]));
    assert_eq!(summary.skipped_records.into_iter().collect::<Vec<_>>(), [("tombstones", 1), ("unknown", 2)]);
    assert_eq!(fs::read(dir.path().join("wal/00000000")).unwrap(), before);
    assert_eq!(ask_all(dir.path())[&series("a")], [(1000, "1.0".to_owned())]);
}

#[test]
fn a_damaged_foreign_log_gives_what_is_whole() {
    let dir = foreign_log();
    let path = dir.path().join("wal/00000008");
    let mut bytes = fs::read(&path).unwrap();
    bytes[9] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (_, summary) = open(dir.path());
    assert!(summary.losses.iter().any(|loss| loss.contains("damaged")), "{:?}", summary.losses);
    let mut expected = expected();
    expected.get_mut(&series("five")).unwrap().pop();
    expected.get_mut(&series("twice")).unwrap().pop();
    assert_eq!(ask_all(dir.path()), expected);
}

/// Every file below `dir` with its path, for comparing states.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn a_kill_at_any_moment_of_the_import_changes_nothing() {
    let foreign = foreign_log();
    let imported = TempDir::with_prefix("scraped-test-").unwrap();
    copy_dir(foreign.path(), imported.path());
    drop(open(imported.path()));
    // The empty segment that the start opened is not part of the import.
    let mut new_files = files(&imported.path().join("wal"));
    new_files.retain(|path| fs::metadata(path).unwrap().len() > 0);
    assert_eq!(new_files.len(), 2, "{new_files:?}");
    let new_files = &new_files[..];
    let relative = |path: &Path| path.strip_prefix(imported.path().join("wal")).unwrap().to_owned();
    let put = |path: &Path, place: &Path| {
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(path, place).unwrap();
    };

    // Before the rename to `import/`: whatever is written so far is thrown away.
    for n_written in 0..=new_files.len() {
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        copy_dir(foreign.path(), dir.path());
        fs::create_dir(dir.path().join("wal/import.tmp")).unwrap();
        for path in &new_files[..n_written] {
            put(path, &dir.path().join("wal/import.tmp").join(relative(path)));
        }
        let (_, summary) = open(dir.path());
        assert!(summary.takeover.is_some(), "{n_written}");
        assert_eq!(ask_all(dir.path()), expected(), "{n_written} files written");
        check_log(dir.path());
    }
    // After it: some of its entries are in place, the old files are all there.
    for n_moved in 0..=new_files.len() {
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        copy_dir(foreign.path(), dir.path());
        fs::create_dir(dir.path().join("wal/import")).unwrap();
        for (idx, path) in new_files.iter().rev().enumerate() {
            let place = if idx < n_moved { dir.path().join("wal") } else { dir.path().join("wal/import") };
            put(path, &place.join(relative(path)));
        }
        let (_, summary) = open(dir.path());
        assert_eq!((summary.takeover, summary.losses), (None, vec![]), "{n_moved}");
        assert_eq!(ask_all(dir.path()), expected(), "{n_moved} files moved");
        check_log(dir.path());
    }
    // While the old files are deleted, oldest first; `import/` goes last.
    let old_files = files(&foreign.path().join("wal"));
    for n_deleted in 0..old_files.len() {
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        fs::create_dir_all(dir.path().join("wal/import")).unwrap();
        for path in old_files.iter().filter(|path| path.parent().unwrap().ends_with("wal")).skip(n_deleted) {
            put(path, &dir.path().join("wal").join(path.file_name().unwrap()));
        }
        for path in new_files {
            put(path, &dir.path().join("wal").join(relative(path)));
        }
        open(dir.path());
        assert_eq!(ask_all(dir.path()), expected(), "{n_deleted} files deleted");
        check_log(dir.path());
    }
}

#[test]
fn a_large_foreign_log_becomes_segments_of_our_size() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let mut noise = 1_u64;
    let samples: Vec<(u64, i64, f64)> = (0..400_000)
        .map(|idx| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (1 << 40, idx, noise as f64)
        })
        .collect();
    let labels = labels("a");
    let mut records = vec![Foreign::Series(1 << 40, &labels)];
    records.extend(samples.chunks(1000).map(Foreign::Samples));
    write_segment(&dir.path().join("wal"), 0, &records);
    let (wal, summary) = open_with(options(dir.path()));
    assert_eq!(summary.samples, 400_000);
    assert!(summary.segments >= 3, "{}", summary.segments);
    wal.close().unwrap();
    for file in files(&dir.path().join("wal")) {
        assert!(fs::metadata(&file).unwrap().len() <= MIB, "{}", file.display());
    }
    assert_eq!(ask_all(dir.path())[&series("a")].len(), 400_000);
    check_log(dir.path());
}

/// What a real agent wrote, and what `promtool` said of it.
#[test]
fn logs_of_real_agents_are_taken_over() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wal");
    let mut n_fixtures = 0;
    for version in fs::read_dir(&data).unwrap() {
        for fixture in fs::read_dir(version.unwrap().path()).unwrap() {
            let fixture = fixture.unwrap().path();
            n_fixtures += 1;
            check_fixture(&fixture);
        }
    }
    assert!(n_fixtures >= 5, "{n_fixtures} fixtures in {}", data.display());
}

/// Rows of a fixture: labels and what belongs to them.
fn rows<T: serde::de::DeserializeOwned>(rows: &serde_json::Value) -> BTreeMap<String, Vec<T>> {
    let row = |row: &serde_json::Value| {
        let samples = serde_json::from_value(row["samples"].clone()).unwrap();
        (kinds::series_of(&row["labels"]), samples)
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

fn check_fixture(fixture: &Path) {
    let text = fs::read_to_string(fixture.join("expected.json")).unwrap();
    let expected_json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut expected = Answer::new();
    for row in expected_json["series"].as_array().unwrap() {
        let samples = row["samples"].as_array().unwrap().iter();
        let samples = samples.map(|pair| (pair[0].as_i64().unwrap(), normal(pair[1].as_str().unwrap())));
        expected.insert(kinds::series_of(&row["labels"]), samples.collect());
    }
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    copy_dir(&fixture.join("wal"), &dir.path().join("wal"));
    assert_eq!(ask_all(dir.path()), expected, "{}: as it is", fixture.display());
    let histograms: Histograms = rows(&expected_json["histograms"]);
    assert_eq!(kinds::histograms(dir.path()), histograms, "{}: as it is", fixture.display());
    let exemplars: Exemplars = rows(&expected_json["exemplars"])
        .into_iter()
        .map(|(series, exemplars)| {
            let normal = |(ts_ms, value, labels): (i64, String, _)| (ts_ms, normal(&value), labels);
            (series, exemplars.into_iter().map(normal).collect())
        })
        .collect();
    assert_eq!(kinds::exemplars(dir.path()), exemplars, "{}: as it is", fixture.display());
    let (wal, summary) = open(dir.path());
    assert_eq!(summary.losses, Vec::<String>::new(), "{}", fixture.display());
    assert_eq!(kinds::histograms(dir.path()), histograms, "{}: taken over", fixture.display());
    assert_eq!(kinds::exemplars(dir.path()), exemplars, "{}: taken over", fixture.display());
    assert_eq!(ask_all(dir.path()), expected, "{}: taken over", fixture.display());
    commit(&mut wal.appender(), &["after"], 1, 1.0);
    wal.close().unwrap();
    check_log(dir.path());
}

/// Prometheus' numbers of variable length.
fn varint(out: &mut Vec<u8>, number: i64) {
    uvarint(out, ((number << 1) ^ (number >> 63)) as u64);
}

fn uvarint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A record of version 2, as `prometheus --agent` 3.14 writes it with start times: ref, time, start time (0: none) and
/// payload of each entry.
fn version_2(record_type: u8, entries: &[(i64, i64, i64, Vec<u8>)]) -> Vec<u8> {
    let mut record = vec![record_type];
    let (_, first_ts_ms, first_start_ms, _) = &entries[0];
    let mut previous: Option<(i64, i64)> = None;
    for (series_ref, ts_ms, start_ms, payload) in entries {
        match previous {
            None => [*series_ref, *ts_ms, *start_ms].into_iter().for_each(|it| varint(&mut record, it)),
            Some((previous_ref, previous_start_ms)) => {
                varint(&mut record, series_ref - previous_ref);
                varint(&mut record, ts_ms - first_ts_ms);
                match start_ms {
                    0 => record.push(0),
                    same if *same == previous_start_ms => record.push(1),
                    other => {
                        record.push(2);
                        varint(&mut record, other - first_start_ms);
                    }
                }
            }
        }
        record.extend(payload);
        previous = Some((*series_ref, *start_ms));
    }
    record
}

/// One bucket with 2 of 3 observations, the third is 0; with custom buckets the bounds are 1 and 2.
fn encoded_histogram(is_float: bool, is_custom: bool) -> Vec<u8> {
    let mut out = vec![0];
    varint(&mut out, if is_custom { -53 } else { 0 });
    let float = |out: &mut Vec<u8>, value: f64| out.extend(value.to_bits().to_be_bytes());
    let count = |out: &mut Vec<u8>, value: u8| match is_float {
        true => float(out, f64::from(value)),
        false => out.push(value),
    };
    float(&mut out, 0.0);
    count(&mut out, if is_custom { 0 } else { 1 });
    count(&mut out, 3);
    float(&mut out, 1.5);
    // One span of one bucket, no negative ones.
    out.extend([1, 0, 1, 0]);
    out.push(1);
    match is_float {
        true => float(&mut out, 2.0),
        false => varint(&mut out, 2),
    }
    out.push(0);
    if is_custom {
        out.push(2);
        float(&mut out, 1.0);
        float(&mut out, 2.0);
    }
    out
}

#[test]
fn a_log_with_start_times_is_taken_over_whole() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let value = |value: f64| value.to_bits().to_be_bytes().to_vec();
    // Every way in which a start time is written, refs and times that go back, and one series under a sparse ref.
    let samples = version_2(
        11,
        &[
            (7, 5000, 4000, value(1.0)),
            (1 << 33, 5000, 4000, value(2.0)),
            (3, 4990, 0, value(3.0)),
            (7, 6000, 4000, value(4.0)),
            (1 << 33, 6000, 5500, value(5.0)),
            (3, 6000, 5500, value(6.0)),
        ],
    );
    let without = version_2(11, &[(7, 7000, 0, value(7.0)), (3, 7000, 0, value(8.0))]);
    let histograms = |record_type, is_float| {
        let encoded = |is_custom| encoded_histogram(is_float, is_custom);
        version_2(
            record_type,
            &[(8, 5000, 0, encoded(false)), (9, 5000, 4000, encoded(true)), (8, 6000, 4000, encoded(false))],
        )
    };
    let (integers, floats) = (histograms(12, false), histograms(13, true));
    let later: Vec<u8> = version_2(13, &[(9, 8000, 4000, encoded_histogram(true, true))]);
    let min_valid_time = [14, 0, 0, 0, 0, 0, 0, 0x13, 0x88];
    let wal = dir.path().join("wal");
    let names = ["a", "b", "c", "h", "custom"].map(labels);
    write_segment(
        &wal.join("checkpoint.00000000"),
        0,
        &[Foreign::Raw(&min_valid_time), Foreign::Series(7, &names[0]), Foreign::Series(3, &names[2])],
    );
    write_segment(
        &wal,
        1,
        &[
            Foreign::Series(1 << 33, &names[1]),
            Foreign::Raw(&samples),
            Foreign::Series(8, &names[3]),
            Foreign::Series(9, &names[4]),
            Foreign::Raw(&integers),
            Foreign::Raw(&without),
            Foreign::Raw(&later),
        ],
    );
    let shown = |samples: &[(i64, &str)]| -> Vec<(i64, String)> {
        samples.iter().map(|(ts_ms, value)| (*ts_ms, (*value).to_owned())).collect()
    };
    let check = || {
        let answer = ask_all(dir.path());
        assert_eq!(answer[&series("a")], shown(&[(5000, "1.0"), (6000, "4.0"), (7000, "7.0")]));
        assert_eq!(answer[&series("b")], shown(&[(5000, "2.0"), (6000, "5.0")]));
        assert_eq!(answer[&series("c")], shown(&[(4990, "3.0"), (6000, "6.0"), (7000, "8.0")]));
        let histograms = kinds::histograms(dir.path());
        let times =
            |name: &str| -> Vec<i64> { histograms[&series(name)].iter().map(|(ts_ms, _)| *ts_ms).collect() };
        assert_eq!((times("h"), times("custom")), (vec![5000, 6000], vec![5000, 8000]));
        for (_, histogram) in histograms.values().flatten() {
            assert!(histogram.to_string().contains(r#""count":"3","sum":"1.5""#), "{histogram}");
        }
        histograms
    };
    let before = check();
    let (_, summary) = open(dir.path());
    assert!(summary.takeover.is_some());
    assert_eq!(summary.losses, Vec::<String>::new());
    assert_eq!(check(), before);
    check_log(dir.path());
    // The float records are read the same way.
    let other = TempDir::with_prefix("scraped-test-").unwrap();
    write_segment(
        &other.path().join("wal"),
        0,
        &[Foreign::Series(8, &names[3]), Foreign::Series(9, &names[4]), Foreign::Raw(&floats)],
    );
    let before = kinds::histograms(other.path());
    assert_eq!((before[&series("h")].len(), before[&series("custom")].len()), (2, 1));
    let (_, summary) = open(other.path());
    assert_eq!(summary.losses, Vec::<String>::new());
    assert_eq!(kinds::histograms(other.path()), before);
    check_log(other.path());
}
