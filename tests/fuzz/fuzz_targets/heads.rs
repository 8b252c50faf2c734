//! Any bytes as the head of an answer, as the client mends it before it is parsed, and as a request to the web server.

#![cfg_attr(fuzzing, no_main)]

use scraped::http::wire::head::{Head, TooLarge, reason_of};
use scraped::web::serve::http;
use scraped::web::serve::http::{MAX_BODY_BYTES, MAX_HEAD_BYTES};

/// Holds every input once, and not eight times.
const CAPACITY: usize = 8 << 10;

pub(crate) fn run(input: &[u8]) {
    check_answer(input);
    // Longer than the buffer.
    check_answer(&input.repeat(8));
    check_request(input);
}

fn check_answer(sent: &[u8]) {
    let whole = mended(sent, CAPACITY);
    for piece_bytes in [1, 7] {
        assert_eq!(mended(sent, piece_bytes), whole, "in pieces of {piece_bytes} bytes");
    }
    let Ok(Mended { seen, is_over: true }) = whole else { return };
    if !is_readable(&seen) {
        return;
    }
    let again = mended(&seen, CAPACITY).expect("it was readable");
    assert!(again == Mended { seen: seen.clone(), is_over: true }, "{:?}", seen.escape_ascii().to_string());
    if let Some(reason) = reason_of(&seen) {
        assert!(!reason.iter().any(u8::is_ascii_control), "{:?}", reason.escape_ascii().to_string());
    }
}

/// Whether the parser may take it: what Go refuses is left as it came.
fn is_readable(head: &[u8]) -> bool {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n').map(without_end);
    let is_status = lines.next().is_some_and(|line| {
        let code = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "));
        code.is_some_and(|code| {
            code.get(..3).is_some_and(|code| code.iter().all(u8::is_ascii_digit))
                && matches!(code.get(3), None | Some(b' '))
        })
    });
    let is_header = |line: &[u8]| {
        let colon_idx = line.iter().position(|byte| *byte == b':');
        colon_idx.is_some_and(|idx| idx > 0 && line[..idx].iter().all(u8::is_ascii_graphic))
    };
    is_status && lines.take_while(|line| !line.is_empty()).all(is_header)
}

#[derive(Debug, PartialEq, Eq)]
struct Mended {
    /// What the parser sees of a head, and what follows it.
    seen: Vec<u8>,
    is_over: bool,
}

/// What becomes of `sent` when it comes in pieces of this size.
fn mended(sent: &[u8], piece_bytes: usize) -> Result<Mended, TooLarge> {
    let mut head = Head::default();
    let (mut buffer, mut len, mut rest) = (vec![0; CAPACITY], 0, sent);
    let mut seen = Vec::new();
    while !rest.is_empty() && !head.is_over() {
        let n_bytes = piece_bytes.min(CAPACITY - len).min(rest.len());
        assert!(n_bytes > 0, "a full buffer and no verdict");
        let (piece, after) = rest.split_at(n_bytes);
        buffer[len..len + n_bytes].copy_from_slice(piece);
        rest = after;
        len = head.mend(&mut buffer, len + n_bytes)?;
        assert!(len <= CAPACITY);
        let visible = &buffer[..head.n_visible(len)];
        let is_longer = visible.starts_with(&seen) || visible.starts_with(without_end(&seen));
        assert!(head.is_over() || is_longer, "what was seen has changed");
        seen.clear();
        seen.extend_from_slice(visible);
    }
    seen.extend_from_slice(if head.is_over() { rest } else { &[] });
    Ok(Mended { seen, is_over: head.is_over() })
}

/// What a folded line goes on from.
fn without_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

fn check_request(sent: &[u8]) {
    let (request, n_bytes) = match http::parse_head(sent) {
        http::Head::Complete(request, n_bytes) => (request, n_bytes),
        http::Head::Partial => {
            return assert!(sent.len() < MAX_HEAD_BYTES + MAX_BODY_BYTES, "waits for more than it takes");
        }
        http::Head::Refused(answer) => return assert!([400, 413, 431].contains(&answer.status)),
    };
    assert!(n_bytes <= MAX_HEAD_BYTES + MAX_BODY_BYTES && n_bytes <= sent.len());
    let again = http::parse_head(&sent[..n_bytes]);
    assert!(matches!(again, http::Head::Complete(again, n_again) if again == request && n_again == n_bytes));
    let earlier = http::parse_head(&sent[..n_bytes - 1]);
    assert!(!matches!(earlier, http::Head::Complete(..)), "a request ends once");
    for name in ["state", "scrapePool", "match[]"] {
        let n_bytes: usize = request.query_values(name).iter().map(String::len).sum();
        // A byte that is no UTF-8 becomes three.
        assert!(n_bytes <= 3 * request.query.len());
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
