//! What is wrong with a page, and where: Prometheus' sentence, then our line and column or byte.
//!
//! Excerpts of the page are quoted as Go's `%q` does and cut, so that a page of one endless line makes a short error.

use crate::exposition::excerpt::Excerpt;
use crate::exposition::protobuf::error::ProtobufError;
use crate::exposition::token::Token;
use memchr::memchr_iter;
use std::fmt;

/// Why a page was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpositionError {
    /// Where it is.
    pub place: Place,
    /// What was found there. Boxed: pages are mostly right, and every line pays for the size of the result.
    pub kind: Box<ErrorKind>,
}

/// A place in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a text.
    Text {
        /// Line, from 1.
        line: u64,
        /// Byte in the line, from 1.
        column: u64,
    },
    /// In a protobuf page.
    Message {
        /// Byte in the page, from 0.
        offset: u64,
        /// Name of the innermost message there.
        message: &'static str,
    },
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// In a protobuf page.
    Protobuf(ProtobufError),
    /// A token that cannot stand here.
    UnexpectedToken {
        /// As in "expected label name".
        expected: Expected,
        /// The token's text.
        found: Excerpt,
        /// What the token is.
        token: Token,
        /// The line up to here.
        context: Excerpt,
    },
    /// A `# TYPE`, `# HELP` or `# UNIT` (the token) whose line ends behind the name, or runs to the end of the page.
    TextMissing(Token),
    /// A page of OpenMetrics without its last line.
    EndMissing,
    /// Something behind the last line of OpenMetrics.
    BehindEnd,
    /// A unit that its metric's name does not end with.
    UnitNotSuffix {
        /// The unit.
        unit: Excerpt,
        /// The name.
        metric: Excerpt,
    },
    /// A timestamp that is NaN or infinite.
    TimestampNotFinite {
        /// Whose it is.
        owner: TimestampOwner,
        /// As Go prints it.
        text: &'static str,
    },
    /// A word behind `# TYPE name` that is no type.
    InvalidMetricType(Excerpt),
    /// A help text that is not UTF-8.
    HelpNotUtf8(Excerpt),
    /// A label value that is not UTF-8.
    LabelValueNotUtf8(Excerpt),
    /// A second quoted name inside the braces.
    NameAlreadySet(Excerpt),
    /// Neither a name before the braces nor a quoted one inside.
    NameNotSet(Excerpt),
    /// `p`, `P` or `_` in a value: Go reads these since 1.13, the format does not have them.
    UnsupportedFloatCharacter(Excerpt),
    /// A value or timestamp that is no number.
    InvalidNumber {
        /// What was to be read.
        number: Number,
        /// Its text.
        text: Excerpt,
        /// Why it is none.
        problem: NumberProblem,
        /// The line up to here.
        context: Excerpt,
    },
}

/// What could have stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the sentences are in `Display`")]
pub enum Expected {
    LineStart,
    NameAfterType,
    NameAfterHelp,
    NameAfterUnit,
    MetadataText,
    LinebreakAfterMetadata,
    LinebreakAfterComment,
    LabelName,
    Equal,
    LabelValue,
    CommaOrBraceClose,
    Value,
    ExemplarValue,
    TimestampOrRecord,
    TimestampOrComment,
    EntryAfterTimestamp,
    EntryAfterExemplarTimestamp,
}

/// What a timestamp belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum TimestampOwner {
    Sample,
    Exemplar,
}

/// Which kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Number {
    Value,
    Timestamp,
    /// OpenMetrics' are floats.
    FloatTimestamp,
}

/// Why a number could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberProblem {
    /// Not a number.
    Syntax,
    /// Too large for its type.
    Range,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineStart => "expected a valid start token",
            Self::NameAfterType => "expected metric name after TYPE",
            Self::NameAfterHelp => "expected metric name after HELP",
            Self::NameAfterUnit => "expected metric name after UNIT",
            Self::MetadataText => "expected text after metric name",
            Self::LinebreakAfterMetadata => "linebreak expected after metadata",
            Self::LinebreakAfterComment => "linebreak expected after comment",
            Self::LabelName => "expected label name",
            Self::Equal => "expected equal",
            Self::LabelValue => "expected label value",
            Self::CommaOrBraceClose => "expected comma or brace close",
            Self::Value => "expected value after metric",
            Self::ExemplarValue => "expected value after exemplar labels",
            Self::TimestampOrRecord => "expected timestamp or new record",
            Self::TimestampOrComment => "expected timestamp or comment",
            Self::EntryAfterTimestamp => "expected next entry after timestamp",
            Self::EntryAfterExemplarTimestamp => "expected next entry after exemplar timestamp",
        })
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedToken { expected, found, token, context } => {
                write!(f, "{expected}, got {found} (\"{}\") while parsing: {context}", token.as_str())
            }
            Self::TextMissing(token) => write!(f, "expected text in {}", token.as_str()),
            Self::EndMissing => f.write_str("data does not end with # EOF"),
            Self::BehindEnd => f.write_str("unexpected data after # EOF"),
            Self::UnitNotSuffix { unit, metric } => {
                write!(f, "unit {unit} not a suffix of metric {metric}")
            }
            Self::TimestampNotFinite { owner: TimestampOwner::Sample, text } => {
                write!(f, "invalid timestamp {text}")
            }
            Self::TimestampNotFinite { owner: TimestampOwner::Exemplar, text } => {
                write!(f, "invalid exemplar timestamp {text}")
            }
            Self::Protobuf(error) => error.fmt(f),
            Self::InvalidMetricType(text) => write!(f, "invalid metric type {text}"),
            Self::HelpNotUtf8(text) => write!(f, "help text {text} is not a valid utf8 string"),
            Self::LabelValueNotUtf8(value) => write!(f, "invalid UTF-8 label value: {value}"),
            Self::NameAlreadySet(context) => {
                write!(f, "metric name already set while parsing: {context}")
            }
            Self::NameNotSet(context) => write!(f, "metric name not set while parsing: {context}"),
            Self::UnsupportedFloatCharacter(context) => {
                write!(f, "unsupported character in float while parsing: {context}")
            }
            Self::InvalidNumber { number, text, problem, context } => {
                write!(f, "{}: parsing {text}: {problem} while parsing: {context}", number.function())
            }
        }
    }
}

impl Number {
    /// The function of Go that Prometheus reads it with.
    fn function(self) -> &'static str {
        match self {
            Self::Value | Self::FloatTimestamp => "strconv.ParseFloat",
            Self::Timestamp => "strconv.ParseInt",
        }
    }
}

impl fmt::Display for NumberProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "invalid syntax",
            Self::Range => "value out of range",
        })
    }
}

impl ErrorKind {
    /// The sentence without a word of the page.
    fn without_excerpts(&self) -> String {
        let sentence = match self {
            Self::UnexpectedToken { expected, token, .. } => {
                return format!("{expected}, got {:?}", token.as_str());
            }
            Self::InvalidNumber { number, problem, .. } => {
                return format!("{}: {problem}", number.function());
            }
            Self::TextMissing(_) | Self::EndMissing | Self::BehindEnd | Self::TimestampNotFinite { .. } => {
                return self.to_string();
            }
            Self::UnitNotSuffix { .. } => "unit not a suffix of metric",
            Self::Protobuf(_) => "malformed protobuf",
            Self::InvalidMetricType(_) => "invalid metric type",
            Self::HelpNotUtf8(_) => "help text is not a valid utf8 string",
            Self::LabelValueNotUtf8(_) => "invalid UTF-8 label value",
            Self::NameAlreadySet(_) => "metric name already set",
            Self::NameNotSet(_) => "metric name not set",
            Self::UnsupportedFloatCharacter(_) => "unsupported character in float",
        };
        sentence.to_owned()
    }
}

impl ExpositionError {
    /// Kind and place of the mistake, for pages of which nothing may be shown.
    pub fn without_excerpts(&self) -> String {
        format!("{} ({})", self.kind.without_excerpts(), self.place)
    }

    /// An error at `pos` of `page`.
    pub(in crate::exposition) fn at(page: &[u8], pos: usize, kind: ErrorKind) -> Self {
        let before = page.get(..pos).unwrap_or(page);
        let mut line = 1;
        let mut line_start = 0;
        for line_feed in memchr_iter(b'\n', before) {
            line += 1;
            line_start = line_feed + 1;
        }
        let column = (before.len() - line_start) as u64 + 1;
        Self { place: Place::Text { line, column }, kind: Box::new(kind) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { line, column } => write!(f, "line {line}, column {column}"),
            Self::Message { offset, message } => write!(f, "byte {offset}, in {message}"),
        }
    }
}

impl fmt::Display for ExpositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind, self.place)
    }
}

impl std::error::Error for ExpositionError {}
