//! How the text of a file is stored: one byte order mark before it is no content.
//!
//! Editors on Windows put one before UTF-8, and some save UTF-16. What comes over the network is not looked at here.

use std::fmt::{self, Display, Formatter};

/// U+FEFF in UTF-8.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

/// The file is UTF-16, by its mark or by the zeros between its letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utf16;

impl Display for Utf16 {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("it is UTF-16; save it as UTF-8")
    }
}

impl std::error::Error for Utf16 {}

/// The bytes behind the mark, or all of them if there is none. Only the first mark is none of the content.
///
/// # Errors
///
/// The text is UTF-16.
pub fn without_mark(bytes: &[u8]) -> Result<&[u8], Utf16> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Err(Utf16),
        [0, letter, ..] | [letter, 0, ..] if *letter != 0 => Err(Utf16),
        _ => Ok(bytes.strip_prefix(MARK).unwrap_or(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Utf16, without_mark};

    #[test]
    fn one_mark_is_taken_away() {
        let check = |bytes: &[u8], want| assert_eq!(without_mark(bytes), want, "{bytes:?}");
        check(b"", Ok(b"".as_slice()));
        check(b"a", Ok(b"a".as_slice()));
        check(b"\xef\xbb\xbf", Ok(b"".as_slice()));
        check(b"\xef\xbb\xbfa\xef\xbb\xbf", Ok(b"a\xef\xbb\xbf".as_slice()));
        check(b"\xef\xbb\xbf\xef\xbb\xbfa", Ok(b"\xef\xbb\xbfa".as_slice()));
        check(b"\xef\xbb", Ok(b"\xef\xbb".as_slice()));
        check(b"\xff\xfea\0", Err(Utf16));
        check(b"\xfe\xff\0a", Err(Utf16));
        check(b"a\0:\0", Err(Utf16));
        check(b"\0a\0:", Err(Utf16));
        check(b"\0\0", Ok(b"\0\0".as_slice()));
    }
}
