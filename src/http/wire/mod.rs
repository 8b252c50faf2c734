//! Bytes on a connection, and heads of answers.

pub(crate) mod buffers;
pub(crate) mod carry;
pub mod error_kind;
pub(crate) mod exchange;
pub mod head;
pub mod response;
pub(crate) mod transport;
