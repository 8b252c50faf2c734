//! Why an exchange failed, in the words of Go's client, because that is what people search for.

use std::fmt;
use std::time::Duration;

/// A failed exchange: the URL asked last (redirects move it) and what went wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    /// The URL of the last request, as in Go's `Get "…": …`.
    pub url: String,
    /// What went wrong.
    pub kind: HttpErrorKind,
}

/// How far an exchange had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Looking up the host's name.
    Resolve,
    /// Connecting.
    Connect,
    /// Sending the request.
    Send,
    /// Waiting for the response's head.
    Head,
    /// Reading the body, of which so many bytes had come.
    Body {
        /// Bytes received.
        received_bytes: usize,
    },
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpErrorKind {
    /// Not a URL that can be asked.
    BadUrl(String),
    /// `https` is asked for and TLS is not built yet.
    TlsNotBuilt,
    /// The name has no address.
    NoSuchHost {
        /// The name.
        host: String,
    },
    /// No connection: address and the system's reason.
    Dial {
        /// `host:port` as tried.
        addr: String,
        /// The system's words, as Go writes them.
        reason: String,
    },
    /// The deadline over the whole exchange has passed.
    Deadline {
        /// How far it had come.
        phase: Phase,
        /// The time it had.
        timeout: Duration,
    },
    /// The peer closed before the end.
    Eof {
        /// How far it had come.
        phase: Phase,
    },
    /// Reading or writing failed.
    Io {
        /// How far it had come.
        phase: Phase,
        /// The system's words, as Go writes them.
        reason: String,
    },
    /// Not HTTP/1.1 as it should be.
    Protocol(String),
    /// The head is larger than what is kept of it.
    HeadTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// Too many redirects.
    TooManyRedirects {
        /// Requests made.
        n_requests: u32,
    },
    /// The body is as large as its limit or larger.
    BodyTooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Cancelled from another thread.
    Cancelled,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Get {:?}: {:?}", self.url, self.kind)
    }
}

impl std::error::Error for HttpError {}
