//! Character classes and escapes of RE2's syntax: `[...]`, `\d`, `\pL`, `[[:alpha:]]`, `\x{..}`.
//!
//! A class is collected range by range, each one folded as it comes if the pattern ignores case, as Go does it.

use crate::labels::re2::{SyntaxError, until};
use regex_syntax::hir::{self, ClassUnicode, ClassUnicodeRange, Hir, HirKind};

/// Largest code point.
const MAX_CODE_POINT: u32 = 0x10_ffff;

/// A set of characters being collected.
#[derive(Debug)]
pub(super) struct Class(ClassUnicode);

impl Class {
    fn empty() -> Self {
        Self(ClassUnicode::empty())
    }

    /// The characters between two code points, which may be surrogates.
    pub(super) fn of(first: u32, last: u32, fold_case: bool) -> Self {
        let mut class = ClassUnicode::empty();
        let first = char::from_u32(first).unwrap_or('\u{e000}');
        let last = char::from_u32(last).unwrap_or('\u{d7ff}');
        if first <= last {
            class.push(ClassUnicodeRange::new(first, last));
        }
        Self(class).folded(fold_case)
    }

    pub(super) fn into_hir(self) -> Hir {
        Hir::class(hir::Class::Unicode(self.0))
    }

    fn folded(mut self, fold_case: bool) -> Self {
        if fold_case {
            self.0.case_fold_simple();
        }
        self
    }

    fn negated(mut self, is_negated: bool) -> Self {
        if is_negated {
            self.0.negate();
        }
        self
    }

    fn add(&mut self, other: &Self) {
        self.0.union(&other.0);
    }
}

/// A class in brackets at the start of `text`, and what follows it.
pub(super) fn bracketed(text: &str, fold_case: bool) -> Result<(Class, &str), SyntaxError> {
    let mut rest = &text[1..];
    let is_negated = rest.starts_with('^');
    if is_negated {
        rest = &rest[1..];
    }
    let mut class = Class::empty();
    let mut is_first = true;
    // A bracket that comes first is a character.
    while is_first || !rest.starts_with(']') {
        is_first = false;
        let group = match posix(rest, fold_case)? {
            Some(group) => Some(group),
            None => escaped(rest, fold_case)?,
        };
        if let Some((group, after)) = group {
            class.add(&group);
            rest = after;
            continue;
        }
        let before = rest;
        let (first, after) = class_char(rest, text)?;
        rest = after;
        let mut last = first;
        if let Some(after) = rest.strip_prefix('-').filter(|it| !it.is_empty() && !it.starts_with(']')) {
            (last, rest) = class_char(after, text)?;
            if last < first {
                return Err(SyntaxError::new("invalid character class range", until(before, rest)));
            }
        }
        class.add(&Class::of(first, last, fold_case));
    }
    Ok((class.negated(is_negated), &rest[1..]))
}

/// A class written as an escape (`\d`, `\pL`, `\p{Greek}`) at the start of `text`.
pub(super) fn escaped(text: &str, fold_case: bool) -> Result<Option<(Class, &str)>, SyntaxError> {
    let Some(after) = text.strip_prefix('\\') else { return Ok(None) };
    let Some(letter) = after.chars().next() else { return Ok(None) };
    let ranges: &[(char, char)] = match letter.to_ascii_lowercase() {
        'd' => &[('0', '9')],
        's' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
        'w' => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        'p' => return unicode(text, fold_case).map(Some),
        _ => return Ok(None),
    };
    let class = ascii(ranges, fold_case).negated(letter.is_ascii_uppercase());
    Ok(Some((class, &after[1..])))
}

/// A character written as an escape at the start of `text`, as a code point that may be a surrogate.
pub(super) fn escaped_char(text: &str) -> Result<(u32, &str), SyntaxError> {
    let mut chars = text[1..].chars();
    let Some(c) = chars.next() else {
        return Err(SyntaxError::new("trailing backslash at end of expression", ""));
    };
    let rest = chars.as_str();
    let code_point = match c {
        'a' => 0x07,
        'f' => 0x0c,
        'n' => 0x0a,
        'r' => 0x0d,
        't' => 0x09,
        'v' => 0x0b,
        'x' => return hexadecimal(text),
        // A single digit other than zero would refer back to a group, which RE2 does not have.
        '0' => return Ok(octal(&text[1..])),
        '1'..='7' if rest.starts_with(|it| matches!(it, '0'..='7')) => return Ok(octal(&text[1..])),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => u32::from(c),
        _ => return Err(SyntaxError::new("invalid escape sequence", until(text, rest))),
    };
    Ok((code_point, rest))
}

fn octal(text: &str) -> (u32, &str) {
    let len = text.bytes().take(3).take_while(|it| matches!(it, b'0'..=b'7')).count();
    let (digits, rest) = text.split_at(len);
    (u32::from_str_radix(digits, 8).unwrap_or_default(), rest)
}

/// `\x7f` or `\x{10ffff}`.
fn hexadecimal(text: &str) -> Result<(u32, &str), SyntaxError> {
    let mut chars = text[2..].chars();
    let mut next_digit = || {
        let c = chars.next();
        (c, c.and_then(|it| it.to_digit(16)), chars.as_str())
    };
    let (first, digit, mut rest) = next_digit();
    if first != Some('{') {
        let (_, second_digit, rest) = if first.is_some() { next_digit() } else { (None, None, rest) };
        return match (digit, second_digit) {
            (Some(high), Some(low)) => Ok((high * 16 + low, rest)),
            _ => Err(SyntaxError::new("invalid escape sequence", until(text, rest))),
        };
    }
    let mut code_point = None;
    loop {
        let (c, digit, after) = next_digit();
        rest = after;
        match (c, digit, code_point) {
            (Some('}'), _, Some(code_point)) => return Ok((code_point, rest)),
            (_, Some(digit), _) => {
                let value = code_point.unwrap_or(0) * 16 + digit;
                if value <= MAX_CODE_POINT {
                    code_point = Some(value);
                    continue;
                }
            }
            _ => {}
        }
        return Err(SyntaxError::new("invalid escape sequence", until(text, rest)));
    }
}

/// One end of a range inside brackets; `class` is the text from the opening bracket on.
fn class_char<'t>(text: &'t str, class: &str) -> Result<(u32, &'t str), SyntaxError> {
    match text.chars().next() {
        None => Err(SyntaxError::new("missing closing ]", class)),
        Some('\\') => escaped_char(text),
        Some(c) => Ok((u32::from(c), &text[c.len_utf8()..])),
    }
}

/// `[:alpha:]` or `[:^alpha:]`, inside brackets.
fn posix(text: &str, fold_case: bool) -> Result<Option<(Class, &str)>, SyntaxError> {
    let Some((name, rest)) = text.strip_prefix("[:").and_then(|it| it.split_once(":]")) else {
        return Ok(None);
    };
    let is_negated = name.starts_with('^');
    let ranges: &[(char, char)] = match name.strip_prefix('^').unwrap_or(name) {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return Err(SyntaxError::new("invalid character class range", until(text, rest))),
    };
    Ok(Some((ascii(ranges, fold_case).negated(is_negated), rest)))
}

fn ascii(ranges: &[(char, char)], fold_case: bool) -> Class {
    let ranges = ranges.iter().map(|(first, last)| ClassUnicodeRange::new(*first, *last));
    Class(ClassUnicode::new(ranges)).folded(fold_case)
}

/// `\pL`, `\p{Greek}`, `\p{^Greek}` and their negations: general categories and scripts.
fn unicode(text: &str, fold_case: bool) -> Result<(Class, &str), SyntaxError> {
    let mut chars = text[2..].chars();
    let (name, rest) = match chars.next() {
        Some('{') => match chars.as_str().split_once('}') {
            Some(parts) => parts,
            None => return Err(SyntaxError::new("invalid character class range", text)),
        },
        _ => (until(&text[2..], chars.as_str()), chars.as_str()),
    };
    let is_negated = text.starts_with("\\P") != name.starts_with('^');
    let part = until(text, rest);
    let class = named(name.strip_prefix('^').unwrap_or(name))
        .ok_or_else(|| SyntaxError::new("invalid character class range", part))?;
    Ok((class.folded(fold_case).negated(is_negated), rest))
}

fn named(name: &str) -> Option<Class> {
    // What `regex` accepts beyond RE2 (`script=Greek`, `isGreek`) has one of these marks.
    let is_plain = name.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b' '));
    let canonical = name.replace(['_', '-', ' '], "").to_ascii_lowercase();
    if !is_plain || canonical.is_empty() || canonical.starts_with("is") {
        return None;
    }
    // Surrogates stand in no text.
    if canonical == "cs" || canonical == "surrogate" {
        return Some(Class::empty());
    }
    match regex_syntax::parse(&format!(r"\p{{{name}}}")).ok()?.into_kind() {
        HirKind::Class(hir::Class::Unicode(class)) => Some(Class(class)),
        // The parser simplifies a class of one character.
        HirKind::Literal(literal) => {
            let c = std::str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(Class::of(u32::from(c), u32::from(c), false))
        }
        _ => None,
    }
}
