//! One file a sub-command; each uses the modules, none of them uses it.

pub mod check;
mod check_files;
pub mod matrix;
pub mod metrics;
pub mod query;
pub mod scrape;
pub mod web_config;
