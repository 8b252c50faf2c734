//! HTTP on the server's side: listeners, connections, request heads in and answers out. Knows no page.

mod connection;
pub mod http;
pub mod listen;
pub mod reply;
pub mod server;
mod wire;
