//! A piece of a page for an error: quoted as Go quotes it, and never longer than a line.

use std::fmt;
use std::fmt::Write;

/// An excerpt shows no more of the page than this.
pub(crate) const MAX_EXCERPT_BYTES: usize = 120;

/// A quoted and possibly cut piece of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt(Box<str>);

impl Excerpt {
    /// Whether an excerpt of `bytes` does not show all of them.
    pub fn is_cut(bytes: &[u8]) -> bool {
        bytes.len() > MAX_EXCERPT_BYTES
    }

    /// Quotes the start of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let mut quoted = String::from("\"");
        let shown = shown(bytes);
        for chunk in shown.utf8_chunks() {
            for it in chunk.valid().chars() {
                push_quoted(&mut quoted, it);
            }
            for byte in chunk.invalid() {
                let _ = write!(quoted, "\\x{byte:02x}");
            }
        }
        quoted.push_str(if shown.len() < bytes.len() { "…\"" } else { "\"" });
        Self(quoted.into())
    }
}

impl Excerpt {
    /// The start of `bytes` as it is, for sentences that Prometheus writes without quotes.
    pub fn unquoted(bytes: &[u8]) -> Self {
        let shown = shown(bytes);
        let end = if shown.len() < bytes.len() { "…" } else { "" };
        Self([&*String::from_utf8_lossy(shown), end].concat().into())
    }
}

/// As much of `bytes` as an excerpt shows, without half a character at its end.
pub(crate) fn shown(bytes: &[u8]) -> &[u8] {
    let Some(cut) = bytes.get(..MAX_EXCERPT_BYTES) else {
        return bytes;
    };
    match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => cut.get(..error.valid_up_to()).unwrap_or(cut),
        _ => cut,
    }
}

pub(crate) fn push_quoted(quoted: &mut String, it: char) {
    match it {
        '"' => quoted.push_str("\\\""),
        '\\' => quoted.push_str("\\\\"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0b' => quoted.push_str("\\v"),
        '\x0c' => quoted.push_str("\\f"),
        '\0'..='\x1f' | '\x7f' => {
            let _ = write!(quoted, "\\x{:02x}", u32::from(it));
        }
        '\u{80}'..='\u{9f}' => {
            let _ = write!(quoted, "\\u{:04x}", u32::from(it));
        }
        _ => quoted.push(it),
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
