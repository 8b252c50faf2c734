//! Percent-encoded text, piece by piece. What an escape may stand for, and what becomes of a `%` that begins none, is for
//! whoever reads it to say.

/// A piece of such a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A byte that stands for itself.
    Plain(u8),
    /// `%` and two hexadecimal digits: the byte they stand for, and the three characters as typed.
    Escape(u8, &'a str),
    /// A `%` that begins no escape, with all that follows; the next piece is what follows.
    Stray(&'a str),
}

impl Piece<'_> {
    /// The byte it stands for; a stray `%` stands for itself.
    pub fn byte(self) -> u8 {
        match self {
            Self::Plain(byte) | Self::Escape(byte, _) => byte,
            Self::Stray(_) => b'%',
        }
    }
}

/// Takes `text` apart.
pub fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *text.as_bytes().get(at)?;
        let piece = if byte == b'%' { after_percent(&text[at..]) } else { Piece::Plain(byte) };
        at += if let Piece::Escape(_, typed) = piece { typed.len() } else { 1 };
        Some(piece)
    })
}

/// The bytes that `text` stands for; what is no escape stays as it is.
pub fn decoded(text: &str) -> Vec<u8> {
    pieces(text).map(Piece::byte).collect()
}

/// `text` as a part of a URL: whatever could mean something there is escaped.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn after_percent(rest: &str) -> Piece<'_> {
    let digits = rest.get(1..3).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => Piece::Escape(byte, &rest[..3]),
        None => Piece::Stray(rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_what_looks_like_them() {
        let apart: Vec<Piece<'_>> = pieces("a%C3%+f%é").collect();
        let [e, acute] = "é".as_bytes() else { panic!("two bytes") };
        let plain = |text: &str| text.bytes().map(Piece::Plain).collect::<Vec<_>>();
        let mut want = plain("a");
        want.extend([Piece::Escape(0xc3, "%C3"), Piece::Stray("%+f%é")]);
        want.extend(plain("+f"));
        want.extend([Piece::Stray("%é"), Piece::Plain(*e), Piece::Plain(*acute)]);
        assert_eq!(apart, want);
        assert_eq!(decoded("a%20b%2"), b"a b%2");
        assert_eq!(encoded("up{a=\"é ~\"}"), "up%7Ba%3D%22%C3%A9%20~%22%7D");
    }
}
