//! Where a lexer is in its page, and the token that it gave last. The lexers of text and of OpenMetrics differ in their
//! states.

use crate::exposition::token::Token;
use crate::float;

/// A page being cut into tokens.
#[derive(Clone, Debug)]
pub(in crate::exposition) struct PageCursor<'page, State> {
    pub(in crate::exposition) page: &'page [u8],
    /// Next byte to read; in case of [`Token::Invalid`] the byte that could not stand there.
    pub(in crate::exposition) pos: usize,
    /// First byte of the token; in OpenMetrics, at the end of the page, that of the token before.
    pub(in crate::exposition) start: usize,
    /// Byte behind the token.
    pub(in crate::exposition) end: usize,
    /// What the next token may be.
    pub(in crate::exposition) state: State,
}

/// What stands behind a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::exposition) enum Behind {
    /// A line feed, which was stepped over.
    Linebreak,
    /// A blank, which was not.
    Blank,
}

impl<'page, State> PageCursor<'page, State> {
    pub(in crate::exposition) fn at_start(page: &'page [u8], state: State) -> Self {
        Self { page, pos: 0, start: 0, end: 0, state }
    }

    pub(in crate::exposition) fn page(&self) -> &'page [u8] {
        self.page
    }

    /// The token's bytes.
    pub(in crate::exposition) fn token(&self) -> &'page [u8] {
        self.slice(self.start, self.end)
    }

    /// Bytes of the page; the line feed that the lexer of text adds is not among them.
    pub(in crate::exposition) fn slice(&self, from: usize, to: usize) -> &'page [u8] {
        self.page.get(from..to.min(self.page.len())).unwrap_or_default()
    }

    /// What was not read yet.
    #[inline]
    pub(in crate::exposition) fn rest(&self) -> &'page [u8] {
        self.slice(self.pos, self.page.len())
    }

    pub(in crate::exposition) fn give(&mut self, token: Token) -> Token {
        self.end = self.pos;
        token
    }

    pub(in crate::exposition) fn give_then(&mut self, token: Token, state: State) -> Token {
        self.state = state;
        self.give(token)
    }

    /// Steps over the value that starts at `start`, if it is written as most are. `None` says nothing about it: the lexer
    /// reads it.
    #[inline]
    pub(in crate::exposition) fn short_value(&mut self, start: usize) -> Option<(f64, Behind)> {
        let rest = self.slice(start, self.page.len());
        let (value, value_len) = float::parse_short(rest)?;
        let behind = match rest.get(value_len)? {
            b'\n' => Behind::Linebreak,
            b' ' => Behind::Blank,
            _ => return None,
        };
        self.pos = start + value_len + usize::from(behind == Behind::Linebreak);
        Some((value, behind))
    }
}
