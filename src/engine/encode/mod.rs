//! Requests in Prometheus' remote-write protobuf, 1.0 and 2.0, written by hand, and compressed as snappy blocks.
//!
//! Runs on the shards, some of it under the head lock: labels are copied from the table straight into the message. All
//! that a series has in a request shares one time series, or several where floats and histograms take turns: no time
//! series holds both. After `prompb/remote.proto`, `prompb/types.proto` and `prompb/io/prometheus/write/v2/types.proto`.

pub(crate) mod histogram;
pub mod known;
pub mod packer;
pub mod series_labels;
pub(crate) mod types;

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use crate::encode::known::{KnownLabels, LabelKey};
use crate::histogram::Histogram;
use crate::protobuf::write::{bytes_len, push_bytes, push_double, push_number, push_varint, tag};
use crate::protobuf::{BYTES, FIXED64, VARINT};

/// Field numbers with their wire types.
const WRITE_REQUEST_TIMESERIES: u8 = tag(1, BYTES);
const WRITE_REQUEST_METADATA: u8 = tag(3, BYTES);
const TIMESERIES_LABELS: u8 = tag(1, BYTES);
const TIMESERIES_SAMPLES: u8 = tag(2, BYTES);
const TIMESERIES_EXEMPLARS: u8 = tag(3, BYTES);
const TIMESERIES_HISTOGRAMS: u8 = tag(4, BYTES);
const EXEMPLAR_LABELS: u8 = tag(1, BYTES);
const EXEMPLAR_VALUE: u8 = tag(2, FIXED64);
const EXEMPLAR_TIMESTAMP: u8 = tag(3, VARINT);
const METADATA_TYPE: u8 = tag(1, VARINT);
const METADATA_FAMILY: u8 = tag(2, BYTES);
const METADATA_HELP: u8 = tag(4, BYTES);
const METADATA_UNIT: u8 = tag(5, BYTES);
const V2_REQUEST_SYMBOLS: u8 = tag(4, BYTES);
const V2_REQUEST_TIMESERIES: u8 = tag(5, BYTES);
const V2_TIMESERIES_LABELS_REFS: u8 = tag(1, BYTES);
const V2_TIMESERIES_HISTOGRAMS: u8 = tag(3, BYTES);
const V2_TIMESERIES_EXEMPLARS: u8 = tag(4, BYTES);
const V2_TIMESERIES_METADATA: u8 = tag(5, BYTES);
const V2_METADATA_HELP_REF: u8 = tag(3, VARINT);
const V2_METADATA_UNIT_REF: u8 = tag(4, VARINT);

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

/// Metadata of a family, borrowed; `kind` is [`MetricType::number`](crate::metric_type::MetricType::number) in both messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the messages")]
pub struct FamilyMetadata<'a> {
    pub kind: u8,
    pub help: &'a str,
    pub unit: &'a str,
}

/// A request being written. Its buffers are used again.
#[derive(Debug)]
pub struct RequestWriter {
    message: Message,
    /// All finished time series.
    body: Vec<u8>,
    /// Of the series being written: label fields (1.0) or label refs (2.0), and metadata (2.0).
    labels: Vec<u8>,
    metadata: Vec<u8>,
    /// Of the time series being written, as fields.
    samples: Vec<u8>,
    histograms: Vec<u8>,
    exemplars: Vec<u8>,
    /// One histogram or exemplar, and a packed field of it.
    item: Vec<u8>,
    packed: Vec<u8>,
    symbols: Symbols,
    known: KnownLabels,
    whole: Vec<u8>,
    /// Series with metadata.
    n_metadata: u64,
}

impl RequestWriter {
    /// An empty request.
    pub fn new(message: Message) -> Self {
        Self {
            message,
            body: Vec::new(),
            labels: Vec::new(),
            metadata: Vec::new(),
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            item: Vec::new(),
            packed: Vec::new(),
            symbols: Symbols::default(),
            known: KnownLabels::default(),
            whole: Vec::new(),
            n_metadata: 0,
        }
    }

    /// Starts again, with this message.
    pub fn start(&mut self, message: Message) {
        self.message = message;
        self.n_metadata = 0;
        self.body.clear();
        self.symbols.clear();
        self.known.clear();
        self.clear_series();
    }

    fn clear_series(&mut self) {
        self.labels.clear();
        self.metadata.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }

    /// A label of the series being written; names come in order.
    pub fn label(&mut self, name: &str, value: &str) {
        push_label(self.message, &mut self.symbols, &mut self.labels, name, value);
    }

    /// A label as [`RequestWriter::label`] takes it, by its numbers in this edition of the series table; its texts are
    /// asked for only if the request does not have it yet.
    #[inline(always)]
    pub fn numbered_label<'a>(
        &mut self,
        edition: u32,
        key: LabelKey,
        texts: impl FnOnce() -> (&'a str, &'a str),
    ) {
        self.known.set_edition(edition);
        match self.known.get(key) {
            Some(label) => self.labels.extend_from_slice(label),
            None => self.new_label(key, texts),
        }
    }

    #[inline(never)]
    fn new_label<'a>(&mut self, key: LabelKey, texts: impl FnOnce() -> (&'a str, &'a str)) {
        let Self { message, symbols, known, labels, .. } = self;
        let start = labels.len();
        let (name, value) = texts();
        #[cfg(any(test, feature = "faults"))]
        crate::threads::fault::strike_at("request", value.as_bytes());
        push_label(*message, symbols, labels, name, value);
        known.insert(key, labels.get(start..).unwrap_or_default());
    }

    /// Metadata of the series being written; 1.0 has no place for it there.
    pub fn metadata(&mut self, metadata: FamilyMetadata<'_>) {
        self.metadata.clear();
        if self.message == Message::V1 {
            return;
        }
        self.n_metadata += 1;
        push_number(&mut self.metadata, METADATA_TYPE, u64::from(metadata.kind));
        for (tag, text) in [(V2_METADATA_HELP_REF, metadata.help), (V2_METADATA_UNIT_REF, metadata.unit)] {
            // The empty text has number 0, which is left out.
            if !text.is_empty() {
                push_number(&mut self.metadata, tag, u64::from(self.symbols.intern(text)));
            }
        }
    }

    /// A sample of the series being written.
    pub fn sample(&mut self, ts_ms: i64, value: f64) {
        if !self.histograms.is_empty() {
            self.end_time_series();
        }
        types::push_sample(&mut self.samples, TIMESERIES_SAMPLES, ts_ms, value);
    }

    /// A histogram of the series being written. 1.0 knows no custom buckets: receivers would take them for others.
    pub fn histogram(&mut self, ts_ms: i64, histogram: &Histogram) {
        if !self.samples.is_empty() {
            self.end_time_series();
        }
        self.item.clear();
        histogram::write(&mut self.item, &mut self.packed, ts_ms, histogram);
        let tag = match self.message {
            Message::V1 => TIMESERIES_HISTOGRAMS,
            Message::V2 => V2_TIMESERIES_HISTOGRAMS,
        };
        push_bytes(&mut self.histograms, tag, &self.item);
    }

    /// An exemplar of the series being written; `labels` come in order of name.
    pub fn exemplar<'a>(&mut self, ts_ms: i64, value: f64, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        let Self { message, item, packed, symbols, exemplars, .. } = self;
        item.clear();
        let tag = match message {
            Message::V1 => {
                labels.for_each(|(name, value)| push_label(Message::V1, symbols, item, name, value));
                TIMESERIES_EXEMPLARS
            }
            Message::V2 => {
                packed.clear();
                labels.for_each(|(name, value)| push_label(Message::V2, symbols, packed, name, value));
                if !packed.is_empty() {
                    push_bytes(item, EXEMPLAR_LABELS, packed);
                }
                V2_TIMESERIES_EXEMPLARS
            }
        };
        push_double(item, EXEMPLAR_VALUE, value);
        push_number(item, EXEMPLAR_TIMESTAMP, ts_ms as u64);
        push_bytes(exemplars, tag, item);
    }

    /// The series is complete.
    pub fn end_series(&mut self) {
        self.end_time_series();
        self.clear_series();
    }

    /// The time series is complete; what follows of the series makes another one.
    fn end_time_series(&mut self) {
        let Self { body, labels, metadata, samples, histograms, exemplars, .. } = self;
        let values_len = samples.len() + histograms.len() + exemplars.len();
        if values_len == 0 {
            return;
        }
        match self.message {
            Message::V1 => {
                let mut push = |parts: &[&[u8]]| {
                    body.push(WRITE_REQUEST_TIMESERIES);
                    push_varint(body, parts.iter().map(|part| part.len() as u64).sum());
                    parts.iter().for_each(|part| body.extend_from_slice(part));
                };
                if histograms.is_empty() {
                    push(&[labels, samples, exemplars]);
                } else {
                    push(&[labels, histograms]);
                    // Receivers take exemplars first, and refuse those of a series that they do not know yet.
                    if !exemplars.is_empty() {
                        push(&[labels, exemplars]);
                    }
                }
            }
            Message::V2 => {
                let field_len = |field: &[u8]| if field.is_empty() { 0 } else { bytes_len(field.len()) };
                body.push(V2_REQUEST_TIMESERIES);
                push_varint(body, (field_len(labels) + values_len + field_len(metadata)) as u64);
                push_bytes(body, V2_TIMESERIES_LABELS_REFS, labels);
                [samples, histograms, exemplars].iter().for_each(|part| body.extend_from_slice(part));
                if !metadata.is_empty() {
                    push_bytes(body, V2_TIMESERIES_METADATA, metadata);
                }
            }
        }
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }

    /// Metadata of a family, which stands in a 1.0 request by itself.
    pub fn family(&mut self, name: &str, metadata: FamilyMetadata<'_>) {
        let item = &mut self.item;
        item.clear();
        push_number(item, METADATA_TYPE, u64::from(metadata.kind));
        for (tag, text) in
            [(METADATA_FAMILY, name), (METADATA_HELP, metadata.help), (METADATA_UNIT, metadata.unit)]
        {
            if !text.is_empty() {
                push_bytes(item, tag, text.as_bytes());
            }
        }
        push_bytes(&mut self.body, WRITE_REQUEST_METADATA, item);
    }

    /// Series whose metadata stands beside them.
    pub fn n_metadata(&self) -> u64 {
        self.n_metadata
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

/// A label field (1.0), or two refs to symbols (2.0).
fn push_label(message: Message, symbols: &mut Symbols, out: &mut Vec<u8>, name: &str, value: &str) {
    match message {
        Message::V1 => {
            const { assert!(TIMESERIES_LABELS == EXEMPLAR_LABELS) };
            types::push_label(out, TIMESERIES_LABELS, name, value);
        }
        Message::V2 => {
            for text in [name, value] {
                push_varint(out, u64::from(symbols.intern(text)));
            }
        }
    }
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
        if text.is_empty() {
            return 0;
        }
        let Self { encoded, table, hash_state } = self;
        let text_of = |symbol: &Symbol| encoded.get(symbol.start..symbol.end).unwrap_or_default();
        let hash = hash_state.hash_one(text.as_bytes());
        if let Some(symbol) = table.find(hash, |symbol| text_of(symbol) == text.as_bytes()) {
            return symbol.number;
        }
        // The empty text is number 0 and not in the table.
        let number = u32::try_from(table.len()).unwrap_or(u32::MAX).saturating_add(1);
        let end = encoded.len() + bytes_len(text.len());
        let symbol = Symbol { number, start: end - text.len(), end };
        table.insert_unique(hash, symbol, |symbol| hash_state.hash_one(text_of(symbol)));
        push_bytes(encoded, V2_REQUEST_SYMBOLS, text.as_bytes());
        number
    }
}
