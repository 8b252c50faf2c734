//! Requests in Prometheus' remote-write protobuf, 1.0 and 2.0, written by hand, and compressed as snappy blocks while they
//! are written.
//!
//! Runs on the shards, some of it under the head lock: labels go from the table straight into the message. All that a series has in a request shares one time series, or several where floats and histograms take turns: no time
//! series holds both. After `prompb/remote.proto`, `prompb/types.proto` and `prompb/io/prometheus/write/v2/types.proto`.

pub(crate) mod histogram;
pub mod known;
pub mod series_labels;
mod snappy;
mod symbols;
pub(crate) mod types;

use std::fmt;
use std::hash::BuildHasher;

use foldhash::quality::RandomState;

use crate::encode::known::{KnownLabels, LabelKey, Place};
use crate::encode::snappy::SnappyWriter;
use crate::encode::symbols::Symbols;
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

/// A request being written. Its memory is used again.
#[derive(Debug)]
pub struct RequestWriter {
    message: Message,
    /// All finished time series.
    body: SnappyWriter,
    /// Labels of the series being written, and those of the one before.
    labels: Vec<WrittenLabel>,
    labels_before: Vec<WrittenLabel>,
    /// Those that the request does not have yet: label fields (1.0) or label refs (2.0).
    new_labels: Vec<u8>,
    /// Of the series being written (2.0).
    metadata: Vec<u8>,
    /// Of the time series being written, as fields.
    samples: Vec<u8>,
    histograms: Vec<u8>,
    exemplars: Vec<u8>,
    /// One histogram or exemplar or head of a time series, and a packed field of it.
    item: Vec<u8>,
    packed: Vec<u8>,
    symbols: Symbols,
    numbered: KnownLabels,
    by_text: KnownLabels,
    hash_state: RandomState,
    block: Vec<u8>,
    /// Series with metadata.
    n_metadata: u64,
}

/// A label of a series.
#[derive(Clone, Copy, Debug)]
struct WrittenLabel {
    key: LabelKey,
    kind: KeyKind,
    /// In the request, or among the new labels.
    place: Place,
    is_new: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    Numbered,
    Text,
}

/// A request is longer than a snappy block can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Bytes of its message.
    pub bytes: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a request of {} bytes cannot be compressed: snappy takes {}; lower max_samples_per_send",
            self.bytes,
            u32::MAX
        )
    }
}

impl RequestWriter {
    /// An empty request.
    pub fn new(message: Message) -> Self {
        Self {
            message,
            body: SnappyWriter::default(),
            labels: Vec::new(),
            labels_before: Vec::new(),
            new_labels: Vec::new(),
            metadata: Vec::new(),
            samples: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            item: Vec::new(),
            packed: Vec::new(),
            symbols: Symbols::default(),
            numbered: KnownLabels::default(),
            by_text: KnownLabels::default(),
            hash_state: RandomState::default(),
            block: Vec::new(),
            n_metadata: 0,
        }
    }

    /// Starts again, with this message.
    pub fn start(&mut self, message: Message) {
        self.message = message;
        self.n_metadata = 0;
        self.body.clear();
        self.symbols.clear();
        self.numbered.clear();
        self.by_text.clear();
        self.clear_series();
        self.labels_before.clear();
    }

    fn clear_series(&mut self) {
        self.labels.clear();
        self.new_labels.clear();
        self.metadata.clear();
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }

    /// A label of the series being written; names come in order.
    pub fn label(&mut self, name: &str, value: &str) {
        let key = LabelKey::hashed(self.hash_state.hash_one((name, value)));
        self.new_label(key, KeyKind::Text, name, value);
        // Others may have the same hash.
        let label = self.labels.last().and_then(|label| self.new_labels.get(label.place.range()));
        let Some(known) = self.by_text.get(key) else { return };
        if self.body.raw().get(known.range()) == label
            && let Some(label) = self.labels.last_mut()
        {
            (label.place, label.is_new) = (known, false);
        }
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
        if self.numbered.set_edition(edition) {
            self.labels_before.clear();
        }
        // Most have the place in their series that they had in the one before.
        let is_it = |label: &&WrittenLabel| label.key == key && label.kind == KeyKind::Numbered;
        let before = self.labels_before.get(self.labels.len()).filter(is_it).map(|label| label.place);
        match before.or_else(|| self.numbered.get(key)) {
            Some(place) => {
                self.labels.push(WrittenLabel { key, kind: KeyKind::Numbered, place, is_new: false });
            }
            None => {
                let (name, value) = texts();
                self.new_label(key, KeyKind::Numbered, name, value);
            }
        }
    }

    #[inline(never)]
    fn new_label(&mut self, key: LabelKey, kind: KeyKind, name: &str, value: &str) {
        #[cfg(any(test, feature = "faults"))]
        crate::threads::fault::strike_at("request", value.as_bytes());
        let start = self.new_labels.len();
        push_label(self.message, &mut self.symbols, &mut self.new_labels, name, value);
        // Behind 4 GiB no request is made.
        let place = Place::new(start, self.new_labels.len() - start).unwrap_or_default();
        self.labels.push(WrittenLabel { key, kind, place, is_new: true });
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
        let values_len = self.samples.len() + self.histograms.len() + self.exemplars.len();
        if values_len == 0 {
            return;
        }
        match self.message {
            // Receivers take exemplars first, and refuse those of a series that they do not know yet.
            Message::V1 if !self.histograms.is_empty() && !self.exemplars.is_empty() => {
                let exemplars = std::mem::take(&mut self.exemplars);
                self.write_time_series(values_len - exemplars.len());
                self.histograms.clear();
                let n_bytes = exemplars.len();
                self.exemplars = exemplars;
                self.write_time_series(n_bytes);
            }
            Message::V1 | Message::V2 => self.write_time_series(values_len),
        }
        self.samples.clear();
        self.histograms.clear();
        self.exemplars.clear();
    }

    fn write_time_series(&mut self, values_len: usize) {
        let labels_len: usize = self.labels.iter().map(|label| label.place.len as usize).sum();
        let item = &mut self.item;
        item.clear();
        match self.message {
            Message::V1 => {
                item.push(WRITE_REQUEST_TIMESERIES);
                push_varint(item, (labels_len + values_len) as u64);
            }
            Message::V2 => {
                let field_len = |len: usize| if len == 0 { 0 } else { bytes_len(len) };
                let metadata_len = field_len(self.metadata.len());
                item.push(V2_REQUEST_TIMESERIES);
                push_varint(item, (bytes_len(labels_len) + values_len + metadata_len) as u64);
                item.push(V2_TIMESERIES_LABELS_REFS);
                push_varint(item, labels_len as u64);
            }
        }
        self.body.push(item);
        self.write_labels();
        [&self.samples, &self.histograms, &self.exemplars].into_iter().for_each(|part| self.body.push(part));
        if !self.metadata.is_empty() {
            item_head(&mut self.item, V2_TIMESERIES_METADATA, self.metadata.len());
            self.body.push(&self.item);
            self.body.push(&self.metadata);
        }
    }

    fn write_labels(&mut self) {
        let Self { body, labels, labels_before, new_labels, numbered, by_text, .. } = self;
        for label in labels.iter_mut() {
            let start = body.raw().len();
            if label.is_new {
                body.push(new_labels.get(label.place.range()).unwrap_or_default());
            } else {
                body.repeat(label.place.range());
            }
            let Some(place) = Place::new(start, label.place.len as usize) else { continue };
            (label.place, label.is_new) = (place, false);
            match label.kind {
                KeyKind::Numbered => numbered.set(label.key, place),
                KeyKind::Text => by_text.set(label.key, place),
            }
        }
        labels_before.clone_from(labels);
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
        let len = item.len();
        item_head(&mut self.packed, WRITE_REQUEST_METADATA, len);
        self.body.push(&self.packed);
        self.body.push(&self.item);
    }

    /// Series whose metadata stands beside them.
    pub fn n_metadata(&self) -> u64 {
        self.n_metadata
    }

    /// Nothing to send.
    pub fn is_empty(&self) -> bool {
        self.body.raw().is_empty()
    }

    /// Makes the compressed request.
    ///
    /// # Errors
    /// It is too long for that; then there is none.
    pub fn pack(&mut self) -> Result<&[u8], TooLong> {
        let Self { body, symbols, block, .. } = self;
        block.clear();
        // Of 1.0 there are none.
        let bytes = symbols.fields.raw().len() + body.raw().len();
        snappy::push_head(block, u32::try_from(bytes).map_err(|_| TooLong { bytes })?);
        block.extend_from_slice(symbols.fields.elements());
        block.extend_from_slice(body.elements());
        Ok(block)
    }

    /// The request that was made last.
    pub fn block(&self) -> &[u8] {
        &self.block
    }
}

/// Tag and length of a field of so many bytes.
fn item_head(out: &mut Vec<u8>, tag: u8, len: usize) {
    out.clear();
    out.push(tag);
    push_varint(out, len as u64);
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
