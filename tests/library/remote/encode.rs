//! What the writer of remote write requests writes is what the tests' own decoder reads: series, histograms of both
//! flavours, exemplars and metadata, in 1.0 and 2.0.

use support::cases;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use scraped_engine::encode::packer::Packer;
use scraped_engine::encode::{FamilyMetadata, Message, RequestWriter};
use scraped_engine::histogram::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, Counts, Histogram, Span};
use support::remote::message::{self as decoded, Protocol};

const BOTH: [(Message, Protocol); 2] = [(Message::V1, Protocol::V1), (Message::V2, Protocol::V2)];

type Labels = Vec<(String, String)>;

/// What a series has in a request, in its order.
#[derive(Clone, Debug)]
enum Item {
    Float(i64, f64),
    Histogram(i64, Box<Histogram>),
    Exemplar(i64, f64, Labels),
}

fn write(writer: &mut RequestWriter, labels: &[(String, String)], items: &[Item]) {
    labels.iter().for_each(|(name, value)| writer.label(name, value));
    for item in items {
        match item {
            Item::Float(ts_ms, value) => writer.sample(*ts_ms, *value),
            Item::Histogram(ts_ms, histogram) => writer.histogram(*ts_ms, histogram),
            Item::Exemplar(ts_ms, value, labels) => {
                let labels = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                writer.exemplar(*ts_ms, *value, labels);
            }
        }
    }
    writer.end_series();
}

/// The message as the decoder should see it: one time series, or more where floats and histograms take turns, and in 1.0
/// exemplars behind the histograms they belong to.
fn expected(message: Message, labels: &[(String, String)], items: &[Item]) -> Vec<decoded::Series> {
    let mut found: Vec<decoded::Series> = Vec::new();
    for item in items {
        let fits = |last: &decoded::Series| match item {
            Item::Float(..) => last.histograms.is_empty(),
            Item::Histogram(..) => last.samples.is_empty(),
            Item::Exemplar(..) => true,
        };
        if !found.last().is_some_and(fits) {
            found.push(decoded::Series { labels: labels.to_vec(), ..decoded::Series::default() });
        }
        let last = found.last_mut().unwrap();
        match item {
            Item::Float(ts_ms, value) => last.samples.push((*ts_ms, value.to_bits())),
            Item::Histogram(ts_ms, histogram) => last.histograms.push((*ts_ms, as_decoded(histogram))),
            Item::Exemplar(ts_ms, value, labels) => last.exemplars.push(decoded::Exemplar {
                labels: labels.clone(),
                value: value.to_bits(),
                ts_ms: *ts_ms,
            }),
        }
    }
    if message == Message::V2 {
        return found;
    }
    let split = |mut series: decoded::Series| {
        let exemplars =
            if series.histograms.is_empty() { Vec::new() } else { std::mem::take(&mut series.exemplars) };
        let behind = decoded::Series { exemplars, labels: labels.to_vec(), ..decoded::Series::default() };
        let behind = if behind.exemplars.is_empty() { None } else { Some(behind) };
        [series].into_iter().chain(behind)
    };
    found.into_iter().flat_map(split).collect()
}

fn as_decoded(it: &Histogram) -> decoded::Histogram {
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits().cast_signed()).collect();
    let spans = |spans: &[Span]| spans.iter().map(|span| (span.offset.into(), span.length.into())).collect();
    let (is_float, count, zero_count, negative, positive) = match &it.counts {
        Counts::Integer { count, zero_count, positive_deltas, negative_deltas } => {
            (false, *count, *zero_count, negative_deltas.clone(), positive_deltas.clone())
        }
        Counts::Float { count, zero_count, positive, negative } => {
            (true, count.to_bits(), zero_count.to_bits(), bits(negative), bits(positive))
        }
    };
    decoded::Histogram {
        is_float,
        count,
        zero_count,
        sum: it.sum.to_bits(),
        schema: it.schema.into(),
        zero_threshold: it.zero_threshold.to_bits(),
        negative_spans: spans(&it.negative_spans),
        negative,
        positive_spans: spans(&it.positive_spans),
        positive,
        reset_hint: it.counter_reset_hint as u64,
        custom_values: it.custom_values.iter().map(|value| value.to_bits()).collect(),
    }
}

/// Writes `all` and reads it back, uncompressed and compressed.
fn check(all: &[(Labels, Vec<Item>)]) {
    for (message, protocol) in BOTH {
        let (mut writer, mut packer) = (RequestWriter::new(message), Packer::default());
        // Twice: nothing of the request before is left.
        for _ in 0..2 {
            writer.start(message);
            assert!(writer.is_empty());
            all.iter().for_each(|(labels, items)| write(&mut writer, labels, items));
            let expected: Vec<_> =
                all.iter().flat_map(|(labels, items)| expected(message, labels, items)).collect();
            let read = decoded::Message::decode(protocol, writer.bytes()).unwrap();
            assert_eq!(read.series, expected, "{message:?}");
            packer.pack(writer.bytes()).unwrap();
            let unpacked = snap::raw::Decoder::new().decompress_vec(packer.bytes()).unwrap();
            assert_eq!(unpacked, writer.bytes());
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Every field set.
fn histogram() -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::NotCounterReset,
        schema: -4,
        zero_threshold: 1e-128,
        sum: -18.4,
        counts: Counts::Integer {
            count: 12,
            zero_count: 2,
            positive_deltas: vec![1, 1, -1, 0],
            negative_deltas: vec![1, i64::MIN],
        },
        positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 0, length: 2 }],
        negative_spans: vec![Span { offset: i32::MAX, length: 2 }],
        custom_values: Vec::new(),
    }
}

#[test]
fn floats_come_back_bit_by_bit() {
    let long = "x".repeat(300);
    let stale = f64::from_bits(support::remote::STALE_BITS);
    check(&[
        (labels(&[("__name__", "up"), ("job", "a")]), vec![Item::Float(1_700_000_000_000, 1.0)]),
        (
            labels(&[("__name__", "b"), ("job", "a"), ("long", &long)]),
            vec![Item::Float(-5, -0.0), Item::Float(0, 0.0)],
        ),
        (
            labels(&[("__name__", "é")]),
            vec![Item::Float(1, stale), Item::Float(2, f64::INFINITY), Item::Float(3, 0.1)],
        ),
    ]);
}

#[test]
fn histograms_come_back_in_both_flavours() {
    let float = Histogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        counter_reset_hint: CounterResetHint::Gauge,
        counts: Counts::Float {
            count: 0.0,
            zero_count: 0.0,
            positive: vec![0.5, 0.0],
            negative: vec![f64::NAN],
        },
        custom_values: vec![0.0, 1.0, f64::MAX],
        ..histogram()
    };
    let stale = Histogram { sum: f64::from_bits(support::remote::STALE_BITS), ..Histogram::default() };
    let items = [histogram(), float, stale, Histogram::default()].into_iter().zip(1_700_000_000_000..);
    let items = items.map(|(histogram, ts_ms)| Item::Histogram(ts_ms, Box::new(histogram)));
    check(&[(labels(&[("__name__", "h")]), items.collect())]);
}

#[test]
fn a_time_series_never_holds_floats_and_histograms() {
    let name = labels(&[("__name__", "turns"), ("job", "a")]);
    let exemplar = |ts_ms| Item::Exemplar(ts_ms, 0.5, labels(&[("trace_id", "abc"), ("empty", "")]));
    let histogram = |ts_ms| Item::Histogram(ts_ms, Box::new(histogram()));
    let items = vec![
        Item::Float(1, 1.0),
        exemplar(1),
        Item::Float(2, 2.0),
        histogram(3),
        histogram(4),
        exemplar(4),
        Item::Float(5, 5.0),
    ];
    assert_eq!(expected(Message::V2, &name, &items).len(), 3);
    assert_eq!(expected(Message::V1, &name, &items).len(), 4);
    check(&[(name, items), (labels(&[("__name__", "alone")]), vec![exemplar(0), exemplar(7)])]);
}

#[test]
fn texts_of_a_request_stand_in_it_once() {
    let mut writer = RequestWriter::new(Message::V2);
    for _ in 0..100 {
        writer.label("__name__", "a_long_metric_name");
        writer.metadata(FamilyMetadata { kind: 1, help: "a_long_metric_name", unit: "" });
        writer.sample(1, 2.0);
        writer.exemplar(1, 2.0, [("__name__", "a_long_metric_name")].into_iter());
        writer.end_series();
    }
    let message = decoded::Message::decode(Protocol::V2, writer.bytes()).unwrap();
    assert_eq!((message.symbols.len(), message.series.len()), (3, 100));
}

#[test]
fn metadata_stands_at_the_series_in_2_0_and_by_itself_in_1_0() {
    let all = FamilyMetadata { kind: 7, help: "What it is.", unit: "seconds" };
    let nothing = FamilyMetadata { kind: 0, help: "", unit: "" };
    for (message, protocol) in BOTH {
        let mut writer = RequestWriter::new(message);
        for (name, metadata) in [("a", Some(all)), ("b", None), ("c", Some(nothing))] {
            writer.label("__name__", name);
            metadata.into_iter().for_each(|metadata| writer.metadata(metadata));
            // Both time series of the series have it.
            writer.sample(1, 1.0);
            writer.histogram(2, &histogram());
            writer.end_series();
        }
        let read = decoded::Message::decode(protocol, writer.bytes()).unwrap();
        let of_a = decoded::Metadata {
            family: String::new(),
            kind: 7,
            help: "What it is.".to_owned(),
            unit: "seconds".to_owned(),
        };
        for series in &read.series {
            let has_it = message == Message::V2 && series.label("__name__") == "a";
            let expected = if has_it { of_a.clone() } else { decoded::Metadata::default() };
            assert_eq!(series.metadata, expected, "{message:?}");
        }
        assert_eq!(read.series.len(), 6);
    }
    let mut writer = RequestWriter::new(Message::V1);
    writer.family("a_total", FamilyMetadata { kind: 1, help: "Counts.", unit: "" });
    writer.family("b", nothing);
    let read = decoded::Message::decode(Protocol::V1, writer.bytes()).unwrap();
    let family = |family: &str, kind, help: &str| decoded::Metadata {
        family: family.to_owned(),
        kind,
        help: help.to_owned(),
        unit: String::new(),
    };
    assert_eq!(read.metadata, [family("a_total", 1, "Counts."), family("b", 0, "")]);
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    vec((any::<i32>(), any::<u32>()).prop_map(|(offset, length)| Span { offset, length }), 0..4)
}

fn histograms() -> impl Strategy<Value = Histogram> {
    let float = || any::<u64>().prop_map(f64::from_bits);
    let hint = prop_oneof![
        proptest::strategy::Just(CounterResetHint::Unknown),
        proptest::strategy::Just(CounterResetHint::CounterReset),
        proptest::strategy::Just(CounterResetHint::NotCounterReset),
        proptest::strategy::Just(CounterResetHint::Gauge),
    ];
    let integer = (any::<u64>(), any::<u64>(), vec(any::<i64>(), 0..9), vec(any::<i64>(), 0..9)).prop_map(
        |(count, zero_count, positive_deltas, negative_deltas)| Counts::Integer {
            count,
            zero_count,
            positive_deltas,
            negative_deltas,
        },
    );
    let floats = (float(), float(), vec(float(), 0..9), vec(float(), 0..9)).prop_map(
        |(count, zero_count, positive, negative)| Counts::Float { count, zero_count, positive, negative },
    );
    let counts = prop_oneof![integer, floats];
    (hint, any::<i32>(), float(), float(), counts, spans(), spans(), vec(float(), 0..5)).prop_map(
        |(hint, schema, zero_threshold, sum, counts, positive_spans, negative_spans, custom_values)| {
            Histogram {
                counter_reset_hint: hint,
                schema,
                zero_threshold,
                sum,
                counts,
                positive_spans,
                negative_spans,
                custom_values,
            }
        },
    )
}

proptest! {
    #![proptest_config(cases::cases(256))]

    #[test]
    fn any_series_comes_back(
        all in vec((vec(".{1,20}", 1..4), vec((0..3_u8, any::<u64>(), histograms(), vec((".{0,9}", ".{0,9}"), 0..3)), 1..6)), 1..5)
    ) {
        let all: Vec<_> = all.into_iter().map(|(values, items)| {
            let pairs = values.into_iter().enumerate().map(|(idx, value)| (format!("l{idx}"), value));
            let mut labels: Labels = pairs.collect();
            labels.insert(0, ("__name__".to_owned(), "any".to_owned()));
            let items = items.into_iter().zip(-2..).map(|((kind, bits, histogram, labels), ts_ms)| match kind {
                0 => Item::Float(ts_ms, f64::from_bits(bits)),
                1 => Item::Histogram(ts_ms, Box::new(histogram)),
                _ => Item::Exemplar(ts_ms, f64::from_bits(bits), labels),
            });
            (labels, items.collect())
        }).collect();
        check(&all);
    }
}
