//! From a host and a port to a connection.

pub(crate) mod connect;
pub mod dialer;
pub(crate) mod name_cache;
pub(crate) mod proxy;
mod race;
mod socket;
pub(crate) mod tunnel;
