//! A list of target groups as `file_sd` files and `http_sd` answers have it: bytes in, groups or a sentence out.
//!
//! Reads JSON and YAML as strictly as Prometheus' `discovery/targetgroup/targetgroup.go` does: unknown fields fail,
//! JSON keys match in any case, and a number is a label value in YAML but not in JSON. What is kept is counted while it
//! is read ([`Tally`]); of JSON nothing else is held, and YAML is read whole, so the number of its values is bounded.
//! Sentences name places and show nothing of the list: it may be a file that was never meant to be one.

use crate::discovery::lists::raw_group::{Groups, NO_LABEL_NAME, Origin, RawGroup, UNKNOWN_FIELD};
use std::collections::BTreeSet;
use std::hash::RandomState;

use crate::config::text::node::{Entry, Node, Value};
use crate::config::text::yaml;
use crate::discovery::lists::json_groups::read_groups;
use crate::discovery::lists::tally::Tally;
use crate::discovery::target_group::TargetGroup;

/// Values of a list in YAML, each some 250 bytes while it is read. JSON has no such limit.
const MAX_YAML_VALUES: usize = 250_000;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The groups of a list.
///
/// # Errors
/// A sentence about the first mistake.
pub(in crate::discovery) fn parse(
    bytes: &[u8],
    format: Format,
    origin: Origin<'_>,
) -> Result<Vec<TargetGroup>, String> {
    let tally = Tally::new(origin.provenance, origin.wanted);
    let mut groups = Groups { origin, tally, hasher: RandomState::new(), done: Vec::new() };
    match format {
        Format::Json => read_groups(bytes, &mut groups)?,
        Format::Yaml => yaml_groups(bytes, &mut groups)?,
    }
    Ok(groups.done)
}

fn yaml_groups(bytes: &[u8], groups: &mut Groups<'_>) -> Result<(), String> {
    let n_values = most_values(bytes);
    if n_values > MAX_YAML_VALUES {
        return Err(format!(
            "it may have {n_values} values, too many for one list in YAML (limit: {MAX_YAML_VALUES}); write it as JSON or \
             in several files"
        ));
    }
    let document = yaml::parse_bytes(bytes).map_err(|error| error.to_string())?;
    match document.value {
        Value::Null => Ok(()),
        Value::List(items) => items
            .into_iter()
            .enumerate()
            .try_for_each(|(group_idx, item)| yaml_group(group_idx, item, groups)),
        _ => Err(at(document.line, "not a list of target groups")),
    }
}

/// Values that a YAML text can have at most, aliases apart: there is a mark before each but the first.
fn most_values(bytes: &[u8]) -> usize {
    let ends_mark = |next: Option<&u8>| {
        next.is_none_or(|it| it.is_ascii_whitespace() || matches!(it, b',' | b'[' | b']' | b'{' | b'}'))
    };
    let mut before = b' ';
    let mut n_marks: usize = 0;
    for (idx, byte) in bytes.iter().enumerate() {
        let next = bytes.get(idx + 1);
        n_marks += match byte {
            b',' | b'[' | b'{' => 1,
            // A key without a value, or one that stands in quotes.
            b':' if ends_mark(next) || matches!(before, b'"' | b'\'') => 1,
            b'-' | b'?' if ends_mark(next) => 1,
            _ => 0,
        };
        before = *byte;
    }
    // A key and its value have one mark.
    n_marks.saturating_mul(2)
}

fn yaml_group(group_idx: usize, item: Node, groups: &mut Groups<'_>) -> Result<(), String> {
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
                group.forget_targets();
                for target in targets {
                    let line = target.line;
                    let address = yaml_text(target, "a target")?;
                    groups.add_target(&mut group, &address).map_err(|sentence| at(line, &sentence))?;
                }
            }
            ("labels", Value::Map(labels)) => {
                // Also one of a mapping that was merged in: yaml.v2 has all of them in one map.
                for Entry { key: name, line, node, .. } in labels {
                    if name.is_empty() {
                        return Err(at(line, NO_LABEL_NAME));
                    }
                    if !names.insert(name.clone()) {
                        return Err(at(line, "a label stands there twice"));
                    }
                    let value = yaml_text(node, "the value of a label")?;
                    group.labels.push((name, value));
                }
            }
            ("targets", _) => return Err(at(line, "targets is not a list")),
            ("labels", _) => return Err(at(line, "labels is not a mapping")),
            _ => return Err(at(line, UNKNOWN_FIELD)),
        }
    }
    groups.add(group)
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
            return Err(at(entry.line, "a key stands there twice"));
        }
    }
    Ok(())
}

fn at(line: u32, sentence: &str) -> String {
    if line == 0 { sentence.to_owned() } else { format!("line {line}: {sentence}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::discovery::Provenance;
    use crate::discovery::lists::raw_group::MAX_REPEATED;
    use crate::discovery::lists::tally::Wanted;
    use crate::discovery::target_group::ADDRESS_LABEL;
    use std::fmt::Write;

    const ORIGIN: Origin<'static> = Origin {
        provenance: Provenance::Operator,
        label: "__meta_filepath",
        name: "/sd/a.yml",
        wanted: Wanted { n_targets: None },
    };

    /// Groups as text: targets, then labels.
    fn render(text: &str, format: Format) -> Result<String, String> {
        let mut out = String::new();
        for group in parse(text.as_bytes(), format, ORIGIN)? {
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
        check("[null]", Err("nil target group item found (index 0) at line 1 column 5"));
        check(
            r#"[{"targets": [], "labels": {"env": 1}}]"#,
            Err("expected a string as the value of a label at line 1 column 36"),
        );
        check(r#"[{"targets": [9100]}]"#, Err("expected a string as a target at line 1 column 18"));
        check(
            r#"[{"target": ["a:1"]}]"#,
            Err("group 0: unknown field; a group has \"targets\" and \"labels\" at line 1 column 10"),
        );
        check(r#"[{"labels": {"": "x"}}]"#, Err("\"\" is not a valid label name at line 1 column 15"));
        check(r#"{"targets": ["a:1"]}"#, Err("expected a list of target groups at line 1 column 1"));
        check("[1]", Err("expected a target group at line 1 column 2"));
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
            let targets: Vec<String> = (0..n_targets).map(|n| format!("\"{n}\"")).collect();
            let targets = targets.join(",");
            format!("[{{\"targets\": []}}, {{\"targets\": [{targets}], \"labels\": {{\"l\": \"{value}\"}}}}]")
        };
        let origin = Origin { label: "o", name: "p", ..ORIGIN };
        assert!(parse(list(31).as_bytes(), Format::Json, origin).is_ok());
        let error = parse(list(32).as_bytes(), Format::Json, origin).unwrap_err();
        assert!(
            error.starts_with(
                "group 1: with group \"p:1\" the labels of all targets have 33554528 bytes (limit: 33554432)"
            ),
            "{error}"
        );
    }

    /// What matters of it is kept.
    #[test]
    fn targets_are_counted_while_they_are_read() {
        let network =
            |n_targets| Origin { provenance: Provenance::Network, wanted: Wanted { n_targets }, ..ORIGIN };
        let list = |n_targets: usize| {
            let targets: Vec<String> = (0..n_targets).map(|n| format!("\"{n}:1\"")).collect();
            format!("[{{\"targets\": [{}]}}, {{\"targets\": [\"x\"]}}]", targets.join(","))
        };
        let counts = |text: &str, origin| {
            let groups = parse(text.as_bytes(), Format::Json, origin)?;
            Ok::<_, String>(groups.iter().map(|group| group.targets.len()).collect::<Vec<_>>())
        };
        assert_eq!(counts(&list(49_999), network(None)), Ok(vec![49_999, 1]));
        let error = counts(&list(50_000), network(None)).unwrap_err();
        assert!(error.contains("it has more than 50000 targets, the most of one source"), "{error}");
        assert_eq!(counts(&list(50_001), network(Some(11))), Ok(vec![11, 0]));
        assert_eq!(counts(&list(50_001), ORIGIN), Ok(vec![50_001, 1]));
        let same = format!("[{{\"targets\": [{}]}}]", vec!["\"a\""; 100_000].join(","));
        assert_eq!(counts(&same, network(None)), Ok(vec![1 + MAX_REPEATED]));
        // A mistake behind what is kept is one all the same; what does not count any more is not counted.
        assert!(counts("[{\"targets\": [\"a\", \"b\", 1]}]", network(Some(1))).is_err());
        let twice = "[{\"targets\": [\"a\", \"b\"], \"Targets\": [\"c\"]}, {\"targets\": [\"d\", \"e\"]}]";
        assert_eq!(counts(twice, network(Some(2))), Ok(vec![1, 1]));
        let empty = format!("[{}]", vec!["{}"; 300_000].join(","));
        assert!(counts(&empty, ORIGIN).unwrap_err().contains("take more than 33554432 bytes"));
        let labels: Vec<String> = (0..600_000).map(|n| format!("\"l{n}\":\"\"")).collect();
        let labels = format!("[{{\"labels\": {{{}}}}}]", labels.join(","));
        assert!(counts(&labels, ORIGIN).unwrap_err().contains("take more than 33554432 bytes"));
    }

    #[test]
    fn values_of_yaml_are_counted_before_it_is_read() {
        for (text, at_least) in [
            ("", 0),
            ("- targets: [a, b]\n  labels: {x: y}\n", 9),
            ("- targets:\n  - a:1\n  - b:2\n", 5),
            ("[{\"targets\":[\"a\"],\"labels\":{\"b\":\"c\"}}]", 8),
            ("{a,b,c}", 6),
            ("? a\n? b\n", 4),
            ("- - - -\n", 4),
            ("a:\nb:\n", 4),
        ] {
            let counted = most_values(text.as_bytes());
            assert!(counted >= at_least && counted <= 4 * at_least, "{counted} {text}");
        }
        let list = |n: usize| "- targets:\n".to_owned() + &"  - 10.0.0.1:9100\n".repeat(n);
        assert!(parse(list(100_000).as_bytes(), Format::Yaml, ORIGIN).is_ok());
        let error = parse(list(130_000).as_bytes(), Format::Yaml, ORIGIN).unwrap_err();
        let want = "it may have 260004 values, too many for one list in YAML (limit: 250000); write it as JSON or in several \
                    files";
        assert_eq!(error, want);
        assert!(
            parse("[a,".repeat(3_000_000).as_bytes(), Format::Yaml, ORIGIN).unwrap_err().contains("too many")
        );
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
        let unknown = "line 1: unknown field; a group has \"targets\" and \"labels\"";
        check("- target: [a:1]\n", Err(unknown));
        check("- Targets: [a:1]\n", Err(unknown));
        check("- targets: [a:1]\n  targets: [b:1]\n", Err("line 2: a key stands there twice"));
        check("- labels: {<<: {a: b}, a: c}\n", Err("line 1: a label stands there twice"));
        check("- targets: a:1\n", Err("line 1: targets is not a list"));
        check("targets: [a:1]\n", Err("line 1: not a list of target groups"));
        check("- labels:\n    env: [x]\n", Err("line 2: the value of a label is not a single value"));
        assert!(render("- targets: [a:1\n", Format::Yaml).is_err());
        assert!(parse(&[0xff, 0xfe], Format::Yaml, ORIGIN).is_err());
    }
}
