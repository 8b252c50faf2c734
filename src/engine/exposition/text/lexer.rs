//! Tokens of text format 0.0.4, state by state as Prometheus' `model/textparse/promlex.l` has them.
//!
//! The states decide what a byte means: the same quote starts a label name, a label value or nothing. NUL bytes are
//! skipped where that lexer skips them, which is also where it lets them end the page. The page is read as if one
//! more line feed stood behind it, so that its last line needs none.

use crate::exposition::page_cursor::PageCursor;
use crate::exposition::token::Token;
use memchr::{memchr, memchr2};

/// What the next token may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exposition) enum State {
    /// At the start of a line.
    Init,
    /// Behind `# `.
    Comment,
    /// Behind `# TYPE ` or `# HELP `.
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
}

/// Cuts a page into tokens.
pub(in crate::exposition) type Lexer<'page> = PageCursor<'page, State>;

const fn byte_class(first: &[u8], with_digits: bool) -> [bool; 256] {
    let mut class = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let it = byte as u8;
        class[byte] = it.is_ascii_alphabetic() || (with_digits && it.is_ascii_digit());
        byte += 1;
    }
    let mut idx = 0;
    while idx < first.len() {
        class[first[idx] as usize] = true;
        idx += 1;
    }
    class
}

pub(in crate::exposition) static METRIC_NAME_START: [bool; 256] = byte_class(b"_:", false);
pub(in crate::exposition) static METRIC_NAME: [bool; 256] = byte_class(b"_:", true);
pub(in crate::exposition) static LABEL_NAME_START: [bool; 256] = byte_class(b"_", false);
pub(in crate::exposition) static LABEL_NAME: [bool; 256] = byte_class(b"_", true);

pub(in crate::exposition) fn is(class: &[bool; 256], byte: u8) -> bool {
    class[usize::from(byte)]
}

/// Length of the metric name at the start of `text`; 0 if there is none.
pub(in crate::exposition) fn metric_name_len(text: &[u8]) -> usize {
    match text.split_first() {
        Some((first, rest)) if is(&METRIC_NAME_START, *first) => {
            1 + rest.iter().take_while(|byte| is(&METRIC_NAME, **byte)).count()
        }
        _ => 0,
    }
}

impl<'page> Lexer<'page> {
    pub(in crate::exposition) fn new(page: &'page [u8]) -> Self {
        Self::at_start(page, State::Init)
    }

    /// The byte at `pos`: a line feed behind the page, NUL behind that.
    fn byte(&self, pos: usize) -> u8 {
        match self.page.get(pos) {
            Some(byte) => *byte,
            None if pos == self.page.len() => b'\n',
            None => 0,
        }
    }

    /// Steps to the next byte, over NULs in the states that skip them.
    fn step(&mut self) -> u8 {
        self.pos += 1;
        if matches!(self.state, State::LabelValue | State::MetaText | State::Comment) {
            while self.page.get(self.pos) == Some(&0) {
                self.pos += 1;
            }
        }
        self.byte(self.pos)
    }

    /// Steps over a name; no state that has names skips NULs.
    fn skip_class(&mut self, class: &[bool; 256]) {
        let rest = self.page.get(self.pos + 1..).unwrap_or_default();
        self.pos += 1 + rest.iter().take_while(|byte| is(class, **byte)).count();
    }

    fn skip_blanks(&mut self) -> u8 {
        loop {
            let byte = self.step();
            if !matches!(byte, b' ' | b'\t') {
                return byte;
            }
        }
    }

    /// The next token that is not whitespace.
    pub(in crate::exposition) fn next_token(&mut self) -> Token {
        loop {
            match self.lex() {
                Token::Whitespace => {}
                token => return token,
            }
        }
    }

    fn lex(&mut self) -> Token {
        self.start = self.pos;
        if self.pos > self.page.len() {
            return self.give(Token::Eof);
        }
        let byte = self.byte(self.pos);
        match self.state {
            State::Init => self.lex_init(byte),
            State::Comment => self.lex_comment(byte),
            State::MetaName => self.lex_meta_name(byte),
            State::MetaText => self.lex_meta_text(byte),
            State::Labels => self.lex_labels(byte),
            State::LabelValue => self.lex_label_value(byte),
            State::Value => self.lex_value(byte),
            State::Timestamp => self.lex_timestamp(byte),
        }
    }

    fn lex_init(&mut self, byte: u8) -> Token {
        match byte {
            b'#' => match self.step() {
                b' ' | b'\t' => {
                    let byte = self.skip_blanks();
                    self.state = State::Comment;
                    self.lex_comment(byte)
                }
                _ => self.comment_to_end(),
            },
            b'\n' => {
                self.step();
                self.give(Token::Linebreak)
            }
            b' ' | b'\t' => {
                self.skip_blanks();
                self.give(Token::Whitespace)
            }
            0 => self.give(Token::Eof),
            b'{' => {
                self.step();
                self.give_then(Token::BraceOpen, State::Labels)
            }
            _ if is(&METRIC_NAME_START, byte) => {
                self.skip_class(&METRIC_NAME);
                self.give_then(Token::MName, State::Value)
            }
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_comment(&mut self, byte: u8) -> Token {
        let (rest, token): (&[u8], Token) = match byte {
            b'H' => (b"ELP", Token::Help),
            b'T' => (b"YPE", Token::Type),
            _ => return self.comment_to_end(),
        };
        for expected in rest {
            if self.step() != *expected {
                return self.comment_to_end();
            }
        }
        if !matches!(self.step(), b' ' | b'\t') {
            return self.comment_to_end();
        }
        self.skip_blanks();
        self.give_then(token, State::MetaName)
    }

    /// A comment runs to the end of its line; a NUL that the state does not skip ends the page.
    fn comment_to_end(&mut self) -> Token {
        let rest = self.page.get(self.pos..).unwrap_or_default();
        // Behind `# ` only the first byte can be a NUL that counts, the others are skipped.
        let n_bytes = match self.state {
            State::Comment if rest.first() != Some(&0) => memchr(b'\n', rest),
            _ => memchr2(b'\n', 0, rest),
        };
        self.pos += n_bytes.unwrap_or(rest.len());
        match self.byte(self.pos) {
            0 => self.give(Token::Eof),
            _ => self.give_then(Token::Comment, State::Init),
        }
    }

    fn lex_meta_name(&mut self, byte: u8) -> Token {
        match byte {
            b'"' => match self.quoted() {
                true => self.give_then(Token::MName, State::MetaText),
                false => self.give(Token::Invalid),
            },
            b' ' | b'\t' => {
                self.skip_blanks();
                self.give(Token::Whitespace)
            }
            _ if is(&METRIC_NAME_START, byte) => {
                self.skip_class(&METRIC_NAME);
                self.give_then(Token::MName, State::MetaText)
            }
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_meta_text(&mut self, byte: u8) -> Token {
        match byte {
            b'\n' | 0 => return self.give_then(Token::Text, State::Init),
            b' ' | b'\t' if matches!(self.skip_blanks(), b'\n' | 0) => return self.give(Token::Whitespace),
            _ => {}
        }
        let rest = self.page.get(self.pos..).unwrap_or_default();
        self.pos += memchr(b'\n', rest).unwrap_or(rest.len());
        self.give_then(Token::Text, State::Init)
    }

    fn lex_labels(&mut self, byte: u8) -> Token {
        match byte {
            b'"' => match self.quoted() {
                true => self.give(Token::QString),
                false => self.give(Token::Invalid),
            },
            b',' => {
                self.step();
                self.give(Token::Comma)
            }
            b'=' => {
                self.step();
                self.give_then(Token::Equal, State::LabelValue)
            }
            b'}' => {
                self.step();
                self.give_then(Token::BraceClose, State::Value)
            }
            b' ' | b'\t' => {
                self.skip_blanks();
                self.give(Token::Whitespace)
            }
            _ if is(&LABEL_NAME_START, byte) => {
                self.skip_class(&LABEL_NAME);
                self.give(Token::LName)
            }
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_label_value(&mut self, byte: u8) -> Token {
        match byte {
            b'"' => match self.quoted() {
                true => {
                    let token = self.give_then(Token::LValue, State::Labels);
                    // NULs behind the value are skipped as those inside are, and belong to neither.
                    while self.page.get(self.pos) == Some(&0) {
                        self.pos += 1;
                    }
                    token
                }
                false => self.give(Token::Invalid),
            },
            b' ' | b'\t' => {
                self.skip_blanks();
                self.give(Token::Whitespace)
            }
            _ => self.give(Token::Invalid),
        }
    }

    fn lex_value(&mut self, byte: u8) -> Token {
        match byte {
            b' ' | b'\t' => {
                self.skip_blanks();
                self.give(Token::Whitespace)
            }
            b'{' => {
                self.step();
                self.give_then(Token::BraceOpen, State::Labels)
            }
            b'\n' | 0 => self.give(Token::Invalid),
            _ => {
                while !matches!(self.step(), b' ' | b'\t' | b'\n' | b'{' | 0) {}
                self.give_then(Token::Value, State::Timestamp)
            }
        }
    }

    fn lex_timestamp(&mut self, byte: u8) -> Token {
        match byte {
            b'\n' => {
                self.step();
                self.give_then(Token::Linebreak, State::Init)
            }
            b' ' | b'\t' => {
                self.skip_blanks();
                self.give(Token::Whitespace)
            }
            b'0'..=b'9' => {
                while self.step().is_ascii_digit() {}
                self.give(Token::Timestamp)
            }
            _ => self.give(Token::Invalid),
        }
    }

    /// Steps over a quoted string that starts here. False at what cannot stand in one: the end of the page, a line
    /// feed behind a backslash, a NUL outside of label values.
    fn quoted(&mut self) -> bool {
        let skips_nul = self.state == State::LabelValue;
        self.pos += 1;
        loop {
            let rest = self.page.get(self.pos..).unwrap_or_default();
            let Some(n_bytes) = memchr2(b'"', b'\\', rest) else {
                // The added line feed may stand in a string; what is behind it may not.
                self.pos += nul_in(rest, skips_nul).unwrap_or(rest.len() + 1);
                return false;
            };
            if let Some(n_bytes) = nul_in(rest.get(..n_bytes).unwrap_or_default(), skips_nul) {
                self.pos += n_bytes;
                return false;
            }
            self.pos += n_bytes;
            if self.byte(self.pos) == b'"' {
                self.pos += 1;
                return true;
            }
            if matches!(self.step(), b'\n' | 0) {
                return false;
            }
            self.pos += 1;
        }
    }
}

fn nul_in(bytes: &[u8], skips_nul: bool) -> Option<usize> {
    if skips_nul { None } else { memchr(0, bytes) }
}
