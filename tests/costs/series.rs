//! What label sets cost: bytes a series in the table, and nothing at all for relabelling that is warm.

use crate::allocator::{ALLOCATIONS, HEAP_BYTES, PEAK_HEAP_BYTES};
use crate::alone;
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::relabel::{Action, RelabelConfig, RelabelRule, Verdict, relabel};
use scraped_engine::series::table::SeriesTable;

/// The `number`th series of pages with 500 series each: 9 labels with about 150 bytes of text.
fn synthetic(number: usize, labels: &mut LabelsBuilder) {
    let (target, series) = (number / 500, number % 500);
    labels.clear();
    labels.set("__name__", &format!("http_request_duration_seconds_of_kind_{}_bucket", series / 20));
    labels.set("le", &format!("{}.5", series % 10));
    labels.set("code", ["200", "500"][series / 10 % 2]);
    labels.set("handler", &format!("/api/v1/resource/{}", series / 20 % 5));
    labels.set("instance", &format!("10.{}.{}.17:9100", target / 250, target % 250));
    labels.set("job", ["node", "ingress", "database"][target % 3]);
    labels.set("namespace", &format!("team-{}", target % 40));
    labels.set("pod", &format!("service-{}-7d4b9c6f5-{target:05x}", target % 40));
    labels.set("method", "GET");
}

#[test]
fn a_series_takes_at_most_100_bytes() {
    let _alone = alone();
    const N_SERIES: usize = 260_000;
    // The index is fullest, and so cheapest, just before it grows: the dearest moment counts.
    const MEASURE_EVERY: usize = 20_000;
    let mut labels = LabelsBuilder::new();
    synthetic(N_SERIES, &mut labels);
    let text_bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!((150..180).contains(&text_bytes) && labels.len() == 9, "{text_bytes} bytes of text");
    let live_before = HEAP_BYTES.get();

    let mut table = SeriesTable::new();
    let (mut dearest, mut largest_step) = (0.0f64, 0);
    for number in 0..N_SERIES {
        synthetic(number, &mut labels);
        PEAK_HEAP_BYTES.set(HEAP_BYTES.get());
        let live = HEAP_BYTES.get();
        assert!(table.get_or_create(&labels).unwrap().created, "{labels}");
        largest_step = largest_step.max(PEAK_HEAP_BYTES.get() - live);
        if number % MEASURE_EVERY == MEASURE_EVERY - 1 && table.len() >= 100_000 {
            dearest = dearest.max((HEAP_BYTES.get() - live_before) as f64 / table.len() as f64);
        }
    }
    println!("{dearest:.1} bytes a series, {largest_step} bytes at most for one more");
    assert!(dearest <= 100.0, "{dearest:.1} bytes a series");
    // Growing takes a chunk or a shard more, never a second table.
    assert!(largest_step < 512 * 1024, "{largest_step} bytes for one series");
    let told = table.memory_bytes() as f64;
    let counted = (HEAP_BYTES.get() - live_before) as f64;
    assert!((told / counted - 1.0).abs() < 0.05, "memory_bytes says {told}, counted were {counted}");
}

#[test]
fn a_small_table_is_small() {
    let _alone = alone();
    let mut labels = LabelsBuilder::new();
    synthetic(0, &mut labels);
    let live_before = HEAP_BYTES.get();
    let mut table = SeriesTable::new();
    for number in 0..1000 {
        synthetic(number, &mut labels);
        table.get_or_create(&labels).unwrap();
    }
    // 128 KiB of it are the first chunk of slots, whose untouched pages are not resident.
    let live = HEAP_BYTES.get() - live_before;
    assert!(live < 256 * 1024, "{live} bytes for a thousand series");
}

fn rule(config: RelabelConfig) -> RelabelRule {
    RelabelRule::new(config).unwrap()
}

fn config(action: Action, source_label: &str, regex: &str) -> RelabelConfig {
    let source_labels = if source_label.is_empty() { vec![] } else { vec![source_label.to_owned()] };
    RelabelConfig { action, source_labels, regex: regex.to_owned(), ..RelabelConfig::default() }
}

/// Runs `rules` over the same label sets twice; the second time nothing may be allocated.
fn check_warm_relabelling(rules: &[RelabelRule], want: Verdict) {
    let inputs: Vec<Labels> = (0..50)
        .map(|it| {
            Labels::from_pairs((0..8).map(|label| match label {
                0 => ("__name__".to_owned(), format!("node_network_receive_bytes_total_{it}")),
                1 => ("device".to_owned(), format!("eth{it}")),
                label => (format!("label_{label}"), format!("Value-{it}-{label}")),
            }))
        })
        .collect();
    let mut labels = LabelsBuilder::new();
    let mut allocations = [0; 3];
    for allocations in &mut allocations {
        let before = ALLOCATIONS.get();
        for input in &inputs {
            labels.reset(input);
            assert_eq!(relabel(&mut labels, rules), want);
        }
        *allocations = ALLOCATIONS.get() - before;
    }
    // A pattern's engine remembers states as it meets them: what the first round left over, the second one met.
    assert_eq!(allocations[2], 0, "{allocations:?} allocations for {rules:?}");
}

#[test]
fn warm_relabelling_allocates_nothing() {
    let _alone = alone();
    let to = |config: RelabelConfig, target_label: &str, replacement: &str| RelabelConfig {
        target_label: target_label.to_owned(),
        replacement: replacement.to_owned(),
        ..config
    };
    let typical = [
        rule(config(Action::Drop, "__name__", "go_gc_.*|node_cpu_.+")),
        rule(to(config(Action::Replace, "device", "(eth)(\\d+)"), "interface", "${1}-$2")),
        rule(config(Action::LabelDrop, "", "label_[23]")),
    ];
    check_warm_relabelling(&typical, Verdict::Keep);

    let every_action = [
        rule(to(config(Action::Replace, "label_2", "(.*)"), "copy", "$1")),
        rule(to(config(Action::Replace, "", "(.*)"), "fixed", "value")),
        rule(to(config(Action::Replace, "label_3", "Value-(?P<n>.+?)-(.*)"), "x_$2", "<$n>")),
        rule(to(config(Action::Lowercase, "label_2", "(.*)"), "lower", "$1")),
        rule(to(config(Action::Uppercase, "label_2", "(.*)"), "upper", "$1")),
        rule(RelabelConfig { modulus: 7, ..to(config(Action::HashMod, "label_2", "(.*)"), "shard", "$1") }),
        rule(to(config(Action::LabelMap, "", "label_(.)"), "", "mapped_$1")),
        rule(config(Action::LabelKeep, "", "[_a-z].*")),
        rule(to(config(Action::KeepEqual, "label_2", "(.*)"), "copy", "$1")),
        rule(config(Action::Keep, "fixed", "a|b|value")),
        rule(to(config(Action::DropEqual, "label_2", "(.*)"), "mapped_2", "$1")),
    ];
    check_warm_relabelling(&every_action, Verdict::Drop { rule_idx: 10 });
}
