//! The one HTTP client: scrapes now, discovery and remote write later. The only place that knows ureq.
//!
//! A client asks one URL over one kept connection, on whatever thread calls it. ureq's pool renumbers all idle
//! connections for each request, so every client has an agent of its own; while it idles it holds a socket and no
//! buffers. Bodies come as they are sent, still packed. Knows nothing of scraping.

mod buffers;
pub mod error;
mod exchange;
mod names;
mod transport;
pub mod url;

use std::io::{self, Read};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use ureq::http::{HeaderMap, StatusCode};
use ureq::typestate::WithoutBody;
use ureq::{Agent, BodyReader, Error, RequestBuilder};

use crate::http::error::{HttpError, HttpErrorKind, Phase, system_words};
use crate::http::exchange::Exchange;
use crate::http::names::Names;
use crate::http::transport::{Carried, NoResolver, TcpConnector};
use crate::http::url::Url;

/// Go's client gives up when it would make one request more.
const MAX_REQUESTS: usize = 10;

/// Bodies of redirects up to this size are read, to keep the connection (Go: `maxBodySlurpSize`).
const REDIRECT_BODY_BYTES: u64 = 2 << 10;

/// A connection that idles longer is not used again: the peer has closed it, or a firewall on the way has
/// forgotten it. Above every usual scrape interval.
const MAX_IDLE_AGE: Duration = Duration::from_secs(5 * 60);

/// Names are shared by all clients: thousands of targets may be ports of one host, and the number of lookups that
/// hang must be bounded in the process.
static NAMES: LazyLock<Arc<Names>> = LazyLock::new(Names::system);

/// Asks one URL.
#[derive(Debug)]
pub struct HttpClient {
    url: Url,
    headers: Headers,
    agent: Agent,
    exchange: Arc<Exchange>,
}

/// Headers of every request, beside `Host`.
#[derive(Clone, Debug)]
pub struct Headers {
    /// `Accept`.
    pub accept: &'static str,
    /// `Accept-Encoding`.
    pub accept_encoding: &'static str,
    /// `User-Agent`.
    pub user_agent: &'static str,
    /// Others, names as they are sent.
    pub others: Vec<(&'static str, String)>,
}

/// Ends exchanges of one client from another thread.
#[derive(Clone, Debug)]
pub struct Canceller(Arc<Exchange>);

impl Canceller {
    /// What runs ends at once with [`HttpErrorKind::Cancelled`]; later exchanges fail too.
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

impl HttpClient {
    /// A client of `url`; nothing is opened yet.
    pub fn new(url: Url, headers: Headers) -> Self {
        let exchange = Arc::new(Exchange::default());
        let connector = TcpConnector { exchange: Arc::clone(&exchange), names: Arc::clone(&NAMES) };
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            // Redirects are followed here: which ones, and how often, is Go's rule and not ureq's.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(MAX_IDLE_AGE)
            .max_response_header_size(buffers::INPUT_BYTES)
            // Whatever is sent is set on the request; empty means: not by default.
            .user_agent("")
            .accept("")
            .accept_encoding("")
            .build();
        Self { url, headers, agent: Agent::with_parts(config, connector, NoResolver), exchange }
    }

    /// The URL it asks.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// A handle that ends exchanges from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.exchange))
    }

    /// GETs the URL, follows redirects, and gives the head and a reader of the body. Everything up to the last byte
    /// of the body must happen before `deadline`.
    ///
    /// # Errors
    /// Everything that can go wrong before the end of the head. An error status is no error.
    pub fn get(&mut self, deadline: Instant) -> Result<Response<'_>, HttpError> {
        let mut url = self.url.clone();
        let mut n_requests = 0;
        loop {
            n_requests += 1;
            let response =
                self.ask(&url, deadline).map_err(|kind| HttpError { url: url.to_string(), kind })?;
            let Some(location) = redirect_location(&response) else {
                self.exchange.enter(Phase::Body);
                return Ok(Response::new(url, response, &self.exchange));
            };
            let next = url.join(location);
            if n_requests == MAX_REQUESTS {
                let kind = HttpErrorKind::TooManyRedirects { n_requests };
                return Err(HttpError { url: location.to_owned(), kind });
            }
            // The connection is kept if the body ends within this; otherwise it is closed.
            let mut body = response.into_body().into_reader().take(REDIRECT_BODY_BYTES);
            let _ = io::copy(&mut body, &mut io::sink());
            url = next;
        }
    }

    /// POSTs a body to the URL with these headers beside `Host` and `User-Agent`; follows redirects that keep the method.
    /// Everything up to the last byte of the answer must happen before `deadline`. A request may be sent twice if the
    /// peer closed the kept connection meanwhile.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub fn post(
        &mut self,
        body: &[u8],
        headers: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Response<'_>, HttpError> {
        let mut url = self.url.clone();
        let mut n_requests = 0;
        loop {
            n_requests += 1;
            let response = self
                .send(&url, body, headers, deadline)
                .map_err(|kind| HttpError { url: url.to_string(), kind })?;
            let keeps_method = matches!(response.status().as_u16(), 307 | 308);
            let Some(location) = redirect_location(&response).filter(|_| keeps_method) else {
                self.exchange.enter(Phase::Body);
                return Ok(Response::new(url, response, &self.exchange));
            };
            let next = url.join(location);
            if n_requests == MAX_REQUESTS {
                let kind = HttpErrorKind::TooManyRedirects { n_requests };
                return Err(HttpError { url: location.to_owned(), kind });
            }
            let mut body = response.into_body().into_reader().take(REDIRECT_BODY_BYTES);
            let _ = io::copy(&mut body, &mut io::sink());
            url = next;
        }
    }

    fn send(
        &self,
        url: &Url,
        body: &[u8],
        headers: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<ureq::http::Response<ureq::Body>, HttpErrorKind> {
        match url.scheme.as_str() {
            "http" => {}
            "https" => return Err(HttpErrorKind::TlsNotBuilt),
            other => return Err(HttpErrorKind::UnsupportedScheme(other.to_owned())),
        }
        let authority = url.authority.as_str();
        let slash = if url.path_and_query.starts_with('/') { "" } else { "/" };
        loop {
            self.exchange.begin();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HttpErrorKind::Deadline(Phase::Resolve));
            }
            let mut request = self
                .agent
                .post(format!("http://{authority}{slash}{}", url.path_and_query))
                .header_raw("Host", authority.as_bytes())
                .header_raw("User-Agent", self.headers.user_agent.as_bytes());
            for (name, value) in headers {
                request = request.header_raw(*name, value.as_bytes());
            }
            let request = request.config().timeout_global(Some(left)).build();
            match request.send(body) {
                Ok(response) => return Ok(response),
                Err(Error::Io(_)) if self.exchange.was_stale() && !self.exchange.is_cancelled() => {}
                Err(error) => return Err(self.kind_of(error)),
            }
        }
    }

    fn ask(&self, url: &Url, deadline: Instant) -> Result<ureq::http::Response<ureq::Body>, HttpErrorKind> {
        match url.scheme.as_str() {
            "http" => {}
            "https" => return Err(HttpErrorKind::TlsNotBuilt),
            other => return Err(HttpErrorKind::UnsupportedScheme(other.to_owned())),
        }
        loop {
            self.exchange.begin();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HttpErrorKind::Deadline(Phase::Resolve));
            }
            match self.request(url, left).call() {
                Ok(response) => return Ok(response),
                // The peer closed the kept connection while the request was under way. A GET may be repeated, once:
                // the next connection is fresh.
                Err(Error::Io(_)) if self.exchange.was_stale() && !self.exchange.is_cancelled() => {}
                Err(error) => return Err(self.kind_of(error)),
            }
        }
    }

    fn request(&self, url: &Url, timeout: Duration) -> RequestBuilder<WithoutBody> {
        let authority = url.authority.as_str();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let slash = if url.path_and_query.starts_with('/') { "" } else { "/" };
        // Names as Go writes them: some small exporters compare them letter by letter.
        let mut request = self
            .agent
            .get(format!("http://{authority}{slash}{}", url.path_and_query))
            .header_raw("Host", host.as_bytes())
            .header_raw("User-Agent", self.headers.user_agent.as_bytes())
            .header_raw("Accept", self.headers.accept.as_bytes())
            .header_raw("Accept-Encoding", self.headers.accept_encoding.as_bytes());
        for (name, value) in &self.headers.others {
            request = request.header_raw(name, value.as_bytes());
        }
        request.config().timeout_global(Some(timeout)).build()
    }

    fn kind_of(&self, error: Error) -> HttpErrorKind {
        kind_of(&self.exchange, error)
    }
}

fn kind_of(exchange: &Exchange, error: Error) -> HttpErrorKind {
    if exchange.is_cancelled() {
        return HttpErrorKind::Cancelled;
    }
    let phase = exchange.phase();
    match error {
        Error::Timeout(_) => HttpErrorKind::Deadline(phase),
        Error::Io(_) if exchange.was_reset() => {
            HttpErrorKind::Io(phase, "read: connection reset by peer".to_owned())
        }
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => HttpErrorKind::Eof(phase),
        Error::Io(error) => {
            let verb = if phase == Phase::Send { "write" } else { "read" };
            HttpErrorKind::Io(phase, format!("{verb}: {}", system_words(&error)))
        }
        Error::LargeResponseHeader(..) => HttpErrorKind::HeadTooLarge { limit_bytes: buffers::INPUT_BYTES },
        Error::BadUri(cause) => HttpErrorKind::BadUrl(cause),
        Error::Http(error) => HttpErrorKind::BadUrl(error.to_string()),
        Error::Other(carried) => match carried.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(other) => HttpErrorKind::Protocol(phase, other.to_string()),
        },
        Error::Protocol(error) => HttpErrorKind::Protocol(phase, error.to_string()),
        other => HttpErrorKind::Protocol(phase, other.to_string()),
    }
}

/// Where a response sends to, if it is one that Go's client follows for a GET.
fn redirect_location(response: &ureq::http::Response<ureq::Body>) -> Option<&str> {
    match response.status().as_u16() {
        301 | 302 | 303 | 307 | 308 => response.headers().get(LOCATION)?.to_str().ok(),
        _ => None,
    }
}

/// An answer whose body is still to be read.
pub struct Response<'client> {
    url: Url,
    status: StatusCode,
    headers: HeaderMap,
    body: BodyReader<'static>,
    exchange: &'client Exchange,
}

impl<'client> Response<'client> {
    fn new(url: Url, response: ureq::http::Response<ureq::Body>, exchange: &'client Exchange) -> Self {
        let (head, body) = response.into_parts();
        Self { url, status: head.status, headers: head.headers, body: body.into_reader(), exchange }
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The usual words for the status; empty when there are none.
    pub fn reason(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or_default()
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

    /// A header as sent; `None` when missing or not ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// `Content-Length`, a promise of the peer's.
    pub fn content_length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
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
            url: self.url.to_string(),
            kind: kind_of(self.exchange, Error::from(error)),
        })
    }
}
