use super::error::HistoryError;
use super::{Bounds, History, SampleValue};
use crate::labels::builder::LabelsBuilder;
use crate::labels::selector::Selector;
use crate::labels::selector::parser::parse_selector;
use crate::wal::head::Wal;
use crate::wal::keep::truncate_files::truncate;
use crate::wal::options::WalOptions;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// Long enough for everything here.
const PATIENCE: Duration = Duration::from_secs(60);

fn open(dir: &Path) -> Wal {
    let options = WalOptions { segment_size_bytes: Some(1 << 20), lock_file: false, ..WalOptions::at(dir) };
    Wal::open(options, &mut |_, _| {}).unwrap().0
}

fn bounds() -> Bounds {
    Bounds { max_series: 1000, max_samples: 1000, deadline: Instant::now() + PATIENCE }
}

/// One sample of `name{job}`.
fn commit(wal: &Wal, name: &str, job: &str, ts_ms: i64, value: f64) {
    let mut labels = LabelsBuilder::new();
    labels.set("__name__", name);
    labels.set("job", job);
    let mut appender = wal.appender();
    let handle = appender.series(&labels).unwrap().handle;
    appender.append(handle, ts_ms, value);
    appender.commit().unwrap();
}

fn selectors(texts: &[&str]) -> Vec<Selector> {
    texts.iter().map(|text| parse_selector(text).unwrap()).collect()
}

/// `labels: ts=value …`, series by series.
fn selected(history: &History, texts: &[&str], range_ms: std::ops::RangeInclusive<i64>) -> Vec<String> {
    let found = history.select(&selectors(texts), range_ms, &bounds()).unwrap();
    let sample = |sample: &super::Sample| match &sample.value {
        SampleValue::Float(value) => format!(" {}={value}", sample.ts_ms),
        SampleValue::Histogram(_) => format!(" {}=histogram", sample.ts_ms),
    };
    found
        .iter()
        .map(|series| format!("{}:{}", series.labels, series.samples.iter().map(sample).collect::<String>()))
        .collect()
}

#[test]
fn series_are_found_by_any_selector_and_samples_by_time() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let history = History::new(wal.reader());
    for ts_ms in 1..=4 {
        commit(&wal, "b", "x", ts_ms, 1.0);
        commit(&wal, "a", "x", ts_ms, 2.0);
        commit(&wal, "a", "y", ts_ms, 3.0);
    }
    let check =
        |texts: &[&str], want: &[&str]| assert_eq!(selected(&history, texts, 2..=3), want, "{texts:?}");
    let (ax, ay, bx) = (
        r#"{__name__="a", job="x"}: 2=2 3=2"#,
        r#"{__name__="a", job="y"}: 2=3 3=3"#,
        r#"{__name__="b", job="x"}: 2=1 3=1"#,
    );
    check(&["a"], &[ax, ay]);
    check(&["b", r#"a{job="y"}"#], &[ay, bx]);
    check(&["a", r#"a{job="y"}"#], &[ax, ay]);
    check(&[r#"{job=~"x|z"}"#], &[ax, bx]);
    check(&[r#"{job=~"[x]",__name__!~"a.*"}"#], &[bx]);
    check(&[r#"a{job!="x"}"#], &[ay]);
    check(&[r#"a{zone=""}"#], &[ax, ay]);
    check(&[r#"a{zone=~".+"}"#], &[]);
    assert_eq!(selected(&history, &["a"], 5..=9), [""; 0]);
}

#[test]
fn samples_come_in_order_of_time_and_the_last_of_two_counts() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let history = History::new(wal.reader());
    for (ts_ms, value) in [(5, 1.0), (7, 2.0)] {
        commit(&wal, "a", "x", ts_ms, value);
    }
    wal.restart_order_check();
    for (ts_ms, value) in [(3, 3.0), (5, 4.0), (6, 5.0)] {
        commit(&wal, "a", "x", ts_ms, value);
    }
    assert_eq!(selected(&history, &["a"], 0..=9), [r#"{__name__="a", job="x"}: 3=3 5=4 6=5 7=2"#]);
    let newest = history.newest(&selectors(&["a"]), 0..=6, &bounds()).unwrap();
    assert_eq!((newest[0].samples.len(), newest[0].samples[0].ts_ms), (1, 6));
}

#[test]
fn all_segments_are_read_but_those_that_cannot_hold_the_range() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let history = History::new(wal.reader());
    for ts_ms in 1..=6 {
        commit(&wal, "a", "x", ts_ms, ts_ms as f64);
        wal.reader().start_segment().unwrap();
    }
    let all = r#"{__name__="a", job="x"}: 1=1 2=2 3=3 4=4 5=5 6=6"#;
    assert_eq!(selected(&history, &["a"], 0..=9), [all]);
    // Known by now: neither of them is opened.
    for number in [1, 4] {
        std::fs::write(dir.path().join(format!("wal/{number:08}")), b"damaged").unwrap();
    }
    assert_eq!(selected(&history, &["a"], 3..=4), [r#"{__name__="a", job="x"}: 3=3 4=4"#]);
    assert_eq!(selected(&history, &["a"], 0..=9), [r#"{__name__="a", job="x"}: 1=1 3=3 4=4 6=6"#]);
}

#[test]
fn a_restart_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    (1..=3).for_each(|ts_ms| commit(&wal, "a", "x", ts_ms, 1.0));
    wal.close().unwrap();
    let refused = History::new(wal.reader()).select(&selectors(&["a"]), 0..=9, &bounds());
    assert!(matches!(refused, Err(HistoryError::NotOpen)), "{refused:?}");
    let wal = open(dir.path());
    commit(&wal, "a", "x", 4, 1.0);
    let history = History::new(wal.reader());
    assert_eq!(selected(&history, &["a"], 2..=9), [r#"{__name__="a", job="x"}: 2=1 3=1 4=1"#]);
    // A segment of the run before that is older than the range is not opened.
    std::fs::write(dir.path().join("wal/00000000"), b"damaged").unwrap();
    assert_eq!(selected(&history, &["a"], 4..=9), [r#"{__name__="a", job="x"}: 4=1"#]);
}

#[test]
fn what_is_truncated_while_it_is_read_is_passed_over_and_refs_stay_whose_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let history = History::new(wal.reader());
    for ts_ms in 1..=3 {
        commit(&wal, "old", "x", ts_ms, 1.0);
        commit(&wal, "kept", "x", ts_ms, 1.0);
        wal.reader().start_segment().unwrap();
    }
    commit(&wal, "kept", "x", 4, 1.0);
    let series = history.matching(&selectors(&["old", "kept"]), &bounds()).unwrap();
    let mut names = vec![""; series.len()];
    history.visit_labels(&series, |idx, labels| {
        names[idx] = if labels.unwrap().any(|(_, value)| value == "old") { "old" } else { "kept" };
    });
    let mut seen = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    history
        .visit(&series, &(0..=9), deadline, &mut |sample| {
            seen.push((names[sample.series_idx], sample.ts_ms));
            if seen.len() == 1 {
                truncate(&wal, 2, &[], None).unwrap();
                // It takes the place of the one that went.
                commit(&wal, "new", "x", 5, 1.0);
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    // Of the first segment what was in memory by then; of the others nothing is left.
    seen.retain(|(_, ts_ms)| *ts_ms != 1);
    assert_eq!(seen, [("kept", 4)]);
    assert_eq!(selected(&history, &["new", "old", "kept"], 0..=9).len(), 2);
}

#[test]
fn the_table_is_held_for_a_slice_of_it_alone() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let mut appender = wal.appender();
    let mut labels = LabelsBuilder::new();
    for number in 0..5000 {
        labels.set("number", &number.to_string());
        appender.series(&labels).unwrap();
    }
    let (mut slices, mut first) = (Vec::new(), Some(0));
    while let Some(slot) = first {
        let mut n_series = 0;
        first = wal.reader().visit_table(slot, |_, _| n_series += 1);
        slices.push(n_series);
    }
    // The last look finds nothing more.
    assert_eq!(slices, [vec![256; 19], vec![136, 0]].concat());
    let any = selectors(&[r#"{number=~"1?2?3?4?",number!=""}"#, r#"{number="7",a=~".*"}"#]);
    let found = History::new(wal.reader()).matching(&any, &Bounds { max_series: 17, ..bounds() }).unwrap();
    assert_eq!(found.len(), 16);
}

#[test]
fn an_answer_is_whole_or_an_error_that_names_the_bound() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let history = History::new(wal.reader());
    for ts_ms in 1..=5 {
        commit(&wal, "a", "x", ts_ms, 1.0);
        commit(&wal, "a", "y", ts_ms, 1.0);
    }
    let select = |bounds: Bounds| history.select(&selectors(&["a"]), 0..=9, &bounds).map(|found| found.len());
    assert_eq!(select(Bounds { max_series: 2, max_samples: 10, ..bounds() }).unwrap(), 2);
    let refused = |bounds: Bounds| select(bounds).unwrap_err().to_string();
    let of_series = refused(Bounds { max_series: 1, ..bounds() });
    assert!(of_series.contains("more than 1 series (limit: 1)"), "{of_series}");
    let of_samples = refused(Bounds { max_samples: 9, ..bounds() });
    assert!(of_samples.contains("more than 9 samples"), "{of_samples}");
    let late = refused(Bounds { deadline: Instant::now() - PATIENCE, ..bounds() });
    assert!(late.contains("took longer than it may"), "{late}");
}

#[test]
fn label_sets_with_and_without_samples_in_the_range() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let history = History::new(wal.reader());
    commit(&wal, "a", "y", 1, 1.0);
    commit(&wal, "a", "x", 5, 1.0);
    let series = |range_ms| {
        let found = history.series(&selectors(&["a"]), range_ms, &bounds()).unwrap();
        found.iter().map(|labels| labels.get("job").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(series(None), ["x", "y"]);
    assert_eq!(series(Some(0..=9)), ["x", "y"]);
    assert_eq!(series(Some(0..=4)), ["y"]);
    assert_eq!(series(Some(6..=9)), [""; 0]);
}

#[test]
fn the_extent_of_the_log_and_what_labels_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let wal = open(dir.path());
    let history = History::new(wal.reader());
    assert_eq!(history.extent().unwrap(), None);
    for ts_ms in 3..=5 {
        commit(&wal, "a", "x", ts_ms, 1.0);
        assert_eq!(history.extent().unwrap(), Some(3..=ts_ms));
    }
    commit(&wal, "b", "y", 6, 1.0);
    let names = history.label_names(&[], &bounds()).unwrap();
    assert_eq!(names, ["__name__", "job"]);
    let values =
        |texts: &[&str]| history.label_values(&["job"], &selectors(texts), &bounds()).unwrap().concat();
    assert_eq!(values(&[]), ["x", "y"]);
    assert_eq!(values(&[r#"{__name__=~"b|c"}"#]), ["y"]);
    assert_eq!(values(&["c"]), [""; 0]);
    wal.close().unwrap();
    let wal = open(dir.path());
    assert_eq!(History::new(wal.reader()).extent().unwrap(), Some(3..=6));
}
