//! Heads of answers, line by line before ureq parses them: mended where Go's client is less strict than ureq's parser,
//! and cut to what is needed, so that memory does not depend on what a peer sends.
//!
//! Works in the input buffer of one connection. The parser sees whole lines only, each as it is to be read. What Go
//! refuses is passed on as it came: the parser refuses it too, and says why.

use memchr::memchr;

/// Go's client gives up at the same (`net/http: maxHeaderResponseSize`).
pub const MAX_HEAD_BYTES: usize = 10 << 20;

/// Of lines that are not needed this many are kept, in case one is asked for.
const MAX_OTHER_LINES: usize = 32;

/// The same in bytes, with what is folded onto them.
const MAX_OTHER_BYTES: usize = 4 << 10;

/// A status line that does not fit into the buffer is cut to this: its words are only shown.
const MAX_STATUS_BYTES: usize = 1 << 10;

/// Longer than every name that is needed.
const MAX_NAME_BYTES: usize = 64;

/// Without these an answer cannot be read.
const NEEDED: [&[u8]; 7] = [
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"location",
    b"retry-after",
    b"transfer-encoding",
];

/// And these, by how they begin.
const NEEDED_PREFIXES: [&[u8]; 2] = [b"x-prometheus-", b"x-consul-"];

/// How a status line begins, and how long it is up to the status.
const HTTP: &[u8] = b"HTTP/";
const VERSION_BYTES: usize = b"HTTP/1.1 ".len();

/// A head that is not to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooLarge {
    /// More than [`MAX_HEAD_BYTES`].
    Head,
    /// Lines that are needed are longer than the buffer.
    Line,
}

/// How far the head of one answer has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    stage: Stage,
    /// The start of the buffer that is mended lines.
    n_done: usize,
    /// What was dropped of the head so far.
    n_dropped: usize,
    n_others: usize,
    n_other_bytes: usize,
    last: Last,
    /// The start of a line was dropped, or all that is wanted of it is kept: its rest goes too.
    drops_rest: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Status,
    /// The lines of a head with a status like 103, which comes before the one that counts.
    Informational,
    Headers,
    /// The body.
    Body,
    /// Something that is no HTTP/1; the parser says so.
    Foreign,
}

/// The line before, which a folded one belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    /// None that can be folded.
    #[default]
    Status,
    Needed,
    Other,
    Dropped,
}

impl Head {
    /// `bytes[..len]` is what is there of a head, and maybe of the body after it; it starts with what earlier calls
    /// have left. Says how much of it is left now: less than the buffer holds, unless the head is over.
    ///
    /// # Errors
    /// It is not to be read.
    pub fn mend(&mut self, bytes: &mut [u8], len: usize) -> Result<usize, TooLarge> {
        if self.is_over() {
            return Ok(len);
        }
        let (mut from, mut to) = (self.n_done, self.n_done);
        while !self.is_over()
            && let Some(idx) = memchr(b'\n', &bytes[from..len])
        {
            let end = from + idx + 1;
            if !std::mem::take(&mut self.drops_rest) {
                to = self.take_line(bytes, from, end, to);
            }
            from = end;
        }
        bytes.copy_within(from..len, to);
        self.n_done = to;
        let mut left = len - (from - to);
        if !self.is_over() {
            left = self.take_piece(bytes, left)?;
        }
        self.n_dropped += len - left;
        if self.n_dropped + left > MAX_HEAD_BYTES { Err(TooLarge::Head) } else { Ok(left) }
    }

    /// How much of `len` bytes the parser may see.
    pub fn n_visible(&self, len: usize) -> usize {
        if self.is_over() { len } else { self.n_done.min(len) }
    }

    /// Whether what comes is not looked at any more.
    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Body | Stage::Foreign)
    }

    /// A line that ends at `end`; what is to be seen of it goes to `to`, and the end of that is the answer.
    fn take_line(&mut self, bytes: &mut [u8], from: usize, end: usize, to: usize) -> usize {
        let text_end = from + text_of(&bytes[from..end]).len();
        match self.stage {
            // Empty lines before a head are somebody's sloppy end of the answer before.
            Stage::Status if text_end == from => to,
            Stage::Status => self.take_status(bytes, from, end, to),
            Stage::Informational => {
                if text_end == from {
                    self.stage = Stage::Status;
                }
                to
            }
            Stage::Headers if text_end == from => {
                self.stage = Stage::Body;
                let to = without_empty_length(bytes, to);
                moved(bytes, from, end, to)
            }
            Stage::Headers if is_blank(bytes[from]) => self.take_fold(bytes, from, end, to),
            Stage::Headers => self.take_header(bytes, from, end, to),
            Stage::Body | Stage::Foreign => moved(bytes, from, end, to),
        }
    }

    fn take_status(&mut self, bytes: &mut [u8], from: usize, end: usize, to: usize) -> usize {
        let text_end = from + text_of(&bytes[from..end]).len();
        let Some((version, n_before_code)) = status_of(&bytes[from..text_end]) else {
            self.stage = Stage::Foreign;
            return moved(bytes, from, end, to);
        };
        let code = from + n_before_code;
        if bytes[code] == b'1' && &bytes[code..code + 3] != b"101" {
            self.stage = Stage::Informational;
            return to;
        }
        self.stage = Stage::Headers;
        self.last = Last::Status;
        bytes[to..to + VERSION_BYTES].copy_from_slice(version);
        for byte in &mut bytes[code..text_end] {
            if byte.is_ascii_control() {
                *byte = b' ';
            }
        }
        moved(bytes, code, end, to + VERSION_BYTES)
    }

    fn take_header(&mut self, bytes: &mut [u8], from: usize, end: usize, to: usize) -> usize {
        let text = text_of(&bytes[from..end]);
        let (name, value) = text.split_at(memchr(b':', text).unwrap_or(0));
        self.last = match kind_of(name) {
            Name::Needed => Last::Needed,
            Name::Other => {
                self.n_others += 1;
                self.n_other_bytes += end - from;
                let is_kept = self.n_others <= MAX_OTHER_LINES && self.n_other_bytes <= MAX_OTHER_BYTES;
                if is_kept { Last::Other } else { Last::Dropped }
            }
            // Go knows it by a name that nothing asks for.
            Name::WithBlank if !value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') => {
                Last::Dropped
            }
            Name::WithBlank | Name::Wrong => Last::Needed,
        };
        if self.last == Last::Dropped { to } else { moved(bytes, from, end, to) }
    }

    /// A line that goes on from the one before: as Go's `ReadMIMEHeader` puts them together, but for pieces of nothing.
    fn take_fold(&mut self, bytes: &mut [u8], from: usize, end: usize, to: usize) -> usize {
        match self.last {
            // Not after a status line.
            Last::Status => return moved(bytes, from, end, to),
            Last::Dropped => return to,
            Last::Other => {
                self.n_other_bytes += end - from;
                if self.n_other_bytes > MAX_OTHER_BYTES {
                    return to;
                }
            }
            Last::Needed => {}
        }
        let text_end = from + text_of(&bytes[from..end]).len();
        let n_blanks = bytes[from..text_end].iter().take_while(|byte| is_blank(**byte)).count();
        if from + n_blanks == text_end {
            return to;
        }
        let to = text_of(&bytes[..to]).len();
        bytes[to] = b' ';
        moved(bytes, from + n_blanks, end, to + 1)
    }

    /// What has no end yet is left for later if there is room for more of it.
    fn take_piece(&mut self, bytes: &mut [u8], len: usize) -> Result<usize, TooLarge> {
        let done = self.n_done;
        let piece = &bytes[done..len];
        if self.drops_rest {
            return Ok(done);
        }
        if self.stage == Stage::Status && !piece.iter().zip(HTTP).all(|(byte, http)| byte == http) {
            // Shown at once: what is no HTTP may have no lines. An empty line may be about to end.
            if piece != b"\r" {
                self.stage = Stage::Foreign;
            }
            return Ok(len);
        }
        if len < bytes.len() {
            return Ok(len);
        }
        match (self.stage, piece) {
            (Stage::Status, _) => {
                let end = done + MAX_STATUS_BYTES;
                bytes[end - 1] = b'\n';
                self.n_done = self.take_line(bytes, done, end, done);
                if self.stage == Stage::Foreign {
                    return Ok(len);
                }
            }
            (Stage::Headers, [b' ' | b'\t', ..]) if self.last == Last::Needed => return Err(TooLarge::Line),
            (Stage::Headers, [b' ' | b'\t', ..]) => {}
            (Stage::Headers, _) => {
                let name_bytes = memchr(b':', piece);
                let may_be_needed =
                    name_bytes.map_or(piece.len() <= MAX_NAME_BYTES, |idx| is_needed(&piece[..idx]));
                if may_be_needed {
                    return Err(TooLarge::Line);
                }
                self.last = Last::Dropped;
            }
            _ => {}
        }
        self.drops_rest = true;
        Ok(self.n_done)
    }
}

/// The text after the status of an answer with another status than 200, of a mended head: its own words.
pub fn reason_of(head: &[u8]) -> Option<&[u8]> {
    let line = text_of(&head[..=memchr(b'\n', head)?]);
    let (version, rest) = line.split_at_checked(VERSION_BYTES)?;
    let (code, reason) = rest.split_at_checked(b"200".len())?;
    let is_told = version.starts_with(HTTP) && code != b"200";
    is_told.then(|| reason.trim_ascii())
}

/// The version that a status line is read as, and what stands before its code; `None` for what Go refuses. All that is
/// older than HTTP/1.1 is read as 1.0, which has no chunks, and all that is newer as 1.1.
fn status_of(text: &[u8]) -> Option<(&'static [u8], usize)> {
    let (version, rest) = text.split_at_checked(VERSION_BYTES)?;
    let [major, b'.', minor, b' '] = *version.strip_prefix(HTTP)? else { return None };
    if !major.is_ascii_digit() || !minor.is_ascii_digit() {
        return None;
    }
    let is_new = major > b'1' || (major == b'1' && minor > b'0');
    let n_blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    let code = rest[n_blanks..].split(|byte| *byte == b' ').next()?;
    let is_code = code.len() == 3 && code.iter().all(u8::is_ascii_digit);
    let read_as: &[u8] = if is_new { b"HTTP/1.1 " } else { b"HTTP/1.0 " };
    is_code.then_some((read_as, VERSION_BYTES + n_blanks))
}

/// What a header's name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Needed,
    Other,
    /// A blank in it, or before the colon: another name than without it.
    WithBlank,
    /// None; or one with bytes that Go does not take.
    Wrong,
}

fn kind_of(name: &[u8]) -> Name {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(|byte| is_token(byte) || *byte == b' ') {
        Name::Wrong
    } else if name.contains(&b' ') {
        Name::WithBlank
    } else if is_needed(name) {
        Name::Needed
    } else {
        Name::Other
    }
}

fn is_needed(name: &[u8]) -> bool {
    NEEDED.iter().any(|needed| name.eq_ignore_ascii_case(needed))
        || NEEDED_PREFIXES
            .iter()
            .any(|prefix| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
}

/// Go takes a `Content-Length` of nothing for none, if it is the only one.
fn without_empty_length(bytes: &mut [u8], len: usize) -> usize {
    let mut found = None;
    let (mut from, mut n_found) = (0, 0);
    while let Some(idx) = memchr(b'\n', &bytes[from..len]) {
        let line = &bytes[from..from + idx + 1];
        if let Some(colon) = memchr(b':', line)
            && line[..colon].eq_ignore_ascii_case(b"content-length")
        {
            n_found += 1;
            found = line[colon + 1..].trim_ascii().is_empty().then_some((from, from + idx + 1));
        }
        from += idx + 1;
    }
    match found {
        Some((start, end)) if n_found == 1 => {
            bytes.copy_within(end..len, start);
            len - (end - start)
        }
        _ => len,
    }
}

/// Without its end, which is `\r\n` or `\n`.
fn text_of(line: &[u8]) -> &[u8] {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    text.strip_suffix(b"\r").unwrap_or(text)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Moves `bytes[from..end]` to `to`, and says where that ends.
fn moved(bytes: &mut [u8], from: usize, end: usize, to: usize) -> usize {
    bytes.copy_within(from..end, to);
    to + end - from
}

#[cfg(test)]
mod tests {
    use super::{Head, MAX_HEAD_BYTES, TooLarge, reason_of};
    use proptest::prelude::*;

    const CAPACITY: usize = 16 << 10;

    /// What the parser sees of what comes in pieces of this size, up to the end of the head.
    fn mended(sent: &[u8], piece_bytes: usize) -> Result<Vec<u8>, TooLarge> {
        let mut head = Head::default();
        let (mut buffer, mut len, mut sent) = (vec![0; CAPACITY], 0, sent);
        while !sent.is_empty() && !head.is_over() {
            let n_bytes = piece_bytes.min(CAPACITY - len).min(sent.len());
            assert!(n_bytes > 0, "no room and no verdict");
            buffer[len..len + n_bytes].copy_from_slice(&sent[..n_bytes]);
            sent = &sent[n_bytes..];
            let before = buffer[..head.n_visible(len)].to_vec();
            len = head.mend(&mut buffer, len + n_bytes)?;
            let is_fold = || buffer.starts_with(before.strip_suffix(b"\r\n").unwrap_or_default());
            assert!(head.is_over() || buffer.starts_with(&before) || is_fold(), "what was seen has changed");
        }
        buffer.truncate(head.n_visible(len));
        Ok(buffer)
    }

    fn check(sent: &str, want: &str) {
        for piece_bytes in [1, 7, 1000, CAPACITY] {
            let got = mended(sent.as_bytes(), piece_bytes).expect("readable");
            let got = String::from_utf8_lossy(&got).into_owned();
            // Body that came with the head is left alone.
            assert!(got.starts_with(want), "{piece_bytes}: {got:?}");
        }
    }

    /// Header lines as they are sent and as they are seen.
    fn lines(sent: &str, want: &str) {
        check(&format!("HTTP/1.1 200 OK\r\n{sent}\r\n"), &format!("HTTP/1.1 200 OK\r\n{want}\r\n"));
    }

    #[test]
    fn short_heads_are_left_alone() {
        let head = "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\n";
        check(&format!("{head}body"), head);
        let few: String = (0..30).map(|line| format!("X-{line}: y\r\n")).collect();
        let head = format!("HTTP/1.1 200 OK\r\n{few}\r\n");
        check(&head, &head);
        // A body that looks like headers is none.
        let head = "HTTP/1.0 200 OK\n\n";
        let got = mended(format!("{head}{}", " b : c\n".repeat(2000)).as_bytes(), CAPACITY);
        assert_eq!(got.map(|got| got.len()), Ok(head.len() + 7 * 2000));
    }

    #[test]
    fn folded_lines_are_one_line() {
        lines("X-A: b\r\n  c\r\n", "X-A: b c\r\n");
        lines("X-A: b\r\n\tc \t\r\n d\r\nX-B: e\r\n", "X-A: b c \t d\r\nX-B: e\r\n");
        lines(
            "Content-Type: text/plain;\r\n version=0.0.4\r\n",
            "Content-Type: text/plain; version=0.0.4\r\n",
        );
        lines("Content-Length:\r\n 11\r\n", "Content-Length: 11\r\n");
        lines("X-A: b\r\n   \r\n\t\r\n", "X-A: b\r\n");
        check("HTTP/1.1 200 OK\nX-A: b\n c\nX-B: d\n\n", "HTTP/1.1 200 OK\nX-A: b c\nX-B: d\n\n");
        // Any number of folds of nothing, and folds of what no one needs.
        let blanks = " \r\n".repeat(100_000);
        lines(&format!("Content-Type: a;\r\n{blanks} b\r\n"), "Content-Type: a; b\r\n");
        let folds = " c\r\n".repeat(100_000);
        let head = format!("HTTP/1.1 200 OK\r\nX-A: b\r\n{folds}Content-Length: 3\r\n\r\n");
        let got = mended(head.as_bytes(), CAPACITY).expect("readable");
        assert!(got.ends_with(b"\r\nContent-Length: 3\r\n\r\n") && got.len() < 5 << 10, "{}", got.len());
        // Of what is needed there is a bound.
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: b\r\n{folds}");
        assert_eq!(mended(head.as_bytes(), CAPACITY), Err(TooLarge::Line));
    }

    #[test]
    fn names_with_blanks_are_other_names() {
        lines("X-A : b\r\nX B: c\r\nX-C: d\r\n", "X-C: d\r\n");
        lines("Content-Length : 3\r\n 4\r\nTransfer-Encoding  :chunked\r\nX_Y: z\r\n", "X_Y: z\r\n");
        lines("Content-Length: \r\nX-C: d\r\n", "X-C: d\r\n");
        // What Go refuses is for the parser to refuse.
        for wrong in [
            " X: folded onto the status\r\n",
            "X\tA: b\r\n",
            "X-A\t: b\r\n",
            "X A: b\u{1}\r\n",
            ": b\r\n",
            "garbage\r\n",
            "X-A\r\n: b\r\n",
            "X@A: b\r\n",
            "X-ü: b\r\n",
            "Content-Length:\r\nContent-Length: 3\r\n",
        ] {
            lines(wrong, wrong);
        }
    }

    #[test]
    fn status_lines_are_read_as_go_reads_them() {
        let status = |sent: &str, want: &str| {
            check(&format!("{sent}\r\nA: b\r\n\r\n"), &format!("{want}\r\nA: b\r\n\r\n"));
        };
        status("HTTP/1.2 200 OK", "HTTP/1.1 200 OK");
        status("HTTP/2.0 503", "HTTP/1.1 503");
        status("HTTP/9.9 200 ", "HTTP/1.1 200 ");
        status("HTTP/1.0 200 OK", "HTTP/1.0 200 OK");
        status("HTTP/0.9 200 OK", "HTTP/1.0 200 OK");
        status("HTTP/1.1    200  OK", "HTTP/1.1 200  OK");
        status("HTTP/1.1 200 O\rK\0\u{1}\r", "HTTP/1.1 200 O K   ");
        status("\r\n\nHTTP/1.1 200 OK", "HTTP/1.1 200 OK");
        check("HTTP/1.1 103 Hints\r\nLink: a\r\n b\r\n\r\nHTTP/1.2 200\r\n\r\nx", "HTTP/1.1 200\r\n\r\n");
        check("HTTP/1.1 101 Switch\r\nA: b\r\n\r\n", "HTTP/1.1 101 Switch\r\nA: b\r\n\r\n");
        for wrong in [
            "HTTP/2 200 OK",
            "HTTP/1.1\t200 OK",
            "HTTP/1.1 200OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 -20 OK",
            "http/1.1 200",
        ] {
            let seen = mended(format!("{wrong}\r\nA : b\r\n\r\n").as_bytes(), CAPACITY).expect("short");
            assert!(seen.starts_with(wrong.as_bytes()), "{wrong}");
        }
        for text in ["ICY 200 OK\r\n", "\u{15}\u{3}\u{1}", "a_metric 1"] {
            assert_eq!(mended(text.as_bytes(), CAPACITY), Ok(text.as_bytes().to_vec()));
        }
        let long = format!("HTTP/1.1 200 {}\r\nA: b\r\n\r\n", "x".repeat(3 * CAPACITY));
        let got = mended(long.as_bytes(), 1000).expect("readable");
        assert!(got.ends_with(b"x\nA: b\r\n\r\n") && got.len() < 2 << 10, "{}", got.len());
    }

    #[test]
    fn what_is_needed_survives_any_length() {
        let noise = |n: usize| "Set-Cookie: a=b; Path=/\r\n".repeat(n);
        for n_lines in [200, 5000, 100_000] {
            let head = format!(
                "HTTP/1.1 503 Later\r\n{}content-type: text/plain\r\n{}X-Consul-Index: 7\r\n\r\n",
                noise(n_lines),
                noise(n_lines)
            );
            for piece_bytes in [4000, CAPACITY] {
                let got = mended(head.as_bytes(), piece_bytes).expect("readable");
                let got = String::from_utf8_lossy(&got).into_owned();
                assert!(got.starts_with("HTTP/1.1 503 Later\r\n"), "{got}");
                assert!(got.ends_with("\r\n\r\n"), "{got}");
                for line in ["content-type: text/plain\r\n", "X-Consul-Index: 7\r\n"] {
                    assert!(got.contains(line), "{got}");
                }
                assert!(got.lines().count() <= 100, "{}", got.lines().count());
            }
        }
        let long = "x".repeat(1 << 20);
        let head = format!("HTTP/1.1 200 OK\r\nCookie: {long}\r\n more\r\nContent-Length: 3\r\n\r\nabc");
        for piece_bytes in [1000, CAPACITY] {
            let got = mended(head.as_bytes(), piece_bytes).expect("readable");
            assert!(got.starts_with(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"));
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let endless = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(MAX_HEAD_BYTES / 6 + 1));
        assert_eq!(mended(endless.as_bytes(), CAPACITY), Err(TooLarge::Head));
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(MAX_HEAD_BYTES));
        assert_eq!(mended(endless.as_bytes(), CAPACITY), Err(TooLarge::Head));
        let endless = "HTTP/1.1 103 Hints\r\nA: b\r\n\r\n".repeat(MAX_HEAD_BYTES / 28 + 1);
        assert_eq!(mended(endless.as_bytes(), CAPACITY), Err(TooLarge::Head));
        let endless = format!("HTTP/1.1 200 {}", "b".repeat(MAX_HEAD_BYTES));
        assert_eq!(mended(endless.as_bytes(), CAPACITY), Err(TooLarge::Head));
        let needed = format!("HTTP/1.1 200 OK\r\nLocation: {}", "b".repeat(CAPACITY));
        assert_eq!(mended(needed.as_bytes(), CAPACITY), Err(TooLarge::Line));
        let needed = format!("HTTP/1.1 200 OK\r\n{}", "Connection: x\r\n".repeat(CAPACITY));
        assert_eq!(mended(needed.as_bytes(), CAPACITY), Err(TooLarge::Line));
    }

    proptest! {
        #![proptest_config(support::cases::cases(2000))]

        /// Whatever comes, in whatever pieces: the parser sees the same, and what is mended needs no mending.
        #[test]
        fn pieces_do_not_matter(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    "HTTP/1.1 200 OK", "HTTP/2.0 503 x", "HTTP/1.1 103 y", "\r\n", "\n", "\r", " ", "\t", ":", "\0",
                    "X-A: b", "Content-Length:", "Content-Length: 3", "Location: /ü", "x", "Content-Type : a",
                ]),
                0..40,
            ),
            piece_bytes in 1..60_usize,
        ) {
            let sent = parts.concat();
            let is_head = |seen: &[u8]| seen.starts_with(b"HTTP/1.");
            let whole = mended(sent.as_bytes(), CAPACITY).expect("short");
            let pieces = mended(sent.as_bytes(), piece_bytes).expect("short");
            if is_head(&whole) {
                // A body that comes later is not part of it.
                prop_assert!(whole.starts_with(&pieces), "{:?} {:?}", pieces, whole);
                let again = mended(&pieces, CAPACITY).expect("short");
                prop_assert_eq!(again, pieces);
            } else {
                prop_assert!(whole.starts_with(&pieces) || !is_head(&pieces));
            }
        }
    }

    #[test]
    fn reasons_are_the_servers_own() {
        let check = |head: &str, want: Option<&str>| {
            assert_eq!(
                reason_of(head.as_bytes()).map(<[u8]>::to_vec),
                want.map(|want| want.as_bytes().to_vec())
            );
        };
        check("HTTP/1.1 503 My Reason\r\nA: b", Some("My Reason"));
        check("HTTP/1.0 404\n", Some(""));
        check("HTTP/1.1 200 Fine\r\n", None);
        check("HTTP/1.1 503 My Rea", None);
        check("ICY 2\n", None);
    }
}
