//! `oauth2`: who asks which endpoint for tokens, and how it proves who it is.
//!
//! After `OAuth2` of prometheus/common `config/http_config.go` and what `HTTPClientConfig.Validate` says of it. Tokens
//! themselves are the business of `http`.

use scraped_engine::sorting::sort;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::config::client::go_url::redacted;
use crate::config::client::http_client::HttpClientConfig;
use crate::config::client::proxy::read_proxy;
use crate::config::client::read::{read_source, refuse_if_given};
use crate::config::client::secret::{Secret, SecretUrl, Source};
use crate::config::client::tls::read_tls;
use crate::config::text::fields::Field;
use crate::config::text::node::{Node, Value};

/// `grant_type` of RFC 7523.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How tokens are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OAuth2Config {
    /// `client_id`.
    pub client_id: String,
    /// `grant_type`, with what belongs to it.
    pub grant: Grant,
    /// `scopes`.
    pub scopes: Vec<String>,
    /// `token_url`, as typed.
    pub token_url: SecretUrl,
    /// `endpoint_params`, sorted by name.
    pub endpoint_params: Vec<(String, String)>,
    /// `tls_config` and the proxy, for `token_url`.
    pub client: Arc<HttpClientConfig>,
}

/// What a client shows to get a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Its secret; RFC 6749, section 4.4.
    ClientCredentials {
        /// `grant_type` as typed: anything but that of RFC 7523 means this.
        typed: String,
        /// `client_secret`, `client_secret_file`; what is not given is empty.
        secret: Option<Source>,
    },
    /// An assertion that somebody else has signed for it; RFC 7523, section 2.2. Only for `azuread`.
    ClientAssertion {
        /// Where it stands.
        assertion: Source,
    },
    /// An assertion that it signs with its key; RFC 7523, section 2.1.
    JwtBearer {
        /// `client_certificate_key`, `client_certificate_key_file`.
        key: Option<Source>,
        /// `client_certificate_key_id`; may be empty.
        key_id: String,
        /// `signature_algorithm` as typed; may be empty.
        algorithm: String,
        /// `iss`; empty: the `client_id`.
        iss: String,
        /// `audience`; empty: the `token_url`.
        audience: String,
        /// `claims`, which replace those of the same name.
        claims: serde_json::Map<String, Json>,
    },
}

/// Reads the section. Null is: not given.
pub(in crate::config) fn read_oauth2(field: &Field<'_>) -> Option<OAuth2Config> {
    let mut fields = field.fields().filter(|_| !field.is_null())?;
    let client_id = fields.text("client_id").unwrap_or_default();
    let token_url = fields.text("token_url").unwrap_or_default();
    for (name, text) in [("client_id", &client_id), ("token_url", &token_url)] {
        if text.is_empty() {
            field.mistake_below(name, format!("oauth2 {name} must be configured"));
        }
    }
    let secret = read_source(&mut fields, "client_secret", "client_secret_file");
    let key = read_source(&mut fields, "client_certificate_key", "client_certificate_key_file");
    for name in ["client_secret_ref", "client_certificate_key_ref"] {
        refuse_if_given(fields.take(name));
    }
    let typed = fields.text("grant_type").unwrap_or_default();
    let key_id = fields.text("client_certificate_key_id").unwrap_or_default();
    let algorithm_field = fields.take("signature_algorithm");
    let algorithm = algorithm_field.as_ref().and_then(Field::text).unwrap_or_default();
    let iss = fields.text("iss").unwrap_or_default();
    let audience = fields.text("audience").unwrap_or_default();
    let claims = fields.take("claims").map(|field| read_claims(&field)).unwrap_or_default();
    let is_jwt = typed == JWT_BEARER;
    let [kind, file, reference] = match is_jwt {
        true => ["client_certificate_key", "client_certificate_key_file", "client_certificate_key_ref"],
        false => ["client_secret", "client_secret_file", "client_secret_ref"],
    };
    let is_set = |name: &&str| fields.get(name).is_some_and(|field| field.is_given());
    if [kind, file, reference].iter().filter(|name| is_set(name)).count() > 1 {
        let grant_type = if is_jwt { JWT_BEARER } else { "client_credentials" };
        field.mistake(format!(
            "at most one of oauth2 {kind}, {file} & {reference} must be configured using grant-type={grant_type}"
        ));
    }
    if let Some(field) = algorithm_field.filter(|_| is_jwt)
        && !["", "RS256", "RS384", "RS512"].contains(&algorithm.as_str())
    {
        field.mistake("valid signature algorithms are RS256, RS384 and RS512");
    }
    let grant = match is_jwt {
        true => Grant::JwtBearer { key, key_id, algorithm, iss, audience, claims },
        false => Grant::ClientCredentials { typed, secret },
    };
    let scopes = fields.take("scopes").map(|field| field.texts()).unwrap_or_default();
    let params = fields.take("endpoint_params").map(|field| field.entries()).unwrap_or_default();
    let text_of = |(name, value): (&str, Field<'_>)| Some((name.to_owned(), value.text()?));
    let mut endpoint_params: Vec<(String, String)> = params.into_iter().filter_map(text_of).collect();
    sort(&mut endpoint_params);
    let client = HttpClientConfig {
        tls: fields.take("tls_config").map(|field| read_tls(&field)).unwrap_or_default(),
        proxy: read_proxy(&mut fields),
        ..Default::default()
    };
    fields.finish(|_| false);
    let token_url = SecretUrl { shown: redacted(&token_url), full: Secret::new(token_url) };
    Some(OAuth2Config { client_id, grant, scopes, token_url, endpoint_params, client: Arc::new(client) })
}

fn read_claims(field: &Field<'_>) -> serde_json::Map<String, Json> {
    field.entries().into_iter().map(|(name, value)| (name.to_owned(), json_of(value.node()))).collect()
}

/// What was typed, as JSON says it.
fn json_of(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::List(list) => list.iter().map(json_of).collect(),
        Value::Map(map) => map
            .iter()
            .map(|entry| (entry.key.clone(), json_of(&entry.node)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Scalar(scalar) if !scalar.plain => Json::from(scalar.text.as_str()),
        Value::Scalar(scalar) => {
            let flag = scalar.as_bool().map(Json::from);
            let whole = || scalar.text.parse::<i64>().ok().map(Json::from);
            let number = || scalar.as_f64().and_then(serde_json::Number::from_f64).map(Json::from);
            flag.or_else(whole).or_else(number).unwrap_or_else(|| Json::from(scalar.text.as_str()))
        }
    }
}
