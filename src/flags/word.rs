//! A command line, word by word.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::vec::IntoIter;

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::flags) enum Word {
    /// `--name`, `--name=value` or, as Go's own flags are written, `-name`.
    Flag {
        name: String,
        /// One or two.
        n_dashes: usize,
        /// Behind `=`.
        value: Option<OsString>,
    },
    /// Anything else, and everything behind `--`.
    Value(OsString),
}

/// Those that are not read yet.
pub(in crate::flags) struct Words {
    left: IntoIter<OsString>,
    has_flags: bool,
}

impl Words {
    pub(in crate::flags) fn new(words: Vec<OsString>) -> Self {
        Self { left: words.into_iter(), has_flags: true }
    }

    pub(in crate::flags) fn next(&mut self) -> Option<Word> {
        let word = self.left.next()?;
        let bytes = word.as_bytes();
        let n_dashes = bytes.iter().take(2).take_while(|byte| **byte == b'-').count();
        // A dash alone is the standard input.
        if !self.has_flags || n_dashes == 0 || bytes == b"-" {
            return Some(Word::Value(word));
        }
        if bytes == b"--" {
            self.has_flags = false;
            return self.next();
        }
        let rest = &bytes[n_dashes..];
        let (name, value) = match rest.iter().position(|byte| *byte == b'=') {
            Some(at) => (&rest[..at], Some(OsStr::from_bytes(&rest[at + 1..]).to_owned())),
            None => (rest, None),
        };
        Some(Word::Flag { name: String::from_utf8_lossy(name).into_owned(), n_dashes, value })
    }

    /// The value of the flag that was read last: the next word, unless that is a flag itself.
    pub(in crate::flags) fn value(&mut self) -> Option<OsString> {
        let next = self.left.as_slice().first()?;
        let is_flag = self.has_flags && next.as_bytes().starts_with(b"--");
        if is_flag { None } else { self.left.next() }
    }

    /// Passes over what may be the value of a flag that is not known.
    pub(in crate::flags) fn skip_value(&mut self) {
        if self.left.as_slice().first().is_some_and(|next| !next.as_bytes().starts_with(b"-")) {
            self.left.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_flags_or_values() {
        let words = ["--a=b=c", "-ab", "-", "x", "--a", "--", "--a"];
        let mut words = Words::new(words.into_iter().map(OsString::from).collect());
        let flag = |name: &str, n_dashes, value: Option<&str>| {
            Some(Word::Flag { name: name.to_owned(), n_dashes, value: value.map(OsString::from) })
        };
        assert_eq!(words.next(), flag("a", 2, Some("b=c")));
        assert_eq!(words.next(), flag("ab", 1, None));
        assert_eq!(words.next(), Some(Word::Value("-".into())));
        assert_eq!(words.value(), Some("x".into()));
        assert_eq!(words.value(), None);
        assert_eq!(words.next(), flag("a", 2, None));
        assert_eq!(words.next(), Some(Word::Value("--a".into())));
        assert_eq!(words.next(), None);
    }
}
