//! Pages of 32 KiB and the fragments records are cut into (`tsdb/wlog/wlog.go`).
//!
//! A fragment is a byte of type and compression, its length and its CRC-32C, then the data. No fragment crosses a
//! page; a page's end with no room for a header is zeros. Knows no file and no record type.

/// Size of a page in bytes.
pub const PAGE_BYTES: usize = 32 * 1024;

/// Size of a fragment's header in bytes: type, length, checksum.
pub const HEADER_BYTES: usize = 7;

/// Flag in a fragment's first byte: the record is one snappy block.
pub const SNAPPY_FLAG: u8 = 0x08;

/// Flag in a fragment's first byte: the record is one Zstandard frame.
pub const ZSTD_FLAG: u8 = 0x10;

const TYPE_MASK: u8 = 0x07;

/// Which part of a record a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FragmentType {
    /// The rest of the page is zeros.
    PageTerm = 0,
    /// A whole record.
    Full = 1,
    /// The first of several.
    First = 2,
    /// Neither first nor last.
    Middle = 3,
    /// The last of several.
    Last = 4,
}

/// A fragment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Part of the record.
    pub fragment_type: FragmentType,
    /// [`SNAPPY_FLAG`], [`ZSTD_FLAG`] or 0; the same in all fragments of a record.
    pub compression_flag: u8,
    /// Bytes of data that follow the header.
    pub data_bytes: u16,
    /// CRC-32C of the data.
    pub checksum: u32,
}

impl Header {
    /// Reads a header at the start of `bytes`; `None` if there are fewer than [`HEADER_BYTES`] of them or no writer
    /// makes such a header. A zero byte alone is a header of type `PageTerm`.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let first = *bytes.first()?;
        if first == 0 {
            return Some(Header {
                fragment_type: FragmentType::PageTerm,
                compression_flag: 0,
                data_bytes: 0,
                checksum: 0,
            });
        }
        let &[_, l0, l1, c0, c1, c2, c3] = bytes.first_chunk::<HEADER_BYTES>()?;
        let fragment_type = match first & TYPE_MASK {
            1 => FragmentType::Full,
            2 => FragmentType::First,
            3 => FragmentType::Middle,
            4 => FragmentType::Last,
            _ => return None,
        };
        let compression_flag = first & !TYPE_MASK;
        if !matches!(compression_flag, 0 | SNAPPY_FLAG | ZSTD_FLAG) {
            return None;
        }
        let data_bytes = u16::from_be_bytes([l0, l1]);
        let checksum = u32::from_be_bytes([c0, c1, c2, c3]);
        Some(Header { fragment_type, compression_flag, data_bytes, checksum })
    }

    /// The data that follows this header in `bytes`, which start at the header; `None` if they end before it does.
    pub fn data<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        bytes.get(HEADER_BYTES..HEADER_BYTES + usize::from(self.data_bytes))
    }
}

/// Cuts a record into fragments at the end of `out`, which will stand `start` bytes into its segment.
///
/// As Prometheus does, a page with less than a header's room left is filled with zeros at once. Returns the number of
/// fragments.
pub fn append_record(out: &mut Vec<u8>, start: u64, record: &[u8], compression_flag: u8) -> u64 {
    let mut rest = record;
    let mut fragments = 0;
    fill_full_page(out, start);
    loop {
        let room = page_room(start + out.len() as u64) - HEADER_BYTES;
        let (data, behind) = rest.split_at(rest.len().min(room));
        let fragment_type = match (fragments == 0, behind.is_empty()) {
            (true, true) => FragmentType::Full,
            (true, false) => FragmentType::First,
            (false, true) => FragmentType::Last,
            (false, false) => FragmentType::Middle,
        };
        out.push(fragment_type as u8 | compression_flag);
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(&crc32c::crc32c(data).to_be_bytes());
        out.extend_from_slice(data);
        fill_full_page(out, start);
        fragments += 1;
        if behind.is_empty() {
            return fragments;
        }
        rest = behind;
    }
}

fn fill_full_page(out: &mut Vec<u8>, start: u64) {
    let left = page_room(start + out.len() as u64);
    if left < HEADER_BYTES {
        out.resize(out.len() + left, 0);
    }
}

/// Bytes from the offset `at` of a segment to the end of its page.
fn page_room(at: u64) -> usize {
    PAGE_BYTES - (at % PAGE_BYTES as u64) as usize
}
