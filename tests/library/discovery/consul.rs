//! `consul_sd_configs` against a server of the test's own.
//!
//! `tests/data/discovery/consul/expected.json` is what the discoverer of Prometheus 3.14 made of `pages.json`, and what it
//! asked for, its waiting left out; it was linked into a program of its own, since Debian's Prometheus has it not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use scraped::discovery::target_group::TargetSets;
use serde_json::Value;
use support::discovery::Discovery;
use support::tls::endpoint::{Endpoint, Reply, Request, reply};
use support::{PATIENCE, wait_until};

const WEB: &str = r#"[
  {"Node": {"Node": "n1", "Address": "10.0.0.1", "Meta": {"rack-id": "7"},
            "TaggedAddresses": {"lan": "10.0.0.1", "wan": "1.2.3.4"}},
   "Service": {"ID": "web-1", "Service": "web", "Tags": ["a", "b"], "Address": "", "Port": 80, "Meta": {"v": "2"}},
   "Checks": [{"CheckID": "serfHealth", "Status": "passing"}, {"CheckID": "http", "Status": "warning"}]},
  {"Node": {"Node": "n2", "Address": "10.0.0.2", "Meta": null, "TaggedAddresses": null},
   "Service": {"ID": "web-2", "Service": "web", "Tags": [], "Address": "fd00::2", "Port": 81, "Namespace": "ns1",
               "Partition": "p1"},
   "Checks": [{"CheckID": "_node_maintenance", "Status": "critical"}]}]"#;

const DB: &str = r#"[{"Node": {"Node": "n3", "Address": "10.0.0.3"}, "Service": {"ID": "db", "Port": 5432, "Tags": ["x"]},
  "Checks": [{"CheckID": "c", "Status": "critical"}, {"CheckID": "d", "Status": "passing"}]}]"#;

/// Path → answer; what is not there is 404.
type Pages = Arc<Mutex<BTreeMap<&'static str, Reply>>>;

fn consul() -> (Endpoint, Pages) {
    let pages: Pages = Arc::default();
    set(&pages, "/v1/agent/self", "{\"Config\": {\"Datacenter\": \"dc1\"}}");
    set(&pages, "/v1/catalog/services", "{\"web\": [\"a\", \"b\"], \"db\": [\"x\"], \"consul\": null}");
    set(&pages, "/v1/health/service/web", WEB);
    set(&pages, "/v1/health/service/db", DB);
    set(&pages, "/v1/health/service/consul", "[]");
    let served = Arc::clone(&pages);
    let answer = move |request: &Request| {
        let target = request.head.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let pages = served.lock().expect("not poisoned");
        pages.get(path).cloned().unwrap_or_else(|| reply(404, "", "no such page"))
    };
    (Endpoint::plain(answer), pages)
}

fn set(pages: &Pages, path: &'static str, body: &str) {
    pages.lock().expect("not poisoned").insert(path, reply(200, "X-Consul-Index: 1\r\n", body));
}

fn job(endpoint: &Endpoint, settings: &str) -> String {
    let server = endpoint.at("127.0.0.1");
    format!("- job_name: consul\n  consul_sd_configs: [{{server: '{server}', {settings}}}]\n")
}

fn asked(endpoint: &Endpoint) -> Vec<String> {
    let targets = endpoint.requests();
    targets.iter().filter_map(|request| Some(request.head.split(' ').nth(1)?.to_owned())).collect()
}

const WEB_TARGETS: &str = concat!(
    r#"10.0.0.1:80{__meta_consul_address="10.0.0.1", __meta_consul_health="warning", __meta_consul_metadata_rack_id="7", "#,
    r#"__meta_consul_node="n1", __meta_consul_service_id="web-1", __meta_consul_service_metadata_v="2", "#,
    r#"__meta_consul_service_port="80", __meta_consul_tagged_address_lan="10.0.0.1", "#,
    r#"__meta_consul_tagged_address_wan="1.2.3.4", __meta_consul_tags=",a,b,", __meta_consul_dc="dc1", "#,
    r#"__meta_consul_service="web"} "#,
    r#"[fd00::2]:81{__meta_consul_address="10.0.0.2", __meta_consul_health="maintenance", "#,
    r#"__meta_consul_namespace="ns1", __meta_consul_node="n2", __meta_consul_partition="p1", "#,
    r#"__meta_consul_service_address="fd00::2", __meta_consul_service_id="web-2", __meta_consul_service_port="81", "#,
    r#"__meta_consul_tags=",,", __meta_consul_dc="dc1", __meta_consul_service="web"}"#,
);

const DB_TARGETS: &str = concat!(
    r#"10.0.0.3:5432{__meta_consul_address="10.0.0.3", __meta_consul_health="critical", __meta_consul_node="n3", "#,
    r#"__meta_consul_service_id="db", __meta_consul_service_port="5432", __meta_consul_tags=",x,", "#,
    r#"__meta_consul_dc="dc1", __meta_consul_service="db"}"#,
);

#[test]
fn all_services() {
    let (endpoint, _pages) = consul();
    let discovery = Discovery::start(&job(&endpoint, "token: hunter2"), &[]);
    assert_eq!(discovery.answered(), format!("consul: {DB_TARGETS} {WEB_TARGETS}"));
    assert_eq!(endpoint.last().values("X-Consul-Token"), ["hunter2"]);
    assert_eq!(
        asked(&endpoint),
        [
            "/v1/agent/self",
            "/v1/catalog/services?stale=",
            "/v1/health/service/consul?stale=",
            "/v1/health/service/db?stale=",
            "/v1/health/service/web?stale=",
        ]
    );
    discovery.handle.stop();
}

#[test]
fn some_services() {
    let (endpoint, pages) = consul();
    set(&pages, "/pre/v1/health/service/web", WEB);
    let settings = "services: [web, other], datacenter: dc1, path_prefix: /pre, allow_stale: false, \
                    node_meta: {rack: '7 8'}, health_filter: 'Service.Port > 1', username: u, password: p";
    let discovery = Discovery::start(&job(&endpoint, settings), &[]);
    // `other` has no page: its error does not keep `web` back.
    assert_eq!(discovery.answered(), format!("consul: {WEB_TARGETS}"));
    let rest = "dc=dc1&node-meta=rack%3A7+8&filter=Service.Port+%3E+1";
    assert_eq!(
        asked(&endpoint),
        [format!("/pre/v1/health/service/web?{rest}"), format!("/pre/v1/health/service/other?{rest}")]
    );
    assert_eq!(endpoint.last().values("Authorization"), ["Basic dTpw"]);
    assert!(discovery.page().contains("prometheus_sd_consul_rpc_failures_total 1\n"));
    discovery.handle.stop();
}

#[test]
fn services_by_tag() {
    let (endpoint, _pages) = consul();
    let discovery = Discovery::start(&job(&endpoint, "tags: [a, b], tag_separator: ';'"), &[]);
    assert_eq!(
        discovery.answered(),
        format!("consul: {}", WEB_TARGETS.replace(",a,b,", ";a;b;").replace(",,", ";;"))
    );
    assert_eq!(
        asked(&endpoint).last().map(String::as_str),
        Some("/v1/health/service/web?stale=&tag=a&tag=b")
    );
    discovery.handle.stop();
}

#[test]
fn services_come_go_and_fail() {
    let (endpoint, pages) = consul();
    let discovery = Discovery::start(&job(&endpoint, "refresh_interval: 100ms"), &[]);
    assert_eq!(discovery.answered(), format!("consul: {DB_TARGETS} {WEB_TARGETS}"));
    // Half an answer, and an error: both services keep what they had while a third one comes.
    let half = Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{".to_vec());
    pages.lock().expect("not poisoned").insert("/v1/health/service/db", half);
    pages.lock().expect("not poisoned").insert("/v1/health/service/web", reply(500, "", "rpc error"));
    set(&pages, "/v1/health/service/consul", DB);
    let third = DB_TARGETS.replace("_service=\"db\"", "_service=\"consul\"");
    discovery.expect(&format!("consul: {third} {DB_TARGETS} {WEB_TARGETS}"));
    let complaining = |n_services: usize| discovery.metrics.complaints.oldest(9).1 == n_services;
    wait_until("both complain", || complaining(2));
    set(&pages, "/v1/catalog/services", "{\"web\": []}");
    discovery.expect(&format!("consul: {WEB_TARGETS}"));
    wait_until("one of them is gone", || complaining(1));
    // The catalogue itself fails: nothing changes.
    pages.lock().expect("not poisoned").remove("/v1/catalog/services");
    let n_asked = asked(&endpoint).len();
    wait_until("more questions", || asked(&endpoint).len() >= n_asked + 3);
    set(&pages, "/v1/catalog/services", "{}");
    discovery.expect("consul:");
    discovery.handle.stop();
}

fn data(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/discovery/consul").join(name);
    serde_json::from_str(&fs::read_to_string(path).expect("a fixture")).expect("JSON")
}

/// All labels of all targets, each as JSON, in order.
fn all_labels(sets: &TargetSets) -> Vec<Value> {
    let mut targets = Vec::new();
    for group in sets.values().flatten() {
        for target in &group.targets {
            // A target's own labels win.
            let labels = group.labels.iter().chain(target.iter());
            targets
                .push(labels.map(|(name, value)| (name.to_owned(), Value::from(value))).collect::<Value>());
        }
    }
    in_order(targets)
}

fn in_order(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by_key(Value::to_string);
    values
}

/// Path and query, its parameters in order.
fn in_order_of_parameters(target: &str) -> Value {
    let Some((path, query)) = target.split_once('?') else { return target.into() };
    let mut parameters: Vec<&str> = query.split('&').collect();
    parameters.sort_unstable();
    format!("{path}?{}", parameters.join("&")).into()
}

#[test]
fn as_prometheus_asks_and_understands() {
    let pages = data("pages.json");
    for case in data("expected.json").as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let served = pages.clone();
        let endpoint = Endpoint::plain(move |request| {
            let target = request.head.split(' ').nth(1).unwrap_or_default();
            match served.get(target.split('?').next().unwrap_or_default()) {
                Some(page) => reply(200, "X-Consul-Index: 1\r\n", &page.to_string()),
                None => reply(404, "", "no such page"),
            }
        });
        let settings = case["settings"].as_str().expect("settings");
        let discovery = Discovery::start(&job(&endpoint, settings), &[]);
        let want = in_order(case["targets"].as_array().expect("targets").clone());
        let (start, mut last) = (Instant::now(), Vec::new());
        while last != want {
            assert!(start.elapsed() < PATIENCE, "{name}:\nlast {last:#?}\nwant {want:#?}");
            if let Ok(sets) = discovery.target_sets.recv_timeout(PATIENCE) {
                last = all_labels(&sets);
            }
        }
        let mut sent: Vec<Value> = asked(&endpoint).iter().map(|it| in_order_of_parameters(it)).collect();
        sent.sort_by_key(Value::to_string);
        sent.dedup();
        assert_eq!(&Value::from(sent), &case["asked"], "{name}");
        for header in ["X-Consul-Token", "Authorization"] {
            let want: Vec<&str> = case["headers"][header].as_str().into_iter().collect();
            assert_eq!(endpoint.last().values(header), want, "{name}: {header}");
        }
        discovery.handle.stop();
    }
}
