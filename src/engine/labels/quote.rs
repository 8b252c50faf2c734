//! Text as Go sees it: quoted strings for messages and pages, case mapping rune by rune, what a letter is.
//!
//! Prometheus' output is compared byte for byte by people's scripts, so Go's tables decide, not Rust's `Debug`.

use regex_syntax::hir::{ClassUnicode, HirKind};
use std::fmt::{self, Write};
use std::sync::OnceLock;

/// Shows text as Go's `%q` (`strconv.Quote`) does.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        self.0.chars().try_for_each(|c| write_escaped(f, c, '"'))?;
        f.write_char('"')
    }
}

/// Shows a character as Go's `%q` (`strconv.QuoteRune`) does; `None` is the end of a text.
#[derive(Clone, Copy, Debug)]
pub struct QuotedChar(pub Option<char>);

impl fmt::Display for QuotedChar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('\'')?;
        write_escaped(f, self.0.unwrap_or(char::REPLACEMENT_CHARACTER), '\'')?;
        f.write_char('\'')
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, c: char, quote: char) -> fmt::Result {
    match c {
        c if c == quote => write!(f, "\\{quote}"),
        '\\' => f.write_str("\\\\"),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        c if is_printable(c) => f.write_char(c),
        c if c < '\u{80}' => write!(f, "\\x{:02x}", u32::from(c)),
        c if c < '\u{10000}' => write!(f, "\\u{:04x}", u32::from(c)),
        c => write!(f, "\\U{:08x}", u32::from(c)),
    }
}

/// Go's `unicode.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII space.
fn is_printable(c: char) -> bool {
    static CLASS: OnceLock<ClassUnicode> = OnceLock::new();

    if c.is_ascii() {
        return c == ' ' || c.is_ascii_graphic();
    }
    contains(CLASS.get_or_init(|| class(r"[\pL\pM\pN\pP\pS]")), c)
}

/// Go's `unicode.IsLetter` or `unicode.IsDigit`.
pub(in crate::labels) fn is_letter_or_digit(c: char) -> bool {
    static CLASS: OnceLock<ClassUnicode> = OnceLock::new();

    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    contains(CLASS.get_or_init(|| class(r"[\pL\p{Nd}]")), c)
}

/// The tables are those that patterns need anyway.
fn class(pattern: &str) -> ClassUnicode {
    match regex_syntax::parse(pattern).map(|it| it.into_kind()) {
        Ok(HirKind::Class(regex_syntax::hir::Class::Unicode(class))) => class,
        _ => ClassUnicode::empty(),
    }
}

fn contains(class: &ClassUnicode, c: char) -> bool {
    let idx = class.ranges().partition_point(|range| range.end() < c);
    class.ranges().get(idx).is_some_and(|range| range.start() <= c)
}

/// Appends `text` in lower case as Go's `strings.ToLower` does: one character for one character.
pub(crate) fn push_lowercase(out: &mut String, text: &str) {
    for c in text.chars() {
        let mut mapped = c.to_lowercase();
        match (mapped.next(), mapped.next()) {
            (Some(lower), None) => out.push(lower),
            // The only character whose full mapping is longer than one.
            _ if c == '\u{130}' => out.push('i'),
            _ => out.push(c),
        }
    }
}

/// Appends `text` in upper case as Go's `strings.ToUpper` does: one character for one character, so `ß` stays.
pub(crate) fn push_uppercase(out: &mut String, text: &str) {
    for c in text.chars() {
        let mut mapped = c.to_uppercase();
        match (mapped.next(), mapped.next()) {
            (Some(upper), None) => out.push(upper),
            _ => out.push(simple_uppercase(c)),
        }
    }
}

/// The one-character mapping (field 12 of UnicodeData.txt) of a character whose full mapping is longer: only Greek
/// letters with a iota below have one.
fn simple_uppercase(c: char) -> char {
    let distance = match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => 0,
    };
    char::from_u32(u32::from(c) + distance).unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go() {
        let check = |text: &str, want: &str| assert_eq!(Quoted(text).to_string(), want, "{text:?}");
        check("", r#""""#);
        check("a b", r#""a b""#);
        check("a\"b\\c", r#""a\"b\\c""#);
        check("\x07\x08\x0c\n\r\t\x0b\x00\x1f\x7f", r#""\a\b\f\n\r\t\v\x00\x1f\x7f""#);
        check("äß€😀", r#""äß€😀""#);
        // A combining mark prints; no-break space, soft hyphen, private use and unassigned do not.
        check("e\u{301}", "\"e\u{301}\"");
        check("\u{a0}\u{ad}\u{e000}\u{10ffff}", r#""\u00a0\u00ad\ue000\U0010ffff""#);
        check("\u{85}\u{fffd}", "\"\\u0085\u{fffd}\"");
        let chars = [Some('"'), Some('\''), Some('\n'), None].map(|c| QuotedChar(c).to_string());
        assert_eq!(chars, ["'\"'", "'\\''", "'\\n'", "'\u{fffd}'"]);
    }

    #[test]
    fn maps_case_one_character_for_one() {
        let check = |text: &str, want_lower: &str, want_upper: &str| {
            let (mut lower, mut upper) = (String::new(), String::new());
            push_lowercase(&mut lower, text);
            push_uppercase(&mut upper, text);
            assert_eq!((lower.as_str(), upper.as_str()), (want_lower, want_upper), "{text:?}");
        };
        check("bAr123Foo", "bar123foo", "BAR123FOO");
        check("straße", "straße", "STRAßE");
        check("İ", "i", "İ");
        // No final sigma: Go maps each letter by itself.
        check("ΟΔΟΣ", "οδοσ", "ΟΔΟΣ");
        check("ﬀŉǰ", "ﬀŉǰ", "ﬀŉǰ");
        check("\u{1f80}\u{1fb3}\u{1fa7}", "\u{1f80}\u{1fb3}\u{1fa7}", "\u{1f88}\u{1fbc}\u{1faf}");
        check("\u{1f88}", "\u{1f80}", "\u{1f88}");
    }
}
