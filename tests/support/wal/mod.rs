//! What the tests of the log share: writing one, asking it, checking what must hold of every log on disk.
//!
//! Uses the library as the daemon does; `peers` runs the real programs on copies.

pub mod kinds;
pub mod peers;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use scraped_engine::disk::RealDisk;
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::wal::appender::Appender;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::record::samples::{Sample, SamplesEncoder};
use scraped_engine::wal::format::record::series::SeriesEncoder;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::format::segment_reader::{SegmentReader, Tail};
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::checkpoint;
use scraped_engine::wal::open::replay_summary::ReplaySummary;
use scraped_engine::wal::options::{Compression, WalOptions};
use scraped_engine::wal::write::bulk_writer::BulkWriter;

/// The smallest segment that the command line takes.
pub const MIB: u64 = 1024 * 1024;

/// Series in Prometheus' notation → samples in order of time; values normalised, every NaN is `NaN`.
pub type Answer = BTreeMap<String, Vec<(i64, String)>>;

/// How long a process may take from its fork to its own program.
const FORK_PATIENCE: Duration = Duration::from_secs(10);

/// Settings for small logs: everything is kept unless a test says otherwise.
pub fn options(dir: &Path) -> WalOptions {
    WalOptions { segment_size_bytes: Some(MIB), retention_max_bytes: Some(1 << 40), ..WalOptions::at(dir) }
}

/// The same for a log of this process alone, as large as its file system lets it be.
pub fn unlocked(dir: &Path) -> WalOptions {
    WalOptions { retention_max_bytes: None, lock_file: false, ..options(dir) }
}

/// Opens a log that must open.
pub fn open(dir: &Path) -> (Wal, ReplaySummary) {
    open_with(options(dir))
}

/// The same with other settings.
pub fn open_with(options: WalOptions) -> (Wal, ReplaySummary) {
    let start = Instant::now();
    loop {
        match Wal::open(options.clone(), &mut |_, _| {}) {
            // A peer that another test is just starting has a copy of the lock until it is its own program.
            Err(WalError::Locked { .. }) if start.elapsed() < FORK_PATIENCE => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.expect("the log opens"),
        }
    }
}

/// Commits one sample of each series `{__name__=name,job="test"}`.
pub fn commit(appender: &mut Appender, names: &[&str], ts_ms: i64, value: f64) {
    stage(appender, names, ts_ms, value);
    let report = appender.commit().expect("the log takes the samples");
    assert_eq!(report.appended, names.len());
}

/// The same without the commit.
pub fn stage(appender: &mut Appender, names: &[&str], ts_ms: i64, value: f64) {
    let mut labels = LabelsBuilder::new();
    for name in names {
        labels.clear();
        labels.set("__name__", name);
        labels.set("job", "test");
        let handle = appender.series(&labels).expect("the series can be made").handle;
        appender.append(handle, ts_ms, value);
    }
}

/// Fills a new log with samples of `noise{number="0"}` and so on, one each millisecond from `first_ms` on, the series in
/// turn.
pub fn fill_with_noise(dir: &Path, first_ms: i64, n_samples: i64, n_series: i64) {
    let (wal, _) = open_with(WalOptions::at(dir));
    let mut appender = wal.appender();
    let mut handles = Vec::new();
    for number in 0..n_series {
        let mut labels = LabelsBuilder::new();
        labels.set("__name__", "noise");
        labels.set("number", &number.to_string());
        handles.push(appender.series(&labels).expect("the series can be made").handle);
    }
    appender.commit().expect("the log takes the series");
    for idx in 0..n_samples {
        appender.append(handles[(idx % n_series) as usize], first_ms + idx, (idx as f64).sin());
        if idx % 50_000 == 0 {
            appender.commit().expect("the log takes the samples");
        }
    }
    appender.commit().expect("the log takes the samples");
    drop(appender);
    wal.close().expect("the log closes");
}

/// How [`commit`]'s series are called in an [`Answer`].
pub fn series(name: &str) -> String {
    Labels::from_pairs([("__name__", name), ("job", "test")]).to_string()
}

/// A value as it stands in an [`Answer`].
pub fn normal(value: &str) -> String {
    let value = if value == "stale" { f64::NAN } else { value.parse().expect("a number") };
    if value.is_nan() { "NaN".to_owned() } else { format!("{value:?}") }
}

/// What `scraped query` says of the directory's floats.
pub fn ask(dir: &Path, selector: &str) -> Answer {
    let answer = kinds::query_json(dir, selector);
    let mut series = Answer::new();
    for row in answer["data"]["result"].as_array().expect("a list") {
        let Some(values) = row["values"].as_array() else { continue };
        let samples = values.iter().map(|pair| {
            let seconds = pair[0].as_f64().expect("a time");
            ((seconds * 1000.0).round() as i64, normal(pair[1].as_str().expect("a value")))
        });
        series.insert(kinds::series_of(&row["metric"]), samples.collect());
    }
    series
}

/// Everything in the directory.
pub fn ask_all(dir: &Path) -> Answer {
    ask(dir, r#"{__name__=~".+"}"#)
}

/// Checks what must hold of every log on disk and is fatal, or silent loss, in Prometheus otherwise: the checkpoint is
/// N and the first segment N+1, numbers are contiguous, nothing is damaged, a label set has one series record, a ref
/// one meaning, and no sample stands before its series.
pub fn check_log(dir: &Path) {
    let wal_dir = dir.join("wal");
    let checkpoints = checkpoint::list(&RealDisk, &wal_dir).expect("readable");
    assert!(checkpoints.len() <= 1, "{checkpoints:?}");
    let segments = segment::list(&RealDisk, &wal_dir).expect("readable");
    let first = checkpoints.first().map_or(0, |checkpoint| checkpoint.number + 1);
    let numbers: Vec<u32> = segments.iter().map(|segment| segment.number).collect();
    assert_eq!(numbers, (first..first + numbers.len() as u32).collect::<Vec<_>>(), "{checkpoints:?}");

    let mut files = Vec::new();
    for checkpoint in &checkpoints {
        files.extend(checkpoint.segments(&RealDisk).expect("readable"));
    }
    files.extend(segments);
    let mut by_ref = BTreeMap::new();
    let mut label_sets = BTreeSet::new();
    for file in &files {
        let source = segment::open(&RealDisk, &file.path).expect("readable");
        let mut reader = SegmentReader::new(source, file.number, Tail::Closed);
        while let Some(raw) =
            reader.next_record().unwrap_or_else(|error| panic!("{}: {error}", file.path.display()))
        {
            match record::decode(raw.bytes) {
                Record::Series(entries) => {
                    for entry in entries {
                        let entry = entry.expect("a whole entry");
                        let labels = Labels::from_pairs(entry.labels);
                        assert!(label_sets.insert(labels.clone()), "two series records of {labels}");
                        let before = by_ref.insert(entry.series_ref, labels);
                        assert_eq!(before, None, "ref {} has two meanings", entry.series_ref);
                    }
                }
                Record::Samples(entries) => {
                    check_refs(entries.map(|it| it.expect("a whole entry").series_ref), &by_ref);
                }
                Record::Histograms(entries) => {
                    check_refs(entries.map(|it| it.expect("a whole entry").series_ref), &by_ref);
                }
                Record::Exemplars(entries) => {
                    check_refs(entries.map(|it| it.expect("a whole entry").series_ref), &by_ref);
                }
                Record::Metadata(entries) => {
                    check_refs(entries.map(|it| it.expect("a whole entry").series_ref), &by_ref);
                }
                Record::Other(record_type) => panic!("a record of type {}", record_type.name()),
            }
        }
    }
}

fn check_refs(series_refs: impl Iterator<Item = u64>, by_ref: &BTreeMap<u64, Labels>) {
    for series_ref in series_refs {
        assert!(by_ref.contains_key(&series_ref), "an entry of ref {series_ref} before its series");
    }
}

/// One record of a log that another program writes.
pub enum Foreign<'a> {
    /// A series record.
    Series(u64, &'a [(&'a str, &'a str)]),
    /// A samples record: ref, milliseconds, value.
    Samples(&'a [(u64, i64, f64)]),
    /// A record of any type.
    Raw(&'a [u8]),
}

/// Writes a segment record by record.
pub fn write_segment(dir: &Path, number: u32, records: &[Foreign<'_>]) {
    fs::create_dir_all(dir).expect("writable");
    let mut writer =
        BulkWriter::create(&RealDisk, dir, number, 1 << 40, Compression::Snappy).expect("writable");
    for foreign in records {
        let mut bytes = Vec::new();
        match foreign {
            Foreign::Series(series_ref, labels) => {
                SeriesEncoder::start(&mut bytes).push(&mut bytes, *series_ref, labels.iter().copied());
            }
            Foreign::Samples(samples) => {
                let mut encoder = SamplesEncoder::start(&mut bytes);
                for &(series_ref, ts_ms, value) in *samples {
                    encoder.push(&mut bytes, Sample { series_ref, ts_ms, value });
                }
            }
            Foreign::Raw(raw) => bytes.extend_from_slice(raw),
        }
        writer.append(&bytes).expect("writable");
    }
    writer.finish().expect("writable");
}

/// Copies a directory with everything in it.
pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let place = to.join(entry.file_name());
        if entry.metadata().expect("readable").is_dir() {
            copy_dir(&entry.path(), &place);
        } else {
            fs::copy(entry.path(), place).expect("writable");
        }
    }
}
