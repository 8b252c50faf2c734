//! Prometheus' record encodings (`tsdb/record/record.go`): what the bytes inside a record mean.
//!
//! Series and samples are written; samples of version 2, as newer servers write them, are read as well. Every other
//! type is recognised and counted by whoever reads. Decoding walks the borrowed bytes and builds no list; it is safe
//! on any input. Knows no page, no file and no compression.

use std::fmt;

/// What a record holds; the first byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are Prometheus' names")]
pub enum RecordType {
    Series,
    Samples,
    Tombstones,
    Exemplars,
    MmapMarkers,
    Metadata,
    HistogramSamples,
    FloatHistogramSamples,
    CustomBucketsHistogramSamples,
    CustomBucketsFloatHistogramSamples,
    SamplesV2,
    HistogramSamplesV2,
    FloatHistogramSamplesV2,
    MinValidTime,
    /// A type that did not exist when this was written, or an empty record.
    Unknown,
}

const SERIES: u8 = 1;
const SAMPLES: u8 = 2;

impl RecordType {
    /// The type of a record.
    pub fn of(record: &[u8]) -> RecordType {
        match record.first() {
            Some(&SERIES) => RecordType::Series,
            Some(&SAMPLES) => RecordType::Samples,
            Some(3) => RecordType::Tombstones,
            Some(4) => RecordType::Exemplars,
            Some(5) => RecordType::MmapMarkers,
            Some(6) => RecordType::Metadata,
            Some(7) => RecordType::HistogramSamples,
            Some(8) => RecordType::FloatHistogramSamples,
            Some(9) => RecordType::CustomBucketsHistogramSamples,
            Some(10) => RecordType::CustomBucketsFloatHistogramSamples,
            Some(11) => RecordType::SamplesV2,
            Some(12) => RecordType::HistogramSamplesV2,
            Some(13) => RecordType::FloatHistogramSamplesV2,
            Some(14) => RecordType::MinValidTime,
            _ => RecordType::Unknown,
        }
    }

    /// Prometheus' name, as in the label `type` of its metrics.
    pub fn name(self) -> &'static str {
        match self {
            RecordType::Series => "series",
            RecordType::Samples => "samples",
            RecordType::Tombstones => "tombstones",
            RecordType::Exemplars => "exemplars",
            RecordType::MmapMarkers => "mmapmarkers",
            RecordType::Metadata => "metadata",
            RecordType::HistogramSamples => "histogram_samples",
            RecordType::FloatHistogramSamples => "float_histogram_samples",
            RecordType::CustomBucketsHistogramSamples => "custom_buckets_histogram_samples",
            RecordType::CustomBucketsFloatHistogramSamples => "custom_buckets_float_histogram_samples",
            RecordType::SamplesV2 => "samples_v2",
            RecordType::HistogramSamplesV2 => "histogram_samples_v2",
            RecordType::FloatHistogramSamplesV2 => "float_histogram_samples_v2",
            RecordType::MinValidTime => "min_valid_time",
            RecordType::Unknown => "unknown",
        }
    }
}

/// A record whose bytes pass the checksum but do not mean what its type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The record ends inside an entry.
    Short,
    /// A variable-length number is longer than 64 bits.
    Overflow,
    /// A label name or value is not UTF-8.
    NotUtf8,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecodeError::Short => "the record ends inside an entry",
            DecodeError::Overflow => "a number in the record is longer than 64 bits",
            DecodeError::NotUtf8 => "a label in the record is not UTF-8",
        })
    }
}

impl std::error::Error for DecodeError {}

/// A decoded record: what we understand, by entry; the rest by type.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// Type 1.
    Series(SeriesEntries<'a>),
    /// Types 2 and 11; start times of type 11 are left out.
    Samples(Samples<'a>),
    /// Any other type.
    Other(RecordType),
}

/// Starts to decode a record; entries are decoded as the iterators are pulled.
pub fn decode(record: &[u8]) -> Record<'_> {
    let body = Bytes(record.get(1..).unwrap_or_default());
    match RecordType::of(record) {
        RecordType::Series => Record::Series(SeriesEntries { body }),
        RecordType::Samples => Record::Samples(Samples { body, version: SamplesVersion::V1, base: None }),
        RecordType::SamplesV2 => Record::Samples(Samples { body, version: SamplesVersion::V2, base: None }),
        other => Record::Other(other),
    }
}

/// One series of a series record.
#[derive(Clone, Copy, Debug)]
pub struct SeriesEntry<'a> {
    /// Any 64-bit number: Prometheus' refs are sparse.
    pub series_ref: u64,
    /// Pairs in the order they were written in (by name, for every writer we know).
    pub labels: LabelPairs<'a>,
}

/// Entries of a series record. After an error it ends.
#[derive(Clone, Debug)]
pub struct SeriesEntries<'a> {
    body: Bytes<'a>,
}

impl<'a> SeriesEntries<'a> {
    fn entry(&mut self) -> Result<SeriesEntry<'a>, DecodeError> {
        let series_ref = self.body.be_u64()?;
        let n_labels = self.body.uvarint()?;
        let start = self.body.0;
        for _ in 0..n_labels {
            self.body.text()?;
            self.body.text()?;
        }
        let used = start.len() - self.body.0.len();
        let labels = LabelPairs { pairs: Bytes(start.get(..used).unwrap_or_default()) };
        Ok(SeriesEntry { series_ref, labels })
    }
}

impl<'a> Iterator for SeriesEntries<'a> {
    type Item = Result<SeriesEntry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.body.0.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.body = Bytes(&[]);
        }
        Some(entry)
    }
}

/// Label pairs of a series entry, checked when the entry was decoded.
#[derive(Clone, Copy, Debug)]
pub struct LabelPairs<'a> {
    pairs: Bytes<'a>,
}

impl<'a> Iterator for LabelPairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.pairs.text().ok()?;
        let value = self.pairs.text().ok()?;
        Some((name, value))
    }
}

/// One float sample.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Ref of a series record that stands before it.
    pub series_ref: u64,
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// The value, payload bits of a NaN included.
    pub value: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SamplesVersion {
    V1,
    V2,
}

/// Samples of a samples record. After an error it ends.
#[derive(Clone, Debug)]
pub struct Samples<'a> {
    body: Bytes<'a>,
    version: SamplesVersion,
    /// V1: the record's base. V2: the newest ref, and the first sample's timestamp.
    base: Option<(u64, i64)>,
}

/// Marker of type 11 that an explicit start time follows; lower values need no further byte.
const EXPLICIT_START_TIME: u8 = 2;

impl Samples<'_> {
    fn sample_v1(&mut self) -> Result<Sample, DecodeError> {
        let (base_ref, base_ts_ms) = match self.base {
            Some(base) => base,
            None => (self.body.be_u64()?, self.body.be_u64()? as i64),
        };
        self.base = Some((base_ref, base_ts_ms));
        Ok(Sample {
            series_ref: base_ref.wrapping_add_signed(self.body.varint()?),
            ts_ms: base_ts_ms.wrapping_add(self.body.varint()?),
            value: f64::from_bits(self.body.be_u64()?),
        })
    }

    fn sample_v2(&mut self) -> Result<Sample, DecodeError> {
        let delta_ref = self.body.varint()?;
        let delta_ts_ms = self.body.varint()?;
        let (series_ref, ts_ms, first_ts_ms) = match self.base {
            None => {
                self.body.varint()?;
                (delta_ref as u64, delta_ts_ms, delta_ts_ms)
            }
            Some((previous_ref, first_ts_ms)) => {
                // Go writes the explicit start time for every marker it does not know, so do we read it.
                if self.body.byte()? >= EXPLICIT_START_TIME {
                    self.body.varint()?;
                }
                (
                    previous_ref.wrapping_add_signed(delta_ref),
                    first_ts_ms.wrapping_add(delta_ts_ms),
                    first_ts_ms,
                )
            }
        };
        self.base = Some((series_ref, first_ts_ms));
        Ok(Sample { series_ref, ts_ms, value: f64::from_bits(self.body.be_u64()?) })
    }
}

impl Iterator for Samples<'_> {
    type Item = Result<Sample, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        // A record of nothing but its base, as an older writer may leave it, holds no sample in Prometheus either.
        if self.body.0.is_empty() {
            return None;
        }
        let sample = match self.version {
            SamplesVersion::V1 => self.sample_v1(),
            SamplesVersion::V2 => self.sample_v2(),
        };
        if sample.is_err() {
            self.body = Bytes(&[]);
        }
        Some(sample)
    }
}

/// Writes a series record entry by entry at the end of a buffer.
#[derive(Debug)]
pub struct SeriesEncoder {}

impl SeriesEncoder {
    /// Starts a record in `out`, which must be empty.
    pub fn start(out: &mut Vec<u8>) -> Self {
        out.push(SERIES);
        Self {}
    }

    /// Adds one series; `labels` are in order of name.
    pub fn push<'a>(
        &mut self,
        out: &mut Vec<u8>,
        series_ref: u64,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        out.extend_from_slice(&series_ref.to_be_bytes());
        // The count stands before the labels and is known after them: one byte for it is nearly always right.
        let count_at = out.len();
        out.push(0);
        let mut n_labels = 0_u64;
        for (name, value) in labels {
            put_text(out, name);
            put_text(out, value);
            n_labels += 1;
        }
        if n_labels < 0x80 {
            out[count_at] = n_labels as u8;
        } else {
            let mut count = Vec::new();
            put_uvarint(&mut count, n_labels);
            out.splice(count_at..=count_at, count);
        }
    }
}

/// Writes a samples record sample by sample at the end of a buffer.
#[derive(Debug)]
pub struct SamplesEncoder {
    base: Option<(u64, i64)>,
}

impl SamplesEncoder {
    /// Starts a record in `out`, which must be empty.
    pub fn start(out: &mut Vec<u8>) -> Self {
        out.push(SAMPLES);
        Self { base: None }
    }

    /// Adds one sample.
    pub fn push(&mut self, out: &mut Vec<u8>, sample: Sample) {
        let (base_ref, base_ts_ms) = match self.base {
            Some(base) => base,
            None => {
                out.extend_from_slice(&sample.series_ref.to_be_bytes());
                out.extend_from_slice(&sample.ts_ms.to_be_bytes());
                (sample.series_ref, sample.ts_ms)
            }
        };
        self.base = Some((base_ref, base_ts_ms));
        put_varint(out, sample.series_ref.wrapping_sub(base_ref) as i64);
        put_varint(out, sample.ts_ms.wrapping_sub(base_ts_ms));
        out.extend_from_slice(&sample.value.to_bits().to_be_bytes());
    }
}

/// Go's `binary.PutUvarint`.
fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Go's `binary.PutVarint`: zigzag, then as unsigned.
fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, ((value << 1) ^ (value >> 63)) as u64);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_uvarint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// The bytes not decoded yet.
#[derive(Clone, Copy, Debug)]
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (byte, rest) = self.0.split_first().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn be_u64(&mut self) -> Result<u64, DecodeError> {
        let (number, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(u64::from_be_bytes(*number))
    }

    fn uvarint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return Err(DecodeError::Overflow);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Overflow)
    }

    fn varint(&mut self) -> Result<i64, DecodeError> {
        let value = self.uvarint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        let len = usize::try_from(self.uvarint()?).map_err(|_| DecodeError::Short)?;
        let (text, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)
    }
}

#[cfg(test)]
mod tests {
    use super::{DecodeError, Record, RecordType, Sample, SamplesEncoder, SeriesEncoder, decode};
    use crate::wal::{STALE_NAN_BITS, stale_nan};
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    type OwnedSeries = (u64, Vec<(String, String)>);

    fn series(record: &[u8]) -> Result<Vec<OwnedSeries>, DecodeError> {
        let Record::Series(entries) = decode(record) else { panic!("not a series record") };
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        entries.map(|it| it.map(|entry| (entry.series_ref, entry.labels.map(owned).collect()))).collect()
    }

    fn samples(record: &[u8]) -> Result<Vec<(u64, i64, u64)>, DecodeError> {
        let Record::Samples(samples) = decode(record) else { panic!("not a samples record") };
        samples.map(|it| it.map(|sample| (sample.series_ref, sample.ts_ms, sample.value.to_bits()))).collect()
    }

    proptest! {
        #[test]
        fn series_come_back(expected in vec((any::<u64>(), vec((".{0,40}", ".{0,200}"), 0..200)), 0..8)) {
            let mut record = Vec::new();
            let mut encoder = SeriesEncoder::start(&mut record);
            for (series_ref, labels) in &expected {
                let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                encoder.push(&mut record, *series_ref, labels);
            }
            assert_eq!(series(&record).unwrap(), expected);
        }

        #[test]
        fn samples_come_back(expected in vec((any::<u64>(), any::<i64>(), any::<u64>()), 0..50)) {
            let mut record = Vec::new();
            let mut encoder = SamplesEncoder::start(&mut record);
            for (series_ref, ts_ms, bits) in &expected {
                let sample = Sample { series_ref: *series_ref, ts_ms: *ts_ms, value: f64::from_bits(*bits) };
                encoder.push(&mut record, sample);
            }
            assert_eq!(samples(&record).unwrap(), expected);
        }

        #[test]
        fn any_bytes_decode_to_something(record_type in 0..16_u8, body in vec(any::<u8>(), 0..300)) {
            let record = [&[record_type], body.as_slice()].concat();
            match decode(&record) {
                Record::Series(entries) => {
                    assert!(entries.flatten().all(|entry| entry.labels.count() < body.len()));
                }
                Record::Samples(entries) => entries.for_each(drop),
                Record::Other(other) => assert!(!other.name().is_empty()),
            }
        }
    }

    #[test]
    fn bytes_are_those_of_prometheus() {
        let mut record = Vec::new();
        SeriesEncoder::start(&mut record).push(&mut record, 5, [("a", "b")].into_iter());
        assert_eq!(record, b"\x01\0\0\0\0\0\0\0\x05\x01\x01a\x01b");

        let mut record = Vec::new();
        let mut encoder = SamplesEncoder::start(&mut record);
        encoder.push(&mut record, Sample { series_ref: 5, ts_ms: 1000, value: 1.0 });
        encoder.push(&mut record, Sample { series_ref: 4, ts_ms: 1064, value: stale_nan() });
        let expected = b"\x02\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\x03\xe8\
            \0\0\x3f\xf0\0\0\0\0\0\0\
            \x01\x80\x01\x7f\xf0\0\0\0\0\0\x02";
        assert_eq!(record, expected);
        assert_eq!(samples(&record).unwrap()[1], (4, 1064, STALE_NAN_BITS));
    }

    #[test]
    fn samples_of_version_2_are_read() {
        // Ref 5, t 1000, start time 7; then ref 6 without, ref 7 with the same, ref 8 with an explicit start time.
        let record = b"\x0b\x0a\xd0\x0f\x0e\x3f\xf0\0\0\0\0\0\0\
            \x02\x02\0\x40\0\0\0\0\0\0\0\
            \x02\x04\x01\x40\0\0\0\0\0\0\0\
            \x02\x06\x02\x08\x40\0\0\0\0\0\0\0";
        let read: Vec<(u64, i64)> = samples(record).unwrap().iter().map(|it| (it.0, it.1)).collect();
        assert_eq!(read, [(5, 1000), (6, 1001), (7, 1002), (8, 1003)]);
    }

    #[test]
    fn a_record_that_is_cut_is_an_error_and_the_end() {
        let mut record = Vec::new();
        let mut encoder = SeriesEncoder::start(&mut record);
        encoder.push(&mut record, 1, [("name", "value")].into_iter());
        let whole = record.len();
        encoder.push(&mut record, 2, [("name", "value")].into_iter());
        for len in whole + 1..record.len() {
            let Record::Series(mut entries) = decode(&record[..len]) else { panic!() };
            assert_eq!(entries.next().unwrap().unwrap().series_ref, 1);
            assert_eq!(entries.next().unwrap().unwrap_err(), DecodeError::Short);
            assert!(entries.next().is_none());
        }
        let not_utf8 = b"\x01\0\0\0\0\0\0\0\x05\x01\x01\xff\x01b";
        assert_eq!(series(not_utf8), Err(DecodeError::NotUtf8));
        let long_number = b"\x01\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02";
        assert_eq!(series(long_number), Err(DecodeError::Overflow));
        let many_labels = b"\x01\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(series(many_labels), Err(DecodeError::Short));
    }

    #[test]
    fn every_type_has_prometheus_name() {
        for (number, name) in [
            (1, "series"),
            (5, "mmapmarkers"),
            (9, "custom_buckets_histogram_samples"),
            (14, "min_valid_time"),
            (0, "unknown"),
            (15, "unknown"),
        ] {
            assert_eq!(RecordType::of(&[number]).name(), name);
        }
        assert_eq!(RecordType::of(&[]), RecordType::Unknown);
        assert_eq!(samples(&[2]), Ok(vec![]));
        assert_eq!(samples(&[11]), Ok(vec![]));
    }
}
