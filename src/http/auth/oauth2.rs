//! Tokens of OAuth 2: how a client shows who it is, and what it is answered.
//!
//! After Go's `golang.org/x/oauth2`, whose words failures have.

use scraped_engine::sorting::sort;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use crate::config::client::http_client::{Auth, HttpClientConfig};
use crate::config::client::oauth2::{Grant, JWT_BEARER, OAuth2Config};
use crate::config::client::secret::{Secret, Source};
use crate::config::client::secret_names::SECRET_TOKEN;
use crate::http::address::escape::escape_query;
use crate::http::address::url::Url;
use crate::http::auth::assertion::Assertion;
use crate::http::auth::once::{AskOnce, Once};
use crate::http::auth::secret_text::SecretText;
use crate::http::auth::token_answer::{TokenAnswer, read_answer};
use crate::http::error::Method;
use crate::http::wire::response::Answer;

/// Over a whole request for a token; above the usual scrape timeout, so that the next scrape finds it done.
pub(in crate::http) const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Of a request for a token.
const FORM_HEADERS: [(&str, &str); 1] = [("Content-Type", "application/x-www-form-urlencoded")];

/// `client_assertion_type` of RFC 7523.
const GIVEN_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Asks for the tokens of one set of settings.
#[derive(Debug)]
pub(in crate::http) struct OAuth2Client {
    config: Arc<OAuth2Config>,
    ask_once: AskOnce,
    /// The client's secret, or its key.
    secret: Option<SecretText>,
    style: OnceLock<Style>,
}

/// How a client shows its secret. Servers differ, so the first success decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Header,
    Parameters,
}

impl OAuth2Client {
    /// Nothing is asked or read yet.
    pub(in crate::http) fn new(config: &Arc<OAuth2Config>, ask_once: AskOnce) -> Self {
        let secret = match &config.grant {
            Grant::ClientCredentials { secret, .. } => secret.as_ref().map(SecretText::new),
            Grant::JwtBearer { key, .. } => key.as_ref().map(SecretText::of_lines),
            Grant::ClientAssertion { assertion } => Some(SecretText::new(assertion)),
        };
        Self { config: Arc::clone(config), ask_once, secret, style: OnceLock::new() }
    }

    /// What is shown to get a token, as it is now.
    pub(in crate::http) fn secret(&self) -> Result<Secret, String> {
        let unreadable = |cause| format!("unable to read oauth2 client secret: {cause}");
        self.secret.as_ref().map_or_else(|| Ok(Secret::new("")), |it| it.text().map_err(unreadable))
    }

    /// Asks for a token with this secret.
    pub(in crate::http) fn fetch(&self, secret: &Secret) -> Result<TokenAnswer, String> {
        let outcome = match &self.config.grant {
            Grant::ClientCredentials { .. } => self.fetch_by_secret(secret),
            Grant::JwtBearer { .. } => self.fetch_by_assertion(secret),
            Grant::ClientAssertion { .. } => self.fetch_by_given_assertion(secret),
        };
        outcome.map_err(|failure| without(failure, secret))
    }

    fn fetch_by_secret(&self, secret: &Secret) -> Result<TokenAnswer, String> {
        let parameters = self.parameters("client_credentials", None)?;
        let known = self.style.get().copied();
        let mut outcome = self.ask(known.unwrap_or(Style::Header), secret, &parameters);
        let mut style = Style::Header;
        if known.is_none() && outcome.is_err() {
            style = Style::Parameters;
            outcome = self.ask(style, secret, &parameters);
        }
        if known.is_none() && outcome.is_ok() {
            self.style.get_or_init(|| style);
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

    /// By what somebody else has signed for it (RFC 7523, section 2.2).
    fn fetch_by_given_assertion(&self, assertion: &Secret) -> Result<TokenAnswer, String> {
        let mut parameters = self.parameters("client_credentials", None)?;
        parameters.push(("client_id", self.config.client_id.clone()));
        parameters.push(("client_assertion_type", GIVEN_ASSERTION.to_owned()));
        parameters.push(("client_assertion", assertion.expose().to_owned()));
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
        (self.ask_once)(Once {
            method: Method::Post,
            url,
            headers: &FORM_HEADERS,
            body: body.as_bytes(),
            config: &Arc::new(config),
            deadline: Instant::now() + TOKEN_TIMEOUT,
        })
    }
}

/// A part of a form.
pub(in crate::http) fn query_escaped(text: &str) -> String {
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
