//! From the log to requests.

mod encode;
mod types;
