//! The daemon between real programs: a node_exporter before it, Prometheus' own tools and a server behind it, and an
//! agent beside it on the same configuration.
//!
//! Needs what `scripts/peers` fetches; fails without it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use support::command::values;
use support::peers::{Peer, promtool};
use support::scraped::{Scraped, free_address};
use support::targets::{Behaviour, FakeTargets, packed_page, page};
use support::wait_until;
use support::wal::ask_all;
use support::wal::peers::{Server, dump};
use tempfile::TempDir;

/// `up`, three counts and the duration of each scrape.
const N_REPORT_SERIES: usize = 5;

fn temp_dir() -> TempDir {
    TempDir::with_prefix("scraped-test-").expect("a directory")
}

#[test]
fn a_server_answers_what_a_node_exporter_exposed_before_and_after_a_restart() {
    let exporter_dir = temp_dir();
    let exporter = Peer::node_exporter(exporter_dir.path());
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         scrape_configs:\n- {{job_name: node, static_configs: [{{targets: ['{}']}}]}}\n",
        exporter.address()
    );
    let scraped = Scraped::start(&config);
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    let wait_for = |what: &str, n_scrapes: usize| {
        wait_until(what, || {
            data.join("wal").is_dir()
                && values(&data, "up").iter().filter(|up| *up == "1").count() >= n_scrapes
        });
    };
    wait_for("some scrapes", 3);
    assert_eq!(scraped.stop().code(), Some(0));
    let before = ask_all(&data);
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let n_before = values(&data, "up").len();
    wait_for("some scrapes after the restart", n_before + 3);

    // The page itself, which has not changed since in what counts here.
    let exposed = exporter.get("/metrics");
    let uname = exposed.lines().find(|line| line.starts_with("node_uname_info{")).expect("exposed");
    assert_eq!(scraped.stop().code(), Some(0));

    let ours = ask_all(&data);
    assert_eq!(dump(&data), ours, "promtool tsdb dump");
    let server = Server::start(&data);
    let now_ms = ours.values().flatten().map(|(ts_ms, _)| *ts_ms).max().expect("samples");
    for name in ["up", "node_load1", "node_uname_info", "scrape_samples_scraped"] {
        let told = server.ask(name, now_ms);
        assert_eq!(told.len(), 1, "{name}: {told:?}");
        let (labels, samples) = told.iter().next().expect("one");
        assert_eq!(samples, &ours[labels], "{name}");
        let n_kept = before[labels].len();
        assert_eq!(samples[..n_kept], before[labels], "{name}: those before the restart");
        assert!(samples.len() >= n_kept + 3 && n_kept >= 3, "{name}: {n_kept} and {}", samples.len());
    }
    let (labels, samples) = server.ask("node_uname_info", now_ms).pop_first().expect("one");
    for label in uname.split(['{', '}']).nth(1).expect("labels").split(',') {
        assert!(labels.contains(label), "no {label} in {labels}");
    }
    assert!(samples.iter().all(|(_, value)| value == "1.0"));
    // All that was exposed came in: a page's samples, and that many in the log.
    let n_exposed = exposed.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(ours.len(), n_exposed + N_REPORT_SERIES);
    assert!(values(&data, "scrape_samples_scraped").iter().all(|n| *n == n_exposed.to_string()));
}

#[test]
fn promtool_accepts_our_metrics() {
    let targets = FakeTargets::start();
    targets.set("/good", Behaviour::Counter);
    targets.set("/bad", Behaviour::Status(500));
    let address = targets.address();
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
         - {{job_name: good, metrics_path: /good, static_configs: [{{targets: ['{address}']}}]}}\n\
         - {{job_name: bad, metrics_path: /bad, static_configs: [{{targets: ['{address}']}}]}}\n\
         - {{job_name: files, file_sd_configs: [{{files: ['*.json']}}]}}\n"
    );
    let scraped = Scraped::start(&config);
    wait_until("everything has a value", || {
        targets.n_requests("/good") > 3 && targets.n_requests("/bad") > 3
    });
    let _ = scraped.get("/targets");
    scraped.signal("HUP");
    wait_until("reloaded", || scraped.stderr().contains("configuration loaded"));
    let (code, said) = lint(&scraped.get("/metrics").body);
    assert_eq!((code, said.as_str()), (Some(0), ""), "not even a lint");
    // It would have told.
    let (code, said) = lint("# TYPE bad_count counter\nbad_count 1\n");
    assert!(code != Some(0) && said.contains("bad_count"), "{code:?} {said}");
}

/// Exit code and words of `promtool check metrics`.
fn lint(page: &str) -> (Option<i32>, String) {
    let mut command = promtool();
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool runs");
    child.stdin.take().expect("piped").write_all(page.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("UTF-8"))
}

/// With the usual words behind the code: ours are always the usual ones, whatever the target says.
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
const NO_LOCATION: &str = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n";

/// Parts of the answer that both choose alike.
const SAME_LISTS: [&str; 6] = [
    "/api/v1/targets?state=active",
    "/api/v1/targets?state=dropped",
    "/api/v1/targets?state=any",
    "/api/v1/targets?state=nonsense",
    "/api/v1/targets?scrapePool=dropped",
    "/api/v1/targets?scrapePool=nonsense",
];

/// What both answer to the letter; `http/queries.rs` compares what an agent refuses.
const SAME_ANSWERS: [(&str, &str); 7] = [
    ("GET", "/api/v1/scrape_pools"),
    ("GET", "/api/v1/rules"),
    ("GET", "/api/v1/alerts"),
    ("GET", "/api/v1/status/walreplay"),
    ("GET", "/api/v1/nosuch"),
    ("GET", "/nosuch"),
    ("GET", "/-/reload"),
];

/// Every way for a target to come by its labels and address that this release has.
/// Targets of it that are scraped.
const N_ACTIVE: usize = 29;

fn target_config(good: &str, refused: &str) -> String {
    format!(
        r#"
global:
  scrape_interval: 700ms
  scrape_timeout: 300ms
  external_labels: {{site: edge}}
scrape_configs:
- job_name: plain
  static_configs:
  - targets: ['{good}', '{refused}', 'localhost:1']
    labels: {{env: prod, __metrics_path__: /page}}
- job_name: params
  metrics_path: /page
  params: {{module: [http 2xx, second], "a&b": ["ü/?"], empty: [""]}}
  honor_labels: true
  scrape_interval: 1s250ms
  static_configs:
  - targets: ['{good}']
  - targets: ['{good}']
    labels: {{__param_module: icmp, probe: ping}}
- job_name: relabelled
  relabel_configs:
  - {{source_labels: [role], regex: drop, action: drop}}
  - {{action: labelmap, regex: __meta_(.+)}}
  - {{source_labels: [__address__, role], separator: /, regex: '(.+):(\d+)/(.*)', target_label: __metrics_path__, replacement: /$3}}
  - {{source_labels: [__address__], modulus: 16, action: hashmod, target_label: bucket}}
  - {{source_labels: [role], action: uppercase, target_label: upper}}
  - {{regex: forgotten, action: labeldrop}}
  - {{source_labels: [role], regex: quick, target_label: __scrape_interval__, replacement: 500ms}}
  - {{source_labels: [role], regex: named, target_label: instance, replacement: my-box}}
  static_configs:
  - targets: ['{good}']
    labels: {{role: drop, __meta_why: relabelling}}
  - targets: ['{good}']
    labels: {{role: quick, forgotten: x}}
  - targets: ['{good}']
    labels: {{role: named, __tmp_x: y}}
- job_name: dropped
  relabel_configs: [{{action: drop}}]
  static_configs: [{{targets: ['a:1', 'b:2'], labels: {{x: y}}}}]
- job_name: few_dropped
  keep_dropped_targets: 1
  relabel_configs: [{{action: keep, source_labels: [x], regex: never}}]
  static_configs: [{{targets: ['a:1', 'b:2', 'c:3']}}]
- job_name: files
  metrics_path: /page
  file_sd_configs: [{{files: ['targets/*.yml', 'targets/*.json']}}]
- job_name: twice
  metrics_path: /page
  static_configs: [{{targets: ['{good}', '{good}']}}]
- job_name: broken
  static_configs:
  - {{targets: ['{good}'], labels: {{__metrics_path__: /malformed}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /missing}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /unavailable}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /hangs}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /slow_body}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /closes}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /cut}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /not_gzip}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /html}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /no_type}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /bad_type}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /nothing}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /upper_gzip}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /binary}}}}
  - {{targets: ['{good}'], labels: {{__metrics_path__: /no_location}}}}
- job_name: too_much
  sample_limit: 1
  metrics_path: /page
  static_configs: [{{targets: ['{good}']}}]
- job_name: too_large
  body_size_limit: 10B
  metrics_path: /page
  static_configs: [{{targets: ['{good}']}}]
- job_name: unnamed
  metrics_path: /page
  metric_relabel_configs: [{{action: labeldrop, regex: __name__}}]
  static_configs: [{{targets: ['{good}']}}]
"#
    )
}

#[test]
fn an_agent_shows_the_same_targets_and_configuration() {
    let targets = FakeTargets::start();
    let page = page("good 1\nbetter{labels=\"yes\"} 2\n");
    let ms = std::time::Duration::from_millis;
    for (path, behaviour) in [
        ("/page", Behaviour::Healthy(page.clone())),
        ("/quick", Behaviour::Healthy(page.clone())),
        ("/named", Behaviour::Healthy(page.clone())),
        ("/malformed", Behaviour::Healthy(support::targets::page("good 1\nbad{a=\"b\" 2\n"))),
        ("/unavailable", Behaviour::Raw(support::targets::page(UNAVAILABLE))),
        ("/hangs", Behaviour::Hangs),
        ("/slow_body", Behaviour::Dribbles(page.clone(), ms(200))),
        ("/closes", Behaviour::Closes),
        ("/cut", Behaviour::CutsBody(page.clone(), 5)),
        ("/not_gzip", Behaviour::BadGzip),
        ("/html", Behaviour::ContentType(page.clone(), "text/html".to_owned())),
        ("/no_type", Behaviour::NoContentType(page.clone())),
        ("/nothing", Behaviour::Raw(support::targets::page(""))),
        ("/upper_gzip", Behaviour::ContentEncoding(packed_page("good 1\n"), "GZIP".to_owned())),
        ("/binary", Behaviour::Healthy(Arc::from(&b"good 1\n\xff\xfe\x01\x02\n"[..]))),
        ("/no_location", Behaviour::Raw(support::targets::page(NO_LOCATION))),
        ("/bad_type", Behaviour::ContentType(page, ";;;".to_owned())),
    ] {
        targets.set(path, behaviour);
    }
    let address = targets.address();
    let dir = Arc::new(temp_dir());
    fs::write(dir.path().join("scraped.yml"), target_config(&address, &free_address())).unwrap();
    let files = dir.path().join("targets");
    fs::create_dir(&files).unwrap();
    let yml =
        format!("- targets: ['{address}']\n  labels: {{from: yml, number: 7}}\n- targets: ['{address}']\n");
    fs::write(files.join("one.yml"), yml).unwrap();
    let json = json!([{ "targets": [address], "labels": { "from": "json" } }]).to_string();
    fs::write(files.join("two.json"), json).unwrap();

    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let agent = Peer::agent(&dir.path().join("scraped.yml"), &dir.path().join("agent"));
    let ours = || targets_of(&scraped.get("/api/v1/targets").body);
    let theirs = || targets_of(&agent.get("/api/v1/targets"));
    let n_scraped = |answer: &Value| {
        let active = answer["activeTargets"].as_array().expect("an array");
        active.iter().all(|target| target["health"] != "unknown").then_some(active.len())
    };
    // A busy agent lists its jobs one by one.
    wait_until("both have scraped all", || {
        let (ours, theirs) = (n_scraped(&ours()), n_scraped(&theirs()));
        [ours, theirs] == [Some(N_ACTIVE); 2]
    });
    let (mut ours, theirs) = (ours(), theirs());
    forget_additions(&mut ours, &theirs);
    assert_eq!(pretty(&ours), pretty(&theirs));
    for path in SAME_LISTS {
        let ours = targets_of(&scraped.get(path).body);
        let theirs = targets_of(&agent.get(path));
        assert_eq!(ours["droppedTargetCounts"], theirs["droppedTargetCounts"], "{path}");
        for list in ["activeTargets", "droppedTargets"] {
            let n_targets = |data: &Value| data[list].as_array().map(Vec::len);
            assert_eq!(n_targets(&ours), n_targets(&theirs), "{path}: {list}");
        }
    }
    for (method, path) in SAME_ANSWERS {
        let answer = scraped.ask(method, path);
        assert_eq!((answer.status, answer.body), agent.request(method, path), "{method} {path}");
    }
    let yaml = |body: &str| {
        let answer: Value = serde_json::from_str(body).expect("JSON");
        comparable(answer["data"]["yaml"].as_str().expect("text"))
    };
    let ours = yaml(&scraped.get("/api/v1/status/config").body);
    assert_eq!(ours, yaml(&agent.get("/api/v1/status/config")));
    assert!(ours.lines().count() > 200, "{ours}");
}

/// Line by line, so that a failure shows where.
fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("JSON")
}

/// Where our error says more than Prometheus' (`sample limit exceeded (samples: 2, sample_limit: 1)`) the more is cut
/// off; everything else has to be the same.
fn forget_additions(ours: &mut Value, theirs: &Value) {
    let their_targets = theirs["activeTargets"].as_array().expect("an array");
    let errors: BTreeSet<&str> =
        their_targets.iter().filter_map(|target| target["lastError"].as_str()).collect();
    for target in ours["activeTargets"].as_array_mut().expect("an array") {
        let error = target["lastError"].as_str().expect("text");
        let known = errors.iter().find(|known| {
            error.strip_prefix(**known).is_some_and(|more| more.starts_with(" (") && more.ends_with(')'))
        });
        if let Some(known) = known {
            target["lastError"] = json!(known);
        }
    }
    let targets = ours["activeTargets"].as_array_mut().expect("an array");
    targets.sort_by_key(Value::to_string);
}

/// A printed configuration without what the versions differ in: fields of Prometheus 3.14, which is whose schema we
/// have, that an older peer does not print, and `runtime` and `otlp`, which mean nothing here.
fn comparable(yaml: &str) -> String {
    let newer = ["scrape_native_histograms:", "extra_scrape_metrics:"];
    let mut kept = String::new();
    let mut section = "";
    let mut is_list_of_protocols = false;
    for line in yaml.lines() {
        let text = line.trim_start();
        if !line.starts_with([' ', '-']) {
            section = text;
        }
        // The default of `global` is printed by the peer where we print it for the jobs only, or the other way round.
        is_list_of_protocols = section == "global:"
            && (text == "scrape_protocols:" || (is_list_of_protocols && text.starts_with("- ")));
        let is_default_scheme = section == "global:" && text.starts_with("metric_name_validation_scheme:");
        let differs = newer.iter().any(|field| text.starts_with(field));
        let meaningless = section == "runtime:" || section == "otlp:";
        if !(differs || meaningless || is_list_of_protocols || is_default_scheme) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The answer's data without what differs from one moment or run to the next, in a fixed order.
fn targets_of(body: &str) -> Value {
    let mut answer: Value = serde_json::from_str(body).expect("JSON");
    let mut data = answer["data"].take();
    for list in ["activeTargets", "droppedTargets"] {
        let targets = data[list].as_array_mut().expect("an array");
        for target in targets.iter_mut() {
            let target = target.as_object_mut().expect("an object");
            target.remove("lastScrape");
            target.remove("lastScrapeDuration");
            // Labels that Prometheus has since 3.13.
            let discovered = target["discoveredLabels"].as_object_mut().expect("an object");
            discovered.retain(|label, _| !label.ends_with("_histograms__") && !label.ends_with("_to_nhcb__"));
        }
        targets.sort_by_key(Value::to_string);
    }
    data
}
