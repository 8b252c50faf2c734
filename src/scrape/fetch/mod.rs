//! One page from wherever a target has it.

pub mod failure_log;
pub(crate) mod local;
pub mod negotiation;
mod page_body;
pub mod scraper;
