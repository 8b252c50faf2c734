//! `--web.config.file`: TLS, users, headers and a limit of requests for the web server, in the format of exporter-toolkit.
//!
//! After `getConfig`, `Validate` and `ConfigToTLSConfig` of its `web/tls_config.go`; what people search for has its words.

mod headers;
pub mod password_hash;
pub mod server_tls;

use std::path::Path;
use std::time::Duration;

use crate::config::error::ConfigErrors;
use crate::config::load::parse_document;
use crate::config::text::fields::{Field, Fields};
use crate::config::web::headers::read_headers;
use crate::config::web::password_hash::PasswordHash;
use crate::config::web::server_tls::{ServerTlsConfig, check_http2, read_server_tls};

/// A checked file; the default is a server without TLS, users and further headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebConfig {
    /// `tls_server_config`; `None`: plain HTTP.
    pub tls: Option<ServerTlsConfig>,
    /// `http_server_config.headers`: on every answer.
    pub headers: Vec<(&'static str, String)>,
    /// `basic_auth_users`: name → hash; none: everyone may ask.
    pub users: Vec<(String, PasswordHash)>,
    /// `rate_limit`.
    pub rate_limit: Option<RateLimit>,
    /// Sentences about what was accepted without effect.
    pub notes: Vec<String>,
}

/// A token bucket for all requests together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// One more request per interval.
    pub interval: Duration,
    /// Requests at once.
    pub burst: u64,
}

/// Reads and checks the content of the file `path`. The files that it names are not opened.
///
/// # Errors
///
/// Every mistake in it.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<WebConfig, ConfigErrors> {
    let (mut mistakes, mut notes) = (Vec::new(), Vec::new());
    let config = parse_document(path, bytes, &mut mistakes, &mut notes, read);
    match config {
        Some(config) if mistakes.is_empty() => Ok(WebConfig { notes, ..config }),
        _ => Err(ConfigErrors { mistakes }),
    }
}

fn read(root: &Field<'_>) -> WebConfig {
    let Some(mut fields) = root.fields() else { return WebConfig::default() };
    let mut config = WebConfig::default();
    let tls = fields.take("tls_server_config");
    config.tls = tls.as_ref().and_then(read_server_tls);
    let mut speaks_http2 = true;
    if let Some(mut http) = fields.take("http_server_config").and_then(|field| field.fields()) {
        speaks_http2 = http.bool("http2").unwrap_or(true);
        config.headers = http.take("headers").map(|field| read_headers(&field)).unwrap_or_default();
        http.finish(|_| false);
    }
    if let (Some(field), Some(tls)) = (&tls, &config.tls)
        && speaks_http2
    {
        check_http2(field, tls);
    }
    for (name, hash) in fields.take("basic_auth_users").map(|field| field.entries()).unwrap_or_default() {
        let parsed = hash.text().map(|text| PasswordHash::parse(&text));
        match parsed {
            Some(Ok(parsed)) => config.users.push((name.to_owned(), parsed)),
            Some(Err(sentence)) => hash.mistake(sentence),
            None => {}
        }
    }
    config.rate_limit = fields.take("rate_limit").and_then(|field| read_rate_limit(field.fields()?));
    fields.finish(|_| false);
    config
}

fn read_rate_limit(mut fields: Fields<'_>) -> Option<RateLimit> {
    let burst = fields.count("burst").unwrap_or(0);
    let interval = fields.take("interval").and_then(|field| field.duration()).unwrap_or_default();
    fields.finish(|_| false);
    (interval > Duration::ZERO).then_some(RateLimit { interval, burst })
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
