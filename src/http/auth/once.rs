//! One request of a client that is used once: for tokens and for keys.

use std::sync::Arc;
use std::time::Instant;

use crate::config::client::http_client::HttpClientConfig;
use crate::http::address::url::Url;
use crate::http::error::Method;
use crate::http::wire::response::Answer;

/// What is asked. The body goes to no other host than the URL's.
#[derive(Debug)]
pub(in crate::http) struct Once<'a> {
    pub(in crate::http) method: Method,
    pub(in crate::http) url: Url,
    pub(in crate::http) headers: &'a [(&'a str, &'a str)],
    pub(in crate::http) body: &'a [u8],
    pub(in crate::http) config: &'a Arc<HttpClientConfig>,
    pub(in crate::http) deadline: Instant,
}

/// Asks it. Handed in, since clients stand above what they show of themselves.
pub(in crate::http) type AskOnce = fn(Once<'_>) -> Result<Answer, String>;
