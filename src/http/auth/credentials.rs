//! Header lines that a request carries for its job: `Authorization` and `http_headers`, secret files re-read.
//!
//! Decides what of it another host may see. Texts of secrets leave this file only as header lines.

use crate::http::auth::secret_text::SecretText;
use crate::http::auth::tokens::Tokens;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::config::client::header::is_header_text;
use crate::config::client::http_client::{Auth, Header, HttpClientConfig};
use crate::config::client::secret::{Secret, Source};
use crate::http::auth::aws::Signer;
use crate::http::auth::aws::signing::Unsigned;
use crate::http::auth::once::AskOnce;
use crate::http::error::HttpErrorKind;
use crate::http::wire::exchange::Exchange;
use crate::percent;

const AUTHORIZATION: &str = "Authorization";

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Audience {
    /// The host that the job names, or one below it.
    Own,
    /// Another host, or one that is asked because another one said so, or the own one without the TLS it had.
    Other,
}

/// A header line, its value not for logs.
#[derive(Debug)]
pub(in crate::http) struct Line {
    pub(in crate::http) name: String,
    pub(in crate::http) value: Secret,
}

/// What the requests of a job carry.
#[derive(Debug)]
pub(in crate::http) struct Credentials {
    auth: Option<AuthText>,
    headers: Vec<HeaderText>,
}

#[derive(Debug)]
enum AuthText {
    Basic { username: Option<SecretText>, password: Option<SecretText> },
    Credentials { kind: String, credentials: Option<SecretText> },
    Tokens(Tokens),
    Signer(Signer),
}

#[derive(Debug)]
struct HeaderText {
    name: String,
    values: Vec<String>,
    secrets: Vec<SecretText>,
}

impl Credentials {
    /// What `config` says; no file is read yet.
    pub(in crate::http) fn new(config: &HttpClientConfig, ask_once: AskOnce) -> Self {
        let text = |source: &Option<Source>| source.as_ref().map(SecretText::new);
        let auth = config.auth.as_ref().map(|auth| match auth {
            Auth::Basic { username, password } => {
                AuthText::Basic { username: text(username), password: text(password) }
            }
            Auth::Credentials { kind, credentials } => {
                AuthText::Credentials { kind: kind.clone(), credentials: text(credentials) }
            }
            Auth::OAuth2(config) => AuthText::Tokens(Tokens::of_oauth2(config, ask_once)),
            Auth::AzureAd(config) => AuthText::Tokens(Tokens::of_azuread(config, ask_once)),
            Auth::SigV4(config) => AuthText::Signer(Signer::new(config, ask_once)),
        });
        let header = |header: &Header| HeaderText {
            name: canonical(&header.name),
            values: header.values.clone(),
            secrets: header.secrets.iter().map(SecretText::new).collect(),
        };
        Self { auth, headers: config.headers.iter().map(header).collect() }
    }

    /// The lines of `request`. `userinfo` is that of the URL: it counts where the job says nothing. Waits for a token
    /// until `deadline` at most.
    pub(in crate::http) fn lines(
        &self,
        request: &Unsigned<'_>,
        audience: Audience,
        userinfo: Option<&str>,
        deadline: Instant,
        exchange: &Exchange,
    ) -> Result<Vec<Line>, HttpErrorKind> {
        let mut lines = Vec::new();
        match (&self.auth, userinfo, audience) {
            (Some(AuthText::Tokens(tokens)), _, Audience::Own) => {
                let value = tokens.line(deadline, exchange)?;
                lines.push(Line { name: AUTHORIZATION.to_owned(), value });
            }
            (Some(AuthText::Signer(signer)), _, Audience::Own) => {
                let signed = signer.lines(request, deadline, exchange)?;
                lines.extend(signed.into_iter().map(|(name, value)| Line { name: name.to_owned(), value }));
            }
            (Some(auth), _, Audience::Own) => {
                lines.push(authorization(auth.value().map_err(HttpErrorKind::Setup)?));
            }
            (None, Some(userinfo), _) => {
                let (username, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
                lines.push(authorization(basic(&percent::decoded(username), &percent::decoded(password))));
            }
            _ => {}
        }
        for header in &self.headers {
            let line = |value: &str| Line { name: header.name.clone(), value: Secret::new(value) };
            if audience == Audience::Own || !is_credential(&header.name) {
                lines.extend(header.values.iter().map(|value| line(value)));
            }
            if audience == Audience::Own {
                for secret in &header.secrets {
                    let value = secret.text().map_err(|cause| {
                        HttpErrorKind::Setup(format!("unable to read headers file: {cause}"))
                    })?;
                    lines.push(line(value.expose()));
                }
            }
        }
        match lines.iter().find(|line| !is_header_text(line.value.expose())) {
            Some(Line { name, .. }) => {
                Err(HttpErrorKind::Setup(format!("net/http: invalid header field value for {name:?}")))
            }
            None => Ok(lines),
        }
    }

    /// Whether requests are signed, path and all.
    pub(in crate::http) fn signs(&self, audience: Audience) -> bool {
        matches!((&self.auth, audience), (Some(AuthText::Signer(_)), Audience::Own))
    }

    /// A server said that it does not know who asks. True if another request may carry something better than
    /// `lines`.
    pub(in crate::http) fn refused(&self, lines: &[Line]) -> bool {
        let Some(AuthText::Tokens(tokens)) = &self.auth else { return false };
        let line = lines.iter().find(|line| line.name == AUTHORIZATION);
        line.is_some_and(|line| tokens.refused(&line.value))
    }
}

impl AuthText {
    fn value(&self) -> Result<String, String> {
        let read = |text: &Option<SecretText>, what: &str| match text {
            None => Ok(Secret::new("")),
            Some(text) => text.text().map_err(|cause| format!("unable to read {what}: {cause}")),
        };
        Ok(match self {
            Self::Basic { username, password } => {
                let username = read(username, "basic auth username")?;
                let password = read(password, "basic auth password")?;
                basic(username.expose().as_bytes(), password.expose().as_bytes())
            }
            Self::Credentials { kind, credentials } => {
                format!("{kind} {}", read(credentials, "authorization credentials")?.expose())
            }
            Self::Tokens(_) | Self::Signer(_) => return Err("BUG: a token is waited for".to_owned()),
        })
    }
}

fn authorization(value: String) -> Line {
    Line { name: AUTHORIZATION.to_owned(), value: Secret::new(value) }
}

fn basic(username: &[u8], password: &[u8]) -> String {
    format!("Basic {}", BASE64_STANDARD.encode([username, b":", password].concat()))
}

/// Names of headers that Go's client takes to no other host, whatever is in them.
fn is_credential(name: &str) -> bool {
    let names = ["Authorization", "Www-Authenticate", "Cookie", "Cookie2", "Proxy-Authorization"];
    names.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// `x-api-key` → `X-Api-Key`, as Go writes it.
fn canonical(name: &str) -> String {
    let mut is_first = true;
    let mut upper = |character: char| {
        let written = if is_first { character.to_ascii_uppercase() } else { character.to_ascii_lowercase() };
        is_first = character == '-';
        written
    };
    name.chars().map(&mut upper).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::auth::secret_text::parse_secret;

    fn secret(text: &str) -> Option<Source> {
        Some(Source::Inline(Secret::new(text)))
    }

    fn check(config: &HttpClientConfig, audience: Audience, userinfo: Option<&str>, want: &[&str]) {
        let request = Unsigned { method: "GET", host: "h", path_and_query: "/", headers: &[], body: b"" };
        let lines = Credentials::new(config, |_| Err("no test asks for a token".to_owned()))
            .lines(&request, audience, userinfo, Instant::now(), &Exchange::default())
            .expect("no files");
        let got: Vec<String> =
            lines.iter().map(|line| format!("{}: {}", line.name, line.value.expose())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn lines_are_those_of_go() {
        let basic = Auth::Basic { username: secret("Aladdin"), password: secret("open sesame") };
        let mut config = HttpClientConfig { auth: Some(basic), ..Default::default() };
        check(&config, Audience::Own, None, &["Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="]);
        check(&config, Audience::Other, None, &[]);
        config.auth = Some(Auth::Credentials { kind: "Bearer".to_owned(), credentials: secret("t") });
        config.headers.push(Header {
            name: "x-scope-orgID".to_owned(),
            values: vec!["a".to_owned(), "b".to_owned()],
            secrets: secret("hidden").into_iter().collect(),
        });
        let own =
            ["Authorization: Bearer t", "X-Scope-Orgid: a", "X-Scope-Orgid: b", "X-Scope-Orgid: hidden"];
        check(&config, Audience::Own, Some("not:used"), &own);
        check(&config, Audience::Other, None, &["X-Scope-Orgid: a", "X-Scope-Orgid: b"]);
        let none = HttpClientConfig::default();
        check(
            &none,
            Audience::Own,
            Some("Aladdin:open%20sesame"),
            &["Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="],
        );
        check(&none, Audience::Own, Some("%zz"), &["Authorization: Basic JXp6Og=="]);
    }

    #[test]
    fn secret_files_are_trimmed_and_checked() {
        assert_eq!(parse_secret(b" token\n\n").expect("good").expose(), "token");
        for bytes in [&b"a\nb"[..], b"a\0b", b"\xff"] {
            let error = parse_secret(bytes).expect_err("refused");
            assert!(!error.contains('a') || !error.contains("a\n"), "{error}");
        }
    }
}
