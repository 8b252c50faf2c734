//! `http_sd_configs` over real sockets: lists that change, lie about their type, hang, break, and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::discovery::Discovery;
use support::scraped::Scraped;
use support::tls::endpoint::{Endpoint, Reply, reply};
use support::wait_until;

const JSON: &str = "Content-Type: application/json; charset=utf-8\r\n";

fn job(endpoint: &Endpoint, settings: &str) -> String {
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    format!("- job_name: http\n  http_sd_configs: [{{url: '{url}', {settings}}}]\n")
}

fn list(targets: &str) -> Reply {
    reply(200, JSON, &format!("[{{\"targets\": [{targets}], \"labels\": {{\"rack\": \"a\"}}}}]"))
}

#[test]
fn what_is_asked_and_what_comes_of_it() {
    let endpoint = Endpoint::plain(|_| list("\"a:1\", \"b:2\""));
    let settings = "refresh_interval: 90s, basic_auth: {username: box, password: hunter2}, \
                    http_headers: {X-Site: {values: [north]}}";
    let discovery = Discovery::start(&job(&endpoint, settings), &[]);
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let labels = format!("{{__meta_url={url:?}, rack=\"a\"}}");
    discovery.expect(&format!("http: a:1{labels} b:2{labels}"));
    let request = endpoint.last();
    assert!(request.head.starts_with("GET /targets HTTP/1.1\n"), "{}", request.head);
    for (name, value) in [
        ("Accept", "application/json"),
        ("X-Prometheus-Refresh-Interval-Seconds", "90"),
        ("Authorization", "Basic Ym94Omh1bnRlcjI="),
        ("X-Site", "north"),
        ("User-Agent", concat!("scraped/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(request.values(name), [value], "{name}");
    }
    discovery.handle.stop();
}

#[test]
fn what_is_no_list_leaves_the_targets_as_they_are() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let bad: [fn() -> Reply; 8] = [
        || reply(500, JSON, "[]"),
        || reply(200, "Content-Type: text/html\r\n", "[]"),
        || reply(200, "", "[]"),
        || reply(200, JSON, "[{\"targets\": [1]}]"),
        || reply(200, JSON, "[null]"),
        || reply(200, JSON, "[{\"targets\": [\"b:2\""),
        || Reply::Hang,
        || {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[{\"targets\": [\"a\"";
            Reply::Endless(head.into(), ", \"a\"".repeat(1000).into())
        },
    ];
    let endpoint = Endpoint::plain(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => list("\"a:1\""),
        n => bad.get(n - 1).map_or_else(|| list("\"c:3\""), |bad| bad()),
    });
    let discovery = Discovery::start(&job(&endpoint, "refresh_interval: 300ms"), &[]);
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let labels = format!("{{__meta_url={url:?}, rack=\"a\"}}");
    // Nothing between the first and the last.
    assert_eq!(discovery.answered(), format!("http: a:1{labels}"));
    assert_eq!(discovery.next(), format!("http: c:3{labels}"));
    let page = discovery.page();
    for line in [
        "prometheus_sd_refresh_failures_total{mechanism=\"http\",config=\"http\"} 8\n",
        "prometheus_sd_http_failures_total 8\n",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    discovery.handle.stop();
}

#[test]
fn a_list_that_is_not_there_yet_is_asked_for_soon() {
    let endpoint = Endpoint::plain(|_| reply(503, "", ""));
    let jobs = job(&endpoint, "refresh_interval: 1h")
        + "- job_name: fixed\n  static_configs: [{targets: ['f:1']}]\n";
    let discovery = Discovery::start(&jobs, &[]);
    // Others do not wait for it.
    assert_eq!(discovery.next(), "fixed: f:1{}; http:");
    endpoint.answer(|_| list("\"a:1\""));
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    discovery.expect(&format!("fixed: f:1{{}}; http: a:1{{__meta_url={url:?}, rack=\"a\"}}"));
    discovery.handle.stop();
}

#[test]
fn a_stop_does_not_wait_for_a_list_that_hangs() {
    let endpoint = Endpoint::plain(|_| Reply::Hang);
    let discovery = Discovery::start(&job(&endpoint, "refresh_interval: 1h"), &[]);
    wait_until("a question", || endpoint.n_connections() == 1);
    let began_at = std::time::Instant::now();
    discovery.handle.stop();
    assert!(began_at.elapsed() < support::PATIENCE / 2);
}

#[test]
fn a_list_is_asked_for_through_the_proxy_of_the_environment() {
    let proxy = Endpoint::plain(|_| list("\"a:1\""));
    let config = "scrape_configs:\n- job_name: http\n  \
                  http_sd_configs: [{url: 'http://box.example/targets', proxy_from_environment: true}]\n";
    let variable = ("HTTP_PROXY", format!("http://me:hunter2@{}", proxy.at("127.0.0.1")));
    let scraped = Scraped::spawn_under((variable.0, &variable.1), config);
    wait_until("the proxy is asked", || !proxy.requests().is_empty());
    let request = proxy.last();
    assert!(request.head.starts_with("GET http://box.example/targets HTTP/1.1\n"), "{}", request.head);
    assert_eq!(request.values("Proxy-Authorization"), ["Basic bWU6aHVudGVyMg=="]);
    wait_until("a target", || {
        scraped.try_get("/api/v1/targets").is_some_and(|it| it.body.contains("\"a:1\""))
    });
}
