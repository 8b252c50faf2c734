//! The web server over real sockets: good clients are served whatever the others do.

use crossbeam_channel::{Receiver, unbounded};
use scraped::lifecycle::{DaemonEvent, Running};
use scraped::query::Queries;
use scraped::remote::metrics::RemoteMetrics;
use scraped::scrape::targets::status::StatusBoard;
use scraped::web::Handle;
use scraped::web::door::terms::Terms;
use scraped::web::metrics::WebMetrics;
use scraped::web::serve::listen;
use scraped::web::serve::server::Limits;
use scraped::web::site::{Cors, ExternalUrl, Site};
use scraped::web::state::{ConfigText, Switches, WebState};
use scraped_engine::metrics::Registry;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::options::WalOptions;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::scraped::without_own_script;
use support::{PATIENCE, wait_until};

/// The default.
const MAX_CONNECTIONS: usize = 512;

struct Server {
    address: SocketAddr,
    running: Arc<Running>,
    events: Receiver<DaemonEvent>,
    handle: Handle,
}

fn serve(lifecycle_enabled: bool) -> Server {
    serve_as(lifecycle_enabled, |port| Site::new(None, None, None, "box", port, false))
}

fn serve_as(lifecycle_enabled: bool, site: impl FnOnce(u16) -> Site) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty.yml");
    std::fs::write(&file, "scrape_configs: []\n").unwrap();
    let config = Arc::new(scraped::config::load(&file).unwrap());
    let listeners = listen::all(&["127.0.0.1:0".to_owned()]).unwrap();
    let address = listeners[0].address().tcp().unwrap();
    let (daemon_events, events) = unbounded();
    let running = Arc::new(Running::new(config));
    let registry = Arc::new(Registry::default());
    registry.register(Arc::clone(&running) as _);
    let metrics = Arc::new(WebMetrics::default());
    registry.register(Arc::clone(&metrics) as _);
    let state = WebState {
        daemon_events,
        switches: Switches { lifecycle: lifecycle_enabled, ..Switches::default() },
        max_subscribers: 2,
        running: Arc::clone(&running),
        registry,
        metrics,
        board: Arc::new(StatusBoard::default()),
        clock: Arc::default(),
        complaints: Arc::default(),
        remote: Arc::new(RemoteMetrics::default()),
        on_demand: Arc::default(),
        written: Arc::default(),
        log: Wal::unopened(WalOptions::at(dir.path())).reader(),
        queries: Queries::new(Wal::unopened(WalOptions::at(dir.path())).reader(), Arc::default()),
        costs: Default::default(),
        site: Arc::new(site(address.port())),
        config_text: ConfigText::default(),
        flags: vec![("config.file", "a.yml".to_owned())],
        storage_retention: String::new(),
    };
    let limits = Limits { max_connections: MAX_CONNECTIONS, idle: Duration::from_secs(300) };
    Server {
        address,
        running,
        events,
        handle: Handle::spawn(listeners, limits, Terms::open(), state).unwrap(),
    }
}

/// One request on a connection of its own; status and body.
fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let (status, _, body) = ask_with(address, method, path, "Host: localhost\r\n");
    (status, body)
}

/// The same with other header lines; status, head and body.
fn ask_with(address: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

#[test]
fn pages_and_methods() {
    let server = serve(false);
    let check = |method: &str, path: &str, status: u16, body: &str| {
        let answer = ask(server.address, method, path);
        assert_eq!(answer.0, status, "{method} {path}: {}", answer.1);
        assert!(answer.1.contains(body), "{method} {path}: {}", answer.1);
    };
    check("GET", "/-/healthy", 200, "scraped is Healthy.");
    check("GET", "/-/ready", 503, "Service Unavailable");
    server.running.announce_ready();
    check("GET", "/-/ready", 200, "scraped is Ready.");
    check("HEAD", "/-/ready", 200, "");
    check("POST", "/-/healthy", 405, "Method Not Allowed");
    check("GET", "/-/reload", 405, "Only POST or PUT requests allowed");
    check("POST", "/-/reload", 403, "Lifecycle API is not enabled.");
    check("POST", "/-/quit", 403, "Lifecycle API is not enabled.");
    check("POST", "/-/flush", 403, "Lifecycle API is not enabled.");
    check("GET", "/metrics", 200, "prometheus_ready 1\n");
    check("GET", "/api/v1/status/flags", 200, r#"{"status":"success","data":{"config.file":"a.yml"}}"#);
    let no_targets =
        r#"{"status":"success","data":{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}}"#;
    check("GET", "/api/v1/targets", 200, no_targets);
    check(
        "GET",
        "/api/v1/rules",
        422,
        r#"{"status":"error","errorType":"execution","error":"unavailable with Prometheus Agent"}"#,
    );
    check("GET", "/api/v1/query?query=up", 503, r#""errorType":"unavailable","error":"the log is not open"#);
    check("GET", "/nosuch", 404, "404 page not found");
    check("GET", "/targets", 200, "No jobs yet");
    check("GET", "/status", 200, "No remote_write");
    server.handle.stop();
}

#[test]
fn reload_answers_when_the_daemon_has() {
    let server = serve(true);
    let address = server.address;
    let asking = std::thread::Builder::new().spawn(move || ask(address, "POST", "/-/reload")).unwrap();
    let DaemonEvent::Reload { reply: Some(reply) } = server.events.recv_timeout(PATIENCE).unwrap() else {
        panic!("not a reload")
    };
    // Others are served meanwhile.
    assert_eq!(ask(address, "GET", "/-/healthy").0, 200);
    reply.send(Err("no such file".to_owned())).unwrap();
    let (status, body) = asking.join().unwrap();
    assert_eq!((status, body.as_str()), (500, "failed to reload config: no such file\n"));
    assert_eq!(ask(address, "POST", "/-/flush").0, 503);
    assert_eq!(ask(address, "POST", "/-/quit").0, 200);
    assert!(matches!(server.events.recv_timeout(PATIENCE), Ok(DaemonEvent::Terminate)));
    server.handle.stop();
}

#[test]
fn stalled_clients_are_closed_and_good_ones_served() {
    let server = serve(false);
    let mut stalled: Vec<TcpStream> = Vec::new();
    for client_idx in 0..500 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        // Some say nothing, some half a request, some a whole one whose answer they never read.
        let request: &[u8] = match client_idx % 3 {
            0 => b"",
            1 => b"GET /metr",
            _ => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n",
        };
        stream.write_all(request).unwrap();
        stalled.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(ask(server.address, "GET", "/-/healthy").0, 200);
    }
    let started = Instant::now();
    for stream in &mut stalled {
        stream
            .set_read_timeout(Some(PATIENCE.saturating_sub(started.elapsed()).max(Duration::from_millis(1))))
            .unwrap();
        let mut rest = Vec::new();
        // Closed: the end of the stream, or a reset. Still open: the read times out.
        if let Err(err) = stream.read_to_end(&mut rest) {
            assert_eq!(err.kind(), std::io::ErrorKind::ConnectionReset, "still open");
        }
    }
    server.handle.stop();
}

#[test]
fn one_connection_serves_many_requests() {
    let server = serve(false);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"scraped is Healthy.\n") {
            let mut chunk = [0; 256];
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "closed");
            answer.extend_from_slice(&chunk[..n]);
        }
    }
    server.handle.stop();
}

#[test]
fn requests_sent_at_once_are_answered_at_once() {
    let server = serve(false);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all("GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(3).as_bytes()).unwrap();
    let mut answers = String::new();
    while answers.matches("scraped is Healthy.\n").count() < 3 {
        let mut chunk = [0; 256];
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "closed");
        answers.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    server.handle.stop();
}

/// A connection that has had an answer and is kept.
fn held(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"scraped is Healthy.\n") {
        let mut chunk = [0; 1024];
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "closed");
        answer.extend_from_slice(&chunk[..n]);
    }
    stream
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let outcome = stream.read(&mut [0; 16]);
    stream.set_nonblocking(false).unwrap();
    match outcome {
        Ok(n) => n == 0,
        Err(err) => err.kind() != std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn clients_that_keep_their_connections_keep_no_new_one_out() {
    let server = serve(false);
    let mut kept: Vec<TcpStream> = (0..MAX_CONNECTIONS).map(|_| held(server.address)).collect();
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(ask(server.address, "GET", "/-/healthy").0, 200);
        // Not when the others have become too old.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    // The new ones went again, each: one place was enough for all of them.
    let closed: Vec<bool> = kept.iter_mut().map(is_closed).collect();
    assert!(closed.iter().filter(|is_closed| **is_closed).count() <= 20, "{closed:?}");
    assert!(closed[0] && !closed[MAX_CONNECTIONS - 1], "the one that was idle for longest goes first");
    server.handle.stop();
}

#[test]
fn clients_that_do_not_finish_keep_no_new_one_out_and_idle_ones_go_before_them() {
    let server = serve(false);
    let begun = Instant::now();
    let mut idle: Vec<TcpStream> = (0..10).map(|_| held(server.address)).collect();
    let unfinished: Vec<TcpStream> = (0..2 * MAX_CONNECTIONS)
        .map(|number| {
            let mut stream = TcpStream::connect(server.address).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /").unwrap();
            }
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(ask(server.address, "GET", "/-/healthy").0, 200);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(idle.iter_mut().all(is_closed));
    drop(unfinished);
    server.handle.stop();
}

#[test]
fn every_answer_forbids_what_pages_do_not_need() {
    let server = serve(true);
    let refused = "Host: localhost\r\nContent-Length: 100000\r\n";
    for (method, path, headers, status) in [
        ("GET", "/", "Host: localhost\r\n", 200),
        ("GET", "/targets", "Host: localhost\r\n", 200),
        ("GET", "/style.css", "Host: localhost\r\n", 200),
        ("GET", "/script.js", "Host: localhost\r\n", 200),
        ("GET", "/metrics", "Host: localhost\r\n", 200),
        ("GET", "/api/v1/targets", "Host: localhost\r\n", 200),
        ("GET", "/api/v1/query", "Host: localhost\r\n", 400),
        ("GET", "/nosuch", "Host: localhost\r\n", 404),
        ("POST", "/metrics", "Host: localhost\r\n", 405),
        ("POST", "/metrics", refused, 413),
        ("GET", "/metrics", "Host: evil.example\r\n", 421),
        ("GET", "/metrics", "", 400),
    ] {
        let (found, head, _) = ask_with(server.address, method, path, headers);
        assert_eq!(found, status, "{method} {path}");
        for line in [
            "Content-Security-Policy: default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
            "X-Content-Type-Options: nosniff",
            "X-Frame-Options: DENY",
            "Referrer-Policy: same-origin",
        ] {
            assert!(head.lines().any(|it| it == line), "{method} {path}: no {line} in {head}");
        }
    }
    // Nothing in the pages needs what is forbidden.
    for path in ["/targets", "/status", "/storage"] {
        let page = without_own_script(&ask(server.address, "GET", path).1);
        for inline in ["<script", "style=", "<style", "onclick", "<img", "<form"] {
            assert!(!page.contains(inline), "{path} holds {inline}");
        }
    }
    server.handle.stop();
}

#[test]
fn only_pages_of_this_server_change_anything() {
    let server = serve(true);
    let port = server.address.port();
    let own = format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n");
    let check = |headers: &str, status: u16| {
        let (found, _, body) = ask_with(server.address, "POST", "/-/quit", headers);
        assert_eq!(found, status, "{headers}: {body}");
        assert_eq!(server.events.try_recv().is_ok(), status == 200, "{headers}");
    };
    check("Host: localhost\r\nOrigin: http://evil.example\r\n", 403);
    check("Host: localhost\r\nOrigin: null\r\n", 403);
    check("Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403);
    check(&format!("{own}Sec-Fetch-Site: same-site\r\n"), 403);
    check("Host: evil.example\r\n", 421);
    check("Host: evil.example\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: same-origin\r\n", 421);
    check("Host: localhost\r\n", 200);
    check(&own, 200);
    check(&format!("{own}Sec-Fetch-Site: same-origin\r\n"), 200);
    // Whoever only reads may come from anywhere: without CORS a browser keeps the answer from the other site.
    let (status, head, _) = ask_with(
        server.address,
        "GET",
        "/api/v1/targets",
        "Host: localhost\r\nOrigin: http://evil.example\r\n",
    );
    assert_eq!(status, 200);
    assert!(!head.to_ascii_lowercase().contains("access-control"), "{head}");
    server.handle.stop();
}

#[test]
fn names_of_other_hosts_are_refused_on_a_loopback_address() {
    let external = || Some(ExternalUrl::parse("https://proxy.example/x/").unwrap());
    let server = serve_as(false, |port| Site::new(external(), None, None, "Box", port, false));
    let status = |host: &str| {
        let (status, _, body) =
            ask_with(server.address, "GET", "/x/api/v1/targets", &format!("Host: {host}\r\n"));
        assert!(status == 200 || body.contains("--web.external-url"), "{body}");
        status
    };
    for own in
        ["localhost", "127.0.0.1:9090", "[::1]:1", "a.localhost", "box", "proxy.example", "PROXY.example:80"]
    {
        assert_eq!(status(own), 200, "{own}");
    }
    for other in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:9090", "xbox"] {
        assert_eq!(status(other), 421, "{other}");
    }
    server.handle.stop();
}

#[test]
fn everything_is_under_the_prefix() {
    let external = Some(ExternalUrl::parse("http://proxy.example/outer/").unwrap());
    let server = serve_as(true, |port| Site::new(external, Some("/inner/"), None, "box", port, false));
    let check = |method: &str, path: &str, status: u16, location: Option<&str>| {
        let (found, head, body) = ask_with(server.address, method, path, "Host: localhost\r\n");
        assert_eq!(found, status, "{path}: {body}");
        let found = head.lines().find_map(|line| line.strip_prefix("Location: "));
        assert_eq!(found, location, "{path}");
        body
    };
    check("GET", "/", 302, Some("/inner"));
    check("GET", "/inner", 301, Some("/inner/"));
    check("GET", "/inner/", 200, None);
    check("GET", "/inner/-/healthy", 200, None);
    check("GET", "/inner/metrics", 200, None);
    check("GET", "/inner/api/v1/targets", 200, None);
    check("POST", "/inner/-/quit", 200, None);
    for outside in
        ["/-/healthy", "/metrics", "/api/v1/targets", "/outer/metrics", "/innermetrics", "/style.css"]
    {
        check("GET", outside, 404, None);
    }
    let page = check("GET", "/inner/targets", 200, None);
    let links: Vec<&str> = page.split("href=\"").skip(1).collect();
    assert!(links.len() > 4 && links.iter().all(|link| link.starts_with("/outer/")), "{page}");
    server.handle.stop();
}

#[test]
fn other_sites_read_the_api_if_they_may() {
    let cors = Cors::parse("https?://(a|b)\\.example").unwrap();
    let server = serve_as(false, |port| Site::new(None, None, Some(cors), "box", port, false));
    let head = |path: &str, method: &str, origin: &str| {
        let headers = format!("Host: localhost\r\nOrigin: {origin}\r\n");
        let (status, head, _) = ask_with(server.address, method, path, &headers);
        assert_eq!(status, if method == "OPTIONS" { 204 } else { 200 });
        head
    };
    let allowed = "Access-Control-Allow-Origin: https://a.example\r\n";
    assert!(head("/api/v1/targets", "GET", "https://a.example").contains(allowed));
    assert!(head("/api/v1/targets", "OPTIONS", "https://a.example").contains(allowed));
    assert!(!head("/api/v1/targets", "GET", "https://evil.example").contains("Allow-Origin"));
    assert!(!head("/metrics", "GET", "https://a.example").contains("Access-Control"));
    server.handle.stop();
}

/// Reads until `text` has come.
fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut answer = String::new();
    while !answer.contains(text) {
        let mut chunk = [0; 1024];
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "closed behind {answer}");
        answer.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    answer
}

#[test]
fn notifications_come_as_they_change_to_as_many_as_may_listen() {
    let server = serve(false);
    let path = "/api/v1/notifications/live";
    let listen = || {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let answer = read_until(&mut stream, "\"active\":true}\n\n");
        assert!(answer.contains("Content-Type: text/event-stream\r\n"), "{answer}");
        assert!(answer.contains("data: {\"text\":\"scraped is starting"), "{answer}");
        stream
    };
    let (mut one, other) = (listen(), listen());
    assert_eq!(ask(server.address, "GET", path).0, 204);
    assert_eq!(ask(server.address, "HEAD", path).0, 204);
    server.running.announce_ready();
    let answer = read_until(&mut one, "\"active\":false}\n\n");
    assert!(answer.contains("data: {\"text\":\"scraped is starting"), "{answer}");
    assert!(ask(server.address, "GET", "/api/v1/notifications").1.ends_with("\"data\":[]}"));
    server.running.refused("line 3: global.nonsense: unknown field");
    let answer = read_until(&mut one, "\"active\":true}\n\n");
    assert!(answer.contains("data: {\"text\":\"Configuration reload has failed.\""), "{answer}");
    assert!(
        ask(server.address, "GET", "/api/v1/notifications").1.contains("Configuration reload has failed.")
    );
    // The place of one that went is free again.
    drop(other);
    wait_until("a place is free", || ask(server.address, "HEAD", path).0 == 200);
    server.handle.stop();
}

#[test]
fn a_form_is_read_with_its_request() {
    let server = serve(false);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "Host: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 8\r\n";
    write!(stream, "POST /api/v1/query HTTP/1.1\r\n{head}\r\nquery").unwrap();
    assert_eq!(ask(server.address, "GET", "/-/healthy").0, 200);
    write!(stream, "=upGET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let answers = read_until(&mut stream, "scraped is Healthy.\n");
    // Of an empty query it would be 400.
    assert!(answers.starts_with("HTTP/1.1 503 ") && answers.contains("HTTP/1.1 200 OK"), "{answers}");
    server.handle.stop();
}

#[test]
fn requests_are_counted_by_route() {
    let server = serve(false);
    for path in ["/api/v1/label/a/values", "/api/v1/label/b/values", "/nosuch", "/nosuch2", "/-/healthy"] {
        ask(server.address, "GET", path);
    }
    let page = ask(server.address, "GET", "/metrics").1;
    for line in [
        "prometheus_http_requests_total{handler=\"/api/v1/label/:name/values\",code=\"200\"} 2\n",
        "prometheus_http_requests_total{handler=\"/*filepath\",code=\"404\"} 2\n",
        "prometheus_http_response_size_bytes_sum{handler=\"/-/healthy\"} 20\n",
        "prometheus_http_request_duration_seconds_bucket{handler=\"/-/healthy\",le=\"+Inf\"} 1\n",
    ] {
        assert!(page.contains(line), "no {line} in {page}");
    }
    server.handle.stop();
}
