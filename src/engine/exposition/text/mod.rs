//! Text format 0.0.4, as Prometheus' `model/textparse/promparse.go` reads it: entries that borrow from the page.
//!
//! A caller that has seen a series' text before says so, and the parser goes on behind it: then a line costs a look
//! at the text, at its value and at nothing else. Everything unusual goes through the lexer.

pub mod lexer;

use crate::exposition::Entry;
use crate::exposition::braces::{Braces, LabelReader};
use crate::exposition::error::{ErrorKind, Expected, ExpositionError, Number, NumberProblem};
use crate::exposition::excerpt::Excerpt;
use crate::exposition::page_cursor::Behind;
use crate::exposition::recall::Recall;
use crate::exposition::text::lexer::{Lexer, State, metric_name_len};
use crate::exposition::token::Token;
use crate::float;
use crate::float::FloatError;
use crate::metric_type::MetricType;
use memchr::memchr;

type Result<T> = std::result::Result<T, ExpositionError>;

/// Reads a page.
#[derive(Clone, Debug)]
pub struct TextParser<'page> {
    lexer: Lexer<'page>,
    /// First byte of the entry being read.
    entry_start: usize,
    /// Of the sample read last.
    series_text: &'page [u8],
    /// Of the last TYPE line.
    metric_type: MetricType,
}

impl<'page> TextParser<'page> {
    /// A parser at the start of `page`.
    pub fn new(page: &'page [u8]) -> Self {
        Self { lexer: Lexer::new(page), entry_start: 0, series_text: b"", metric_type: MetricType::Unknown }
    }

    /// Type of the last TYPE line: what decides how `le` and `quantile` are spelled.
    pub fn metric_type(&self) -> MetricType {
        self.metric_type
    }

    /// Name and labels of the sample read last, as spelled in the page: the key of the scrape cache.
    pub fn series_text(&self) -> &'page [u8] {
        self.series_text
    }

    /// The next entry, or `None` at the end of the page. `known` says what need not be read again.
    ///
    /// # Errors
    /// The page is malformed. Nothing can be read from it any more.
    #[inline(always)]
    pub fn next(&mut self, known: &mut impl Recall) -> Result<Option<Entry<'page>>> {
        let mut rest = self.lexer.rest();
        if rest.first() == Some(&b'\n') {
            self.lexer.pos += rest.iter().take_while(|byte| **byte == b'\n').count();
            rest = self.lexer.rest();
        }
        self.entry_start = self.lexer.pos;
        if rest.first() == Some(&b'#') {
            if let Some(entry) = self.known_metadata(rest, known) {
                return Ok(Some(entry));
            }
        } else if let Some(text_len) = known.series(rest).filter(|len| ends_series_text(rest, *len)) {
            return self.known_series(text_len).map(Some);
        }
        self.unknown_line()
    }

    /// Reads a line, and those without anything in them before it.
    #[inline(never)]
    fn unknown_line(&mut self) -> Result<Option<Entry<'page>>> {
        loop {
            self.entry_start = self.lexer.pos;
            let rest = self.lexer.rest();
            if rest.first() == Some(&b'#')
                && let Some(entry) = self.plain_metadata(rest)
            {
                return Ok(Some(entry));
            }
            return match self.lexer.next_token() {
                Token::Eof => Ok(None),
                // Line feeds, or blanks before one.
                Token::Linebreak => continue,
                Token::Help => self.help().map(Some),
                Token::Type => self.metric_type_line().map(Some),
                Token::Comment => {
                    self.expect_linebreak(Expected::LinebreakAfterComment, Entry::Comment).map(Some)
                }
                Token::BraceOpen => self.braces(Braces::Nameless).map(Some),
                Token::MName => self.named_series().map(Some),
                token => Err(self.unexpected(Expected::LineStart, token)),
            };
        }
    }

    /// A line that the caller knows, at the start of `rest`.
    #[inline]
    fn known_metadata(&mut self, rest: &'page [u8], known: &mut impl Recall) -> Option<Entry<'page>> {
        let line = known.metadata(rest)?;
        let name = line.name_in(rest)?;
        if let Some(metric_type) = line.metric_type {
            self.metric_type = metric_type;
        }
        self.lexer.pos += line.len as usize + 1;
        Some(Entry::KnownMetadata { name, metric_type: line.metric_type })
    }

    /// A HELP or TYPE line as nearly every exporter writes it, at the start of `rest`. `None` says nothing about the
    /// line: the lexer reads it.
    fn plain_metadata(&mut self, rest: &'page [u8]) -> Option<Entry<'page>> {
        let line_len = memchr(b'\n', rest)?;
        let (keyword, behind) = rest.get(..line_len)?.split_at_checked(7)?;
        let name_len = metric_name_len(behind);
        let (name, text) = behind.split_at_checked(name_len).filter(|_| name_len > 0)?;
        let text = text.strip_prefix(b" ")?;
        if matches!(text.first(), None | Some(b' ' | b'\t' | 0)) {
            return None;
        }
        let entry = match keyword {
            b"# HELP " => Entry::Help { name, text: std::str::from_utf8(text).ok()? },
            b"# TYPE " => {
                self.metric_type = metric_type(text)?;
                Entry::Type { name, metric_type: self.metric_type }
            }
            _ => return None,
        };
        self.lexer.pos += line_len + 1;
        Some(entry)
    }

    fn help(&mut self) -> Result<Entry<'page>> {
        let name = self.meta_name(Expected::NameAfterHelp)?;
        let text = self.meta_text()?;
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(self.error(ErrorKind::HelpNotUtf8(Excerpt::new(text))));
        };
        self.expect_linebreak(Expected::LinebreakAfterMetadata, Entry::Help { name, text })
    }

    fn metric_type_line(&mut self) -> Result<Entry<'page>> {
        let name = self.meta_name(Expected::NameAfterType)?;
        let text = self.meta_text()?;
        let Some(metric_type) = metric_type(text) else {
            return Err(self.error(ErrorKind::InvalidMetricType(Excerpt::new(text))));
        };
        self.metric_type = metric_type;
        self.expect_linebreak(Expected::LinebreakAfterMetadata, Entry::Type { name, metric_type })
    }

    fn meta_name(&mut self, expected: Expected) -> Result<&'page [u8]> {
        match self.lexer.next_token() {
            Token::MName => Ok(unquote(self.lexer.token())),
            token => Err(self.unexpected(expected, token)),
        }
    }

    /// The text behind a name and one blank.
    fn meta_text(&mut self) -> Result<&'page [u8]> {
        match self.lexer.next_token() {
            Token::Text => Ok(self.lexer.token().get(1..).unwrap_or_default()),
            token => Err(self.unexpected(Expected::MetadataText, token)),
        }
    }

    fn expect_linebreak(&mut self, expected: Expected, entry: Entry<'page>) -> Result<Entry<'page>> {
        match self.lexer.next_token() {
            Token::Linebreak => Ok(entry),
            token => Err(self.unexpected(expected, token)),
        }
    }

    fn named_series(&mut self) -> Result<Entry<'page>> {
        let text_end = self.lexer.end;
        match self.lexer.next_token() {
            Token::BraceOpen => self.braces(Braces::Named),
            token => self.sample(text_end, token, true),
        }
    }

    /// A series whose opening brace was read last.
    fn braces(&mut self, braces: Braces) -> Result<Entry<'page>> {
        let has_name = self.read_labels(braces)?;
        let text_end = self.lexer.end;
        let token = self.lexer.next_token();
        self.sample(text_end, token, has_name)
    }

    /// Value and timestamp, of which `token` is the first.
    fn sample(&mut self, text_end: usize, token: Token, has_name: bool) -> Result<Entry<'page>> {
        if !has_name {
            return Err(self.error(ErrorKind::NameNotSet(self.so_far())));
        }
        if token != Token::Value {
            return Err(self.unexpected(Expected::Value, token));
        }
        let value = match float::parse(self.lexer.token()) {
            Ok(value) => value,
            Err(FloatError::UnsupportedCharacter) => {
                return Err(self.error(ErrorKind::UnsupportedFloatCharacter(self.so_far())));
            }
            Err(FloatError::Syntax) => return Err(self.invalid_number(Number::Value, NumberProblem::Syntax)),
            Err(FloatError::Range) => return Err(self.invalid_number(Number::Value, NumberProblem::Range)),
        };
        self.series_text = self.lexer.slice(self.entry_start, text_end);
        self.timestamp(false, value)
    }

    fn timestamp(&mut self, known: bool, value: f64) -> Result<Entry<'page>> {
        match self.lexer.next_token() {
            Token::Linebreak => Ok(Entry::Series { known, value, timestamp_ms: None }),
            Token::Timestamp => {
                let Some(timestamp_ms) = parse_timestamp(self.lexer.token()) else {
                    return Err(self.invalid_number(Number::Timestamp, NumberProblem::Range));
                };
                let entry = Entry::Series { known, value, timestamp_ms: Some(timestamp_ms) };
                self.expect_linebreak(Expected::EntryAfterTimestamp, entry)
            }
            token => Err(self.unexpected(Expected::TimestampOrRecord, token)),
        }
    }

    /// The rest of a line whose first `text_len` bytes are a series text followed by one blank.
    #[inline]
    fn known_series(&mut self, text_len: usize) -> Result<Entry<'page>> {
        let text_end = self.entry_start + text_len;
        self.series_text = self.lexer.slice(self.entry_start, text_end);
        match self.lexer.short_value(text_end + 1) {
            Some((value, Behind::Linebreak)) => Ok(Entry::Series { known: true, value, timestamp_ms: None }),
            Some((value, Behind::Blank)) => self.known_series_timestamp(value),
            None => self.behind_known_text(text_end),
        }
    }

    #[inline(never)]
    fn known_series_timestamp(&mut self, value: f64) -> Result<Entry<'page>> {
        self.lexer.state = State::Timestamp;
        self.timestamp(true, value)
    }

    /// A value that takes the lexer.
    #[inline(never)]
    fn behind_known_text(&mut self, text_end: usize) -> Result<Entry<'page>> {
        self.lexer.pos = text_end;
        self.lexer.state = State::Value;
        let token = self.lexer.next_token();
        let entry = self.sample(text_end, token, true)?;
        Ok(match entry {
            Entry::Series { value, timestamp_ms, .. } => Entry::Series { known: true, value, timestamp_ms },
            entry => entry,
        })
    }

    fn excerpt(&self, from: usize, to: usize) -> Excerpt {
        Excerpt::new(self.lexer.slice(from, to))
    }

    fn invalid_number(&self, number: Number, problem: NumberProblem) -> ExpositionError {
        let text = Excerpt::new(self.lexer.token());
        let context = self.so_far();
        self.error(ErrorKind::InvalidNumber { number, text, problem, context })
    }
}

impl<'page> LabelReader<'page> for TextParser<'page> {
    const NEEDS_COMMAS: bool = false;

    fn next_token(&mut self) -> Token {
        self.lexer.next_token()
    }

    fn token(&self) -> &'page [u8] {
        self.lexer.token()
    }

    fn so_far(&self) -> Excerpt {
        self.excerpt(self.entry_start, self.lexer.end)
    }

    fn unexpected(&self, expected: Expected, token: Token) -> ExpositionError {
        // As Prometheus prints it: with the byte behind the token, the added line feed included.
        let to = self.lexer.pos + 1;
        let excerpt = |from: usize| {
            if to <= self.lexer.page().len() {
                return self.excerpt(from, to);
            }
            let rest = self.lexer.slice(from, to);
            match Excerpt::is_cut(rest) {
                true => Excerpt::new(rest),
                false => Excerpt::new(&[rest, b"\n".as_slice()].concat()),
            }
        };
        let (found, context) = (excerpt(self.lexer.start), excerpt(self.entry_start));
        self.error(ErrorKind::UnexpectedToken { expected, found, token, context })
    }

    fn error(&self, kind: ErrorKind) -> ExpositionError {
        ExpositionError::at(self.lexer.page(), self.lexer.start, kind)
    }
}

/// Whether a series text of `text_len` bytes at the start of `rest` really ends there: one blank, then a value.
pub(in crate::exposition) fn ends_series_text(rest: &[u8], text_len: usize) -> bool {
    rest.get(text_len) == Some(&b' ')
        && rest.get(text_len + 1).is_some_and(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'{'))
}

fn metric_type(text: &[u8]) -> Option<MetricType> {
    Some(match text {
        b"counter" => MetricType::Counter,
        b"gauge" => MetricType::Gauge,
        b"histogram" => MetricType::Histogram,
        b"summary" => MetricType::Summary,
        b"untyped" => MetricType::Unknown,
        _ => return None,
    })
}

pub(in crate::exposition) fn unquote(name: &[u8]) -> &[u8] {
    match name {
        [b'"', inner @ .., b'"'] => inner,
        _ => name,
    }
}

fn parse_timestamp(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |number, digit| number.checked_mul(10)?.checked_add(i64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(crate::cases::cases(256))]

        /// What the quick way reads, the lexer reads the same.
        #[test]
        fn plain_metadata_is_what_the_lexer_reads(
            line in "#[ \t]{1,2}(HELP|TYPE|TYP)[ \t]{1,2}[a-z_:0\"]{0,3}[ \t]{0,2}(counter|untyped|[a\x00\t \u{e9}]{0,4})",
            behind in "(\n|\nup 1\n)?",
        ) {
            let page = format!("{line}{behind}");
            let mut quick = TextParser::new(page.as_bytes());
            let mut slow = quick.clone();
            if let Some(entry) = quick.plain_metadata(page.as_bytes()) {
                let by_lexer = match slow.lexer.next_token() {
                    Token::Help => slow.help(),
                    Token::Type => slow.metric_type_line(),
                    token => panic!("{token:?}"),
                };
                prop_assert_eq!(by_lexer.unwrap(), entry);
                prop_assert_eq!(slow.lexer.pos, quick.lexer.pos);
                prop_assert_eq!(slow.lexer.state, quick.lexer.state);
                prop_assert_eq!(slow.metric_type, quick.metric_type);
            }
        }
    }
}
