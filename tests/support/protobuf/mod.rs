//! What the tests of protobuf pages share: pages from a text, and entries as a text.

pub mod encode;

use scraped_engine::exposition::Entry;
use scraped_engine::exposition::content_type::Format;
use scraped_engine::exposition::exemplar::Exemplar;
use scraped_engine::exposition::options::ParserOptions;
use scraped_engine::exposition::parser::{Parser, ParserBuffers};
use scraped_engine::exposition::recall::{KnownSeries, NoRecall};
use scraped_engine::exposition::series_text::LabelScratch;
use scraped_engine::float::{Layout, format_go};
use scraped_engine::histogram::{CounterResetHint, Counts, Histogram, Span};
use std::collections::HashSet;
use std::fmt::Write;

/// The options that words stand for: `ignore` native parts, `keep` classic series, `convert` classic histograms.
pub fn options(words: &str) -> ParserOptions {
    let has = |word| words.split_whitespace().any(|it| it == word);
    ParserOptions {
        ignore_native_histograms: has("ignore"),
        keep_classic_histograms: has("keep"),
        convert_classic_histograms: has("convert"),
        skip_created_series: has("skip"),
    }
}

fn go(value: f64) -> String {
    let mut text = String::new();
    format_go(value, Layout::General, &mut text);
    text
}

fn timestamp(timestamp_ms: Option<i64>) -> String {
    timestamp_ms.map_or_else(String::new, |ms| format!(" @{ms}"))
}

fn spans(spans: &[Span]) -> String {
    spans.iter().map(|span| format!(" {}:{}", span.offset, span.length)).collect()
}

fn floats(floats: &[f64]) -> String {
    floats.iter().map(|it| format!(" {}", go(*it))).collect()
}

/// Everything that is in a histogram.
pub fn histogram(it: &Histogram) -> String {
    let mut text = format!("schema={} sum={}", it.schema, go(it.sum));
    if it.zero_threshold != 0.0 {
        write!(text, " zero_threshold={}", go(it.zero_threshold)).unwrap();
    }
    let integers = |deltas: &[i64]| deltas.iter().map(|it| format!(" {it}")).collect::<String>();
    let (positive, negative) = match &it.counts {
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            write!(text, " count={count} zero_count={zero_count}").unwrap();
            (integers(positive_deltas), integers(negative_deltas))
        }
        Counts::Float { count, zero_count, positive, negative } => {
            write!(text, " float count={} zero_count={}", go(*count), go(*zero_count)).unwrap();
            (floats(positive), floats(negative))
        }
    };
    for (name, list) in [
        (" +spans", spans(&it.positive_spans)),
        (" +", positive),
        (" -spans", spans(&it.negative_spans)),
        (" -", negative),
        (" bounds", floats(&it.custom_values)),
    ] {
        if !list.is_empty() {
            write!(text, "{name}[{}]", list.trim_start()).unwrap();
        }
    }
    if it.counter_reset_hint == CounterResetHint::Gauge {
        text.push_str(" gauge");
    }
    text
}

/// The labels of the sample read last, sorted; a name that is there twice stands twice.
fn labels(parser: &Parser<'_>) -> String {
    let mut labels = Vec::new();
    let visited = parser.visit_labels(&mut LabelScratch::default(), |name, value| {
        labels.push(format!("{name}={value:?}"));
    });
    if visited.is_err() {
        labels.push("not UTF-8".to_owned());
    }
    labels.sort();
    labels.join(", ")
}

/// The entries of a page, one a line, then the error if there is one. `known` is asked as a scrape cache is.
pub fn parse(
    format: Format,
    page: &[u8],
    options: ParserOptions,
    known: impl FnMut(&[u8]) -> Option<usize>,
) -> (String, ParserBuffers) {
    let mut parser = Parser::new(format, page, options, ParserBuffers::default());
    let mut recall = KnownSeries(known);
    let mut out = String::new();
    loop {
        let entry = match parser.next(&mut recall) {
            Ok(Some(entry)) => entry,
            Ok(None) => break,
            Err(error) => {
                writeln!(out, "error: {error}").unwrap();
                break;
            }
        };
        match entry {
            Entry::Help { name, text } => writeln!(out, "help {} {text:?}", name.escape_ascii()).unwrap(),
            Entry::Type { name, metric_type } => {
                writeln!(out, "type {} {metric_type:?}", name.escape_ascii()).unwrap();
            }
            Entry::Unit { name, unit } => writeln!(out, "unit {} {unit:?}", name.escape_ascii()).unwrap(),
            Entry::KnownMetadata { .. } => panic!("no metadata is known: {entry:?}"),
            Entry::Comment => out.push_str("comment\n"),
            Entry::Series { value, timestamp_ms, .. } => {
                write!(out, "series {{{}}} {}{}", labels(&parser), go(value), timestamp(timestamp_ms))
                    .unwrap();
                finish_sample(&mut parser, &mut out);
            }
            Entry::Histogram { timestamp_ms, .. } => {
                let text = histogram(parser.histogram().unwrap());
                write!(out, "histogram {{{}}} {text}{}", labels(&parser), timestamp(timestamp_ms)).unwrap();
                finish_sample(&mut parser, &mut out);
            }
        }
    }
    (out, parser.into_buffers())
}

fn finish_sample(parser: &mut Parser<'_>, out: &mut String) {
    if let Some(start_time_ms) = parser.start_time_ms() {
        write!(out, " start={start_time_ms}").unwrap();
    }
    let mut exemplar = Exemplar::default();
    while parser.exemplar(&mut exemplar) {
        let labels: Vec<_> = exemplar.labels().map(|(name, value)| format!("{name}={value:?}")).collect();
        let timestamp = timestamp(exemplar.timestamp_ms);
        write!(out, " # {{{}}} {}{timestamp}", labels.join(", "), go(exemplar.value)).unwrap();
    }
    out.push('\n');
}

/// What holds for any page: it is read the same when its series are known from an earlier scrape; histograms that
/// pass the check can be made smaller, written and shown.
///
/// # Panics
/// Something does not hold.
pub fn check(format: Format, page: &[u8], words: &str) {
    let mut keys = HashSet::new();
    let mut parser = Parser::new(format, page, options(words), ParserBuffers::default());
    while let Ok(Some(entry)) = parser.next(&mut NoRecall) {
        if let Entry::Histogram { .. } = entry
            && let Some(histogram) = parser.histogram()
        {
            check_histogram(histogram);
        }
        if let Entry::Series { .. } | Entry::Histogram { .. } = entry {
            keys.insert(parser.series_text().to_vec());
        }
    }
    let unknown = parse(format, page, options(words), |_| None).0;
    let known = parse(format, page, options(words), |rest| match format {
        Format::Protobuf => keys.contains(rest).then_some(rest.len()),
        _ => (1..=rest.len().min(64)).rev().find(|len| keys.contains(&rest[..*len])),
    });
    assert_eq!(known.0, unknown, "{words}, with known keys");
}

fn check_histogram(histogram: &Histogram) {
    let _ = histogram.to_string();
    histogram.push_json(&mut String::new());
    if histogram.validate().is_err() {
        return;
    }
    for limit in [0, 1, 3, 100] {
        let mut fitted = histogram.clone();
        if fitted.fit_buckets(limit).is_ok() {
            assert!(fitted.n_buckets() <= limit, "{histogram:?}");
            assert_eq!(fitted.validate(), Ok(()), "{histogram:?} at {limit}");
        }
    }
    let mut capped = histogram.clone();
    assert_eq!(capped.cap_schema(-2), Ok(()), "{histogram:?}");
    assert_eq!(capped.validate(), Ok(()), "{histogram:?}");
    capped.compact();
    assert_eq!(capped.validate(), Ok(()), "{histogram:?}");
}
