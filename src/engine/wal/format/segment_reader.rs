//! Reads the records of one segment from any source of bytes: for replay, repair, import and queries.
//!
//! Damage is an error with its place; reading on behind it loses only what is damaged. A segment that is being
//! written may end anywhere. Holds one page and one record in memory. Knows no record type.

use crate::wal::format::compression::{Decompressor, MAX_RECORD_BYTES};
use crate::wal::format::page::{FragmentType, HEADER_BYTES, Header, PAGE_BYTES};
use crate::wal::format::record_batch::shrink;
use std::fmt;
use std::io::{self, Read};

/// What the end of the source means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// No one writes this segment any more: a record cut off by the end is damage.
    Closed,
    /// It is being written: a record cut off by the end is not there yet.
    Live,
}

/// Why a record could not be read.
#[derive(Debug)]
#[non_exhaustive]
pub enum CorruptionCause {
    /// The data does not have the checksum its header says.
    Checksum {
        /// CRC-32C of the data.
        actual: u32,
        /// CRC-32C in the header.
        expected: u32,
    },
    /// No writer makes such a header.
    InvalidHeader {
        /// Its first byte.
        first_byte: u8,
    },
    /// The header names more data than is left in the page.
    InvalidLength {
        /// Bytes the header names.
        data_bytes: u16,
    },
    /// The rest of a page should be zeros and is not.
    NonZeroPadding,
    /// A page of zeros with others behind it: the disk lost what stood there.
    Hole,
    /// A fragment does not continue the one before it.
    UnexpectedFragment {
        /// The fragment's type.
        fragment_type: FragmentType,
    },
    /// The segment ends inside a record.
    Torn,
    /// The record is larger than any reader takes.
    TooLarge,
    /// The record does not unfold.
    Decompress(String),
    /// The system could not read the segment; nothing behind this place can be read.
    Read(io::Error),
}

impl fmt::Display for CorruptionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CorruptionCause::Checksum { actual, expected } => {
                write!(f, "unexpected checksum {actual:x}, expected {expected:x}")
            }
            CorruptionCause::InvalidHeader { first_byte } => {
                write!(f, "invalid record header {first_byte:#04x}")
            }
            CorruptionCause::InvalidLength { data_bytes } => write!(f, "invalid record size {data_bytes}"),
            CorruptionCause::NonZeroPadding => f.write_str("unexpected non-zero byte in padded page"),
            CorruptionCause::Hole => f.write_str("unexpected page of zeros"),
            CorruptionCause::UnexpectedFragment { fragment_type } => {
                write!(f, "unexpected fragment of type {fragment_type:?}")
            }
            CorruptionCause::Torn => f.write_str("last record is torn"),
            CorruptionCause::TooLarge => write!(f, "record is too large (limit: {MAX_RECORD_BYTES} bytes)"),
            CorruptionCause::Decompress(sentence) => write!(f, "cannot decompress the record: {sentence}"),
            CorruptionCause::Read(cause) => write!(f, "cannot read: {cause}"),
        }
    }
}

/// Damage in a segment and where it is.
#[derive(Debug)]
pub struct CorruptionError {
    /// Number of the segment.
    pub segment: u32,
    /// Where the damaged record or fragment starts, in bytes from the segment's start. What stands before it is
    /// whole: a torn segment can be cut here.
    pub offset: u64,
    /// What is wrong.
    pub cause: CorruptionCause,
}

impl fmt::Display for CorruptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "corruption in segment {:08} at {}: {}", self.segment, self.offset, self.cause)
    }
}

impl std::error::Error for CorruptionError {}

/// A record as it stands in its segment, unfolded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Where it starts, in bytes from the segment's start.
    pub start: u64,
    /// Where it ends: the position a later reader goes on from.
    pub end: u64,
    /// Type byte and body.
    pub bytes: &'a [u8],
}

/// Records of one segment, front to back.
#[derive(Debug)]
pub struct SegmentReader<R> {
    source: R,
    segment: u32,
    tail: Tail,
    page: Box<[u8]>,
    /// Bytes of `page` that hold data; less than a page only at the end of the source.
    page_bytes: usize,
    /// The next fragment's place in `page`.
    at: usize,
    /// Where `page` starts in the segment.
    page_start: u64,
    /// Where the first page that is loaded goes on.
    resume_at: usize,
    /// Set at the end of the source and after a read error.
    ended: bool,
    /// The first of the pages of zeros right before this one.
    hole_start: Option<u64>,
    /// Fragments up to the next whole or first one belong to a record that was given up.
    skipping: bool,
    chain: Option<Chain>,
    /// Data of the record's fragments.
    data: Vec<u8>,
    /// The record unfolded, if it is compressed.
    unfolded: Vec<u8>,
    decompressor: Decompressor,
}

/// Memory of a reader, for the next one: who reads a growing log starts a reader for every few records.
#[derive(Debug, Default)]
pub struct ReadBuffers {
    page: Box<[u8]>,
    data: Vec<u8>,
    unfolded: Vec<u8>,
    decompressor: Decompressor,
}

/// A record of which only the first fragments are read.
#[derive(Clone, Copy, Debug)]
struct Chain {
    start: u64,
    compression_flag: u8,
}

/// What reading one fragment led to.
enum Step {
    Record { start: u64, compression_flag: u8 },
    More,
    End,
}

impl<R: Read> SegmentReader<R> {
    /// A reader over `source`, which starts at the beginning of the segment.
    pub fn new(source: R, segment: u32, tail: Tail) -> Self {
        Self::resume(source, segment, tail, 0, ReadBuffers::default())
    }

    /// A reader that goes on behind a record that ends at `offset`; `source` starts with the page that holds this
    /// place.
    pub fn resume(source: R, segment: u32, tail: Tail, offset: u64, buffers: ReadBuffers) -> Self {
        let ReadBuffers { page, data, unfolded, decompressor } = buffers;
        let in_page = offset % PAGE_BYTES as u64;
        Self {
            source,
            segment,
            tail,
            page: if page.is_empty() { vec![0; PAGE_BYTES].into_boxed_slice() } else { page },
            page_bytes: 0,
            at: 0,
            page_start: offset - in_page,
            resume_at: in_page as usize,
            ended: false,
            hole_start: None,
            skipping: false,
            chain: None,
            data,
            unfolded,
            decompressor,
        }
    }

    /// Its memory, for the next reader; what a rare large record took is given back.
    pub fn into_buffers(self) -> ReadBuffers {
        let Self { page, mut data, mut unfolded, decompressor, .. } = self;
        shrink(&mut data);
        shrink(&mut unfolded);
        ReadBuffers { page, data, unfolded, decompressor }
    }

    /// Bytes read of the segment so far, padding included.
    pub fn offset(&self) -> u64 {
        self.page_start + self.at as u64
    }

    /// The next whole record; `None` at the end.
    ///
    /// # Errors
    /// Damage, reported once per place; calling again goes on with the first record behind it.
    pub fn next_record(&mut self) -> Result<Option<RawRecord<'_>>, CorruptionError> {
        self.data.clear();
        let (start, compression_flag) = loop {
            match self.step() {
                Ok(Step::Record { start, compression_flag }) => break (start, compression_flag),
                Ok(Step::More) => {}
                Ok(Step::End) => return Ok(None),
                Err((offset, cause)) => {
                    self.chain = None;
                    return Err(CorruptionError { segment: self.segment, offset, cause });
                }
            }
        };
        let end = self.offset();
        if compression_flag == 0 {
            return Ok(Some(RawRecord { start, end, bytes: &self.data }));
        }
        self.decompressor
            .decompress(&self.data, compression_flag, MAX_RECORD_BYTES, &mut self.unfolded)
            .map_err(|sentence| CorruptionError {
                segment: self.segment,
                offset: start,
                cause: CorruptionCause::Decompress(sentence),
            })?;
        Ok(Some(RawRecord { start, end, bytes: &self.unfolded }))
    }

    /// Reads one fragment, or moves to the next page. An error has already moved behind the damage.
    fn step(&mut self) -> Result<Step, (u64, CorruptionCause)> {
        if self.at == self.page_bytes {
            return self.turn_page();
        }
        let offset = self.offset();
        let rest = self.page.get(self.at..self.page_bytes).unwrap_or_default();
        let is_short_page = self.page_bytes < PAGE_BYTES;
        let Some(header) = Header::parse(rest) else {
            let first_byte = rest.first().copied().unwrap_or_default();
            if rest.len() < HEADER_BYTES && is_short_page {
                return self.torn(offset);
            }
            return Err(self.damaged(offset, CorruptionCause::InvalidHeader { first_byte }));
        };
        if self.at == 0
            && header.fragment_type == FragmentType::PageTerm
            && rest.iter().all(|byte| *byte == 0)
        {
            // Behind the last record it is padding (Prometheus' repair leaves such a page); no writer makes another.
            self.hole_start.get_or_insert(offset);
            self.at = self.page_bytes;
            return Ok(Step::More);
        }
        if let Some(hole_start) = self.hole_start.take() {
            self.skipping = true;
            self.data.clear();
            return Err((self.chain.take().map_or(hole_start, |chain| chain.start), CorruptionCause::Hole));
        }
        if header.fragment_type == FragmentType::PageTerm {
            if rest.iter().any(|byte| *byte != 0) {
                return Err(self.damaged(offset, CorruptionCause::NonZeroPadding));
            }
            self.at = self.page_bytes;
            return Ok(Step::More);
        }
        let Some(data) = header.data(rest) else {
            let fits_a_page = self.at + HEADER_BYTES + usize::from(header.data_bytes) <= PAGE_BYTES;
            if fits_a_page && is_short_page && !self.resyncs_behind() {
                return self.torn(offset);
            }
            let cause = CorruptionCause::InvalidLength { data_bytes: header.data_bytes };
            return Err(self.damaged(offset, cause));
        };
        let actual = crc32c::crc32c(data);
        if actual != header.checksum {
            let cause = CorruptionCause::Checksum { actual, expected: header.checksum };
            return Err(self.damaged(offset, cause));
        }
        self.take_fragment(offset, header)
    }

    /// Adds a sound fragment to its record.
    fn take_fragment(&mut self, offset: u64, header: Header) -> Result<Step, (u64, CorruptionCause)> {
        let starts_record = matches!(header.fragment_type, FragmentType::Full | FragmentType::First);
        if self.skipping && !starts_record {
            self.at += HEADER_BYTES + usize::from(header.data_bytes);
            return Ok(Step::More);
        }
        let continues = self.chain.is_some_and(|chain| chain.compression_flag == header.compression_flag);
        if starts_record == self.chain.is_some() || (!starts_record && !continues) {
            // The record before is lost; a fragment that starts one is read again as such.
            let lost_from = self.chain.take().map_or(offset, |chain| chain.start);
            self.skipping = true;
            self.data.clear();
            let cause = CorruptionCause::UnexpectedFragment { fragment_type: header.fragment_type };
            return Err((lost_from, cause));
        }
        self.skipping = false;
        let data_start = self.at + HEADER_BYTES;
        let data_end = data_start + usize::from(header.data_bytes);
        let data = self.page.get(data_start..data_end).unwrap_or_default();
        let start = self.chain.map_or(offset, |chain| chain.start);
        self.at = data_end;
        if self.data.len() + data.len() > MAX_RECORD_BYTES {
            self.skipping = true;
            self.data = Vec::new();
            return Err((start, CorruptionCause::TooLarge));
        }
        self.data.extend_from_slice(data);
        let compression_flag = header.compression_flag;
        if matches!(header.fragment_type, FragmentType::Full | FragmentType::Last) {
            self.chain = None;
            return Ok(Step::Record { start, compression_flag });
        }
        self.chain = Some(Chain { start, compression_flag });
        Ok(Step::More)
    }

    /// Loads the next page, or ends.
    fn turn_page(&mut self) -> Result<Step, (u64, CorruptionCause)> {
        if !self.ended {
            self.page_start += self.page_bytes as u64;
            self.at = 0;
            self.page_bytes = 0;
            while self.page_bytes < PAGE_BYTES {
                let free = self.page.get_mut(self.page_bytes..).unwrap_or_default();
                match self.source.read(free) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(read) => self.page_bytes += read,
                    Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                    Err(err) => {
                        // What was read of this page is given up: its end is unknown.
                        self.ended = true;
                        self.page_bytes = 0;
                        let lost_from = self.chain.map_or(self.page_start, |chain| chain.start);
                        return Err((lost_from, CorruptionCause::Read(err)));
                    }
                }
            }
            self.at = std::mem::take(&mut self.resume_at).min(self.page_bytes);
            if self.page_bytes > 0 {
                return Ok(Step::More);
            }
        }
        match self.chain.take() {
            Some(chain) if self.tail == Tail::Closed => Err((chain.start, CorruptionCause::Torn)),
            _ => Ok(Step::End),
        }
    }

    /// The source ends inside the fragment at `offset`.
    fn torn(&mut self, offset: u64) -> Result<Step, (u64, CorruptionCause)> {
        self.at = self.page_bytes;
        self.ended = true;
        let lost_from = self.chain.take().map_or(offset, |chain| chain.start);
        match self.tail {
            Tail::Closed => Err((lost_from, CorruptionCause::Torn)),
            Tail::Live => Ok(Step::End),
        }
    }

    /// Moves to the next sound fragment behind damage at `offset`: in this page, or the start of the next one.
    fn damaged(&mut self, offset: u64, cause: CorruptionCause) -> (u64, CorruptionCause) {
        self.skipping = true;
        self.data.clear();
        self.at = self.next_sound_fragment().unwrap_or(self.page_bytes);
        (self.chain.take().map_or(offset, |chain| chain.start), cause)
    }

    fn resyncs_behind(&self) -> bool {
        self.next_sound_fragment().is_some()
    }

    /// The first place behind `at` in this page where a fragment with data has its checksum. Where the damaged header
    /// itself says that the next one starts is tried first: data could look like a fragment.
    fn next_sound_fragment(&self) -> Option<usize> {
        let page = self.page.get(..self.page_bytes).unwrap_or_default();
        let is_sound = |at: usize| {
            let rest = page.get(at..).unwrap_or_default();
            Header::parse(rest).is_some_and(|header| {
                header.data_bytes > 0
                    && header.data(rest).is_some_and(|data| crc32c::crc32c(data) == header.checksum)
            })
        };
        let announced = page
            .get(self.at..)
            .and_then(Header::parse)
            .map(|header| self.at + HEADER_BYTES + usize::from(header.data_bytes));
        announced
            .filter(|at| is_sound(*at))
            .or_else(|| (self.at + 1..self.page_bytes).find(|at| is_sound(*at)))
    }
}

#[cfg(test)]
#[path = "segment_reader_tests.rs"]
mod tests;
