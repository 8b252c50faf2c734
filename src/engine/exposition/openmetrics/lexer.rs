//! Tokens of OpenMetrics, state by state as Prometheus' `model/textparse/openmetricslex.l` has them.
//!
//! There is no whitespace to skip: one blank stands where the format says so and belongs to the token behind it. NUL
//! bytes are skipped where that lexer skips them. A byte that cannot stand somewhere leaves the position at it, since
//! the parser reads on from there in one case.

use crate::exposition::page_cursor::PageCursor;
use crate::exposition::text::lexer::{LABEL_NAME, LABEL_NAME_START, METRIC_NAME, METRIC_NAME_START, is};
use crate::exposition::token::Token;
use memchr::memchr;

/// What the next token may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exposition) enum State {
    /// At the start of a line.
    Init,
    /// Behind `# `.
    Comment,
    /// Behind `# TYPE `, `# HELP ` or `# UNIT `.
    MetaName,
    /// Behind the name of these.
    MetaText,
    /// Between braces.
    Labels,
    /// Behind `=`.
    LabelValue,
    /// Behind name and labels.
    Value,
    /// Behind the value.
    Timestamp,
    /// Between the braces of an exemplar.
    Exemplar,
    /// Behind `=` there, and behind the closing brace.
    ExemplarValue,
    /// Behind the value of an exemplar.
    ExemplarTimestamp,
}

/// Cuts a page into tokens.
pub(in crate::exposition) type OpenMetricsLexer<'page> = PageCursor<'page, State>;

/// What ends a number, or is none: a blank, a line feed, a NUL.
const fn is_word(byte: u8) -> bool {
    !matches!(byte, b' ' | b'\n' | 0)
}

impl<'page> OpenMetricsLexer<'page> {
    pub(in crate::exposition) fn new(page: &'page [u8]) -> Self {
        Self::at_start(page, State::Init)
    }

    /// The byte at the position, behind the NULs that the state skips; NUL at the end of the page.
    fn settle(&mut self) -> u8 {
        if matches!(self.state, State::LabelValue | State::MetaText | State::Comment) {
            while self.page.get(self.pos) == Some(&0) {
                self.pos += 1;
            }
        }
        self.page.get(self.pos).copied().unwrap_or(0)
    }

    fn step(&mut self) -> u8 {
        self.pos += 1;
        self.settle()
    }

    /// Steps over the bytes of a class behind this one; no state that has them skips NULs.
    fn skip_while(&mut self, is_in: impl Fn(u8) -> bool) {
        let rest = self.page.get(self.pos + 1..).unwrap_or_default();
        self.pos += 1 + rest.iter().take_while(|byte| is_in(**byte)).count();
    }

    /// Takes one byte, as a token of its own.
    fn take(&mut self, token: Token, state: State) -> Token {
        self.step();
        self.give_then(token, state)
    }

    pub(in crate::exposition) fn next_token(&mut self) -> Token {
        let Some(byte) = self.page.get(self.pos).copied() else {
            return Token::Eof;
        };
        self.start = self.pos;
        match self.state {
            State::Init => self.lex_init(byte),
            State::Comment => self.lex_comment(byte),
            State::MetaName => self.lex_meta_name(byte),
            State::MetaText => self.lex_meta_text(byte),
            State::Labels => self.lex_labels(byte, State::LabelValue, State::Value),
            State::LabelValue => self.lex_label_value(byte),
            State::Value => self.lex_value(byte),
            State::Timestamp => self.lex_timestamp(byte),
            State::Exemplar => self.lex_labels(byte, State::ExemplarValue, State::ExemplarValue),
            State::ExemplarValue => self.lex_exemplar_value(byte),
            State::ExemplarTimestamp => self.lex_exemplar_timestamp(byte),
        }
    }

    fn lex_init(&mut self, byte: u8) -> Token {
        match byte {
            b'#' if self.step() == b' ' => {
                let byte = self.step();
                self.state = State::Comment;
                self.lex_comment(byte)
            }
            b'{' => self.take(Token::BraceOpen, State::Labels),
            _ if is(&METRIC_NAME_START, byte) => {
                self.skip_while(|byte| is(&METRIC_NAME, byte));
                self.give_then(Token::MName, State::Value)
            }
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_comment(&mut self, byte: u8) -> Token {
        let (rest, token): (&[u8], Token) = match byte {
            b'E' => (b"OF", Token::EofWord),
            b'H' => (b"ELP ", Token::Help),
            b'T' => (b"YPE ", Token::Type),
            b'U' => (b"NIT ", Token::Unit),
            _ => return self.give(Token::Invalid),
        };
        for expected in rest {
            if self.step() != *expected {
                return self.give(Token::Invalid);
            }
        }
        let behind = self.step();
        if token != Token::EofWord {
            return self.give_then(token, State::MetaName);
        }
        if behind == b'\n' {
            self.step();
        }
        self.give_then(token, State::Init)
    }

    fn lex_meta_name(&mut self, byte: u8) -> Token {
        match byte {
            b'"' if self.quoted() => self.give_then(Token::MName, State::MetaText),
            _ if is(&METRIC_NAME_START, byte) => {
                self.skip_while(|byte| is(&METRIC_NAME, byte));
                self.give_then(Token::MName, State::MetaText)
            }
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_meta_text(&mut self, byte: u8) -> Token {
        if byte != b' ' {
            return self.give(Token::Invalid);
        }
        let rest = self.page.get(self.pos..).unwrap_or_default();
        let Some(n_bytes) = memchr(b'\n', rest) else {
            self.pos = self.page.len();
            return self.give(Token::Invalid);
        };
        self.pos += n_bytes;
        // With the NULs behind the line, as there.
        self.take(Token::Text, State::Init)
    }

    /// Those of a series and those of an exemplar differ in what may stand in quotes and in what comes behind.
    fn lex_labels(&mut self, byte: u8, behind_equal: State, behind_brace: State) -> Token {
        match byte {
            b'"' if self.quoted() => self.give(Token::QString),
            b',' => self.take(Token::Comma, self.state),
            b'=' => self.take(Token::Equal, behind_equal),
            b'}' => self.take(Token::BraceClose, behind_brace),
            _ if is(&LABEL_NAME_START, byte) => {
                self.skip_while(|byte| is(&LABEL_NAME, byte));
                self.give(Token::LName)
            }
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_label_value(&mut self, byte: u8) -> Token {
        match byte {
            b'"' if self.quoted() => {
                let token = self.give(Token::LValue);
                // NULs behind the value are skipped as those inside are, and belong to neither.
                self.settle();
                self.state = State::Labels;
                token
            }
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_value(&mut self, byte: u8) -> Token {
        match byte {
            b'{' => self.take(Token::BraceOpen, State::Labels),
            b' ' => self.word(Token::Value, State::Timestamp),
            _ => self.give(Token::Invalid),
        }
    }

    /// A blank and what stands behind it up to the next one.
    fn word(&mut self, token: Token, state: State) -> Token {
        if !is_word(self.step()) {
            return self.give(Token::Invalid);
        }
        self.skip_while(is_word);
        self.give_then(token, state)
    }

    fn lex_timestamp(&mut self, byte: u8) -> Token {
        match byte {
            b'\n' => self.take(Token::Linebreak, State::Init),
            b' ' if self.page.get(self.pos + 1..self.pos + 3) == Some(b"# ") => {
                self.pos += 2;
                match self.step() {
                    b'{' => self.take(Token::Comment, State::Exemplar),
                    _ => self.give(Token::Invalid),
                }
            }
            b' ' => self.word(Token::Timestamp, State::Timestamp),
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_exemplar_value(&mut self, byte: u8) -> Token {
        match byte {
            b'"' if self.quoted() => self.give_then(Token::LValue, State::Exemplar),
            b' ' => self.word(Token::Value, State::ExemplarTimestamp),
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_exemplar_timestamp(&mut self, byte: u8) -> Token {
        match byte {
            b'\n' => self.take(Token::Linebreak, State::Init),
            b' ' => self.word(Token::Timestamp, State::ExemplarTimestamp),
            _ => self.give(Token::Invalid),
        }
    }

    /// Steps over a quoted string that starts here. False at what cannot stand in one; names of metrics and labels
    /// of a series may have line feeds.
    fn quoted(&mut self) -> bool {
        let may_break = matches!(self.state, State::MetaName | State::Labels);
        let mut byte = self.step();
        loop {
            match byte {
                b'"' => {
                    self.pos += 1;
                    return true;
                }
                b'\\' => match self.step() {
                    b'\n' | 0 => return false,
                    _ => byte = self.step(),
                },
                0 => return false,
                b'\n' if !may_break => return false,
                b'\n' => byte = self.step(),
                _ => {
                    self.skip_while(|byte| !matches!(byte, b'"' | b'\\' | b'\n' | 0));
                    byte = self.settle();
                }
            }
        }
    }
}
