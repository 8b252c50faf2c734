//! Pages and what Prometheus' parsers make of them: every file of `tests/data/exposition` is one case.
//!
//! `ok/NAME.prom` and `err/NAME.prom` are pages in the text format, `.om` in OpenMetrics; `NAME.expect` beside them is
//! what comes out. The lists `prometheus_errors.*` are those of Prometheus' own parser tests (`model/textparse`), as
//! are the pages `prometheus_*`. `UPDATE_EXPECT=1` rewrites the expectations: read the difference.
//!
//! All were scraped by Prometheus 3.5.3 as well. It says the same, our line and column aside, but for three: blanks
//! before a name belong to the name there (`ok/blanks`), a NUL behind a label value makes the closing quote part of
//! it (`ok/nul_behind_label_value`), and a bare name in braces ends the whole process (`err/bare_name_in_braces`).

use scraped_engine::exposition::Entry;
use scraped_engine::exposition::content_type::Format;
use scraped_engine::exposition::options::ParserOptions;
use scraped_engine::exposition::parser::{Parser, ParserBuffers};
use scraped_engine::exposition::recall::NoRecall;
use scraped_engine::metric_type::MetricType;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::exposition::{FORMATS, check_known_texts, entries, parse, parser, unquoted};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/exposition").join(name)
}

fn format_of(path: &Path) -> Option<Format> {
    let ending = path.extension()?;
    FORMATS.into_iter().find(|(it, _)| ending == *it).map(|(_, format)| format)
}

fn cases(dir: &str) -> Vec<(PathBuf, Format)> {
    let paths = fs::read_dir(data(dir)).unwrap().map(|file| file.unwrap().path());
    let cases: Vec<_> = paths.filter_map(|path| format_of(&path).map(|format| (path, format))).collect();
    for (ending, format) in FORMATS {
        assert!(cases.iter().any(|(_, it)| *it == format), "no case with .{ending} in {dir}");
    }
    cases
}

fn check(dir: &str, fails: bool) {
    for (path, format) in cases(dir) {
        let got = parse(format, &fs::read(&path).unwrap());
        let expect_path = path.with_extension("expect");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expect_path, &got).unwrap();
        }
        let want = fs::read_to_string(&expect_path).unwrap();
        assert_eq!(got, want, "{}", path.display());
        assert_eq!(got.contains("error: "), fails, "{}", path.display());
    }
}

/// A quoted page, and in the next line what is wrong with it, our line and column aside.
fn check_sentences(list: &str, format: Format) {
    let text = fs::read_to_string(data(list)).unwrap();
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut n_cases = 0;
    while let (Some(page), Some(want)) = (lines.next(), lines.next()) {
        let got = parse(format, &unquoted(page));
        let got = match got.lines().last().and_then(|line| line.strip_prefix("error: ")) {
            Some(error) => error.split_at(error.rfind(" (line ").unwrap()).0,
            None => "ok",
        };
        assert_eq!(got, want.trim_start(), "{page}");
        n_cases += 1;
    }
    assert!(n_cases > 20, "{list} has {n_cases} cases");
}

#[test]
fn the_sentences_are_those_of_prometheus() {
    for (ending, format) in FORMATS {
        check_sentences(&format!("prometheus_errors.{ending}.txt"), format);
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

/// Samples of an OpenMetrics page whose `_created` lines are start times, with those; 0 for none.
fn start_times(page: &[u8]) -> String {
    let options = ParserOptions { skip_created_series: true, ..ParserOptions::default() };
    let mut parser = Parser::new(Format::OpenMetrics, page, options, ParserBuffers::default());
    let mut out = String::new();
    while let Some(entry) = parser.next(&mut NoRecall).unwrap() {
        if matches!(entry, Entry::Series { .. }) {
            let start_time_ms = parser.start_time_ms().unwrap_or_default();
            let text = String::from_utf8_lossy(parser.series_text()).replace('\0', "\\x00");
            writeln!(out, "{text} {start_time_ms}").unwrap();
        }
    }
    out
}

#[test]
fn created_lines_are_start_times_if_asked_for() {
    let mut n_pages = 0;
    for (path, _) in cases("ok") {
        let Ok(want) = fs::read_to_string(path.with_extension("start_times")) else { continue };
        assert_eq!(start_times(&fs::read(&path).unwrap()), want, "{}", path.display());
        n_pages += 1;
    }
    assert_eq!(n_pages, 4);
}

#[test]
fn looking_for_start_times_reads_a_page_once() {
    let mut page = "# TYPE a counter\n".to_owned();
    for number in 0..30_000 {
        writeln!(page, "a_total{{b=\"{number}\"}} 1").unwrap();
    }
    page.push_str("# EOF\n");
    let started = Instant::now();
    assert_eq!(start_times(page.as_bytes()).matches(" 0\n").count(), 30_000);
    // Once for each sample would be 450 million lines.
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn known_texts_change_nothing() {
    let n_known: usize = ["ok", "err"]
        .into_iter()
        .flat_map(cases)
        .map(|(path, format)| check_known_texts(format, &fs::read(path).unwrap()))
        .sum();
    assert!(n_known > 100, "{n_known}");
}

#[test]
fn the_type_of_a_family_reaches_the_next_family() {
    // As in Prometheus: a series without TYPE has the type of the last one.
    let mut parser = parser(Format::Text, b"# TYPE a histogram\nb{le=\"1\"} 1\n");
    while let Ok(Some(_)) = parser.next(&mut NoRecall) {
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
        let (entries, error) = entries(Format::Text, &page, &mut NoRecall);
        assert!(entries.len() <= 1, "{start:?} {repeated:?}");
        let sentence = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(sentence.len() < 1000, "{} bytes: {start:?} {repeated:?}", sentence.len());
    }
    // Quadratic work would take hours.
    assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
}
