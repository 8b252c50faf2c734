//! `docker_sd_configs` against a real Prometheus: both ask the same engine, by TCP and by its socket.

use std::collections::BTreeSet;
use std::fs;
use std::sync::{Arc, Mutex};

use support::data;
use support::peers::differential::Both;
use support::tls::endpoint::{Endpoint, Reply, Request, reply};
use support::wait_until;
use tempfile::TempDir;

const JSON: &str = "Content-Type: application/json\r\n";

fn page(name: &str) -> String {
    fs::read_to_string(data("discovery/docker").join(name)).expect("a fixture")
}

fn path(request: &Request) -> &str {
    request.head.split(' ').nth(1).expect("a path")
}

/// An engine that speaks API 1.`minor` and what came before it, with these containers.
fn engine(request: &Request, minor: u32, containers: &str) -> Reply {
    let headers = format!("Api-Version: 1.{minor}\r\n");
    let path = path(request);
    let versioned = path.strip_prefix("/v1.").and_then(|rest| rest.split_once('/'));
    let (asked_minor, rest) = versioned.unwrap_or(("0", path.trim_start_matches('/')));
    match rest {
        "_ping" if request.head.starts_with("HEAD ") => {
            Reply::Keep(format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes())
        }
        "_ping" => reply(200, &headers, "OK"),
        _ if asked_minor.parse::<u32>().expect("a number") > minor => {
            reply(400, JSON, "{\"message\": \"client version is too new\"}")
        }
        "networks" => reply(200, JSON, &page("many_networks.json")),
        rest if rest.starts_with("containers/json") => reply(200, JSON, containers),
        _ => reply(404, JSON, "{\"message\": \"page not found\"}"),
    }
}

/// What one of the two asked for, and as whom; Go's client for engines says in its own way who asks at a socket.
fn asked(endpoint: &Endpoint, agent: &str) -> BTreeSet<(String, Vec<String>)> {
    let requests = endpoint.requests();
    let is_own =
        |it: &&Request| it.values("User-Agent").concat().starts_with("scraped/") == (agent == "scraped/");
    requests.iter().filter(is_own).map(|it| (path(it).to_owned(), it.values("Authorization"))).collect()
}

fn job(name: &str, host: &str, settings: &str) -> String {
    format!("- job_name: {name}\n  docker_sd_configs: [{{host: '{host}', {settings}}}]\n")
}

#[test]
fn what_containers_say() {
    let endpoint = Endpoint::plain(|request| engine(request, 41, &page("many_containers.json")));
    let podman = Endpoint::plain(|request| engine(request, 44, &page("podman_containers.json")));
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    endpoint.also_at(&dir.path().join("docker.sock"));
    podman.also_at(&dir.path().join("podman.sock"));
    let socket = |name: &str| format!("unix://{}/{name}", dir.path().display());
    let (tcp, http) =
        (format!("tcp://{}", endpoint.at("127.0.0.1")), format!("http://{}", endpoint.at("127.0.0.1")));
    let filters = "filters: [{name: status, values: [running]}, {name: label, values: [a=b, 'c d']}, {name: label, values: [c]}]";
    let jobs = job("socket", &socket("docker.sock"), "")
        + &job("podman", &socket("podman.sock"), filters)
        + &job("all", &tcp, "match_first_network: false, port: 9, host_networking_host: 'box:1'")
        + &job("http", &http, "basic_auth: {username: box, password: pw}, port: 65535")
        + "  relabel_configs:\n  - {source_labels: [__meta_docker_container_label_on], regex: host, action: drop}\n  \
             - {regex: __meta_docker_container_label_(.+), action: labelmap}\n  \
             - {source_labels: [__meta_docker_container_name, __meta_docker_network_name], separator: '@', target_label: name}\n";
    let both = Both::start(&jobs, &[]);
    let of_socket = [
        "10.1.0.2:9100",
        "10.1.0.2:8080",
        "10.1.0.2:443",
        "172.17.0.2:80",
        "172.17.0.3:80",
        "10.5.0.3:80",
        "localhost",
        "10.1.0.2:80",
        "10.1.0.2:9187",
        ":80",
    ];
    let of_podman = ["10.88.0.2:9100", "10.88.0.2:80", ":80"];
    let of_all = [
        "10.1.0.2:9100",
        "10.1.0.2:8080",
        "10.1.0.2:443",
        "10.2.0.2:9100",
        "10.2.0.2:8080",
        "10.2.0.2:443",
        "10.9.0.2:9100",
        "10.9.0.2:8080",
        "10.9.0.2:443",
        "172.17.0.2:80",
        "172.17.0.3:9",
        "10.5.0.3:9",
        "box:1",
        "10.1.0.2:9",
        "10.2.0.2:9",
        "10.9.0.2:9",
        "10.1.0.2:9187",
        "10.2.0.2:9187",
        "10.9.0.2:9187",
        ":9",
    ];
    let of_http = [
        "10.1.0.2:9100",
        "10.1.0.2:8080",
        "10.1.0.2:443",
        "172.17.0.2:80",
        "172.17.0.3:65535",
        "10.5.0.3:65535",
        "localhost",
        "10.1.0.2:65535",
        "10.1.0.2:9187",
        ":65535",
        ":65535",
    ];
    both.agree("every container", &[of_socket.as_slice(), &of_podman, &of_all, &of_http].concat());
    for endpoint in [&endpoint, &podman] {
        let (theirs, ours) = (asked(endpoint, "Prometheus/"), asked(endpoint, "scraped/"));
        assert_eq!(theirs, ours);
    }
}

#[test]
fn engines_of_any_age() {
    const MINORS: [u32; 4] = [24, 40, 44, 99];
    let engines = MINORS
        .map(|minor| Endpoint::plain(move |request| engine(request, minor, &page("podman_containers.json"))));
    // One that does not say which version it speaks.
    let silent = Endpoint::plain(|request| match path(request) {
        "/_ping" if request.head.starts_with("HEAD ") => Reply::Keep(b"HTTP/1.1 200 OK\r\n\r\n".to_vec()),
        "/_ping" => reply(200, "", "OK"),
        _ => engine(request, 24, &page("podman_containers.json")),
    });
    // One that has no such page.
    let pingless = Endpoint::plain(|request| match path(request) {
        "/_ping" => reply(404, "", ""),
        _ => engine(request, 99, &page("podman_containers.json")),
    });
    let all = engines.iter().chain([&silent, &pingless]).enumerate();
    let jobs =
        all.map(|(idx, engine)| job(&format!("e{idx}"), &format!("tcp://{}", engine.at("127.0.0.1")), ""));
    let both = Both::start(&jobs.collect::<String>(), &[]);
    let addresses = ["10.88.0.2:9100", "10.88.0.2:80", ":80"];
    both.agree("every engine", &vec![addresses; engines.len() + 2].concat());
}

/// Another answer than the engine's.
type Acting = fn(&Request) -> Option<Reply>;

/// One container in one network, with the labels of the fixture's bridge.
fn one_container(address: &str, labels: &str) -> String {
    format!(
        "[{{\"Id\": \"c\", \"Names\": [\"/c\"], \"Ports\": [], \"Labels\": {labels}, \"HostConfig\": {{\"NetworkMode\": \
         \"bridge\"}}, \"NetworkSettings\": {{\"Networks\": {{\"bridge\": {{\"NetworkID\": \"n4\", \"IPAddress\": \
         {address:?}}}}}}}}}]"
    )
}

#[test]
fn containers_that_change() {
    let containers = Arc::new(Mutex::new(one_container("10.0.0.1", "{}")));
    let served = Arc::clone(&containers);
    let answer = move |request: &Request| engine(request, 44, &served.lock().expect("not poisoned"));
    let endpoint = Endpoint::plain(answer.clone());
    let host = format!("tcp://{}", endpoint.at("127.0.0.1"));
    let both = Both::start(&job("docker", &host, "refresh_interval: 400ms"), &[]);
    let n_asked = |is_ours: bool| {
        let requests = endpoint.requests();
        let lists = requests.iter().filter(|request| path(request).contains("/containers/"));
        lists.filter(|it| it.values("User-Agent").concat().starts_with("scraped/") == is_ours).count()
    };
    let agree = |step: &str, addresses: &[&str]| {
        // The last one that was counted before may have been given the former answer.
        let before = (n_asked(false), n_asked(true));
        wait_until(step, || n_asked(false) >= before.0 + 3 && n_asked(true) >= before.1 + 3);
        both.agree(step, addresses);
    };
    agree("at first", &["10.0.0.1:80"]);
    *containers.lock().expect("not poisoned") = one_container("10.0.0.2", r#"{"a": "b"}"#);
    agree("another address", &["10.0.0.2:80"]);
    *containers.lock().expect("not poisoned") = one_container("10.0.0.2", r#"{"a": "c"}"#);
    agree("another label", &["10.0.0.2:80"]);
    let bad: [(&str, Acting); 5] = [
        ("500", |_| Some(reply(500, JSON, "{\"message\": \"no space\"}"))),
        ("no networks", |request| path(request).ends_with("/networks").then(|| reply(500, JSON, "oops"))),
        ("half of the containers", |request| {
            let half = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{\"Id\": \"c1\", ".to_vec();
            path(request).contains("/containers/").then_some(Reply::Close(half))
        }),
        ("another shape", |request| {
            path(request).contains("/containers/").then(|| reply(200, JSON, "{\"Id\": \"c1\"}"))
        }),
        ("another type", |request| {
            path(request).contains("/containers/").then(|| reply(200, JSON, "[{\"Id\": 7}]"))
        }),
    ];
    for (step, act) in bad {
        let good = answer.clone();
        endpoint.answer(move |request| act(request).unwrap_or_else(|| good(request)));
        agree(step, &["10.0.0.2:80"]);
    }
    endpoint.answer(answer);
    *containers.lock().expect("not poisoned") = page("podman_containers.json");
    agree("back", &["10.88.0.2:9100", "10.88.0.2:80", ":80"]);
    *containers.lock().expect("not poisoned") = "[]".to_owned();
    agree("none", &[]);
    *containers.lock().expect("not poisoned") = one_container("10.0.0.3", "null");
    agree("one again", &["10.0.0.3:80"]);
    *containers.lock().expect("not poisoned") = "null".to_owned();
    agree("null", &[]);
}

/// Meant to differ: Prometheus reaches them since 3.13 (prometheus/prometheus#18778).
#[test]
fn containers_with_ipv6_alone_are_reached() {
    let containers = r#"[{"Id": "c", "Names": ["/c"], "Ports": [], "HostConfig": {"NetworkMode": "six"},
      "NetworkSettings": {"Networks": {"six": {"NetworkID": "n1", "IPAddress": "", "GlobalIPv6Address": "fd00::7"}}}}]"#;
    let endpoint = Endpoint::plain(|request| engine(request, 44, containers));
    let both = Both::start(&job("docker", &format!("tcp://{}", endpoint.at("127.0.0.1")), ""), &[]);
    wait_until("both know it", || {
        let (theirs, ours) = both.addresses();
        theirs == [":80"] && ours == ["[fd00::7]:80"]
    });
}
