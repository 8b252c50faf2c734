//! The labels of a series as it is spelled in a page: unquoted, unescaped, `le` and `quantile` in one spelling.
//!
//! Runs only for series that a target's cache does not know, over text that the parser has already accepted.

use crate::exposition::text::lexer::Lexer;
use crate::exposition::token::Token;
use crate::float;
use crate::metric_type::MetricType;
use memchr::memchr;

/// Name of the label that stands for the name of a series.
const METRIC_NAME: &str = "__name__";

/// A label as long as a page does not stay in memory.
const KEPT_SCRATCH_BYTES: usize = 16 * 1024;

/// A name in the series is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidUtf8;

/// Memory for one name and one value; kept by the caller.
#[derive(Clone, Debug, Default)]
pub struct LabelScratch {
    name: String,
    value: String,
}

/// Calls `visit` with the name and the value of each label of a series text of the parser, `__name__` among them, in
/// the order in which they stand there. Names may repeat and values may be empty.
///
/// `metric_type` is the parser's at that series: the `le` of a histogram and the `quantile` of a summary are written
/// as OpenMetrics has them, so that a series keeps its labels when a target changes format.
///
/// # Errors
/// A quoted name is not UTF-8; what stands before it was visited.
pub fn visit_labels(
    text: &[u8],
    metric_type: MetricType,
    scratch: &mut LabelScratch,
    visit: impl FnMut(&str, &str),
) -> Result<(), InvalidUtf8> {
    let visited = visit_each(text, metric_type, scratch, visit);
    for text in [&mut scratch.name, &mut scratch.value] {
        text.clear();
        text.shrink_to(KEPT_SCRATCH_BYTES);
    }
    visited
}

fn visit_each(
    text: &[u8],
    metric_type: MetricType,
    scratch: &mut LabelScratch,
    mut visit: impl FnMut(&str, &str),
) -> Result<(), InvalidUtf8> {
    let mut lexer = Lexer::new(text);
    let mut token = lexer.next_token();
    if token == Token::MName {
        visit(METRIC_NAME, std::str::from_utf8(lexer.token()).map_err(|_| InvalidUtf8)?);
        token = lexer.next_token();
    }
    if token == Token::BraceOpen {
        token = lexer.next_token();
    }
    loop {
        let name = match token {
            Token::LName => lexer.token(),
            Token::QString => inside_quotes(lexer.token()),
            Token::Comma => {
                token = lexer.next_token();
                continue;
            }
            _ => return Ok(()),
        };
        let name = unescape(name, &mut scratch.name)?;
        token = lexer.next_token();
        if token != Token::Equal {
            // A quoted string that stands alone.
            visit(METRIC_NAME, name);
            continue;
        }
        lexer.next_token();
        let value = unescape(inside_quotes(lexer.token()), &mut scratch.value)?;
        let is_bound =
            matches!((metric_type, name), (MetricType::Histogram, "le") | (MetricType::Summary, "quantile"));
        match is_bound.then(|| float::parse(value.as_bytes())) {
            Some(Ok(bound)) => {
                scratch.value.clear();
                float::format_openmetrics(bound, &mut scratch.value);
                visit(name, &scratch.value);
            }
            _ => visit(name, value),
        }
        token = lexer.next_token();
    }
}

fn inside_quotes(quoted: &[u8]) -> &[u8] {
    match quoted {
        [b'"', inner @ .., b'"'] => inner,
        _ => quoted,
    }
}

/// `\\`, `\"` and `\n` stand for a character; another backslash is itself.
fn unescape<'text>(text: &'text [u8], unescaped: &'text mut String) -> Result<&'text str, InvalidUtf8> {
    let text = std::str::from_utf8(text).map_err(|_| InvalidUtf8)?;
    if memchr(b'\\', text.as_bytes()).is_none() {
        return Ok(text);
    }
    unescaped.clear();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        unescaped.push_str(before);
        let escaped = match behind.bytes().next() {
            Some(b'\\') => Some('\\'),
            Some(b'"') => Some('"'),
            Some(b'n') => Some('\n'),
            _ => None,
        };
        unescaped.push(escaped.unwrap_or('\\'));
        rest = if escaped.is_some() { behind.get(1..).unwrap_or_default() } else { behind };
    }
    unescaped.push_str(rest);
    Ok(unescaped)
}
