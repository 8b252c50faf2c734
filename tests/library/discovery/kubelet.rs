//! `kubelet_sd_configs` against a kubelet of the test's own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use support::discovery::Discovery;
use support::discovery::kubernetes::{data, own_node};
use support::tls::endpoint::{Endpoint, Reply, Request, reply, server_tls};
use support::tls::setup::BOTH;
use support::tls::{Authority, Validity};
use support::wait_until;

const PODS: &str = "10.42.1.17:9100 10.42.1.17:5683 10.42.1.17 10.42.1.17 [fd00:42::9]:8080";

/// A list as kubelets have it.
fn pods() -> Reply {
    reply(200, "Content-Type: application/json\r\n", &data("kubelet_pods.json"))
}

/// By a token, as the kubelet of k3s wants it.
fn kubelet(request: &Request) -> Reply {
    match request.head.split(' ').nth(1) {
        Some("/pods") if request.values("Authorization") != ["Bearer abc"] => reply(401, "", "Unauthorized"),
        Some("/pods") => pods(),
        _ => reply(404, "", "404 page not found"),
    }
}

/// `job: addresses`.
fn addresses(sets: &str) -> String {
    let targets = sets.strip_prefix("k:").expect("the job").trim();
    let targets = targets.split("} ").filter(|target| !target.is_empty());
    let addresses: Vec<&str> = targets.map(|target| target.split('{').next().unwrap_or_default()).collect();
    addresses.join(" ")
}

#[test]
fn pods_of_a_kubelet() {
    let ca = Authority::new("k3s-server-ca");
    let endpoint = Endpoint::plain(kubelet);
    endpoint.set_tls(server_tls(&ca.issue(&["127.0.0.1"], Validity::Now), None, &BOTH));
    let url = format!("https://{}/", endpoint.at("127.0.0.1"));
    let settings = "tls_config: {ca_file: DIR/sd/ca.crt}, authorization: {credentials_file: DIR/sd/token}";
    let job = format!("- job_name: k\n  kubelet_sd_configs: [{{url: '{url}', {settings}}}]\n");
    let files = [("ca.crt", ca.pem.as_str()), ("token", "abc")];
    let discovery = Discovery::start(&job, &files);
    let sets = discovery.answered();
    assert_eq!(addresses(&sets), PODS);
    // The labels are those of the role pod.
    let annotation = "__meta_kubernetes_pod_annotation_kubernetes_io_config_source=\"api\", ";
    let present = "__meta_kubernetes_pod_annotationpresent_kubernetes_io_config_source=\"true\", ";
    for label in data("pods.expect").lines().filter(|line| line.starts_with("  ")) {
        assert!(sets.contains(label.trim()), "{label}\n{sets}");
    }
    assert!(sets.contains(annotation) && sets.contains(present), "{sets}");
    assert!(sets.contains(&format!("__meta_kubernetes_pod_node_name={:?}", own_node())), "{sets}");
    let namespaces = job.replace("[{url", "[{namespaces: [kube-system, other], url");
    discovery.reload(&namespaces);
    wait_until("one namespace", || {
        let sets = discovery.target_sets.recv_timeout(support::PATIENCE).expect("target sets");
        addresses(&discovery.render(&sets)) == "[fd00:42::9]:8080"
    });
    discovery.handle.stop();
}

#[test]
fn a_kubelet_that_fails_leaves_the_targets_as_they_are() {
    let json = |body: &str| reply(200, "Content-Type: application/json\r\n", body);
    let half =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"kind\": \"PodLi";
    let answers = vec![
        reply(401, "", "Unauthorized"),
        reply(403, "", "Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource=proxy)"),
        reply(404, "", "404 page not found"),
        reply(410, "", ""),
        reply(200, "Content-Type: text/html\r\n", "<html>"),
        json("{}"),
        json("{\"kind\": \"NodeList\", \"items\": []}"),
        json("null"),
        Reply::Close(half.to_vec()),
        Reply::Close(Vec::new()),
        // Cut off by the refresh interval.
        Reply::Hang,
    ];
    let n_failing = answers.len();
    let endpoint = Endpoint::plain(|_: &Request| pods());
    let url = format!("http://{}", endpoint.at("127.0.0.1"));
    let job = format!("- job_name: k\n  kubelet_sd_configs: [{{url: '{url}', refresh_interval: 100ms}}]\n");
    let discovery = Discovery::start(&job, &[]);
    wait_until("its pods", || addresses(&discovery.next()) == PODS);
    let (answers, n_told) = (Mutex::new(answers.into_iter()), Arc::new(AtomicUsize::new(0)));
    let told = Arc::clone(&n_told);
    endpoint.answer(move |_| match answers.lock().expect("not poisoned").next() {
        Some(answer) => {
            told.fetch_add(1, Ordering::SeqCst);
            answer
        }
        None => json("{\"kind\": \"PodList\", \"metadata\": {}, \"items\": null}"),
    });
    // What comes next is the empty list, after all the others.
    wait_until("no targets", || {
        let sets = discovery.target_sets.recv_timeout(support::PATIENCE).expect("target sets");
        let left = addresses(&discovery.render(&sets));
        assert!(left.is_empty() || left == PODS, "{left}");
        left.is_empty()
    });
    assert_eq!(n_told.load(Ordering::SeqCst), n_failing);
    let failures = "prometheus_sd_refresh_failures_total{mechanism=\"kubelet\",config=\"k\"} 11\n";
    assert!(discovery.page().contains(failures), "{}", discovery.page());
    discovery.handle.stop();
}
