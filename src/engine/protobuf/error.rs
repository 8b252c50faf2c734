//! What is wrong with the bytes of a message, in the words of the decoder that Prometheus uses.

use std::fmt;

/// Why a message was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError {
    /// Byte from the beginning of the outermost message.
    pub offset: u64,
    /// Name of the innermost message there.
    pub message: &'static str,
    /// What was found there.
    pub mistake: Mistake,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mistake.fmt(f)
    }
}

impl std::error::Error for WireError {}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A field or a message goes on behind its end.
    UnexpectedEnd,
    /// A number of more than ten bytes.
    VarintTooLong,
    /// A length that is negative as a signed number.
    NegativeLength,
    /// A field of another kind than the format has.
    WrongWireType {
        /// What is there.
        wire_type: u8,
        /// The field's name.
        field: &'static str,
    },
    /// A kind of field that protobuf does not have.
    UnknownWireType(u8),
    /// A field with the number 0 or a negative one.
    IllegalTag {
        /// Its number.
        number: i32,
        /// The tag as written.
        tag: u64,
        /// The message it is in.
        message: &'static str,
    },
    /// The end of a group that has not begun, in this message.
    GroupEnd(&'static str),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("unexpected EOF"),
            Self::VarintTooLong => f.write_str("proto: integer overflow"),
            Self::NegativeLength => f.write_str("proto: negative length found during unmarshaling"),
            Self::WrongWireType { wire_type, field } => {
                write!(f, "proto: wrong wireType = {wire_type} for field {field}")
            }
            Self::UnknownWireType(wire_type) => write!(f, "proto: illegal wireType {wire_type}"),
            Self::IllegalTag { number, tag, message } => {
                write!(f, "proto: {message}: illegal tag {number} (wire type {tag})")
            }
            Self::GroupEnd(message) => write!(f, "proto: {message}: wiretype end group for non-group"),
        }
    }
}
