//! Any lines as a relabelling rule (action, regex, replacement, target label, separator, modulus, source labels) and
//! as the labels it is applied to (`name=value`).

#![cfg_attr(fuzzing, no_main)]

use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::relabel::{Action, NameScheme, RelabelConfig, RelabelRule, Verdict, relabel};

pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let Ok(action) = next().parse::<Action>() else { return };
    let config = RelabelConfig {
        action,
        regex: next().to_owned(),
        replacement: next().to_owned(),
        target_label: next().to_owned(),
        separator: next().to_owned(),
        modulus: next().parse().unwrap_or_default(),
        source_labels: next().split(',').map(str::to_owned).collect(),
    };
    let labels: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once('=')).collect();
    for names in [NameScheme::Utf8, NameScheme::Legacy] {
        let Ok(rule) = RelabelRule::with_names(config.clone(), names) else { continue };
        let rules = [rule];
        let [first, second] = [(); 2].map(|()| {
            let mut builder = LabelsBuilder::new();
            for (name, value) in labels.iter().filter(|(name, _)| !name.is_empty()) {
                builder.set(name, value);
            }
            // The second time scratch memory has been used.
            for _ in 0..2 {
                if relabel(&mut builder, &rules) != Verdict::Keep {
                    return None;
                }
            }
            Some(builder.labels())
        });
        assert_eq!(first, second, "the same rule on the same labels");
        for (name, value) in first.iter().flat_map(|labels| labels.iter()) {
            // As in Prometheus, a mapping may leave nothing of a name; whoever takes the labels refuses that.
            let is_name = !name.is_empty() || action == Action::LabelMap;
            assert!(is_name && !value.is_empty(), "{name:?}={value:?} is no label");
        }
    }
}

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| run(data));
