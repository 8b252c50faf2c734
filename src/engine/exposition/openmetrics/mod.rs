//! OpenMetrics 0.0.1 and 1.0.0, as Prometheus' `model/textparse/openmetricsparse.go` reads it: entries that borrow
//! from the page.
//!
//! Prometheus is laxer than the format (it knows no families: any name, type and order will do) and stricter in
//! blanks. A caller that has seen a series' text before says so, and the parser goes on behind it, as the text
//! parser does; everything unusual goes through the lexer.

pub(crate) mod created;
pub(crate) mod lexer;

use crate::exposition::Entry;
use crate::exposition::braces::{Braces, LabelReader};
use crate::exposition::error::{ErrorKind, Expected, ExpositionError, Number, NumberProblem, TimestampOwner};
use crate::exposition::excerpt::Excerpt;
use crate::exposition::exemplar::Exemplar;
use crate::exposition::openmetrics::created::{Ahead, CreatedLine, belongs, has_start_time, is_created};
use crate::exposition::openmetrics::lexer::{OpenMetricsLexer, State};
use crate::exposition::options::ParserOptions;
use crate::exposition::page_cursor::Behind;
use crate::exposition::recall::{NoRecall, Recall};
use crate::exposition::text::lexer::metric_name_len;
use crate::exposition::text::{ends_series_text, unquote};
use crate::exposition::token::Token;
use crate::float;
use crate::float::FloatError;
use crate::metric_type::MetricType;
use memchr::memchr;

type Result<T> = std::result::Result<T, ExpositionError>;

/// Timestamps are in seconds.
const MS_A_SECOND: f64 = 1000.0;

/// Reads a page.
#[derive(Clone, Debug)]
pub struct OpenMetricsParser<'page> {
    lexer: OpenMetricsLexer<'page>,
    /// First byte of the entry being read.
    entry_start: usize,
    /// Of the sample read last.
    series_text: &'page [u8],
    /// Of the last TYPE line.
    metric_type: MetricType,
    /// Of the sample read last.
    exemplar: Option<ExemplarText>,
    skips_created: bool,
    /// Of the name in the last line of metadata.
    family_name_len: usize,
    ahead: Ahead<'page>,
}

/// An exemplar that has been read and found good.
#[derive(Clone, Copy, Debug)]
struct ExemplarText {
    /// Its first label, or the closing brace.
    labels_start: usize,
    value: f64,
    timestamp_ms: Option<i64>,
}

impl<'page> OpenMetricsParser<'page> {
    /// A parser at the start of `page`.
    pub fn new(page: &'page [u8], options: ParserOptions) -> Self {
        Self {
            lexer: OpenMetricsLexer::new(page),
            entry_start: 0,
            series_text: b"",
            metric_type: MetricType::Unknown,
            exemplar: None,
            skips_created: options.skip_created_series,
            family_name_len: 0,
            ahead: Ahead::default(),
        }
    }

    /// Type of the last TYPE line: what decides how `le` and `quantile` are spelled.
    pub fn metric_type(&self) -> MetricType {
        self.metric_type
    }

    /// Name and labels of the sample read last, as spelled in the page: the key of the scrape cache.
    pub fn series_text(&self) -> &'page [u8] {
        self.series_text
    }

    /// Whether the sample read last has an exemplar that was not given yet.
    #[inline]
    pub fn has_exemplar(&self) -> bool {
        self.exemplar.is_some()
    }

    /// The exemplar of the sample read last, its labels in the order of their names; false if it has none or it was
    /// given before. Values are as spelled, escapes included, as in Prometheus.
    pub fn exemplar(&mut self, exemplar: &mut Exemplar) -> bool {
        let Some(found) = self.exemplar.take() else {
            return false;
        };
        exemplar.clear();
        exemplar.value = found.value;
        exemplar.timestamp_ms = found.timestamp_ms;
        let mut lexer = self.lexer.clone();
        (lexer.pos, lexer.state) = (found.labels_start, State::Exemplar);
        let mut name: &[u8] = b"";
        loop {
            match lexer.next_token() {
                Token::LName => name = lexer.token(),
                Token::QString => name = unquote(lexer.token()),
                Token::LValue => {
                    let value = unquote(lexer.token());
                    exemplar.push_label(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value));
                }
                Token::Equal | Token::Comma => {}
                _ => break,
            }
        }
        exemplar.sort_labels();
        true
    }

    /// The next entry, or `None` at the end of the page. `known` says what need not be read again.
    ///
    /// # Errors
    /// The page is malformed. Nothing can be read from it any more.
    #[inline(always)]
    pub fn next(&mut self, known: &mut impl Recall) -> Result<Option<Entry<'page>>> {
        loop {
            let entry = self.next_line(known)?;
            if !self.skips_created
                || !matches!(entry, Some(Entry::Series { .. }))
                || !self.is_created_series()
            {
                return Ok(entry);
            }
        }
    }

    fn is_created_series(&self) -> bool {
        has_start_time(self.metric_type) && is_created(self.series_text)
    }

    /// When the counter, histogram or summary of the sample read last was started, in milliseconds, if a `_created`
    /// line between this sample and the end of its family says so.
    pub fn start_time_ms(&mut self) -> Option<i64> {
        // Where these lines are samples they are of no use as times.
        if !self.skips_created || !has_start_time(self.metric_type) {
            self.ahead.last = None;
            return None;
        }
        let (text, name_len, metric_type) = (self.series_text, self.family_name_len, self.metric_type);
        let is_its = |line: &CreatedLine<'page>| belongs(text, name_len, line.series_text, metric_type);
        if let Some(line) = self.ahead.last.filter(|line| line.start_time_ms > 0).filter(is_its) {
            return Some(line.start_time_ms);
        }
        if self.ahead.until < self.lexer.pos {
            self.look_ahead();
        }
        self.ahead.last = self.ahead.line.filter(is_its);
        self.ahead.last.map(|line| line.start_time_ms).filter(|start_time_ms| *start_time_ms != 0)
    }

    /// Finds the next `_created` line of the family.
    fn look_ahead(&mut self) {
        let mut parser = self.clone();
        loop {
            let line = match parser.next_line(&mut NoRecall) {
                Ok(Some(Entry::Series { value, .. })) if parser.is_created_series() => {
                    let start_time_ms = go_int(value * MS_A_SECOND);
                    Some(CreatedLine { series_text: parser.series_text, start_time_ms })
                }
                Ok(Some(Entry::Series { .. })) => continue,
                _ => None,
            };
            (self.ahead.until, self.ahead.line) = (parser.entry_start, line);
            return;
        }
    }

    #[inline(always)]
    fn next_line(&mut self, known: &mut impl Recall) -> Result<Option<Entry<'page>>> {
        self.entry_start = self.lexer.pos;
        self.exemplar = None;
        if self.lexer.state == State::Init {
            let rest = self.lexer.rest();
            if rest.first() == Some(&b'#') {
                if let Some(entry) = self.known_metadata(rest, known) {
                    return Ok(Some(entry));
                }
            } else if let Some(text_len) = known.series(rest).filter(|len| ends_series_text(rest, *len)) {
                return self.known_series(text_len).map(Some);
            }
        }
        self.unknown_line()
    }

    #[inline(never)]
    fn unknown_line(&mut self) -> Result<Option<Entry<'page>>> {
        let rest = self.lexer.rest();
        if self.lexer.state == State::Init
            && rest.first() == Some(&b'#')
            && let Some(entry) = self.plain_metadata(rest)
        {
            return Ok(Some(entry));
        }
        match self.lexer.next_token() {
            Token::EofWord => match self.lexer.next_token() {
                Token::Eof => Ok(None),
                _ => Err(self.error(ErrorKind::BehindEnd)),
            },
            Token::Eof => Err(self.end_missing()),
            token @ (Token::Help | Token::Type | Token::Unit) => self.metadata(token).map(Some),
            Token::BraceOpen => {
                self.labels(Braces::Nameless)?;
                let text_end = self.lexer.end;
                let token = self.lexer.next_token();
                self.sample(text_end, token).map(Some)
            }
            Token::MName => {
                let mut text_end = self.lexer.end;
                let mut token = self.lexer.next_token();
                if token == Token::BraceOpen {
                    self.labels(Braces::Named)?;
                    text_end = self.lexer.end;
                    token = self.lexer.next_token();
                }
                self.sample(text_end, token).map(Some)
            }
            token => Err(self.unexpected(Expected::LineStart, token)),
        }
    }

    /// A line that the caller knows, at the start of `rest`.
    #[inline]
    fn known_metadata(&mut self, rest: &'page [u8], known: &mut impl Recall) -> Option<Entry<'page>> {
        let line = known.metadata(rest)?;
        let name = line.name_in(rest)?;
        // A NUL there ends the page.
        if rest.get(line.len as usize + 1) == Some(&0) {
            return None;
        }
        if let Some(metric_type) = line.metric_type {
            self.metric_type = metric_type;
        }
        self.family_name_len = line.name_len as usize;
        self.lexer.pos += line.len as usize + 1;
        Some(Entry::KnownMetadata { name, metric_type: line.metric_type })
    }

    /// A HELP, TYPE or UNIT line as every library writes it, at the start of `rest`. `None` says nothing about the
    /// line: the lexer reads it.
    fn plain_metadata(&mut self, rest: &'page [u8]) -> Option<Entry<'page>> {
        let line_len = memchr(b'\n', rest)?;
        if rest.get(line_len + 1) == Some(&0) {
            return None;
        }
        let (keyword, behind) = rest.get(..line_len)?.split_at_checked(7)?;
        let name_len = metric_name_len(behind);
        let (name, text) = behind.split_at_checked(name_len).filter(|_| name_len > 0)?;
        let text = text.strip_prefix(b" ")?;
        let entry = match keyword {
            b"# HELP " => Entry::Help { name, text: std::str::from_utf8(text).ok()? },
            b"# TYPE " => Entry::Type { name, metric_type: metric_type(text)? },
            b"# UNIT " if is_unit_of(text, name) => {
                Entry::Unit { name, unit: std::str::from_utf8(text).ok()? }
            }
            _ => return None,
        };
        if let Entry::Type { metric_type, .. } = entry {
            self.metric_type = metric_type;
        }
        self.family_name_len = name_len;
        self.lexer.pos += line_len + 1;
        Some(entry)
    }

    fn metadata(&mut self, keyword: Token) -> Result<Entry<'page>> {
        let expected = match keyword {
            Token::Help => Expected::NameAfterHelp,
            Token::Type => Expected::NameAfterType,
            _ => Expected::NameAfterUnit,
        };
        let name = match self.lexer.next_token() {
            Token::MName => unquote(self.lexer.token()),
            token => return Err(self.unexpected(expected, token)),
        };
        self.family_name_len = name.len();
        if self.lexer.next_token() != Token::Text {
            return Err(self.error(ErrorKind::TextMissing(keyword)));
        }
        // Between its blank and its line feed.
        let text = self.lexer.slice(self.lexer.start + 1, self.lexer.end - 1);
        match keyword {
            Token::Help => match std::str::from_utf8(text) {
                Ok(text) => Ok(Entry::Help { name, text }),
                Err(_) => Err(self.error(ErrorKind::HelpNotUtf8(Excerpt::new(text)))),
            },
            Token::Type => match metric_type(text) {
                Some(metric_type) => {
                    self.metric_type = metric_type;
                    Ok(Entry::Type { name, metric_type })
                }
                None => Err(self.error(ErrorKind::InvalidMetricType(Excerpt::new(text)))),
            },
            _ if is_unit_of(text, name) => {
                // One that is not UTF-8 belongs to a name that is not, which no series can have.
                Ok(Entry::Unit { name, unit: std::str::from_utf8(text).unwrap_or_default() })
            }
            _ => {
                let (unit, metric) = (Excerpt::new(text), Excerpt::new(name));
                Err(self.error(ErrorKind::UnitNotSuffix { unit, metric }))
            }
        }
    }

    /// Labels up to the closing brace; the name stands before them or among them.
    fn labels(&mut self, braces: Braces) -> Result<()> {
        if self.read_labels(braces)? {
            return Ok(());
        }
        // As there, only once the value has been looked at.
        self.lexer.next_token();
        Err(self.error(ErrorKind::NameNotSet(self.so_far())))
    }

    /// What stands behind a series, of which `token` is the first.
    fn sample(&mut self, text_end: usize, token: Token) -> Result<Entry<'page>> {
        let value = self.value(token, Expected::Value)?;
        self.series_text = self.lexer.slice(self.entry_start, text_end);
        self.behind_value(false, value)
    }

    fn value(&mut self, token: Token, expected: Expected) -> Result<f64> {
        if token != Token::Value {
            return Err(self.unexpected(expected, token));
        }
        self.number(Number::Value)
    }

    /// The token as a float, without its blank.
    fn number(&self, number: Number) -> Result<f64> {
        let text = self.lexer.token().get(1..).unwrap_or_default();
        let problem = match float::parse(text) {
            Ok(value) => return Ok(value),
            Err(FloatError::UnsupportedCharacter) => {
                return Err(self.error(ErrorKind::UnsupportedFloatCharacter(self.so_far())));
            }
            Err(FloatError::Syntax) => NumberProblem::Syntax,
            Err(FloatError::Range) => NumberProblem::Range,
        };
        let (text, context) = (Excerpt::new(text), self.so_far());
        Err(self.error(ErrorKind::InvalidNumber { number, text, problem, context }))
    }

    fn timestamp_ms(&self, owner: TimestampOwner) -> Result<i64> {
        let seconds = self.number(Number::FloatTimestamp)?;
        let text = match seconds {
            _ if seconds.is_finite() => return Ok(go_int(seconds * MS_A_SECOND)),
            _ if seconds.is_nan() => "NaN",
            _ if seconds > 0.0 => "+Inf",
            _ => "-Inf",
        };
        Err(self.error(ErrorKind::TimestampNotFinite { owner, text }))
    }

    /// Timestamp and exemplar.
    fn behind_value(&mut self, known: bool, value: f64) -> Result<Entry<'page>> {
        let mut timestamp_ms = None;
        match self.lexer.next_token() {
            Token::Eof => return Err(self.end_missing()),
            Token::Comment => self.read_exemplar()?,
            Token::Timestamp => {
                timestamp_ms = Some(self.timestamp_ms(TimestampOwner::Sample)?);
                match self.lexer.next_token() {
                    Token::Linebreak => {}
                    Token::Comment => self.read_exemplar()?,
                    token => return Err(self.unexpected(Expected::EntryAfterTimestamp, token)),
                }
            }
            // Prometheus finds anything else wrong only as the next entry: the sample is one still.
            _ => {}
        }
        Ok(Entry::Series { known, value, timestamp_ms })
    }

    fn read_exemplar(&mut self) -> Result<()> {
        let labels_start = self.lexer.pos;
        self.labels(Braces::Exemplar)?;
        let token = self.lexer.next_token();
        let value = self.value(token, Expected::ExemplarValue)?;
        let mut timestamp_ms = None;
        match self.lexer.next_token() {
            Token::Eof => return Err(self.end_missing()),
            Token::Linebreak => {}
            Token::Timestamp => {
                timestamp_ms = Some(self.timestamp_ms(TimestampOwner::Exemplar)?);
                match self.lexer.next_token() {
                    Token::Linebreak => {}
                    token => return Err(self.unexpected(Expected::EntryAfterExemplarTimestamp, token)),
                }
            }
            token => return Err(self.unexpected(Expected::TimestampOrComment, token)),
        }
        self.exemplar = Some(ExemplarText { labels_start, value, timestamp_ms });
        Ok(())
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
        self.behind_value(true, value)
    }

    /// A value that takes the lexer.
    #[inline(never)]
    fn behind_known_text(&mut self, text_end: usize) -> Result<Entry<'page>> {
        self.lexer.pos = text_end;
        self.lexer.state = State::Value;
        let token = self.lexer.next_token();
        let value = self.value(token, Expected::Value)?;
        self.behind_value(true, value)
    }

    fn end_missing(&self) -> ExpositionError {
        ExpositionError::at(self.lexer.page(), self.lexer.page().len(), ErrorKind::EndMissing)
    }
}

impl<'page> LabelReader<'page> for OpenMetricsParser<'page> {
    const NEEDS_COMMAS: bool = true;

    fn next_token(&mut self) -> Token {
        self.lexer.next_token()
    }

    fn token(&self) -> &'page [u8] {
        self.lexer.token()
    }

    fn so_far(&self) -> Excerpt {
        Excerpt::new(self.lexer.slice(self.entry_start, self.lexer.pos))
    }

    fn unexpected(&self, expected: Expected, token: Token) -> ExpositionError {
        // As Prometheus prints it: with the byte behind the token.
        let to = self.lexer.pos + 1;
        let excerpt = |from: usize| Excerpt::new(self.lexer.slice(from, to));
        let (found, context) = (excerpt(self.lexer.start), excerpt(self.entry_start));
        self.error(ErrorKind::UnexpectedToken { expected, found, token, context })
    }

    fn error(&self, kind: ErrorKind) -> ExpositionError {
        ExpositionError::at(self.lexer.page(), self.lexer.start, kind)
    }
}

fn metric_type(text: &[u8]) -> Option<MetricType> {
    Some(match text {
        b"counter" => MetricType::Counter,
        b"gauge" => MetricType::Gauge,
        b"histogram" => MetricType::Histogram,
        b"gaugehistogram" => MetricType::GaugeHistogram,
        b"summary" => MetricType::Summary,
        b"info" => MetricType::Info,
        b"stateset" => MetricType::StateSet,
        b"unknown" => MetricType::Unknown,
        _ => return None,
    })
}

/// No unit is one of every name.
fn is_unit_of(unit: &[u8], name: &[u8]) -> bool {
    unit.is_empty() || name.strip_suffix(unit).is_some_and(|before| before.ends_with(b"_"))
}

/// Towards zero; what does not fit becomes the smallest, as Go has it on amd64.
fn go_int(value: f64) -> i64 {
    const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;
    if value < TOO_LARGE { value as i64 } else { i64::MIN }
}
