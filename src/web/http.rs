//! HTTP/1.1 on the server's side: request heads in, response bytes out. No socket, no thread.

use std::fmt::Write as _;

/// Most bytes of a request head; a longer one gets 431.
pub const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Most header lines; httparse needs the room ahead.
const MAX_HEADERS: usize = 64;

/// The part of a request that a page is chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, ….
    pub method: String,
    /// Path, percent-decoding left out.
    pub path: String,
    /// What stands behind `?`, as sent.
    pub query: String,
    /// Whether the connection may serve another request.
    pub keep_alive: bool,
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// Not all of it is here.
    Partial,
    /// A request and the length of its head in bytes.
    Complete(Request, usize),
    /// Not a request we serve; the connection closes behind the answer.
    Refused(Response),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Plain text.
    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", body.into().into_bytes())
    }

    /// An answer with a type of its own.
    pub fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status, content_type, headers: Vec::new(), body }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The bytes on the wire; the body is left out for `HEAD`, its length is not.
    pub fn into_bytes(self, request: Option<&Request>) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        let _ =
            write!(head, "Content-Type: {}\r\nContent-Length: {}\r\n", self.content_type, self.body.len());
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !request.is_some_and(|request| request.keep_alive) {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if request.is_none_or(|request| request.method != "HEAD") {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// Reads a request head from the first bytes of a connection.
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
    let header = |name: &str| {
        let mut found = parsed.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        found.next().map(|header| String::from_utf8_lossy(header.value).into_owned())
    };
    let has_body =
        header("transfer-encoding").is_some() || header("content-length").is_some_and(|n| n.trim() != "0");
    if has_body {
        return Head::Refused(Response::text(413, "request bodies are not read here; send none\n"));
    }
    let connection = header("connection").unwrap_or_default().to_ascii_lowercase();
    let keep_alive =
        if minor == 0 { connection.contains("keep-alive") } else { !connection.contains("close") };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let request =
        Request { method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), keep_alive };
    Head::Complete(request, head_bytes)
}

impl Request {
    /// Values of a query parameter, decoded.
    pub fn query_values(&self, name: &str) -> Vec<String> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(|(key, _)| decode(key) == name)
            .map(|(_, value)| decode(value))
            .collect()
    }
}

/// Form decoding: `+` is a space, `%xx` a byte; what is malformed stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
        match (first, tail.get(..2).and_then(hex)) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = tail;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        422 => "Unprocessable Entity",
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
        assert_eq!(parse_head(&bytes[..20]), Head::Partial);
        let Head::Complete(request, head_bytes) = parse_head(bytes) else { panic!("not complete") };
        assert_eq!(&bytes[head_bytes..], b"GET");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/a"));
        assert!(request.keep_alive);
        assert_eq!(request.query_values("state"), ["active"]);
        assert_eq!(request.query_values("x"), ["{ }"]);
        assert_eq!(decode("%zz%4"), "%zz%4");
    }

    #[test]
    fn refusals_carry_their_status() {
        let check = |bytes: &[u8], status: u16| match parse_head(bytes) {
            Head::Refused(response) => assert_eq!(response.status, status),
            other => panic!("{other:?}"),
        };
        check(b"\x16\x03\x01 not http\r\n\r\n", 400);
        check(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 413);
        check(format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(MAX_HEAD_BYTES)).as_bytes(), 431);
        check(format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1)).as_bytes(), 431);
    }

    #[test]
    fn an_answer_to_head_has_a_length_and_no_body() {
        let request =
            Request { method: "HEAD".into(), path: "/".into(), query: String::new(), keep_alive: true };
        let bytes = Response::text(200, "hello").into_bytes(Some(&request));
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("Content-Length: 5\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }
}
