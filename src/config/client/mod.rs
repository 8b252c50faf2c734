//! How an HTTP client behaves and who it is.

pub mod go_url;
pub mod http_client;
pub mod oauth2;
pub mod proxy;
pub mod secret;
pub mod tls;
