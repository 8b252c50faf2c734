//! Who we say we are.

pub(crate) mod assertion;
pub(crate) mod credentials;
pub(crate) mod oauth2;
pub mod secret_text;
pub(crate) mod token_answer;
