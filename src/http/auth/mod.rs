//! Who we say we are.

pub(crate) mod assertion;
pub mod aws;
pub(crate) mod azure;
pub(crate) mod credentials;
pub(crate) mod lease;
pub(crate) mod oauth2;
pub(crate) mod once;
pub mod secret_text;
pub(crate) mod token_answer;
pub(crate) mod tokens;
