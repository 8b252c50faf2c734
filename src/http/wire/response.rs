//! Answers: one whose body is still to be read, and one that was read up to a size.

use std::io::{self, Read};

use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use ureq::http::{HeaderMap, StatusCode};
use ureq::{BodyReader, Error};

use crate::http::address::url::Url;
use crate::http::error::{HttpError, HttpErrorKind, Method};
use crate::http::wire::error_kind::kind_of;
use crate::http::wire::exchange::Exchange;

/// What ureq gives.
pub(in crate::http) type UreqResponse = ureq::http::Response<ureq::Body>;

/// What is kept of the body of an [`Answer`]: an error's sentence.
const ANSWER_BODY_BYTES: usize = 4 << 10;

/// On the stack.
const PIECE_BYTES: usize = 1024;

/// What is read of it, to keep the connection.
const ANSWER_READ_BYTES: usize = 64 << 10;

/// An answer whose body is still to be read.
pub struct Response<'client> {
    url: Url,
    status: StatusCode,
    reason: Option<Box<str>>,
    headers: HeaderMap,
    body: BodyReader<'static>,
    exchange: &'client Exchange,
}

impl<'client> Response<'client> {
    pub(in crate::http) fn new(url: Url, response: UreqResponse, exchange: &'client Exchange) -> Self {
        let (head, body) = response.into_parts();
        let (status, headers, body) = (head.status, head.headers, body.into_reader());
        Self { url, status, reason: exchange.reason(), headers, body, exchange }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The server's own words for the status, of 200 the usual ones; may be empty.
    pub fn reason(&self) -> &str {
        reason_words(self.status, self.reason.as_deref())
    }

    /// `Content-Type` as sent; empty when missing, not UTF-8 read as if it were Latin-1.
    pub fn content_type(&self) -> String {
        let value = self.headers.get(CONTENT_TYPE).map(|value| value.as_bytes()).unwrap_or_default();
        value.iter().map(|byte| char::from(*byte)).collect()
    }

    /// `Content-Encoding` as sent; empty when missing.
    pub fn content_encoding(&self) -> &[u8] {
        self.headers.get(CONTENT_ENCODING).map(|value| value.as_bytes()).unwrap_or_default()
    }

    /// `Content-Length`, a promise of the peer's.
    pub fn content_length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
    }

    /// The first header of this name, in any case; `None` when it is missing or not ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Reads more of the body; 0 is its end. The connection is kept only if the end was seen.
    ///
    /// # Errors
    /// The deadline, a cancel, or a connection that broke.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, HttpError> {
        let outcome = match self.body.read(buffer) {
            // A body without a length ends with the connection, however that ended.
            Ok(0) if self.exchange.was_reset() || self.exchange.is_cancelled() => {
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            }
            outcome => outcome,
        };
        outcome.map_err(|error| HttpError {
            method: Method::Get,
            url: self.url.to_string(),
            kind: kind_of(self.exchange, Error::from(error)),
        })
    }
}

/// An answer that was read.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    reason: Option<Box<str>>,
    headers: HeaderMap,
    /// The body, of a POST's answer its start.
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads the whole body, `limit_bytes` at most. Memory is taken as bytes come, not as they are promised.
    pub(in crate::http) fn read_all(
        mut response: Response<'_>,
        limit_bytes: usize,
    ) -> Result<Self, HttpError> {
        let mut body = Vec::new();
        let mut piece = [0; PIECE_BYTES];
        loop {
            let n_read = response.read(&mut piece)?;
            if n_read == 0 {
                return Ok(Self::of(response, body));
            }
            if n_read > limit_bytes - body.len() {
                let kind = HttpErrorKind::BodyTooLarge { limit_bytes };
                return Err(HttpError { method: Method::Get, url: response.url.to_string(), kind });
            }
            body.extend_from_slice(&piece[..n_read]);
        }
    }

    /// Reads the start of the body. The status counts even if that does not end well.
    pub(in crate::http) fn read(mut response: Response<'_>) -> Self {
        let mut body = Vec::new();
        let mut n_left = ANSWER_READ_BYTES;
        let mut piece = [0; PIECE_BYTES];
        while n_left > 0 {
            let n_read = match response.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(n_read) => n_read,
            };
            let n_kept = n_read.min(ANSWER_BODY_BYTES - body.len());
            body.extend_from_slice(&piece[..n_kept]);
            n_left = n_left.saturating_sub(n_read);
        }
        Self::of(response, body)
    }

    fn of(response: Response<'_>, body: Vec<u8>) -> Self {
        Self { status: response.status, reason: response.reason, headers: response.headers, body }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The server's own words for the status, of 200 the usual ones; may be empty.
    pub fn reason(&self) -> &str {
        reason_words(self.status, self.reason.as_deref())
    }

    /// The first header of this name, in any case; `None` when it is missing or not ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn reason_words(status: StatusCode, own: Option<&str>) -> &str {
    own.unwrap_or_else(|| status.canonical_reason().unwrap_or_default())
}
