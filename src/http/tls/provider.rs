//! What TLS is computed with.

use crate::http::tls::p521_key::P521_GROUP;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use std::sync::Arc;
use std::sync::LazyLock;

/// What TLS is computed with.
pub(in crate::http) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = default_provider();
    // Last: only for a server that wants nothing else.
    provider.kx_groups.push(P521_GROUP);
    Arc::new(provider)
});
