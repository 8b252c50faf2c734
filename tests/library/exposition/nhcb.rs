//! Text pages whose classic histograms become native ones: every file of `tests/data/nhcb` is one case.
//!
//! `NAME.prom` and `NAME.om` are pages, `NAME.expect` is what comes out under some options, each behind a line
//! `== OPTIONS`. `UPDATE_EXPECT=1` rewrites the expectations: read the difference. What comes out of the files called
//! `prometheus_*` was written down by the Prometheus project.

use support::cases;

use proptest::prelude::*;
use scraped_engine::exposition::content_type::Format;
use scraped_engine::exposition::recall::NoRecall;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use support::protobuf::{options, parse};

const FORMATS: [(&str, Format); 2] = [("prom", Format::Text), ("om", Format::OpenMetrics)];

fn cases() -> Vec<(PathBuf, Format)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/nhcb");
    let paths = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path());
    let mut cases: Vec<_> = paths
        .filter_map(|path| {
            let extension = path.extension()?;
            let &(_, format) = FORMATS.iter().find(|(it, _)| extension == *it)?;
            Some((path, format))
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() >= 5, "{} cases in {}", cases.len(), dir.display());
    cases
}

#[test]
fn pages() {
    for (path, format) in cases() {
        let page = fs::read(&path).unwrap();
        let expect_path = path.with_extension("expect");
        let want =
            fs::read_to_string(&expect_path).unwrap_or_else(|_| "== convert\n== convert keep\n".to_owned());
        let got: String = want
            .lines()
            .filter_map(|line| line.strip_prefix("== "))
            .map(|words| format!("== {words}\n{}", parse(format, &page, options(words), |_| None).0))
            .collect();
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&expect_path, &got).unwrap();
        }
        assert_eq!(got, fs::read_to_string(&expect_path).unwrap_or_default(), "{}", path.display());
    }
}

/// As a scrape cache that has every series of the page in the order of the page.
fn parse_as_known(format: Format, page: &[u8], words: &str) {
    let mut texts = Vec::new();
    let mut parser = scraped_engine::exposition::parser::Parser::new(
        format,
        page,
        options(words),
        scraped_engine::exposition::parser::ParserBuffers::default(),
    );
    while let Ok(Some(entry)) = parser.next(&mut NoRecall) {
        if matches!(
            entry,
            scraped_engine::exposition::Entry::Series { .. }
                | scraped_engine::exposition::Entry::Histogram { .. }
        ) {
            texts.push(parser.series_text().to_vec());
        }
    }
    let texts: HashSet<_> = texts.into_iter().collect();
    let unknown = parse(format, page, options(words), |_| None).0;
    let longest = |rest: &[u8]| texts.iter().filter(|text| rest.starts_with(text)).map(Vec::len).max();
    let known = parse(format, page, options(words), longest).0;
    assert_eq!(known, unknown, "{words}: {}", page.escape_ascii());
}

#[test]
fn known_texts_change_nothing() {
    for (path, format) in cases() {
        for words in ["convert", "convert keep"] {
            parse_as_known(format, &fs::read(&path).unwrap(), words);
        }
    }
}

proptest! {
    #![proptest_config(cases::cases(256))]

    /// Histograms in pieces and in disorder, twice and broken: nothing panics, and what is known does not matter.
    #[test]
    fn random_pages(
        lines in proptest::collection::vec(
            (
                prop::sample::select(vec!["# TYPE a histogram", "# TYPE b histogram", "# HELP a x", "a", "b", "a_created"]),
                prop::sample::select(vec!["_bucket{le=\"1\"}", "_bucket{le=\"2\",x=\"y\"}", "_bucket{le=\"+Inf\"}",
                    "_bucket{le=\"NaN\"}", "_bucket{x=\"y\"}", "_sum", "_count", "_count{x=\"y\"}", "{x=\"y\"}"]),
                prop::sample::select(vec!["1", "2", "-1", "2.5", "NaN", "3 1000"]),
            ),
            0..20,
        ),
        words in prop::sample::select(vec!["convert", "convert keep", "keep"]),
    ) {
        let page: String = lines
            .into_iter()
            .map(|(start, rest, value)| match start.starts_with('#') {
                true => format!("{start}\n"),
                false => format!("{start}{rest} {value}\n"),
            })
            .collect();
        parse_as_known(Format::Text, page.as_bytes(), words);
    }
}
