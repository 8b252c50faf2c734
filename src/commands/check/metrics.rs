//! `scraped check metrics`: whether a page on the standard input would be read, and where it would not.

use std::io::{self, Read, Write};

use crate::commands::check::{counted, print};
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::Terminal;
use scraped_engine::exposition::Entry;
use scraped_engine::exposition::content_type::Format;
use scraped_engine::exposition::options::ParserOptions;
use scraped_engine::exposition::parser::{Parser, ParserBuffers};
use scraped_engine::exposition::recall::NoRecall;

/// A page that ends like this is OpenMetrics.
const OPENMETRICS_END: &[u8] = b"# EOF";

/// No exporter's page is larger than what the daemon takes by default.
const MAX_PAGE_BYTES: u64 = 256 << 20;

pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    print(arguments, terminal, |out| check_metrics(&mut io::stdin().lock(), out))
}

/// Reads a page from `input` and writes what it is, or line, column and reason of the first mistake.
///
/// # Errors
/// Those of `input` and `out`.
fn check_metrics(input: &mut dyn Read, out: &mut dyn Write) -> io::Result<Outcome> {
    let mut page = Vec::new();
    input.take(MAX_PAGE_BYTES + 1).read_to_end(&mut page)?;
    if page.len() as u64 > MAX_PAGE_BYTES {
        writeln!(out, "the page is larger than {MAX_PAGE_BYTES} bytes")?;
        return Ok(Outcome::Bad);
    }
    let is_openmetrics = page.trim_ascii_end().ends_with(OPENMETRICS_END);
    let (format, name) = match is_openmetrics {
        true => (Format::OpenMetrics, "OpenMetrics"),
        false => (Format::Text, "text"),
    };
    let mut parser = Parser::new(format, &page, ParserOptions::default(), ParserBuffers::default());
    let (mut n_samples, mut n_families) = (0, 0);
    loop {
        match parser.next(&mut NoRecall) {
            Ok(Some(Entry::Series { .. } | Entry::Histogram { .. })) => n_samples += 1,
            Ok(Some(Entry::Type { .. })) => n_families += 1,
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => {
                writeln!(out, "{error}")?;
                return Ok(Outcome::Bad);
            }
        }
    }
    writeln!(out, "good: {}, {}, {name}", counted(n_samples, "sample"), counted(n_families, "TYPE line"))?;
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::check_metrics;
    use crate::flags::Outcome;

    fn check(page: &str, outcome: Outcome, want: &str) {
        let mut out = Vec::new();
        assert_eq!(check_metrics(&mut page.as_bytes(), &mut out).unwrap(), outcome, "{page}");
        assert_eq!(String::from_utf8(out).unwrap().trim_end(), want, "{page}");
    }

    #[test]
    fn pages() {
        check("", Outcome::Good, "good: 0 samples, 0 TYPE lines, text");
        check(
            "# TYPE a counter\na 1\nb{x=\"y\"} 2 1000\n",
            Outcome::Good,
            "good: 2 samples, 1 TYPE line, text",
        );
        check(
            "# TYPE a counter\na_total 1\n# EOF\n",
            Outcome::Good,
            "good: 1 sample, 1 TYPE line, OpenMetrics",
        );
        check(
            "a 1\nb{x=\"1\" 2\nc 3\n",
            Outcome::Bad,
            r#"expected label name, got "2" ("INVALID") while parsing: "b{x=\"1\" 2" (line 2, column 9)"#,
        );
    }
}
