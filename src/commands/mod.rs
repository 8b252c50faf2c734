//! One file a sub-command; each uses the modules, none of them uses it.

pub mod check;
pub mod matrix;
pub mod metrics;
pub mod query;
pub mod scrape;
