//! Selectors as they are written: the vector selector of Prometheus' `promql/parser/generated_parser.y`.
//!
//! Mistakes are named in the words of that grammar, the first one alone.

use crate::labels::METRIC_NAME;
use crate::labels::quote::Quoted;
use crate::labels::selector::error::ParseError;
use crate::labels::selector::lexer::{Kind, Lexer, Token};
use crate::labels::selector::{MAX_PATTERN_BYTES, MatchType, Matcher, PATTERNS_TOO_LARGE, Selector};

/// Reads a selector that may select anything (`ParseMetricSelector`).
///
/// # Errors
/// The text is no selector.
pub fn parse_metric_selector(text: &str) -> Result<Selector, ParseError> {
    let mut lexer = Lexer::new(text);
    let (selector, _) = selector(&mut lexer)?;
    end(&mut lexer)?;
    Ok(selector)
}

/// Reads a selector as an expression may be one: it names a metric once at most, and does not select every series.
///
/// # Errors
/// The text is no such selector.
pub fn parse_selector(text: &str) -> Result<Selector, ParseError> {
    let mut lexer = Lexer::new(text);
    let selector = checked_selector(&mut lexer)?;
    end(&mut lexer)?;
    Ok(selector)
}

/// Reads the selector that begins here, as part of an expression.
///
/// # Errors
/// As [`parse_selector`].
pub fn checked_selector(lexer: &mut Lexer<'_>) -> Result<Selector, ParseError> {
    let start = lexer.peek()?.start;
    let (selector, name) = selector(lexer)?;
    match name {
        Some(name) => {
            // The last matcher is that of the name in front of the braces.
            let inside = selector.matchers().split_last().map_or(&[][..], |(_, inside)| inside);
            if let Some(matcher) = inside.iter().find(|it| it.name() == METRIC_NAME) {
                let (name, value) = (Quoted(name), Quoted(matcher.value()));
                return Err(
                    lexer.error_at(start, format!("metric name must not be set twice: {name} or {value}"))
                );
            }
        }
        None if selector.selects_all() => {
            let reason = "vector selector must contain at least one non-empty matcher";
            return Err(lexer.error_at(start, reason));
        }
        None => {}
    }
    Ok(selector)
}

/// Whether a word may be a metric's name.
pub fn is_metric_name(token: Token<'_>) -> bool {
    match token.kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregator | Kind::Preprocessor => true,
        Kind::Keyword => ["by", "offset", "without"].iter().any(|word| token.text.eq_ignore_ascii_case(word)),
        Kind::Operator => ["and", "or", "unless"].iter().any(|word| token.text.eq_ignore_ascii_case(word)),
        _ => false,
    }
}

/// Nothing may follow.
///
/// # Errors
/// Something does.
pub fn end(lexer: &mut Lexer<'_>) -> Result<(), ParseError> {
    match lexer.take(Kind::End)? {
        Some(_) => Ok(()),
        None => Err(lexer.unexpected("", "")),
    }
}

/// The selector, and the name in front of its braces.
fn selector<'a>(lexer: &mut Lexer<'a>) -> Result<(Selector, Option<&'a str>), ParseError> {
    let first = lexer.peek()?;
    let mut matchers = Vec::new();
    let mut name = None;
    if is_metric_name(first) {
        lexer.advance()?;
        name = Some(first.text);
    } else if first.kind != Kind::LeftBrace {
        return Err(lexer.unexpected("", ""));
    }
    if lexer.take(Kind::LeftBrace)?.is_some() {
        braces(lexer, &mut matchers)?;
    }
    if let Some(name) = name {
        matchers.push(Matcher::equal(METRIC_NAME, name));
    }
    Ok((Selector::of(matchers), name))
}

fn braces(lexer: &mut Lexer<'_>, matchers: &mut Vec<Matcher>) -> Result<(), ParseError> {
    let mut pattern_bytes = 0;
    loop {
        if lexer.take(Kind::RightBrace)?.is_some() {
            return Ok(());
        }
        let start = lexer.peek()?.start;
        let matcher = matcher(lexer)?;
        pattern_bytes += matcher.pattern_bytes();
        if pattern_bytes > MAX_PATTERN_BYTES {
            return Err(lexer.error_at(start, PATTERNS_TOO_LARGE));
        }
        matchers.push(matcher);
        if lexer.take(Kind::Comma)?.is_none() && lexer.peek()?.kind != Kind::RightBrace {
            return Err(lexer.unexpected("label matching", r#""," or "}""#));
        }
    }
}

fn matcher(lexer: &mut Lexer<'_>) -> Result<Matcher, ParseError> {
    let label = lexer.peek()?;
    let name = match label.kind {
        Kind::Identifier => label.text.to_owned(),
        Kind::String => lexer.unquoted(label)?,
        _ => return Err(lexer.unexpected("label matching", r#"identifier or "}""#)),
    };
    lexer.advance()?;
    let match_type = match lexer.peek()?.kind {
        Kind::Equal => MatchType::Equal,
        Kind::NotEqual => MatchType::NotEqual,
        Kind::Like => MatchType::Like,
        Kind::NotLike => MatchType::NotLike,
        // A quoted name without a value is the metric's name: {"metric.with.dots"}.
        _ if label.kind == Kind::String => return Ok(Matcher::equal(METRIC_NAME, name)),
        _ => return Err(lexer.unexpected("label matching", "label matching operator")),
    };
    lexer.advance()?;
    let Some(value) = lexer.take(Kind::String)? else {
        return Err(lexer.unexpected("label matching", "string"));
    };
    let value = lexer.unquoted(value)?;
    Matcher::new(match_type, name, value).map_err(|error| lexer.error_at(label.start, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use crate::labels::selector::of_series;

    const NODE: &[(&str, &str)] =
        &[("__name__", "up"), ("instance", "web1:9100"), ("job", "node"), ("dotted.name", "ü")];

    fn matches(selector: &str, labels: &[(&'static str, &'static str)]) -> Result<bool, String> {
        let selector = parse_selector(selector).map_err(|error| error.to_string())?;
        Ok(selector
            .matches(|name| labels.iter().find(|(label, _)| *label == name).map_or("", |(_, value)| value)))
    }

    fn check(selector: &str, expected: bool) {
        assert_eq!(matches(selector, NODE), Ok(expected), "{selector}");
    }

    #[test]
    fn names_and_matchers() {
        check("up", true);
        check(" up ", true);
        check("up{}", true);
        check("u", false);
        check("up:total", false);
        check(r#"up{job="node"}"#, true);
        check(r#"up { job = "node" , }"#, true);
        check(r#"up{job='node',instance=`web1:9100`}"#, true);
        check(r#"{job="node",instance!="web1:9100"}"#, false);
        check(r#"{__name__="up"}"#, true);
        check(r#"{"up"}"#, true);
        check(r#"{"up",job="node"}"#, true);
        check(r#"{"dotted.name"="ü"}"#, true);
        check(r#"{"dotted.name"="\u00fc"}"#, true);
        check(r#"{"dotted.name"="\xc3\274"}"#, true);
        check("up # of all jobs\n{job=\"node\"}", true);
        for name in ["sum", "by", "offset", "and", "start", "a:b"] {
            assert_eq!(matches(name, &[("__name__", name)]), Ok(true));
        }
        check(r#"up{missing=""}"#, true);
        check(r#"up{missing!=""}"#, false);
    }

    #[test]
    fn patterns_match_the_whole_value() {
        check(r#"up{instance=~"web"}"#, false);
        check(r#"up{instance=~"web.*"}"#, true);
        check(r#"up{instance=~"web.*|db.*"}"#, true);
        check(r#"up{instance=~"db.*|web"}"#, false);
        check(r#"up{instance!~"web.*"}"#, false);
        check(r#"up{instance=~"web\\d:9100"}"#, true);
        check(r#"up{missing=~".*"}"#, true);
        check(r#"up{missing=~".+"}"#, false);
        assert_eq!(matches(r#"{a=~"x.y"}"#, &[("a", "x\ny")]), Ok(true));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        for (selector, error) in [
            ("", "unknown position: parse error: unexpected end of input"),
            ("up{", "1:4: parse error: unexpected end of input inside braces"),
            (
                "up{job}",
                r#"1:7: parse error: unexpected "}" in label matching, expected label matching operator"#,
            ),
            ("up{job=}", r#"1:8: parse error: unexpected "}" in label matching, expected string"#),
            (r#"up{job="x}"#, "1:8: parse error: unterminated quoted string"),
            ("up{job=`x}", "1:8: parse error: unterminated raw string"),
            (
                r#"up{job="x" instance="y"}"#,
                r#"1:12: parse error: unexpected identifier "instance" in label matching, expected "," or "}""#,
            ),
            (r#"up{job="\q"}"#, "1:8: parse error: unknown escape sequence U+0071 'q'"),
            (r#"up{job="\x1g"}"#, "1:8: parse error: illegal character U+0067 'g' in escape sequence"),
            (r#"up{job="\400"}"#, "1:8: parse error: escape sequence is an invalid Unicode code point"),
            (r#"up{job="\ud800"}"#, "1:8: parse error: escape sequence is an invalid Unicode code point"),
            (r#"up{job=~"("}"#, "1:4: parse error: error parsing regexp: missing closing ): `(`"),
            (r#"up{job=~"a)(b"}"#, "1:4: parse error: error parsing regexp: unexpected ): `a)(b`"),
            ("up[5m]", r#"1:3: parse error: unexpected "[""#),
            ("up down", r#"1:4: parse error: unexpected identifier "down""#),
            (r#"up{"down"}"#, r#"1:1: parse error: metric name must not be set twice: "up" or "down""#),
            ("1up", r#"1:1: parse error: bad number or duration syntax: "1""#),
            ("up{,}", r#"1:4: parse error: unexpected "," in label matching, expected identifier or "}""#),
            ("up{1}", "1:4: parse error: unexpected character inside braces: '1'"),
            ("up{a!b}", "1:5: parse error: unexpected character after '!' inside braces: 'b'"),
            ("\n up}", "2:4: parse error: unexpected character: '}'"),
            ("up(", r#"1:3: parse error: unexpected "(""#),
            ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
            (
                r#"{job=~".*"}"#,
                "1:1: parse error: vector selector must contain at least one non-empty matcher",
            ),
        ] {
            assert_eq!(parse_selector(selector).unwrap_err().to_string(), error, "{selector}");
        }
        assert!(parse_metric_selector("{}").unwrap().selects_all());
        assert!(parse_metric_selector(r#"up{__name__="down"}"#).is_ok());
    }

    #[test]
    fn a_series_is_found_by_its_own_selector() {
        for (pairs, expected) in [
            (vec![("__name__", "up")], "up"),
            (vec![("__name__", "up"), ("job", "a\"\n")], r#"up{job="a\"\n"}"#),
            (vec![("__name__", "a.b"), ("c.d", "e")], r#"{"a.b","c.d"="e"}"#),
            (vec![("job", "a")], r#"{job="a"}"#),
        ] {
            let labels = Labels::from_pairs(pairs);
            let name = of_series(&labels);
            assert_eq!(name, expected);
            assert!(parse_selector(&name).unwrap().matches(|label| labels.get(label)), "{name}");
        }
    }

    #[test]
    fn patterns_that_are_too_large_together_are_refused() {
        let matchers = |n: usize| vec![r#"a=~"\\pL{200}""#; n].join(",");
        assert!(parse_selector(&format!("{{{}}}", matchers(1))).is_ok());
        let error = parse_selector(&format!("{{{}}}", matchers(900))).unwrap_err();
        assert_eq!(error.reason(), PATTERNS_TOO_LARGE);
    }
}
