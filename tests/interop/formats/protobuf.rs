//! Every family of the protobuf pages and every page with classic histograms, scraped by us and by a real agent under
//! all options: the same verdict, and the same floats, histograms and exemplars in the log.
//!
//! The pages are those of `tests/data/protobuf` and `tests/data/nhcb`. Needs what `scripts/peers` fetches; fails
//! without it.

use std::fs;
use std::path::Path;

use support::peers::pages::{Case, OPENMETRICS, OUT_OF_ORDER, Setup, TEXT, compare};
use support::protobuf::encode::{encode, page_of_hex};

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

const OPTIONS: [&str; 4] = ["plain", "keep", "convert", "convert keep"];

/// As later versions of Prometheus do it.
const CONVERTED_ALONE: &str = "3.5 converts protobuf line by line, later versions metric by metric";
/// A fault of all versions.
const NO_EXEMPLARS: &str = "only the first native histogram of a family keeps its exemplars there";
/// A fault of all versions.
const NOT_FORGOTTEN: &str = "an invalid histogram is mixed with those behind it there";

/// Pages that the agent reads otherwise, by the start of the case's name, and why.
const DIFFERENT: [(&str, &str); 14] = [
    ("exemplar_of_a_bucket_is_cut", "an exemplar is looked at behind its sample, which is counted"),
    ("invalid_convert", NOT_FORGOTTEN),
    ("later_0", "3.5 refuses a unit that does not end the name, later versions do not"),
    ("later_1", "3.5 takes schemas that nobody can read, later versions do not"),
    ("later_2", NO_EXEMPLARS),
    ("later_3", "whether one metric is native is decided by the one before it there"),
    ("odd_5_convert", CONVERTED_ALONE),
    ("odd_7_convert", CONVERTED_ALONE),
    ("prometheus_families_7_convert_keep", CONVERTED_ALONE),
    ("prometheus_families_8_convert_keep", CONVERTED_ALONE),
    ("prometheus_nhcb_0_convert_keep", CONVERTED_ALONE),
    ("prometheus_nhcb_1_convert_keep", CONVERTED_ALONE),
    ("times_convert", "a converted histogram has the timestamp of the line behind it there"),
    ("pieces", OUT_OF_ORDER),
];

/// Ends the whole process of Prometheus 3.5, which takes out more buckets than there are.
const DEADLY: &str = "spans_do_not_fit";

fn cases() -> Vec<Case> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut pages = Vec::new();
    for dir in ["protobuf/ok", "protobuf/err", "nhcb"] {
        for file in fs::read_dir(data.join(dir)).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            match path.extension().and_then(|it| it.to_str()) {
                Some("textproto") => {
                    let text = fs::read_to_string(&path).unwrap();
                    for (idx, family) in text.split("\n---\n").enumerate() {
                        pages.push((format!("{name}_{idx}"), PROTOBUF, encode(family)));
                    }
                }
                Some("hex") => {
                    pages.push((name, PROTOBUF, page_of_hex(&fs::read_to_string(&path).unwrap())));
                }
                Some("prom") => pages.push((name, TEXT, fs::read(&path).unwrap())),
                Some("om") => pages.push((name, OPENMETRICS, fs::read(&path).unwrap())),
                _ => {}
            }
        }
    }
    pages.retain(|(name, ..)| name != DEADLY);
    let mut cases = Vec::new();
    for (name, content_type, page) in pages {
        for options in OPTIONS {
            let name = format!("{name}_{}", options.replace(' ', "_"));
            let fields = format!(
                "scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText1.0.0], \
                 always_scrape_classic_histograms: {}, convert_classic_histograms_to_nhcb: {},",
                options.contains("keep"),
                options.contains("convert"),
            );
            cases.push(Case { name, content_type, page: page.clone(), fields });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

#[test]
fn histograms_are_what_they_are_to_a_real_agent() {
    let cases = cases();
    assert!(cases.len() > 200, "{} cases", cases.len());
    let setup = Setup {
        our_global: ", scrape_native_histograms: true",
        their_arguments: &["--enable-feature=native-histograms,exemplar-storage"],
    };
    compare(&cases, &setup, &DIFFERENT);
}
