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

#[cfg(test)]
mod tests {
    use super::{FragmentType, HEADER_BYTES, Header, PAGE_BYTES, append_record};

    /// Types and data sizes of the fragments of a record that starts `start` bytes into a segment.
    fn fragments(start: u64, record_bytes: usize) -> Vec<(FragmentType, usize)> {
        let record = vec![7; record_bytes];
        let mut out = Vec::new();
        let count = append_record(&mut out, start, &record, 0);
        let (mut at, mut found) = (0, Vec::new());
        while at < out.len() {
            let header = Header::parse(&out[at..]).unwrap();
            let place = (start as usize + at) % PAGE_BYTES;
            if header.fragment_type == FragmentType::PageTerm {
                assert!(out[at..].iter().take(PAGE_BYTES - place).all(|byte| *byte == 0));
                at += PAGE_BYTES - place;
                continue;
            }
            let data = header.data(&out[at..]).unwrap();
            assert_eq!(crc32c::crc32c(data), header.checksum);
            assert!(place + HEADER_BYTES + data.len() <= PAGE_BYTES, "a fragment crosses a page");
            found.push((header.fragment_type, data.len()));
            at += HEADER_BYTES + data.len();
        }
        assert_eq!(count, found.len() as u64);
        found
    }

    #[test]
    fn fragments_fit_their_pages() {
        use FragmentType::{First, Full, Last, Middle};
        let page = PAGE_BYTES - HEADER_BYTES;
        assert_eq!(fragments(0, 10), [(Full, 10)]);
        assert_eq!(fragments(0, page), [(Full, page)]);
        assert_eq!(fragments(0, page + 1), [(First, page), (Last, 1)]);
        assert_eq!(fragments(0, 2 * page + 5), [(First, page), (Middle, page), (Last, 5)]);
        assert_eq!(fragments(100, page), [(First, page - 100), (Last, 100)]);
        let end = PAGE_BYTES as u64;
        assert_eq!(fragments(end - 8, 3), [(First, 1), (Last, 2)]);
        // Prometheus writes a first fragment without data where only a header fits.
        assert_eq!(fragments(end - 7, 3), [(First, 0), (Last, 3)]);
        assert_eq!(fragments(end - 6, 3), [(Full, 3)]);
    }

    #[test]
    fn less_than_a_header_of_room_is_filled_at_once() {
        for left in 0..HEADER_BYTES + 1 {
            let mut out = Vec::new();
            append_record(&mut out, 0, &vec![1; PAGE_BYTES - HEADER_BYTES - left], 0);
            let expected = if left < HEADER_BYTES { PAGE_BYTES } else { PAGE_BYTES - left };
            assert_eq!(out.len(), expected, "{left} bytes left");
        }
    }

    #[test]
    fn headers_no_writer_makes_are_refused() {
        let check = |first: u8, is_header: bool| {
            assert_eq!(Header::parse(&[first, 0, 0, 0, 0, 0, 0]).is_some(), is_header, "{first:#04x}");
        };
        for first in [0x00, 0x01, 0x04, 0x09, 0x14] {
            check(first, true);
        }
        for first in [0x05, 0x07, 0x08, 0x10, 0x19, 0x21, 0x81] {
            check(first, false);
        }
        assert_eq!(Header::parse(&[1, 0, 0, 0, 0, 0]), None);
    }
}
