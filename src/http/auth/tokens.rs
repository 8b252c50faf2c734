//! The tokens of one set of settings, as header lines.

use std::sync::Arc;
use std::time::Instant;

use crate::config::client::azuread::AzureAdConfig;
use crate::config::client::header::is_header_text;
use crate::config::client::oauth2::OAuth2Config;
use crate::config::client::secret::Secret;
use crate::http::auth::azure::{ManagedIdentity, oauth2_of};
use crate::http::auth::lease::{Held, Lease};
use crate::http::auth::oauth2::OAuth2Client;
use crate::http::auth::once::AskOnce;
use crate::http::error::HttpErrorKind;
use crate::http::wire::buffers::OUTPUT_BYTES;
use crate::http::wire::exchange::Exchange;

/// It has to fit into one header line.
const MAX_TOKEN_BYTES: usize = OUTPUT_BYTES - 256;

/// Tokens, and who asks for them.
#[derive(Debug)]
pub(in crate::http) struct Tokens {
    giver: Arc<Giver>,
    lease: Arc<Lease<Token>>,
}

/// Whom tokens are from.
#[derive(Debug)]
enum Giver {
    OAuth2(OAuth2Client),
    ManagedIdentity(ManagedIdentity),
}

#[derive(Clone, Debug)]
struct Token {
    /// The value of `Authorization`.
    line: Secret,
    /// The client's secret that it was given for.
    secret: Secret,
}

impl Tokens {
    /// Of `oauth2`; nothing is asked or read yet.
    pub(in crate::http) fn of_oauth2(config: &Arc<OAuth2Config>, ask_once: AskOnce) -> Self {
        Self::of(Giver::OAuth2(OAuth2Client::new(config, ask_once)))
    }

    /// Of `azuread`; nothing is asked or read yet.
    pub(in crate::http) fn of_azuread(config: &AzureAdConfig, ask_once: AskOnce) -> Self {
        match oauth2_of(config) {
            Some(config) => Self::of_oauth2(&Arc::new(config), ask_once),
            None => Self::of(Giver::ManagedIdentity(ManagedIdentity::new(config, ask_once))),
        }
    }

    fn of(giver: Giver) -> Self {
        Self { giver: Arc::new(giver), lease: Lease::new("oauth2: cannot fetch token") }
    }

    /// The value of `Authorization`. Waits for it until `deadline` at most.
    pub(in crate::http) fn line(
        &self,
        deadline: Instant,
        exchange: &Exchange,
    ) -> Result<Secret, HttpErrorKind> {
        let secret = self.giver.secret().map_err(HttpErrorKind::Setup)?;
        let (giver, for_secret) = (Arc::clone(&self.giver), secret.clone());
        let is_good = |token: &Token| token.secret == secret;
        let fetch = move || giver.fetch(for_secret);
        self.lease.get(deadline, exchange, is_good, fetch).map(|token| token.line)
    }

    /// A server did not take `line`. True if it is worth to ask it again: the next token will be another one.
    pub(in crate::http) fn refused(&self, line: &Secret) -> bool {
        self.lease.refused(|token| token.line == *line)
    }
}

impl Giver {
    /// What is shown to get a token.
    fn secret(&self) -> Result<Secret, String> {
        match self {
            Self::OAuth2(client) => client.secret(),
            Self::ManagedIdentity(_) => Ok(Secret::new("")),
        }
    }

    fn fetch(&self, secret: Secret) -> Result<Held<Token>, String> {
        let answer = match self {
            Self::OAuth2(client) => client.fetch(&secret)?,
            Self::ManagedIdentity(identity) => identity.fetch()?,
        };
        let line = format!("{} {}", answer.kind, answer.token.expose());
        if line.len() > MAX_TOKEN_BYTES || !is_header_text(&line) {
            return Err(format!(
                "oauth2: the token cannot be sent: it is longer than {MAX_TOKEN_BYTES}B or holds a control character"
            ));
        }
        Ok(Held::good_for(Token { line: Secret::new(line), secret }, answer.expires_in))
    }
}
