//! Protobuf pages and what comes out of them: every file of `tests/data/protobuf` is one case.
//!
//! `ok/NAME.textproto` is a page as a text, `ok/NAME.expect` what comes out under some options, each behind a line
//! `== OPTIONS`. `err/NAME.hex` is a page as bytes. `UPDATE_EXPECT=1` rewrites the expectations: read the difference.
//! What comes out of the files called `prometheus_*` was written down by the Prometheus project.

use support::cases;

use proptest::prelude::*;
use scraped_engine::exposition::content_type::Format;
use scraped_engine::exposition::options::ParserOptions;
use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use support::protobuf::encode::{encode, page_of_hex};
use support::protobuf::{options, parse};

const ALL_OPTIONS: [&str; 8] = [
    "plain",
    "keep",
    "ignore",
    "ignore keep",
    "convert",
    "convert keep",
    "convert ignore",
    "convert ignore keep",
];

fn cases(dir: &str, extension: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/protobuf").join(dir);
    let mut cases: Vec<PathBuf> = fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|it| it == extension));
    cases.sort();
    assert!(!cases.is_empty(), "no case in {}", dir.display());
    cases
}

fn pages() -> Vec<Vec<u8>> {
    cases("ok", "textproto").iter().map(|path| encode(&fs::read_to_string(path).unwrap())).collect()
}

fn parse_unknown(page: &[u8], options: ParserOptions) -> String {
    parse(Format::Protobuf, page, options, |_| None).0
}

fn update(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, text).unwrap();
    }
}

#[test]
fn good_pages() {
    for path in cases("ok", "textproto") {
        let page = encode(&fs::read_to_string(&path).unwrap());
        let expect_path = path.with_extension("expect");
        let want = fs::read_to_string(&expect_path)
            .unwrap_or_else(|_| ALL_OPTIONS.map(|it| format!("== {it}\n")).concat());
        let headings = want.lines().filter_map(|line| line.strip_prefix("=="));
        let got: String =
            headings.map(|words| format!("=={words}\n{}", parse_unknown(&page, options(words)))).collect();
        update(&expect_path, &got);
        assert_eq!(got, fs::read_to_string(&expect_path).unwrap_or_default(), "{}", path.display());
    }
}

#[test]
fn bad_pages() {
    for path in cases("err", "hex") {
        let page = page_of_hex(&fs::read_to_string(&path).unwrap());
        let got = parse_unknown(&page, ParserOptions::default());
        let expect_path = path.with_extension("expect");
        update(&expect_path, &got);
        assert_eq!(got, fs::read_to_string(&expect_path).unwrap_or_default(), "{}", path.display());
        assert!(got.contains("error: "), "{}", path.display());
    }
}

/// A page comes out the same when its series are known from an earlier scrape, and every key is asked for.
#[test]
fn known_keys_change_nothing() {
    for page in pages() {
        for words in ALL_OPTIONS {
            let mut keys = HashSet::new();
            let (first, _) = parse(Format::Protobuf, &page, options(words), |key| {
                keys.insert(key.to_vec());
                None
            });
            let (second, _) = parse(Format::Protobuf, &page, options(words), |key| {
                assert!(keys.contains(key), "{words}: {}", key.escape_ascii());
                Some(key.len())
            });
            assert_eq!(second, first, "{words}");
            // One series, one key; what is the same series twice is in no case.
            let samples = first.lines().filter_map(|line| line.split_once("} ")).map(|(labels, _)| labels);
            let series: HashSet<_> =
                samples.map(|it| it.trim_start_matches("series").trim_start_matches("histogram")).collect();
            let series: HashSet<_> = series.iter().filter(|it| it.trim_start().starts_with('{')).collect();
            assert!(keys.len() <= series.len(), "{words}: {} keys, {} series", keys.len(), series.len());
        }
    }
}

/// A page that is cut anywhere is refused, or is whole families; nothing panics.
#[test]
fn cut_pages_are_refused() {
    for page in pages() {
        for len in 0..page.len() {
            let got = parse_unknown(&page[..len], options("keep"));
            let is_whole = !got.contains("error: ");
            assert!(is_whole == is_families(&page[..len]), "{len}: {got}");
        }
    }
}

/// Whether a page is nothing but families behind their lengths.
fn is_families(page: &[u8]) -> bool {
    let mut rest = page;
    while !rest.is_empty() {
        let len_end = rest.iter().position(|byte| *byte < 0x80).map(|it| it + 1).unwrap_or(usize::MAX);
        let Some(len_bytes) = rest.get(..len_end) else { return false };
        let len = len_bytes.iter().rev().fold(0, |len, byte| len << 7 | usize::from(byte & 0x7f));
        let Some(behind) = rest.get(len_end + len..) else { return false };
        rest = behind;
    }
    true
}

proptest! {
    #![proptest_config(cases::cases(256))]

    /// No bytes make the parser panic, and what it reads does not depend on what is known.
    #[test]
    fn random_bytes(page in proptest::collection::vec(any::<u8>(), 0..300)) {
        for words in ALL_OPTIONS {
            parse_unknown(&page, options(words));
        }
    }

    /// No change to a good page makes the parser panic.
    #[test]
    fn changed_pages(
        page_idx in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        words in prop::sample::select(ALL_OPTIONS.as_slice()),
    ) {
        let pages = pages();
        let mut page = pages[page_idx.index(pages.len())].clone();
        for (idx, byte) in changes {
            let idx = idx.index(page.len());
            page[idx] = byte;
        }
        parse_unknown(&page, options(words));
    }
}
