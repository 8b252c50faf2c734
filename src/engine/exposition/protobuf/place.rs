//! Messages of protobuf pages, and their errors with places.

use crate::exposition::error::{ErrorKind, ExpositionError, Place};
use crate::exposition::protobuf::error::ProtobufError;
use crate::protobuf::error::WireError;
use crate::protobuf::read;

pub(super) type Result<T> = std::result::Result<T, ExpositionError>;
pub(super) type Message<'page> = read::Message<'page, Page>;
pub(super) type Field<'page> = read::Field<'page, Page>;
pub(super) type Packed<'page> = read::Packed<'page, Page>;

/// The reader of pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page;

impl read::Reader for Page {
    type Error = ExpositionError;
}

impl ProtobufError {
    /// With its place: a byte of the page, and the name of the message there.
    #[cold]
    pub(super) fn at(self, (offset, message): (u64, &'static str)) -> ExpositionError {
        ExpositionError {
            place: Place::Message { offset, message },
            kind: Box::new(ErrorKind::Protobuf(self)),
        }
    }
}

impl From<WireError> for ExpositionError {
    #[cold]
    fn from(error: WireError) -> Self {
        ProtobufError::Wire(error.mistake).at((error.offset, error.message))
    }
}
