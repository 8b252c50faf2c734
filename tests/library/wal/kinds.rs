//! Histograms, exemplars and metadata in the log: order, repetitions, restarts, truncation, damage, full disks.

use std::fs;
use std::path::Path;
use std::time::Instant;

use scraped_engine::disk::RealDisk;
use scraped_engine::histogram::{CUSTOM_BUCKETS_SCHEMA, Counts, Histogram, Span};
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::metric_type::MetricType;
use scraped_engine::series::SeriesHandle;
use scraped_engine::wal::appender::{Appender, ExemplarError};
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::record::exemplars::ExemplarsEncoder;
use scraped_engine::wal::format::record::histograms::{HistogramsEncoder, put_histogram};
use scraped_engine::wal::format::segment;
use scraped_engine::wal::format::segment_reader::{SegmentReader, Tail};
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::write::staged::ExemplarTime;
use support::wal::{ask_all, check_log, commit, kinds, open, open_with, options, series};
use tempfile::TempDir;

fn temp_dir() -> TempDir {
    TempDir::with_prefix("scraped-test-").unwrap()
}

fn handle(appender: &mut Appender, name: &str) -> SeriesHandle {
    let mut labels = LabelsBuilder::new();
    labels.set("__name__", name);
    labels.set("job", "test");
    appender.series(&labels).unwrap().handle
}

/// Integer counts, or floats, or custom buckets, by `number`.
fn histogram(number: u64) -> Histogram {
    let spans = vec![Span { offset: -2, length: 2 }, Span { offset: 1, length: 1 }];
    let integer = Counts::Integer {
        count: 6 + number,
        zero_count: number,
        positive_deltas: vec![1, 1, 1],
        negative_deltas: vec![],
    };
    let float =
        Counts::Float { count: 4.5, zero_count: 0.5, positive: vec![1.0, 2.0, 1.0], negative: vec![] };
    let custom =
        Counts::Integer { count: 6, zero_count: 0, positive_deltas: vec![1, 1, 1], negative_deltas: vec![] };
    let counts = [integer, float, custom][number as usize % 3].clone();
    let mut histogram =
        Histogram { schema: 1, sum: number as f64, zero_threshold: 0.001, counts, ..Histogram::default() };
    if number % 3 == 2 {
        histogram.schema = CUSTOM_BUCKETS_SCHEMA;
        histogram.zero_threshold = 0.0;
        histogram.custom_values = vec![0.1, 1.0];
        histogram.positive_spans = vec![Span { offset: 0, length: 3 }];
    } else {
        histogram.positive_spans = spans;
    }
    histogram
}

fn exemplar(appender: &mut Appender, handle: SeriesHandle, time: ExemplarTime, trace: &str) -> usize {
    appender.append_exemplar(handle, time, 0.5, [("trace_id", trace)].into_iter()).unwrap();
    appender.commit().unwrap().exemplars
}

#[test]
fn floats_and_histograms_of_a_series_share_one_order() {
    let dir = temp_dir();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    let a = handle(&mut appender, "a");
    appender.append(a, 1000, 1.0);
    appender.append_histogram(a, 2000, &histogram(0));
    let report = appender.commit().unwrap();
    assert_eq!((report.appended, report.histograms, report.out_of_order), (2, 1, 0));
    appender.append_histogram(a, 2000, &histogram(1));
    appender.append(a, 1500, 1.5);
    appender.append_histogram(a, 3000, &histogram(1));
    let report = appender.commit().unwrap();
    assert_eq!((report.appended, report.histograms, report.out_of_order), (1, 1, 2));
    wal.close().unwrap();
    let (wal, summary) = open(dir.path());
    assert_eq!((summary.samples, summary.newest_ts_ms), (3, Some(3000)));
    let mut appender = wal.appender();
    let a = handle(&mut appender, "a");
    appender.append(a, 3000, 3.0);
    assert_eq!(appender.commit().unwrap().out_of_order, 1, "replay knows the histogram's timestamp");
    check_log(dir.path());
    assert_eq!(ask_all(dir.path())[&series("a")].len(), 1);
    assert_eq!(kinds::histograms(dir.path())[&series("a")].len(), 2);
}

#[test]
fn an_exemplar_is_written_once() {
    let dir = temp_dir();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    let a = handle(&mut appender, "a");
    let b = handle(&mut appender, "b");
    let (own, scrape) = (ExemplarTime::Own, ExemplarTime::OfSample);
    assert_eq!(exemplar(&mut appender, a, own(1000), "x"), 1);
    assert_eq!(exemplar(&mut appender, a, own(1000), "x"), 0, "the same");
    assert_eq!(exemplar(&mut appender, b, own(1000), "x"), 1, "another series");
    assert_eq!(exemplar(&mut appender, a, own(1001), "x"), 1, "another time");
    assert_eq!(exemplar(&mut appender, a, own(1001), "y"), 1, "another label");
    assert_eq!(exemplar(&mut appender, a, scrape(2000), "y"), 1, "without a time of its own");
    assert_eq!(exemplar(&mut appender, a, scrape(3000), "y"), 0, "that of the scrape says nothing");
    assert_eq!(exemplar(&mut appender, a, own(4000), "y"), 1);
    // The log keeps them, and the series they belong to, without any sample.
    wal.close().unwrap();
    check_log(dir.path());
    assert_eq!(kinds::exemplars(dir.path())[&series("a")].len(), 5);

    let (wal, summary) = open(dir.path());
    assert_eq!(summary.losses, Vec::<String>::new());
    let mut appender = wal.appender();
    let a = handle(&mut appender, "a");
    assert_eq!(exemplar(&mut appender, a, own(4000), "y"), 0, "not after a restart either");
    assert_eq!(exemplar(&mut appender, a, own(3999), "y"), 1, "the agent knows no order of exemplars");
}

#[test]
fn labels_of_an_exemplar_are_checked_and_sorted() {
    let dir = temp_dir();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    let a = handle(&mut appender, "a");
    let mut append = |labels: &[(&str, &str)]| {
        appender.append_exemplar(a, ExemplarTime::Own(1), 1.0, labels.iter().copied())
    };
    let ok = "ü".repeat(127);
    assert_eq!(append(&[("k", &format!("{ok}x"))]), Err(ExemplarError::TooLong));
    assert_eq!(append(&[("k", "1"), ("k", "2")]), Err(ExemplarError::DuplicateLabel));
    assert_eq!(append(&[("k", &ok)]), Ok(()));
    assert_eq!(append(&[("b", "2"), ("empty", ""), ("a", "1")]), Ok(()));
    assert_eq!(append(&[]), Ok(()));
    assert_eq!(appender.commit().unwrap().exemplars, 3);
    let written = kinds::exemplars(dir.path()).remove(&series("a")).unwrap();
    assert_eq!(written[1].2.to_string(), r#"{"a":"1","b":"2"}"#);
    let error = ExemplarError::TooLong.to_string();
    assert_eq!(error, "label length for exemplar exceeds maximum of 128 UTF-8 characters");
}

/// Two segments of samples of `a` and others.
fn fill_segments(wal: &Wal, appender: &mut Appender, ts_ms: &mut i64) {
    let names: Vec<String> = (0..20).map(|idx| format!("filler_{idx}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("a");
    let mut noise = *ts_ms as u64 + 1;
    let last = wal.reader().committed_end().unwrap().segment + 2;
    while wal.reader().committed_end().unwrap().segment < last {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        commit(appender, &names, *ts_ms, noise as f64);
        *ts_ms += 1;
    }
}

#[test]
fn metadata_is_written_when_it_changes_and_outlives_truncation() {
    let dir = temp_dir();
    let mut options = options(dir.path());
    options.retention_max_bytes = Some(0);
    let (wal, _) = open_with(options.clone());
    let mut appender = wal.appender();
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    let mut sizes = Vec::new();
    for (ts_ms, help) in [(1, "First."), (2, "First."), (3, "Second.")] {
        for name in ["a", "gone"] {
            let handle = handle(&mut appender, name);
            appender.append(handle, ts_ms, 1.0);
            appender.append_metadata(handle, MetricType::Counter, "bytes", help);
        }
        appender.commit().unwrap();
        sizes.push(fs::metadata(dir.path().join("wal/00000000")).unwrap().len());
    }
    assert!(sizes[1] - sizes[0] < sizes[2] - sizes[1], "nothing new is not written: {sizes:?}");
    let expected = ("counter".to_owned(), "bytes".to_owned(), "Second.".to_owned());
    assert_eq!(kinds::metadata(dir.path())[&series("a")], expected);

    // Until the segment with the records is gone; `gone` goes with it.
    let mut ts_ms = 10;
    while segment::list(&RealDisk, &dir.path().join("wal")).unwrap()[0].number < 4 {
        fill_segments(&wal, &mut appender, &mut ts_ms);
        maintenance.cycle(Instant::now());
    }
    check_log(dir.path());
    let known = kinds::metadata(dir.path());
    assert_eq!((&known[&series("a")], known.len()), (&expected, 1));

    // It is known after a restart, and comes back with a series that comes back.
    drop((appender, maintenance, wal));
    let (wal, summary) = open_with(options.clone());
    assert_eq!(summary.losses, Vec::<String>::new());
    let mut appender = wal.appender();
    let a = handle(&mut appender, "a");
    appender.append_metadata(a, MetricType::Counter, "bytes", "Second.");
    let end = wal.reader().committed_end();
    appender.commit().unwrap();
    assert_eq!(wal.reader().committed_end(), end, "nothing new is not written");
    appender.append_metadata(a, MetricType::Gauge, "", "");
    appender.commit().unwrap();
    wal.close().unwrap();
    check_log(dir.path());
    assert_eq!(kinds::metadata(dir.path())[&series("a")], ("gauge".to_owned(), String::new(), String::new()));

    // Who does not write metadata any more has a log without it some time.
    let (wal, _) = open_with(options);
    wal.forget_metadata();
    let mut appender = wal.appender();
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    for _ in 0..3 {
        fill_segments(&wal, &mut appender, &mut ts_ms);
        maintenance.cycle(Instant::now());
    }
    check_log(dir.path());
    assert!(kinds::metadata(dir.path()).is_empty());
    assert!(ask_all(dir.path()).contains_key(&series("a")));
}

#[test]
fn a_series_with_nothing_but_histograms_and_exemplars_outlives_truncation() {
    let dir = temp_dir();
    let mut options = options(dir.path());
    options.retention_max_bytes = Some(0);
    let (wal, _) = open_with(options);
    let mut appender = wal.appender();
    let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
    let mut ts_ms = 0;
    while segment::list(&RealDisk, &dir.path().join("wal")).unwrap()[0].number < 4 {
        for _ in 0..50 {
            ts_ms += 1;
            for (number, name) in (0..).zip(["int", "float", "custom"]) {
                let handle = handle(&mut appender, name);
                appender.append_histogram(handle, ts_ms, &histogram(number + 3 * ts_ms as u64));
            }
            let only = handle(&mut appender, "only_exemplars");
            let trace = format!("{:x}", (ts_ms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let labels = [("trace_id", trace.as_str())];
            appender
                .append_exemplar(only, ExemplarTime::Own(ts_ms), ts_ms as f64, labels.into_iter())
                .unwrap();
            appender.commit().unwrap();
        }
        maintenance.cycle(Instant::now());
    }
    check_log(dir.path());
    let histograms = kinds::histograms(dir.path());
    for name in ["int", "float", "custom"] {
        assert_eq!(histograms[&series(name)].last().unwrap().0, ts_ms, "{name}");
    }
    let exemplars = kinds::exemplars(dir.path());
    assert_eq!(exemplars[&series("only_exemplars")].last().unwrap().0, ts_ms);
    wal.close().unwrap();
    let (_, summary) = open(dir.path());
    assert_eq!(summary.losses, Vec::<String>::new());
    assert_eq!(kinds::histograms(dir.path()), histograms);
    assert_eq!(kinds::exemplars(dir.path()), exemplars);
}

/// A log of one segment: a float, histograms and exemplars a commit.
fn mixed_log() -> TempDir {
    let dir = temp_dir();
    let (wal, _) = open(dir.path());
    let mut appender = wal.appender();
    for ts_ms in 1..=6 {
        let (a, h) = (handle(&mut appender, "a"), handle(&mut appender, "h"));
        appender.append(a, ts_ms, 1.0);
        appender.append_histogram(h, ts_ms, &histogram(ts_ms as u64));
        appender.append_metadata(h, MetricType::Histogram, "", &format!("As of {ts_ms}."));
        exemplar(&mut appender, h, ExemplarTime::Own(ts_ms), "x");
    }
    dir
}

#[test]
fn a_flip_of_any_byte_costs_one_record() {
    let intact = mixed_log();
    let segment = Path::new("wal/00000000");
    let bytes = fs::read(intact.path().join(segment)).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let n_entries = |dir: &Path| {
        let exemplars = kinds::exemplars(dir).values().map(Vec::len).sum::<usize>();
        let histograms = kinds::histograms(dir).values().map(Vec::len).sum::<usize>();
        ask_all(dir).values().map(Vec::len).sum::<usize>() + exemplars + histograms
    };
    assert_eq!(n_entries(intact.path()), 18);
    // The first commit has the series records, without which all is lost.
    for at in (end / 5..=end).step_by(7) {
        let dir = temp_dir();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x20;
        fs::create_dir(dir.path().join("wal")).unwrap();
        fs::write(dir.path().join(segment), bytes).unwrap();
        let (wal, summary) = open(dir.path());
        wal.close().unwrap();
        assert_eq!(summary.losses.len(), 1, "byte {at}");
        check_log(dir.path());
        assert!(n_entries(dir.path()) >= 17, "byte {at}: {} of 18 left", n_entries(dir.path()));
    }
}

#[test]
fn a_record_that_means_nothing_loses_itself_only() {
    let dir = mixed_log();
    // Its checksum is right and its content is not: a histogram with more spans than bytes, behind the others.
    let nonsense: [&[u8]; 3] = [
        &[
            7, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0xff,
        ],
        &[4, 1],
        &[6, 1, 2, 3, 4],
    ];
    let before = (kinds::histograms(dir.path()), kinds::exemplars(dir.path()), kinds::metadata(dir.path()));
    support::wal::write_segment(&dir.path().join("wal"), 1, &nonsense.map(support::wal::Foreign::Raw));
    let (wal, summary) = open(dir.path());
    assert_eq!(summary.losses.len(), 1, "{:?}", summary.losses);
    assert!(summary.losses[0].contains("00000001"), "{:?}", summary.losses);
    wal.close().unwrap();
    check_log(dir.path());
    let after = (kinds::histograms(dir.path()), kinds::exemplars(dir.path()), kinds::metadata(dir.path()));
    assert_eq!(after, before);
}

/// Every record that a real agent wrote is the one that we write of the same content.
#[test]
fn records_are_those_of_a_real_agent_byte_for_byte() {
    let wal_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/wal/3.5.3+ds1/histograms/wal");
    let (mut n_histograms, mut n_exemplars) = (0, 0);
    for file in segment::list(&RealDisk, &wal_dir).unwrap() {
        let mut reader =
            SegmentReader::new(segment::open(&RealDisk, &file.path).unwrap(), file.number, Tail::Closed);
        while let Some(raw) = reader.next_record().unwrap() {
            let mut ours = Vec::new();
            match record::decode(raw.bytes) {
                Record::Histograms(entries) => {
                    let mut histogram = Histogram::default();
                    let mut encoder = None;
                    for entry in entries.map(Result::unwrap) {
                        entry.histogram.decode_into(&mut histogram);
                        let kind = entry.histogram.kind();
                        let encoder =
                            encoder.get_or_insert_with(|| HistogramsEncoder::start(&mut ours, kind));
                        let mut encoded = Vec::new();
                        put_histogram(&mut encoded, &histogram);
                        encoder.push(&mut ours, entry.series_ref, entry.ts_ms, &encoded);
                        n_histograms += 1;
                    }
                }
                Record::Exemplars(entries) => {
                    let mut encoder = ExemplarsEncoder::start(&mut ours);
                    for entry in entries.map(Result::unwrap) {
                        encoder.push(&mut ours, &entry);
                        n_exemplars += 1;
                    }
                }
                _ => continue,
            }
            assert_eq!(ours, raw.bytes);
        }
    }
    assert!(n_histograms > 20 && n_exemplars >= 8, "{n_histograms} {n_exemplars}");
}
