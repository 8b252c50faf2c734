//! What the tests of the text formats share: a page as a list of its entries, and the same page read a second time.

pub mod any_bytes;

use scraped_engine::exposition::Entry;
use scraped_engine::exposition::content_type::Format;
use scraped_engine::exposition::error::ExpositionError;
use scraped_engine::exposition::exemplar::Exemplar;
use scraped_engine::exposition::options::ParserOptions;
use scraped_engine::exposition::parser::{Parser, ParserBuffers};
use scraped_engine::exposition::recall::{KnownSeries, NoRecall, Recall};
use scraped_engine::exposition::series_text::LabelScratch;
use scraped_engine::float::{Layout, format_go};
use std::fmt::Write;

/// The text formats, by the ending of their files.
pub const FORMATS: [(&str, Format); 2] = [("prom", Format::Text), ("om", Format::OpenMetrics)];

/// A parser with default options.
pub fn parser(format: Format, page: &[u8]) -> Parser<'_> {
    Parser::new(format, page, ParserOptions::default(), ParserBuffers::default())
}

fn print_timestamp(timestamp_ms: Option<i64>, out: &mut String) {
    if let Some(timestamp_ms) = timestamp_ms {
        write!(out, " @{timestamp_ms}").unwrap();
    }
}

/// The entries of a page, one a line, then the error if there is one.
pub fn parse(format: Format, page: &[u8]) -> String {
    let mut parser = parser(format, page);
    let mut scratch = LabelScratch::default();
    let mut exemplar = Exemplar::default();
    let mut out = String::new();
    loop {
        match parser.next(&mut NoRecall) {
            Ok(Some(Entry::Series { value, timestamp_ms, .. })) => {
                let text = parser.series_text();
                let mut labels = Vec::new();
                parser
                    .visit_labels(&mut scratch, |name, value| labels.push(format!("{name:?}={value:?}")))
                    .unwrap_or_else(|_| labels.push("invalid UTF-8".to_owned()));
                write!(out, "series \"{}\" {{{}}} ", text.escape_ascii(), labels.join(", ")).unwrap();
                format_go(value, Layout::General, &mut out);
                print_timestamp(timestamp_ms, &mut out);
                while parser.exemplar(&mut exemplar) {
                    let labels: Vec<_> =
                        exemplar.labels().map(|(name, value)| format!("{name:?}={value:?}")).collect();
                    write!(out, " # {{{}}} ", labels.join(", ")).unwrap();
                    format_go(exemplar.value, Layout::General, &mut out);
                    print_timestamp(exemplar.timestamp_ms, &mut out);
                }
                out.push('\n');
            }
            Ok(Some(Entry::Help { name, text })) => {
                writeln!(out, "help \"{}\" {text:?}", name.escape_ascii()).unwrap();
            }
            Ok(Some(Entry::Type { name, metric_type })) => {
                writeln!(out, "type \"{}\" {metric_type:?}", name.escape_ascii()).unwrap();
            }
            Ok(Some(Entry::Unit { name, unit })) => {
                writeln!(out, "unit \"{}\" {unit:?}", name.escape_ascii()).unwrap();
            }
            Ok(Some(Entry::Comment)) => out.push_str("comment\n"),
            Ok(Some(entry @ (Entry::Histogram { .. } | Entry::KnownMetadata { .. }))) => {
                panic!("{entry:?} in a page of text")
            }
            Ok(None) => return out,
            Err(error) => {
                writeln!(out, "error: {error}").unwrap();
                return out;
            }
        }
    }
}

/// The entries of a page, and the error that ended it.
pub type Outcome<'page> = (Vec<Entry<'page>>, Option<ExpositionError>);

/// Reads a page to its end or its first error.
pub fn entries<'page>(format: Format, page: &'page [u8], recall: &mut impl Recall) -> Outcome<'page> {
    let mut parser = parser(format, page);
    let mut entries = Vec::new();
    loop {
        match parser.next(recall) {
            Ok(Some(entry)) => entries.push(entry),
            Ok(None) => return (entries, None),
            Err(error) => return (entries, Some(error)),
        }
    }
}

/// Reading a page again, with its texts known, gives the same entries. Returns how often a text was taken as known.
pub fn check_known_texts(format: Format, page: &[u8]) -> usize {
    let (first_entries, first_error) = entries(format, page, &mut NoRecall);
    let mut texts: Vec<Vec<u8>> = Vec::new();
    let mut parser = parser(format, page);
    while let Ok(Some(entry)) = parser.next(&mut NoRecall) {
        if matches!(entry, Entry::Series { .. }) {
            texts.push(parser.series_text().to_vec());
        }
    }
    let mut n_known = 0;
    // A name alone also fits where labels follow it, so the shortest fit must do no harm.
    for longest_first in [true, false] {
        let known = |rest: &[u8]| {
            let mut lens: Vec<usize> =
                texts.iter().filter(|text| rest.starts_with(text)).map(Vec::len).collect();
            lens.sort_unstable();
            if longest_first { lens.pop() } else { lens.first().copied() }
        };
        let (mut again_entries, again_error) = entries(format, page, &mut KnownSeries(known));
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

/// The bytes of a page that is written as a quoted string.
pub fn unquoted(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let inner = line.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap();
    let mut rest = inner.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match (byte, byte == b'\\') {
            (byte, false) => byte,
            _ => match rest.next().unwrap() {
                b'n' => b'\n',
                b't' => b'\t',
                b'x' => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                byte => byte,
            },
        });
    }
    bytes
}
