//! The OpenMetrics project's parser suite (`tests/data/openmetrics`), judged as Prometheus judges it.
//!
//! A page is bad if its name says so, but for those in `prometheus_accepts.list`: Prometheus reads lines and knows no
//! families. `tests/interop/formats` has a real agent scrape the same pages.

use scraped_engine::exposition::content_type::Format;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use support::exposition::{check_known_texts, parse};

#[test]
fn the_suite_is_judged_as_prometheus_judges_it() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openmetrics");
    let list = fs::read_to_string(dir.join("prometheus_accepts.list")).unwrap();
    let mut accepted: BTreeSet<&str> =
        list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let mut n_pages = 0;
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "txt") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let page = fs::read(&path).unwrap();
        let got = parse(Format::OpenMetrics, &page);
        let is_bad = got.lines().last().is_some_and(|line| line.starts_with("error: "));
        let is_accepted = accepted.remove(name);
        assert_eq!(is_bad, name.starts_with("bad_") && !is_accepted, "{name}\n{got}");
        check_known_texts(Format::OpenMetrics, &page);
        n_pages += 1;
    }
    assert!(n_pages > 200, "{n_pages} pages");
    assert!(accepted.is_empty(), "not in the suite: {accepted:?}");
}
