//! What an endpoint of OAuth 2 answers: a token, or why there is none. RFC 6749, sections 5.1 and 5.2.
//!
//! After Go's `golang.org/x/oauth2/internal`: servers that answer a form instead of JSON, that say a number as text,
//! or that say 200 to a failure are understood as well. Failures have its words.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::config::client::secret::Secret;
use crate::http::wire::response::Answer;
use crate::percent;

/// Of a body that says something else so much is shown.
const SHOWN_BODY_BYTES: usize = 512;

/// A token.
#[derive(Debug)]
pub(in crate::http) struct TokenAnswer {
    /// As it stands in `Authorization`: `Bearer`.
    pub(in crate::http) kind: String,
    pub(in crate::http) token: Secret,
    /// `None`: the server did not say.
    pub(in crate::http) expires_in: Option<Duration>,
}

/// Reads an answer.
pub(in crate::http) fn read_answer(answer: &Answer) -> Result<TokenAnswer, String> {
    let is_success = (200..300).contains(&answer.status());
    let parsed = match media_type(answer).as_str() {
        "application/x-www-form-urlencoded" | "text/plain" => Ok(Fields::Form(form_of(&answer.body))),
        _ => match serde_json::from_slice::<Value>(&answer.body) {
            Ok(value) if value.is_object() => Ok(Fields::Json(value)),
            Ok(_) => Err("not an object".to_owned()),
            // Its own words may hold a piece of the token.
            Err(error) => Err(format!("line {}, column {}", error.line(), error.column())),
        },
    };
    let fields = match parsed {
        Ok(fields) => fields,
        Err(cause) if is_success => return Err(format!("oauth2: cannot parse json: {cause}")),
        Err(_) => return Err(failure(answer, "", "", "")),
    };
    let code = fields.text("error");
    if !is_success || !code.is_empty() {
        return Err(failure(answer, &code, &fields.text("error_description"), &fields.text("error_uri")));
    }
    let token = fields.text("access_token");
    if token.is_empty() {
        return Err("oauth2: server response missing access_token".to_owned());
    }
    let kind = fields.text("token_type");
    let kind = match kind.to_ascii_lowercase().as_str() {
        "" | "bearer" => "Bearer".to_owned(),
        "mac" => "MAC".to_owned(),
        "basic" => "Basic".to_owned(),
        _ => kind,
    };
    let seconds = fields.text("expires_in").parse::<u32>().ok().filter(|seconds| *seconds > 0);
    let expires_in = seconds.map(|seconds| Duration::from_secs(seconds.into()));
    // Some of Azure's givers say when, and not how long.
    let until = |at_s: u64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(at_s).saturating_sub(now)
    };
    let expires_in = expires_in.or_else(|| fields.text("expires_on").parse().ok().map(until));
    Ok(TokenAnswer { kind, token: Secret::new(token), expires_in })
}

enum Fields {
    Json(Value),
    Form(Vec<(String, String)>),
}

impl Fields {
    /// Empty if it is missing or something else than a text or a number.
    fn text(&self, name: &str) -> String {
        match self {
            Self::Form(pairs) => pairs
                .iter()
                .find(|(known, _)| known == name)
                .map_or(String::new(), |(_, value)| value.clone()),
            Self::Json(value) => match &value[name] {
                Value::String(text) => text.clone(),
                Value::Number(number) => match number.as_f64() {
                    Some(seconds) if number.as_u64().is_none() => (seconds as u32).to_string(),
                    _ => number.as_u64().unwrap_or(0).min(u32::MAX.into()).to_string(),
                },
                _ => String::new(),
            },
        }
    }
}

fn media_type(answer: &Answer) -> String {
    let value = answer.header("Content-Type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn form_of(body: &[u8]) -> Vec<(String, String)> {
    let decoded =
        |text: &str| String::from_utf8_lossy(&percent::decoded(&text.replace('+', " "))).into_owned();
    let text = String::from_utf8_lossy(body);
    let pairs = text.trim().split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// Go's `RetrieveError`.
fn failure(answer: &Answer, code: &str, description: &str, uri: &str) -> String {
    if !code.is_empty() {
        let mut words = format!("oauth2: {code:?}");
        for more in [description, uri].iter().filter(|more| !more.is_empty()) {
            let _ = write!(words, " {more:?}");
        }
        return words;
    }
    let body = String::from_utf8_lossy(answer.body.get(..SHOWN_BODY_BYTES).unwrap_or(&answer.body));
    let status = format!("{} {}", answer.status(), answer.reason());
    format!("oauth2: cannot fetch token: {}\nResponse: {}", status.trim_end(), body.trim_end())
}
