//! PromQL series selectors: `up`, `{job="x",instance=~"a.*"}`, `name{…}`, quoted UTF-8 names.
//!
//! What they match is here, how they are written in `parser`; both know nothing of where series come from.

pub mod error;
pub mod lexer;
pub mod parser;

use crate::labels::pattern::{Pattern, PatternError};
use crate::labels::quote::Quoted;
use crate::labels::{Labels, METRIC_NAME, is_legacy_label_name};

/// What the compiled patterns of one question may take in memory together.
pub const MAX_PATTERN_BYTES: usize = 16 << 20;

/// What is said of patterns that take more.
pub const PATTERNS_TOO_LARGE: &str = "the regular expressions take more than 16 MiB together; shorten them";

/// A parsed selector: a series matches if every matcher does.
#[derive(Debug)]
pub struct Selector {
    matchers: Vec<Matcher>,
}

/// One condition on one label; an absent label has the empty value.
#[derive(Debug)]
pub struct Matcher {
    name: String,
    /// What it compares with, or the text of its pattern.
    value: String,
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
    Equal,
    NotEqual,
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
            MatchType::Equal => Test::Equal,
            MatchType::NotEqual => Test::NotEqual,
            MatchType::Like => Test::Like(Pattern::of_matcher(&value)?),
            MatchType::NotLike => Test::NotLike(Pattern::of_matcher(&value)?),
        };
        Ok(Self { name: name.into(), value, test, absent: String::new() })
    }

    /// A matcher of label `name` and this value alone.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into(), test: Test::Equal, absent: String::new() }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same for series whose label of this name has another value where it is absent, as external labels are seen.
    pub fn with_absent(self, value: impl Into<String>) -> Self {
        Self { absent: value.into(), ..self }
    }

    /// What it compares with, or the text of its pattern.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value passes; an absent label has the empty value.
    pub fn passes(&self, value: &str) -> bool {
        let value = if value.is_empty() { &self.absent } else { value };
        match &self.test {
            Test::Equal => value == self.value,
            Test::NotEqual => value != self.value,
            Test::Like(pattern) => pattern.is_match(value),
            Test::NotLike(pattern) => !pattern.is_match(value),
        }
    }

    /// Whether it has a pattern, which takes longer than a comparison.
    pub fn has_pattern(&self) -> bool {
        matches!(self.test, Test::Like(_) | Test::NotLike(_))
    }

    /// About what the engine of its pattern takes in memory.
    pub fn pattern_bytes(&self) -> usize {
        match &self.test {
            Test::Like(pattern) | Test::NotLike(pattern) => pattern.memory_bytes(),
            Test::Equal | Test::NotEqual => 0,
        }
    }

    /// True if a look at `value` could take the better part of a second.
    pub fn is_too_costly(&self, value: &str) -> bool {
        match &self.test {
            Test::Like(pattern) | Test::NotLike(pattern) => pattern.is_too_costly(value),
            Test::Equal | Test::NotEqual => false,
        }
    }
}

impl Selector {
    /// A selector of matchers, none of them for every series.
    pub fn of(matchers: Vec<Matcher>) -> Selector {
        Selector { matchers }
    }

    /// Whether it selects every series: each matcher passes a label that is absent.
    pub fn selects_all(&self) -> bool {
        self.matchers.iter().all(|matcher| matcher.passes(""))
    }

    /// About what the engines of its patterns take in memory.
    pub fn pattern_bytes(&self) -> usize {
        self.matchers.iter().map(Matcher::pattern_bytes).sum()
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
