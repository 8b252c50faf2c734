//! What the benches share: targets that look like hosts, an endpoint that counts, and programs that are measured.

pub mod http;
pub mod node_page;
pub mod programs;
pub mod receiver;
