//! `scraped check …` and `scraped relabel test`.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use support::command::{self, Finished, finish};
use support::peers::promtool;
use support::scraped::{Scraped, free_address};
use support::targets::{Behaviour, FakeTargets, page};
use tempfile::TempDir;

fn data(name: &str) -> String {
    format!("{}/tests/data/commands/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn said(arguments: &[&str], code: i32) -> String {
    let Finished { code: ended, stdout, stderr, .. } = command::scraped(arguments);
    assert_eq!((ended, stderr.as_str()), (Some(code), ""), "{arguments:?}: {stdout}");
    stdout
}

#[test]
fn what_is_seldom_meant_is_said() {
    let file = data("lint.yml");
    let without_dir = |text: String| text.replace(&file, "lint.yml");
    let wanted = fs::read_to_string(data("lint.txt")).unwrap();
    assert_eq!(without_dir(said(&["check", "config", "--lint", &file], 0)), wanted);
    assert_eq!(without_dir(said(&["check", "config", "--lint=all", "--lint-fatal", &file], 3)), wanted);
    let good = "lint.yml: good: 2 jobs, 1 static target\n";
    assert_eq!(without_dir(said(&["check", "config", "--lint-fatal", &file], 0)), good);
    assert_eq!(without_dir(said(&["check", "config", "--lint=none", "--lint-fatal", &file], 0)), good);
    let json = said(&["check", "config", "--lint=no-targets", "--format=json", &file], 0);
    assert_eq!(
        serde_json::from_str::<Value>(&json).unwrap(),
        json!({
            "mistakes": [], "warnings": [], "notes": [], "summary": "2 jobs, 1 static target",
            "lint": ["job \"empty\": it names no targets and no source of them (no-targets)"]
        })
    );
    // promtool has one of them, and the same status.
    let lint = ["check", "config", "--agent", "--lint=too-long-scrape-interval", "--lint-fatal"];
    let theirs = finish(promtool().args(lint).arg(&file));
    let ours = command::scraped(&[&lint[..], &[&file]].concat());
    assert_eq!((theirs.code, ours.code), (Some(3), Some(3)), "{theirs:?}");
}

#[test]
fn mistakes_are_json_too() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("c.yml").display().to_string();
    fs::write(&file, "scrape_configs: [{job_name: a, scheme: x}, {job_name: b, no_such: 1}]\n").unwrap();
    let verdict: Value =
        serde_json::from_str(&said(&["check", "config", "--format=json", &file], 1)).unwrap();
    assert_eq!(verdict["mistakes"].as_array().unwrap().len(), 2, "{verdict}");
    assert!(verdict["mistakes"][0].as_str().unwrap().starts_with(&format!("{file}:1: scrape_configs[0]")));
}

#[test]
fn other_checks_are_json_too() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("web.yml").display().to_string();
    fs::write(&file, "http_server_config: {http2: true}\n").unwrap();
    let good: Value =
        serde_json::from_str(&said(&["check", "web-config", "--format=json", &file], 0)).unwrap();
    assert_eq!(good, json!({"good": true, "said": [format!("{file}: good: no TLS, 0 users, 0 headers")]}));
    // Nothing stands on the standard input.
    let empty: Value = serde_json::from_str(&said(&["check", "metrics", "--format=json"], 0)).unwrap();
    assert_eq!(empty, json!({"good": true, "said": ["good: 0 samples, 0 TYPE lines, text"]}));
}

/// Without the settings that later versions show as labels.
fn targets_of(json: &str) -> BTreeSet<String> {
    let is_later = |name: &str| name.contains("classic") || name.contains("native");
    let targets: Vec<Value> = serde_json::from_str(json).unwrap();
    let plain = targets.into_iter().map(|mut target| {
        for labels in ["discoveredLabels", "labels"] {
            target[labels].as_object_mut().unwrap().retain(|name, _| !is_later(name));
        }
        target.to_string()
    });
    plain.collect()
}

#[test]
fn targets_are_discovered_as_promtool_discovers_them() {
    let dir = TempDir::new().unwrap();
    let list = "[{\"targets\": [\"d:4\", \"e:5\"], \"labels\": {\"from\": \"file\"}}]";
    fs::write(dir.path().join("list.json"), list).unwrap();
    let file = dir.path().join("c.yml").display().to_string();
    let config = "
scrape_configs:
- job_name: mine
  static_configs: [{targets: ['a:1', 'b:2'], labels: {rack: r}}]
  relabel_configs:
  - {source_labels: [__address__], regex: 'b.*', action: drop}
  - {source_labels: [__meta_filepath], regex: '.*/(.*)', target_label: list}
- job_name: other
  file_sd_configs: [{files: [list.json]}]
  static_configs: [{targets: ['c:3']}]
";
    fs::write(&file, config).unwrap();
    let ours = said(&["check", "service-discovery", &file, "mine"], 0);
    // With a source that watches, promtool 3.5 may die of its own haste at the end of the time.
    let theirs = finish(promtool().args(["check", "service-discovery", "--timeout=2s", &file, "mine"]));
    assert_eq!(targets_of(&ours), targets_of(&theirs.stdout));
    assert_eq!(targets_of(&ours).len(), 2);
    let other = said(&["check", "service-discovery", &file, "other"], 0);
    assert_eq!(targets_of(&other).len(), 3);
    assert_eq!(other.matches("\"from\": \"file\"").count(), 4);
    let unknown = command::scraped(&["check", "service-discovery", &file, "nobody"]);
    assert_eq!(unknown.code, Some(1));
    assert_eq!(unknown.stderr, "scraped: no job is called \"nobody\"; there are: mine, other\n");
}

#[test]
fn a_source_that_fails_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("c.yml").display().to_string();
    let nobody = free_address();
    let config = format!(
        "scrape_configs:\n- job_name: a\n  http_sd_configs: [{{url: 'http://{nobody}/'}}]\n  static_configs: [{{targets: ['a:1']}}]\n"
    );
    fs::write(&file, config).unwrap();
    let found = command::scraped(&["check", "service-discovery", "--timeout=10s", &file, "a"]);
    assert_eq!(found.code, Some(1), "{found:?}");
    assert!(found.stderr.contains("connection refused"), "{found:?}");
    assert!(found.stdout.contains("\"a:1\""), "{found:?}");
}

#[test]
fn a_daemon_is_asked_how_it_is() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let job = format!(
        "scrape_configs: [{{job_name: a, static_configs: [{{targets: ['{}']}}]}}]\n",
        targets.address()
    );
    let scraped = Scraped::start(&job).ready();
    let url = format!("--url=http://{}", scraped.address());
    let address = scraped.address();
    assert_eq!(
        said(&["check", "healthy", &url], 0),
        format!("http://{address}: healthy: scraped is Healthy.\n")
    );
    let ready: Value = serde_json::from_str(&said(&["check", "ready", &url, "--format=json"], 0)).unwrap();
    assert_eq!((&ready["ready"], &ready["status"]), (&json!(true), &json!(200)));
    let nobody = free_address();
    let away = command::scraped(&["check", "ready", "--url", &nobody]);
    assert_eq!((away.code, away.stdout.as_str()), (Some(1), ""));
    let words = format!("scraped: no answer from scraped at http://{nobody}: ");
    assert!(away.stderr.starts_with(&words) && away.stderr.contains("connection refused"), "{}", away.stderr);
}

#[test]
fn each_rule_says_what_it_does() {
    let rules = format!("--rules={}", data("rules.yml"));
    let labels = ["__address__=10.0.0.7:9100", "__meta_host_rack=r2", "tmp=x", "{row=\"7\"}"];
    let test = |more: &[&str]| said(&[&["relabel", "test", &rules], &labels[..], more].concat(), 0);
    let wanted = "\
{__address__=\"10.0.0.7:9100\", __meta_host_rack=\"r2\", row=\"7\", tmp=\"x\"}
1. replace source_labels=[__address__] regex=\"(.*):\\\\d+\" target_label=instance
   +instance=\"10.0.0.7\"
2. labelmap regex=\"__meta_host_(.+)\"
   +rack=\"r2\"
3. replace source_labels=[rack, row] separator=\"/\" target_label=place
   +place=\"r2/7\"
4. labeldrop regex=\"tmp\"
   -tmp=\"x\"
5. drop source_labels=[env] regex=\"test\"
   no change
{__address__=\"10.0.0.7:9100\", __meta_host_rack=\"r2\", instance=\"10.0.0.7\", place=\"r2/7\", rack=\"r2\", row=\"7\"}
";
    assert_eq!(test(&[]), wanted);
    assert!(test(&["env=test"]).ends_with("   dropped\ndropped\n"));
    let json: Value = serde_json::from_str(&test(&["--format=json", "{\"env\": \"test\"}"])).unwrap();
    assert_eq!((&json["keep"], &json["steps"].as_array().unwrap().len()), (&json!(false), &5));
    assert_eq!(json["steps"][3]["labels"]["place"], "r2/7");
}

#[test]
fn what_is_no_label_and_no_rule_is_said() {
    let rules = format!("--rules={}", data("rules.yml"));
    let refused = |arguments: &[&str]| command::scraped(&[&["relabel", "test"], arguments].concat()).stderr;
    assert!(refused(&[&rules, "up{a=~\"x\"}"]).contains("is no label; write name=\"value\""));
    assert!(refused(&["a=b"]).contains("which rules? --rules=FILE, or --job=JOB"));
    let file = format!("--config.file={}", data("lint.yml"));
    assert_eq!(refused(&["--job=nobody", &file, "a=b"]), "scraped: no job is called \"nobody\"\n");
}
