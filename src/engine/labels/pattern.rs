//! Patterns of relabelling rules and selectors: RE2 syntax, matched against a whole text (`^(?s:…)$`).
//!
//! The patterns that most rules have (everything, or one of a few words) need no engine and no memory for one.
//! Compiled once with the configuration; matching allocates nothing when warm. Knows no labels.

use crate::labels::quote::Quoted;
use crate::labels::re2;
use regex_automata::meta;
use regex_automata::nfa::thompson::NFA;
use regex_automata::util::primitives::NonMaxUsize;
use regex_automata::{Input, Span};
use std::fmt;

/// Largest compiled pattern, the `regex` crate's own default. Go stops at 128 MiB.
const MAX_COMPILED_BYTES: usize = 10 * 1024 * 1024;

/// States that the engine remembers, a pattern and a thread; it starts over when they are full. A quarter of its
/// default: patterns of rules are short, and there are many of them.
const STATE_CACHE_BYTES: usize = 512 * 1024;

/// States of a pattern times bytes of a text: a step takes some nanoseconds. A pattern of a thousand states still
/// has 128 KiB to look at.
const MAX_STEPS: usize = 1 << 27;

/// What a pattern must not contain to be a plain word.
const META: [char; 14] = ['\\', '.', '+', '*', '?', '(', ')', '[', ']', '{', '}', '^', '$', '|'];

/// A compiled pattern that matches whole texts only.
#[derive(Clone, Debug)]
pub struct Pattern {
    matcher: Matcher,
    /// States of the engine's automaton; 0 without an engine.
    n_states: usize,
    /// Names of the groups from group 1 on; empty for a group without a name.
    group_names: Box<[String]>,
}

#[derive(Clone, Debug)]
enum Matcher {
    /// `.*`, `.+` with or without a group around it.
    Anything {
        min_len: usize,
    },
    /// `a|b|c`, sorted.
    OneOf(Box<[Box<str>]>),
    Engine(meta::Regex),
}

/// Where a match and its groups lie: start and end of the match, of group 1, of group 2 and so on.
pub(in crate::labels) type Slots = Vec<Option<NonMaxUsize>>;

/// Why a text is no pattern: Go's sentence, or that it is too large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError(String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

impl Pattern {
    /// Compiles the text of a pattern as Prometheus' `relabel.NewRegexp` does.
    ///
    /// # Errors
    /// RE2 does not accept it, or it compiles to more than 10 MiB.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        // Parsed as Prometheus wraps it, also for the sake of the errors.
        let parsed =
            re2::parse(&format!("^(?s:{text})$")).map_err(|error| PatternError(error.to_string()))?;
        let (matcher, n_states) = match Matcher::without_engine(text) {
            Some(matcher) => (matcher, 0),
            None => {
                let config = meta::Config::new()
                    .nfa_size_limit(Some(MAX_COMPILED_BYTES))
                    .hybrid_cache_capacity(STATE_CACHE_BYTES);
                let regex = meta::Builder::new().configure(config).build_from_hir(&parsed.hir);
                let regex = regex.map_err(|error| PatternError::from_build(text, &error))?;
                // It fits: the engine has one of its own.
                let states = NFA::compiler().build_from_hir(&parsed.hir).map_or(0, |nfa| nfa.states().len());
                (Matcher::Engine(regex), states)
            }
        };
        Ok(Self { matcher, n_states, group_names: parsed.group_names.into() })
    }

    /// Compiles the text of a pattern as Prometheus' `labels.NewFastRegexMatcher` does: it has to be a pattern also
    /// by itself, so it cannot close the group around it.
    ///
    /// # Errors
    /// As for [`Pattern::new`].
    pub fn of_matcher(text: &str) -> Result<Self, PatternError> {
        re2::parse(text).map_err(|error| PatternError(error.to_string()))?;
        Self::new(text)
    }

    /// True if the whole of `text` matches.
    pub fn is_match(&self, text: &str) -> bool {
        match &self.matcher {
            Matcher::Anything { min_len } => text.len() >= *min_len,
            Matcher::OneOf(words) => words.binary_search_by(|it| (**it).cmp(text)).is_ok(),
            Matcher::Engine(regex) => regex.is_match(text),
        }
    }

    /// As [`Pattern::is_match`], and where the groups lie.
    pub(in crate::labels) fn find(&self, text: &str, slots: &mut Slots) -> bool {
        self.find_at(text, 0, slots)
    }

    /// The first match that starts at `start` or later. Only a text that closes the group that Prometheus puts
    /// around it (`a)|(?s:b`) makes a pattern that finds anything behind the start.
    pub(in crate::labels) fn find_at(&self, text: &str, start: usize, slots: &mut Slots) -> bool {
        slots.clear();
        match &self.matcher {
            Matcher::Engine(regex) => {
                slots.resize(2 * (self.group_names.len() + 1), None);
                let input = Input::new(text).span(Span { start, end: text.len() });
                regex.search_slots(&input, slots).is_some()
            }
            Matcher::Anything { .. } | Matcher::OneOf(_) => {
                for _ in 0..=self.group_names.len() {
                    slots.extend([NonMaxUsize::new(0), NonMaxUsize::new(text.len())]);
                }
                start == 0 && self.is_match(text)
            }
        }
    }

    /// True if looking for the pattern in `text` could take the better part of a second: where the states of its
    /// automaton are too many to be remembered, each byte costs as many steps as there are.
    pub(in crate::labels) fn is_too_costly(&self, text: &str) -> bool {
        text.len().saturating_mul(self.n_states) > MAX_STEPS
    }

    /// About what its engine takes in memory; it remembers some states beside.
    pub(in crate::labels) fn memory_bytes(&self) -> usize {
        match &self.matcher {
            Matcher::Anything { .. } | Matcher::OneOf(_) => 0,
            Matcher::Engine(regex) => regex.memory_usage(),
        }
    }

    /// Names of the groups from group 1 on; empty for a group without a name.
    pub(in crate::labels) fn group_names(&self) -> &[String] {
        &self.group_names
    }
}

impl PatternError {
    fn from_build(text: &str, error: &meta::BuildError) -> Self {
        match error.size_limit() {
            Some(limit) => Self(format!(
                "regex {} compiles to more than {} MiB; lower its counted repetitions",
                Quoted(text),
                limit / 1024 / 1024
            )),
            None => Self(format!("regex {} cannot be compiled: {error}", Quoted(text))),
        }
    }
}

impl Matcher {
    fn without_engine(text: &str) -> Option<Self> {
        match text {
            ".*" | "(.*)" => Some(Matcher::Anything { min_len: 0 }),
            ".+" | "(.+)" => Some(Matcher::Anything { min_len: 1 }),
            _ if text.split('|').any(|word| word.contains(META)) => None,
            _ => {
                let mut words: Box<[Box<str>]> = text.split('|').map(Box::from).collect();
                words.sort();
                Some(Matcher::OneOf(words))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pattern: &str, text: &str) -> Option<Vec<Option<(usize, usize)>>> {
        let mut slots = Slots::new();
        let pattern = Pattern::new(pattern).unwrap();
        let found = pattern.find(text, &mut slots);
        assert_eq!(found, pattern.is_match(text), "{pattern:?} on {text:?}");
        let span = |pair: &[Option<NonMaxUsize>]| Some((pair[0]?.get(), pair[1]?.get()));
        found.then(|| slots.chunks(2).map(span).collect())
    }

    #[test]
    fn matches_whole_texts() {
        let check = |pattern: &str, text: &str, want: Option<&[Option<(usize, usize)>]>| {
            assert_eq!(spans(pattern, text).as_deref(), want, "{pattern:?} on {text:?}");
        };
        check("(.*)", "", Some(&[Some((0, 0)), Some((0, 0))]));
        check("(.*)", "a\nb", Some(&[Some((0, 3)), Some((0, 3))]));
        check(".*", "ab", Some(&[Some((0, 2))]));
        check(".+", "", None);
        check("(.+)", "é", Some(&[Some((0, 2)), Some((0, 2))]));
        check("", "", Some(&[Some((0, 0))]));
        check("", "a", None);
        check("b|a|ab", "ab", Some(&[Some((0, 2))]));
        check("b|a|ab", "abc", None);
        check("a|", "", Some(&[Some((0, 0))]));
        check("f(o*)(x)?", "foo", Some(&[Some((0, 3)), Some((1, 3)), None]));
        check("(a|ab)(c|bcd)?(d*)", "abcd", Some(&[Some((0, 4)), Some((0, 1)), Some((1, 4)), Some((4, 4))]));
        check("(.+?)(?::\\d+)?;(\\d+)", "h:80;9", Some(&[Some((0, 6)), Some((0, 1)), Some((5, 6))]));
    }

    #[test]
    fn a_pattern_that_closes_the_group_around_it_is_not_bound_to_the_whole_text() {
        let pattern = Pattern::new("a)|(?s:b").unwrap();
        assert!(pattern.is_match("axx") && pattern.is_match("xxb") && !pattern.is_match("xax"));
        let mut slots = Slots::new();
        assert!(pattern.find_at("ab", 1, &mut slots));
        assert_eq!(slots[0].unwrap().get(), 1);

        let error = Pattern::of_matcher("a)|(?s:b").unwrap_err().to_string();
        assert_eq!(error, "error parsing regexp: unexpected ): `a)|(?s:b`");
        assert!(Pattern::of_matcher("a|b").unwrap().is_match("b"));
    }

    #[test]
    fn a_pattern_that_is_too_large_is_refused() {
        let error = Pattern::new(r"\pL{1000}").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"regex "\\pL{1000}" compiles to more than 10 MiB; lower its counted repetitions"#
        );
    }
}
