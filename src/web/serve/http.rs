//! HTTP/1.1 on the server's side: request heads in, response bytes out. No socket, no thread.

use crate::config::client::secret::Secret;
use crate::percent::{Piece, pieces};
use crate::web::metrics::Account;
use std::fmt::{self, Write as _};

/// Most bytes of a request head; a longer one gets 431.
pub const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Most bytes of a request's body: the form of a query, or a request of remote read as it is packed. A longer one gets 413.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// Most header lines; httparse needs the room ahead.
const MAX_HEADERS: usize = 64;
/// A body that is made in pieces is sent in pieces of this size; a shorter one is sent as a whole.
pub const PIECE_BYTES: usize = 32 * 1024;

/// What every answer carries that says nothing else. Pages are HTML, one stylesheet and one script: nothing that stands
/// in a page may run, be framed, or ask another server.
const SECURITY_HEADERS: [(&str, &str); 4] = [
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action \
         'self'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    // No other site hears where a visitor comes from. `no-referrer` would take the origin from forms, too.
    ("Referrer-Policy", "same-origin"),
];

/// The part of a request that a page is chosen by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, ….
    pub method: String,
    /// Path, percent-decoding left out.
    pub path: String,
    /// What stands behind `?`, as sent.
    pub query: String,
    /// The body if it is a form, as sent.
    pub form: String,
    /// The body if it is no form, as sent.
    pub body: Vec<u8>,
    /// Header `Host`; none in HTTP/1.0.
    pub host: Option<String>,
    /// Header `Origin`: the site whose page sends the request, if a browser says so.
    pub origin: Option<String>,
    /// Header `Sec-Fetch-Site`: how far that site is from this one, if a browser says so.
    pub fetch_site: Option<String>,
    /// Header `Accept`.
    pub accept: Option<String>,
    /// Header `Authorization`.
    pub authorization: Option<Secret>,
    /// Whether the connection may serve another request.
    pub keep_alive: bool,
    /// Whether the client understands pieces: HTTP/1.1.
    pub takes_chunks: bool,
    /// Whether it came to a socket that every browser on this machine reaches, and no one else.
    pub is_loopback: bool,
}

/// What the first bytes of a connection are.
#[derive(Debug)]
pub enum Head {
    /// Not all of it is here.
    Partial,
    /// A request and its length in bytes, body included.
    Complete(Request, usize),
    /// Not a request we serve; the connection closes behind the answer.
    Refused(Response),
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
    /// What the request is counted by.
    pub account: Option<Account>,
}

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Vec<u8>),
    /// Made as far as the client reads it: memory does not grow with it, and a client that stalls stops it.
    Pieces(Pieces),
    /// Has no end: asked again and again for what is new.
    Live(Live),
}

/// Pieces of a body, in order. Runs on the web thread: each piece is made without waiting.
pub type Pieces = Box<dyn Iterator<Item = Vec<u8>>>;

/// What is new since it was asked last, if anything is. Runs on the web thread, without waiting.
pub type Live = Box<dyn FnMut() -> Option<Vec<u8>>>;

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Pieces(_) => f.write_str("pieces"),
            Self::Live(_) => f.write_str("live"),
        }
    }
}

impl Response {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into().into_bytes())
    }

    /// An answer with a type of its own.
    pub fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self::of(status, content_type, Body::Whole(body))
    }

    /// An answer that is made while it is sent.
    pub fn in_pieces(content_type: &'static str, pieces: impl Iterator<Item = Vec<u8>> + 'static) -> Self {
        Self::of(200, content_type, Body::Pieces(Box::new(pieces)))
    }

    /// An answer that goes on until the client has enough.
    pub fn live(content_type: &'static str, news: impl FnMut() -> Option<Vec<u8>> + 'static) -> Self {
        Self::of(200, content_type, Body::Live(Box::new(news)))
    }

    /// Somewhere else.
    pub fn moved(status: u16, to: &str) -> Self {
        Self::text(status, format!("see {to}\n")).header("Location", to)
    }

    fn of(status: u16, content_type: &'static str, body: Body) -> Self {
        Self { status, content_type, headers: Vec::new(), body, account: None }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The answer as it goes to the client.
    pub fn begin(mut self, request: Option<&Request>) -> Outgoing {
        let (body, rest) = match std::mem::replace(&mut self.body, Body::Whole(Vec::new())) {
            Body::Whole(bytes) => (bytes, Rest::Nothing),
            Body::Pieces(mut pieces) => {
                let mut bytes = Vec::new();
                let has_more = gather(&mut pieces, &mut bytes);
                (bytes, if has_more { Rest::Pieces(pieces) } else { Rest::Nothing })
            }
            Body::Live(news) => (Vec::new(), Rest::Live(news)),
        };
        let is_chunked = request.is_some_and(|request| request.takes_chunks);
        let is_whole = matches!(rest, Rest::Nothing);
        // Without a length and without pieces only the end of the connection is the end of the body.
        let keep_alive = request.is_some_and(|request| request.keep_alive) && (is_chunked || is_whole);
        let framing = match is_whole {
            true => Framing::Length(body.len()),
            false if is_chunked => Framing::Chunks,
            false => Framing::UntilEnd,
        };
        let mut bytes = self.head(&framing, keep_alive).into_bytes();
        let wants_body = request.is_none_or(|request| request.method != "HEAD");
        if wants_body {
            framing.frame(&body, &mut bytes);
        }
        if let Some(account) = &mut self.account {
            account.status = self.status;
            account.body_bytes = body.len();
        }
        let rest = if wants_body { rest } else { Rest::Nothing };
        Outgoing { bytes, n_written: 0, rest, framing, keep_alive, account: self.account }
    }

    fn head(&self, framing: &Framing, keep_alive: bool) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        if !matches!(framing, Framing::Length(0)) {
            let _ = write!(head, "Content-Type: {}\r\n", self.content_type);
        }
        let _ = match framing {
            // A body that may not be has no length.
            Framing::Length(_) if self.status == 204 => Ok(()),
            Framing::Length(n_bytes) => write!(head, "Content-Length: {n_bytes}\r\n"),
            Framing::Chunks => write!(head, "Transfer-Encoding: chunked\r\n"),
            Framing::UntilEnd => Ok(()),
        };
        for (name, value) in SECURITY_HEADERS {
            if !self.headers.iter().any(|(own, _)| *own == name) {
                let _ = write!(head, "{name}: {value}\r\n");
            }
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !keep_alive {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head
    }
}

/// How a client knows where a body ends.
#[derive(Debug)]
enum Framing {
    Length(usize),
    Chunks,
    UntilEnd,
}

impl Framing {
    fn frame(&self, body: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Length(_) | Self::UntilEnd => out.extend_from_slice(body),
            // An empty chunk would be the end.
            Self::Chunks if body.is_empty() => {}
            Self::Chunks => {
                out.extend_from_slice(format!("{:x}\r\n", body.len()).as_bytes());
                out.extend_from_slice(body);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// An answer on its way: what is ready for the socket, and where the rest comes from.
pub struct Outgoing {
    bytes: Vec<u8>,
    n_written: usize,
    rest: Rest,
    framing: Framing,
    keep_alive: bool,
    account: Option<Account>,
}

enum Rest {
    Nothing,
    Pieces(Pieces),
    Live(Live),
}

impl Outgoing {
    /// What is ready; makes the next piece if all of the last one is written. Empty: the answer is complete, or nothing is
    /// new in a live one.
    pub fn ready(&mut self) -> &[u8] {
        if self.n_written >= self.bytes.len() {
            self.bytes.clear();
            self.n_written = 0;
            match &mut self.rest {
                Rest::Nothing => {}
                Rest::Pieces(pieces) => {
                    let mut body = Vec::with_capacity(PIECE_BYTES);
                    let has_more = gather(pieces, &mut body);
                    self.frame(&body);
                    if !has_more {
                        self.rest = Rest::Nothing;
                        if matches!(self.framing, Framing::Chunks) {
                            self.bytes.extend_from_slice(b"0\r\n\r\n");
                        }
                    }
                }
                Rest::Live(news) => {
                    let body = news().unwrap_or_default();
                    self.frame(&body);
                }
            }
        }
        self.bytes.get(self.n_written..).unwrap_or_default()
    }

    fn frame(&mut self, body: &[u8]) {
        self.framing.frame(body, &mut self.bytes);
        if let Some(account) = &mut self.account {
            account.body_bytes += body.len();
        }
    }

    /// Whether there may be news of it for ever.
    pub fn is_live(&self) -> bool {
        matches!(self.rest, Rest::Live(_))
    }

    /// The socket took `n_bytes` of what was ready.
    pub fn written(&mut self, n_bytes: usize) {
        self.n_written += n_bytes;
    }

    /// Memory that waits for the client.
    pub fn n_unread(&self) -> usize {
        self.bytes.len().saturating_sub(self.n_written)
    }

    /// Whether the connection may serve another request behind this answer.
    pub fn keeps_alive(&self) -> bool {
        self.keep_alive
    }
}

/// Takes pieces until there are enough bytes; whether there may be more.
fn gather(pieces: &mut Pieces, out: &mut Vec<u8>) -> bool {
    while out.len() < PIECE_BYTES {
        match pieces.next() {
            Some(piece) => out.extend_from_slice(&piece),
            None => return false,
        }
    }
    true
}

/// Reads a request from the first bytes of a connection.
pub fn parse_head(bytes: &[u8]) -> Head {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_bytes = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(head_bytes)) if head_bytes <= MAX_HEAD_BYTES => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Head::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            let limit =
                format!("request head too large (limit: {MAX_HEAD_BYTES} bytes, {MAX_HEADERS} headers)\n");
            return Head::Refused(Response::text(431, limit));
        }
        Err(err) => return Head::Refused(Response::text(400, format!("not an HTTP request: {err}\n"))),
    };
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Head::Refused(Response::text(400, "not an HTTP request\n"));
    };
    let all = |name: &'static str| {
        parsed.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name))
    };
    let header = |name| all(name).next().map(|header| String::from_utf8_lossy(header.value).into_owned());
    let body_bytes = match header("content-length").map(|text| text.trim().parse::<usize>()) {
        _ if header("transfer-encoding").is_some() => {
            return Head::Refused(Response::text(
                413,
                "a request body in chunks is not read here; send Content-Length\n",
            ));
        }
        None => 0,
        Some(Ok(body_bytes)) if body_bytes <= MAX_BODY_BYTES => body_bytes,
        Some(Ok(_)) => {
            let limit = format!("request body too large (limit: {MAX_BODY_BYTES} bytes)\n");
            return Head::Refused(Response::text(413, limit));
        }
        Some(Err(_)) => return Head::Refused(Response::text(400, "bad Content-Length\n")),
    };
    // Go's server has the same rules.
    match all("host").count() {
        0 if minor > 0 => return Head::Refused(Response::text(400, "missing required Host header\n")),
        0 | 1 => {}
        _ => return Head::Refused(Response::text(400, "too many Host headers\n")),
    }
    let connection = header("connection").unwrap_or_default().to_ascii_lowercase();
    let keep_alive =
        if minor == 0 { connection.contains("keep-alive") } else { !connection.contains("close") };
    let Some(body) = bytes.get(head_bytes..head_bytes + body_bytes) else { return Head::Partial };
    let is_form = header("content-type").is_some_and(|text| {
        text.trim().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
    });
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        form: if is_form { String::from_utf8_lossy(body).into_owned() } else { String::new() },
        body: if is_form { Vec::new() } else { body.to_vec() },
        host: header("host"),
        origin: header("origin"),
        fetch_site: header("sec-fetch-site"),
        accept: header("accept"),
        authorization: header("authorization").map(Secret::new),
        keep_alive,
        takes_chunks: minor > 0,
        is_loopback: false,
    };
    Head::Complete(request, head_bytes + body_bytes)
}

impl Request {
    /// Values of a query parameter, decoded.
    pub fn query_values(&self, name: &str) -> Vec<String> {
        values(&self.query, name).collect()
    }

    /// The first of them; empty if there is none.
    pub fn query_value(&self, name: &str) -> String {
        values(&self.query, name).next().unwrap_or_default()
    }

    /// Values of a parameter, those of the form before those of the query (Go's `Form`).
    pub fn form_values(&self, name: &str) -> Vec<String> {
        values(&self.form, name).chain(values(&self.query, name)).collect()
    }

    /// The first value of a parameter in the form, or else in the query; empty if there is none (Go's `FormValue`).
    pub fn form_value(&self, name: &str) -> String {
        values(&self.form, name).chain(values(&self.query, name)).next().unwrap_or_default()
    }
}

fn values<'a>(form: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(move |(key, _)| decode(key) == name)
        .map(|(_, value)| decode(value))
}

/// Form decoding: `+` is a space, `%xx` a byte; what is malformed stays as it is.
fn decode(text: &str) -> String {
    let byte = |piece: Piece<'_>| if piece == Piece::Plain(b'+') { b' ' } else { piece.byte() };
    let bytes: Vec<u8> = pieces(text).map(byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_arrives_in_pieces() {
        let bytes = b"GET /a?state=active&x=%7B+%7d HTTP/1.1\r\nHost: a\r\n\r\nGET";
        assert!(matches!(parse_head(&bytes[..20]), Head::Partial));
        let Head::Complete(request, head_bytes) = parse_head(bytes) else { panic!("not complete") };
        assert_eq!(&bytes[head_bytes..], b"GET");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/a"));
        assert!(request.keep_alive);
        assert_eq!(request.query_values("state"), ["active"]);
        assert_eq!(request.query_values("x"), ["{ }"]);
        assert_eq!(decode("%zz%4"), "%zz%4");
    }

    #[test]
    fn a_form_belongs_to_its_request() {
        let bytes =
            b"POST /a?x=1&y=2 HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                      Content-Length: 7\r\n\r\nx=3&z=4GET";
        assert!(matches!(parse_head(&bytes[..bytes.len() - 4]), Head::Partial));
        let Head::Complete(request, n_bytes) = parse_head(bytes) else { panic!("not complete") };
        assert_eq!(&bytes[n_bytes..], b"GET");
        let values = ["x", "y", "z", "none"].map(|name| request.form_value(name));
        assert_eq!(values, ["3", "2", "4", ""]);
        assert_eq!(request.query_values("x"), ["1"]);
    }

    #[test]
    fn refusals_carry_their_status() {
        let check = |bytes: &[u8], status: u16| match parse_head(bytes) {
            Head::Refused(response) => assert_eq!(response.status, status),
            other => panic!("{other:?}"),
        };
        check(b"\x16\x03\x01 not http\r\n\r\n", 400);
        check(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16385\r\n\r\n", 413);
        check(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 413);
        check(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400);
        check(b"GET / HTTP/1.1\r\n\r\n", 400);
        check(b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400);
        check(format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(MAX_HEAD_BYTES)).as_bytes(), 431);
        check(format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1)).as_bytes(), 431);
    }

    fn sent(mut outgoing: Outgoing) -> String {
        let mut bytes = Vec::new();
        loop {
            let n_ready = outgoing.ready().len().min(1000);
            if n_ready == 0 {
                return String::from_utf8(bytes).unwrap();
            }
            bytes.extend_from_slice(&outgoing.ready()[..n_ready]);
            outgoing.written(n_ready);
            assert!(outgoing.n_unread() <= 2 * PIECE_BYTES);
        }
    }

    fn get() -> Request {
        let path = "/".to_owned();
        Request { method: "GET".to_owned(), path, keep_alive: true, takes_chunks: true, ..Request::default() }
    }

    fn numbers(n: usize) -> Response {
        Response::in_pieces("text/plain", (0..n).map(|number| format!("{number},").into_bytes()))
    }

    #[test]
    fn an_answer_to_head_has_a_length_and_no_body() {
        let request = Request { method: "HEAD".to_owned(), ..get() };
        let text = sent(Response::text(200, "hello").begin(Some(&request)));
        assert!(text.contains("Content-Length: 5\r\n") && text.ends_with("\r\n\r\n"), "{text}");
        let text = sent(numbers(100_000).begin(Some(&request)));
        assert!(text.ends_with("\r\n\r\n") && !text.contains("0,"), "{text}");
    }

    #[test]
    fn a_short_body_in_pieces_is_sent_whole() {
        let text = sent(numbers(3).begin(Some(&get())));
        assert!(text.contains("Content-Length: 6\r\n") && text.ends_with("\r\n\r\n0,1,2,"), "{text}");
        assert!(sent(numbers(0).begin(Some(&get()))).contains("Content-Length: 0\r\n"));
    }

    #[test]
    fn a_long_body_is_sent_in_chunks_or_until_the_end() {
        let want: String = (0..100_000).map(|number| format!("{number},")).collect();
        let text = sent(numbers(100_000).begin(Some(&get())));
        let (head, mut rest) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Transfer-Encoding: chunked") && !head.contains("close"), "{head}");
        let mut body = String::new();
        while let Some((size, chunk)) = rest.split_once("\r\n") {
            let size = usize::from_str_radix(size, 16).unwrap();
            assert_eq!(&chunk[size..size + 2], "\r\n");
            body.push_str(&chunk[..size]);
            rest = &chunk[size + 2..];
        }
        assert_eq!(body, want);
        let old = Request { takes_chunks: false, ..get() };
        let text = sent(numbers(100_000).begin(Some(&old)));
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Connection: close") && !head.contains("chunked"), "{head}");
        assert_eq!(body, want);
    }
}
