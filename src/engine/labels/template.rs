//! Replacement templates as Go's `Regexp.Expand` reads them: `$1`, `${1}`, `$name`, `${name}`, `$$`.
//!
//! Read once with the configuration. `$1x` is the group named `1x`; a `$` that begins nothing stands for itself.

use crate::labels::pattern::Slots;
use crate::labels::quote::is_letter_or_digit;

/// A template bound to the groups of its pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Box<[Part]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    /// The first of these groups that took part in the match. None for a group that the pattern does not have,
    /// several if a name stands more than once.
    Group(Box<[usize]>),
}

impl Template {
    /// Reads a template for a pattern whose groups have these names (from group 1 on, empty for none).
    pub(crate) fn new(template: &str, group_names: &[String]) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('$') {
            text.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                text.push('$');
                rest = after;
            } else if let Some((name, after)) = group_name(rest) {
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text).into()));
                }
                parts.push(Part::Group(groups(name, group_names)));
                rest = after;
            } else {
                text.push('$');
            }
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Self(parts.into())
    }

    /// Appends the template with the groups of a match in `text` filled in.
    pub(in crate::labels) fn expand(&self, text: &str, slots: &Slots, out: &mut String) {
        self.visit(text, slots, |piece| match piece {
            Piece::Literal(piece) | Piece::Captured(piece) => out.push_str(piece),
        });
    }

    /// The same piece by piece.
    pub(in crate::labels) fn visit<'a>(
        &'a self,
        text: &'a str,
        slots: &Slots,
        mut each: impl FnMut(Piece<&'a str>),
    ) {
        for part in &self.0 {
            match part {
                Part::Text(literal) => each(Piece::Literal(literal)),
                Part::Group(groups) => {
                    let matched = groups.iter().find_map(|group| {
                        let start = slots.get(2 * group).copied()??;
                        let end = slots.get(2 * group + 1).copied()??;
                        Some(&text[start.get()..end.get()])
                    });
                    each(Piece::Captured(matched.unwrap_or_default()));
                }
            }
        }
    }
}

/// A part of what a template has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<T> {
    /// It stands in the template.
    Literal(T),
    /// It was copied from what the pattern matched.
    Captured(T),
}

/// The name behind a `$`, in braces or as long as letters, digits and underscores go, and what follows it.
fn group_name(text: &str) -> Option<(&str, &str)> {
    let unbraced = text.strip_prefix('{');
    let text = unbraced.unwrap_or(text);
    let len = text.find(|c| c != '_' && !is_letter_or_digit(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(len);
    if name.is_empty() {
        return None;
    }
    match unbraced {
        Some(_) => Some((name, rest.strip_prefix('}')?)),
        None => Some((name, rest)),
    }
}

fn groups(name: &str, group_names: &[String]) -> Box<[usize]> {
    let is_number = name.bytes().all(|it| it.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if is_number {
        return name.parse().ok().filter(|number| *number <= group_names.len()).into_iter().collect();
    }
    group_names.iter().zip(1..).filter(|(it, _)| *it == name).map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::pattern::Pattern;

    #[test]
    fn expands_as_go() {
        let check = |pattern: &str, text: &str, template: &str, want: &str| {
            let pattern = Pattern::new(pattern).unwrap();
            let mut slots = Slots::new();
            assert!(pattern.find(text, &mut slots), "{pattern:?} on {text:?}");
            let mut out = String::new();
            Template::new(template, pattern.group_names()).expand(text, &slots, &mut out);
            assert_eq!(out, want, "{template:?}");
        };
        let (pattern, text) = ("(a)(b)?(?P<c_1>c)", "ac");
        check(pattern, text, "", "");
        check(pattern, text, "plain", "plain");
        check(pattern, text, "$0-$1-$2-$3-$4", "ac-a--c-");
        check(pattern, text, "${0}${1}x${2}${3}y${04}", "acaxcy");
        check(pattern, text, "$c_1 ${c_1} $c", "c c ");
        // The longest name counts.
        check(pattern, text, "$1x|$1_|${1}x", "||ax");
        check(pattern, text, "$$1 $$$1 $$$$", "$1 $a $$");
        check(pattern, text, "${1 ${} $ ${-} $- a$", "${1 ${} $ ${-} $- a$");
        check(pattern, text, "$01 $1é ${1}é $1² $999999999999999999999", "  aé a² ");
        check("(?P<n>a)|(?P<n>b)|(?P<1x>c)", "b", "<$n>", "<b>");
        check("(?P<n>a)|(?P<n>b)|(?P<1x>c)", "c", "<$n$1x>", "<c>");
    }
}
