//! Protobuf's wire format, by hand: fields of messages read where they lie, and written at the end of a buffer.
//!
//! A leaf: knows no message.

pub mod error;
pub(crate) mod read;
pub(crate) mod write;

/// Kinds of fields.
pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;
