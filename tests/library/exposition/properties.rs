//! Any bytes as a page, and what is written as a page read back, in both text formats.

use support::cases;

use proptest::prelude::*;
use scraped_engine::exposition::content_type::Format;
use scraped_engine::float::{Layout, format_go};
use std::fmt::Write;
use support::exposition::{FORMATS, check_known_texts, parse};

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
    #![proptest_config(cases::cases(256))]

    #[test]
    fn any_bytes_never_panic(page in prop::collection::vec(any::<u8>(), 0..200)) {
        for (_, format) in FORMATS {
            parse(format, &page);
            check_known_texts(format, &page);
        }
    }

    #[test]
    fn near_pages_never_panic(page in near_page()) {
        for (_, format) in FORMATS {
            parse(format, &page);
            check_known_texts(format, &page);
        }
    }

    /// What is written as a page of the text format is read back.
    #[test]
    fn text_round_trip(series in prop::collection::vec(series(0i64..i64::MAX), 0..8)) {
        let (mut page, mut want) = (String::new(), String::new());
        for series in &series {
            series.write(&mut page, &mut want);
            if let Some(timestamp_ms) = series.timestamp_ms {
                write!(page, " {timestamp_ms}").unwrap();
                write!(want, " @{timestamp_ms}").unwrap();
            }
            page.push('\n');
            want.push('\n');
        }
        prop_assert_eq!(parse(Format::Text, page.as_bytes()), want);
    }

    /// The same for OpenMetrics, with exemplars and metadata.
    #[test]
    fn openmetrics_round_trip(
        families in prop::collection::vec(
            (
                prop::sample::select(&TYPES[..]),
                "[ a-zäöü\\\\\"]{0,12}",
                "[a-z]{0,5}",
                // Eighths of a second are exact as floats.
                prop::collection::vec((series(-(1i64 << 40)..1 << 40), prop::option::of(exemplar())), 0..4),
            ),
            0..4,
        )
    ) {
        let (mut page, mut want) = (String::new(), String::new());
        for (metric_type, help, unit, samples) in &families {
            let name = format!("family_{unit}");
            writeln!(page, "# TYPE {name} {metric_type}").unwrap();
            writeln!(page, "# HELP {name} {help}\n# UNIT {name} {unit}").unwrap();
            let type_name = match *metric_type {
                "gaugehistogram" => "GaugeHistogram".to_owned(),
                "stateset" => "StateSet".to_owned(),
                other => format!("{}{}", other[..1].to_uppercase(), &other[1..]),
            };
            writeln!(want, "type {name:?} {type_name}\nhelp {name:?} {help:?}\nunit {name:?} {unit:?}").unwrap();
            for (series, exemplar) in samples {
                series.write(&mut page, &mut want);
                write_seconds(series.timestamp_ms, &mut page, &mut want);
                if let Some(exemplar) = exemplar {
                    exemplar.write(&mut page, &mut want);
                }
                page.push('\n');
                want.push('\n');
            }
        }
        page.push_str("# EOF\n");
        prop_assert_eq!(parse(Format::OpenMetrics, page.as_bytes()), want);
    }
}

const TYPES: [&str; 8] =
    ["counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset", "unknown"];

#[derive(Clone, Debug)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
    timestamp_ms: Option<i64>,
}

#[derive(Clone, Debug)]
struct ExemplarText {
    labels: Vec<(String, String)>,
    value: f64,
    timestamp_ms: Option<i64>,
}

fn series(timestamps: std::ops::Range<i64>) -> impl Strategy<Value = Series> {
    let labels = prop::collection::vec(("[a-zäöü. \\\\\"]{1,6}", any::<String>()), 0..4);
    (("[a-z_:][a-z0-9_:]{0,10}|[a-zäöü. {}\"\\\\]{1,8}"), labels, any::<f64>(), prop::option::of(timestamps))
        .prop_map(|(name, labels, value, timestamp_ms)| Series { name, labels, value, timestamp_ms })
}

fn exemplar() -> impl Strategy<Value = ExemplarText> {
    // Escapes stay as they are there, so that there is nothing to escape.
    let labels = prop::collection::vec(("[a-z._]{1,6}", "[a-zäöü{}#, ]{0,9}"), 0..4);
    (labels, any::<f64>(), prop::option::of(-(1i64 << 40)..1 << 40)).prop_map(
        |(mut labels, value, timestamp_ms)| {
            labels.sort_by(|(a, _), (b, _)| a.cmp(b));
            ExemplarText { labels, value, timestamp_ms }
        },
    )
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

/// One number in the two layouts.
fn write_value(value: f64, page: &mut String, want: &mut String) {
    format_go(value, Layout::Fixed, page);
    format_go(value, Layout::General, want);
}

/// A timestamp as OpenMetrics has it, cut to eighths of a second.
fn write_seconds(timestamp_ms: Option<i64>, page: &mut String, want: &mut String) {
    if let Some(timestamp_ms) = timestamp_ms {
        let timestamp_ms = timestamp_ms / 125 * 125;
        write!(page, " {}", timestamp_ms as f64 / 1000.0).unwrap();
        write!(want, " @{timestamp_ms}").unwrap();
    }
}

impl Series {
    /// Up to the value. A name that needs quotes stands in the braces.
    fn write(&self, page: &mut String, want: &mut String) {
        let Self { name, labels, value, .. } = self;
        let mut text = match is_plain(name) {
            true => format!("{name}{{"),
            false => format!("{{\"{}\",", escaped(name)),
        };
        let mut want_labels = format!("\"__name__\"={name:?}");
        for (name, value) in labels {
            write!(text, "\"{}\"=\"{}\",", escaped(name), escaped(value)).unwrap();
            write!(want_labels, ", {name:?}={value:?}").unwrap();
        }
        text.push('}');
        write!(page, "{text} ").unwrap();
        write!(want, "series \"{}\" {{{want_labels}}} ", text.as_bytes().escape_ascii()).unwrap();
        write_value(*value, page, want);
    }
}

impl ExemplarText {
    fn write(&self, page: &mut String, want: &mut String) {
        let quoted = |(name, value): &(String, String)| format!("\"{name}\"=\"{value}\"");
        let labels: Vec<_> = self.labels.iter().map(quoted).collect();
        write!(page, " # {{{}}} ", labels.join(",")).unwrap();
        write!(want, " # {{{}}} ", labels.join(", ")).unwrap();
        write_value(self.value, page, want);
        write_seconds(self.timestamp_ms, page, want);
    }
}
