//! The HTTP client's settings as YAML, their secrets left out.
//!
//! Field order is that of the structs in prometheus/common `config/http_config.go`.

use serde_json::Value as Json;

use crate::config::client::http_client::{Auth, Header, HttpClientConfig};
use crate::config::client::oauth2::{Grant, JWT_BEARER, OAuth2Config};
use crate::config::client::proxy::{ProxyChoice, ProxyConfig};
use crate::config::client::secret::{Secret, Source};
use crate::config::client::secret_names::{SECRET_TOKEN, shown_value};
use crate::config::client::tls::{TlsConfig, TlsVersion};
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, path_text};

impl HttpClientConfig {
    /// Its settings, which stand among others.
    pub(in crate::config) fn print(&self, entries: &mut Entries, enable_http2: bool) {
        match &self.auth {
            None => {}
            Some(Auth::Basic { username, password }) => {
                let mut auth = Entries::default();
                auth.add_public(["username", "username_file"], username.as_ref());
                auth.add_source(["password", "password_file"], password.as_ref());
                entries.add("basic_auth", auth.into_map());
            }
            Some(Auth::Credentials { kind, credentials }) => {
                let mut auth = Entries::default();
                auth.add_text("type", kind);
                auth.add_source(["credentials", "credentials_file"], credentials.as_ref());
                entries.add("authorization", auth.into_map());
            }
            Some(Auth::OAuth2(oauth2)) => entries.add("oauth2", print_oauth2(oauth2)),
            // These stand behind the queue of their endpoint.
            Some(Auth::SigV4(_) | Auth::AzureAd(_)) => {}
        }
        if self.tls != TlsConfig::default() {
            entries.add("tls_config", tls(&self.tls));
        }
        entries.add("follow_redirects", Yaml::raw(self.follow_redirects));
        entries.add("enable_http2", Yaml::raw(enable_http2));
        print_proxy(&self.proxy, entries);
        if !self.headers.is_empty() {
            let headers = self.headers.iter().map(|header| (header.name.clone(), print_header(header)));
            entries.add("http_headers", Yaml::sorted(headers.collect()));
        }
    }
}

impl Auth {
    /// What only endpoints of remote write have.
    pub(in crate::config) fn print_of_cloud(&self, entries: &mut Entries) {
        match self {
            Self::SigV4(sigv4) => entries.add("sigv4", sigv4.print()),
            Self::AzureAd(azuread) => entries.add("azuread", azuread.print()),
            Self::Basic { .. } | Self::Credentials { .. } | Self::OAuth2(_) => {}
        }
    }
}

fn print_oauth2(oauth2: &OAuth2Config) -> Yaml {
    let mut entries = Entries::default();
    entries.add_text("client_id", &oauth2.client_id);
    match &oauth2.grant {
        Grant::ClientCredentials { typed, secret } => {
            entries.add_source(["client_secret", "client_secret_file"], secret.as_ref());
            entries.add_text("grant_type", typed);
        }
        // No section says it.
        Grant::ClientAssertion { .. } => {}
        Grant::JwtBearer { key, key_id, algorithm, iss, audience, claims } => {
            entries.add_text("client_certificate_key_id", key_id);
            entries.add_source(["client_certificate_key", "client_certificate_key_file"], key.as_ref());
            entries.add_text("grant_type", JWT_BEARER);
            entries.add_text("signature_algorithm", algorithm);
            entries.add_text("iss", iss);
            entries.add_text("audience", audience);
            if !claims.is_empty() {
                entries.add("claims", json_map(claims));
            }
        }
    }
    entries.add_list("scopes", oauth2.scopes.iter().map(Yaml::text));
    entries.add_text("token_url", &oauth2.token_url.shown);
    if !oauth2.endpoint_params.is_empty() {
        let params = oauth2
            .endpoint_params
            .iter()
            .map(|(name, value)| (name.clone(), Yaml::text(shown_value(name, value))));
        entries.add("endpoint_params", Yaml::sorted(params.collect()));
    }
    if oauth2.client.tls != TlsConfig::default() {
        entries.add("tls_config", tls(&oauth2.client.tls));
    }
    print_proxy(&oauth2.client.proxy, &mut entries);
    entries.into_map()
}

fn json_map(map: &serde_json::Map<String, Json>) -> Yaml {
    Yaml::sorted(map.iter().map(|(name, value)| (name.clone(), json(value))).collect())
}

fn json(value: &Json) -> Yaml {
    match value {
        Json::String(text) => Yaml::text(text),
        Json::Array(items) => Yaml::List(items.iter().map(json).collect()),
        Json::Object(map) => json_map(map),
        plain => Yaml::raw(plain),
    }
}

fn print_proxy(proxy: &ProxyConfig, entries: &mut Entries) {
    match &proxy.choice {
        ProxyChoice::Url(url) => entries.add_text("proxy_url", &url.shown),
        // What excepts nothing from nothing is only accepted beside it.
        ProxyChoice::Direct if !proxy.no_proxy.is_empty() => entries.add("proxy_url", Yaml::text("")),
        ProxyChoice::Direct | ProxyChoice::Environment => {}
    }
    entries.add_text("no_proxy", &proxy.no_proxy);
    entries.add_flag("proxy_from_environment", proxy.choice == ProxyChoice::Environment);
    if !proxy.connect_header.is_empty() {
        let hidden = |values: &[Secret]| Yaml::List(values.iter().map(hidden).collect());
        let headers = proxy.connect_header.iter().map(|(name, values)| (name.clone(), hidden(values)));
        entries.add("proxy_connect_header", Yaml::sorted(headers.collect()));
    }
}

fn tls(tls: &TlsConfig) -> Yaml {
    let (cert, key) = tls.identity.as_ref().map(|identity| (&identity.cert, &identity.key)).unzip();
    let mut entries = Entries::default();
    // Texts first, then files, as the fields stand in Prometheus.
    for (name, source) in [("ca", tls.ca.as_ref()), ("cert", cert), ("key", key)] {
        match source {
            Some(Source::Inline(_)) if name == "key" => entries.add(name, Yaml::text(SECRET_TOKEN)),
            Some(Source::Inline(text)) => entries.add(name, Yaml::text(text.expose())),
            _ => {}
        }
    }
    for (file, source) in [("ca_file", tls.ca.as_ref()), ("cert_file", cert), ("key_file", key)] {
        if let Some(Source::File(path)) = source {
            entries.add(file, path_text(path));
        }
    }
    entries.add_text("server_name", &tls.server_name);
    entries.add("insecure_skip_verify", Yaml::raw(tls.insecure_skip_verify));
    for (name, version) in [("min_version", tls.min_version), ("max_version", tls.max_version)] {
        entries.add_text(name, version.map_or("", TlsVersion::name));
    }
    entries.into_map()
}

fn print_header(header: &Header) -> Yaml {
    let mut entries = Entries::default();
    entries
        .add_list("values", header.values.iter().map(|value| Yaml::text(shown_value(&header.name, value))));
    let secrets = header.secrets.iter().filter_map(|source| match source {
        Source::Inline(secret) => Some(hidden(secret)),
        Source::File(_) => None,
    });
    entries.add_list("secrets", secrets);
    let files = header.secrets.iter().filter_map(|source| match source {
        Source::Inline(_) => None,
        Source::File(path) => Some(path_text(path)),
    });
    entries.add_list("files", files);
    entries.into_map()
}

/// Nothing is no secret.
fn hidden(secret: &Secret) -> Yaml {
    if secret.expose().is_empty() { Yaml::raw("null") } else { Yaml::text(SECRET_TOKEN) }
}
