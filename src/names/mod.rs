//! Names of hosts to addresses, for everything that connects or listens: the program looks names up itself, and never by
//! the C library, whose resolver loads other people's libraries into a static binary.
//!
//! The hosts file, `localhost`, the link for `host.local`, and the servers of `resolv.conf`, in this order. Everything
//! here waits on the thread that calls it, with a deadline of its own; caches and threads are the callers'.

pub mod address;
pub mod exchange;
mod hosts;
pub mod idna;
pub mod link;
pub mod listen;
mod local;
pub mod resolv_conf;
pub mod resolver;
