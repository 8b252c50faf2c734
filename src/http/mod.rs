//! The one HTTP client, for scrapes and remote write alike. The only place that knows ureq and rustls.
//!
//! A client asks one URL over one kept connection, on whatever thread calls it. ureq's pool renumbers all idle
//! connections for each request, so every client has an agent of its own; while it idles it holds a socket and no
//! buffers. What many clients share (certificates, secrets) is their profile. Bodies come as they are sent, still
//! packed. Knows nothing of scraping.

pub mod address;
pub mod auth;
pub mod dial;
pub mod error;
mod profile;
mod single_flight;
pub mod tls;
pub(crate) mod watched;
pub mod wire;

use crate::http::wire::error_kind::kind_of;
use std::borrow::Cow;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use ureq::http::header::LOCATION;
use ureq::{Agent, Error, RequestBuilder};

use crate::config::client::http_client::HttpClientConfig;
use crate::config::client::secret::Secret;
use crate::http::address::escape::escape;
use crate::http::address::url::{Url, without_password};
use crate::http::auth::aws::signing::Unsigned;
use crate::http::auth::credentials::{Audience, Line};
use crate::http::auth::once::Once;
use crate::http::dial::connect::{NetConnector, NoResolver, Route};
use crate::http::dial::dialer::{Dialer, Turn};
use crate::http::dial::name_cache::Names;
use crate::http::error::{HttpError, HttpErrorKind, Method, Phase};
use crate::http::profile::ClientProfile;
use crate::http::wire::exchange::Exchange;
use crate::http::wire::response::{Answer, Response, UreqResponse};

/// Go's client gives up when it would make one request more.
const MAX_REQUESTS: usize = 10;

/// Bodies that no one wants are read up to this size, to keep the connection (Go: `maxBodySlurpSize`).
const UNUSED_BODY_BYTES: u64 = 2 << 10;

/// A connection that idles longer is not used again: the peer has closed it, or a firewall on the way has
/// forgotten it. Above every usual scrape interval.
const MAX_IDLE_AGE: Duration = Duration::from_secs(5 * 60);

/// Header of every request, to whomever.
pub const USER_AGENT: (&str, &str) = ("User-Agent", concat!("scraped/", env!("CARGO_PKG_VERSION")));

/// Of a request that is made once.
const PLAIN_HEADERS: [(&str, &str); 1] = [USER_AGENT];

/// An answer with a token (`golang.org/x/oauth2`: the same).
const TOKEN_ANSWER_BYTES: usize = 1 << 20;

/// Names are shared by all clients: thousands of targets may be ports of one host, and the number of lookups that
/// hang must be bounded in the process.
static NAMES: LazyLock<Arc<Names>> = LazyLock::new(Names::system);

/// Asks one URL.
#[derive(Debug)]
pub struct HttpClient {
    url: Url,
    headers: Headers,
    route: Route,
    profile: Arc<ClientProfile>,
    agent: Agent,
    exchange: Arc<Exchange>,
    /// What kept connections were made with; another one means that they are not to be used any more.
    tls: Option<Arc<ClientConfig>>,
}

/// Headers of every request, beside `Host` and those of the configuration; names as they are sent.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// The same for every client of a kind.
    pub fixed: &'static [(&'static str, &'static str)],
    /// The client's own.
    pub others: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    /// Those that only the host of the client's URL may see: they follow no redirect to another one.
    pub private: Vec<(Cow<'static, str>, Secret)>,
}

/// One GET of a client that asks its host for more than one thing.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Already escaped, starts with `/`; `None`: those of the client's URL.
    pub path_and_query: Option<&'a str>,
    /// Headers of this request alone, beside the client's.
    pub headers: &'a [(&'a str, &'a str)],
    /// A longer body is an error.
    pub limit_bytes: usize,
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

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
struct Ask<'a> {
    method: Method,
    /// Headers of this request alone.
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    /// No other host than that of the client's URL may see the body.
    is_private: bool,
}

impl HttpClient {
    /// A client of `url`; nothing is opened and no file of `config` is read yet.
    pub fn new(url: Url, headers: Headers, config: &Arc<HttpClientConfig>) -> Self {
        Self::by(Route::Network, url, headers, config)
    }

    /// The same; with other clients that share `turn`, connections go to each of the host's addresses in turn.
    pub fn in_turn(turn: Turn, url: Url, headers: Headers, config: &Arc<HttpClientConfig>) -> Self {
        Self::by(Route::InTurn(turn), url, headers, config)
    }

    /// The same over a socket of this machine, whatever host `url` names; that is only said in the header `Host`.
    pub fn over_unix_socket(
        path: PathBuf,
        url: Url,
        headers: Headers,
        config: &Arc<HttpClientConfig>,
    ) -> Self {
        Self::by(Route::UnixSocket(path), url, headers, config)
    }

    fn by(route: Route, url: Url, headers: Headers, config: &Arc<HttpClientConfig>) -> Self {
        let exchange = Arc::new(Exchange::default());
        let profile = ClientProfile::of(config, ask_once);
        let agent = new_agent(&route, &exchange, &profile);
        Self { url, headers, route, profile, agent, exchange, tls: None }
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
        self.open(None, &[], deadline)
    }

    /// The same for another path of the client's host: for answers that are long, or that have no end before the
    /// deadline. `path_and_query` is already escaped and starts with `/`; `None`: those of the client's URL.
    ///
    /// # Errors
    /// Everything that can go wrong before the end of the head. An error status is no error.
    pub fn open(
        &mut self,
        path_and_query: Option<&str>,
        headers: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Response<'_>, HttpError> {
        let mut url = self.url.clone();
        if let Some(path_and_query) = path_and_query {
            path_and_query.clone_into(&mut url.path_and_query);
        }
        let ask = Ask { method: Method::Get, headers, body: &[], is_private: false };
        let (url, response) = self.exchange(url, ask, deadline)?;
        Ok(Response::new(url, response, &self.exchange))
    }

    /// GETs `question` of the client's host and reads all of the answer: for small documents that change rarely.
    /// Everything must happen before `deadline`; it may be minutes away, for servers that answer when there is news.
    ///
    /// # Errors
    /// Everything that can go wrong before the end of the body, one that is too large included. An error status is
    /// no error.
    pub fn fetch(&mut self, question: &Question<'_>, deadline: Instant) -> Result<Answer, HttpError> {
        let response = self.open(question.path_and_query, question.headers, deadline)?;
        Answer::read_all(response, question.limit_bytes)
    }

    /// POSTs `body` with `headers` beside those of the client, and gives the answer with the start of its body.
    /// Everything must happen before `deadline`. Redirects with 307 and 308 are followed; one that would make a GET
    /// of it is an error, since whatever answers that says nothing of what was posted.
    ///
    /// # Errors
    /// Everything that can go wrong before the end of the head. An error status is no error.
    pub fn post(
        &mut self,
        headers: &[(&str, &str)],
        body: &[u8],
        deadline: Instant,
    ) -> Result<Answer, HttpError> {
        let ask = Ask { method: Method::Post, headers, body, is_private: false };
        let (url, response) = self.exchange(self.url.clone(), ask, deadline)?;
        Ok(Answer::read(Response::new(url, response, &self.exchange)))
    }

    fn exchange(
        &mut self,
        mut url: Url,
        ask: Ask<'_>,
        deadline: Instant,
    ) -> Result<(Url, UreqResponse), HttpError> {
        let method = ask.method;
        let mut audience = Audience::Own;
        let mut n_requests = 0;
        loop {
            n_requests += 1;
            let response = self.ask(&url, audience, ask, deadline).map_err(|kind| HttpError {
                method,
                url: url.to_string(),
                kind,
            })?;
            let location = redirect_location(&response).filter(|_| self.profile.config().follow_redirects);
            let Some(location) = location else {
                self.exchange.enter(Phase::Body);
                return Ok((url, response));
            };
            let next = url.join(&location).map_err(|cause| {
                let shown = without_password(&location);
                let kind =
                    HttpErrorKind::Refused(format!("failed to parse Location header {shown:?}: {cause}"));
                HttpError { method, url: url.to_string(), kind }
            })?;
            let status = response.status().as_u16();
            if method != Method::Get && matches!(status, 301..=303) {
                let kind = HttpErrorKind::PostRedirected { status, location: next.to_string() };
                return Err(HttpError { method, url: url.to_string(), kind });
            }
            if n_requests == MAX_REQUESTS {
                let kind = HttpErrorKind::TooManyRedirects { n_requests };
                return Err(HttpError { method, url: without_password(&location), kind });
            }
            if !next.is_site_of(&self.url) {
                if ask.is_private {
                    let kind = HttpErrorKind::SecretRedirected { status, location: next.to_string() };
                    return Err(HttpError { method, url: url.to_string(), kind });
                }
                // For good: who was sent elsewhere once may be sent back by anybody.
                audience = Audience::Other;
            }
            read_away(response);
            url = next;
        }
    }

    fn ask(
        &mut self,
        url: &Url,
        audience: Audience,
        ask: Ask<'_>,
        deadline: Instant,
    ) -> Result<UreqResponse, HttpErrorKind> {
        match url.scheme.as_str() {
            "http" if !self.profile.proxies.need_tls() => {}
            "http" | "https" => self.follow_changes_of_tls()?,
            other => return Err(HttpErrorKind::UnsupportedScheme(other.to_owned())),
        }
        if url.site().is_empty() {
            return Err(HttpErrorKind::Refused("http: no Host in request URL".to_owned()));
        }
        // What is signed is sent.
        let cleaned = self.profile.credentials.signs(audience).then(|| url.with_clean_path());
        let url = cleaned.as_ref().unwrap_or(url);
        let mut lines = self.lines(url, audience, ask, deadline)?;
        let mut is_renewed = false;
        loop {
            self.exchange.begin();
            self.exchange.is_for(url.site());
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HttpErrorKind::Deadline(Phase::Resolve));
            }
            let uri = url.request_uri();
            let outcome = match ask.method {
                Method::Get => {
                    let request = self.with_headers(self.agent.get(uri), url, audience, ask, &lines);
                    request.config().timeout_global(Some(left)).build().call()
                }
                Method::Post | Method::Put => {
                    let length = ask.body.len().to_string();
                    let request = match ask.method {
                        Method::Put => self.agent.put(uri),
                        _ => self.agent.post(uri),
                    };
                    let request = self.with_headers(request, url, audience, ask, &lines);
                    let request = request.header_raw("Content-Length", length.as_bytes());
                    request.config().timeout_global(Some(left)).build().send(ask.body)
                }
            };
            match outcome {
                Ok(response)
                    if response.status().as_u16() == 401
                        && !is_renewed
                        && self.profile.credentials.refused(&lines) =>
                {
                    is_renewed = true;
                    read_away(response);
                    lines = self.lines(url, audience, ask, deadline)?;
                }
                Ok(response) => return Ok(response),
                // The peer closed the kept connection while the request was under way. A GET may be repeated, and so
                // may what we post (delivery is at least once); once, for the next connection is fresh.
                Err(Error::Io(_)) if self.exchange.was_stale() && !self.exchange.is_cancelled() => {}
                Err(error) => return Err(kind_of(&self.exchange, error)),
            }
        }
    }

    fn lines(
        &self,
        url: &Url,
        audience: Audience,
        ask: Ask<'_>,
        deadline: Instant,
    ) -> Result<Vec<Line>, HttpErrorKind> {
        let headers: Vec<(&str, &str)> =
            self.headers.fixed.iter().copied().chain(ask.headers.iter().copied()).collect();
        let request = Unsigned {
            method: ask.method.name(),
            host: url.site().header(),
            path_and_query: &url.path_and_query,
            headers: &headers,
            body: ask.body,
        };
        self.profile.credentials.lines(&request, audience, url.userinfo(), deadline, &self.exchange)
    }

    /// Certificates have changed: connections that were made with the old ones are given up.
    fn follow_changes_of_tls(&mut self) -> Result<(), HttpErrorKind> {
        let newest = self.profile.tls.client_config().map_err(HttpErrorKind::Setup)?;
        if self.tls.as_ref().is_none_or(|tls| !Arc::ptr_eq(tls, &newest)) {
            if self.tls.is_some() {
                self.agent = new_agent(&self.route, &self.exchange, &self.profile);
            }
            self.tls = Some(newest);
        }
        Ok(())
    }

    fn with_headers<Kind>(
        &self,
        request: RequestBuilder<Kind>,
        url: &Url,
        audience: Audience,
        ask: Ask<'_>,
        lines: &[Line],
    ) -> RequestBuilder<Kind> {
        // Names as Go writes them: some small exporters compare them letter by letter.
        let mut request = request.header_raw("Host", url.site().header().as_bytes());
        for (name, value) in self.headers.fixed.iter().chain(ask.headers) {
            request = request.header_raw(name, value.as_bytes());
        }
        for (name, value) in &self.headers.others {
            request = request.header_raw(name, value.as_bytes());
        }
        for (name, value) in self.headers.private.iter().filter(|_| audience == Audience::Own) {
            request = request.header_raw(name, value.expose().as_bytes());
        }
        for line in lines {
            request = request.header_raw(&line.name, line.value.expose().as_bytes());
        }
        request
    }
}

/// Asks for a token or for keys, by a client that is used once, and reads all of the answer.
fn ask_once(once: Once<'_>) -> Result<Answer, String> {
    let Once { method, url, headers, body, config, deadline } = once;
    let mut client =
        HttpClient::new(url.clone(), Headers { fixed: &PLAIN_HEADERS, ..Headers::default() }, config);
    let ask = Ask { method, headers, body, is_private: true };
    let answer = client.exchange(url, ask, deadline).and_then(|(url, response)| {
        Answer::read_all(Response::new(url, response, &client.exchange), TOKEN_ANSWER_BYTES)
    });
    answer.map_err(|error| error.to_string())
}

/// The connection is kept if the body ends soon; otherwise it is closed.
fn read_away(response: UreqResponse) {
    let mut body = response.into_body().into_reader().take(UNUSED_BODY_BYTES);
    let _ = io::copy(&mut body, &mut io::sink());
}

fn new_agent(route: &Route, exchange: &Arc<Exchange>, profile: &Arc<ClientProfile>) -> Agent {
    let turn = match route {
        Route::InTurn(turn) => Some(turn.clone()),
        Route::Network | Route::UnixSocket(_) => None,
    };
    let connector = NetConnector {
        route: route.clone(),
        dialer: Dialer { exchange: Arc::clone(exchange), names: Arc::clone(&NAMES), turn },
        profile: Arc::clone(profile),
    };
    let config = Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        // Redirects are followed here: which ones, and how often, is Go's rule and not ureq's.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
        .max_idle_age(MAX_IDLE_AGE)
        .max_response_header_size(crate::http::wire::buffers::INPUT_BYTES)
        // Whatever is sent is set on the request; empty means: not by default.
        .user_agent("")
        .accept("")
        .accept_encoding("")
        .build();
    Agent::with_parts(config, connector, NoResolver)
}

/// Where a response sends to, if it is one that Go's client follows for a GET. Bytes that are no UTF-8 are escaped.
fn redirect_location(response: &UreqResponse) -> Option<String> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.as_bytes();
    Some(str::from_utf8(location).map(str::to_owned).unwrap_or_else(|_| {
        let mut text = String::new();
        escape(&mut text, location, |byte| byte.is_ascii());
        text
    }))
}
