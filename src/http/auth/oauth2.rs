//! Tokens of OAuth 2: asked for when the first request needs one, kept until they expire, shared by all clients with
//! the same settings.
//!
//! Asking runs on a short-lived thread `http-token`, with a deadline of its own; whoever needs the token waits as
//! long as they have time, and can be cancelled. After Go's `golang.org/x/oauth2`, whose words failures have.

use scraped_engine::sorting::sort;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::config::client::header::is_header_text;
use crate::config::client::http_client::{Auth, HttpClientConfig};
use crate::config::client::oauth2::{Grant, JWT_BEARER, OAuth2Config};
use crate::config::client::secret::{Secret, Source};
use crate::config::client::secret_names::SECRET_TOKEN;
use crate::http::address::escape::escape_query;
use crate::http::address::url::Url;
use crate::http::auth::assertion::Assertion;
use crate::http::auth::secret_text::SecretText;
use crate::http::auth::token_answer::{TokenAnswer, read_answer};
use crate::http::error::{HttpErrorKind, Phase};
use crate::http::single_flight::{Arrivals, Flight, Look, NotFetched, start};
use crate::http::wire::buffers::OUTPUT_BYTES;
use crate::http::wire::exchange::Exchange;
use crate::http::wire::response::Answer;
use scraped_engine::threads::ThreadKind;

/// A token is not used in its last moments: it would expire on the way (`golang.org/x/oauth2`: `defaultExpiryDelta`).
const EXPIRY_MARGIN: Duration = Duration::from_secs(10);

/// Over a whole request for a token; above the usual scrape timeout, so that the next scrape finds it done.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// A server may refuse a token before it expires. One that refuses every token must not cost the endpoint of tokens
/// a request each time.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);

/// It has to fit into one header line.
const MAX_TOKEN_BYTES: usize = OUTPUT_BYTES - 256;

/// TLS and its checks take most of the stack.
const THREAD: ThreadKind = ThreadKind { name: "http-token", stack_bytes: 512 << 10 };

/// The tokens of one set of settings.
#[derive(Debug)]
pub(in crate::http) struct Tokens {
    config: Arc<OAuth2Config>,
    post_form: PostForm,
    /// The client's secret, or its key.
    secret: Option<SecretText>,
    state: Arrivals<State>,
}

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    fetches: Flight<String>,
    renewed_at: Option<Instant>,
    style: Option<Style>,
}

#[derive(Clone, Debug)]
struct Token {
    /// The value of `Authorization`.
    line: Secret,
    /// `None`: never, as far as is known.
    expires_at: Option<Instant>,
    /// The client's secret that it was given for.
    secret: Secret,
}

/// How a client shows its secret. Servers differ, so the first success decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Header,
    Parameters,
}

/// Sends a form to the endpoint of tokens, by a client with these settings. Handed in, since clients stand above what
/// they show of themselves.
pub(in crate::http) type PostForm = fn(Url, &Arc<HttpClientConfig>, &[u8], Instant) -> Result<Answer, String>;

impl Tokens {
    /// Nothing is asked or read yet.
    pub(in crate::http) fn new(config: &Arc<OAuth2Config>, post_form: PostForm) -> Arc<Self> {
        let source = match &config.grant {
            Grant::ClientCredentials { secret, .. } => secret.as_ref(),
            Grant::JwtBearer { key, .. } => key.as_ref(),
        };
        let secret = source.map(|source| match config.grant {
            Grant::ClientCredentials { .. } => SecretText::new(source),
            Grant::JwtBearer { .. } => SecretText::of_lines(source),
        });
        let config = Arc::clone(config);
        Arc::new(Self { config, post_form, secret, state: Arrivals::default() })
    }

    /// The value of `Authorization`. Waits for it until `deadline` at most.
    pub(in crate::http) fn line(
        self: &Arc<Self>,
        deadline: Instant,
        exchange: &Exchange,
    ) -> Result<Secret, HttpErrorKind> {
        let secret = match &self.secret {
            None => Secret::new(""),
            Some(secret) => secret.text().map_err(|cause| {
                HttpErrorKind::Setup(format!("unable to read oauth2 client secret: {cause}"))
            })?,
        };
        let n_landed = self.state.lock().fetches.n_landed();
        let look = |state: &mut State, now: Instant| {
            if let Some(token) = state.token.as_ref().filter(|token| token.is_good(now, &secret)) {
                return Look::Done(Ok(token.line.clone()));
            }
            if let Some(failure) = state.fetches.failure()
                && state.fetches.answers(n_landed, now)
            {
                return Look::Done(Err(HttpErrorKind::Setup(failure.clone())));
            }
            if exchange.is_cancelled() {
                return Look::Done(Err(HttpErrorKind::Cancelled));
            }
            if now >= deadline {
                return Look::Done(Err(HttpErrorKind::Deadline(Phase::Token)));
            }
            if state.fetches.take_off() { Look::Fetch } else { Look::Wait }
        };
        self.state.wait(deadline, look, || self.start_fetch(secret.clone()))
    }

    /// A server did not take `line`. True if it is worth to ask it again: the next token will be another one.
    pub(in crate::http) fn refused(&self, line: &Secret) -> bool {
        let mut state = self.state.lock();
        match &state.token {
            // Somebody else has seen to it.
            None => true,
            Some(token) if token.line != *line => true,
            Some(_) => {
                let now = Instant::now();
                let is_due = state.renewed_at.is_none_or(|at| now.duration_since(at) >= RENEWAL_INTERVAL);
                if is_due {
                    state.token = None;
                    state.renewed_at = Some(now);
                }
                is_due
            }
        }
    }

    fn start_fetch(self: &Arc<Self>, secret: Secret) {
        let (tokens, asking) = (Arc::clone(self), Arc::clone(self));
        start(THREAD, move || asking.fetch(&secret), move |outcome| tokens.take_outcome(outcome));
    }

    fn take_outcome(&self, outcome: Result<Token, NotFetched<String>>) {
        let (token, failure) = match outcome {
            Ok(token) => (Some(token), None),
            Err(NotFetched::Failed(failure)) => (None, Some(failure)),
            // Without its words: they may hold the secret.
            Err(NotFetched::Panicked(panicked)) => {
                log::error!("BUG: asking for a token panicked at {}", panicked.place());
                (None, Some("oauth2: cannot fetch token: a bug, it panicked".to_owned()))
            }
            Err(NotFetched::NoThread(error)) => (None, Some(format!("oauth2: cannot fetch token: {error}"))),
        };
        self.state.land(|state, now| {
            state.token = token;
            state.fetches.land(failure, now);
        });
    }

    fn fetch(&self, secret: &Secret) -> Result<Token, String> {
        let outcome = match &self.config.grant {
            Grant::ClientCredentials { .. } => self.fetch_by_secret(secret),
            Grant::JwtBearer { .. } => self.fetch_by_assertion(secret),
        };
        let answer = outcome.map_err(|failure| without(failure, secret))?;
        let line = format!("{} {}", answer.kind, answer.token.expose());
        if line.len() > MAX_TOKEN_BYTES || !is_header_text(&line) {
            return Err(format!(
                "oauth2: the token cannot be sent: it is longer than {MAX_TOKEN_BYTES}B or holds a control character"
            ));
        }
        let expires_at = answer.expires_in.map(|good_for| {
            // One that is good for seconds only is at least used for a part of them.
            Instant::now() + good_for.saturating_sub(EXPIRY_MARGIN.min(good_for / 2))
        });
        Ok(Token { line: Secret::new(line), expires_at, secret: secret.clone() })
    }

    fn fetch_by_secret(&self, secret: &Secret) -> Result<TokenAnswer, String> {
        let parameters = self.parameters("client_credentials", None)?;
        let known = self.state.lock().style;
        let mut outcome = self.ask(known.unwrap_or(Style::Header), secret, &parameters);
        let mut style = Style::Header;
        if known.is_none() && outcome.is_err() {
            style = Style::Parameters;
            outcome = self.ask(style, secret, &parameters);
        }
        if known.is_none() && outcome.is_ok() {
            self.state.lock().style = Some(style);
        }
        outcome
    }

    fn ask(
        &self,
        style: Style,
        secret: &Secret,
        parameters: &[(&str, String)],
    ) -> Result<TokenAnswer, String> {
        let id = self.config.client_id.as_str();
        let mut parameters = parameters.to_vec();
        let mut auth = None;
        match style {
            Style::Header => {
                let escaped = |text: &str| Some(Source::Inline(Secret::new(query_escaped(text))));
                auth = Some(Auth::Basic { username: escaped(id), password: escaped(secret.expose()) });
            }
            Style::Parameters => {
                parameters.retain(|(name, _)| !["client_id", "client_secret"].contains(name));
                parameters.push(("client_id", id.to_owned()));
                if !secret.expose().is_empty() {
                    parameters.push(("client_secret", secret.expose().to_owned()));
                }
            }
        }
        read_answer(&self.post(auth, parameters)?)
    }

    fn fetch_by_assertion(&self, key: &Secret) -> Result<TokenAnswer, String> {
        let Grant::JwtBearer { key_id, algorithm, iss, audience, claims, .. } = &self.config.grant else {
            return Err("BUG: not the grant of an assertion".to_owned());
        };
        let token_url = self.config.token_url.full.expose();
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        let (issuer, audience) = (or(iss, &self.config.client_id), or(audience, token_url));
        let assertion = Assertion {
            issuer: &issuer,
            subject: &self.config.client_id,
            audience: &audience,
            scope: &self.config.scopes.join(" "),
            claims,
            key_id,
            algorithm,
        };
        let assertion = assertion.signed(key.expose().as_bytes(), SystemTime::now())?;
        let parameters = self.parameters(JWT_BEARER, Some(assertion))?;
        read_answer(&self.post(None, parameters)?)
    }

    /// What is asked for, by any client.
    fn parameters(&self, grant_type: &str, assertion: Option<String>) -> Result<Vec<(&str, String)>, String> {
        let mut parameters = vec![("grant_type", grant_type.to_owned())];
        parameters.extend(assertion.map(|assertion| ("assertion", assertion)));
        if !self.config.scopes.is_empty() {
            parameters.push(("scope", self.config.scopes.join(" ")));
        }
        for (name, value) in &self.config.endpoint_params {
            match parameters.iter_mut().find(|(known, _)| known == name) {
                None => parameters.push((name, value.clone())),
                // Some servers want another one.
                Some((known, old)) if *known == "grant_type" => old.clone_from(value),
                Some(_) => return Err(format!("oauth2: cannot overwrite parameter {name:?}")),
            }
        }
        Ok(parameters)
    }

    fn post(&self, auth: Option<Auth>, mut parameters: Vec<(&str, String)>) -> Result<Answer, String> {
        let url = Url::parse(self.config.token_url.full.expose())
            .map_err(|sentence| format!("oauth2: cannot fetch token: {sentence}"))?;
        sort(&mut parameters);
        let pair =
            |(name, value): &(&str, String)| format!("{}={}", query_escaped(name), query_escaped(value));
        let body = parameters.iter().map(pair).collect::<Vec<_>>().join("&");
        let config = HttpClientConfig { auth, ..HttpClientConfig::clone(&self.config.client) };
        (self.post_form)(url, &Arc::new(config), body.as_bytes(), Instant::now() + TOKEN_TIMEOUT)
    }
}

impl Token {
    fn is_good(&self, now: Instant, secret: &Secret) -> bool {
        self.secret == *secret && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }
}

fn query_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    escape_query(&mut escaped, text);
    escaped
}

/// A server may send back what it was sent.
fn without(failure: String, secret: &Secret) -> String {
    let text = secret.expose();
    if text.is_empty() {
        return failure;
    }
    failure.replace(text, SECRET_TOKEN).replace(&query_escaped(text), SECRET_TOKEN)
}
