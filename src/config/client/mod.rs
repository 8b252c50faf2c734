//! How an HTTP client behaves and who it is.

pub mod azuread;
pub mod go_url;
pub mod header;
pub mod http_client;
pub mod oauth2;
pub mod proxy;
pub mod read;
pub mod secret;
pub mod secret_names;
pub mod sigv4;
pub mod tls;
