//! How far an endpoint has come, and what became of every sample.

pub(crate) mod lane;
pub mod ledger;
pub mod losses;
pub mod mark;
pub mod position;
pub mod progress;
pub mod saved_position;
