//! `ChunkedReadResponse`, frame by frame: length, checksum, and a message with chunks of one series
//! (`storage/remote/chunked.go`).

use crate::chunk::{Chunk, Chunks, Value};
use crate::encode::types::push_label;
use crate::protobuf::write::{push_bytes, push_number, push_varint, tag};
use crate::protobuf::{BYTES, VARINT};

/// Chunks that a frame has at least, in bytes, if the series has as many. Prometheus makes frames of 1 MiB; smaller ones
/// need less memory, here and there.
const FRAME_BYTES: usize = 16 << 10;

const RESPONSE_SERIES: u8 = tag(1, BYTES);
const RESPONSE_QUERY_INDEX: u8 = tag(2, VARINT);
const SERIES_LABELS: u8 = tag(1, BYTES);
const SERIES_CHUNKS: u8 = tag(2, BYTES);
const CHUNK_FIRST_TS: u8 = tag(1, VARINT);
const CHUNK_LAST_TS: u8 = tag(2, VARINT);
const CHUNK_ENCODING: u8 = tag(3, VARINT);
const CHUNK_DATA: u8 = tag(4, BYTES);

/// A frame with the first of some samples of a series, and how many of them it holds. `query_idx` is the place of the query in
/// its request; labels come in order of name, samples (timestamp in milliseconds and value) in order of time.
pub fn frame<'a>(
    query_idx: usize,
    labels: impl Iterator<Item = (&'a str, &'a str)>,
    samples: impl Iterator<Item = (i64, Value<'a>)>,
) -> (Vec<u8>, usize) {
    let mut series = Vec::new();
    labels.for_each(|(name, value)| push_label(&mut series, SERIES_LABELS, name, value));
    let (mut n_samples, mut item) = (0, Vec::new());
    let full_len = series.len() + FRAME_BYTES;
    for chunk in Chunks::of(samples) {
        n_samples += chunk.n_samples;
        item.clear();
        push_chunk(&mut item, &chunk);
        push_bytes(&mut series, SERIES_CHUNKS, &item);
        if series.len() >= full_len {
            break;
        }
    }
    let mut message = Vec::with_capacity(series.len() + 16);
    push_bytes(&mut message, RESPONSE_SERIES, &series);
    push_number(&mut message, RESPONSE_QUERY_INDEX, query_idx as u64);
    let mut frame = Vec::with_capacity(message.len() + 16);
    push_varint(&mut frame, message.len() as u64);
    frame.extend_from_slice(&crc32c::crc32c(&message).to_be_bytes());
    frame.extend_from_slice(&message);
    (frame, n_samples)
}

fn push_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    push_number(out, CHUNK_FIRST_TS, chunk.first_ts_ms as u64);
    push_number(out, CHUNK_LAST_TS, chunk.last_ts_ms as u64);
    push_number(out, CHUNK_ENCODING, chunk.encoding as u64);
    push_bytes(out, CHUNK_DATA, &chunk.data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::error::WireError;
    use crate::protobuf::read;

    type Message<'bytes> = read::Message<'bytes, Frame>;

    #[derive(Clone, Copy, Debug)]
    struct Frame;

    impl read::Reader for Frame {
        type Error = WireError;
    }

    /// Query, labels and number of chunks of a frame that is whole.
    fn read(frame: &[u8]) -> (u64, Vec<String>, usize) {
        let mut head = Message::new(frame, "frame");
        let len = head.varint().unwrap() as usize;
        let checksum = u32::from_be_bytes(head.fixed().unwrap());
        assert_eq!((head.len(), crc32c::crc32c(head.bytes())), (len, checksum));
        let (mut query_idx, mut labels, mut n_chunks) = (0, Vec::new(), 0);
        while let Some(field) = head.field().unwrap() {
            if field.number == 2 {
                query_idx = field.integer("").unwrap();
                continue;
            }
            let mut series = field.message("", "").unwrap();
            while let Some(field) = series.field().unwrap() {
                if field.number == 2 {
                    n_chunks += 1;
                    continue;
                }
                let mut label = field.message("", "").unwrap();
                while let Some(text) = label.field().unwrap() {
                    labels.push(String::from_utf8(text.bytes("").unwrap().to_vec()).unwrap());
                }
            }
        }
        (query_idx, labels, n_chunks)
    }

    #[test]
    fn a_long_series_is_spread_over_frames_that_begin_with_its_labels() {
        // Values without a pattern: some 9 bytes each.
        let samples: Vec<(i64, Value<'static>)> =
            (0..5000_i64).map(|number| (number * 15_000, Value::Float((number as f64).sin()))).collect();
        let labels = [("__name__", "a"), ("job", "x")];
        let (mut n_sent, mut n_frames, mut n_chunks) = (0, 0, 0);
        while n_sent < samples.len() {
            let (bytes, n_samples) = frame(3, labels.into_iter(), samples[n_sent..].iter().copied());
            assert!(bytes.len() < 2 * FRAME_BYTES && n_samples > 0, "{} bytes", bytes.len());
            let (query_idx, texts, chunks) = read(&bytes);
            assert_eq!((query_idx, texts.join(" ").as_str()), (3, "__name__ a job x"));
            (n_sent, n_frames, n_chunks) = (n_sent + n_samples, n_frames + 1, n_chunks + chunks);
        }
        assert_eq!(n_sent, samples.len());
        assert!(n_frames > 2 && n_chunks >= 5000_usize.div_ceil(120), "{n_frames} frames, {n_chunks} chunks");
    }
}
