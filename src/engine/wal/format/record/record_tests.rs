//! Records come back as they were written, bytes are those of Prometheus, and any bytes decode to something.

use super::exemplars::{ExemplarEntry, ExemplarsEncoder};
use super::histograms::{HistogramKind, HistogramsEncoder, put_histogram};
use super::labels::{LabelPairs, put_labels};
use super::metadata::{MetadataEncoder, MetadataEntry};
use super::record_type::{DecodeError, RecordType};
use super::samples::{Sample, SamplesEncoder};
use super::series::SeriesEncoder;
use super::{Record, decode};
use crate::float::{STALE_NAN_BITS, stale_nan};
use crate::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Counts, Histogram, Span};
use crate::metric_type::MetricType;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

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

fn n_buckets(histogram: &Histogram) -> (usize, usize) {
    match &histogram.counts {
        Counts::Integer { positive_deltas, negative_deltas, .. } => {
            (positive_deltas.len(), negative_deltas.len())
        }
        Counts::Float { positive, negative, .. } => (positive.len(), negative.len()),
    }
}

fn float() -> impl Strategy<Value = f64> {
    any::<u64>().prop_map(f64::from_bits)
}

fn counts() -> impl Strategy<Value = Counts> {
    prop_oneof![
        (any::<u64>(), any::<u64>(), vec(any::<i64>(), 0..20), vec(any::<i64>(), 0..20)).prop_map(
            |(count, zero_count, positive_deltas, negative_deltas)| Counts::Integer {
                count,
                zero_count,
                positive_deltas,
                negative_deltas
            }
        ),
        (float(), float(), vec(float(), 0..20), vec(float(), 0..20)).prop_map(
            |(count, zero_count, positive, negative)| Counts::Float { count, zero_count, positive, negative }
        ),
    ]
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let hint = prop_oneof![
        Just(CounterResetHint::Unknown),
        Just(CounterResetHint::CounterReset),
        Just(CounterResetHint::NotCounterReset),
        Just(CounterResetHint::Gauge),
    ];
    let spans = || {
        vec((any::<i32>(), any::<u32>()), 0..6)
            .prop_map(|spans| spans.into_iter().map(|(offset, length)| Span { offset, length }).collect())
    };
    let schema = prop_oneof![-4..=8, Just(CUSTOM_BUCKETS_SCHEMA)];
    let bounds = vec(float(), 0..10);
    (hint, schema, float(), float(), counts(), spans(), spans(), bounds).prop_map(
        |(hint, schema, zero_threshold, sum, counts, positive_spans, negative_spans, bounds)| Histogram {
            counter_reset_hint: hint,
            schema,
            zero_threshold,
            sum,
            counts,
            positive_spans,
            negative_spans,
            custom_values: if schema == CUSTOM_BUCKETS_SCHEMA { bounds } else { Vec::new() },
        },
    )
}

fn metric_type() -> impl Strategy<Value = MetricType> {
    prop_oneof![
        Just(MetricType::Counter),
        Just(MetricType::Gauge),
        Just(MetricType::Histogram),
        Just(MetricType::GaugeHistogram),
        Just(MetricType::Summary),
        Just(MetricType::Info),
        Just(MetricType::StateSet),
        Just(MetricType::Unknown),
    ]
}

proptest! {
    #![proptest_config(crate::cases::cases(256))]

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
    fn histograms_come_back(expected in vec((any::<u64>(), any::<i64>(), histogram()), 1..12)) {
        for kind in HistogramKind::ALL {
            let of_kind = || expected.iter().filter(|(_, _, it)| HistogramKind::of(it) == kind);
            let mut record = Vec::new();
            let mut encoder = HistogramsEncoder::start(&mut record, kind);
            for (series_ref, ts_ms, histogram) in of_kind() {
                let mut encoded = Vec::new();
                put_histogram(&mut encoded, histogram);
                encoder.push(&mut record, *series_ref, *ts_ms, &encoded);
            }
            let Record::Histograms(entries) = decode(&record) else { panic!("not a histogram record") };
            // One histogram for all: nothing of the one before may be left.
            let mut histogram = Histogram::default();
            let mut n_read = 0;
            for (entry, (series_ref, ts_ms, expected)) in entries.zip(of_kind()) {
                let entry = entry.unwrap();
                entry.histogram.decode_into(&mut histogram);
                assert_eq!((entry.series_ref, entry.ts_ms, entry.histogram.kind()), (*series_ref, *ts_ms, kind));
                // Every bit counts, also of a NaN.
                assert_eq!(format!("{histogram:?}"), format!("{expected:?}"));
                assert_eq!(histogram.sum.to_bits(), expected.sum.to_bits());
                n_read += 1;
            }
            assert_eq!(n_read, of_kind().count());
        }
    }

    #[test]
    fn a_histogram_record_that_is_cut_is_an_error_and_the_end(histogram in histogram()) {
        let mut encoded = Vec::new();
        put_histogram(&mut encoded, &histogram);
        let mut record = Vec::new();
        let mut encoder = HistogramsEncoder::start(&mut record, HistogramKind::of(&histogram));
        encoder.push(&mut record, 1, 1, &encoded);
        let whole = record.len();
        encoder.push(&mut record, 2, 2, &encoded);
        for len in whole + 1..record.len() {
            let Record::Histograms(mut entries) = decode(&record[..len]) else { panic!() };
            assert_eq!(entries.next().unwrap().unwrap().series_ref, 1);
            assert_eq!(entries.next().unwrap().unwrap_err(), DecodeError::Short);
            assert!(entries.next().is_none());
        }
    }

    #[test]
    fn exemplars_come_back(
        expected in vec((any::<u64>(), any::<i64>(), any::<u64>(), vec((".{0,9}", ".{0,9}"), 0..200)), 0..8),
    ) {
        let mut record = Vec::new();
        let mut encoder = ExemplarsEncoder::start(&mut record);
        for (series_ref, ts_ms, bits, labels) in &expected {
            let mut encoded = Vec::new();
            put_labels(&mut encoded, labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            let labels = LabelPairs::from_encoded(&encoded);
            let value = f64::from_bits(*bits);
            encoder.push(&mut record, &ExemplarEntry { series_ref: *series_ref, ts_ms: *ts_ms, value, labels });
        }
        let Record::Exemplars(entries) = decode(&record) else { panic!("not an exemplar record") };
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let read: Vec<_> = entries
            .map(Result::unwrap)
            .map(|it| (it.series_ref, it.ts_ms, it.value.to_bits(), it.labels.map(owned).collect::<Vec<_>>()))
            .collect();
        assert_eq!(read, expected);
    }

    #[test]
    fn metadata_comes_back(expected in vec((any::<u64>(), metric_type(), ".{0,20}", ".{0,200}"), 0..8)) {
        let mut record = Vec::new();
        let mut encoder = MetadataEncoder::start(&mut record);
        let expected: Vec<MetadataEntry<'_>> = expected
            .iter()
            .map(|(series_ref, metric_type, unit, help)| MetadataEntry {
                series_ref: *series_ref,
                metric_type: *metric_type,
                unit,
                help,
            })
            .collect();
        expected.iter().for_each(|entry| encoder.push(&mut record, entry));
        let Record::Metadata(entries) = decode(&record) else { panic!("not a metadata record") };
        assert_eq!(entries.map(Result::unwrap).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn any_bytes_decode_to_something(record_type in 0..16_u8, body in vec(any::<u8>(), 0..300)) {
        let record = [&[record_type], body.as_slice()].concat();
        match decode(&record) {
            Record::Series(entries) => {
                assert!(entries.flatten().all(|entry| entry.labels.count() < body.len()));
            }
            Record::Samples(entries) => entries.for_each(drop),
            Record::Histograms(entries) => {
                let mut histogram = Histogram::default();
                for entry in entries.flatten() {
                    entry.histogram.decode_into(&mut histogram);
                    let (positive, negative) = n_buckets(&histogram);
                    let n_spans = histogram.positive_spans.len() + histogram.negative_spans.len();
                    assert!(positive + negative + n_spans + histogram.custom_values.len() < body.len());
                }
            }
            Record::Exemplars(entries) => {
                assert!(entries.flatten().all(|entry| entry.labels.count() < body.len()));
            }
            Record::Metadata(entries) => entries.for_each(drop),
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
