//! The HTTP client's settings: not built yet, but read and checked as Prometheus does it.
//!
//! After `HTTPClientConfig.Validate`, `TLSConfig.Validate` and `ProxyConfig.Validate` of prometheus/common
//! `config/http_config.go`.

use crate::config::fields::{Field, Fields};
use crate::config::schema::{HTTP_CLIENT, refuse_set, refuse_set_proxy};

/// Headers that the scraper sets itself.
pub(in crate::config) const RESERVED_HEADERS: [&str; 18] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "x-prometheus-remote-write-version",
    "x-prometheus-remote-read-version",
    "x-prometheus-scrape-timeout-seconds",
    "x-amz-date",
    "x-amz-security-token",
    "x-amz-content-sha256",
];

/// Of each list at most one may be given in the section.
const EXCLUSIVE: [(&str, &[&str], &str); 9] = [
    (
        "basic_auth",
        &["username", "username_file", "username_ref"],
        "basic_auth username, username_file & username_ref",
    ),
    (
        "basic_auth",
        &["password", "password_file", "password_ref"],
        "basic_auth password, password_file & password_ref",
    ),
    (
        "authorization",
        &["credentials", "credentials_file", "credentials_ref"],
        "authorization credentials & credentials_file",
    ),
    ("tls_config", &["ca", "ca_file", "ca_ref"], "ca, ca_file & ca_ref"),
    ("tls_config", &["cert", "cert_file", "cert_ref"], "cert, cert_file & cert_ref"),
    ("tls_config", &["key", "key_file", "key_ref"], "key and key_file"),
    (
        "oauth2",
        &["client_secret", "client_secret_file", "client_secret_ref"],
        "oauth2 client_secret, client_secret_file & client_secret_ref",
    ),
    ("", &["bearer_token", "bearer_token_file"], "bearer_token & bearer_token_file"),
    (
        "",
        &["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"],
        "basic_auth, oauth2, authorization, bearer_token & bearer_token_file",
    ),
];

/// Reads every setting of the client that stands in `fields`, and refuses what is not a default.
pub(in crate::config) fn refuse_set_client(fields: &mut Fields<'_>) {
    refuse_set(fields, &HTTP_CLIENT);
    refuse_set_proxy(fields);
    for (section, names, sentence) in EXCLUSIVE {
        let is_set = |name: &&&'static str| match section {
            "" => value_of(fields, name).is_some(),
            section => fields
                .get(section)
                .and_then(|section| section.get(name))
                .is_some_and(|field| field.is_given()),
        };
        if names.iter().filter(is_set).count() > 1 {
            let owner = if section.is_empty() { Some(fields.owner().clone()) } else { fields.get(section) };
            if let Some(owner) = owner {
                owner.mistake(format!("at most one of {sentence} must be configured"));
            }
        }
    }
    check_tls(fields);
    check_authorization(fields);
    check_proxy(fields);
    check_headers(fields);
}

fn value_of<'a>(fields: &Fields<'a>, name: &str) -> Option<Field<'a>> {
    fields.get(name).filter(Field::is_given)
}

fn check_tls(fields: &Fields<'_>) {
    let Some(tls) = fields.get("tls_config") else { return };
    let any = |names: [&str; 3]| names.iter().any(|name| tls.get(name).is_some_and(|field| field.is_given()));
    match (any(["cert", "cert_file", "cert_ref"]), any(["key", "key_file", "key_ref"])) {
        (true, false) => {
            tls.mistake(
                "exactly one of key or key_file must be configured when a client certificate is configured",
            );
        }
        (false, true) => {
            tls.mistake(
                "exactly one of cert or cert_file must be configured when a client key is configured",
            );
        }
        _ => {}
    }
}

fn check_authorization(fields: &Fields<'_>) {
    let kind = fields.get("authorization").and_then(|section| section.get("type"));
    if let Some(kind) =
        kind.filter(|kind| kind.raw().is_some_and(|text| text.trim().eq_ignore_ascii_case("basic")))
    {
        kind.mistake(r#"authorization type cannot be set to "basic", use "basic_auth" instead"#);
    }
    if let Some(oauth2) = value_of(fields, "oauth2") {
        for name in ["client_id", "token_url"] {
            if !oauth2.get(name).is_some_and(|field| field.is_given()) {
                oauth2.mistake_below(name, format!("oauth2 {name} must be configured"));
            }
        }
    }
}

fn check_proxy(fields: &Fields<'_>) {
    let url = value_of(fields, "proxy_url");
    let from_environment =
        fields.get("proxy_from_environment").filter(|field| field.raw_bool() == Some(true));
    if let Some(field) = value_of(fields, "proxy_connect_header")
        && url.is_none()
        && from_environment.is_none()
    {
        field.mistake(
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
        );
    }
    if let Some(field) = from_environment.as_ref().filter(|_| url.is_some()) {
        field.mistake("if proxy_from_environment is configured, proxy_url must not be configured");
    }
    if let Some(field) = value_of(fields, "no_proxy") {
        if from_environment.is_some() {
            field.mistake("if proxy_from_environment is configured, no_proxy must not be configured");
        } else if url.is_none() {
            field.mistake("if no_proxy is configured, proxy_url must also be configured");
        }
    }
}

fn check_headers(fields: &Fields<'_>) {
    let Some(headers) = fields.get("http_headers") else { return };
    for (name, field) in headers.children() {
        if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            field.mistake(format!("setting header {name:?} is not allowed"));
        }
    }
}
