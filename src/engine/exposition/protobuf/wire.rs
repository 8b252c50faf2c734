//! Protobuf's wire format: fields of a message, borrowed from the page.
//!
//! Knows no message but its name, and looks at every byte of a page at most as often as its caller does: what is
//! skipped costs its header. Nothing here recurses or allocates.

use crate::exposition::error::{ErrorKind, ExpositionError, Place};
use crate::exposition::protobuf::error::ProtobufError;

pub(super) type Result<T> = std::result::Result<T, ExpositionError>;

/// A number is spread over at most this many bytes.
const MAX_VARINT_BYTES: usize = 10;

/// The length in front of a family is spread over at most this many bytes (`binary.MaxVarintLen32`).
const MAX_FAMILY_LENGTH_BYTES: usize = 5;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const GROUP_START: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// The rest of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'page> {
    page: &'page [u8],
    pos: usize,
    end: usize,
    name: &'static str,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'page> {
    /// What it is called in the message.
    pub(super) number: i32,
    /// Where its tag is.
    pub(super) start: usize,
    /// Behind it.
    pub(super) end: usize,
    value: Value<'page>,
    /// Name of the message that it is of.
    message: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Value<'page> {
    Varint(u64),
    Fixed64(u64),
    Bytes(Message<'page>),
    Group,
    Fixed32,
}

impl<'page> Message<'page> {
    /// All of a page.
    pub(super) fn page(page: &'page [u8], name: &'static str) -> Self {
        Self { page, pos: 0, end: page.len(), name }
    }

    /// A message without fields.
    pub(super) fn empty() -> Self {
        Self { page: b"", pos: 0, end: 0, name: "" }
    }

    /// True if nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.pos >= self.end
    }

    /// Its rest.
    pub(super) fn bytes(&self) -> &'page [u8] {
        self.page.get(self.pos..self.end).unwrap_or_default()
    }

    /// A piece of the page.
    pub(super) fn piece(&self, start: usize, end: usize) -> &'page [u8] {
        self.page.get(start..end).unwrap_or_default()
    }

    /// The next message of a page in which each stands behind its length.
    ///
    /// # Errors
    /// There is no length, or one beyond the end of the page.
    pub(super) fn delimited(&mut self, name: &'static str) -> Result<Option<Self>> {
        if self.is_empty() {
            return Ok(None);
        }
        let start = self.pos;
        let length = self.varint().ok().filter(|_| self.pos - start <= MAX_FAMILY_LENGTH_BYTES);
        let Some(length) = length else {
            self.pos = start;
            return Err(self.error(ProtobufError::InvalidFamilyLength));
        };
        let found = (self.end - start) as u64;
        // At most 35 bits.
        let needed = (self.pos - start) as u64 + length;
        if needed > found {
            self.pos = start;
            return Err(self.error(ProtobufError::FamilyBeyondPage { needed, found }));
        }
        let message = Self { page: self.page, pos: self.pos, end: self.pos + length as usize, name };
        self.pos = message.end;
        Ok(Some(message))
    }

    /// The next field; `None` at the end of the message.
    ///
    /// # Errors
    /// What is there is no field.
    // Inlined wherever fields are walked: passing one back costs more than reading it.
    #[inline(always)]
    pub(super) fn field(&mut self) -> Result<Option<Field<'page>>> {
        if self.is_empty() {
            return Ok(None);
        }
        let start = self.pos;
        let tag = self.varint()?;
        let (number, wire_type) = ((tag >> 3) as i32, (tag & 7) as u8);
        if wire_type == GROUP_END {
            return Err(self.error_at(start, ProtobufError::GroupEnd(self.name)));
        }
        if number <= 0 {
            return Err(self.error_at(start, ProtobufError::IllegalTag { number, tag, message: self.name }));
        }
        let value = self.value(start, wire_type)?;
        if let Value::Group = value {
            self.skip_group(start)?;
        }
        Ok(Some(Field { number, start, end: self.pos, value, message: self.name }))
    }

    #[inline(always)]
    fn value(&mut self, start: usize, wire_type: u8) -> Result<Value<'page>> {
        Ok(match wire_type {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(u64::from_le_bytes(self.fixed()?)),
            BYTES => {
                let length = self.varint()?;
                if length > i64::MAX as u64 {
                    return Err(self.error_at(start, ProtobufError::NegativeLength));
                }
                let rest = (self.end - self.pos) as u64;
                if length > rest {
                    return Err(self.error_at(start, ProtobufError::UnexpectedEnd));
                }
                let message = Self { end: self.pos + length as usize, ..*self };
                self.pos = message.end;
                Value::Bytes(message)
            }
            GROUP_START => Value::Group,
            FIXED32 => {
                self.fixed::<4>()?;
                Value::Fixed32
            }
            _ => return Err(self.error_at(start, ProtobufError::UnknownWireType(wire_type))),
        })
    }

    /// Goes behind the end of the group that has just begun.
    #[cold]
    fn skip_group(&mut self, start: usize) -> Result<()> {
        let mut depth = 1u64;
        while depth > 0 {
            if self.is_empty() {
                return Err(self.error_at(start, ProtobufError::UnexpectedEnd));
            }
            let start = self.pos;
            match (self.varint()? & 7) as u8 {
                GROUP_END => depth -= 1,
                wire_type => {
                    if let Value::Group = self.value(start, wire_type)? {
                        depth += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// A number of 1 to 10 bytes, 7 bits each, the lowest first.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64> {
        match self.bytes().first() {
            Some(&byte) if byte < 0x80 => {
                self.pos += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64> {
        let rest = self.bytes();
        let mut number = 0;
        for (i, &byte) in rest.iter().take(MAX_VARINT_BYTES).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.pos += i + 1;
                return Ok(number);
            }
        }
        Err(self.error(match rest.len() {
            0..MAX_VARINT_BYTES => ProtobufError::UnexpectedEnd,
            _ => ProtobufError::VarintTooLong,
        }))
    }

    /// The next bytes, as many as the number has.
    #[inline]
    pub(super) fn fixed<const LEN: usize>(&mut self) -> Result<[u8; LEN]> {
        match self.bytes().first_chunk::<LEN>() {
            Some(bytes) => {
                self.pos += LEN;
                Ok(*bytes)
            }
            None => Err(self.error(ProtobufError::UnexpectedEnd)),
        }
    }

    /// An error where the rest begins.
    pub(super) fn error(&self, error: ProtobufError) -> ExpositionError {
        self.error_at(self.pos, error)
    }

    #[cold]
    fn error_at(&self, offset: usize, error: ProtobufError) -> ExpositionError {
        error_in(self.name, offset, error)
    }
}

#[cold]
fn error_in(message: &'static str, offset: usize, error: ProtobufError) -> ExpositionError {
    ExpositionError {
        place: Place::Message { offset: offset as u64, message },
        kind: Box::new(ErrorKind::Protobuf(error)),
    }
}

impl<'page> Field<'page> {
    /// An error at this field.
    pub(super) fn error(&self, error: ProtobufError) -> ExpositionError {
        error_in(self.message, self.start, error)
    }

    #[cold]
    fn wrong(&self, field: &'static str) -> ExpositionError {
        let wire_type = match self.value {
            Value::Varint(_) => VARINT,
            Value::Fixed64(_) => FIXED64,
            Value::Bytes(_) => BYTES,
            Value::Group => GROUP_START,
            Value::Fixed32 => FIXED32,
        };
        self.error(ProtobufError::WrongWireType { wire_type, field })
    }

    /// An integer, zigzag ones as they are written.
    #[inline]
    pub(super) fn integer(&self, field: &'static str) -> Result<u64> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => Err(self.wrong(field)),
        }
    }

    #[inline]
    pub(super) fn double(&self, field: &'static str) -> Result<f64> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.wrong(field)),
        }
    }

    /// A string, which need not be UTF-8.
    #[inline]
    pub(super) fn bytes(&self, field: &'static str) -> Result<&'page [u8]> {
        match self.value {
            Value::Bytes(message) => Ok(message.bytes()),
            _ => Err(self.wrong(field)),
        }
    }

    /// A message called `name`.
    #[inline]
    pub(super) fn message(&self, field: &'static str, name: &'static str) -> Result<Message<'page>> {
        match self.value {
            Value::Bytes(message) => Ok(Message { name, ..message }),
            _ => Err(self.wrong(field)),
        }
    }

    /// Repeated integers: packed, or one of several fields.
    pub(super) fn integers(&self, field: &'static str) -> Result<Packed<'page>> {
        match self.value {
            Value::Varint(number) => Ok(Packed::One(number)),
            Value::Bytes(message) => Ok(Packed::Many(message)),
            _ => Err(self.wrong(field)),
        }
    }

    /// The bits of repeated doubles: packed, or one of several fields.
    pub(super) fn doubles(&self, field: &'static str) -> Result<Packed<'page>> {
        match self.value {
            Value::Fixed64(bits) => Ok(Packed::One(bits)),
            Value::Bytes(message) => Ok(Packed::Many(message)),
            _ => Err(self.wrong(field)),
        }
    }
}

/// A repeated number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Packed<'page> {
    One(u64),
    Many(Message<'page>),
}

/// The number that protobuf writes as `zigzag`: small ones are short, negative ones too.
pub(super) fn unzigzag(zigzag: u64) -> i64 {
    (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
}
