//! `kubernetes_sd_configs` and a real Prometheus: the same API server, the same targets with the same labels.

use serde_json::{Value, json};
use support::discovery::kubernetes::{ApiServer, objects, own_node};
use support::peers::differential::Both;

/// Ports of the pods are asked, nobody answers; that is not compared.
const READER: [&str; 4] = ["10.42.1.17:9100", "10.42.1.17:5683", "10.42.1.17", "10.42.1.17"];
const BACKUP: &str = "[fd00:42::9]:8080";

/// Without the conditions of nodes, which are no labels yet in 3.5.
fn cluster() -> ApiServer {
    ApiServer::start(&[("pods", objects("pods.json")), ("nodes", vec![node()])])
}

fn node() -> Value {
    let mut node = objects("nodes.json").remove(0);
    node["status"]["conditions"] = json!(null);
    node
}

/// With the field selector that we would add by ourselves; targets are dropped, so that nobody is asked.
fn job(server: &ApiServer, settings: &str) -> String {
    let job = server.job(settings).replace("OWN_NODE", &own_node());
    format!("{job}  relabel_configs: [{{action: labelmap, regex: __meta_(.+)}}]\n")
}

#[test]
fn pods() {
    let server = cluster();
    let selector = "selectors: [{role: pod, field: spec.nodeName=OWN_NODE}]";
    let both = Both::start(&job(&server, &format!("role: pod, {selector}")), &[]);
    let all: Vec<&str> = READER.into_iter().chain([BACKUP]).collect();
    both.agree("at first", &all);
    server.wait_for_watches(2);
    let mut pods = objects("pods.json");
    pods[2]["status"]["podIP"] = json!("10.42.1.99");
    pods[2]["metadata"]["annotations"] = json!({"a/b.c-d_é": "x\"y", "empty": ""});
    server.put("pods", pods[2].clone());
    let with_third: Vec<&str> = all.iter().copied().chain(["10.42.1.99"]).collect();
    both.agree("one has an address", &with_third);
    server.remove("pods", &pods[1]);
    let without_second: Vec<&str> = READER.into_iter().chain(["10.42.1.99"]).collect();
    both.agree("one is gone", &without_second);
    server.break_watches();
    server.wait_for_watches(2);
    pods[0]["metadata"]["labels"] = json!(null);
    pods[0]["status"]["conditions"] = json!([]);
    pods[0]["metadata"]["ownerReferences"][1]["controller"] = json!(false);
    server.put("pods", pods[0].clone());
    pods[2]["status"] = json!({"phase": "Failed"});
    server.put("pods", pods[2].clone());
    both.agree("changed after the connection broke", &READER);
    let (theirs, ours) = both.families("prometheus_sd_kubernetes");
    for family in ["prometheus_sd_kubernetes_events_total", "prometheus_sd_kubernetes_failures_total"] {
        assert_eq!((theirs.get(family), ours.contains_key(family)), (ours.get(family), true), "{family}");
    }
    for event in ["add", "update", "delete"] {
        let series = format!("prometheus_sd_kubernetes_events_total{{event=\"{event}\",role=\"pod\"}}");
        let ours = format!("prometheus_sd_kubernetes_events_total{{role=\"pod\",event=\"{event}\"}}");
        assert_eq!(both.values(&series).0, both.values(&ours).1, "{event}");
    }
}

#[test]
fn pods_with_their_node() {
    let server = cluster();
    let settings = "role: pod, attach_metadata: {node: true}, namespaces: {names: [sensors, other]}, \
                    selectors: [{role: pod, field: spec.nodeName=OWN_NODE, label: app.kubernetes.io/name=reader}]";
    let both = Both::start(&job(&server, settings), &[]);
    both.agree("at first", &READER);
    server.wait_for_watches(6);
    let mut node = node();
    node["metadata"]["labels"]["zone"] = json!("c");
    server.put("nodes", node);
    both.agree("the node has another label", &READER);
}

#[test]
fn nodes() {
    let server = cluster();
    let selectors = "selectors: [{role: node, field: metadata.name=OWN_NODE}]";
    let both = Both::start(&job(&server, &format!("role: node, {selectors}")), &[]);
    both.agree("at first", &["192.168.7.20:10250"]);
    server.wait_for_watches(2);
    let mut node = node();
    node["status"]["addresses"] = json!([
        {"type": "Hostname", "address": "h"}, {"type": "ExternalDNS", "address": "e.example"},
        {"type": "InternalDNS", "address": "fd00::1"}, {"type": "Some/Other", "address": "x"}
    ]);
    node["status"]["daemonEndpoints"] = json!({});
    server.put("nodes", node.clone());
    both.agree("other addresses", &["[fd00::1]:0"]);
    server.remove("nodes", &node);
    both.agree("it is gone", &[]);
}

#[test]
fn services_and_ingresses() {
    // Load balancers have only one address yet in 3.5.
    let mut services = objects("services.json");
    services.remove(2);
    let server =
        ApiServer::start(&[("services", services.clone()), ("ingresses", objects("ingresses.json"))]);
    let both = Both::start(&job(&server, "role: service"), &[]);
    let reader = ["reader.sensors.svc:80", "reader.sensors.svc:5683"];
    let all = [
        "reader.sensors.svc:80",
        "reader.sensors.svc:5683",
        "entry.sensors.svc:443",
        "cloud.kube-system.svc:443",
    ];
    both.agree("at first", &all);
    server.wait_for_watches(2);
    server.remove("services", &services[1]);
    server.remove("services", &services[2]);
    both.agree("two are gone", &reader);
    both.reload(&job(&server, "role: service, selectors: [{role: service, label: tier=x}]"));
    both.agree("selected", &[]);
    both.reload(&job(&server, "role: ingress, namespaces: {names: [sensors]}"));
    both.agree("ingresses", &["a.box.example", "a.box.example", "plain.example", "x.a.box.example"]);
}

/// The field selector keeps us from limiting them to our node.
const ALL_NODES: &str = "selectors: [{role: pod, field: spec.nodeName=OWN_NODE}]";

fn cluster_with_services(resource: &str) -> ApiServer {
    let server = cluster();
    for resource in ["services", resource] {
        for object in objects(&format!("{resource}.json")) {
            server.put(resource, object);
        }
    }
    server
}

#[test]
fn endpoints() {
    let server = cluster_with_services("endpoints");
    let both = Both::start(&job(&server, &format!("role: endpoints, {ALL_NODES}")), &[]);
    let rest = [
        "10.42.2.5:9100",
        "[fd00:42::9]:9100",
        BACKUP,
        "10.42.1.99:9100",
        "192.168.7.20:10250",
        "192.168.7.20:4194",
        "192.168.7.21:10250",
        "192.168.7.21:4194",
        "192.168.7.200:9116",
    ];
    let all = ["10.42.1.17:9100", "10.42.1.17:5683"].into_iter().chain(rest).collect::<Vec<_>>();
    both.agree("at first", &all);
    server.wait_for_watches(6);
    server.remove("services", &objects("services.json")[0]);
    both.agree("without its service", &all);
    let mut reader = objects("endpoints.json").remove(0);
    let addresses = reader["subsets"][0]["addresses"].as_array_mut().expect("addresses");
    addresses.remove(0);
    server.put("endpoints", reader);
    both.agree("one is gone", &rest);
    both.reload(&job(&server, &format!("role: endpoints, attach_metadata: {{node: true}}, {ALL_NODES}")));
    both.agree("with nodes", &rest);
}

#[test]
fn endpoint_slices() {
    let server = cluster_with_services("endpointslices");
    // Both families of a service are targets yet in 3.5.
    let mut service = objects("services.json").remove(0);
    service["spec"]["ipFamilyPolicy"] = json!("SingleStack");
    server.put("services", service);
    let settings = format!("role: endpointslice, attach_metadata: {{node: true}}, {ALL_NODES}");
    let both = Both::start(&job(&server, &settings), &[]);
    let all = [
        "10.42.1.17:9100",
        "10.42.1.17:5684",
        "10.42.1.17:5683",
        "10.42.2.5:9100",
        "10.42.2.5:5684",
        "[fd00:42::17]:9100",
        "192.168.7.20:10250",
        "192.168.7.20",
        "192.168.7.30:10250",
        "192.168.7.30",
        "192.168.7.21:10250",
        "192.168.7.21",
        "192.168.7.22:10250",
        "192.168.7.22",
    ];
    both.agree("at first", &all);
    server.wait_for_watches(8);
    server.break_watches();
    server.wait_for_watches(8);
    server.remove("endpointslices", &objects("endpointslices.json")[2]);
    both.agree("after the connection broke", &all[..6]);
    for event in ["add", "update", "delete"] {
        for role in ["endpointslice", "service", "pod"] {
            let theirs =
                format!("prometheus_sd_kubernetes_events_total{{event=\"{event}\",role=\"{role}\"}}");
            let ours = format!("prometheus_sd_kubernetes_events_total{{role=\"{role}\",event=\"{event}\"}}");
            assert_eq!(both.values(&theirs).0, both.values(&ours).1, "{role} {event}");
        }
    }
}
