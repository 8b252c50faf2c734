//! The same sources for both: the same targets with the same labels.

mod dns;
mod docker;
mod file;
mod http;
mod kubernetes;
mod providers;
mod targets;
