//! PromQL series selectors: `up`, `{job="x",instance=~"a.*"}`, `name{…}`, quoted UTF-8 names.
//!
//! Parses and matches; knows nothing of where series come from. The grammar is the vector selector of Prometheus'
//! `promql/parser/generated_parser.y` without ranges, offsets and operators, which have no meaning here.

use std::fmt;

use crate::labels::pattern::{Pattern, PatternError};
use crate::labels::quote::Quoted;
use crate::labels::{Labels, METRIC_NAME, is_legacy_label_name};

/// A parsed selector: a series matches if every matcher does.
#[derive(Debug)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

/// One condition on one label; an absent label has the empty value.
#[derive(Debug)]
pub struct Matcher {
    name: String,
    test: Test,
    /// What stands for an absent label.
    absent: String,
}

/// The operator of a matcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchType {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Like,
    /// `!~`
    NotLike,
}

#[derive(Debug)]
enum Test {
    Equal(String),
    NotEqual(String),
    Like(Pattern),
    NotLike(Pattern),
}

impl Matcher {
    /// A matcher of label `name`.
    ///
    /// # Errors
    /// `value` is no regular expression where one is needed.
    pub fn new(
        match_type: MatchType,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, PatternError> {
        let value = value.into();
        let test = match match_type {
            MatchType::Equal => Test::Equal(value),
            MatchType::NotEqual => Test::NotEqual(value),
            MatchType::Like => Test::Like(Pattern::of_matcher(&value)?),
            MatchType::NotLike => Test::NotLike(Pattern::of_matcher(&value)?),
        };
        Ok(Self { name: name.into(), test, absent: String::new() })
    }

    fn metric(name: String) -> Self {
        Self { name: METRIC_NAME.to_owned(), test: Test::Equal(name), absent: String::new() }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same for series whose label of this name has another value where it is absent, as external labels are seen.
    pub fn with_absent(self, value: impl Into<String>) -> Self {
        Self { absent: value.into(), ..self }
    }

    /// Whether a label with this value passes; an absent label has the empty value.
    pub fn passes(&self, value: &str) -> bool {
        self.test.passes(if value.is_empty() { &self.absent } else { value })
    }

    /// Whether it has a pattern, which takes longer than a comparison.
    pub fn has_pattern(&self) -> bool {
        matches!(self.test, Test::Like(_) | Test::NotLike(_))
    }

    /// About what the engine of its pattern takes in memory.
    pub fn pattern_bytes(&self) -> usize {
        match &self.test {
            Test::Like(pattern) | Test::NotLike(pattern) => pattern.memory_bytes(),
            Test::Equal(_) | Test::NotEqual(_) => 0,
        }
    }

    /// True if a look at `value` could take the better part of a second.
    pub fn is_too_costly(&self, value: &str) -> bool {
        match &self.test {
            Test::Like(pattern) | Test::NotLike(pattern) => pattern.is_too_costly(value),
            Test::Equal(_) | Test::NotEqual(_) => false,
        }
    }
}

/// Why a selector was not understood.
#[derive(Debug, PartialEq, Eq)]
pub struct SelectorError {
    /// The whole text.
    selector: String,
    /// Character position, from 1.
    position: usize,
    /// What is wrong there.
    reason: String,
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "selector {:?}, character {}: {}; write it as in up{{job=\"node\",instance=~\"web.*\"}}",
            self.selector, self.position, self.reason
        )
    }
}

impl std::error::Error for SelectorError {}

impl SelectorError {
    /// Where the mistake is: characters before it.
    pub fn n_chars_before(&self) -> usize {
        self.position - 1
    }

    /// What is wrong there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl Selector {
    /// Parses a selector.
    ///
    /// # Errors
    /// The text is no selector, a pattern is no regular expression, or every matcher also matches the empty value
    /// (Prometheus refuses that too: it would mean every series there is).
    pub fn parse(text: &str) -> Result<Selector, SelectorError> {
        let mut parser = Parser { text, rest: text };
        parser.selector().map_err(|reason| {
            let position = text[..text.len() - parser.rest.len()].chars().count() + 1;
            SelectorError { selector: text.to_owned(), position, reason }
        })
    }

    /// A selector of matchers, none of them for every series.
    pub fn of(matchers: Vec<Matcher>) -> Selector {
        Selector { matchers }
    }

    /// What a series must pass.
    pub fn matchers(&self) -> &[Matcher] {
        &self.matchers
    }

    /// Whether a series matches; `value_of` gives a label's value, empty if it is absent.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> &'a str) -> bool {
        self.matchers.iter().all(|matcher| matcher.passes(value_of(&matcher.name)))
    }
}

impl Test {
    fn passes(&self, value: &str) -> bool {
        match self {
            Test::Equal(wanted) => value == wanted,
            Test::NotEqual(unwanted) => value != unwanted,
            Test::Like(pattern) => pattern.is_match(value),
            Test::NotLike(pattern) => !pattern.is_match(value),
        }
    }
}

/// `rest` is what is not read yet; after an error it starts at the mistake.
struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Parser<'_> {
    fn selector(&mut self) -> Result<Selector, String> {
        let mut matchers = Vec::new();
        self.skip_space();
        let name = self.identifier(is_metric_name_char);
        if !name.is_empty() {
            matchers.push(Matcher::metric(name));
        }
        self.skip_space();
        if self.take("{") {
            self.braces(&mut matchers)?;
        } else if matchers.is_empty() {
            return Err("expected a metric name or {".to_owned());
        }
        self.skip_space();
        if !self.rest.is_empty() {
            return Err("expected the end of the selector".to_owned());
        }
        if matchers.iter().all(|matcher| matcher.passes("")) {
            self.rest = self.text;
            return Err("a selector must contain at least one non-empty matcher \
                        ({__name__=~\".+\"} is every series)"
                .to_owned());
        }
        Ok(Selector { matchers })
    }

    fn braces(&mut self, matchers: &mut Vec<Matcher>) -> Result<(), String> {
        loop {
            self.skip_space();
            if self.take("}") {
                return Ok(());
            }
            let start = self.rest;
            let quoted = self.string()?;
            let is_quoted = quoted.is_some();
            let name = quoted.unwrap_or_else(|| self.identifier(is_label_name_char));
            if name.is_empty() {
                self.rest = start;
                return Err("expected a label name or }".to_owned());
            }
            self.skip_space();
            // A quoted name without a value is the metric's name: {"metric.with.dots"}.
            if is_quoted && (self.rest.starts_with(',') || self.rest.starts_with('}')) {
                if matchers.iter().any(|matcher| matcher.name == METRIC_NAME) {
                    self.rest = start;
                    return Err("metric name must not be set twice".to_owned());
                }
                matchers.push(Matcher::metric(name));
            } else {
                matchers.push(self.matcher(&name)?);
            }
            self.skip_space();
            if !self.take(",") && !self.rest.starts_with('}') {
                return Err("expected , or }".to_owned());
            }
        }
    }

    fn matcher(&mut self, name: &str) -> Result<Matcher, String> {
        let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| self.take(operator));
        let Some(operator) = operator else {
            return Err(format!("expected =, !=, =~ or !~ after {name}"));
        };
        self.skip_space();
        let start = self.rest;
        let Some(value) = self.string()? else {
            return Err(format!("expected a quoted value after {name}{operator}"));
        };
        let match_type = match operator {
            "=~" => MatchType::Like,
            "!~" => MatchType::NotLike,
            "!=" => MatchType::NotEqual,
            _ => MatchType::Equal,
        };
        Matcher::new(match_type, name, value).map_err(|error| {
            self.rest = start;
            error.to_string()
        })
    }

    /// A quoted string if one starts here: "…" and '…' with Go's escapes, `…` as it stands.
    fn string(&mut self) -> Result<Option<String>, String> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`')) else {
            return Ok(None);
        };
        let start = self.rest;
        self.rest = &self.rest[1..];
        let mut value = Vec::new();
        loop {
            let Some(c) = self.next_char() else {
                self.rest = start;
                return Err("string has no end".to_owned());
            };
            if c == quote {
                let text = String::from_utf8(value).map_err(|_| "escapes make no UTF-8".to_owned())?;
                return Ok(Some(text));
            }
            if c == '\\' && quote != '`' {
                self.escape(&mut value)?;
            } else {
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }

    fn escape(&mut self, value: &mut Vec<u8>) -> Result<(), String> {
        let start = self.rest;
        let plain = match self.next_char() {
            Some('a') => 0x07,
            Some('b') => 0x08,
            Some('f') => 0x0c,
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('v') => 0x0b,
            Some(c @ ('\\' | '"' | '\'')) => c as u8,
            Some('x') => self.digits(2, 16)? as u8,
            Some('0'..='7') => {
                self.rest = start;
                u8::try_from(self.digits(3, 8)?).map_err(|_| "octal escape over \\377".to_owned())?
            }
            Some(long @ ('u' | 'U')) => {
                let code = self.digits(if long == 'u' { 4 } else { 8 }, 16)?;
                let c = char::from_u32(code).ok_or("escape is no Unicode character")?;
                value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => {
                self.rest = start;
                return Err("unknown escape after \\".to_owned());
            }
        };
        value.push(plain);
        Ok(())
    }

    fn digits(&mut self, count: usize, radix: u32) -> Result<u32, String> {
        let digits = self.rest.get(..count).filter(|digits| digits.chars().all(|c| c.is_digit(radix)));
        let number = digits.and_then(|digits| u32::from_str_radix(digits, radix).ok());
        let number = number.ok_or_else(|| format!("escape needs {count} digits"))?;
        self.rest = &self.rest[count..];
        Ok(number)
    }

    fn identifier(&mut self, is_part: fn(char) -> bool) -> String {
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return String::new();
        }
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.to_owned()
    }

    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next_char(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }
}

fn is_metric_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | ':')
}

/// Whether a metric name needs no quotes in a selector.
pub fn is_plain_metric_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(is_metric_name_char)
}

/// A series as a selector that finds it: `up{job="x"}`, with quoted names where PromQL wants them.
pub fn of_series(labels: &Labels) -> String {
    let metric = labels.get(METRIC_NAME);
    let is_plain = is_plain_metric_name(metric);
    let mut parts = Vec::new();
    if !is_plain && !metric.is_empty() {
        parts.push(Quoted(metric).to_string());
    }
    for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
        let value = Quoted(value);
        parts.push(match is_legacy_label_name(name) {
            true => format!("{name}={value}"),
            false => format!("{}={value}", Quoted(name)),
        });
    }
    match (is_plain, parts.is_empty()) {
        (true, true) => metric.to_owned(),
        (true, false) => format!("{metric}{{{}}}", parts.join(",")),
        (false, _) => format!("{{{}}}", parts.join(",")),
    }
}

fn is_label_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &[(&str, &str)] =
        &[("__name__", "up"), ("instance", "web1:9100"), ("job", "node"), ("dotted.name", "ü")];

    fn matches(selector: &str, labels: &[(&'static str, &'static str)]) -> Result<bool, String> {
        let selector = Selector::parse(selector).map_err(|error| error.to_string())?;
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
        for (selector, place, reason) in [
            ("", 1, "expected a metric name or {"),
            ("up{", 4, "expected a label name or }"),
            ("up{job}", 7, "expected =, !=, =~ or !~ after job"),
            ("up{job=}", 8, "expected a quoted value after job="),
            (r#"up{job="x}"#, 8, "string has no end"),
            (r#"up{job="x" instance="y"}"#, 12, "expected , or }"),
            (r#"up{job="\q"}"#, 10, "unknown escape after \\"),
            (r#"up{job=~"("}"#, 9, "error parsing regexp: missing closing ): `(`"),
            (r#"up{job=~"a)(b"}"#, 9, "error parsing regexp: unexpected ): `a)(b`"),
            ("up[5m]", 3, "expected the end of the selector"),
            (r#"up{"down"}"#, 4, "metric name must not be set twice"),
            ("1up", 1, "expected a metric name or {"),
            ("{}", 1, "a selector must contain at least one non-empty matcher"),
            (r#"{job=~".*"}"#, 1, "a selector must contain at least one non-empty matcher"),
        ] {
            let error = Selector::parse(selector).unwrap_err();
            assert_eq!(
                (error.position, error.reason.starts_with(reason)),
                (place, true),
                "{selector}: {error}"
            );
        }
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
            assert!(Selector::parse(&name).unwrap().matches(|label| labels.get(label)), "{name}");
        }
    }
}
