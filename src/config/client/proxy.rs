//! Whom requests go through: `proxy_url`, `no_proxy`, `proxy_from_environment`, `proxy_connect_header`.
//!
//! After `ProxyConfig` of prometheus/common `config/http_config.go` with its `Validate`. Which of them a request
//! takes is decided in `http`.

use crate::config::client::go_url;
use crate::config::client::header::{check_header_name, header_value};
use crate::config::client::secret::{Secret, SecretUrl};
use crate::config::text::fields::{Field, Fields};
use scraped_engine::sorting::sort_by;

/// Proxies that are spoken to.
pub const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

/// Whom requests go through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Which proxy.
    pub choice: ProxyChoice,
    /// `no_proxy`: hosts that are asked directly all the same, as typed.
    pub no_proxy: String,
    /// `proxy_connect_header`, sorted by name as typed: what a proxy gets beside the host to connect to.
    pub connect_header: Vec<(String, Vec<Secret>)>,
}

/// Which proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxyChoice {
    /// None.
    #[default]
    Direct,
    /// `proxy_from_environment`: what `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    Environment,
    /// `proxy_url`, with `http://` in front where the scheme was missing.
    Url(SecretUrl),
}

/// Reads the settings that stand in `fields` beside others.
pub(in crate::config) fn read_proxy(fields: &mut Fields<'_>) -> ProxyConfig {
    let url_field = fields.take("proxy_url").filter(|field| !field.is_null());
    let url = url_field.as_ref().and_then(read_url);
    let from_environment = fields.take("proxy_from_environment");
    let from_environment = from_environment.filter(|field| field.bool() == Some(true));
    let no_proxy_field = fields.take("no_proxy");
    let no_proxy = no_proxy_field.as_ref().and_then(Field::text).unwrap_or_default();
    let header_field = fields.take("proxy_connect_header");
    let connect_header = header_field.as_ref().map(read_connect_header).unwrap_or_default();
    let is_url_given = url_field.as_ref().is_some_and(Field::is_given);
    if let Some(field) = header_field.filter(Field::is_given)
        && !is_url_given
        && from_environment.is_none()
    {
        field.mistake(
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
        );
    }
    if let Some(field) = from_environment.as_ref().filter(|_| is_url_given) {
        field.mistake("if proxy_from_environment is configured, proxy_url must not be configured");
    }
    if let Some(field) = no_proxy_field.filter(|_| !no_proxy.is_empty()) {
        if from_environment.is_some() {
            field.mistake("if proxy_from_environment is configured, no_proxy must not be configured");
        } else if url_field.is_none() {
            field.mistake("if no_proxy is configured, proxy_url must also be configured");
        }
    }
    let choice = match (url, from_environment) {
        (Some(url), _) => ProxyChoice::Url(url),
        (None, Some(_)) => ProxyChoice::Environment,
        (None, None) => ProxyChoice::Direct,
    };
    ProxyConfig { choice, no_proxy, connect_header }
}

fn read_url(field: &Field<'_>) -> Option<SecretUrl> {
    let text = field.text().filter(|text| !text.is_empty())?;
    if let Some(complaint) = go_url::complaint(&text) {
        field.mistake(complaint);
        return None;
    }
    let full = if text.contains("://") { text.clone() } else { format!("http://{text}") };
    let scheme = full.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
    if !SCHEMES.contains(&scheme.as_str()) {
        field.mistake(format!("unsupported proxy scheme {scheme:?}, must be one of {}", SCHEMES.join(", ")));
        return None;
    }
    Some(SecretUrl { shown: go_url::redacted(&text), full: Secret::new(full) })
}

fn read_connect_header(field: &Field<'_>) -> Vec<(String, Vec<Secret>)> {
    let mut headers: Vec<(String, Vec<Secret>)> = Vec::new();
    for (name, field) in field.entries() {
        check_header_name(&field, name);
        let values = field.items().iter().filter_map(header_value).map(Secret::new).collect();
        headers.push((name.to_owned(), values));
    }
    sort_by(&mut headers, |(a, _), (b, _)| a.cmp(b));
    headers
}
