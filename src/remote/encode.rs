//! Requests in Prometheus' remote-write protobuf, 1.0 and 2.0, written by hand, and compressed as snappy blocks.
//!
//! Runs on the shards, some of it under the head lock: labels are copied from the table straight into the message. All
//! samples of a series in a request share one time series. After `prompb/remote.proto`, `prompb/types.proto` and
//! `prompb/io/prometheus/write/v2/types.proto`.

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

/// Field numbers with their wire types.
const WRITE_REQUEST_TIMESERIES: u8 = tag(1, LEN);
const TIMESERIES_LABELS: u8 = tag(1, LEN);
const TIMESERIES_SAMPLES: u8 = tag(2, LEN);
const LABEL_NAME: u8 = tag(1, LEN);
const LABEL_VALUE: u8 = tag(2, LEN);
const SAMPLE_VALUE: u8 = tag(1, I64);
const SAMPLE_TIMESTAMP: u8 = tag(2, VARINT);
const V2_REQUEST_SYMBOLS: u8 = tag(4, LEN);
const V2_REQUEST_TIMESERIES: u8 = tag(5, LEN);
const V2_TIMESERIES_LABELS_REFS: u8 = tag(1, LEN);

const VARINT: u8 = 0;
const I64: u8 = 1;
const LEN: u8 = 2;

/// Bytes of a sample's value with its tag.
const VALUE_BYTES: usize = 9;

const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

/// Which message is written: `protobuf_message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `prometheus.WriteRequest`, remote write 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`, remote write 2.0.
    V2,
}

impl Message {
    /// `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Message::V1 => "application/x-protobuf",
            Message::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// `X-Prometheus-Remote-Write-Version`.
    pub fn version(self) -> &'static str {
        match self {
            Message::V1 => "0.1.0",
            Message::V2 => "2.0.0",
        }
    }
}

/// A request being written. Its buffers are used again.
#[derive(Debug)]
pub struct RequestWriter {
    message: Message,
    /// All finished time series.
    body: Vec<u8>,
    /// The time series being written: labels (1.0), then samples.
    series: Vec<u8>,
    /// Its label refs (2.0).
    refs: Vec<u8>,
    symbols: Symbols,
    whole: Vec<u8>,
}

impl RequestWriter {
    /// An empty request.
    pub fn new(message: Message) -> Self {
        Self {
            message,
            body: Vec::new(),
            series: Vec::new(),
            refs: Vec::new(),
            symbols: Symbols::default(),
            whole: Vec::new(),
        }
    }

    /// Starts anew, with this message.
    pub fn start(&mut self, message: Message) {
        self.message = message;
        self.body.clear();
        self.series.clear();
        self.refs.clear();
        self.symbols.clear();
    }

    /// A label of the time series being written; names come in order.
    pub fn label(&mut self, name: &str, value: &str) {
        match self.message {
            Message::V1 => {
                let len = bytes_len(name.len()) + bytes_len(value.len());
                self.series.push(TIMESERIES_LABELS);
                push_varint(&mut self.series, len as u64);
                push_bytes(&mut self.series, LABEL_NAME, name.as_bytes());
                push_bytes(&mut self.series, LABEL_VALUE, value.as_bytes());
            }
            Message::V2 => {
                for text in [name, value] {
                    let symbol = self.symbols.intern(text);
                    push_varint(&mut self.refs, u64::from(symbol));
                }
            }
        }
    }

    /// A sample of the time series being written, after its labels.
    pub fn sample(&mut self, ts_ms: i64, value: f64) {
        if self.message == Message::V2 && !self.refs.is_empty() {
            push_bytes(&mut self.series, V2_TIMESERIES_LABELS_REFS, &self.refs);
            self.refs.clear();
        }
        // A timestamp of zero is the default and left out, as Prometheus' writer does.
        let ts_bytes = if ts_ms == 0 { 0 } else { 1 + varint_len(ts_ms as u64) };
        let value_bytes = if value.to_bits() == 0 { 0 } else { VALUE_BYTES };
        self.series.push(TIMESERIES_SAMPLES);
        push_varint(&mut self.series, (ts_bytes + value_bytes) as u64);
        if value_bytes > 0 {
            self.series.push(SAMPLE_VALUE);
            self.series.extend_from_slice(&value.to_le_bytes());
        }
        if ts_bytes > 0 {
            self.series.push(SAMPLE_TIMESTAMP);
            push_varint(&mut self.series, ts_ms as u64);
        }
    }

    /// The time series is complete.
    pub fn end_series(&mut self) {
        let tag = match self.message {
            Message::V1 => WRITE_REQUEST_TIMESERIES,
            Message::V2 => V2_REQUEST_TIMESERIES,
        };
        push_bytes(&mut self.body, tag, &self.series);
        self.series.clear();
    }

    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// The whole message as it is before compression.
    pub fn bytes(&mut self) -> &[u8] {
        if self.message == Message::V1 {
            return &self.body;
        }
        self.whole.clear();
        self.whole.extend_from_slice(&self.symbols.encoded);
        self.whole.extend_from_slice(&self.body);
        &self.whole
    }
}

/// Compresses `message` as a snappy block into `out`.
///
/// # Errors
/// A message of 4 GiB.
pub fn compress(
    encoder: &mut snap::raw::Encoder,
    message: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), snap::Error> {
    out.resize(snap::raw::max_compress_len(message.len()), 0);
    let len = encoder.compress(message, out)?;
    out.truncate(len);
    Ok(())
}

/// Texts of a 2.0 request, each once; the first is empty.
#[derive(Debug, Default)]
struct Symbols {
    /// As fields of the request.
    encoded: Vec<u8>,
    /// Number and place of each text in `encoded`.
    table: HashTable<Symbol>,
    /// Targets choose the texts.
    hash_state: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Symbol {
    number: u32,
    start: usize,
    end: usize,
}

impl Symbols {
    fn clear(&mut self) {
        self.encoded.clear();
        self.table.clear();
    }

    fn intern(&mut self, text: &str) -> u32 {
        if self.encoded.is_empty() {
            push_bytes(&mut self.encoded, V2_REQUEST_SYMBOLS, b"");
        }
        let Self { encoded, table, hash_state } = self;
        let text_of = |symbol: &Symbol| encoded.get(symbol.start..symbol.end).unwrap_or_default();
        let hash = hash_state.hash_one(text.as_bytes());
        if let Some(symbol) = table.find(hash, |symbol| text_of(symbol) == text.as_bytes()) {
            return symbol.number;
        }
        // The empty text is number 0 and not in the table; no label has it.
        let number = u32::try_from(table.len()).unwrap_or(u32::MAX).saturating_add(1);
        let end = encoded.len() + bytes_len(text.len());
        let symbol = Symbol { number, start: end - text.len(), end };
        table.insert_unique(hash, symbol, |symbol| hash_state.hash_one(text_of(symbol)));
        push_bytes(encoded, V2_REQUEST_SYMBOLS, text.as_bytes());
        number
    }
}

/// Bytes of a field with this much content, tag and length included.
fn bytes_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn varint_len(value: u64) -> usize {
    (u64::BITS - (value | 1).leading_zeros()).div_ceil(7) as usize
}

fn push_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::{Message, RequestWriter, compress, push_varint, varint_len};

    type Series = (Vec<(String, String)>, Vec<(i64, u64)>);

    /// Fields of a message: number, value of a fixed or variable number, content.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let (number, content): (u64, &[u8]) = match tag & 7 {
                0 => (varint(&mut bytes), &[]),
                1 => {
                    let (head, tail) = bytes.split_first_chunk::<8>().unwrap();
                    bytes = tail;
                    (u64::from_le_bytes(*head), &[])
                }
                2 => {
                    let len = varint(&mut bytes) as usize;
                    let (head, tail) = bytes.split_at(len);
                    bytes = tail;
                    (0, head)
                }
                other => panic!("wire type {other}"),
            };
            fields.push((tag >> 3, number, content));
        }
        fields
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    fn sample(bytes: &[u8]) -> (i64, u64) {
        let mut sample = (0, 0);
        for (field, number, _) in fields(bytes) {
            match field {
                1 => sample.1 = number,
                2 => sample.0 = number as i64,
                other => panic!("field {other} of a sample"),
            }
        }
        sample
    }

    fn decode(message: Message, bytes: &[u8]) -> Vec<Series> {
        let mut symbols = Vec::new();
        let mut found = Vec::new();
        for (field, _, content) in fields(bytes) {
            let mut series = Series::default();
            match (message, field) {
                (Message::V2, 4) => {
                    symbols.push(text(content));
                    continue;
                }
                (Message::V1, 1) => {
                    for (field, _, content) in fields(content) {
                        if field == 1 {
                            let pair = fields(content);
                            assert_eq!((pair.len(), pair[0].0, pair[1].0), (2, 1, 2));
                            series.0.push((text(pair[0].2), text(pair[1].2)));
                        } else {
                            series.1.push(sample(content));
                        }
                    }
                }
                (Message::V2, 5) => {
                    for (field, _, content) in fields(content) {
                        if field == 1 {
                            let mut refs = content;
                            while !refs.is_empty() {
                                let mut symbol = || symbols[varint(&mut refs) as usize].clone();
                                series.0.push((symbol(), symbol()));
                            }
                        } else {
                            series.1.push(sample(content));
                        }
                    }
                }
                other => panic!("{other:?}"),
            }
            found.push(series);
        }
        if message == Message::V2 {
            assert_eq!(symbols[0], "");
        }
        found
    }

    fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
        (
            labels.iter().map(|(name, value)| (String::from(*name), String::from(*value))).collect(),
            samples.iter().map(|(ts_ms, value)| (*ts_ms, value.to_bits())).collect(),
        )
    }

    #[test]
    fn what_is_written_is_what_a_decoder_finds() {
        let long = "x".repeat(300);
        let all = [
            series(&[("__name__", "up"), ("job", "a")], &[(1_700_000_000_000, 1.0)]),
            series(&[("__name__", "b"), ("job", "a"), ("long", &long)], &[(0, 0.0), (-5, -0.0)]),
            series(&[("__name__", "é")], &[(1, crate::wal::stale_nan()), (2, f64::INFINITY), (3, 0.1)]),
        ];
        for message in [Message::V1, Message::V2] {
            let mut writer = RequestWriter::new(message);
            // Twice: nothing of the request before is left.
            for _ in 0..2 {
                writer.start(message);
                assert!(writer.is_empty());
                for (labels, samples) in &all {
                    labels.iter().for_each(|(name, value)| writer.label(name, value));
                    samples.iter().for_each(|(ts_ms, bits)| writer.sample(*ts_ms, f64::from_bits(*bits)));
                    writer.end_series();
                }
                assert_eq!(decode(message, writer.bytes()), all, "{message:?}");
            }
            let mut packed = Vec::new();
            compress(&mut snap::raw::Encoder::new(), writer.bytes(), &mut packed).unwrap();
            let unpacked = snap::raw::Decoder::new().decompress_vec(&packed).unwrap();
            assert_eq!(decode(message, &unpacked), all, "{message:?}");
        }
    }

    #[test]
    fn texts_of_a_request_stand_in_it_once() {
        let mut writer = RequestWriter::new(Message::V2);
        for _ in 0..100 {
            writer.label("__name__", "a_long_metric_name");
            writer.sample(1, 2.0);
            writer.end_series();
        }
        let bytes = writer.bytes();
        let n_texts = fields(bytes).iter().filter(|(field, _, _)| *field == 4).count();
        assert_eq!((n_texts, decode(Message::V2, bytes).len()), (3, 100));
    }

    #[test]
    fn lengths_of_numbers_are_right() {
        for shift in 0..64 {
            for value in [(1_u64 << shift) - 1, 1 << shift] {
                let mut bytes = Vec::new();
                push_varint(&mut bytes, value);
                assert_eq!(bytes.len(), varint_len(value), "{value}");
            }
        }
    }
}
