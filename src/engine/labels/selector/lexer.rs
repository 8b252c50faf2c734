//! The words of PromQL (`promql/parser/lex.go`), one by one, with one to look ahead.
//!
//! Knows which words there are, not what may stand beside what.

use crate::labels::quote::{Quoted, QuotedChar};
use crate::labels::selector::error::ParseError;
use std::fmt;

/// What kind of word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Kind {
    End,
    Comma,
    Colon,
    At,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
    /// `=`, which compares outside of braces in no expression.
    Equal,
    NotEqual,
    Like,
    NotLike,
    /// `+`, `<=`, `and` and the like; `=` and `!=` are words of their own.
    Operator,
    Aggregator,
    /// `by`, `offset` and the like.
    Keyword,
    /// `start` and `end`.
    Preprocessor,
    Identifier,
    /// An identifier with a colon.
    MetricIdentifier,
    Number,
    Duration,
    String,
}

/// A word and its place.
#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Where it starts, in bytes.
    pub start: usize,
    /// As it is written.
    pub text: &'a str,
}

/// As errors name it (`Item.desc`).
impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::End => return f.write_str("end of input"),
            Kind::Operator | Kind::Equal | Kind::NotEqual | Kind::Like | Kind::NotLike => {
                return write!(f, "<op:{}>", self.text);
            }
            Kind::Aggregator => return write!(f, "<aggr:{}>", self.text),
            Kind::Keyword => return write!(f, "<{}>", self.text),
            Kind::Identifier => return write!(f, "identifier {}", Quoted(self.text)),
            Kind::MetricIdentifier => return write!(f, "metric identifier {}", Quoted(self.text)),
            Kind::Number => "number ",
            Kind::Duration => "duration ",
            Kind::String => "string ",
            _ => "",
        };
        f.write_str(kind)?;
        match self.text.char_indices().nth(SHOWN_CHARS) {
            Some((end, _)) if self.text.len() > SHOWN_CHARS => {
                write!(f, "{}...", Quoted(self.text.get(..end).unwrap_or_default()))
            }
            _ => write!(f, "{}", Quoted(self.text)),
        }
    }
}

/// Characters of a long word that errors show.
const SHOWN_CHARS: usize = 10;

const AGGREGATORS: [&str; 14] = [
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "limit_ratio",
    "limitk",
    "max",
    "min",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
];
const KEYWORDS: [&str; 8] =
    ["bool", "by", "group_left", "group_right", "ignoring", "offset", "on", "without"];
const SET_OPERATORS: [&str; 4] = ["and", "atan2", "or", "unless"];

/// Reads the words of a text.
#[derive(Clone, Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
    paren_depth: usize,
    is_in_braces: bool,
    is_in_brackets: bool,
    has_colon: bool,
    ahead: Option<Token<'a>>,
}

impl<'a> Lexer<'a> {
    /// At the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            paren_depth: 0,
            is_in_braces: false,
            is_in_brackets: false,
            has_colon: false,
            ahead: None,
        }
    }

    /// The next word, which stays.
    ///
    /// # Errors
    /// There are no such words.
    pub fn peek(&mut self) -> Result<Token<'a>, ParseError> {
        match self.ahead {
            Some(token) => Ok(token),
            None => {
                let token = self.read()?;
                self.ahead = Some(token);
                Ok(token)
            }
        }
    }

    /// The next word.
    ///
    /// # Errors
    /// As [`Lexer::peek`].
    pub fn advance(&mut self) -> Result<Token<'a>, ParseError> {
        let token = self.peek()?;
        self.ahead = None;
        Ok(token)
    }

    /// The next word if it is of this kind.
    ///
    /// # Errors
    /// As [`Lexer::peek`].
    pub fn take(&mut self, kind: Kind) -> Result<Option<Token<'a>>, ParseError> {
        if self.peek()?.kind == kind { self.advance().map(Some) } else { Ok(None) }
    }

    /// A mistake at a word.
    pub fn error_at(&self, offset: usize, reason: impl Into<String>) -> ParseError {
        ParseError::new(self.text, offset, reason)
    }

    /// The next word does not belong here. Empty: it is not known in what, or what should stand there.
    pub fn unexpected(&mut self, context: &str, expected: &str) -> ParseError {
        let token = match self.peek() {
            Ok(token) => token,
            Err(error) => return error,
        };
        let mut reason = format!("unexpected {token}");
        if !context.is_empty() {
            reason = format!("{reason} in {context}");
        }
        if !expected.is_empty() {
            reason = format!("{reason}, expected {expected}");
        }
        self.error_at(token.start, reason)
    }

    /// What a word of kind [`Kind::String`] means.
    ///
    /// # Errors
    /// Its escapes make no UTF-8.
    pub fn unquoted(&self, token: Token<'a>) -> Result<String, ParseError> {
        unquoted(token.text).ok_or_else(|| {
            self.error_at(
                token.start,
                format!("error unquoting string {}: invalid syntax", Quoted(token.text)),
            )
        })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// A word that ends `len` bytes from here.
    fn token(&mut self, kind: Kind, len: usize) -> Token<'a> {
        let start = self.at;
        self.at += len;
        Token { kind, start, text: self.text.get(start..self.at).unwrap_or_default() }
    }

    fn read(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip_space_and_comments();
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            let reason = match () {
                () if self.is_in_braces => "unexpected end of input inside braces",
                () if self.paren_depth > 0 => "unclosed left parenthesis",
                () if self.is_in_brackets => "unclosed left bracket",
                () => return Ok(self.token(Kind::End, 0)),
            };
            return Err(self.error_at(self.at, reason));
        };
        if matches!(first, '"' | '\'' | '`') {
            return self.string(first);
        }
        if self.is_in_braces { self.read_in_braces(first) } else { self.read_outside(first) }
    }

    fn read_in_braces(&mut self, first: char) -> Result<Token<'a>, ParseError> {
        let rest = self.rest();
        Ok(match first {
            c if is_alpha(c) => self.token(Kind::Identifier, word_len(rest, is_alphanumeric)),
            ',' => self.token(Kind::Comma, 1),
            '=' if rest.starts_with("=~") => self.token(Kind::Like, 2),
            '=' => self.token(Kind::Equal, 1),
            '!' if rest.starts_with("!~") => self.token(Kind::NotLike, 2),
            '!' if rest.starts_with("!=") => self.token(Kind::NotEqual, 2),
            '!' => {
                let next = QuotedChar(rest.chars().nth(1));
                return Err(
                    self.error_at(self.at, format!("unexpected character after '!' inside braces: {next}"))
                );
            }
            '{' => return Err(self.error_at(self.at, "unexpected left brace '{'")),
            '}' => {
                self.is_in_braces = false;
                self.token(Kind::RightBrace, 1)
            }
            c => {
                let reason = format!("unexpected character inside braces: {}", QuotedChar(Some(c)));
                return Err(self.error_at(self.at, reason));
            }
        })
    }

    fn read_outside(&mut self, first: char) -> Result<Token<'a>, ParseError> {
        let rest = self.rest();
        let second = rest.chars().nth(1);
        Ok(match first {
            ',' => self.token(Kind::Comma, 1),
            '*' | '/' | '%' | '+' | '-' | '^' => self.token(Kind::Operator, 1),
            '=' if second == Some('=') => self.token(Kind::Operator, 2),
            '=' if second == Some('~') => {
                return Err(self.error_at(self.at, "unexpected character after '=': '~'"));
            }
            '=' => self.token(Kind::Equal, 1),
            '!' if second == Some('=') => self.token(Kind::NotEqual, 2),
            '!' => {
                let reason = format!("unexpected character after '!': {}", QuotedChar(second));
                return Err(self.error_at(self.at, reason));
            }
            '<' | '>' => self.token(Kind::Operator, if second == Some('=') { 2 } else { 1 }),
            c if c.is_ascii_digit() || (c == '.' && second.is_some_and(|c| c.is_ascii_digit())) => {
                return self.number_or_duration();
            }
            ':' if self.is_in_brackets => {
                if self.has_colon {
                    return Err(self.error_at(self.at, "unexpected colon ':'"));
                }
                self.has_colon = true;
                self.token(Kind::Colon, 1)
            }
            c if is_alpha(c) || c == ':' => self.word(),
            '(' => {
                self.paren_depth += 1;
                self.token(Kind::LeftParen, 1)
            }
            ')' if self.paren_depth == 0 => {
                return Err(self.error_at(self.at + 1, "unexpected right parenthesis ')'"));
            }
            ')' => {
                self.paren_depth -= 1;
                self.token(Kind::RightParen, 1)
            }
            '{' => {
                self.is_in_braces = true;
                self.token(Kind::LeftBrace, 1)
            }
            '[' if self.is_in_brackets => return Err(self.error_at(self.at, "unexpected left bracket '['")),
            '[' => {
                self.is_in_brackets = true;
                self.has_colon = false;
                self.token(Kind::LeftBracket, 1)
            }
            ']' if !self.is_in_brackets => {
                return Err(self.error_at(self.at, "unexpected right bracket ']'"));
            }
            ']' => {
                self.is_in_brackets = false;
                self.token(Kind::RightBracket, 1)
            }
            '@' => self.token(Kind::At, 1),
            c => {
                let reason = format!("unexpected character: {}", QuotedChar(Some(c)));
                return Err(self.error_at(self.at, reason));
            }
        })
    }

    fn word(&mut self) -> Token<'a> {
        let len = word_len(self.rest(), |c| is_alphanumeric(c) || c == ':');
        let word = self.rest().get(..len).unwrap_or_default().to_ascii_lowercase();
        let kind = match word.as_str() {
            "inf" | "nan" => Kind::Number,
            "start" | "end" => Kind::Preprocessor,
            word if AGGREGATORS.contains(&word) => Kind::Aggregator,
            word if KEYWORDS.contains(&word) => Kind::Keyword,
            word if SET_OPERATORS.contains(&word) => Kind::Operator,
            word if word.contains(':') => Kind::MetricIdentifier,
            _ => Kind::Identifier,
        };
        self.token(kind, len)
    }

    fn number_or_duration(&mut self) -> Result<Token<'a>, ParseError> {
        let rest = self.rest();
        let is_sign_of_exponent = |before: Option<&u8>, byte: u8| {
            matches!(byte, b'+' | b'-') && matches!(before, Some(b'e' | b'E')) && !rest.starts_with("0x")
        };
        let bytes = rest.as_bytes();
        let mut len = 0;
        while let Some(byte) = bytes.get(len) {
            let before = len.checked_sub(1).and_then(|idx| bytes.get(idx));
            if !byte.is_ascii_alphanumeric()
                && !matches!(byte, b'.' | b'_')
                && !is_sign_of_exponent(before, *byte)
            {
                break;
            }
            len += 1;
        }
        let word = rest.get(..len).unwrap_or_default();
        if number(word).is_some() {
            return Ok(self.token(Kind::Number, len));
        }
        let n_read = duration_len(word);
        if n_read == len {
            return Ok(self.token(Kind::Duration, len));
        }
        // As far as it was understood.
        let read = word.get(..n_read).unwrap_or_default();
        Err(self.error_at(self.at, format!("bad number or duration syntax: {}", Quoted(read))))
    }

    /// A quoted text, whose escapes are looked at here and unfolded by [`unquoted`].
    fn string(&mut self, quote: char) -> Result<Token<'a>, ParseError> {
        let mut chars = self.rest().char_indices().skip(1);
        loop {
            match chars.next() {
                Some((at, c)) if c == quote => return Ok(self.token(Kind::String, at + 1)),
                None if quote == '`' => return Err(self.error_at(self.at, "unterminated raw string")),
                None | Some((_, '\n')) if quote != '`' => {
                    return Err(self.error_at(self.at, "unterminated quoted string"));
                }
                Some((_, '\\')) if quote != '`' => {
                    let mut next = || chars.next().map(|(_, c)| c);
                    if let Err(reason) = look_at_escape(quote, &mut next) {
                        return Err(self.error_at(self.at, reason));
                    }
                }
                _ => {}
            }
        }
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            let rest = self.rest().trim_start_matches([' ', '\t', '\n', '\r']);
            let rest = match rest.strip_prefix('#') {
                Some(comment) => comment.trim_start_matches(|c| c != '\n' && c != '\r'),
                None => rest,
            };
            let at = self.text.len() - rest.len();
            if at == self.at {
                return;
            }
            self.at = at;
        }
    }
}

/// Passes over the escape behind a backslash (`lexEscape`).
fn look_at_escape(quote: char, next: &mut dyn FnMut() -> Option<char>) -> Result<(), String> {
    let not_ended = || "escape sequence not terminated".to_owned();
    let first = next().ok_or_else(not_ended)?;
    let (mut digit, n_digits, radix) = match first {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' => return Ok(()),
        c if c == quote => return Ok(()),
        '0'..='7' => (Some(first), 3, 8),
        'x' => (next(), 2, 16),
        'u' => (next(), 4, 16),
        'U' => (next(), 8, 16),
        c => return Err(format!("unknown escape sequence {}", code_point(c))),
    };
    let mut code = 0;
    for left in (0..n_digits).rev() {
        let c = digit.ok_or_else(not_ended)?;
        let value = c
            .to_digit(radix)
            .ok_or_else(|| format!("illegal character {} in escape sequence", code_point(c)))?;
        code = code * radix + value;
        if left > 0 {
            digit = next();
        }
    }
    let is_valid = match n_digits {
        2 | 3 => code <= 0xff,
        _ => char::from_u32(code).is_some(),
    };
    if is_valid { Ok(()) } else { Err("escape sequence is an invalid Unicode code point".to_owned()) }
}

/// Go's `%#U`.
fn code_point(c: char) -> String {
    format!("U+{:04X} '{c}'", u32::from(c))
}

/// What a quoted text means whose escapes are right; `None` if they make no UTF-8.
fn unquoted(quoted: &str) -> Option<String> {
    let mut chars = quoted.chars();
    let quote = chars.next()?;
    let inside = chars.as_str().strip_suffix(quote)?;
    if quote == '`' {
        return Some(inside.to_owned());
    }
    let mut bytes = Vec::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escaped = chars.next()?;
        let mut code = |first: &str, n_digits: usize, radix: u32| {
            let digits = first.chars().chain(chars.by_ref().take(n_digits));
            digits.fold(0, |code, digit| code * radix + digit.to_digit(radix).unwrap_or_default())
        };
        let byte = |code: u32| u8::try_from(code).ok();
        bytes.push(match escaped {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0c,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0b,
            'x' => byte(code("", 2, 16))?,
            c @ '0'..='7' => byte(code(c.encode_utf8(&mut [0; 4]), 2, 8))?,
            long @ ('u' | 'U') => {
                let c = char::from_u32(code("", if long == 'u' { 4 } else { 8 }, 16))?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            c => byte(u32::from(c))?,
        });
    }
    String::from_utf8(bytes).ok()
}

/// The value of a number as it may stand in an expression (`parser.number`).
pub fn number(word: &str) -> Option<f64> {
    let lower = word.to_ascii_lowercase();
    let bare: String = lower.chars().filter(|c| *c != '_').collect();
    if lower.starts_with('_') || lower.ends_with('_') || lower.contains("__") {
        return None;
    }
    if let Some(digits) = bare.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok().map(|number| number as f64);
    }
    let is_octal = bare.len() > 1 && bare.starts_with('0') && bare.bytes().all(|byte| byte.is_ascii_digit());
    if is_octal && let Ok(number) = i64::from_str_radix(&bare, 8) {
        return Some(number as f64);
    }
    if bare != "inf" && bare != "nan" && !bare.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    crate::float::parse(bare.as_bytes()).ok()
}

/// How many bytes of `1h30m` are numbers, each with a unit, the last perhaps without; which units may follow which is
/// known by who reads it. A whole word is one only if it ends with a unit.
fn duration_len(word: &str) -> usize {
    let mut rest = word;
    loop {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let has_number = unit.len() < rest.len();
        let Some(after) = unit.strip_prefix(['s', 'm', 'h', 'd', 'w', 'y']).filter(|_| has_number) else {
            // One character behind a unit is looked at.
            let n_looked_at = if has_number || rest.len() == word.len() { 0 } else { 1 };
            let n_read = word.len() - unit.len() + n_looked_at;
            return n_read.min(word.len().saturating_sub(usize::from(has_number && unit.is_empty())));
        };
        rest = after.strip_prefix('s').unwrap_or(after);
        if rest.is_empty() {
            return word.len();
        }
    }
}

fn word_len(rest: &str, is_part: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !is_part(c)).unwrap_or(rest.len())
}

fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}

fn is_alphanumeric(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}
