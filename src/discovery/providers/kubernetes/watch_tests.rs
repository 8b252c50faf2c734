//! A server that says nothing: noticed in time, in a list and in a watch.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::*;
use crate::config::client::http_client::HttpClientConfig;
use crate::config::client::secret::{Secret, SecretUrl};
use crate::discovery::providers::kubernetes::access::Access;
use crate::discovery::providers::kubernetes::report::Report;
use crate::discovery::providers::kubernetes::wanted::Purpose;
use scraped_engine::threads::stop::stop_pair;

/// Much longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

const EMPTY_LIST: &str = "{\"kind\":\"PodList\",\"metadata\":{\"resourceVersion\":\"7\"},\"items\":[]}";

/// A server that answers by these in turn, and then no more: what it was asked comes over the channel.
fn server(answers: Vec<String>) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("a bound socket").port();
    let (asked, requests) = unbounded();
    let serve = move || {
        let mut answers = answers.into_iter();
        for stream in listener.incoming().map_while(Result::ok) {
            while let Some(request) = read_head(&stream) {
                asked.send(request.split(' ').nth(1).unwrap_or_default().to_owned()).expect("a test");
                match answers.next() {
                    Some(answer) => (&stream).write_all(answer.as_bytes()).expect("a client"),
                    None => return,
                }
            }
        }
    };
    thread::Builder::new().spawn(serve).expect("a thread");
    (port, requests)
}

fn read_head(mut stream: &TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

fn with_length(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn a_silent_server_is_asked_again() {
    let silent_watch =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    // The first list is never answered, a second one is; then the watch hears nothing, not even its end.
    let (port, requests) = server(vec![
        String::new(),
        with_length(EMPTY_LIST),
        silent_watch.to_owned(),
        silent_watch.to_owned(),
    ]);
    let (sender, reports) = bounded::<Report>(0);
    let (stopper, stop) = stop_pair();
    let reporter = Reporter { watch_idx: 0, reports: sender };
    let url = format!("http://127.0.0.1:{port}");
    let url = SecretUrl { full: Secret::new(url.clone()), shown: url };
    let access = Access::Given(url, Arc::new(HttpClientConfig::default()));
    let metrics = Arc::new(DiscoveryMetrics::default());
    let mut watch = Watch {
        wanted: Wanted {
            purpose: Purpose::Pods,
            namespace: None,
            label_selector: String::new(),
            field_selector: String::new(),
            only_node: None,
        },
        connection: Connection::new(access, reporter.clone()),
        reporter,
        stop,
        patience: Patience {
            list: Duration::from_millis(300),
            watch: Duration::from_secs(1),
            grace: Duration::from_millis(300),
        },
        title: "test".to_owned(),
        metrics: Arc::clone(&metrics),
        state: State::default(),
    };
    let thread = thread::Builder::new().spawn(move || watch.run()).expect("a thread");
    let ReportKind::Asks(canceller) = reports.recv_timeout(LONG).expect("a report").kind else {
        panic!("not how to cancel it");
    };
    let next = || requests.recv_timeout(LONG).expect("a request");
    assert!(next().starts_with("/api/v1/pods?limit=500&resourceVersion=0"));
    assert!(next().starts_with("/api/v1/pods?limit=500&resourceVersion=0"));
    let ReportKind::Listed(objects) = reports.recv_timeout(LONG).expect("a report").kind else {
        panic!("not a list");
    };
    assert!(objects.is_empty());
    let watch_path = "/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=1";
    assert_eq!(next(), watch_path);
    assert_eq!(next(), watch_path);
    assert_eq!(metrics.kubernetes_failures.get(), 2);
    // In the middle of the watch.
    canceller.cancel();
    drop(stopper);
    thread.join().expect("it ends");
}
