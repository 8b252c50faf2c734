//! Any bytes as a page, and what is written as a page read back, in both text formats.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exposition_support;

use exposition_support::{FORMATS, check_known_texts, parse};
use proptest::prelude::*;
use scraped::exposition::content_type::Format;
use scraped::float::{Layout, format_go};
use std::fmt::Write;

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
        prop_assert_eq!(parse(Format::Text, page.as_bytes()), want);
    }
}
