//! What is wrong with the text of an expression, in Prometheus' words.

use std::fmt;

/// A mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Bytes from the start of the text.
    offset: usize,
    /// Line and column, both from 1, columns in bytes; `None` in an empty text.
    place: Option<(usize, usize)>,
    reason: String,
}

impl ParseError {
    /// A mistake at `offset` of `text`.
    pub fn new(text: &str, offset: usize, reason: impl Into<String>) -> Self {
        let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
        Self { offset, place: (!text.is_empty()).then_some((line, column)), reason: reason.into() }
    }

    /// Where the mistake starts, in bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// What is wrong there.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{line}:{column}: ")?,
            None => f.write_str("unknown position: ")?,
        }
        write!(f, "parse error: {}", self.reason)
    }
}

impl std::error::Error for ParseError {}
