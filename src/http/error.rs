//! Why an exchange failed, in the words of Go's client, because those are what people search for.
//!
//! Knows who failed (name, address, connection, peer, clock) and how far the exchange had come; what that means for
//! the caller is the caller's business.

use std::fmt;
use std::io;

use crate::http::wire::buffers::INPUT_BYTES;
use crate::http::wire::head::{MAX_HEAD_BYTES, TooLarge};

/// A failed exchange: the URL asked last (redirects move it) and what went wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    /// What was asked.
    pub method: Method,
    /// The URL of the last request, as in Go's `Get "…": …`.
    pub url: String,
    /// What went wrong.
    pub kind: HttpErrorKind,
}

/// What is asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Method {
    Get,
    Post,
    Put,
}

impl Method {
    /// As it is sent.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for a token of OAuth 2.
    Token,
    /// Looking up the host's name.
    Resolve,
    /// Connecting.
    Connect,
    /// Agreeing on TLS.
    Handshake,
    /// Sending the request.
    Send,
    /// Waiting for the head of the response.
    Head,
    /// Reading the body.
    Body,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// Not a URL that can be asked; why.
    BadUrl(String),
    /// Its host or its port is none; the whole sentence.
    NotAUrl(String),
    /// Go's client does not ask that, or not where a redirect leads; its words.
    Refused(String),
    /// What stands in the URL is nothing that can be connected to: Go's words behind `dial tcp: `.
    Dial(String),
    /// Neither `http` nor `https`.
    UnsupportedScheme(String),
    /// Credentials or certificates of ours cannot be read or used; which ones, and why.
    Setup(String),
    /// TLS failed, in the words of Go's `crypto/tls`.
    Tls(String),
    /// A redirect that makes a GET of a POST: an answer to that would say nothing of what was posted.
    PostRedirected {
        /// 301, 302 or 303.
        status: u16,
        /// Where to.
        location: String,
    },
    /// A redirect to another host of what only the first one may see.
    SecretRedirected {
        /// 307 or 308.
        status: u16,
        /// Where to.
        location: String,
    },
    /// The name has no address, or no server knew.
    Lookup {
        /// The name.
        host: String,
        /// "no such host", or the system's words.
        cause: String,
    },
    /// No connection.
    Connect {
        /// Address and port as tried last.
        address: String,
        /// The system's words.
        cause: String,
    },
    /// A proxy is away, or did not want; the words of Go's `net/http`.
    Proxy(String),
    /// A proxy leads no one to the target, or not this client: its word is final until something is mended.
    ProxyRefused {
        /// The whole sentence.
        sentence: String,
        /// It wants credentials, or others.
        is_login: bool,
        /// `Retry-After` of an answer to CONNECT, as sent.
        retry_after: Option<String>,
    },
    /// No connection to a socket of this machine.
    ConnectUnix {
        /// Where the socket should be.
        path: String,
        /// The system's words.
        cause: String,
    },
    /// The deadline over the whole exchange has passed.
    Deadline(Phase),
    /// The peer closed before the end.
    Eof(Phase),
    /// Reading or writing failed; the system's words.
    Io(Phase, String),
    /// Not HTTP/1.1 as it should be; what is wrong.
    Protocol(Phase, String),
    /// The head is larger than what is read of one.
    HeadTooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// A line of the head, or of a chunk's size, is longer than the buffer.
    LineTooLong {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// The body is larger than its reader wants.
    BodyTooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// One redirect more than are followed.
    TooManyRedirects {
        /// Requests made.
        n_requests: usize,
    },
    /// Cancelled from another thread.
    Cancelled,
}

impl HttpErrorKind {
    /// How far the exchange had come.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Deadline(phase) | Self::Eof(phase) | Self::Io(phase, _) | Self::Protocol(phase, _) => {
                *phase
            }
            Self::BadUrl(_)
            | Self::NotAUrl(_)
            | Self::Dial(_)
            | Self::Refused(_)
            | Self::UnsupportedScheme(_)
            | Self::Setup(_)
            | Self::Lookup { .. } => Phase::Resolve,
            Self::Connect { .. } | Self::ConnectUnix { .. } | Self::Proxy(_) | Self::ProxyRefused { .. } => {
                Phase::Connect
            }
            Self::Tls(_) => Phase::Handshake,
            Self::HeadTooLarge { .. }
            | Self::LineTooLong { .. }
            | Self::BodyTooLarge { .. }
            | Self::TooManyRedirects { .. }
            | Self::PostRedirected { .. }
            | Self::SecretRedirected { .. }
            | Self::Cancelled => Phase::Head,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "waiting for an OAuth 2 token",
            Self::Resolve => "looking up the name",
            Self::Connect => "connecting",
            Self::Handshake => "shaking hands for TLS",
            Self::Send => "sending the request",
            Self::Head => "waiting for the response",
            Self::Body => "reading the body",
        })
    }
}

impl fmt::Display for HttpErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl(cause) => write!(f, "invalid URL: {cause}"),
            Self::NotAUrl(sentence) => f.write_str(sentence),
            Self::Dial(cause) => write!(f, "dial tcp: {cause}"),
            Self::UnsupportedScheme(scheme) => write!(f, "unsupported protocol scheme {scheme:?}"),
            Self::Setup(cause) | Self::Tls(cause) | Self::Proxy(cause) | Self::Refused(cause) => {
                f.write_str(cause)
            }
            Self::ProxyRefused { sentence, .. } => f.write_str(sentence),
            Self::PostRedirected { status, location } => write!(
                f,
                "redirected with status {status} to {location:?}, which would make a GET of the POST; nothing was \
                 delivered, use that URL or let the server answer with 307 or 308"
            ),
            Self::SecretRedirected { status, location } => write!(
                f,
                "redirected with status {status} to {location:?}, another host than the secret in the request is \
                 meant for; nothing was sent there, use that URL if it is the right one"
            ),
            Self::Lookup { host, cause } => write!(f, "dial tcp: lookup {host}: {cause}"),
            Self::Connect { address, cause } => write!(f, "dial tcp {address}: connect: {cause}"),
            Self::ConnectUnix { path, cause } => write!(f, "dial unix {path}: connect: {cause}"),
            Self::Deadline(phase) => write!(f, "context deadline exceeded (while {phase})"),
            Self::Eof(Phase::Body) => f.write_str("unexpected EOF"),
            Self::Eof(_) => f.write_str("EOF"),
            Self::Io(_, cause) => f.write_str(cause),
            Self::Protocol(_, cause) => write!(f, "malformed HTTP response: {cause}"),
            Self::HeadTooLarge { limit_bytes } => {
                write!(f, "net/http: server response headers exceeded {limit_bytes} bytes; aborted")
            }
            Self::LineTooLong { limit_bytes } => {
                write!(f, "a line of the response header is too long (limit: {limit_bytes}B)")
            }
            Self::BodyTooLarge { limit_bytes } => {
                write!(f, "response body is too large (limit: {limit_bytes}B)")
            }
            Self::TooManyRedirects { n_requests } => write!(f, "stopped after {n_requests} redirects"),
            Self::Cancelled => f.write_str("context canceled"),
        }
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind.phase() {
            // Go's client is done when the head is there: what happens in a body carries no URL.
            Phase::Body => self.kind.fmt(f),
            // No request was made of it.
            _ if matches!(self.kind, HttpErrorKind::NotAUrl(_)) => self.kind.fmt(f),
            _ => write!(f, "{:?} {:?}: {}", self.method, self.url, self.kind),
        }
    }
}

impl std::error::Error for HttpError {}

impl From<TooLarge> for HttpErrorKind {
    fn from(error: TooLarge) -> Self {
        match error {
            TooLarge::Head => Self::HeadTooLarge { limit_bytes: MAX_HEAD_BYTES },
            TooLarge::Line => Self::LineTooLong { limit_bytes: INPUT_BYTES },
        }
    }
}

/// The system's words for an error as Go prints them: lower case, without the number.
pub(in crate::http) fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_lowercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: HttpErrorKind, text: &str) {
        let error = HttpError { method: Method::Get, url: "http://127.0.0.1:1/metrics".to_owned(), kind };
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn the_words_are_those_of_go() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        check(
            HttpErrorKind::Connect { address: "127.0.0.1:1".to_owned(), cause: system_words(&refused) },
            "Get \"http://127.0.0.1:1/metrics\": dial tcp 127.0.0.1:1: connect: connection refused",
        );
        check(HttpErrorKind::Eof(Phase::Head), "Get \"http://127.0.0.1:1/metrics\": EOF");
        check(HttpErrorKind::Eof(Phase::Body), "unexpected EOF");
        check(
            HttpErrorKind::Deadline(Phase::Head),
            "Get \"http://127.0.0.1:1/metrics\": context deadline exceeded (while waiting for the response)",
        );
        check(HttpErrorKind::Deadline(Phase::Body), "context deadline exceeded (while reading the body)");
        check(
            HttpErrorKind::TooManyRedirects { n_requests: 10 },
            "Get \"http://127.0.0.1:1/metrics\": stopped after 10 redirects",
        );
    }
}
