//! Every page of the parser tests, scraped by us and by a real agent: the same verdict, the same sentence, the same
//! samples and exemplars.
//!
//! The pages are those of `tests/data/exposition` and of the OpenMetrics project's suite (`tests/data/openmetrics`).
//! Needs what `scripts/peers` fetches; fails without it.

use std::fs;
use std::path::Path;

use support::exposition::unquoted;
use support::peers::pages::{Case, OPENMETRICS, OUT_OF_ORDER, Setup, TEXT, compare};

/// Prometheus 3.14 says what we say.
const LATER_WORDS: &str = "3.5 takes a bare name in braces for a metric name, later versions do not";
/// Pages that the agent reads otherwise, and why.
const DIFFERENT: [(&str, &str); 14] = [
    ("error_56.om", LATER_WORDS),
    ("error_57.om", LATER_WORDS),
    ("openmetrics_bad_missing_equal_or_label_value_0.txt", LATER_WORDS),
    ("exposition_err_long_line.prom", "errors show no more than the start of a line"),
    ("exposition_ok_blanks.prom", "blanks before a name belong to the name there"),
    ("exposition_ok_nul_behind_label_value.prom", "the closing quote belongs to the value there"),
    ("exposition_ok_quoted_name_not_utf8.prom", "the series is shown as the page spells it"),
    ("openmetrics_duplicate_timestamps", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_4.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_5.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_6.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_7.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_8.txt", OUT_OF_ORDER),
    ("openmetrics_bad_grouping_or_ordering_9.txt", OUT_OF_ORDER),
];

/// Ends the whole process of Prometheus 3.5, which looks for the name between quotes that are not there.
const DEADLY: [&[u8]; 2] = [b"{A}", b"{A} "];

fn cases() -> Vec<Case> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut cases = Vec::new();
    for dir in ["exposition/ok", "exposition/err", "openmetrics"] {
        for file in fs::read_dir(data.join(dir)).unwrap() {
            let path = file.unwrap().path();
            let content_type = match path.extension().and_then(|it| it.to_str()) {
                Some("prom") => TEXT,
                Some("om" | "txt") => OPENMETRICS,
                _ => continue,
            };
            let name = path.strip_prefix(&data).unwrap().to_str().unwrap().replace('/', "_");
            cases.push(case(name, content_type, fs::read(&path).unwrap()));
        }
    }
    for (ending, content_type) in [("prom", TEXT), ("om", OPENMETRICS)] {
        let list = fs::read_to_string(data.join(format!("exposition/prometheus_errors.{ending}.txt")));
        let list = list.unwrap();
        for (idx, line) in list.lines().filter(|line| line.starts_with('"')).enumerate() {
            cases.push(case(format!("error_{idx}.{ending}"), content_type, unquoted(line)));
        }
    }
    cases.retain(|case| !DEADLY.iter().any(|start| case.page.starts_with(start)));
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

fn case(name: String, content_type: &'static str, page: Vec<u8>) -> Case {
    Case { name, content_type, page, fields: String::new() }
}

#[test]
fn pages_are_what_they_are_to_a_real_agent() {
    let cases = cases();
    assert!(cases.len() > 350, "{} cases", cases.len());
    compare(&cases, &Setup::default(), &DIFFERENT);
}
