//! Fields of a message, borrowed from its bytes.
//!
//! Knows no message but its name, and looks at every byte at most as often as its caller does: what is skipped costs its
//! header. Nothing here recurses or allocates.

use crate::protobuf::error::{Mistake, WireError};
use crate::protobuf::{BYTES, FIXED32, FIXED64, GROUP_END, GROUP_START, VARINT};
use std::marker::PhantomData;

/// A number is spread over at most this many bytes.
const MAX_VARINT_BYTES: usize = 10;

/// Who reads: what a mistake becomes there. Where errors were turned into others on the way, a field would cost 4 instructions
/// more.
pub(crate) trait Reader: Copy {
    type Error: From<WireError>;
}

type Result<T, R> = std::result::Result<T, <R as Reader>::Error>;

/// The rest of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'bytes, R> {
    bytes: &'bytes [u8],
    pos: usize,
    end: usize,
    name: &'static str,
    reader: PhantomData<R>,
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'bytes, R> {
    /// What it is called in the message.
    pub(crate) number: i32,
    /// Where its tag is.
    pub(crate) start: usize,
    /// Behind it.
    pub(crate) end: usize,
    value: Value<'bytes, R>,
    /// Name of the message that it is of.
    message: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Value<'bytes, R> {
    Varint(u64),
    Fixed64(u64),
    Bytes(Message<'bytes, R>),
    Group,
    Fixed32,
}

impl<'bytes, R: Reader> Message<'bytes, R> {
    /// All of some bytes.
    pub(crate) fn new(bytes: &'bytes [u8], name: &'static str) -> Self {
        Self { bytes, pos: 0, end: bytes.len(), name, reader: PhantomData }
    }

    /// A message without fields.
    pub(crate) fn empty() -> Self {
        Self { bytes: b"", pos: 0, end: 0, name: "", reader: PhantomData }
    }

    /// True if nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.pos >= self.end
    }

    /// Its rest.
    pub(crate) fn bytes(&self) -> &'bytes [u8] {
        self.bytes.get(self.pos..self.end).unwrap_or_default()
    }

    /// A piece of the outermost message.
    pub(crate) fn piece(&self, start: usize, end: usize) -> &'bytes [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// Bytes of its rest.
    pub(crate) fn len(&self) -> usize {
        self.end.saturating_sub(self.pos)
    }

    /// The message called `name` that stands next, behind its length of at most this many bytes. `None` if there is no whole
    /// one; then nothing is passed over.
    #[inline]
    pub(crate) fn delimited(&mut self, max_length_bytes: usize, name: &'static str) -> Option<Self> {
        let start = self.pos;
        if let Ok(length) = self.varint()
            && self.pos - start <= max_length_bytes
            && length <= self.len() as u64
        {
            let message = Self { end: self.pos + length as usize, name, ..*self };
            self.pos = message.end;
            return Some(message);
        }
        self.pos = start;
        None
    }

    /// The next field; `None` at the end of the message.
    ///
    /// # Errors
    /// What is there is no field.
    // Inlined wherever fields are walked: passing one back costs more than reading it.
    #[inline(always)]
    pub(crate) fn field(&mut self) -> Result<Option<Field<'bytes, R>>, R> {
        if self.is_empty() {
            return Ok(None);
        }
        let start = self.pos;
        let tag = self.varint()?;
        let (number, wire_type) = ((tag >> 3) as i32, (tag & 7) as u8);
        if wire_type == GROUP_END {
            return Err(self.error_at(start, Mistake::GroupEnd(self.name)));
        }
        if number <= 0 {
            return Err(self.error_at(start, Mistake::IllegalTag { number, tag, message: self.name }));
        }
        let value = self.value(start, wire_type)?;
        if let Value::Group = value {
            self.skip_group(start)?;
        }
        Ok(Some(Field { number, start, end: self.pos, value, message: self.name }))
    }

    #[inline(always)]
    fn value(&mut self, start: usize, wire_type: u8) -> Result<Value<'bytes, R>, R> {
        Ok(match wire_type {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => Value::Fixed64(u64::from_le_bytes(self.fixed()?)),
            BYTES => {
                let length = self.varint()?;
                if length > i64::MAX as u64 {
                    return Err(self.error_at(start, Mistake::NegativeLength));
                }
                let rest = (self.end - self.pos) as u64;
                if length > rest {
                    return Err(self.error_at(start, Mistake::UnexpectedEnd));
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
            _ => return Err(self.error_at(start, Mistake::UnknownWireType(wire_type))),
        })
    }

    /// Goes behind the end of the group that has just begun.
    #[cold]
    fn skip_group(&mut self, start: usize) -> Result<(), R> {
        let mut depth = 1u64;
        while depth > 0 {
            if self.is_empty() {
                return Err(self.error_at(start, Mistake::UnexpectedEnd));
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
    pub(crate) fn varint(&mut self) -> Result<u64, R> {
        match self.bytes().first() {
            Some(&byte) if byte < 0x80 => {
                self.pos += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, R> {
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
            0..MAX_VARINT_BYTES => Mistake::UnexpectedEnd,
            _ => Mistake::VarintTooLong,
        }))
    }

    /// The next bytes, as many as the number has.
    #[inline]
    pub(crate) fn fixed<const LEN: usize>(&mut self) -> Result<[u8; LEN], R> {
        match self.bytes().first_chunk::<LEN>() {
            Some(bytes) => {
                self.pos += LEN;
                Ok(*bytes)
            }
            None => Err(self.error(Mistake::UnexpectedEnd)),
        }
    }

    /// Where its rest begins: the byte, and the name of the message.
    pub(crate) fn place(&self) -> (u64, &'static str) {
        (self.pos as u64, self.name)
    }

    fn error(&self, mistake: Mistake) -> R::Error {
        self.error_at(self.pos, mistake)
    }

    #[cold]
    fn error_at(&self, offset: usize, mistake: Mistake) -> R::Error {
        WireError { offset: offset as u64, message: self.name, mistake }.into()
    }
}

impl<'bytes, R: Reader> Field<'bytes, R> {
    /// Where it is: the byte of its tag, and the name of its message.
    pub(crate) fn place(&self) -> (u64, &'static str) {
        (self.start as u64, self.message)
    }

    #[cold]
    fn wrong(&self, field: &'static str) -> R::Error {
        let wire_type = match self.value {
            Value::Varint(_) => VARINT,
            Value::Fixed64(_) => FIXED64,
            Value::Bytes(_) => BYTES,
            Value::Group => GROUP_START,
            Value::Fixed32 => FIXED32,
        };
        let (offset, message) = self.place();
        WireError { offset, message, mistake: Mistake::WrongWireType { wire_type, field } }.into()
    }

    /// An integer, zigzag ones as they are written.
    #[inline]
    pub(crate) fn integer(&self, field: &'static str) -> Result<u64, R> {
        match self.value {
            Value::Varint(number) => Ok(number),
            _ => Err(self.wrong(field)),
        }
    }

    #[inline]
    pub(crate) fn double(&self, field: &'static str) -> Result<f64, R> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.wrong(field)),
        }
    }

    /// A string, which need not be UTF-8.
    #[inline]
    pub(crate) fn bytes(&self, field: &'static str) -> Result<&'bytes [u8], R> {
        match self.value {
            Value::Bytes(message) => Ok(message.bytes()),
            _ => Err(self.wrong(field)),
        }
    }

    /// A message called `name`.
    #[inline]
    pub(crate) fn message(&self, field: &'static str, name: &'static str) -> Result<Message<'bytes, R>, R> {
        match self.value {
            Value::Bytes(message) => Ok(Message { name, ..message }),
            _ => Err(self.wrong(field)),
        }
    }

    /// Repeated integers: packed, or one of several fields.
    pub(crate) fn integers(&self, field: &'static str) -> Result<Packed<'bytes, R>, R> {
        match self.value {
            Value::Varint(number) => Ok(Packed::One(number)),
            Value::Bytes(message) => Ok(Packed::Many(message)),
            _ => Err(self.wrong(field)),
        }
    }

    /// The bits of repeated doubles: packed, or one of several fields.
    pub(crate) fn doubles(&self, field: &'static str) -> Result<Packed<'bytes, R>, R> {
        match self.value {
            Value::Fixed64(bits) => Ok(Packed::One(bits)),
            Value::Bytes(message) => Ok(Packed::Many(message)),
            _ => Err(self.wrong(field)),
        }
    }
}

/// A repeated number.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Packed<'bytes, R> {
    One(u64),
    Many(Message<'bytes, R>),
}

/// The number that protobuf writes as `zigzag`: small ones are short, negative ones too.
pub(crate) fn unzigzag(zigzag: u64) -> i64 {
    (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)
}
