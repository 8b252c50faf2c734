//! A list of target groups as `file_sd` files and `http_sd` answers have it: bytes in, groups or a sentence out.
//!
//! Reads JSON and YAML as strictly as Prometheus' `discovery/targetgroup/targetgroup.go` does: unknown fields fail,
//! JSON keys match in any case, and a number is a label value in YAML but not in JSON.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

use crate::config::node::{Entry, Node, Value};
use crate::config::yaml;
use crate::discovery::{ADDRESS_LABEL, TargetGroup};
use crate::labels::Labels;

/// Labels of groups, once for each of their targets: 100 000 targets may have 2.5 KiB each.
const MAX_LABEL_BYTES: usize = 256 << 20;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// A group as typed.
#[derive(Debug, Default)]
struct RawGroup {
    targets: Vec<String>,
    labels: Vec<(String, String)>,
}

/// The groups of a list from `origin`, a path or a URL, which each group gets as the label `origin_label`.
///
/// # Errors
/// A sentence about the first mistake.
pub(in crate::discovery) fn parse(
    bytes: &[u8],
    format: Format,
    origin_label: &str,
    origin: &str,
) -> Result<Vec<TargetGroup>, String> {
    let raw_groups = match format {
        Format::Json => json_groups(bytes)?,
        Format::Yaml => yaml_groups(bytes)?,
    };
    check_labels(&raw_groups, origin_label.len() + origin.len())?;
    let group = |(group_idx, raw): (usize, RawGroup)| {
        let labels = raw.labels.into_iter().chain([(origin_label.to_owned(), origin.to_owned())]);
        TargetGroup {
            source: format!("{origin}:{group_idx}"),
            targets: raw
                .targets
                .into_iter()
                .map(|target| Labels::from_pairs([(ADDRESS_LABEL, target)]))
                .collect(),
            labels: Labels::from_pairs(labels),
        }
    };
    Ok(raw_groups.into_iter().enumerate().map(group).collect())
}

/// Each target has a copy of its group's labels, so that a short list can be a lot of text.
fn check_labels(groups: &[RawGroup], origin_bytes: usize) -> Result<(), String> {
    let mut n_bytes: usize = 0;
    for (group_idx, group) in groups.iter().enumerate() {
        let of_one: usize = group.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
        n_bytes = n_bytes.saturating_add((of_one + origin_bytes).saturating_mul(group.targets.len()));
        if n_bytes > MAX_LABEL_BYTES {
            return Err(format!(
                "with group {group_idx} the labels of all targets have {n_bytes} bytes (limit: {MAX_LABEL_BYTES})"
            ));
        }
    }
    Ok(())
}

fn json_groups(bytes: &[u8]) -> Result<Vec<RawGroup>, String> {
    if bytes.len() > yaml::MAX_TEXT_BYTES {
        return Err(format!(
            "{} bytes are too much for one list (limit: {})",
            bytes.len(),
            yaml::MAX_TEXT_BYTES
        ));
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("it is empty; `null` or `[]` mean no targets".to_owned());
    }
    // Go puts a replacement character where bytes are no text.
    let text = String::from_utf8_lossy(bytes);
    let items: Option<Vec<JsonItem>> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    items.unwrap_or_default().into_iter().enumerate().map(|(idx, item)| json_group(idx, item)).collect()
}

/// The fields of a group as they come: of those that stand there twice the last one counts. `None` is `null`.
struct JsonItem(Option<Vec<(String, Json)>>);

impl<'de> Deserialize<'de> for JsonItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonItemVisitor)
    }
}

struct JsonItemVisitor;

impl<'de> Visitor<'de> for JsonItemVisitor {
    type Value = JsonItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a target group")
    }

    fn visit_unit<E>(self) -> Result<JsonItem, E> {
        Ok(JsonItem(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonItem, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(JsonItem(Some(fields)))
    }
}

fn json_group(group_idx: usize, JsonItem(fields): JsonItem) -> Result<RawGroup, String> {
    let fields = fields.ok_or_else(|| format!("nil target group item found (index {group_idx})"))?;
    let mut group = RawGroup::default();
    for (key, value) in fields {
        let text = |value: Json, what: &str| match value {
            Json::String(text) => Ok(text),
            // Go leaves a text as it was, which is empty.
            Json::Null => Ok(String::new()),
            _ => Err(format!("group {group_idx}: {what} is not a string")),
        };
        match (key.to_lowercase().as_str(), value) {
            ("targets", Json::Null) => group.targets.clear(),
            ("labels", Json::Null) => group.labels.clear(),
            ("targets", Json::Array(targets)) => {
                let targets = targets.into_iter().map(|target| text(target, "a target"));
                group.targets = targets.collect::<Result<_, _>>()?;
            }
            ("labels", Json::Object(labels)) => {
                let label = |(name, value): (String, Json)| {
                    check_label_name(group_idx, &name)?;
                    let value = text(value, &format!("the value of label {name:?}"))?;
                    Ok((name, value))
                };
                group.labels = labels.into_iter().map(label).collect::<Result<_, String>>()?;
            }
            ("targets", _) => return Err(format!("group {group_idx}: targets is not a list")),
            ("labels", _) => return Err(format!("group {group_idx}: labels is not an object")),
            _ => return Err(format!("group {group_idx}: unknown field {key:?}")),
        }
    }
    Ok(group)
}

fn yaml_groups(bytes: &[u8]) -> Result<Vec<RawGroup>, String> {
    let document = yaml::parse_bytes(bytes).map_err(|error| error.to_string())?;
    match document.value {
        Value::Null => Ok(Vec::new()),
        Value::List(items) => {
            items.into_iter().enumerate().map(|(group_idx, item)| yaml_group(group_idx, item)).collect()
        }
        _ => Err(at(document.line, "not a list of target groups")),
    }
}

fn yaml_group(group_idx: usize, item: Node) -> Result<RawGroup, String> {
    let entries = match item.value {
        Value::Null => {
            return Err(at(item.line, &format!("nil target group item found (index {group_idx})")));
        }
        Value::Map(entries) => entries,
        _ => return Err(at(item.line, &format!("group {group_idx} is not a mapping"))),
    };
    check_keys(&entries)?;
    let mut group = RawGroup::default();
    let mut names = BTreeSet::new();
    for Entry { key, line, node, .. } in entries {
        match (key.as_str(), node.value) {
            ("targets" | "labels", Value::Null) => {}
            ("targets", Value::List(targets)) => {
                let targets = targets.into_iter().map(|target| yaml_text(target, "a target"));
                group.targets = targets.collect::<Result<_, _>>()?;
            }
            ("labels", Value::Map(labels)) => {
                // Also one of a mapping that was merged in: yaml.v2 has all of them in one map.
                for Entry { key: name, line, node, .. } in labels {
                    check_label_name(group_idx, &name)?;
                    if !names.insert(name.clone()) {
                        return Err(at(line, &format!("key {name:?} stands there twice")));
                    }
                    let value = yaml_text(node, &format!("the value of label {name:?}"))?;
                    group.labels.push((name, value));
                }
            }
            ("targets", _) => return Err(at(line, "targets is not a list")),
            ("labels", _) => return Err(at(line, "labels is not a mapping")),
            _ => return Err(at(line, &format!("unknown field {key:?}"))),
        }
    }
    Ok(group)
}

/// Any scalar is a text as it is typed.
fn yaml_text(node: Node, what: &str) -> Result<String, String> {
    match node.value {
        Value::Scalar(scalar) => Ok(scalar.text),
        Value::Null => Ok(String::new()),
        _ => Err(at(node.line, &format!("{what} is not a single value"))),
    }
}

fn check_keys(entries: &[Entry]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for entry in entries.iter().filter(|entry| !entry.merged) {
        if !seen.insert(entry.key.as_str()) {
            return Err(at(entry.line, &format!("key {:?} stands there twice", entry.key)));
        }
    }
    Ok(())
}

fn check_label_name(group_idx: usize, name: &str) -> Result<(), String> {
    if name.is_empty() { Err(format!("group {group_idx}: \"\" is not a valid label name")) } else { Ok(()) }
}

fn at(line: u32, sentence: &str) -> String {
    if line == 0 { sentence.to_owned() } else { format!("line {line}: {sentence}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    /// Groups as text: targets, then labels.
    fn render(text: &str, format: Format) -> Result<String, String> {
        let mut out = String::new();
        for group in parse(text.as_bytes(), format, "__meta_filepath", "/sd/a.yml")? {
            let targets: Vec<&str> = group.targets.iter().map(|target| target.get(ADDRESS_LABEL)).collect();
            write!(out, "{}[{}]{} ", group.source, targets.join(","), group.labels).expect("to memory");
        }
        Ok(out.trim_end().to_owned())
    }

    fn check(format: Format, text: &str, want: Result<&str, &str>) {
        let got = render(text, format);
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{text}");
    }

    const ONE: &str = "/sd/a.yml:0[a:1,b:2]{__meta_filepath=\"/sd/a.yml\", env=\"1\"}";

    #[test]
    fn json() {
        let check = |text, want| check(Format::Json, text, want);
        check(r#"[{"targets": ["a:1", "b:2"], "labels": {"env": "1"}}]"#, Ok(ONE));
        check(r#"[{"TARGETS": ["a:1", "b:2"], "Labels": {"env": "1", "__meta_filepath": "x"}}]"#, Ok(ONE));
        check("null", Ok(""));
        check("[]", Ok(""));
        check(r#"[{"targets": null, "labels": null}]"#, Ok("/sd/a.yml:0[]{__meta_filepath=\"/sd/a.yml\"}"));
        check("", Err("it is empty; `null` or `[]` mean no targets"));
        check("[null]", Err("nil target group item found (index 0)"));
        check(
            r#"[{"targets": [], "labels": {"env": 1}}]"#,
            Err(r#"group 0: the value of label "env" is not a string"#),
        );
        check(r#"[{"targets": [9100]}]"#, Err("group 0: a target is not a string"));
        check(r#"[{"target": ["a:1"]}]"#, Err("group 0: unknown field \"target\""));
        check(r#"[{"labels": {"": "x"}}]"#, Err("group 0: \"\" is not a valid label name"));
        check(r#"{"targets": ["a:1"]}"#, Err("invalid type: map, expected a sequence at line 1 column 0"));
        check("[1]", Err("invalid type: integer `1`, expected a target group at line 1 column 2"));
        // The last one counts, whichever way it is written.
        check(
            r#"[{"targets": ["b:1"], "labels": {"x": "1"}, "Targets": ["a:1", "b:2"], "LABELS": {"env": "1"}}]"#,
            Ok(ONE),
        );
        check(
            r#"[{"targets": ["b:1"], "targets": null}]"#,
            Ok("/sd/a.yml:0[]{__meta_filepath=\"/sd/a.yml\"}"),
        );
        check("[] []", Err("trailing characters at line 1 column 4"));
    }

    #[test]
    fn labels_that_are_many_times_as_long_as_the_list() {
        let value = "x".repeat(1 << 20);
        let list = |n_targets: usize| {
            let targets = vec!["\"a\""; n_targets].join(",");
            format!("[{{\"targets\": []}}, {{\"targets\": [{targets}], \"labels\": {{\"l\": \"{value}\"}}}}]")
        };
        assert!(parse(list(255).as_bytes(), Format::Json, "o", "p").is_ok());
        let error = parse(list(256).as_bytes(), Format::Json, "o", "p").unwrap_err();
        assert_eq!(error, "with group 1 the labels of all targets have 268436224 bytes (limit: 268435456)");
    }

    #[test]
    fn yaml() {
        let check = |text, want| check(Format::Yaml, text, want);
        check("- targets: ['a:1', b:2]\n  labels: {env: 1}\n", Ok(ONE));
        check("- targets: ['a:1', b:2]\n  labels: {env: 1}\n---\n- targets: [c]\n", Ok(ONE));
        check("", Ok(""));
        check("null", Ok(""));
        check("# nothing\n", Ok(""));
        check("- \n", Err("nil target group item found (index 0)"));
        check("- target: [a:1]\n", Err("line 1: unknown field \"target\""));
        check("- Targets: [a:1]\n", Err("line 1: unknown field \"Targets\""));
        check("- targets: [a:1]\n  targets: [b:1]\n", Err("line 2: key \"targets\" stands there twice"));
        check("- labels: {<<: {a: b}, a: c}\n", Err("line 1: key \"a\" stands there twice"));
        check("- targets: a:1\n", Err("line 1: targets is not a list"));
        check("targets: [a:1]\n", Err("line 1: not a list of target groups"));
        check("- labels:\n    env: [x]\n", Err("line 2: the value of label \"env\" is not a single value"));
        assert!(render("- targets: [a:1\n", Format::Yaml).is_err());
        assert!(parse(&[0xff, 0xfe], Format::Yaml, "__meta_filepath", "/sd/a.yml").is_err());
    }
}
