//! The HTTP client's settings, for scrapes and remote write alike: read, checked, and printed without their secrets.
//!
//! After `HTTPClientConfig` of prometheus/common `config/http_config.go` with its `Validate`, and `Headers` of
//! `config/headers.go`; its parts are in `tls`, `proxy` and `oauth2`. Files are only named here; `http` reads them.

use crate::config::client::header::{
    NOT_A_HEADER_VALUE, RESERVED_HEADERS, check_header_name, header_value, is_header_text,
};
use crate::config::client::read::{read_source, refuse_if_given, text_of};
use scraped_engine::sorting::sort_by;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::client::azuread::{AzureAdConfig, read_azuread};
use crate::config::client::oauth2::{OAuth2Config, read_oauth2};
use crate::config::client::proxy::{ProxyConfig, read_proxy};
use crate::config::client::secret::{Secret, Source};
use crate::config::client::sigv4::{SigV4Config, read_sigv4};
use crate::config::client::tls::{TlsConfig, read_tls};
use crate::config::schema::refuse;
use crate::config::text::fields::{Field, Fields};

/// How requests are made; the same for every request of a job or an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// What the `Authorization` header says.
    pub auth: Option<Auth>,
    /// `tls_config`.
    pub tls: TlsConfig,
    /// `follow_redirects`, default true.
    pub follow_redirects: bool,
    /// `http_headers`, sorted by name.
    pub headers: Vec<Header>,
    /// Whom requests go through.
    pub proxy: ProxyConfig,
}

impl Default for HttpClientConfig {
    fn default() -> Self {
        Self {
            auth: None,
            tls: TlsConfig::default(),
            follow_redirects: true,
            headers: Vec::new(),
            proxy: ProxyConfig::default(),
        }
    }
}

/// What the `Authorization` header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `basic_auth`; what is not given is empty.
    Basic {
        /// `username`, `username_file`.
        username: Option<Source>,
        /// `password`, `password_file`.
        password: Option<Source>,
    },
    /// `authorization`, `bearer_token`, `bearer_token_file`.
    Credentials {
        /// `type`, default `Bearer`.
        kind: String,
        /// `credentials`, `credentials_file`; what is not given is empty.
        credentials: Option<Source>,
    },
    /// `oauth2`: a token that is asked for.
    OAuth2(Arc<OAuth2Config>),
    /// `sigv4` of remote write: a signature over each request.
    SigV4(Arc<SigV4Config>),
    /// `azuread` of remote write: a token that is asked for.
    AzureAd(Arc<AzureAdConfig>),
}

/// One name of `http_headers`; each value is a header line of its own, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// As typed.
    pub name: String,
    /// `values`.
    pub values: Vec<String>,
    /// `secrets` and `files`: not sent to another host.
    pub secrets: Vec<Source>,
}

/// Of each list at most one may be given in the section.
const EXCLUSIVE: [(&str, &[&str], &str); 5] = [
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
    ("", &["bearer_token", "bearer_token_file"], "bearer_token & bearer_token_file"),
    (
        "",
        &["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"],
        "basic_auth, oauth2, authorization, bearer_token & bearer_token_file",
    ),
];

/// Credentials that only endpoints of remote write have.
const OF_CLOUDS: [&str; 3] = ["sigv4", "azuread", "google_iam"];

/// Reads every setting of the client that stands in `fields`, but for `enable_http2`.
pub(in crate::config) fn read_client(fields: &mut Fields<'_>) -> HttpClientConfig {
    let basic = fields.take("basic_auth").and_then(|field| read_basic_auth(&field));
    let authorization = fields.take("authorization").and_then(|field| read_authorization(&field));
    let bearer = {
        let token = text_of(fields.take("bearer_token").inspect(|field| drop(header_value(field))))
            .map(|token| Source::Inline(Secret::new(token)));
        let file = fields.secret_file("bearer_token_file").map(Source::File);
        token.or(file).map(|token| Auth::Credentials { kind: "Bearer".to_owned(), credentials: Some(token) })
    };
    let oauth2 = fields.take("oauth2").and_then(|field| read_oauth2(&field));
    let oauth2 = oauth2.map(|oauth2| Auth::OAuth2(Arc::new(oauth2)));
    let proxy = read_proxy(fields);
    let tls = fields.take("tls_config").map(|field| read_tls(&field)).unwrap_or_default();
    let follow_redirects = fields.bool("follow_redirects").unwrap_or(true);
    let headers = fields.take("http_headers").map(|field| read_headers(&field)).unwrap_or_default();
    for (section, names, sentence) in EXCLUSIVE {
        let is_set = |name: &&&'static str| match section {
            "" => is_kind_given(fields, name),
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
    if fields.get("enable_http2").is_some_and(|field| field.raw_bool() == Some(true)) {
        fields.owner().note("enable_http2 has no effect: requests are HTTP/1.1");
    }
    let auth = basic.or(authorization).or(oauth2).or(bearer);
    HttpClientConfig { auth, tls, follow_redirects, headers, proxy }
}

/// The same with what only endpoints of remote write have.
pub(in crate::config) fn read_client_of_endpoint(fields: &mut Fields<'_>) -> HttpClientConfig {
    let mut client = read_client(fields);
    let sigv4 = fields.take("sigv4").and_then(|field| read_sigv4(&field));
    let azuread = fields.take("azuread").and_then(|field| read_azuread(&field));
    if let Some(field) = fields.take("google_iam").filter(|field| !field.is_null()) {
        refuse(&field);
    }
    let is_set = |name: &str| is_kind_given(fields, name);
    let mut given = vec![];
    for (name, is_given) in [
        ("basic_auth", is_set("basic_auth")),
        ("authorization", ["authorization", "bearer_token", "bearer_token_file"].into_iter().any(is_set)),
        ("oauth2", is_set("oauth2")),
        ("sigv4", is_set("sigv4")),
        ("azuread", is_set("azuread")),
        ("google_iam", is_set("google_iam")),
    ] {
        given.extend(is_given.then_some(name));
    }
    if given.len() > 1 && given.iter().any(|name| OF_CLOUDS.contains(name)) {
        fields.owner().mistake(format!(
            "at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured. Currently \
             configured: [{}]",
            given.join(" ")
        ));
    }
    let of_cloud = sigv4.map(|it| Auth::SigV4(Arc::new(it)));
    let of_cloud = of_cloud.or_else(|| azuread.map(|it| Auth::AzureAd(Arc::new(it))));
    client.auth = client.auth.or(of_cloud);
    client
}

/// `headers` of `remote_write`: names and values as they are sent.
pub(in crate::config) fn read_plain_headers(field: &Field<'_>) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, value) in field.entries() {
        if name.eq_ignore_ascii_case("authorization") {
            value.mistake(
                "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or \
                 google_iam parameter",
            );
        } else if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            value.mistake(format!("{name} is a reserved header. It must not be changed"));
        }
        check_header_name(&value, name);
        if let Some(text) = header_value(&value) {
            headers.push((name.to_owned(), text));
        }
    }
    headers
}

fn read_basic_auth(field: &Field<'_>) -> Option<Auth> {
    let mut fields = field.fields()?;
    let username = read_source(&mut fields, "username", "username_file");
    let password = read_source(&mut fields, "password", "password_file");
    for name in ["username_ref", "password_ref"] {
        refuse_if_given(fields.take(name));
    }
    fields.finish(|_| false);
    (!field.is_null()).then_some(Auth::Basic { username, password })
}

fn read_authorization(field: &Field<'_>) -> Option<Auth> {
    let mut fields = field.fields()?;
    let kind_field = fields.take("type");
    let kind = text_of(kind_field.clone()).unwrap_or_default();
    let kind = if kind.trim().is_empty() { "Bearer" } else { kind.trim() };
    if let Some(kind_field) = kind_field {
        if kind.eq_ignore_ascii_case("basic") {
            kind_field.mistake(r#"authorization type cannot be set to "basic", use "basic_auth" instead"#);
        } else if !is_header_text(kind) {
            kind_field.mistake(NOT_A_HEADER_VALUE);
        }
    }
    let credentials = read_source(&mut fields, "credentials", "credentials_file");
    fields.get("credentials").as_ref().and_then(header_value);
    refuse_if_given(fields.take("credentials_ref"));
    fields.finish(|_| false);
    (!field.is_null()).then(|| Auth::Credentials { kind: kind.to_owned(), credentials })
}

fn read_headers(field: &Field<'_>) -> Vec<Header> {
    let mut headers = Vec::new();
    for (name, field) in field.entries() {
        if RESERVED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            field.mistake(format!("setting header {name:?} is not allowed"));
        }
        check_header_name(&field, name);
        let Some(mut fields) = field.fields() else { continue };
        let values = fields.items("values").iter().filter_map(header_value).collect();
        let texts = fields.items("secrets");
        let inline = texts.iter().filter_map(header_value).map(|text| Source::Inline(Secret::new(text)));
        let mut secrets: Vec<Source> = inline.collect();
        for file in fields.items("files") {
            match file.text() {
                // A file without a name is kept, as in Prometheus: no request can be sent, and that is said.
                Some(path) if path.is_empty() => secrets.push(Source::File(PathBuf::new())),
                _ => secrets.extend(file.secret_file().map(Source::File)),
            }
        }
        fields.finish(|_| false);
        headers.push(Header { name: name.to_owned(), values, secrets });
    }
    sort_by(&mut headers, |a: &Header, b| a.name.cmp(&b.name));
    headers
}

/// Credentials of these kinds exclude each other as soon as they are there, the texts as soon as they say something.
fn is_kind_given(fields: &Fields<'_>, name: &str) -> bool {
    match name {
        "basic_auth" | "authorization" | "oauth2" | "sigv4" | "azuread" | "google_iam" => {
            fields.get(name).is_some_and(|field| !field.is_null())
        }
        _ => value_of(fields, name).is_some(),
    }
}

fn value_of<'a>(fields: &Fields<'a>, name: &str) -> Option<Field<'a>> {
    fields.get(name).filter(Field::is_given)
}
