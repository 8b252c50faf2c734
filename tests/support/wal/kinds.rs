//! Histograms, exemplars and metadata of a log in a form that can be compared with what Prometheus says.

use std::collections::BTreeMap;
use std::path::Path;

use scraped::commands::query;
use scraped::commands::query::{QueryFormat, QueryOptions};
use scraped_engine::disk::RealDisk;
use scraped_engine::families::type_name;
use scraped_engine::labels::Labels;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::format::segment_reader::{SegmentReader, Tail};
use scraped_engine::wal::keep::checkpoint;

use super::normal;

/// Series → milliseconds and histogram as Prometheus' JSON, in order of time.
pub type Histograms = BTreeMap<String, Vec<(i64, serde_json::Value)>>;

/// Series → milliseconds, value, labels as JSON, in the order of the log.
pub type Exemplars = BTreeMap<String, Vec<(i64, String, serde_json::Value)>>;

/// Series → type, unit, help: what the log says last.
pub type Metadata = BTreeMap<String, (String, String, String)>;

/// What `scraped query` says of the directory, as JSON.
pub fn query_json(dir: &Path, selector: &str) -> serde_json::Value {
    let mut out = Vec::new();
    let options = QueryOptions {
        selector: selector.to_owned(),
        since: None,
        path: dir.to_owned(),
        format: QueryFormat::Json,
    };
    query::run(options, &mut out).expect("the query is answered");
    serde_json::from_slice(&out).expect("JSON")
}

/// Labels of a JSON object in Prometheus' notation.
pub fn series_of(metric: &serde_json::Value) -> String {
    let metric = metric.as_object().expect("labels");
    let pairs = metric.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("text")));
    Labels::from_pairs(pairs).to_string()
}

/// The histograms of an answer of ours or of Prometheus' API.
pub fn histograms_of(answer: &serde_json::Value) -> Histograms {
    let mut histograms = Histograms::new();
    for row in answer["data"]["result"].as_array().expect("a list") {
        let Some(points) = row["histograms"].as_array() else { continue };
        let points = points.iter().map(|pair| {
            let seconds = pair[0].as_f64().expect("a time");
            ((seconds * 1000.0).round() as i64, pair[1].clone())
        });
        histograms.insert(series_of(&row["metric"]), points.collect());
    }
    histograms
}

/// All histograms in the directory.
pub fn histograms(dir: &Path) -> Histograms {
    histograms_of(&query_json(dir, r#"{__name__=~".+"}"#))
}

/// Calls `visit` with every record of a log, in its order.
pub fn for_each_record(dir: &Path, mut visit: impl FnMut(Record<'_>)) {
    let wal_dir = dir.join("wal");
    let checkpoint = checkpoint::list(&RealDisk, &wal_dir).expect("readable").pop();
    let mut files: Vec<_> =
        checkpoint.iter().flat_map(|it| it.segments(&RealDisk).expect("readable")).collect();
    files.extend(segment::list(&RealDisk, &wal_dir).expect("readable"));
    for file in files {
        let source = segment::open(&RealDisk, &file.path).expect("readable");
        let mut reader = SegmentReader::new(source, file.number, Tail::Closed);
        while let Some(raw) = reader.next_record().expect("an undamaged log") {
            visit(record::decode(raw.bytes));
        }
    }
}

/// All exemplars in the directory.
pub fn exemplars(dir: &Path) -> Exemplars {
    let mut by_ref = BTreeMap::new();
    let mut exemplars = Exemplars::new();
    for_each_record(dir, |record| match record {
        Record::Series(entries) => {
            by_ref.extend(
                entries.flatten().map(|it| (it.series_ref, Labels::from_pairs(it.labels).to_string())),
            );
        }
        Record::Exemplars(entries) => {
            for entry in entries.map(|it| it.expect("a whole entry")) {
                let labels = entry.labels.map(|(name, value)| (name.to_owned(), value.into())).collect();
                let exemplar =
                    (entry.ts_ms, normal(&entry.value.to_string()), serde_json::Value::Object(labels));
                exemplars.entry(by_ref[&entry.series_ref].clone()).or_default().push(exemplar);
            }
        }
        _ => {}
    });
    exemplars
}

/// What the directory says of its series.
pub fn metadata(dir: &Path) -> Metadata {
    let mut by_ref = BTreeMap::new();
    let mut metadata = Metadata::new();
    for_each_record(dir, |record| match record {
        Record::Series(entries) => {
            by_ref.extend(
                entries.flatten().map(|it| (it.series_ref, Labels::from_pairs(it.labels).to_string())),
            );
        }
        Record::Metadata(entries) => {
            for entry in entries.map(|it| it.expect("a whole entry")) {
                let known =
                    (type_name(entry.metric_type).to_owned(), entry.unit.to_owned(), entry.help.to_owned());
                metadata.insert(by_ref[&entry.series_ref].clone(), known);
            }
        }
        _ => {}
    });
    metadata
}
