//! Pages and what Prometheus' parser makes of them: every file of `tests/data/exposition` is one case.
//!
//! `ok/NAME.prom` and `err/NAME.prom` are pages, `NAME.expect` beside them what comes out. Most cases are those of
//! Prometheus' `model/textparse/promparse_test.go`. `UPDATE_EXPECT=1` rewrites the expectations: read the difference.
//!
//! All were scraped by Prometheus 3.5.3 as well. It says the same, our line and column aside, but for three: blanks
//! before a name belong to the name there (`ok/blanks`), a NUL behind a label value makes the closing quote part of
//! it (`ok/nul_behind_label_value`), and a bare name in braces ends the whole process (`err/bare_name_in_braces`).

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use scraped::exposition::error::ExpositionError;
use scraped::exposition::float::{Layout, format_go};
use scraped::exposition::series_text::{LabelScratch, visit_labels};
use scraped::exposition::text::TextParser;
use scraped::exposition::{Entry, MetricType};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The entries of a page, one a line, then the error if there is one.
fn parse(page: &[u8]) -> String {
    let mut parser = TextParser::new(page);
    let mut scratch = LabelScratch::default();
    let mut out = String::new();
    loop {
        match parser.next(|_| None) {
            Ok(Some(Entry::Series { value, timestamp_ms, .. })) => {
                let text = parser.series_text();
                let mut labels = Vec::new();
                visit_labels(text, parser.metric_type(), &mut scratch, |name, value| {
                    labels.push(format!("{name:?}={value:?}"));
                })
                .unwrap_or_else(|_| labels.push("invalid UTF-8".to_owned()));
                write!(out, "series \"{}\" {{{}}} ", text.escape_ascii(), labels.join(", ")).unwrap();
                format_go(value, Layout::General, &mut out);
                if let Some(timestamp_ms) = timestamp_ms {
                    write!(out, " @{timestamp_ms}").unwrap();
                }
                out.push('\n');
            }
            Ok(Some(Entry::Help { name, text })) => {
                writeln!(out, "help \"{}\" {text:?}", name.escape_ascii()).unwrap();
            }
            Ok(Some(Entry::Type { name, metric_type })) => {
                writeln!(out, "type \"{}\" {metric_type:?}", name.escape_ascii()).unwrap();
            }
            Ok(Some(Entry::Comment)) => out.push_str("comment\n"),
            Ok(Some(entry @ (Entry::Histogram { .. } | Entry::Unit { .. }))) => {
                panic!("{entry:?} in a text page")
            }
            Ok(None) => return out,
            Err(error) => {
                writeln!(out, "error: {error}").unwrap();
                return out;
            }
        }
    }
}

fn cases(dir: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exposition").join(dir);
    let mut cases: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|it| it == "prom"));
    assert!(!cases.is_empty(), "no case in {}", dir.display());
    cases
}

fn check(dir: &str, fails: bool) {
    for path in cases(dir) {
        let got = parse(&fs::read(&path).unwrap());
        let expect_path = path.with_extension("expect");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expect_path, &got).unwrap();
        }
        let want = fs::read_to_string(&expect_path).unwrap();
        assert_eq!(got, want, "{}", path.display());
        assert_eq!(got.contains("error: "), fails, "{}", path.display());
    }
}

#[test]
fn good_pages() {
    check("ok", false);
}

#[test]
fn bad_pages() {
    check("err", true);
}

type Outcome<'page> = (Vec<Entry<'page>>, Option<ExpositionError>);

fn entries<'page>(page: &'page [u8], known: impl Fn(&[u8]) -> Option<usize>) -> Outcome<'page> {
    let mut parser = TextParser::new(page);
    let mut entries = Vec::new();
    loop {
        match parser.next(&known) {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return (entries, None),
            Err(error) => return (entries, Some(error)),
        }
    }
}

/// Reading a page again, with its texts known, gives the same entries. Returns how often a text was taken as known.
fn check_known_texts(page: &[u8]) -> usize {
    let (first_entries, first_error) = entries(page, |_| None);
    let mut texts: Vec<&[u8]> = Vec::new();
    let mut parser = TextParser::new(page);
    while let Ok(Some(entry)) = parser.next(|_| None) {
        if matches!(entry, Entry::Series { .. }) {
            texts.push(parser.series_text());
        }
    }
    let mut n_known = 0;
    // A name alone also fits where labels follow it, so the shortest fit must do no harm.
    for longest_first in [true, false] {
        let known = |rest: &[u8]| {
            let mut lens: Vec<usize> =
                texts.iter().filter(|text| rest.starts_with(text)).map(|text| text.len()).collect();
            lens.sort_unstable();
            if longest_first { lens.pop() } else { lens.first().copied() }
        };
        let (mut again_entries, again_error) = entries(page, known);
        for entry in &mut again_entries {
            if let Entry::Series { known, .. } = entry {
                n_known += usize::from(*known);
                *known = false;
            }
        }
        let page = page.escape_ascii();
        assert_eq!(format!("{again_entries:?}"), format!("{first_entries:?}"), "{page}");
        assert_eq!(again_error, first_error, "{page}");
    }
    n_known
}

#[test]
fn known_texts_change_nothing() {
    let n_known: usize = ["ok", "err"]
        .into_iter()
        .flat_map(cases)
        .map(|path| check_known_texts(&fs::read(path).unwrap()))
        .sum();
    assert!(n_known > 100, "{n_known}");
}

#[test]
fn the_type_of_a_family_reaches_the_next_family() {
    // As in Prometheus: a series without TYPE has the type of the last one.
    let mut parser = TextParser::new(b"# TYPE a histogram\nb{le=\"1\"} 1\n");
    while let Ok(Some(_)) = parser.next(|_| None) {
        assert_eq!(parser.metric_type(), MetricType::Histogram);
    }
}

#[test]
fn endless_lines_are_read_once_and_make_short_errors() {
    const PAGE_BYTES: usize = 8 << 20;
    let started = Instant::now();
    for (start, repeated) in [
        ("a{b=\"", "x"),
        ("a{b=\"", "\\\""),
        ("a{b=\"", "\n"),
        ("# ", "x"),
        ("# HELP a ", "x"),
        ("#", " "),
        ("", "a"),
        ("a{", "b=\"c\","),
        ("a{", " "),
        ("a ", "1"),
        ("a 1 ", "1"),
        ("", " "),
        ("", "\n"),
    ] {
        let mut page = start.as_bytes().to_vec();
        page.extend(repeated.bytes().cycle().take(PAGE_BYTES));
        let (entries, error) = entries(&page, |_| None);
        assert!(entries.len() <= 1, "{start:?} {repeated:?}");
        let sentence = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(sentence.len() < 1000, "{} bytes: {start:?} {repeated:?}", sentence.len());
    }
    // Quadratic work would take hours.
    assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
}

fn near_page() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[a-c]{1,2}",
        3 => "-?[0-9]{1,3}(\\.[0-9])?",
        8 => prop::sample::select(vec![
            "{", "}", "\"", "=", ",", " ", "\n", "\t", "\\", "# ", "# TYPE ", "# HELP ", "\0", "NaN", "\r", "ä",
            "a{b=\"c\"} 1\n", "a 1\n", "a{b=\"c\"} 2 3\n", "{\"a\",b=\"c\"} 1 2\n", "histogram\n",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn any_bytes_never_panic(page in prop::collection::vec(any::<u8>(), 0..200)) {
        parse(&page);
        check_known_texts(&page);
    }

    #[test]
    fn near_pages_never_panic(page in near_page()) {
        parse(&page);
        check_known_texts(&page);
    }

    /// What is written as a page is read back.
    #[test]
    fn round_trip(
        series in prop::collection::vec(
            (
                "[a-z_:][a-z0-9_:]{0,10}",
                prop::collection::vec(("[a-zäöü. \\\\\"]{1,6}", any::<String>()), 0..4),
                any::<f64>(),
                prop::option::of(0i64..i64::MAX),
            ),
            0..8,
        )
    ) {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let (mut page, mut want) = (String::new(), String::new());
        for (name, labels, value, timestamp_ms) in &series {
            let mut text = format!("{name}{{");
            let mut want_labels = format!("\"__name__\"={name:?}");
            for (label_name, label_value) in labels {
                write!(text, "\"{}\"=\"{}\",", escape(label_name), escape(label_value)).unwrap();
                write!(want_labels, ", {label_name:?}={label_value:?}").unwrap();
            }
            text.push('}');
            let mut value_text = String::new();
            format_go(*value, Layout::Fixed, &mut value_text);
            write!(page, "{text} {value_text}").unwrap();
            write!(want, "series \"{}\" {{{want_labels}}} ", text.as_bytes().escape_ascii()).unwrap();
            format_go(*value, Layout::General, &mut want);
            if let Some(timestamp_ms) = timestamp_ms {
                write!(page, " {timestamp_ms}").unwrap();
                write!(want, " @{timestamp_ms}").unwrap();
            }
            page.push('\n');
            want.push('\n');
        }
        prop_assert_eq!(parse(page.as_bytes()), want);
    }
}
