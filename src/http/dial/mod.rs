//! From a host and a port to a connection.

pub(crate) mod connect;
pub mod dialer;
pub(crate) mod name_cache;
pub(crate) mod proxy;
pub(crate) mod tunnel;
