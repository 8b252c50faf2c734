//! As much of HTTP as a server on loopback needs.

use std::io::{self, BufRead};

/// The head of a request.
#[derive(Debug, Default)]
pub struct RequestHead {
    /// Path and query.
    pub path: String,
    /// `Content-Length`; 0 without one.
    pub body_bytes: u64,
    /// `Content-Encoding`, in lower case.
    pub encoding: String,
    /// `X-Prometheus-Remote-Write-Version` is 2.0.0.
    pub is_v2: bool,
    /// `Accept-Encoding` names gzip.
    pub takes_gzip: bool,
    /// Bytes of the head on the wire.
    pub head_bytes: u64,
}

/// The next request's head; `None` when the connection is closed.
///
/// # Errors
/// The socket fails.
pub fn read_head(requests: &mut impl BufRead) -> io::Result<Option<RequestHead>> {
    let mut head = RequestHead::default();
    let mut line = String::new();
    loop {
        line.clear();
        let n_bytes = requests.read_line(&mut line)?;
        if n_bytes == 0 {
            return Ok(None);
        }
        head.head_bytes += n_bytes as u64;
        if line == "\r\n" {
            return Ok(Some(head));
        }
        if head.path.is_empty() {
            head.path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            continue;
        }
        let lower = line.to_ascii_lowercase();
        let Some((name, value)) = lower.split_once(':') else { continue };
        let value = value.trim();
        match name {
            "content-length" => head.body_bytes = value.parse().unwrap_or(0),
            "content-encoding" => head.encoding = value.to_owned(),
            "x-prometheus-remote-write-version" => head.is_v2 = value.starts_with('2'),
            "accept-encoding" => head.takes_gzip = value.contains("gzip"),
            _ => {}
        }
    }
}
