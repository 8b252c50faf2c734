//! Texts as parts of a URL, escaped as Go's `net/url` does it.

use std::fmt::Write;

/// A part of a query: Go's `url.QueryEscape`.
pub fn escape_query(out: &mut String, text: &str) {
    for (idx, part) in text.split(' ').enumerate() {
        if idx > 0 {
            out.push('+');
        }
        escape(out, part.as_bytes(), |_| false);
    }
}

/// Go's `escape` in `net/url`: letters, digits, `-_.~` and what `also_plain` says stay as they are.
pub fn escape(out: &mut String, text: &[u8], also_plain: impl Fn(u8) -> bool) {
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || also_plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}
