//! Segments cut, flipped and torn: what is read, and where reading ends.

use super::{CorruptionCause, ReadBuffers, SegmentReader, Tail};
use crate::wal::format::page::PAGE_BYTES;
use crate::wal::format::record_batch::RecordBatch;
use crate::wal::options::Compression;
use proptest::collection::vec;
use proptest::prelude::{any, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

fn segment(records: &[Vec<u8>], compression: Compression) -> Vec<u8> {
    let mut batch = RecordBatch::new(compression);
    for record in records {
        batch.push(record);
    }
    let mut bytes = Vec::new();
    batch.cut_into_pages(0, &mut bytes);
    bytes
}

/// All records and the number of damaged places.
fn read(bytes: &[u8], tail: Tail) -> (Vec<Vec<u8>>, Vec<(u64, CorruptionCause)>) {
    let mut reader = SegmentReader::new(bytes, 0, tail);
    let (mut records, mut damage) = (Vec::new(), Vec::new());
    loop {
        match reader.next_record() {
            Ok(Some(record)) => records.push(record.bytes.to_vec()),
            Ok(None) => return (records, damage),
            Err(error) => damage.push((error.offset, error.cause)),
        }
    }
}

#[test]
fn a_page_of_zeros_between_records_is_a_hole() {
    let size = PAGE_BYTES - 7;
    let records = records(&[size, size, size, 5]);
    let whole = segment(&records, Compression::None);
    let mut damaged = whole.clone();
    damaged[PAGE_BYTES..3 * PAGE_BYTES].fill(0);
    let (back, damage) = read(&damaged, Tail::Closed);
    assert_eq!(back, [records[0].clone(), records[3].clone()]);
    assert!(matches!(damage[..], [(32_768, CorruptionCause::Hole)]), "{damage:?}");

    let padded = [whole, vec![0; 3 * PAGE_BYTES]].concat();
    let (back, damage) = read(&padded, Tail::Closed);
    assert_eq!((back, damage.len()), (records, 0));
}

fn records(sizes: &[usize]) -> Vec<Vec<u8>> {
    let number = |idx: usize| (idx as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] | 1;
    sizes.iter().enumerate().map(|(nth, size)| (0..*size).map(|idx| number(idx + nth)).collect()).collect()
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Snappy), Just(Compression::Zstd)]
}

proptest! {
    #![proptest_config(crate::cases::cases(256))]

    #[test]
    fn records_of_any_size_come_back(
        sizes in vec(prop_oneof![1..200_usize, 32_000..33_000_usize, 1..200_000_usize], 1..12),
        compression in compression(),
    ) {
        let records = records(&sizes);
        let (back, damage) = read(&segment(&records, compression), Tail::Closed);
        assert_eq!(back, records);
        assert!(damage.is_empty(), "{damage:?}");
    }

    #[test]
    fn any_bytes_are_read_to_their_end(bytes in vec(any::<u8>(), 0..2000), at in 0..40_000_usize) {
        let mut damaged = segment(&records(&[10, 40_000, 10]), Compression::None);
        for (idx, byte) in bytes.iter().enumerate() {
            if let Some(old) = damaged.get_mut(at + idx) {
                *old = *byte;
            }
        }
        read(&damaged, Tail::Closed);
        read(&bytes, Tail::Live);
    }
}

#[test]
fn a_segment_cut_anywhere_keeps_what_is_whole() {
    let records = records(&[30, 40_000, 20, 26_000, 9]);
    let bytes = segment(&records, Compression::None);
    let ends: Vec<u64> = {
        let mut reader = SegmentReader::new(&bytes[..], 0, Tail::Closed);
        std::iter::from_fn(|| reader.next_record().unwrap().map(|record| record.end)).collect()
    };
    for cut in 0..=bytes.len() {
        // A sparse walk through the middle, every byte near what matters.
        if cut % 97 != 0 && !ends.iter().any(|end| end.abs_diff(cut as u64) < 20) && cut % PAGE_BYTES > 20 {
            continue;
        }
        let whole = ends.iter().filter(|end| **end <= cut as u64).count();
        let (live, damage) = read(&bytes[..cut], Tail::Live);
        assert_eq!((live.len(), damage.len()), (whole, 0), "cut at {cut}");
        let (closed, damage) = read(&bytes[..cut], Tail::Closed);
        assert_eq!(closed, records[..whole], "cut at {cut}");
        let last_end = if whole == 0 { 0 } else { ends[whole - 1] };
        let only_zeros = bytes[last_end as usize..cut].iter().all(|byte| *byte == 0);
        match damage.as_slice() {
            [] => assert!(only_zeros, "cut at {cut}: nothing said"),
            [(offset, CorruptionCause::Torn)] => assert!(*offset >= last_end && *offset < cut as u64),
            other => panic!("cut at {cut}: {other:?}"),
        }
    }
}

#[test]
fn a_flipped_byte_costs_one_record() {
    let sizes = [40, 50, 33_000, 60, 70, 31_000, 80, 90];
    let records = records(&sizes);
    let bytes = segment(&records, Compression::None);
    for at in (0..bytes.len()).filter(|at| at % 61 == 0 || *at < 400 || at % PAGE_BYTES < 40) {
        for mask in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= mask;
            let (back, damage) = read(&damaged, Tail::Closed);
            let survivors = records.iter().filter(|record| back.contains(record)).count();
            assert_eq!(back.len(), survivors, "at {at}: a record that was never written");
            assert!(survivors >= records.len() - 1, "at {at} ^ {mask:x}: {survivors} left, {damage:?}");
            assert!(survivors == records.len() || damage.len() == 1, "at {at} ^ {mask:x}: {damage:?}");
        }
    }
}

#[test]
fn lies_about_size_are_refused() {
    let check = |record: &[u8], flag: u8, expected: &str| {
        let mut bytes = Vec::new();
        crate::wal::format::page::append_record(&mut bytes, 0, record, flag);
        crate::wal::format::page::append_record(&mut bytes, 0, b"behind", 0);
        let (back, damage) = read(&bytes, Tail::Closed);
        assert_eq!(back, [b"behind"]);
        let sentence = damage[0].1.to_string();
        assert!(sentence.contains(expected), "{sentence}");
    };
    check(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0], crate::wal::format::page::SNAPPY_FLAG, "limit: 268435456");
    check(&[0x80, 0x80, 0x80, 0x10, 0], crate::wal::format::page::SNAPPY_FLAG, "says it unfolds to 33554432");
    let bomb = zstd::bulk::compress(&vec![0; 300 << 20], 1).unwrap();
    check(&bomb, crate::wal::format::page::ZSTD_FLAG, "limit: 268435456");
    let mut unsized_bomb = Vec::new();
    let source = std::io::Read::take(std::io::repeat(0), 300 << 20);
    zstd::stream::copy_encode(source, &mut unsized_bomb, 1).unwrap();
    check(&unsized_bomb, crate::wal::format::page::ZSTD_FLAG, "too small");
}

#[test]
fn reading_goes_on_behind_any_record() {
    let bytes = segment(&records(&[30, 40_000, 20, 26_000, 9, 32_700, 5]), Compression::Snappy);
    let all = read(&bytes, Tail::Live).0;
    let mut ends = vec![0];
    let mut reader = SegmentReader::new(&bytes[..], 0, Tail::Live);
    while let Some(record) = reader.next_record().unwrap() {
        ends.push(record.end);
    }
    let mut buffers = ReadBuffers::default();
    for (n_read, end) in ends.iter().enumerate() {
        let page_start = *end as usize / PAGE_BYTES * PAGE_BYTES;
        let rest = bytes.get(page_start..).unwrap_or_default();
        let mut reader = SegmentReader::resume(rest, 0, Tail::Live, *end, buffers);
        let mut back = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            assert!(ends.contains(&record.end), "{} is no end", record.end);
            back.push(record.bytes.to_vec());
        }
        assert_eq!(back, all[n_read..], "behind record {n_read}");
        buffers = reader.into_buffers();
    }
}

#[test]
fn a_frame_without_its_size_unfolds() {
    let record = vec![7; 100_000];
    let mut data = Vec::new();
    zstd::stream::copy_encode(&record[..], &mut data, 1).unwrap();
    let mut bytes = Vec::new();
    crate::wal::format::page::append_record(&mut bytes, 0, &data, crate::wal::format::page::ZSTD_FLAG);
    assert_eq!(read(&bytes, Tail::Closed).0, [record]);
}
