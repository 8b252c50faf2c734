//! An API server: where it is and what its clients need.

use crate::config::client::http_client::HttpClientConfig;
use crate::http::address::url::Url;
use std::sync::Arc;

/// An API server.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) struct ApiServer {
    /// Without a slash at its end.
    pub url: Url,
    pub client: Arc<HttpClientConfig>,
}

/// A URL, or a host with or without a port (client-go's `rest.DefaultServerURL`).
///
/// # Errors
/// A sentence: it is neither.
pub(in crate::discovery::providers::kubernetes) fn server_url(
    text: &str,
    default_scheme: &str,
) -> Result<Url, String> {
    let mut url = match text.contains("://") {
        true => Url::parse(text)?,
        false => Url::parse(&format!("{default_scheme}://{text}"))?,
    };
    let path = url.path_and_query.split('?').next().unwrap_or_default();
    url.path_and_query = path.trim_end_matches('/').to_owned();
    Ok(url)
}
