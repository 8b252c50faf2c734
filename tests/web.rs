//! The web server over real sockets: good clients are served whatever the others do.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

use crossbeam_channel::{Receiver, unbounded};
use scraped::lifecycle::{DaemonEvent, Running};
use scraped::metrics::Registry;
use scraped::remote::metrics::RemoteMetrics;
use scraped::scrape::status::StatusBoard;
use scraped::web::router::WebMetrics;
use scraped::web::{Handle, WebState};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than the server's own deadline for a request, which is 5 s.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    running: Arc<Running>,
    events: Receiver<DaemonEvent>,
    handle: Handle,
}

fn serve(lifecycle_enabled: bool) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("empty.yml");
    std::fs::write(&file, "scrape_configs: []\n").unwrap();
    let config = Arc::new(scraped::config::load(&file).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (daemon_events, events) = unbounded();
    let running = Arc::new(Running::new(config));
    let registry = Arc::new(Registry::default());
    registry.register(Arc::clone(&running) as _);
    let state = WebState {
        daemon_events,
        lifecycle_enabled,
        running: Arc::clone(&running),
        registry,
        metrics: Arc::new(WebMetrics::default()),
        board: Arc::new(StatusBoard::default()),
        complaints: Arc::default(),
        remote: Arc::new(RemoteMetrics::default()),
        flags: vec![("config.file", "a.yml".to_owned())],
        storage_retention: String::new(),
    };
    Server { address, running, events, handle: Handle::spawn(listener, state).unwrap() }
}

/// One request on a connection of its own; status and body.
fn ask(address: SocketAddr, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
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
    server.running.announce_ready(true);
    check("GET", "/-/ready", 200, "scraped is Ready.");
    check("HEAD", "/-/ready", 200, "");
    check("POST", "/-/healthy", 405, "Method Not Allowed");
    check("GET", "/-/reload", 405, "Only POST or PUT requests allowed");
    check("POST", "/-/reload", 403, "Lifecycle API is not enabled.");
    check("POST", "/-/quit", 403, "Lifecycle API is not enabled.");
    check("GET", "/metrics", 200, "prometheus_ready 1\n");
    check("GET", "/api/v1/status/flags", 200, r#"{"status":"success","data":{"config.file":"a.yml"}}"#);
    let no_targets =
        r#"{"status":"success","data":{"activeTargets":[],"droppedTargets":[],"droppedTargetCounts":{}}}"#;
    check("GET", "/api/v1/targets", 200, no_targets);
    check(
        "GET",
        "/api/v1/query?query=up",
        422,
        r#"{"status":"error","errorType":"execution","error":"unavailable with Prometheus Agent"}"#,
    );
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
            _ => b"GET /metrics HTTP/1.1\r\n",
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
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
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
    stream.write_all("GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3).as_bytes()).unwrap();
    let mut answers = String::new();
    while answers.matches("scraped is Healthy.\n").count() < 3 {
        let mut chunk = [0; 256];
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0, "closed");
        answers.push_str(std::str::from_utf8(&chunk[..n]).unwrap());
    }
    server.handle.stop();
}
