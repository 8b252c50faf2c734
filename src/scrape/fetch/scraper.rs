//! One fetch a scrape, mostly a GET: the request of a target, its connection, and the body as it came over the wire.
//!
//! Owned by the target's `ScrapeLoop` and used by the worker that holds it. The body stays packed: unpacking happens
//! later, inside a permit. Knows nothing of what is in a page.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::config::ScrapeConfig;
use crate::http::address::url::Url;
use crate::http::error::{HttpError, HttpErrorKind, Phase};
use crate::http::{Canceller as HttpCanceller, Headers, HttpClient, USER_AGENT};
use crate::scrape::error::ScrapeError;
use crate::scrape::fetch::local::{ExecTarget, FileTarget, TEXT, failed};
use crate::scrape::fetch::negotiation::accept;
use crate::scrape::fetch::page_body::PageBody;
use crate::scrape::targets::local_access::Bounds;
use crate::scrape::targets::target::Target;
use crate::scrape::targets::target_url::{TargetUrl, UrlScheme};
use scraped_engine::store::body_budget::BodyBuffer;
use scraped_engine::store::decode::ContentEncoding;
use scraped_engine::store::error::PageError;

const FIXED_HEADERS: [(&str, &str); 1] = [USER_AGENT];

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
    /// The running fetch returns [`PageError::Cancelled`] at once, later ones do as well.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
        match &self.fetch {
            Cancel::Http(canceller) => canceller.cancel(),
            Cancel::Local(is_cancelled) => is_cancelled.store(true, Ordering::Relaxed),
        }
    }
}

impl Scraper {
    /// A scraper of `url`; nothing is opened yet. `timeout` stands in the request, for the target.
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
    /// body still packed, never more than the limit. What the target says of the time goes to `clock`.
    ///
    /// # Errors
    /// Everything between the address and the last byte of the body, and every status but 200.
    pub fn fetch(
        &mut self,
        deadline: Instant,
        body: &mut BodyBuffer,
        clock: &Clock,
    ) -> Result<Fetched, ScrapeError> {
        let fetched = self.fetch_into(deadline, body, clock);
        if fetched.is_err() {
            // Others may wait for it, and the failed scrape is still to be written.
            body.release();
        }
        fetched
    }

    fn fetch_into(
        &mut self,
        deadline: Instant,
        body: &mut BodyBuffer,
        clock: &Clock,
    ) -> Result<Fetched, ScrapeError> {
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
        let mut response = client.get(deadline)?;
        clock.note_server(|| response.header("Date"));
        let page = PageBody::of(&mut response, self.body_size_limit_bytes, self.last_wire_bytes)?;
        let (content_type, content_encoding) = (response.content_type(), page.content_encoding);
        page.read(&mut response, deadline, body)?;
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
            kind => match kind.phase() {
                Phase::Body => Self::Body { cause: kind.to_string() },
                phase => Self::Request { url, cause: kind.to_string(), phase },
            },
        }
    }
}
