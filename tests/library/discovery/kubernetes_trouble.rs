//! `kubernetes_sd_configs` against an API server that fails in every way: what was found stays, and what happened
//! meanwhile is found afterwards.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::discovery::Discovery;
use support::discovery::kubernetes::{ApiServer, Asked, objects, status};
use support::tls::endpoint::{Reply, Request, reply, server_tls};
use support::tls::setup::BOTH;
use support::tls::{Authority, Validity};
use support::wait_until;

/// A pod with one port on our node.
fn pod(name: &str, port: u16) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": name},
        "spec": {"nodeName": support::discovery::kubernetes::own_node(),
                 "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": port, "protocol": "TCP"}]}]},
        "status": {"phase": "Running", "podIP": "10.42.0.9"}
    })
}

fn server() -> ApiServer {
    ApiServer::start(&[("pods", vec![pod("a", 1), pod("b", 2)])])
}

/// Waits for targets with these ports.
fn expect_ports(discovery: &Discovery, want: &[&str]) {
    let mut last = String::new();
    wait_until("targets", || {
        if let Ok(sets) = discovery.target_sets.recv_timeout(Duration::from_millis(50)) {
            last = discovery.render(&sets);
        }
        let ports: Vec<&str> =
            last.split("10.42.0.9:").skip(1).filter_map(|rest| rest.split('{').next()).collect();
        ports == want && !last.is_empty()
    });
}

fn is_watch(request: &Request) -> bool {
    request.head.contains("watch=1")
}

fn is_list(request: &Request) -> bool {
    request.head.contains("limit=")
}

/// Runs with pods 1 and 2; then `harm` happens, pod 3 comes and pod 1 goes while it lasts, and `heal` ends it.
fn check(harm: impl Fn(&ApiServer)) -> ApiServer {
    let server = server();
    let discovery = Discovery::start(&server.job("role: pod"), &[]);
    expect_ports(&discovery, &["1", "2"]);
    server.wait_for_watches(1);
    let n_asked = server.asked().len();
    harm(&server);
    server.lose("pods", &pod("a", 1));
    server.put("pods", pod("c", 3));
    wait_until("more questions", || server.asked().len() >= n_asked + 2);
    if let Ok(sets) = discovery.target_sets.try_recv() {
        panic!("unwanted: {}", discovery.render(&sets));
    }
    server.heal();
    expect_ports(&discovery, &["2", "3"]);
    server.put("pods", pod("d", 4));
    expect_ports(&discovery, &["2", "3", "4"]);
    discovery.handle.stop();
    server
}

#[test]
fn a_server_that_is_away() {
    check(|server| {
        server.instead(|_| Some(Reply::Close(Vec::new())));
        server.break_watches();
    });
}

#[test]
fn a_server_that_says_no() {
    let refuse = |code| {
        check(|server| {
            server
                .instead(move |request| (is_watch(request) || is_list(request)).then(|| status(code, "no")));
            // The version is not known any more, so that everything has to be listed again.
            server.say(
                "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":500,\"message\":\"etcd\"}}\n",
            );
        });
    };
    thread::scope(|scope| {
        for code in [401, 403, 500, 503] {
            let named = thread::Builder::new().name(format!("status {code}"));
            named.spawn_scoped(scope, move || refuse(code)).expect("a thread");
        }
    });
}

#[test]
fn a_server_that_answers_something_else() {
    let html = || reply(200, "Content-Type: text/html\r\n", "<html>Sign in</html>");
    let json = |body: &str| reply(200, "Content-Type: application/json\r\n", body);
    let half = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"kind\": \"PodList\"";
    let answers = [
        html(),
        json("{}"),
        json("[]"),
        json("{\"kind\": \"NodeList\", \"metadata\": {\"resourceVersion\": \"1\"}, \"items\": []}"),
        json("{\"kind\": \"PodList\", \"items\": []}"),
        json(
            "{\"kind\": \"PodList\", \"metadata\": {\"resourceVersion\": \"1\"}, \"items\": [{\"spec\": 1}]}",
        ),
        json("{\"kind\": \"PodList\", \"metadata\": {\"resourceVersion\": \"1\"}, \"items\": []} x"),
        Reply::Close(half.as_bytes().to_vec()),
        Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"kind\": \"PodL".to_vec()),
    ];
    // Beside each other, since there is a pause after each failure.
    thread::scope(|scope| {
        for answer in answers {
            let name = format!("{answer:?}");
            let named = thread::Builder::new().name(name.chars().take(100).collect());
            let once = move || {
                let answer = Mutex::new(Some(answer));
                let server = server();
                let discovery = Discovery::start(&server.job("role: pod"), &[]);
                expect_ports(&discovery, &["1", "2"]);
                server.wait_for_watches(1);
                server.instead(move |request| {
                    if is_list(request) { answer.lock().expect("not poisoned").take() } else { None }
                });
                server.lose("pods", &pod("a", 1));
                // Everything has to be listed again.
                server.say("nonsense\n");
                wait_until("the answer", || server.queries(Asked::Lists).len() == 2);
                assert!(discovery.target_sets.is_empty(), "something was sent");
                expect_ports(&discovery, &["2"]);
                let page = discovery.page();
                assert!(page.contains("prometheus_sd_kubernetes_failures_total 2\n"), "{page}");
                discovery.handle.stop();
            };
            named.spawn_scoped(scope, once).expect("a thread");
        }
    });
}

#[test]
fn versions_that_are_too_old() {
    // As an event, as an answer to the watch, and in the middle of a list that has pages.
    let gone = "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"code\":410,\"message\":\"too old\"}}\n";
    let server = server();
    server.page_by(1);
    let discovery = Discovery::start(&server.job("role: pod"), &[]);
    expect_ports(&discovery, &["1", "2"]);
    server.wait_for_watches(1);
    server.lose("pods", &pod("a", 1));
    server.say(gone);
    expect_ports(&discovery, &["2"]);
    // Not from its memory again, which may be as old.
    let versions: Vec<Option<String>> = server
        .queries(Asked::Lists)
        .iter()
        .map(|list| list.parameters.get("resourceVersion").cloned())
        .collect();
    assert_eq!(versions, [Some("0".to_owned()), None, None]);
    let n_told = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&n_told);
    server.wait_for_watches(1);
    server.put("pods", pod("c", 3));
    expect_ports(&discovery, &["2", "3"]);
    server.instead(move |request| {
        let is_meant = is_watch(request) || request.head.contains("continue=");
        let is_told = is_meant && told.load(Ordering::SeqCst) < 2;
        told.fetch_add(usize::from(is_told), Ordering::SeqCst);
        is_told.then(|| status(410, "Expired"))
    });
    server.end_watches();
    server.lose("pods", &pod("b", 2));
    server.put("pods", pod("d", 4));
    expect_ports(&discovery, &["3", "4"]);
    assert_eq!(n_told.load(Ordering::SeqCst), 2, "the watch and a page");
    assert!(discovery.page().contains("prometheus_sd_kubernetes_failures_total 0\n"), "{}", discovery.page());
    discovery.handle.stop();
}

#[test]
fn a_watch_goes_on_where_it_was() {
    let server = server();
    let discovery = Discovery::start(&server.job("role: pod"), &[]);
    expect_ports(&discovery, &["1", "2"]);
    server.wait_for_watches(1);
    server.put("pods", pod("c", 3));
    expect_ports(&discovery, &["1", "2", "3"]);
    server.end_watches();
    server.wait_for_watches(1);
    // A bookmark is as good as an event; empty lines keep a connection alive.
    server.say("\n{\"type\":\"BOOKMARK\",\"object\":{\"kind\":\"Pod\",\"metadata\":{\"resourceVersion\":\"2000\"}}}\n");
    // In pieces, as they may come: the end of the last event is missing.
    server.say("{\"type\":\"MODIFIED\",\"object\":{\"metadata\":");
    server.break_watches();
    server.wait_for_watches(1);
    server.put("pods", pod("d", 4));
    expect_ports(&discovery, &["1", "2", "3", "4"]);
    let versions: Vec<String> = server
        .queries(Asked::Watches)
        .iter()
        .map(|watch| watch.parameters["resourceVersion"].clone())
        .collect();
    assert_eq!(versions, ["1002", "1003", "2000"]);
    assert_eq!(server.queries(Asked::Lists).len(), 1);
    discovery.handle.stop();
}

#[test]
fn a_server_that_asks_for_patience() {
    let server = server();
    let told_at: Arc<Mutex<Option<Instant>>> = Arc::default();
    let telling = Arc::clone(&told_at);
    server.instead(move |_| {
        let mut told_at = telling.lock().expect("not poisoned");
        let is_first = told_at.is_none();
        told_at.get_or_insert_with(Instant::now);
        is_first.then(|| reply(429, "Retry-After: 4\r\nContent-Type: text/plain\r\n", "busy"))
    });
    let discovery = Discovery::start(&server.job("role: pod"), &[]);
    expect_ports(&discovery, &["1", "2"]);
    let told_at = told_at.lock().expect("not poisoned").expect("told");
    assert!(told_at.elapsed() >= Duration::from_secs(4), "{:?}", told_at.elapsed());
    discovery.handle.stop();
}

#[test]
fn a_list_without_an_end() {
    let server = server();
    let discovery = Discovery::start(&server.job("role: pod"), &[]);
    expect_ports(&discovery, &["1", "2"]);
    server.wait_for_watches(1);
    let once = AtomicBool::new(true);
    server.instead(move |request| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"kind\": \"";
        let endless = || Reply::Endless(head.as_bytes().to_vec(), vec![b'x'; 64 << 10]);
        (is_list(request) && once.swap(false, Ordering::SeqCst)).then(endless)
    });
    server.lose("pods", &pod("a", 1));
    server.say("nonsense\n");
    expect_ports(&discovery, &["2"]);
    assert!(discovery.page().contains("prometheus_sd_kubernetes_failures_total 2\n"), "{}", discovery.page());
    discovery.handle.stop();
}

#[test]
fn an_event_larger_than_any_object() {
    let server = server();
    let discovery = Discovery::start(&server.job("role: pod"), &[]);
    expect_ports(&discovery, &["1", "2"]);
    server.wait_for_watches(1);
    server.lose("pods", &pod("a", 1));
    for _ in 0..5 {
        server.say(&"x".repeat(1 << 20));
    }
    // Listed again.
    expect_ports(&discovery, &["2"]);
    discovery.handle.stop();
}

#[test]
fn thousands_of_events_are_few_updates() {
    let server = server();
    let discovery = Discovery::start(&server.job("role: pod"), &[]);
    expect_ports(&discovery, &["1", "2"]);
    server.wait_for_watches(1);
    for port in 100..3000 {
        server.put("pods", pod("c", port));
    }
    expect_ports(&discovery, &["1", "2", "2999"]);
    let page = discovery.page();
    assert!(
        page.contains("prometheus_sd_kubernetes_events_total{role=\"pod\",event=\"update\"} 2899\n"),
        "{page}"
    );
    let updates = page
        .lines()
        .find_map(|line| line.strip_prefix("prometheus_sd_received_updates_total{name=\"scrape\"} "));
    let n_updates: f64 = updates.expect("a counter").parse().expect("a number");
    assert!(n_updates < 290.0, "{n_updates}");
    discovery.handle.stop();
}

#[test]
fn a_stop_waits_for_nobody() {
    let kinds = ["pods", "nodes", "namespaces", "replicasets", "jobs"];
    let is_hanging = Arc::new(AtomicBool::new(false));
    for hangs in [false, true] {
        let server = ApiServer::start(&kinds.map(|kind| (kind, objects(&format!("{kind}.json")))));
        is_hanging.store(hangs, Ordering::SeqCst);
        let hanging = Arc::clone(&is_hanging);
        server.instead(move |_| hanging.load(Ordering::SeqCst).then_some(Reply::Hang));
        let attach = "attach_metadata: {node: true, namespace: true, deployment: true, cronjob: true}";
        let settings = format!("role: pod, namespaces: {{names: [sensors, kube-system]}}, {attach}");
        let discovery = Discovery::start(&server.job(&settings), &[]);
        if hangs {
            wait_until("questions", || server.asked().len() == 8);
        } else {
            discovery.next();
            server.wait_for_watches(8);
        }
        let began_at = Instant::now();
        // Jobs that are gone take their providers with them.
        discovery.reload("- job_name: other\n");
        // The server only hears of it when it writes.
        wait_until("no connection", || {
            server.say("\n");
            server.endpoint.n_open() == 0
        });
        discovery.handle.stop();
        assert!(began_at.elapsed() < Duration::from_secs(20), "{:?}", began_at.elapsed());
    }
}

/// A kubeconfig file as k3s writes it.
fn kubeconfig(server: &str, ca: &Authority, user: &Value) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": "default",
        "clusters": [{"name": "default", "cluster": {
            "certificate-authority-data": STANDARD.encode(&ca.pem), "server": format!("https://{server}")}}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "users": [{"name": "default", "user": user}],
    })
    .to_string()
}

#[test]
fn a_kubeconfig_with_certificates_that_change() {
    let (ca, clients) = (Authority::new("k3s-server-ca"), Authority::new("k3s-client-ca"));
    let server = server();
    server.endpoint.set_tls(server_tls(&ca.issue(&["127.0.0.1"], Validity::Now), Some(&clients), &BOTH));
    let user = |pair: &support::tls::Pair| {
        json!({"client-certificate-data": STANDARD.encode(&pair.cert_pem),
               "client-key-data": STANDARD.encode(&pair.key_pem)})
    };
    let (first, second) =
        (clients.issue(&["admin"], Validity::Now), clients.issue(&["admin"], Validity::Now));
    let address = server.endpoint.at("127.0.0.1");
    let file = kubeconfig(&address, &ca, &user(&first));
    let job = "- job_name: k\n  kubernetes_sd_configs: [{role: pod, kubeconfig_file: DIR/sd/k3s.yaml}]\n";
    let discovery = Discovery::start(job, &[("k3s.yaml", &file)]);
    expect_ports(&discovery, &["1", "2"]);
    server.wait_for_watches(1);
    assert_eq!(server.endpoint.last().client.as_deref(), Some(&*first.cert));
    // A rotation: the file is there only half at first.
    discovery.write("k3s.yaml", &file[..file.len() / 2]);
    server.break_watches();
    server.lose("pods", &pod("a", 1));
    wait_until("a failure", || discovery.page().contains("prometheus_sd_kubernetes_failures_total 2\n"));
    discovery.write("k3s.yaml", &kubeconfig(&address, &ca, &user(&second)));
    expect_ports(&discovery, &["2"]);
    assert_eq!(server.endpoint.last().client.as_deref(), Some(&*second.cert));
    // Another cluster by the same file.
    let other = ApiServer::start(&[("pods", vec![pod("z", 9)])]);
    other.endpoint.set_tls(server_tls(&ca.issue(&["127.0.0.1"], Validity::Now), None, &BOTH));
    let token = json!({"token": "hunter2"});
    discovery.write("k3s.yaml", &kubeconfig(&other.endpoint.at("127.0.0.1"), &ca, &token));
    server.wait_for_watches(1);
    server.end_watches();
    expect_ports(&discovery, &["9"]);
    assert_eq!(other.endpoint.last().values("Authorization"), ["Bearer hunter2"]);
    discovery.handle.stop();
}

#[test]
fn a_token_that_changes() {
    let server = server();
    let wanted = Arc::new(Mutex::new("Bearer one".to_owned()));
    let asked_for = Arc::clone(&wanted);
    server.instead(move |request| {
        let is_known = request.values("Authorization") == [asked_for.lock().expect("not poisoned").clone()];
        (!is_known).then(|| status(401, "Unauthorized"))
    });
    let job = server.job("role: pod, authorization: {credentials_file: DIR/sd/token}");
    let discovery = Discovery::start(&job, &[("token", "one\n")]);
    expect_ports(&discovery, &["1", "2"]);
    server.wait_for_watches(1);
    discovery.write("token", "two\n");
    *wanted.lock().expect("not poisoned") = "Bearer two".to_owned();
    server.lose("pods", &pod("a", 1));
    // The watch may have been refused once before the new token was read.
    server.break_watches();
    server.wait_for_watches(1);
    server.put("pods", pod("c", 3));
    wait_until("the third pod", || {
        let sets = discovery.target_sets.recv_timeout(Duration::from_millis(50));
        sets.is_ok_and(|sets| discovery.render(&sets).contains("10.42.0.9:3{"))
    });
    assert_eq!(server.endpoint.last().values("Authorization"), ["Bearer two"]);
    discovery.handle.stop();
}
