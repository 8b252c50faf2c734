//! Labels between braces, of which text and OpenMetrics know the same: names and values, and in a series perhaps its name.

use crate::exposition::error::{ErrorKind, Expected, ExpositionError};
use crate::exposition::excerpt::Excerpt;
use crate::exposition::token::Token;

/// Whose labels stand in the braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exposition) enum Braces {
    /// A series whose name stood before them.
    Named,
    /// A series whose name has to stand in them.
    Nameless,
    /// An exemplar.
    Exemplar,
}

/// A parser of tokens. The methods that it provides say what is wrong as it does.
pub(in crate::exposition) trait LabelReader<'page> {
    /// Whether a comma has to stand between two labels.
    const NEEDS_COMMAS: bool;

    /// The next token.
    fn next_token(&mut self) -> Token;

    /// The bytes of the token read last.
    fn token(&self) -> &'page [u8];

    /// The entry up to the token read last.
    fn so_far(&self) -> Excerpt;

    /// An error at the token read last.
    fn error(&self, kind: ErrorKind) -> ExpositionError;

    /// The token read last is not what may stand there.
    fn unexpected(&self, expected: Expected, token: Token) -> ExpositionError;

    /// Reads labels up to the closing brace, behind the opening one. True if the name of the series stood before them or
    /// among them.
    ///
    /// # Errors
    /// They are malformed.
    fn read_labels(&mut self, braces: Braces) -> Result<bool, ExpositionError> {
        let mut has_name = braces != Braces::Nameless;
        let mut token = self.next_token();
        loop {
            let is_quoted = match token {
                Token::BraceClose => return Ok(has_name),
                Token::LName => false,
                Token::QString => true,
                _ => return Err(self.unexpected(Expected::LabelName, token)),
            };
            token = self.next_token();
            if is_quoted && matches!(token, Token::Comma | Token::BraceClose) {
                // A quoted string that stands alone is the metric's name.
                if braces == Braces::Exemplar {
                    return Err(self.unexpected(Expected::LabelName, token));
                }
                if has_name {
                    return Err(self.error(ErrorKind::NameAlreadySet(self.so_far())));
                }
                has_name = true;
            } else {
                token = self.read_value(token)?;
            }
            // A comma may stand behind the last label.
            if token == Token::Comma {
                token = self.next_token();
            } else if Self::NEEDS_COMMAS && token != Token::BraceClose {
                return Err(self.unexpected(Expected::CommaOrBraceClose, token));
            }
        }
    }

    /// Reads the value of a label whose name `token` stands behind; gives what stands behind the value.
    ///
    /// # Errors
    /// There is none.
    fn read_value(&mut self, mut token: Token) -> Result<Token, ExpositionError> {
        if token != Token::Equal {
            return Err(self.unexpected(Expected::Equal, token));
        }
        token = self.next_token();
        if token != Token::LValue {
            return Err(self.unexpected(Expected::LabelValue, token));
        }
        if std::str::from_utf8(self.token()).is_err() {
            return Err(self.error(ErrorKind::LabelValueNotUtf8(Excerpt::new(self.token()))));
        }
        Ok(self.next_token())
    }
}
