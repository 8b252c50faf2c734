//! One fetch a scrape, mostly a GET: the request of a target, its connection, and the body as it came over the wire.
//!
//! Owned by the target's `ScrapeLoop` and used by the worker that holds it. The body stays packed: unpacking happens
//! later, inside a permit. Knows nothing of what is in a page.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::config::ScrapeConfig;
use crate::http::address::url::Url;
use crate::http::error::{HttpError, HttpErrorKind, Phase};
use crate::http::wire::response::Response;
use crate::http::{Canceller as HttpCanceller, Headers, HttpClient};
use crate::scrape::error::ScrapeError;
use crate::scrape::fetch::local::{ExecTarget, FileTarget, TEXT, failed};
use crate::scrape::fetch::negotiation::accept;
use crate::scrape::targets::local_access::Bounds;
use crate::scrape::targets::target::Target;
use crate::scrape::targets::target_url::{TargetUrl, UrlScheme};
use scraped_engine::store::body_budget::BodyBuffer;
use scraped_engine::store::decode::ContentEncoding;
use scraped_engine::store::error::PageError;

const FIXED_HEADERS: [(&str, &str); 1] = [("User-Agent", concat!("scraped/", env!("CARGO_PKG_VERSION")))];

/// Of a promised `Content-Length` so much is believed before bytes come: a peer that promises and does not send
/// must not hold the budget of others.
const BELIEVED_BYTES: u64 = 1 << 20;

/// Bodies of error answers up to this size are read, to keep the connection.
const ERROR_BODY_BYTES: usize = 16 << 10;

/// Fetches one target; owns its connection.
#[derive(Debug)]
pub struct Scraper {
    way: Way,
    body_size_limit_bytes: u64,
    /// Size of the last body; the next one is taken to be alike.
    last_wire_bytes: u64,
    is_cancelled: Arc<AtomicBool>,
}

/// How a target's page is had.
#[derive(Debug)]
enum Way {
    /// And the socket of this machine that is asked, if it has to lie somewhere.
    Http(Box<HttpClient>, Option<(PathBuf, Bounds)>),
    /// The URL is none: the sentence of every scrape.
    Nowhere(String),
    File(FileTarget),
    Exec(ExecTarget),
}

/// Head of an answer with status 200.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// `Content-Type` as sent; empty when it was not.
    pub content_type: String,
    /// How the body is packed.
    pub content_encoding: ContentEncoding,
    /// Size of the body as received.
    pub wire_bytes: usize,
}

impl Fetched {
    fn of_text(n_bytes: usize) -> Self {
        let content_type = TEXT.to_owned();
        Self { content_type, content_encoding: ContentEncoding::Identity, wire_bytes: n_bytes }
    }
}

/// Ends a fetch that runs in another thread; clones cancel the same scraper, which stays cancelled.
#[derive(Clone, Debug)]
pub struct Canceller {
    fetch: Cancel,
    /// For the work behind the fetch.
    is_cancelled: Arc<AtomicBool>,
}

#[derive(Clone, Debug)]
enum Cancel {
    Http(HttpCanceller),
    /// A flag that is looked at while a command runs; reading a file is over too soon.
    Local(Arc<AtomicBool>),
}

impl Canceller {
    /// The running fetch returns [`ScrapeError::Page(PageError::Cancelled)`] at once, later ones do as well.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        match &self.fetch {
            Cancel::Http(canceller) => canceller.cancel(),
            Cancel::Local(is_cancelled) => is_cancelled.store(true, Ordering::Relaxed),
        }
    }
}

impl Scraper {
    /// A scraper of `url`; nothing is opened yet. `timeout` is what the target is told it has.
    pub fn new(url: &TargetUrl, config: &ScrapeConfig, timeout: Duration) -> Self {
        Self::below(None, url, config, timeout)
    }

    /// A scraper of a target, which may have to lie below a directory.
    pub fn of(target: &Target, config: &ScrapeConfig) -> Self {
        Self::below(target.local_dir.clone(), &target.url, config, target.scrape_timeout)
    }

    fn below(dir: Option<Arc<Path>>, url: &TargetUrl, config: &ScrapeConfig, timeout: Duration) -> Self {
        let limit_bytes = config.limits.body_size_limit_bytes;
        let bounds = Bounds::new(Arc::clone(&config.local_target_dirs), dir);
        let way = match &url.scheme {
            UrlScheme::File => {
                Way::File(FileTarget::new(&url.authority, &url.path_and_query, limit_bytes, bounds))
            }
            UrlScheme::Exec => {
                Way::Exec(ExecTarget::new(&url.authority, config.exec_targets, limit_bytes, bounds))
            }
            _ => {
                let socket = url.scheme.socket().filter(|_| bounds.are_any());
                match http_client(url, config, timeout) {
                    Ok(client) => Way::Http(Box::new(client), socket.map(|path| (path.into(), bounds))),
                    Err(sentence) => Way::Nowhere(sentence),
                }
            }
        };
        Self { way, body_size_limit_bytes: limit_bytes, last_wire_bytes: 0, is_cancelled: Arc::default() }
    }

    /// One GET with one deadline over the whole exchange. `body` (of `BodyBudget::wire_buffer`, empty) gets the
    /// body still packed, never more than the limit.
    ///
    /// # Errors
    /// Everything between the address and the last byte of the body, and every status but 200.
    pub fn fetch(&mut self, deadline: Instant, body: &mut BodyBuffer) -> Result<Fetched, ScrapeError> {
        let fetched = self.fetch_into(deadline, body);
        if fetched.is_err() {
            // Others may wait for it, and the failed scrape is still to be written.
            body.release();
        }
        fetched
    }

    fn fetch_into(&mut self, deadline: Instant, body: &mut BodyBuffer) -> Result<Fetched, ScrapeError> {
        let client = match &mut self.way {
            Way::Http(client, None) => client,
            Way::Http(client, Some((path, bounds))) => {
                // Not there at all: the connection says so in its own words.
                if path.exists() {
                    bounds.check_named(path).map_err(|what| failed(path, &what))?;
                }
                client
            }
            Way::Nowhere(sentence) => return Err(ScrapeError::NotAUrl { sentence: sentence.clone() }),
            Way::File(file) => {
                file.read(deadline, body)?;
                return Ok(Fetched::of_text(body.len()));
            }
            Way::Exec(exec) => {
                exec.run(deadline, body)?;
                return Ok(Fetched::of_text(body.len()));
            }
        };
        let last_wire_bytes = self.last_wire_bytes;
        let mut response = client.get(deadline)?;
        if response.status() != 200 {
            read_away(&mut response);
            return Err(ScrapeError::Status {
                code: response.status(),
                reason: response.reason().to_owned(),
            });
        }
        let content_encoding = match response.content_encoding() {
            b"gzip" => ContentEncoding::Gzip,
            _ => ContentEncoding::Identity,
        };
        let limit_bytes = self.body_size_limit_bytes;
        let wire_limit_bytes = match content_encoding {
            ContentEncoding::Identity => limit_bytes,
            // The limit is on the unpacked size; packing makes a page larger by this at most, names of files in
            // the header aside.
            ContentEncoding::Gzip if limit_bytes > 0 => limit_bytes.saturating_add(limit_bytes / 100 + 1024),
            ContentEncoding::Gzip => 0,
        };
        let content_type = response.content_type();
        let promised_bytes = response.content_length();
        if let Some(promised_bytes) = promised_bytes
            && wire_limit_bytes > 0
            && promised_bytes >= wire_limit_bytes
        {
            return Err(ScrapeError::Page(PageError::BodySizeLimit { limit_bytes }));
        }
        loop {
            if body.room().is_empty() {
                // Memory is charged when bytes are there: a target that hangs after its head holds nothing.
                let mut probe = [0; PROBE_BYTES];
                let n_probed = response.read(&mut probe)?;
                if n_probed == 0 {
                    break;
                }
                let mut probed = &probe[..n_probed];
                while !probed.is_empty() {
                    let hint_bytes = expected_bytes(promised_bytes, body.len() as u64, last_wire_bytes);
                    body.grow(hint_bytes, wire_limit_bytes, deadline).map_err(|error| match error {
                        PageError::BodySizeLimit { .. } => PageError::BodySizeLimit { limit_bytes },
                        error => error,
                    })?;
                    let n_fits = probed.len().min(body.room().len());
                    body.room()[..n_fits].copy_from_slice(&probed[..n_fits]);
                    body.filled(n_fits);
                    probed = &probed[n_fits..];
                }
            } else {
                let n_read = response.read(body.room())?;
                if n_read == 0 {
                    break;
                }
                body.filled(n_read);
            }
        }
        if content_encoding == ContentEncoding::Identity
            && limit_bytes > 0
            && body.len() as u64 >= limit_bytes
        {
            return Err(ScrapeError::Page(PageError::BodySizeLimit { limit_bytes }));
        }
        self.last_wire_bytes = body.len() as u64;
        Ok(Fetched { content_type, content_encoding, wire_bytes: body.len() })
    }

    /// A handle that ends a running fetch at once.
    pub fn canceller(&self) -> Canceller {
        let fetch = match &self.way {
            Way::Http(client, _) => Cancel::Http(client.canceller()),
            Way::Nowhere(_) | Way::File(_) => Cancel::Local(Arc::default()),
            Way::Exec(exec) => Cancel::Local(Arc::clone(exec.is_cancelled())),
        };
        Canceller { fetch, is_cancelled: Arc::clone(&self.is_cancelled) }
    }

    /// True once its canceller was used: for the work behind the fetch.
    pub fn is_cancelled(&self) -> &Arc<AtomicBool> {
        &self.is_cancelled
    }
}

fn http_client(url: &TargetUrl, config: &ScrapeConfig, timeout: Duration) -> Result<HttpClient, String> {
    let socket = url.scheme.socket().map(PathBuf::from);
    let url = Url::of_parts(url.scheme.spoken(), &url.authority, &url.path_and_query)?;
    let encoding = if config.enable_compression { "gzip" } else { "identity" };
    // In the order in which Go writes them.
    let others = vec![
        ("Accept".into(), accept(&config.options)),
        ("Accept-Encoding".into(), encoding.into()),
        ("X-Prometheus-Scrape-Timeout-Seconds".into(), timeout.as_secs_f64().to_string().into()),
    ];
    let headers = Headers { fixed: &FIXED_HEADERS, others, private: Vec::new() };
    Ok(match socket {
        None => HttpClient::new(url, headers, &config.http_client),
        Some(path) => HttpClient::over_unix_socket(path, url, headers, &config.http_client),
    })
}

/// The size to expect of a body of which so much has come: one byte more, so that the end shows without another
/// buffer.
fn expected_bytes(promised_bytes: Option<u64>, received_bytes: u64, last_wire_bytes: u64) -> u64 {
    let expected_bytes = match promised_bytes {
        // Who has sent that much means it. To ask for all at once beats waiting for the rest while holding a part.
        Some(promised_bytes) if received_bytes >= BELIEVED_BYTES => promised_bytes,
        Some(promised_bytes) => promised_bytes.min(BELIEVED_BYTES.max(2 * last_wire_bytes)),
        None => last_wire_bytes + last_wire_bytes / 8,
    };
    expected_bytes.saturating_add(1)
}

/// On the stack, for the first bytes of a body and for those after a buffer that is full.
const PROBE_BYTES: usize = 1024;

/// Reads the body of an answer that is of no use, if it is short.
fn read_away(response: &mut Response<'_>) {
    let mut n_left = ERROR_BODY_BYTES;
    let mut scratch = [0; PROBE_BYTES];
    while n_left > 0 {
        match response.read(&mut scratch) {
            Ok(0) | Err(_) => return,
            Ok(n_read) => n_left = n_left.saturating_sub(n_read),
        }
    }
}

impl From<HttpError> for ScrapeError {
    fn from(error: HttpError) -> Self {
        let HttpError { url, kind, .. } = error;
        match kind {
            HttpErrorKind::Lookup { host, cause } => Self::Lookup { url, host, cause },
            HttpErrorKind::Connect { address, cause } => Self::Connect { url, address, cause },
            HttpErrorKind::Deadline(Phase::Body) => Self::BodyTimeout,
            HttpErrorKind::Deadline(phase) => Self::Timeout { url, phase },
            HttpErrorKind::Cancelled => Self::Page(PageError::Cancelled),
            HttpErrorKind::NotAUrl(sentence) => Self::NotAUrl { sentence },
            kind if kind.phase() == Phase::Body => Self::Body { cause: kind.to_string() },
            kind => Self::Request { url, cause: kind.to_string() },
        }
    }
}
