//! Heads of answers that are longer than what is kept of them: lines that nobody needs go before they fill the buffer.
//!
//! Works in the input buffer of one connection, before ureq parses it, so that memory does not depend on what a peer
//! sends. Knows where lines end and how they are called, nothing more.

use memchr::{memchr, memchr_iter};

/// Go's client gives up at the same (`net/http: maxHeaderResponseSize`).
pub(in crate::http) const MAX_HEAD_BYTES: usize = 10 << 20;

/// ureq takes 128 header lines; with fewer than this nothing is looked at.
const MAX_LINES: usize = 100;

/// Of lines that nobody asks for so many are kept, in case somebody does.
const MAX_OTHER_LINES: usize = 32;

/// The same in bytes.
const MAX_OTHER_BYTES: usize = 4 << 10;

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

/// A head that is not to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum TooLarge {
    /// More than [`MAX_HEAD_BYTES`].
    Head,
    /// A line that is needed is longer than the buffer.
    Line,
}

/// How far the head of one answer has come.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::http) struct Head {
    /// What was dropped of it.
    n_dropped: usize,
    /// A line without an end was dropped, the rest of it is still to come: what is kept ends here.
    dropped_at: Option<usize>,
}

impl Head {
    /// `bytes[..len]` is what is there of a head, and maybe of the body after it. Drops what is not needed if it is
    /// long, and says how much is left.
    pub(in crate::http) fn shorten(&mut self, bytes: &mut [u8], mut len: usize) -> Result<usize, TooLarge> {
        let capacity = bytes.len();
        if let Some(kept) = self.dropped_at {
            let n_rest = memchr(b'\n', &bytes[kept..len]).map_or(len - kept, |idx| idx + 1);
            let ends = kept + n_rest <= len && bytes[kept..kept + n_rest].last() == Some(&b'\n');
            bytes.copy_within(kept + n_rest..len, kept);
            len -= n_rest;
            self.n_dropped += n_rest;
            self.dropped_at = (!ends).then_some(kept);
        }
        let (n_lines, is_whole) = count_lines(&bytes[..len]);
        if n_lines > MAX_LINES || (len == capacity && !is_whole) {
            let kept = self.keep_needed(bytes, len);
            self.n_dropped += len - kept;
            len = kept;
            if len == capacity {
                return Err(TooLarge::Line);
            }
        }
        if self.n_dropped + len > MAX_HEAD_BYTES { Err(TooLarge::Head) } else { Ok(len) }
    }

    fn keep_needed(&mut self, bytes: &mut [u8], len: usize) -> usize {
        let capacity = bytes.len();
        let mut kept = memchr(b'\n', &bytes[..len]).map_or(len, |idx| idx + 1);
        let (mut from, mut n_others, mut n_other_bytes) = (kept, 0, 0);
        let mut keeps = true;
        while from < len {
            let end = memchr(b'\n', &bytes[from..len]).map(|idx| from + idx + 1);
            let line = &bytes[from..end.unwrap_or(len)];
            if is_empty(line) {
                // The end of the head; the body follows.
                bytes.copy_within(from..len, kept);
                return kept + len - from;
            }
            // A line that starts with a blank belongs to the one before it.
            if !matches!(line, [b' ' | b'\t', ..]) {
                keeps = is_needed(line);
            }
            let n_bytes = line.len();
            match end {
                Some(end) => {
                    if !keeps && n_others < MAX_OTHER_LINES && n_other_bytes + n_bytes <= MAX_OTHER_BYTES {
                        n_others += 1;
                        n_other_bytes += n_bytes;
                        bytes.copy_within(from..end, kept);
                        kept += n_bytes;
                    } else if keeps {
                        bytes.copy_within(from..end, kept);
                        kept += n_bytes;
                    }
                    from = end;
                }
                None => {
                    // Unless there is room for the rest of it and it may be needed.
                    if keeps || n_bytes < capacity / 4 {
                        bytes.copy_within(from..len, kept);
                        kept += n_bytes;
                    } else {
                        self.dropped_at = Some(kept);
                    }
                    from = len;
                }
            }
        }
        kept
    }
}

/// The text after the status of an answer with another status than 200: its own words.
pub(in crate::http) fn reason_of(head: &[u8]) -> Option<&[u8]> {
    let line = &head[..memchr(b'\n', head)?];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (version, rest) = line.split_at_checked(b"HTTP/1.1 ".len())?;
    let (code, reason) = rest.split_at_checked(b"200".len())?;
    let is_told = version.starts_with(b"HTTP/") && code != b"200" && !code.starts_with(b"1");
    is_told.then(|| reason.trim_ascii())
}

/// Lines of the head, and whether its end is there.
fn count_lines(bytes: &[u8]) -> (usize, bool) {
    let mut start = 0;
    for (n_before, idx) in memchr_iter(b'\n', bytes).enumerate() {
        if is_empty(&bytes[start..=idx]) {
            return (n_before, true);
        }
        if n_before == MAX_LINES {
            return (n_before + 1, false);
        }
        start = idx + 1;
    }
    (0, false)
}

fn is_empty(line: &[u8]) -> bool {
    line == b"\n" || line == b"\r\n"
}

fn is_needed(line: &[u8]) -> bool {
    let name = &line[..memchr(b':', line).unwrap_or(line.len())];
    NEEDED.iter().any(|needed| name.eq_ignore_ascii_case(needed))
        || NEEDED_PREFIXES
            .iter()
            .any(|prefix| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)))
}

#[cfg(test)]
mod tests {
    use super::{Head, MAX_HEAD_BYTES, TooLarge, reason_of};

    const CAPACITY: usize = 16 << 10;

    /// What is left of a head that comes in pieces of this size.
    fn shortened(sent: &[u8], piece_bytes: usize) -> Result<Vec<u8>, TooLarge> {
        let mut head = Head::default();
        let (mut buffer, mut len, mut sent) = (vec![0; CAPACITY], 0, sent);
        while !sent.is_empty() {
            let n_bytes = piece_bytes.min(CAPACITY - len).min(sent.len());
            buffer[len..len + n_bytes].copy_from_slice(&sent[..n_bytes]);
            sent = &sent[n_bytes..];
            len = head.shorten(&mut buffer, len + n_bytes)?;
            // What was the end of the head is the end of the test.
            if buffer[..len].windows(4).any(|end| end == b"\r\n\r\n") {
                break;
            }
        }
        buffer.truncate(len);
        Ok(buffer)
    }

    fn check(sent: &str, want: &str) {
        for piece_bytes in [1, 7, 1000, CAPACITY] {
            let got = shortened(sent.as_bytes(), piece_bytes).expect("readable");
            let got = String::from_utf8_lossy(&got).into_owned();
            // Body that came with the head is left alone.
            assert!(got.starts_with(want), "{piece_bytes}: {got:?}");
        }
    }

    #[test]
    fn short_heads_are_left_alone() {
        let head = "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 3\r\n\r\n";
        check(&format!("{head}body"), head);
        let lines: String = (0..90).map(|line| format!("X-{line}: y\r\n")).collect();
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        check(&head, &head);
        // A body that looks like headers is none.
        let head = "HTTP/1.0 200 OK\n\n";
        let got = shortened(format!("{head}{}", "a: b\n".repeat(3000)).as_bytes(), CAPACITY);
        assert_eq!(got.map(|got| got.len()), Ok(head.len() + 5 * 3000));
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
                let got = shortened(head.as_bytes(), piece_bytes).expect("readable");
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
            let got = shortened(head.as_bytes(), piece_bytes).expect("readable");
            assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&got));
            assert!(got.windows(21).any(|line| line == b"Content-Length: 3\r\n\r\n"));
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let endless = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(MAX_HEAD_BYTES / 6 + 1));
        assert_eq!(shortened(endless.as_bytes(), CAPACITY), Err(TooLarge::Head));
        let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(MAX_HEAD_BYTES));
        assert_eq!(shortened(endless.as_bytes(), CAPACITY), Err(TooLarge::Head));
        let needed = format!("HTTP/1.1 200 OK\r\nLocation: {}", "b".repeat(CAPACITY));
        assert_eq!(shortened(needed.as_bytes(), CAPACITY), Err(TooLarge::Line));
        assert_eq!(shortened(&[b'x'; CAPACITY], CAPACITY), Err(TooLarge::Line));
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
        check("HTTP/1.1 103 Early Hints\r\n", None);
        check("HTTP/1.1 503 My Rea", None);
        check("ICY 2\n", None);
    }
}
