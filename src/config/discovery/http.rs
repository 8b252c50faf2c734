//! `http_sd_configs` (Prometheus' `discovery/http/http.go`).

use std::sync::Arc;
use std::time::Duration;

use crate::config::client::go_url;
use crate::config::client::http_client::{HttpClientConfig, read_client};
use crate::config::client::secret::SecretUrl;
use crate::config::discovery::refresh::refresh_interval;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, duration};
use crate::config::text::fields::Field;

/// Prometheus' `http.DefaultSDConfig`.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// One entry of `http_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSdConfig {
    /// Where the list of target groups is.
    pub url: SecretUrl,
    /// Default 1m; also how long a request may take.
    pub refresh_interval: Duration,
    /// How it is reached.
    pub client: Arc<HttpClientConfig>,
    /// Only printed: requests are HTTP/1.1 either way.
    pub enable_http2: bool,
}

pub(in crate::config) fn read(item: &Field<'_>) -> Option<HttpSdConfig> {
    let mut fields = item.fields()?;
    let client = read_client(&mut fields);
    let enable_http2 = fields.bool("enable_http2").unwrap_or(true);
    let refresh_interval = refresh_interval(&mut fields, REFRESH_INTERVAL);
    let url = match fields.take("url").and_then(|field| Some((field.text()?, field))) {
        Some((url, field)) if !url.is_empty() => {
            check_url(&url, &field);
            Some(url)
        }
        _ => {
            item.mistake_below("url", "URL is missing");
            None
        }
    };
    fields.finish(|_| false);
    Some(HttpSdConfig {
        url: SecretUrl::new(url?),
        refresh_interval: refresh_interval?,
        client: Arc::new(client),
        enable_http2,
    })
}

pub(in crate::config) fn check_url(url: &str, field: &Field<'_>) {
    if let Some(complaint) = go_url::complaint(url) {
        return field.mistake(complaint);
    }
    let Some((scheme, rest)) = url.split_once(":") else {
        return field.mistake("URL scheme must be 'http' or 'https'");
    };
    if !["http", "https"].iter().any(|it| scheme.eq_ignore_ascii_case(it)) {
        return field.mistake("URL scheme must be 'http' or 'https'");
    }
    let authority = rest.strip_prefix("//").unwrap_or_default();
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        field.mistake("host is missing in URL");
    }
}

impl HttpSdConfig {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        self.client.print(&mut entries, self.enable_http2);
        entries.add("refresh_interval", duration(self.refresh_interval));
        entries.add_text("url", &self.url.shown);
        entries.into_map()
    }
}
