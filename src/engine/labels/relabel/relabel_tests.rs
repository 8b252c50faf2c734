//! The cases of `tests/data/relabel`, and what the legacy scheme allows.

use super::*;
use crate::labels::Labels;
use serde_yaml::{Mapping, Value};
use std::path::PathBuf;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is no string"))
}

fn config(rule: &Value) -> Result<RelabelConfig, String> {
    let mut config = RelabelConfig::default();
    for (key, value) in rule.as_mapping().unwrap() {
        match text(key) {
            "source_labels" => {
                config.source_labels =
                    value.as_sequence().unwrap().iter().map(|it| text(it).to_owned()).collect();
            }
            "separator" => config.separator = text(value).to_owned(),
            "regex" => config.regex = text(value).to_owned(),
            "modulus" => config.modulus = value.as_u64().unwrap(),
            "target_label" => config.target_label = text(value).to_owned(),
            "replacement" => config.replacement = text(value).to_owned(),
            "action" => config.action = text(value).parse()?,
            key => panic!("unknown field {key}"),
        }
    }
    Ok(config)
}

fn rules(case: &Value) -> Result<Vec<RelabelRule>, String> {
    let names = match case.get("names").map(text) {
        Some("legacy") => NameScheme::Legacy,
        _ => NameScheme::Utf8,
    };
    let rules = case["rules"].as_sequence().unwrap();
    rules.iter().map(|rule| RelabelRule::with_names(config(rule)?, names)).collect()
}

fn labels(pairs: &Mapping) -> Labels {
    Labels::from_pairs(pairs.iter().map(|(name, value)| (text(name), text(value))))
}

fn check(file: &str, case: &Value) {
    let rules = match (rules(case), case.get("error")) {
        (Ok(rules), None) => rules,
        (Err(error), Some(want)) => return assert_eq!(error, text(want), "{file}"),
        (got, want) => panic!("{file}: {case:?}: rules are {got:?}, wanted error: {want:?}"),
    };
    let context = format!("{file}: {}", text(&case["name"]));
    let mut builder = LabelsBuilder::new();
    builder.reset(&labels(case["input"].as_mapping().unwrap()));
    let verdict = relabel(&mut builder, &rules);
    match case.get("dropped_by") {
        Some(rule_idx) => {
            let rule_idx = usize::try_from(rule_idx.as_u64().unwrap()).unwrap();
            assert_eq!(verdict, Verdict::Drop { rule_idx }, "{context}");
        }
        None => {
            assert_eq!(verdict, Verdict::Keep, "{context}");
            assert_eq!(builder.labels(), labels(case["output"].as_mapping().unwrap()), "{context}");
        }
    }
}

#[test]
fn cases_of_the_data_files() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/relabel");
    let mut n_cases = 0;
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let cases: Value = serde_yaml::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        for case in cases.as_sequence().unwrap() {
            check(&file, case);
            n_cases += 1;
        }
    }
    assert!(n_cases > 130, "only {n_cases} cases");
}

#[test]
fn templates_of_the_legacy_scheme() {
    let check = |template: &str, want: bool| {
        assert_eq!(allows_template(NameScheme::Legacy, template), want, "{template}")
    };
    // From prometheus/prometheus model/relabel/relabel_test.go.
    for template in
        ["label", "label${1}", "${1}label", "${1}", "$1", "asd$2asd", "_${1}_", "foo${bar}foo", "$1a", "a1"]
    {
        check(template, true);
    }
    for template in [
        "-label",
        "${",
        "$",
        "${}",
        "foo${",
        "-foo${1}bar-",
        "bar.foo${1}bar",
        "",
        "1a",
        "1${1}",
        "$-",
        "${é}",
    ] {
        check(template, false);
    }
}

#[test]
fn rules_are_equal_by_what_was_written() {
    let rule = |regex: &str| {
        RelabelRule::new(RelabelConfig {
            regex: regex.to_owned(),
            action: Action::LabelDrop,
            ..RelabelConfig::default()
        })
        .unwrap()
    };
    assert_eq!(rule("a"), rule("a"));
    assert_ne!(rule("a"), rule("a|a"));
}

#[test]
fn a_builder_relabels_many_label_sets_in_turn() {
    let rule = RelabelRule::new(RelabelConfig {
        source_labels: vec!["a".to_owned()],
        regex: "(x)?(.*)".to_owned(),
        target_label: "b".to_owned(),
        replacement: "$1-$2".to_owned(),
        ..RelabelConfig::default()
    })
    .unwrap();
    let mut builder = LabelsBuilder::new();
    for (value, want) in [("xyz", "x-yz"), ("yz", "-yz"), ("", "-"), ("x", "x-")] {
        builder.clear();
        builder.set("a", value);
        assert_eq!(relabel(&mut builder, std::slice::from_ref(&rule)), Verdict::Keep);
        assert_eq!(builder.get("b"), want);
    }
}

#[test]
fn the_memory_of_a_monster_is_given_back() {
    let rule = RelabelRule::new(RelabelConfig {
        source_labels: vec!["a".to_owned()],
        target_label: "a".to_owned(),
        replacement: "$1$1".to_owned(),
        ..RelabelConfig::default()
    })
    .unwrap();
    let mut builder = LabelsBuilder::new();
    builder.set("a", &"v".repeat(1024 * 1024));
    relabel(&mut builder, &[rule]);
    assert_eq!(builder.get("a").len(), 2 * 1024 * 1024);
    let Scratch { value, result, .. } = &builder.scratch;
    assert!(value.capacity() <= TEXT_KEPT_BYTES && result.capacity() <= TEXT_KEPT_BYTES);
}
