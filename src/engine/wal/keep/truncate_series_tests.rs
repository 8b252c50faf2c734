//! A log that is truncated, closed and killed at random keeps its promises: every sample, histogram and exemplar that
//! was committed into a kept segment is found under its labels, a label set has one series record, a ref one meaning,
//! and what is left of a series has the metadata that was committed last.

use super::SeriesTruncation;
use crate::disk::RealDisk;
use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::labels::builder::LabelsBuilder;
use crate::metric_type::MetricType;
use crate::series::SeriesHandle;
use crate::wal::appender::Appender;
use crate::wal::error::WalError;
use crate::wal::format::record::{Record, decode};
use crate::wal::format::segment;
use crate::wal::format::segment::SegmentInfo;
use crate::wal::format::segment_reader::{SegmentReader, Tail};
use crate::wal::head::Wal;
use crate::wal::keep::checkpoint;
use crate::wal::keep::truncate_files::truncate;
use crate::wal::options::{Compression, WalOptions};
use crate::wal::write::bulk_writer::BulkWriter;
use crate::wal::write::staged::ExemplarTime;
use proptest::collection::vec;
use proptest::prelude::{any, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const N_APPENDERS: usize = 2;

/// What is said of the series stays the same for this many scrapes.
const METADATA_CHANGES_MS: i64 = 7;

#[derive(Clone, Debug)]
enum Op {
    Commit(Scrape),
    Rollback(Scrape),
    Rotate,
    Truncate { keep: u32, meanwhile: [Vec<Scrape>; 4], end: End },
    Reopen,
    Kill,
}

#[derive(Clone, Debug)]
struct Scrape {
    appender: usize,
    series: Vec<u8>,
}

/// How far a truncation gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Dropped,
    KilledBeforeFinish,
    KilledBeforeDeletion,
    Done,
}

fn scrape() -> impl Strategy<Value = Scrape> {
    (0..N_APPENDERS, vec(0..12_u8, 1..5)).prop_map(|(appender, series)| Scrape { appender, series })
}

fn op() -> impl Strategy<Value = Op> {
    let end = prop_oneof![
        Just(End::Dropped),
        Just(End::KilledBeforeFinish),
        Just(End::KilledBeforeDeletion),
        Just(End::Done),
        Just(End::Done),
        Just(End::Done),
    ];
    let meanwhile = [vec(scrape(), 0..3), vec(scrape(), 0..3), vec(scrape(), 0..3), vec(scrape(), 0..3)];
    prop_oneof![
        6 => scrape().prop_map(Op::Commit),
        1 => scrape().prop_map(Op::Rollback),
        3 => Just(Op::Rotate),
        3 => (0..3_u32, meanwhile, end).prop_map(|(keep, meanwhile, end)| Op::Truncate { keep, meanwhile, end }),
        1 => any::<bool>().prop_map(|clean| if clean { Op::Reopen } else { Op::Kill }),
    ]
}

/// The log under test and what must be in it.
struct Model {
    dir: PathBuf,
    wal: Wal,
    appenders: Vec<Appender>,
    /// As a scrape cache has them; they may be stale.
    handles: Vec<BTreeMap<u8, SeriesHandle>>,
    now_ms: i64,
    /// Name, timestamp and segment of everything committed.
    committed: BTreeSet<(String, i64, u32)>,
    /// The help of a series that was committed last.
    metadata: BTreeMap<String, String>,
    /// Last segment of the first truncation that was dropped: until it is done after all, or the log is opened again, series
    /// that returned meanwhile have a second record behind it.
    dropped: Option<u32>,
}

impl Model {
    fn open(dir: &Path) -> Model {
        let wal = open(dir);
        let appenders = (0..N_APPENDERS).map(|_| wal.appender()).collect();
        let handles = vec![BTreeMap::new(); N_APPENDERS];
        Model {
            dir: dir.to_owned(),
            wal,
            appenders,
            handles,
            now_ms: 0,
            committed: BTreeSet::new(),
            metadata: BTreeMap::new(),
            dropped: None,
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Commit(scrape) => self.scrape(scrape),
            Op::Rollback(scrape) => {
                self.stage(scrape);
                self.appenders[scrape.appender].rollback();
            }
            Op::Rotate => self.wal.upkeep().rotate().unwrap(),
            Op::Truncate { keep, meanwhile, end } => self.truncate(*keep, meanwhile, *end),
            Op::Reopen => {
                self.wal.close().unwrap();
                self.reopen();
            }
            Op::Kill => self.reopen(),
        }
    }

    fn stage(&mut self, scrape: &Scrape) {
        self.now_ms += 1;
        let help = self.help();
        for number in &scrape.series {
            let handles = &mut self.handles[scrape.appender];
            let appender = &mut self.appenders[scrape.appender];
            let find = || appender.series(&labels(*number)).unwrap().handle;
            let handle = *handles.entry(*number).or_insert_with(find);
            match kind(*number) {
                Kind::Float => appender.append(handle, self.now_ms, f64::from(*number)),
                Kind::Histogram => {
                    let histogram = Histogram { sum: f64::from(*number), ..Histogram::default() };
                    appender.append_histogram(handle, self.now_ms, &histogram);
                }
                Kind::Exemplar => {
                    let (time, value) = (ExemplarTime::Own(self.now_ms), f64::from(*number));
                    appender.append_exemplar(handle, time, value, [("a", "b")].into_iter()).unwrap();
                }
            }
            if has_metadata(*number) {
                appender.append_metadata(handle, MetricType::Gauge, "", &help);
            }
        }
    }

    fn scrape(&mut self, scrape: &Scrape) {
        self.stage(scrape);
        if let Err(error) = self.appenders[scrape.appender].commit() {
            assert!(matches!(error, WalError::StaleSeries), "{error}");
            self.handles[scrape.appender].clear();
            self.stage(scrape);
            self.appenders[scrape.appender].commit().unwrap();
        }
        let segment = self.wal.reader().committed_end().unwrap().segment;
        for number in &scrape.series {
            self.committed.insert((name(*number), self.now_ms, segment));
            if has_metadata(*number) {
                self.metadata.insert(name(*number), self.help());
            }
        }
    }

    /// What all series are said to be for some time.
    fn help(&self) -> String {
        format!("until {}", self.now_ms / METADATA_CHANGES_MS)
    }

    fn truncate(&mut self, keep: u32, meanwhile: &[Vec<Scrape>; 4], end: End) {
        let Some(last) = self.wal.current().unwrap().number.checked_sub(1 + keep) else { return };
        let wal_dir = self.dir.join("wal");
        if checkpoint::list(&RealDisk, &wal_dir).unwrap().last().is_some_and(|newest| newest.number >= last) {
            return;
        }
        let wal = self.wal.clone();
        let truncation = SeriesTruncation::begin(&wal, last);
        let last = truncation.last();
        meanwhile[0].iter().for_each(|scrape| self.scrape(scrape));
        if end == End::Dropped {
            self.dropped = Some(self.dropped.map_or(last, |earlier| earlier.min(last)));
            return;
        }
        let write = |dir: &Path| {
            let mut out = BulkWriter::create(&RealDisk, dir, 0, 1 << 20, Compression::Snappy)?;
            truncation.write_series(&mut out)?;
            meanwhile[1].iter().for_each(|scrape| self.scrape(scrape));
            out.finish()
        };
        checkpoint::create(&RealDisk, &wal_dir, last, write).unwrap();
        self.dropped = None;
        meanwhile[2].iter().for_each(|scrape| self.scrape(scrape));
        if end == End::KilledBeforeFinish {
            std::mem::forget(truncation);
            drop(wal);
            return self.reopen();
        }
        truncation.finish();
        meanwhile[3].iter().for_each(|scrape| self.scrape(scrape));
        if end == End::KilledBeforeDeletion {
            drop(wal);
            return self.reopen();
        }
        for old in segment::list(&RealDisk, &wal_dir).unwrap().iter().filter(|file| file.number <= last) {
            fs::remove_file(&old.path).unwrap();
        }
        for old in checkpoint::list(&RealDisk, &wal_dir).unwrap().iter().filter(|old| old.number < last) {
            checkpoint::remove(&RealDisk, &old.path).unwrap();
        }
    }

    /// The process was killed or stopped; the files stay as they are.
    fn reopen(&mut self) {
        self.appenders.clear();
        // The lock is held by the head: the new one is in another directory until the old one is gone.
        let parked = tempfile::tempdir().unwrap();
        self.wal = open(parked.path());
        let Model { now_ms, .. } = *self;
        let committed = std::mem::take(&mut self.committed);
        let metadata = std::mem::take(&mut self.metadata);
        let dir = self.dir.clone();
        *self = Model::open(&dir);
        self.now_ms = now_ms;
        self.committed = committed;
        self.metadata = metadata;
    }

    /// Reads as Prometheus does: the newest checkpoint, then the segments after it.
    fn check(&self) {
        let wal_dir = self.dir.join("wal");
        let checkpoint = checkpoint::list(&RealDisk, &wal_dir).unwrap().pop();
        let first_kept = checkpoint.as_ref().map_or(0, |it| it.number + 1);
        let mut files = checkpoint.map(|it| it.segments(&RealDisk).unwrap()).unwrap_or_default();
        let segments = segment::list(&RealDisk, &wal_dir).unwrap();
        files.extend(segments.into_iter().filter(|file| file.number >= first_kept));
        let mut found = Found::default();
        read(&files, self.dropped, &mut found);
        let kept = |it: &&(String, i64, u32)| it.2 >= first_kept;
        let expected = self.committed.iter().filter(kept).map(|it| (it.0.clone(), it.1)).collect();
        assert_eq!(found.entries, expected);
        for (name, _) in &found.entries {
            assert_eq!(found.metadata.get(name), self.metadata.get(name), "{name}");
        }
    }
}

fn open(dir: &Path) -> Wal {
    let options = WalOptions { segment_size_bytes: Some(1 << 20), ..WalOptions::at(dir) };
    let (wal, summary) = Wal::open(options, &mut |_, _| {}).unwrap();
    assert_eq!(summary.losses, Vec::<String>::new());
    wal
}

fn name(number: u8) -> String {
    format!("metric_{number}")
}

fn labels(number: u8) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new();
    labels.set("__name__", &name(number));
    labels
}

/// What stands in a log.
#[derive(Default)]
struct Found {
    /// Samples, histograms and exemplars.
    entries: BTreeSet<(String, i64)>,
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Histogram,
    Exemplar,
}

fn kind(number: u8) -> Kind {
    match number {
        0..6 => Kind::Float,
        6..9 => Kind::Histogram,
        _ => Kind::Exemplar,
    }
}

fn has_metadata(number: u8) -> bool {
    number.is_multiple_of(2)
}

fn read(files: &[SegmentInfo], dropped: Option<u32>, found: &mut Found) {
    let mut by_ref: BTreeMap<u64, String> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for file in files {
        let mut reader =
            SegmentReader::new(segment::open(&RealDisk, &file.path).unwrap(), file.number, Tail::Closed);
        while let Some(record) = reader.next_record().unwrap() {
            match decode(record.bytes) {
                Record::Series(entries) => {
                    for entry in entries.map(Result::unwrap) {
                        let name = Labels::from_pairs(entry.labels).get("__name__").to_owned();
                        let is_first = names.insert(name.clone());
                        assert!(
                            is_first || dropped.is_some_and(|last| last < file.number),
                            "two series records of {name}"
                        );
                        let before = by_ref.insert(entry.series_ref, name.clone());
                        assert!(before.is_none_or(|it| it == name && !is_first), "a ref with two meanings");
                    }
                }
                Record::Samples(samples) => {
                    for sample in samples.map(Result::unwrap) {
                        let name = by_ref.get(&sample.series_ref).expect("a sample before its series");
                        assert_eq!(*name, self::name(sample.value as u8), "a sample of another series");
                        found.entries.insert((name.clone(), sample.ts_ms));
                    }
                }
                Record::Histograms(entries) => {
                    let mut histogram = Histogram::default();
                    for entry in entries.map(Result::unwrap) {
                        let name = by_ref.get(&entry.series_ref).expect("a histogram before its series");
                        entry.histogram.decode_into(&mut histogram);
                        assert_eq!(*name, self::name(histogram.sum as u8), "a histogram of another series");
                        found.entries.insert((name.clone(), entry.ts_ms));
                    }
                }
                Record::Exemplars(entries) => {
                    for entry in entries.map(Result::unwrap) {
                        let name = by_ref.get(&entry.series_ref).expect("an exemplar before its series");
                        assert_eq!(*name, self::name(entry.value as u8), "an exemplar of another series");
                        found.entries.insert((name.clone(), entry.ts_ms));
                    }
                }
                Record::Metadata(entries) => {
                    for entry in entries.map(Result::unwrap) {
                        let name = by_ref.get(&entry.series_ref).expect("metadata before its series");
                        found.metadata.insert(name.clone(), entry.help.to_owned());
                    }
                }
                other => panic!("we never wrote {other:?}"),
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::cases::cases(48))]

    #[test]
    fn whatever_happens_kept_samples_are_found(ops in vec(op(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::open(dir.path());
        for op in &ops {
            model.run(op);
        }
        model.check();
        model.run(&Op::Reopen);
        model.run(&Op::Commit(Scrape { appender: 0, series: (0..12).collect() }));
        model.check();
    }
}

#[test]
fn a_series_that_is_gone_leaves_its_slot() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::open(dir.path());
    let scrape = |series: &[u8]| Op::Commit(Scrape { appender: 0, series: series.to_vec() });
    let truncate = Op::Truncate { keep: 0, meanwhile: Default::default(), end: End::Done };
    for op in [scrape(&[1, 2]), Op::Rotate, scrape(&[2]), truncate, scrape(&[3]), scrape(&[1])] {
        model.run(&op);
    }
    model.check();
    assert_eq!(model.wal.active_series(), 3);
    let refs: Vec<u32> = model.handles[0].values().map(|handle| handle.series_ref.0.get()).collect();
    assert!(refs.iter().all(|series_ref| *series_ref <= 3), "{refs:?}");
}

#[test]
fn a_truncation_that_is_repeated_keeps_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::open(dir.path());
    let scrape = Op::Commit(Scrape { appender: 0, series: vec![1, 2] });
    for op in [&scrape, &Op::Rotate, &scrape] {
        model.run(op);
    }
    let first = truncate(&model.wal, 0, &[], None).unwrap();
    assert_eq!((first.last, first.checkpoint_series), (0, 2));
    let again = truncate(&model.wal, 0, &[], None).unwrap();
    assert_eq!(again.checkpoint_bytes, first.checkpoint_bytes);
    model.run(&scrape);
    model.check();
}
