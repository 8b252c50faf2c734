//! `docker_sd_configs` against an engine of the test's own, by TCP and by its socket.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::discovery::Discovery;
use support::tls::endpoint::{Endpoint, Reply, Request, reply};
use support::wait_until;

fn data(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/discovery/docker").join(name);
    fs::read_to_string(path).expect("a fixture")
}

/// An engine that speaks API `version`.
fn engine(request: &Request, version: &str) -> Reply {
    let path = request.head.split(' ').nth(1).expect("a path");
    match path.strip_prefix(&format!("/v{version}")).unwrap_or(path) {
        "/_ping" => reply(200, &format!("Api-Version: {version}\r\n"), "OK"),
        "/networks" => reply(200, "", &data("networks.json")),
        rest if rest.starts_with("/containers/json") => reply(200, "", &data("containers.json")),
        _ => reply(400, "", "{\"message\": \"client version is too new\"}"),
    }
}

fn job(host: &str, settings: &str) -> String {
    format!("- job_name: docker\n  docker_sd_configs: [{{host: '{host}', {settings}}}]\n")
}

/// Targets, each on a line with its labels.
fn lines(sets: &str) -> Vec<String> {
    let targets = sets.strip_prefix("docker: ").unwrap_or_default();
    targets.replace("} ", "}\n").lines().map(str::to_owned).collect()
}

#[test]
fn containers_are_targets() {
    let endpoint = Endpoint::plain(|request| engine(request, "1.41"));
    let host = format!("tcp://{}", endpoint.at("127.0.0.1"));
    let settings = "filters: [{name: label, values: [a=b, c]}, {name: status, values: [running]}]";
    let discovery = Discovery::start(&job(&host, settings), &[]);
    let web = r#"__meta_docker_container_id="c1", __meta_docker_container_image="web:1", __meta_docker_container_image_id="sha256:1", __meta_docker_container_label_com_example_role="front end", __meta_docker_container_name="/web", __meta_docker_container_network_mode="site_default", "#;
    let side = r#"__meta_docker_container_id="c2", __meta_docker_container_image="side", __meta_docker_container_image_id="sha256:2", __meta_docker_container_name="/sidecar", __meta_docker_container_network_mode="container:c1", "#;
    let alone = r#"__meta_docker_container_id="c3", __meta_docker_container_image="host", __meta_docker_container_image_id="sha256:3", __meta_docker_container_name="/host", __meta_docker_container_network_mode="host", "#;
    let net = r#"__meta_docker_network_id="n1", __meta_docker_network_ingress="false", __meta_docker_network_internal="true", __meta_docker_network_ip="fd00::2", __meta_docker_network_label_site_id="7", __meta_docker_network_name="a_net", __meta_docker_network_scope="local""#;
    let host_net = r#"__meta_docker_network_id="n3", __meta_docker_network_ingress="false", __meta_docker_network_internal="false", __meta_docker_network_name="host", __meta_docker_network_scope="local""#;
    let want = [
        format!(
            "[fd00::2]:9100{{{web}{net}, __meta_docker_port_private=\"9100\", __meta_docker_port_public=\"19100\", \
             __meta_docker_port_public_ip=\"0.0.0.0\"}}"
        ),
        format!("[fd00::2]:8080{{{web}{net}, __meta_docker_port_private=\"8080\"}}"),
        format!("[fd00::2]:80{{{side}{net}}}"),
        format!("localhost{{{alone}{host_net}}}"),
    ];
    assert_eq!(lines(&discovery.answered()), want);
    let asked = endpoint.requests();
    let asked: Vec<&str> = asked.iter().filter_map(|request| request.head.split(' ').nth(1)).collect();
    let filters = "%7B%22label%22%3A%7B%22a%3Db%22%3Atrue%2C%22c%22%3Atrue%7D%2C%22status%22%3A%7B%22running%22%3Atrue%7D%7D";
    assert_eq!(asked, ["/_ping", &format!("/v1.41/containers/json?filters={filters}"), "/v1.41/networks"]);
    discovery.handle.stop();
}

#[test]
fn every_network_and_another_port() {
    let endpoint = Endpoint::plain(|request| engine(request, "1.24"));
    let host = format!("http://{}", endpoint.at("127.0.0.1"));
    let settings = "match_first_network: false, port: 9, host_networking_host: box";
    let discovery = Discovery::start(&job(&host, settings), &[]);
    let addresses: Vec<String> = lines(&discovery.answered())
        .iter()
        .map(|line| line.split('{').next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        addresses,
        [
            "[fd00::2]:9100",
            "[fd00::2]:8080",
            "10.2.0.2:9100",
            "10.2.0.2:8080",
            "[fd00::2]:9",
            "10.2.0.2:9",
            "box"
        ]
    );
    discovery.handle.stop();
}

#[test]
fn a_newer_engine_is_spoken_to_as_we_know_it() {
    let endpoint = Endpoint::plain(|request| match request.head.starts_with("GET /_ping ") {
        true => reply(200, "Api-Version: 1.99\r\n", "OK"),
        false => engine(request, "1.44"),
    });
    let host = format!("tcp://{}", endpoint.at("127.0.0.1"));
    let discovery = Discovery::start(&job(&host, "refresh_interval: 1h"), &[]);
    assert_eq!(lines(&discovery.answered()).len(), 4);
    discovery.handle.stop();
}

#[test]
fn an_engine_that_fails_leaves_the_targets_as_they_are() {
    let n_asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&n_asked);
    let bad: [fn(&Request) -> Reply; 4] = [
        |_| Reply::Hang,
        |request| match request.head.contains("/containers/") {
            true => {
                Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{\"Id\": \"c1\", ".to_vec())
            }
            false => engine(request, "1.41"),
        },
        |request| match request.head.contains("/networks") {
            true => reply(200, "", "[{\"Id\": 7}]"),
            false => engine(request, "1.41"),
        },
        |_| reply(500, "", "{\"message\": \"no space\"}"),
    ];
    let endpoint = Endpoint::plain(move |request| {
        let turn = counted.load(Ordering::Relaxed);
        match turn.checked_sub(1).map(|idx| bad[idx % bad.len()]) {
            None => engine(request, "1.41"),
            Some(act) => act(request),
        }
    });
    let host = format!("tcp://{}", endpoint.at("127.0.0.1"));
    let discovery = Discovery::start(&job(&host, "refresh_interval: 200ms"), &[]);
    let good = discovery.answered();
    let failures = || {
        let page = discovery.page();
        let line = page
            .lines()
            .find(|it| it.starts_with("prometheus_sd_refresh_failures_total{mechanism=\"docker\""));
        line.and_then(|it| it.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    for turn in 1..=4 {
        let before = failures();
        n_asked.store(turn, Ordering::Relaxed);
        wait_until("failures", || failures() >= before + 2.0);
    }
    // Whatever came in between was the same.
    while let Ok(sets) = discovery.target_sets.try_recv() {
        assert_eq!(discovery.render(&sets), good);
    }
    discovery.handle.stop();
}
