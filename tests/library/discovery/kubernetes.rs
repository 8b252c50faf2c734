//! `kubernetes_sd_configs` against an API server of the test's own: what becomes of objects.

use serde_json::json;
use support::discovery::Discovery;
use support::discovery::kubernetes::{ApiServer, Asked, data, objects, own_node};
use support::scraped::Scraped;
use support::wait_until;

/// All there is.
fn cluster() -> ApiServer {
    let kinds = [
        "pods",
        "nodes",
        "namespaces",
        "replicasets",
        "jobs",
        "services",
        "endpoints",
        "endpointslices",
        "ingresses",
    ];
    ApiServer::start(&kinds.map(|kind| (kind, objects(&format!("{kind}.json")))))
}

/// One line a target, one more indented for each label, as the files have it.
fn shown(sets: &str) -> String {
    let sets = sets.strip_prefix("k:").expect("the job").trim();
    if sets.is_empty() {
        return String::new();
    }
    let mut targets = Vec::new();
    for target in sets.strip_suffix('}').expect("a target").split("} ") {
        let (address, labels) = target.split_once('{').expect("labels");
        let mut labels: Vec<&str> = labels.split("\", ").collect();
        labels.sort_unstable();
        let labels: String =
            labels.iter().map(|label| format!("  {}\"\n", label.trim_end_matches('"'))).collect();
        targets.push(format!("{address}\n{labels}"));
    }
    // The name of this machine must not say where its node stands.
    targets.sort_unstable();
    targets.concat()
}

/// The targets are those of a file. `SCRAPED_BLESS=1` rewrites it.
fn check(settings: &str, file: &str) {
    let server = cluster();
    let discovery = Discovery::start(&server.job(settings), &[]);
    let got = shown(&discovery.answered());
    if std::env::var_os("SCRAPED_BLESS").is_some() {
        let path = format!("{}/tests/data/discovery/kubernetes/{file}", env!("CARGO_MANIFEST_DIR"));
        std::fs::write(path, got.replace(&own_node(), "OWN_NODE")).expect("writable");
    }
    assert_eq!(got, data(file), "{settings}");
    discovery.handle.stop();
}

#[test]
fn labels_of_pods() {
    check("role: pod", "pods.expect");
}

#[test]
fn labels_of_nodes() {
    check("role: node", "node.expect");
    check("role: node, own_node: false", "nodes.expect");
}

#[test]
fn labels_that_are_attached() {
    check(
        "role: pod, attach_metadata: {node: true, namespace: true, deployment: true, job: true, cronjob: true}",
        "pods_attached.expect",
    );
}

#[test]
fn labels_of_services_and_ingresses() {
    check("role: service", "services.expect");
    check("role: ingress, own_node: false", "ingresses.expect");
    check("role: ingress, attach_metadata: {namespace: true, node: true}", "ingresses_attached.expect");
}

#[test]
fn labels_of_endpoints() {
    check("role: endpoints", "endpoints_own_node.expect");
    check("role: endpoints, own_node: false", "endpoints.expect");
    check("role: endpointslice", "endpointslices_own_node.expect");
    check("role: endpointslice, own_node: false", "endpointslices.expect");
    let attach = "attach_metadata: {node: true, namespace: true, deployment: true, job: true, cronjob: true}";
    check(&format!("role: endpoints, own_node: false, {attach}"), "endpoints_attached.expect");
    check(&format!("role: endpointslice, own_node: false, {attach}"), "endpointslices_attached.expect");
}

#[test]
fn what_is_asked_for() {
    let node = own_node();
    let ask = |settings: &str, want: &[&str]| {
        let server = cluster();
        let discovery = Discovery::start(&server.job(settings), &[]);
        discovery.next();
        server.wait_for_watches(want.len());
        let mut asked: Vec<String> = server
            .queries(Asked::Lists)
            .iter()
            .map(|query| {
                let get = |name: &str| query.parameters.get(name).cloned().unwrap_or_default();
                let namespace = query.namespace.as_ref().map(|it| format!("{it}/")).unwrap_or_default();
                assert_eq!((get("limit").as_str(), get("resourceVersion").as_str()), ("500", "0"));
                let resource = &query.resource;
                format!("{namespace}{resource} {} {}", get("labelSelector"), get("fieldSelector"))
                    .trim_end()
                    .to_owned()
            })
            .collect();
        asked.sort_unstable();
        let want: Vec<String> = want.iter().map(|it| it.replace("NODE", &node)).collect();
        assert_eq!(asked, want, "{settings}");
        for query in server.queries(Asked::Watches) {
            assert_eq!(query.parameters["allowWatchBookmarks"], "true");
            assert_eq!(query.parameters["resourceVersion"], "1025");
            let seconds: u64 = query.parameters["timeoutSeconds"].parse().expect("seconds");
            assert!((240..=300).contains(&seconds), "{seconds}");
        }
        discovery.handle.stop();
    };
    ask("role: node", &["nodes  metadata.name=NODE"]);
    ask("role: node, own_node: false", &["nodes"]);
    ask("role: pod", &["pods  spec.nodeName=NODE"]);
    ask(
        "role: pod, selectors: [{role: pod, label: tier=x, field: status.phase=Running}]",
        &["pods tier=x status.phase=Running,spec.nodeName=NODE"],
    );
    ask(
        "role: pod, selectors: [{role: pod, field: spec.nodeName=another-node}]",
        &["pods  spec.nodeName=another-node"],
    );
    ask(
        "role: pod, attach_metadata: {node: true}, selectors: [{role: pod, field: spec.nodeName=another-node}]",
        &["nodes", "pods  spec.nodeName=another-node"],
    );
    ask(
        "role: pod, namespaces: {names: [sensors, kube-system, sensors]}, attach_metadata: {deployment: true}",
        &[
            "kube-system/pods  spec.nodeName=NODE",
            "kube-system/replicasets",
            "sensors/pods  spec.nodeName=NODE",
            "sensors/replicasets",
        ],
    );
    ask(
        "role: pod, attach_metadata: {node: true, namespace: true, job: true}, selectors: [{role: node, label: zone=b}]",
        &["namespaces", "nodes zone=b metadata.name=NODE", "pods  spec.nodeName=NODE"],
    );
    ask("role: service, namespaces: {names: [sensors]}", &["sensors/services"]);
    ask(
        "role: ingress, attach_metadata: {namespace: true, node: true, deployment: true}",
        &["ingresses", "namespaces"],
    );
    ask("role: endpoints", &["endpoints", "pods  spec.nodeName=NODE", "services"]);
    ask(
        "role: endpointslice, own_node: false, attach_metadata: {node: true, cronjob: true}, selectors: [{role: pod, \
         label: tier=x}, {role: service, label: tier=x}, {role: endpointslice, field: metadata.name=x}]",
        &["endpointslices  metadata.name=x", "jobs", "nodes", "pods tier=x", "services tier=x"],
    );
    ask(
        "role: endpoints, attach_metadata: {node: true}, selectors: [{role: pod, field: spec.nodeName=another-node}]",
        &["endpoints", "nodes", "pods  spec.nodeName=another-node", "services"],
    );
}

#[test]
fn the_node_is_called_as_the_environment_says() {
    let server = cluster();
    let config = format!("scrape_configs:\n{}", server.job("role: node"));
    let scraped = Scraped::spawn_under(("NODE_NAME", "another-node"), &config);
    let targets =
        |scraped: &Scraped| scraped.try_get("/api/v1/targets").map(|it| it.body).unwrap_or_default();
    wait_until("that node", || targets(&scraped).contains("\"another-node:10250\""));
    let scraped = Scraped::spawn_under(("NODE_NAME", "nowhere"), &config);
    let sentence = "discovery: kubernetes of job \\\"k\\\": no node is called \\\"nowhere\\\" (that is \
                    NODE_NAME), so there are no targets; set NODE_NAME to the node's name, give a field \
                    selector, or own_node: false";
    wait_until("a warning", || scraped.stderr().contains(sentence));
    let page = || scraped.get("/targets").body;
    assert!(page().contains("no node is called"), "{}", page());
    let mut node = objects("nodes.json").remove(1);
    node["metadata"]["name"] = json!("nowhere");
    server.wait_for_watches(2);
    server.put("nodes", node.clone());
    wait_until("the node", || targets(&scraped).contains("\"instance\":\"nowhere\""));
    wait_until("no complaint", || !page().contains("no node is called"));
    assert_eq!(scraped.stderr().matches(sentence).count(), 1);
}

const READER: &str = "10.42.1.17:9100";
const BACKUP: &str = "[fd00:42::9]:8080";

/// Addresses only, of the targets with a port that has a name or is alone.
fn addresses(discovery: &Discovery) -> Vec<String> {
    let sets = shown(&discovery.answered());
    let lines = sets.lines().filter(|line| !line.starts_with(' ') && line.contains(':'));
    lines.filter(|line| !line.ends_with(":5683")).map(str::to_owned).collect()
}

fn expect_addresses(discovery: &Discovery, want: &[&str]) {
    let mut last = Vec::new();
    wait_until("targets", || {
        last = addresses(discovery);
        last == want
    });
}

#[test]
fn pods_come_change_and_go() {
    let server = cluster();
    server.page_by(1);
    let discovery = Discovery::start(&server.job("role: pod"), &[]);
    expect_addresses(&discovery, &[READER, BACKUP]);
    let pages = server.queries(Asked::Lists);
    let continues: Vec<Option<&String>> = pages.iter().map(|page| page.parameters.get("continue")).collect();
    assert_eq!(continues, [None, Some(&"1".to_owned()), Some(&"2".to_owned())]);
    server.wait_for_watches(1);
    let mut pods = objects("pods.json");
    pods[2]["status"]["podIP"] = json!("10.42.1.99");
    pods[2]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 1}]);
    server.put("pods", pods[2].clone());
    expect_addresses(&discovery, &[READER, "10.42.1.99:1", BACKUP]);
    server.remove("pods", &pods[1]);
    expect_addresses(&discovery, &[READER, "10.42.1.99:1"]);
    // Evicted: it has no address any more.
    pods[2]["status"] = json!({"phase": "Failed"});
    server.put("pods", pods[2].clone());
    expect_addresses(&discovery, &[READER]);
    // Nothing in the labels has changed: nothing is sent.
    let mut reader = pods[0].clone();
    reader["status"]["conditions"][1]["lastProbeTime"] = json!("2026-11-23T07:00:00Z");
    let n_received = || {
        let page = discovery.page();
        let line = page.lines().find(|line| line.starts_with("prometheus_sd_received_updates_total{"));
        line.expect("a counter").to_owned()
    };
    let before = n_received();
    server.put("pods", reader);
    discovery.expect_silence();
    assert_eq!(n_received(), before);
    let page = discovery.page();
    for line in [
        "prometheus_sd_kubernetes_events_total{role=\"pod\",event=\"add\"} 3\n",
        "prometheus_sd_kubernetes_events_total{role=\"pod\",event=\"update\"} 3\n",
        "prometheus_sd_kubernetes_events_total{role=\"pod\",event=\"delete\"} 1\n",
        "prometheus_sd_kubernetes_events_total{role=\"node\",event=\"add\"} 0\n",
        "prometheus_sd_kubernetes_failures_total 0\n",
    ] {
        assert!(page.contains(line), "{line}{page}");
    }
    assert_eq!(server.endpoint.n_connections(), 1, "lists and the watch share a connection");
    discovery.handle.stop();
}

#[test]
fn endpoints_follow_services_pods_and_slices() {
    let server = cluster();
    let discovery = Discovery::start(&server.job("role: endpointslice"), &[]);
    let all = |discovery: &Discovery| shown(&discovery.answered());
    let expect = |what: &str, is_there: &dyn Fn(&str) -> bool| {
        let mut last = String::new();
        wait_until(what, || {
            last = all(&discovery);
            is_there(&last)
        });
    };
    expect("targets", &|it| it.contains("10.42.1.17:9100"));
    server.wait_for_watches(3);
    let mut service = objects("services.json").remove(0);
    service["metadata"]["labels"]["tier"] = json!("new");
    server.put("services", service);
    expect("the service's label", &|it| it.contains("__meta_kubernetes_service_label_tier=\"new\""));
    let mut pod = objects("pods.json").remove(0);
    pod["status"]["phase"] = json!("Failed");
    server.put("pods", pod.clone());
    expect("the pod's phase", &|it| it.contains("__meta_kubernetes_pod_phase=\"Failed\""));
    server.remove("pods", &pod);
    expect("no pod", &|it| it.contains("10.42.1.17:9100") && !it.contains("__meta_kubernetes_pod_phase"));
    let slice = objects("endpointslices.json").remove(0);
    server.remove("endpointslices", &slice);
    expect("no slice", &|it| !it.contains("10.42.1.17:9100"));
    let page = discovery.page();
    for line in [
        "prometheus_sd_kubernetes_events_total{role=\"endpointslice\",event=\"add\"} 4\n",
        "prometheus_sd_kubernetes_events_total{role=\"endpointslice\",event=\"delete\"} 1\n",
        "prometheus_sd_kubernetes_events_total{role=\"service\",event=\"update\"} 1\n",
        "prometheus_sd_kubernetes_events_total{role=\"pod\",event=\"add\"} 0\n",
        "prometheus_sd_kubernetes_events_total{role=\"pod\",event=\"update\"} 1\n",
    ] {
        assert!(page.contains(line), "{line}{page}");
    }
    discovery.handle.stop();
}
