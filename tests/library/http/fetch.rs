//! The HTTP client as discovery uses it: many paths of one host, whole answers, servers that wait, sockets of this
//! machine.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use scraped::config::client::http_client::HttpClientConfig;
use scraped::http::address::url::Url;
use scraped::http::{Headers, HttpClient, Question};
use socket2::{Domain, SockAddr, Socket, Type};
use support::PATIENCE;
use support::tls::endpoint::{Endpoint, Reply, redirect, reply};
use support::tls::setup::{SHORT, Setup};

const LIMIT_BYTES: usize = 1 << 20;

fn question<'a>(path_and_query: &'a str, headers: &'a [(&'a str, &'a str)]) -> Question<'a> {
    Question { path_and_query: Some(path_and_query), headers, limit_bytes: LIMIT_BYTES }
}

/// Status and body, or the error as text.
fn fetch(
    client: &mut HttpClient,
    question: &Question<'_>,
    timeout: Duration,
) -> Result<(u16, Vec<u8>), String> {
    let answer = client.fetch(question, Instant::now() + timeout).map_err(|error| error.to_string())?;
    Ok((answer.status(), answer.body))
}

fn found(body: &[u8]) -> Result<(u16, Vec<u8>), String> {
    Ok((200, body.to_vec()))
}

#[test]
fn paths_and_headers_are_those_of_the_question() {
    let setup = Setup::new(&[]);
    let endpoint = Endpoint::plain(|_| reply(200, "X-Consul-Index: 7\r\n", "[]"));
    let url = format!("http://{}/first", endpoint.at("localhost"));
    let mut client = setup.client(&url, "authorization: {credentials: hunter2}");
    let asked = question("/v1/health?index=7&wait=5m", &[("Accept", "application/json")]);
    let answer = client.fetch(&asked, Instant::now() + PATIENCE).expect("an answer");
    assert_eq!((answer.status(), answer.body.as_slice()), (200, &b"[]"[..]));
    assert_eq!(answer.header("x-consul-index"), Some("7"));
    let request = endpoint.last();
    assert!(request.head.starts_with("GET /v1/health?index=7&wait=5m HTTP/1.1\n"), "{}", request.head);
    assert_eq!(request.values("Accept"), ["application/json"]);
    assert_eq!(request.values("Authorization"), ["Bearer hunter2"]);
    let own = Question { path_and_query: None, headers: &[], limit_bytes: LIMIT_BYTES };
    assert_eq!(fetch(&mut client, &own, PATIENCE), found(b"[]"));
    assert!(endpoint.last().head.starts_with("GET /first HTTP/1.1\n"));
    assert_eq!(endpoint.last().values("Accept"), [""; 0]);
    endpoint.answer(|request| match request.head.starts_with("GET /old ") {
        true => redirect(302, "new?x=1"),
        false => reply(200, "", "moved"),
    });
    assert_eq!(fetch(&mut client, &question("/old", &[]), PATIENCE), found(b"moved"));
    assert!(endpoint.last().head.starts_with("GET /new?x=1 HTTP/1.1\n"));
    assert_eq!(endpoint.n_connections(), 1);
}

#[test]
fn bodies_are_read_whole_or_refused() {
    let setup = Setup::new(&[]);
    let endpoint = Endpoint::plain(|_| reply(200, "", &"x".repeat(LIMIT_BYTES)));
    let url = format!("http://{}/", endpoint.at("localhost"));
    let mut client = setup.client(&url, "scheme: http");
    assert_eq!(fetch(&mut client, &question("/a", &[]), PATIENCE), found(&vec![b'x'; LIMIT_BYTES]));
    let too_large = Err(format!("Get \"{url}b\": response body is too large (limit: 1048576B)"));
    endpoint.answer(|_| reply(200, "", &"x".repeat(LIMIT_BYTES + 1)));
    assert_eq!(fetch(&mut client, &question("/b", &[]), PATIENCE), too_large);
    let head = b"HTTP/1.1 200 OK\r\n\r\n";
    endpoint.answer(|_| Reply::Endless(head.to_vec(), vec![b'x'; 4096]));
    assert_eq!(fetch(&mut client, &question("/b", &[]), PATIENCE), too_large);
    endpoint.answer(|_| Reply::Close(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec()));
    assert_eq!(fetch(&mut client, &question("/c", &[]), PATIENCE), Err("unexpected EOF".to_owned()));
    endpoint.answer(|_| reply(404, "", "no such service"));
    assert_eq!(
        fetch(&mut client, &question("/d", &[]), PATIENCE),
        Ok((404, b"no such service".to_vec())),
        "whoever asks knows what a status means"
    );
}

#[test]
fn a_server_that_waits_is_waited_for_and_can_be_left() {
    let setup = Setup::new(&[]);
    let (news, awaited) = mpsc::channel::<()>();
    let awaited = std::sync::Mutex::new(awaited);
    let endpoint = Endpoint::plain(move |_| {
        let _ = awaited.lock().expect("not poisoned").recv();
        reply(200, "", "news")
    });
    let mut client = setup.client(&format!("http://{}/", endpoint.at("localhost")), "scheme: http");
    let canceller = client.canceller();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| fetch(&mut client, &question("/wait", &[]), 20 * PATIENCE));
        support::wait_until("the question", || !endpoint.requests().is_empty());
        news.send(()).expect("a listener");
        assert_eq!(waiting.join().expect("no panic"), found(b"news"));
    });
    thread::scope(|scope| {
        let waiting = scope.spawn(|| fetch(&mut client, &question("/wait", &[]), 20 * PATIENCE));
        support::wait_until("the question", || endpoint.requests().len() == 2);
        canceller.cancel();
        let error = waiting.join().expect("no panic").expect_err("cancelled");
        assert!(error.ends_with(": context canceled"), "{error}");
        drop(news);
    });
}

fn client_of(path: &Path) -> HttpClient {
    let url = Url::parse("http://localhost/").expect("a URL");
    HttpClient::over_unix_socket(
        path.to_owned(),
        url,
        Headers::default(),
        &Arc::new(HttpClientConfig::default()),
    )
}

#[test]
fn sockets_of_this_machine_are_asked_like_any_host() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("docker.sock");
    let shown = path.display();
    let mut client = client_of(&path);
    let error = fetch(&mut client, &question("/info", &[]), PATIENCE).expect_err("nothing there");
    assert_eq!(
        error,
        format!("Get \"http://localhost/info\": dial unix {shown}: connect: no such file or directory")
    );
    let listener = UnixListener::bind(&path).expect("a socket");
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut heads = Vec::new();
            for body in ["one", "two"] {
                let mut head = Vec::new();
                let mut byte = [0; 1];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).expect("a request") > 0 {
                    head.push(byte[0]);
                }
                heads.push(String::from_utf8(head).expect("text"));
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{body}").expect("taken");
            }
            heads
        });
        for (path, body) in [("/info", b"one"), ("/containers/json?all=1", b"two")] {
            assert_eq!(fetch(&mut client, &question(path, &[]), PATIENCE), found(body));
        }
        let heads = serving.join().expect("no panic");
        assert!(heads[1].starts_with("GET /containers/json?all=1 HTTP/1.1\r\n"), "one connection: {heads:?}");
        assert!(heads[1].contains("\r\nHost: localhost\r\n"), "{heads:?}");
    });
    // Nobody accepts: the connection is there, the answer is not.
    let error = fetch(&mut client, &question("/info", &[]), SHORT).expect_err("no answer");
    assert!(error.ends_with("context deadline exceeded (while waiting for the response)"), "{error}");
    // Nor is there a place left in its queue.
    let address = SockAddr::unix(&path).expect("an address");
    let mut waiting = Vec::new();
    loop {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("possible");
        if socket.connect(&address).is_err() {
            break;
        }
        waiting.push(socket);
    }
    let error = fetch(&mut client_of(&path), &question("/info", &[]), SHORT).expect_err("no place");
    assert!(error.ends_with("context deadline exceeded (while connecting)"), "{error}");
    let canceller = client.canceller();
    canceller.cancel();
    let error = fetch(&mut client, &question("/info", &[]), SHORT).expect_err("cancelled");
    assert!(error.ends_with(": context canceled"), "{error}");
}
