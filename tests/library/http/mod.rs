//! The HTTP client over real sockets.

mod client;
mod fetch;
mod oauth2;
mod proxy;
mod tls;
