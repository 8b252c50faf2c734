//! What was typed in a YAML document, as a tree: raw scalar texts, whether they were quoted, and the line of each.
//!
//! A scalar has no type of its own here, since what `1.10` or `yes` means depends on the field it is given to. The
//! methods read it the way Go's yaml.v2, Prometheus' reader, resolves it (`resolve.go`, `decode.go`).

use std::fmt::{self, Display, Formatter};

/// A value in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Line of its first scalar, from 1; 0 where the parser keeps none (an empty value, a block text).
    pub line: u32,
}

/// The kinds of [`Node`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Any other scalar.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the text, repeated keys included.
    Map(Vec<Entry>),
}

/// A scalar as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text, escapes and folding resolved.
    pub text: String,
    /// Typed without quotes, so that it may be read as a boolean or a number.
    pub plain: bool,
}

/// One key of a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key; an empty one reads as the empty text.
    pub key: String,
    /// Its line, from 1; 0 where the parser keeps none.
    pub line: u32,
    /// It came from another mapping, by `<<`.
    pub merged: bool,
    /// Its value.
    pub node: Node,
}

/// Why a text is not YAML, or more than this program reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// From 1; 0 when it is about the whole text.
    pub line: u32,
    /// The sentence, without the line.
    pub sentence: String,
}

impl Display for YamlError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.sentence),
            line => write!(f, "line {line}: {}", self.sentence),
        }
    }
}

impl std::error::Error for YamlError {}

impl Node {
    /// For sentences: `a list`, `a mapping`, `nothing`, `a text`.
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar(_) => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl Scalar {
    /// `true`, `yes`, `on`, `y` and their opposites, in the three spellings that Go's yaml.v2 knows.
    pub fn as_bool(&self) -> Option<bool> {
        if !self.plain {
            return None;
        }
        match self.text.as_str() {
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true),
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
                Some(false)
            }
            _ => None,
        }
    }

    /// A whole number that is not negative: `10`, `1_000`, `0x1F`, `017`, `0o17`, `0b11`, and floats cut off (`1e3`).
    pub fn as_u64(&self) -> Option<u64> {
        if !self.plain {
            return None;
        }
        if let Some(number) = self.as_go_int() {
            return u64::try_from(number).ok();
        }
        let number = self.as_f64()?;
        (number >= 0.0 && number < u64::MAX as f64).then_some(number as u64)
    }

    /// Any number that Go's yaml.v2 takes for a float or an integer.
    pub fn as_f64(&self) -> Option<f64> {
        if !self.plain {
            return None;
        }
        match self.text.as_str() {
            ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
            _ => {}
        }
        if let Some(number) = self.as_go_int() {
            return Some(number as f64);
        }
        let digits = self.text.replace('_', "");
        let starts_like_number =
            digits.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
        let only_float_characters = digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
        if !starts_like_number || !only_float_characters {
            return None;
        }
        digits.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// Go's `strconv.ParseInt(text, 0, 64)` after underscores are taken out: a leading 0 means octal.
    fn as_go_int(&self) -> Option<i128> {
        if !self.text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-')) {
            return None;
        }
        let digits = self.text.replace('_', "");
        let (negative, magnitude) = match digits.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
        };
        let lower = magnitude.to_ascii_lowercase();
        let (radix, text) = match lower.as_bytes() {
            [b'0', b'x', ..] => (16, &lower[2..]),
            [b'0', b'o', ..] => (8, &lower[2..]),
            [b'0', b'b', ..] => (2, &lower[2..]),
            [b'0', _, ..] => (8, &lower[1..]),
            _ => (10, lower.as_str()),
        };
        if text.starts_with(['+', '-']) {
            return None;
        }
        let number = i128::from(u64::from_str_radix(text, radix).ok()?);
        Some(if negative { -number } else { number })
    }

    /// True if a plain scalar of this text would be read as something else than a text.
    pub fn needs_quotes(&self) -> bool {
        let plain = Self { text: self.text.clone(), plain: true };
        matches!(plain.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            || plain.as_bool().is_some()
            || plain.as_f64().is_some()
            || is_go_timestamp(&plain.text)
    }
}

/// The timestamps of Go's yaml.v2, roughly: anything that starts `2006-1-2`, with a time or not.
fn is_go_timestamp(text: &str) -> bool {
    let (date, time) =
        text.split_once(['T', 't', ' ']).map_or((text, None), |(date, time)| (date, Some(time)));
    let fields: Vec<&str> = date.split('-').collect();
    let [year, month, day] = fields[..] else { return false };
    let number = |field: &str, max_len: usize| -> Option<u32> {
        let all_digits =
            !field.is_empty() && field.len() <= max_len && field.bytes().all(|byte| byte.is_ascii_digit());
        if all_digits { field.parse().ok() } else { None }
    };
    let date_is_good = year.len() == 4
        && number(year, 4).is_some()
        && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day));
    date_is_good && time.is_none_or(|time| time.split(':').count() >= 3)
}

#[cfg(test)]
mod tests {
    use super::Scalar;

    fn plain(text: &str) -> Scalar {
        Scalar { text: text.to_owned(), plain: true }
    }

    #[test]
    fn plain_scalars_are_read_as_go_reads_them() {
        for (text, number) in [
            ("10", Some(10)),
            ("+5", Some(5)),
            ("1_000", Some(1000)),
            ("0x1F", Some(31)),
            ("0X1f", Some(31)),
            ("010", Some(8)),
            ("0o17", Some(15)),
            ("0b11", Some(3)),
            ("1e3", Some(1000)),
            ("1.9", Some(1)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("10k", None),
            ("1:30", None),
            (".inf", None),
            (".nan", None),
            ("inf", None),
            ("", None),
            ("0x", None),
            ("--1", None),
        ] {
            assert_eq!(plain(text).as_u64(), number, "{text}");
        }
        assert_eq!(plain("1.10").as_f64(), Some(1.1));
        assert_eq!(plain("Infinity").as_f64(), None);
        assert_eq!(plain("Yes").as_bool(), Some(true));
        assert_eq!(plain("oFF").as_bool(), None);
    }

    #[test]
    fn quoted_scalars_are_only_texts() {
        let quoted = Scalar { text: "1".to_owned(), plain: false };
        assert_eq!((quoted.as_u64(), quoted.as_f64()), (None, None));
        let quoted = Scalar { text: "true".to_owned(), plain: false };
        assert_eq!(quoted.as_bool(), None);
    }

    #[test]
    fn texts_that_would_change_their_meaning_need_quotes() {
        for text in
            ["", "~", "null", "y", "No", "12", "1e3", "0x1", ".inf", "2020-01-01", "2020-1-2 10:00:00"]
        {
            assert!(plain(text).needs_quotes(), "{text}");
        }
        for text in
            ["a", "1.2.3.4", "12:30", "1m", "2020-13-01", "192.168.0.1:80", "nullable", "1e", "-", "2020-01"]
        {
            assert!(!plain(text).needs_quotes(), "{text}");
        }
    }
}
