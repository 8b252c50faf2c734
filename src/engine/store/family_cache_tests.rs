//! Metadata of pages: what is kept, shared, changed and forgotten.

use super::{MetadataCache, PageFate, unescape_help};
use crate::exposition::content_type::Format;
use crate::exposition::recall::NoRecall;
use crate::exposition::text::TextParser;
use crate::families::MetadataStore;
use std::sync::Arc;

/// Reads a page; true if the list is another one afterwards.
fn scrape(cache: &mut MetadataCache, store: &MetadataStore, page: &str) -> bool {
    cache.begin(Format::Text);
    let mut parser = TextParser::new(page.as_bytes());
    while let Some(entry) = parser.next(&mut NoRecall).unwrap() {
        cache.note(&entry);
    }
    cache.finish(PageFate::Stored, store)
}

fn families(cache: &MetadataCache) -> Vec<String> {
    let families = cache.list().families();
    families.iter().map(|it| format!("{} {:?} {}", it.name(), it.metric_type(), it.help())).collect()
}

const PAGE: &str = "# HELP a Says a.\n# TYPE a counter\na 1\n# TYPE b gauge\nb 1\n# HELP c Says c.\nc 1\n";

#[test]
fn a_page_is_remembered_once_for_all_targets_and_read_again_for_nothing() {
    let store = MetadataStore::new();
    let (mut first, mut second) = (MetadataCache::default(), MetadataCache::default());
    assert!(scrape(&mut first, &store, PAGE));
    assert_eq!(families(&first), ["a Counter Says a.", "b Gauge ", "c Unknown Says c."]);
    assert!(!scrape(&mut first, &store, PAGE));
    assert!(scrape(&mut second, &store, PAGE));
    assert!(Arc::ptr_eq(first.list(), second.list()));
    assert_eq!(store.families().len(), 3);
}

#[test]
fn changes_and_new_families_take_their_place_in_the_page() {
    let store = MetadataStore::new();
    let mut cache = MetadataCache::default();
    scrape(&mut cache, &store, PAGE);
    let changed = "# HELP z New.\n# HELP a Says A.\n# TYPE a counter\n# TYPE b gauge\n# TYPE b2 gauge\n\
                   # TYPE c summary\n";
    assert!(scrape(&mut cache, &store, changed));
    let expected = ["z Unknown New.", "a Counter Says A.", "b Gauge ", "b2 Gauge ", "c Summary Says c."];
    assert_eq!(families(&cache), expected);
    assert!(!scrape(&mut cache, &store, changed));

    // In any order, and lines of a family apart from each other; what comes last counts.
    let shuffled = "# TYPE c summary\n# TYPE b2 gauge\n# HELP a Says A.\n# TYPE z gauge\n# TYPE a counter\n\
                    # HELP z Newer.\n# TYPE b gauge\n# HELP z New.\n";
    assert!(scrape(&mut cache, &store, shuffled));
    assert_eq!(families(&cache)[0], "z Gauge New.");
    assert_eq!(families(&cache)[1..], expected[1..]);
    assert!(scrape(&mut cache, &store, shuffled), "it says something else in between");
    assert_eq!(families(&cache)[0], "z Gauge New.");
}

#[test]
fn a_family_is_forgotten_ten_scrapes_after_it_was_seen() {
    let store = MetadataStore::new();
    let mut cache = MetadataCache::default();
    scrape(&mut cache, &store, PAGE);
    let without_b = PAGE.replace("# TYPE b gauge\n", "");
    for _ in 0..10 {
        assert!(!scrape(&mut cache, &store, &without_b));
        assert_eq!(families(&cache).len(), 3);
    }
    assert!(scrape(&mut cache, &store, &without_b));
    assert_eq!(families(&cache), ["a Counter Says a.", "c Unknown Says c."]);
    assert_eq!(store.families().len(), 2);

    // Scrapes that fail count, but only a page that is stored makes it go.
    for _ in 0..600 {
        assert!(!cache.finish(PageFate::Failed, &store));
    }
    assert!(scrape(&mut cache, &store, "# TYPE b gauge\nb 1\n"));
    assert_eq!(families(&cache), ["b Gauge "]);
}

#[test]
fn a_page_that_fails_is_listened_to_all_the_same() {
    let store = MetadataStore::new();
    let mut cache = MetadataCache::default();
    cache.begin(Format::Text);
    cache.set_help(b"a", "Says a.");
    // It is read once more, as after a truncation.
    cache.begin(Format::Text);
    cache.set_help(b"a", "Says a.");
    assert!(cache.finish(PageFate::Failed, &store));
    assert_eq!(families(&cache), ["a Unknown Says a."]);
    cache.begin(Format::Text);
    cache.set_help(&[0xff], "No name.");
    assert!(cache.current().is_none());
    assert!(!cache.finish(PageFate::Stored, &store));
}

#[test]
fn a_metric_is_known_to_be_of_a_family() {
    use crate::metric_type::MetricType::{Counter, Gauge, GaugeHistogram, Histogram, Info, Summary};
    let mut cache = MetadataCache::default();
    let mut check = |family: &str, metric_type, metric: &str| {
        cache.begin(Format::OpenMetrics);
        cache.set_type(family.as_bytes(), metric_type);
        cache.current().unwrap().has_metric(metric)
    };
    for (family, metric_type, metric) in [
        ("a", Counter, "a_total"),
        ("a_total", Counter, "a_total"),
        ("a", Gauge, "a"),
        ("a", Histogram, "a_bucket"),
        ("a", Histogram, "a"),
        ("a", GaugeHistogram, "a_gsum"),
        ("a", Summary, "a_count"),
        ("a", Info, "a_info"),
        ("a_info", Info, "a_info"),
    ] {
        assert!(check(family, metric_type, metric), "{family} {metric}");
    }
    for (family, metric_type, metric) in [
        ("a", Counter, "a_sum"),
        ("a", Gauge, "b"),
        ("a", Gauge, "a_total"),
        ("a", Histogram, "a_b_bucket"),
        ("a_total", Counter, "a"),
        ("a", Summary, "a_bucket"),
    ] {
        assert!(!check(family, metric_type, metric), "{family} {metric}");
    }
}

#[test]
fn help_is_unescaped_as_its_format_says() {
    let mut out = String::new();
    let mut check = |format, text: &str, expected: &str| {
        unescape_help(Some(format), text, &mut out);
        assert_eq!(out, expected);
    };
    check(Format::Text, r#"a\\nb\nc\"d\e\"#, "a\\nb\nc\\\"d\\e\\");
    check(Format::OpenMetrics, r#"a\\nb\nc\"d\e\"#, "a\\nb\nc\"d\\e\\");
    check(Format::Protobuf, r"a\nb", r"a\nb");
}
