//! TLS of the one HTTP client, and the only place that knows rustls.
//!
//! `material` builds what a job's connections share, from certificates and keys whose files may change; `roots` and
//! `verifier` say whom to trust, with what `certificate` reads and `short_rsa` and `nist` verify; `p521_key` is what this
//! side does by P-521; `session` carries one connection's bytes; `signature` signs what is not TLS; `words` puts failures
//! as Go puts them.

pub(in crate::http) mod material;
pub(super) mod provider;
pub mod server;
pub(in crate::http) mod session;
pub(in crate::http) mod signature;

mod certificate;
mod nist;
mod p521_key;
pub(crate) mod random;
mod roots;
mod short_rsa;
mod verifier;
mod words;
