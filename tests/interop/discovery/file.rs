//! `file_sd_configs` against a real Prometheus: the same files, and the same targets of both after each change.

use std::fs;

use support::peers::differential::Both;
use support::wait_until;

const READ_ERRORS: &str = "prometheus_sd_file_read_errors_total";

/// What can be said in a group, in YAML.
const GROUPS_YAML: &str = r#"
- targets: ["a:1", "a:2", "a:1"]
  labels: {env: prod, __meta_own: x, __metrics_path__: /other, __scheme__: https, __param_module: m, job: mine}
- targets: [a:3]
- labels: {only: labels}
- targets: []
- targets:
  labels:
- targets: ["a:4"]
  labels: {n: 1, f: 1.50, b: true, y: yes, h: 0x10, d: 2020-01-01, t: ~, u: null, e: "", q: "1", v: 1e3, o: 010, m: -.inf}
- targets: ["a:5"]
  labels: {"ünï.cödé": "größe", __meta_filepath: mine, __address__: other, __scrape_interval__: 7s, __scrape_timeout__: 3s}
- targets: [9100, true, 1.0, "a:6", "[::1]:9100", localhost, ~, ""]
- &anchor
  targets: ["a:7"]
  labels: {anchored: "1"}
- <<: *anchor
  targets: ["a:8"]
- targets: ["a:9"]
  labels:
    long: >-
      two
      lines
    block: "x\ty"
"#;

/// The same in JSON.
const GROUPS_JSON: &str = r#"[
  {"targets": ["j:1", "j:2", "j:1"], "labels": {"env": "prod", "__scheme__": "https", "__param_x": "y z&"}},
  {"Targets": ["j:3"], "LABELS": {"Env": "p"}},
  {"targets": ["j:4", null], "labels": {"nothing": null}},
  {"targets": null, "labels": null},
  {},
  {"labels": {"a": "b"}},
  {"targets": ["j:5"], "labels": {"twice": "1", "twice": "2"}, "targets": ["j:6"]},
  {"labels": {"a": "1", "b": "1"}, "targets": ["j:7"], "labels": {"a": "2"}},
  {"Targets": ["j:8"], "targets": ["j:9"]},
  {"targets": ["j:10"], "Targets": ["j:11"]},
  {"targets": ["j:12"], "labels": {"é.\u00e9": "\ud83d\ude00 \u0001 \\ \"", "html": "<a&b>"}}
]
"#;

/// What the files of [`GROUPS_YAML`] and [`GROUPS_JSON`] have, each target once.
const OF_YAML: [&str; 14] = [
    "a:1",
    "a:2",
    "a:3",
    "a:4",
    "a:5",
    "9100",
    "true",
    "1.0",
    "a:6",
    "[::1]:9100",
    "localhost",
    "a:7",
    "a:8",
    "a:9",
];
const OF_JSON: [&str; 9] = ["j:1", "j:2", "j:3", "j:4", "j:6", "j:7", "j:9", "j:11", "j:12"];

/// Two jobs share a provider; in the third one a target comes from two.
const JOBS: &str = "\
- job_name: all
  file_sd_configs: [{files: ['sd/*.yml', 'sd/*.json', 'sd/one.yml', 'DIR/more/x[0-9].yaml', 'none/*.yml']}]
- job_name: again
  file_sd_configs: [{files: ['sd/*.yml', 'sd/*.json', 'sd/one.yml', 'DIR/more/x[0-9].yaml', 'none/*.yml']}]
  relabel_configs:
  - {source_labels: [__meta_filepath], regex: '.*/(.*)', target_label: file}
  - {source_labels: [__address__], regex: 'a:.*', action: drop}
- job_name: two
  file_sd_configs: [{files: ['sd/one.yml']}, {files: ['sd/one.json'], refresh_interval: 1h}]
  static_configs: [{targets: ['a:3', 's:1']}]
";

#[test]
fn what_files_say() {
    let files = [
        ("sd/one.yml", GROUPS_YAML),
        ("sd/one.json", GROUPS_JSON),
        ("sd/ignored.txt", "- targets: [x:1]"),
        ("sd/bad.yml", "- targets: [x:1"),
        ("sd/empty.yml", ""),
        ("sd/empty.json", ""),
        ("sd/null.json", "null"),
        ("sd/nothing.yml", "# nothing\n"),
        ("more/x1.yaml", "- targets: [m:1]\n"),
        ("more/xy.yaml", "- targets: [m:2]\n"),
        ("more/x3.yaml", "---\n- targets: [m:3]\n"),
    ];
    let both = Both::start(JOBS, &files);
    let (yaml, json) = (OF_YAML.as_slice(), OF_JSON.as_slice());
    // A dropped target is listed as often as it is named.
    let more = ["m:1", "m:3"];
    let all = [yaml, json, &more, yaml, json, &more, &["a:1"], yaml, json, &["s:1"]];
    both.agree("at first", &all.concat());
    let (theirs, ours) = both.families("prometheus_sd_");
    for name in
        ["discovered_targets", "file_mtime_seconds", "file_read_errors_total", "file_scan_duration_seconds"]
    {
        let name = format!("prometheus_sd_{name}");
        assert!(theirs.contains_key(&name));
        assert_eq!(theirs.get(&name), ours.get(&name), "{name}");
    }
}

/// Documents, `N` in them for a number of their own, and whether a real Prometheus takes targets from them.
const DOCUMENTS: &[(&str, &str, bool)] = &[
    ("yml", "- targets: ['dN:1']\n  labels: {a: b}\n  source: x\n", false),
    ("yml", "- Targets: ['dN:1']\n", false),
    ("yml", "- targets: dN:1\n", false),
    ("yml", "- targets: ['dN:1']\n  labels: [a]\n", false),
    ("yml", "- targets: ['dN:1']\n  labels: {a: [b]}\n", false),
    ("yml", "- targets: ['dN:1']\n  labels: {a: {b: c}}\n", false),
    ("yml", "- targets: ['dN:1', [x]]\n", false),
    ("yml", "- targets: ['dN:1']\n  labels: {'': x}\n", false),
    ("yml", "- targets: ['dN:1']\n  labels: {1: x, true: y, 'a b': z}\n", true),
    ("yml", "- targets: ['dN:1']\n  labels: {a: x, a: y}\n", false),
    ("yml", "- targets: ['dN:1']\n- \n", false),
    ("yml", "targets: ['dN:1']\n", false),
    ("yml", "dN:1\n", false),
    ("yml", "- targets: ['dN:1']\n---\n- targets: ['y:1']\n", true),
    ("yml", "- targets: ['dN:1']\n...\n", true),
    ("yml", "\u{feff}- targets: ['dN:1']\n", true),
    ("yml", "- targets: ['dN:1']\n\ttab: x\n", false),
    ("yml", "- {targets: ['dN:1'], labels: {a: !!str 1, c: !!int '3'}}\n", true),
    ("yml", "[{\"targets\": [\"dN:1\"], \"labels\": {\"a\": \"\\u00e9\"}}]\n", true),
    ("yml", "- targets: [&t 'dN:1', *t]\n  labels: {<<: {a: b, c: d}, e: f}\n", true),
    ("yml", "- targets: ['dN:1']\n  labels: {<<: {a: b, c: d}, c: e}\n", false),
    ("yml", "- targets: ['dN:1']\n  labels: {c: e, <<: {a: b, c: d}}\n", false),
    ("yml", "- {<<: {targets: ['x:1'], labels: {a: b}}, targets: ['dN:1'], labels: {c: d}}\n", true),
    ("yml", "- {targets: ['x:1'], labels: {a: b}, <<: {targets: ['dN:1'], labels: {c: d}}}\n", true),
    ("yml", "- {<<: {targets: ['x:1'], labels: {a: b}}, targets: ['dN:1'], labels: {a: d}}\n", false),
    ("yaml", "%YAML 1.1\n---\n- targets: ['dN:1']\n", true),
    ("YML", "- targets: ['dN:1']\n", true),
    ("json", r#"[{"targets": ["dN:1"]}] []"#, false),
    (
        "json",
        r#"[{"targets": ["dN:1"]}]
"#,
        true,
    ),
    ("json", r#"[{"targets": ["dN:1"], "source": "x"}]"#, false),
    ("json", r#"[{"targets": ["dN:1"], "labels": {"a": 1}}]"#, false),
    ("json", r#"[{"targets": ["dN:1"], "labels": {"a": true}}]"#, false),
    ("json", r#"[{"targets": ["dN:1"], "labels": {"": "x"}}]"#, false),
    ("json", r#"[{"targets": ["dN:1"], "labels": {"a b": "x", "1": ""}}]"#, true),
    ("json", r#"[{"targets": ["dN:1", 1]}]"#, false),
    ("json", r#"[{"targets": "dN:1"}]"#, false),
    ("json", r#"[{"targets": ["dN:1"]}, null]"#, false),
    ("json", r#"[{"targets": ["dN:1"]}, []]"#, false),
    ("json", r#"{"targets": ["dN:1"]}"#, false),
    ("json", r#"[{"targets": ["dN:1"],}]"#, false),
    ("json", r#"[{"targets": ["dN:1"], "labels": {"u": "\u0000"}}]"#, true),
    ("json", "[{\"targets\": [\"dN:1\"], \"labels\": {\"t\": \"\t\"}}]", false),
    ("json", "- targets: ['dN:1']\n", false),
    ("JSON", r#"[{"targets": ["dN:1"]}]"#, true),
];

/// Refused by us alone, on purpose; the reason, and a piece of our sentence.
const STRICTER: [(&str, &str, &str, &str); 2] = [
    (
        "yml",
        "- {targets: ['dN:1'], labels: {b: !!binary eA==}}\n",
        "nobody writes a label that way, and it need not be text",
        "!!binary values are not supported",
    ),
    (
        "json",
        r#"[{"targets": ["dN:1"], "labels": {"u": "\ud800"}}]"#,
        "half a character of UTF-16 is no text; Go puts a replacement character there",
        "end of hex escape",
    ),
];

#[test]
fn what_only_prometheus_takes() {
    let documents = STRICTER.map(|(extension, text, _, _)| (extension, text));
    let (job, files) = documents_in_files(&documents);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    let both = Both::start(&job, &files);
    wait_until("both have read all", || {
        let (theirs, ours) = both.addresses();
        theirs == ["d0:1", "d1:1"] && ours.is_empty() && both.values(READ_ERRORS) == (0.0, 2.0)
    });
    for (_, text, _, sentence) in STRICTER {
        assert!(both.scraped.stderr().contains(sentence), "{text}");
    }
}

/// A job with a directory for each document, whose number it also gets.
fn documents_in_files(documents: &[(&str, &str)]) -> (String, Vec<(String, String)>) {
    let mut files = Vec::new();
    let mut patterns = Vec::new();
    for (idx, (extension, text)) in documents.iter().enumerate() {
        files.push((format!("d{idx}/list.{extension}"), text.replace("dN", &format!("d{idx}"))));
        patterns.push(format!("d{idx}/*.{extension}"));
    }
    (format!("- job_name: lists\n  file_sd_configs: [{{files: {patterns:?}}}]\n"), files)
}

#[test]
fn what_is_a_list() {
    let documents: Vec<(&str, &str)> =
        DOCUMENTS.iter().map(|(extension, text, _)| (*extension, *text)).collect();
    let (job, files) = documents_in_files(&documents);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
    let taken = DOCUMENTS.iter().enumerate().filter(|(_, (_, _, is_taken))| *is_taken);
    let taken: Vec<String> = taken.map(|(idx, _)| format!("d{idx}:1")).collect();
    let both = Both::start(&job, &files);
    both.agree("every document", &taken.iter().map(String::as_str).collect::<Vec<_>>());
    both.wait_for_growth(READ_ERRORS, (0.0, 0.0), (DOCUMENTS.len() - taken.len()) as f64);
}

#[test]
fn files_that_change() {
    let job =
        "- job_name: files\n  file_sd_configs: [{files: ['sd/*.yml', 'sd/*.json'], refresh_interval: 1m}]\n";
    let both =
        Both::start(job, &[("sd/a.yml", "- targets: ['a:1']\n"), ("sd/b.json", r#"[{"targets": ["b:1"]}]"#)]);
    both.agree("at first", &["a:1", "b:1"]);
    both.replace("sd/a.yml", "- targets: ['a:2']\n- targets: ['a:3']\n  labels: {x: y}\n");
    both.agree("replaced", &["a:2", "a:3", "b:1"]);
    let in_place = "- targets: ['a:2']\n- targets: ['a:4']\n  labels: {x: z}\n";
    fs::write(both.path("sd/a.yml"), in_place).expect("writable");
    both.agree("written in place", &["a:2", "a:4", "b:1"]);
    both.replace("sd/c.yml", "- targets: ['c:1']\n");
    both.agree("one more", &["a:2", "a:4", "b:1", "c:1"]);
    // What cannot be read keeps what it had; what comes with it is taken over.
    both.replace("sd/a.yml", "- targets: ['a:5'\n");
    both.replace("sd/b.json", "");
    both.replace("sd/c.yml", "- targets: ['c:2']\n");
    both.agree("two bad ones", &["a:2", "a:4", "b:1", "c:2"]);
    both.replace("sd/b.json", "[]");
    both.replace("sd/a.yml", "- targets: ['a:6']\n- targets: ['a:2']\n");
    both.agree("good again", &["a:2", "a:6", "c:2"]);
    fs::write(both.path("sd/a.yml"), "").expect("writable");
    both.agree("emptied", &["c:2"]);
    fs::remove_file(both.path("sd/c.yml")).expect("removable");
    both.replace("sd/b.json", r#"[{"targets": []}, {"targets": ["b:2"]}]"#);
    both.agree("one gone, one back", &["b:2"]);
    fs::rename(both.path("sd/b.json"), both.path("sd/d.json")).expect("renamed");
    both.replace("sd/e.yml", "- targets: ['e:1']\n");
    both.agree("renamed", &["b:2", "e:1"]);
    fs::remove_dir_all(both.path("sd")).expect("removable");
    both.agree("nothing left", &[]);
}
