//! What newer agents than the one that tests run answer under `/api/v1`, as their source has it (3.14 and the main branch
//! behind it). `tests/interop/http/api_paths.rs` compares the rest with a real agent.

use serde_json::{Value, json};
use support::scraped::{Answer, Scraped, without_own_script};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const RULES: &str = "- {source_labels: [__address__, job], regex: '(.*):.*;(.*)', target_label: x, replacement: '$2-$1'}\n\
                     \x20 - {source_labels: [x], modulus: 8, target_label: shard, action: hashmod}\n\
                     \x20 - {source_labels: [a], action: drop, regex: bad}\n\
                     \x20 - {regex: shard, action: labeldrop}\n";

fn start(targets: &FakeTargets) -> Scraped {
    let address = targets.address();
    let config = format!(
        "global: {{scrape_interval: 1h}}\nscrape_configs:\n- job_name: one\n  basic_auth: {{username: u, password: secret}}\n  \
         static_configs: [{{targets: ['{address}'], labels: {{a: b}}}}]\n  relabel_configs:\n  {RULES}\
         - job_name: two\n  static_configs: [{{targets: []}}]\n"
    );
    Scraped::start_with(&config, &["--enable-feature=extra-scrape-metrics"])
}

fn data(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("Content-Type: application/json\r\n"), "{answer:?}");
    let mut body: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!(body["status"], "success");
    body["data"].take()
}

/// Asks for what is refused.
fn check_refusal(scraped: &Scraped, path: &str, error: &str) {
    let answer = scraped.get(path);
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_eq!((answer.status, &body["errorType"]), (400, &json!("bad_data")), "{path}: {body}");
    assert!(body["error"].as_str().is_some_and(|found| found.starts_with(error)), "{path}: {body}");
}

fn encoded(labels: &Value) -> String {
    labels.to_string().bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn each_relabel_rule_says_what_it_does() {
    let targets = FakeTargets::start();
    let scraped = start(&targets);
    let steps = |labels: Value| {
        let path = format!("/api/v1/targets/relabel_steps?scrapePool=one&labels={}", encoded(&labels));
        data(&scraped.get(&path))["steps"].take()
    };
    let rules = [
        json!({"source_labels": ["__address__", "job"], "separator": ";", "regex": "(.*):.*;(.*)",
               "target_label": "x", "replacement": "$2-$1", "action": "replace"}),
        json!({"source_labels": ["x"], "separator": ";", "regex": "(.*)", "modulus": 8, "target_label": "shard",
               "replacement": "$1", "action": "hashmod"}),
        json!({"source_labels": ["a"], "separator": ";", "regex": "bad", "replacement": "$1", "action": "drop"}),
        json!({"separator": ";", "regex": "shard", "replacement": "$1", "action": "labeldrop"}),
    ];
    let kept = steps(json!({"__address__": "h:80", "job": "one", "a": "b"}));
    let with_x = json!({"__address__": "h:80", "job": "one", "a": "b", "x": "one-h"});
    let mut with_shard = with_x.clone();
    with_shard["shard"] = kept[1]["output"]["shard"].clone();
    assert!(with_shard["shard"].is_string(), "{kept}");
    let outputs = [&with_x, &with_shard, &with_shard, &with_x];
    for (step, (rule, output)) in kept.as_array().expect("a list").iter().zip(rules.iter().zip(outputs)) {
        assert_eq!(step, &json!({"rule": rule, "output": output, "keep": true}));
    }
    let dropped = steps(json!({"a": "bad"}));
    let ends: Vec<(&Value, &Value)> =
        dropped.as_array().expect("a list").iter().map(|step| (&step["output"], &step["keep"])).collect();
    let nothing = json!({});
    assert_eq!(ends[2..], [(&nothing, &json!(false)), (&nothing, &json!(false))]);

    let path = "/api/v1/targets/relabel_steps";
    check_refusal(&scraped, path, "no scrapePool parameter provided");
    check_refusal(&scraped, &format!("{path}?scrapePool=one"), "no labels parameter provided");
    check_refusal(&scraped, &format!("{path}?scrapePool=one&labels=x"), "error parsing labels: ");
    check_refusal(&scraped, &format!("{path}?scrapePool=one&labels=[1]"), "error parsing labels: ");
    let unknown = "error retrieving scrape config: scrape pool \"no\\\"such\" not found";
    check_refusal(&scraped, &format!("{path}?scrapePool=no%22such&labels={{}}"), unknown);
}

#[test]
fn a_job_is_shown_as_it_is_in_force_without_secrets() {
    let targets = FakeTargets::start();
    let scraped = start(&targets);
    let path = "/api/v1/scrape_pools/config";
    let one = data(&scraped.get(&format!("{path}?scrapePool=one")));
    let text = one["yaml"].as_str().expect("a text");
    assert!(text.starts_with("job_name: one\n") && text.contains("password: <secret>\n"), "{text}");
    let all = data(&scraped.get("/api/v1/status/config"));
    let line = text.lines().nth(1).expect("a line");
    assert!(all["yaml"].as_str().is_some_and(|all| all.contains(line)), "{all}");
    check_refusal(&scraped, path, "no scrapePool parameter provided");
    check_refusal(
        &scraped,
        &format!("{path}?scrapePool=three"),
        "error retrieving scrape config: scrape pool \"three\" not found",
    );
}

#[test]
fn own_metrics_are_those_of_the_page() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let scraped = start(&targets);
    wait_until("it is up", || scraped.get("/api/v1/targets").body.contains("\"health\":\"up\""));
    let all = data(&scraped.get("/api/v1/status/self_metrics"));
    let page = scraped.get("/metrics").body;
    let names: Vec<&str> =
        all.as_array().expect("a list").iter().filter_map(|it| it["name"].as_str()).collect();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a type");
        let place = names.iter().position(|it| *it == name).unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(all[place]["type"], kind.to_uppercase(), "{name}");
    }
    let path = "/api/v1/status/self_metrics?metric_name_pattern=prometheus_(ready|build_info)";
    let some = data(&scraped.get(path));
    assert_eq!(some.as_array().map(Vec::len), Some(2), "{some}");
    let ready = some.as_array().and_then(|list| list.iter().find(|it| it["name"] == "prometheus_ready"));
    assert_eq!(ready.expect("a family")["metric"], json!([{"gauge": {"value": 1.0}}]));
    // Anchored.
    let none = data(&scraped.get("/api/v1/status/self_metrics?metric_name_pattern=ready"));
    assert_eq!(none, json!([]));
    let path = "/api/v1/status/self_metrics?metric_name_pattern=(";
    check_refusal(&scraped, path, "invalid metric_name_pattern: error parsing regexp: missing closing )");
}

#[test]
fn features_say_what_is_built_and_switched_on() {
    let targets = FakeTargets::start();
    let scraped = start(&targets);
    let features = data(&scraped.get("/api/v1/features"));
    for (group, name, is_on) in [
        ("api", "lifecycle", false),
        ("api", "remote_write_receiver", false),
        ("prometheus", "agent_mode", true),
        ("prometheus", "server_mode", false),
        ("scrape", "extra_scrape_metrics", true),
        ("service_discovery_providers", "kubernetes", true),
        ("service_discovery_providers", "static", true),
        ("tsdb", "metadata_wal_records", false),
    ] {
        assert_eq!(features[group][name], is_on, "{group} {name}");
    }
}

#[test]
fn what_a_server_alone_has_is_refused_in_its_words() {
    let targets = FakeTargets::start();
    let scraped = start(&targets);
    let check = |method: &str, path: &str, status: u16, body: Value| {
        let answer = scraped.ask(method, path);
        let found: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!((answer.status, found), (status, body), "{method} {path}");
    };
    let agent =
        || json!({"status": "error", "errorType": "execution", "error": "unavailable with Prometheus Agent"});
    check("GET", "/api/v1/status/tsdb/blocks", 422, agent());
    let search = || json!({"status": "error", "errorType": "unavailable", "error": "search API disabled"});
    for path in ["metric_names", "label_names", "label_values"] {
        check("GET", &format!("/api/v1/search/{path}"), 503, search());
        check("POST", &format!("/api/v1/search/{path}"), 503, search());
    }
}

/// Parameters that mean harm, for every path.
const HOSTILE: &[&str] = &[
    "%",
    "%zz=%&&&==",
    "limit=99999999999999999999&limit_per_metric=-99999999999999999999",
    "match_target=%ff%fe&metric=%00",
    "match_target={a=~\"(((((a+)+)+)+)+$\"}&metric_name_pattern=(((((a+)+)+)+)+$",
    "metric_name_pattern=a{1000}{1000}",
    "metric_name_pattern=%ff",
    "scrapePool=one&labels={\"\":\"\",\"a\":\"%22%3Cscript%3E%00\",\"a\":\"b\"}",
    "scrapePool=%22%3Cscript%3Ealert(1)%3C/script%3E&labels=%22%3Cscript%3E&state=%3Cscript%3E",
];

#[test]
fn whatever_is_asked_is_answered_in_its_form() {
    let targets = FakeTargets::start();
    let scraped = start(&targets);
    let list = support::repository().join("tests/data/web/router.txt");
    let list = std::fs::read_to_string(list).expect("the list");
    let mut queries: Vec<String> = HOSTILE.iter().map(|query| (*query).replace(' ', "+")).collect();
    queries.push(format!("scrapePool=one&labels={}", "[".repeat(7000)));
    queries.push(format!("scrapePool=one&labels={{\"a\":\"{}\"}}", "x".repeat(7000)));
    queries.push(format!("metric_name_pattern={}", "(".repeat(7000)));
    queries.push(format!("match_target={}", "{".repeat(7000)));
    let mut n_asked = 0;
    for line in list.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase())) {
        let mut words = line.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else { panic!("{line}") };
        if ["/-/flush", "/-/quit", "/-/reload", "/api/v1/notifications/live"].contains(&path)
            || method == "HEAD"
        {
            continue;
        }
        for query in &queries {
            let answer = scraped.ask(method, &format!("{path}?{query}"));
            let is_json = answer.head.contains("Content-Type: application/json");
            let body = serde_json::from_str::<Value>(&answer.body);
            assert!(
                !is_json || body.is_ok_and(|body| body["status"].is_string()),
                "{path}?{query}: {answer:?}"
            );
            let is_page = answer.head.contains("Content-Type: text/html");
            assert!(
                !is_page || !without_own_script(&answer.body).contains("<script"),
                "{path}?{query}: {answer:?}"
            );
            assert!(answer.head.contains("X-Content-Type-Options: nosniff"), "{answer:?}");
            n_asked += 1;
        }
    }
    assert!(n_asked > 500, "{n_asked}");
    assert_eq!(scraped.get("/-/healthy").status, 200);
}
