//! Heads that strange servers send, and URLs that people type: taken or refused as Prometheus' agent does it, and asked
//! for as it asks.
//!
//! Needs a real Prometheus (`scripts/peers`, or `PROMETHEUS=`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use support::peers::Peer;
use support::scraped::{Scraped, write_whole};
use support::wait_until;
use tempfile::TempDir;

const PAGE: &str = "a_metric 1\n";

/// Heads, each put before a page of 11 bytes that ends with the connection. `CT` and `CL` stand for a content type and the
/// right length; a name that starts with `-` is refused by both.
const HEADS: &[(&str, &str)] = &[
    ("plain", "HTTP/1.1 200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("fold", "HTTP/1.1 200 OK\r\nCT\r\nX-Note: one\r\n  two\r\nCL\r\n\r\n"),
    ("fold_tab", "HTTP/1.1 200 OK\r\nCT\r\nX-Note: one\r\n\ttwo\r\n \t three \r\nCL\r\n\r\n"),
    ("fold_lf", "HTTP/1.1 200 OK\nCT\nX-Note: one\n two\nCL\n\n"),
    ("fold_type", "HTTP/1.1 200 OK\r\nContent-Type: text/plain;\r\n\tversion=0.0.4\r\nCL\r\n\r\n"),
    ("fold_length", "HTTP/1.1 200 OK\r\nCT\r\nContent-Length:\r\n 11\r\n\r\n"),
    ("fold_of_nothing", "HTTP/1.1 200 OK\r\nCT\r\nX-Note: one\r\n   \r\nCL\r\n\r\n"),
    ("fold_at_the_end", "HTTP/1.1 200 OK\r\nCT\r\nCL\r\nX-Note: one\r\n two\r\n  \r\n\r\n"),
    (
        "fold_hints",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>,\r\n </b>\r\n\r\nHTTP/1.1 200 OK\r\nCT\r\nCL\r\n\r\n",
    ),
    ("-fold_first", "HTTP/1.1 200 OK\r\n X-Note: one\r\nCT\r\nCL\r\n\r\n"),
    ("-fold_before_colon", "HTTP/1.1 200 OK\r\nCT\r\nX-Note\r\n : one\r\nCL\r\n\r\n"),
    ("-fold_of_a_name", "HTTP/1.1 200 OK\r\nCT\r\nX-Note\r\n one: two\r\nCL\r\n\r\n"),
    ("blank_before_colon", "HTTP/1.1 200 OK\r\nCT\r\nX-Note  : one\r\nCL\r\n\r\n"),
    ("blank_in_name", "HTTP/1.1 200 OK\r\nCT\r\nServer Name: one\r\nCL\r\n\r\n"),
    ("blank_after_length", "HTTP/1.1 200 OK\r\nCT\r\nContent-Length : 3\r\n\r\n"),
    ("blank_after_coding", "HTTP/1.1 200 OK\r\nCT\r\nTransfer-Encoding : chunked\r\nCL\r\n\r\n"),
    ("-tab_before_colon", "HTTP/1.1 200 OK\r\nCT\r\nX-Note\t: one\r\nCL\r\n\r\n"),
    ("-tab_in_name", "HTTP/1.1 200 OK\r\nCT\r\nServer\tName: one\r\nCL\r\n\r\n"),
    ("underscore", "HTTP/1.1 200 OK\r\nCT\r\nServer_Name: one\r\nCL\r\n\r\n"),
    ("-utf8_name", "HTTP/1.1 200 OK\r\nCT\r\nGerät: one\r\nCL\r\n\r\n"),
    ("utf8_value", "HTTP/1.1 200 OK\r\nCT\r\nServer: Gerät\r\nCL\r\n\r\n"),
    ("-at_in_name", "HTTP/1.1 200 OK\r\nCT\r\nServer@Home: one\r\nCL\r\n\r\n"),
    ("-control_in_value", "HTTP/1.1 200 OK\r\nCT\r\nX-Note: a\u{2}b\r\nCL\r\n\r\n"),
    ("-no_colon", "HTTP/1.1 200 OK\r\nCT\r\nnonsense\r\nCL\r\n\r\n"),
    ("-no_name", "HTTP/1.1 200 OK\r\nCT\r\n: one\r\nCL\r\n\r\n"),
    ("http_1_2", "HTTP/1.2 200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("http_2_0", "HTTP/2.0 200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("http_3_0_to_the_end", "HTTP/3.0 200 OK\r\nCT\r\n\r\n"),
    ("http_0_9", "HTTP/0.9 200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("-http_2", "HTTP/2 200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("-http_1_10", "HTTP/1.10 200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("-http_in_small", "http/1.1 200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("-icy", "ICY 200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("-page_alone", ""),
    ("no_reason", "HTTP/1.1 200\r\nCT\r\nCL\r\n\r\n"),
    ("blanks_before_status", "HTTP/1.1   200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("control_in_reason", "HTTP/1.1 200 O\0\u{1}K\r\r\nCT\r\nCL\r\n\r\n"),
    ("long_reason", "HTTP/1.1 200 LONG\r\nCT\r\nCL\r\n\r\n"),
    ("-tab_before_status", "HTTP/1.1\t200 OK\r\nCT\r\nCL\r\n\r\n"),
    ("-tab_after_status", "HTTP/1.1 200\tOK\r\nCT\r\nCL\r\n\r\n"),
    ("-glued_reason", "HTTP/1.1 200OK\r\nCT\r\nCL\r\n\r\n"),
    ("-status_of_two", "HTTP/1.1 20 OK\r\nCT\r\nCL\r\n\r\n"),
    ("-status_of_four", "HTTP/1.1 2000 OK\r\nCT\r\nCL\r\n\r\n"),
    ("-status_alone", "HTTP/1.1\r\nCT\r\nCL\r\n\r\n"),
    ("bare_lf", "HTTP/1.1 200 OK\nCT\nCL\n\n"),
    ("mixed_ends", "HTTP/1.1 200 OK\r\nCT\nCL\r\n\n"),
    ("-bare_cr", "HTTP/1.1 200 OK\r\nCT\r\nX-Note: a\rb\r\nCL\r\n\r\n"),
    ("empty_length", "HTTP/1.1 200 OK\r\nCT\r\nContent-Length:\r\n\r\n"),
    ("-empty_length_and_one", "HTTP/1.1 200 OK\r\nCT\r\nContent-Length:\r\nCL\r\n\r\n"),
    ("length_twice", "HTTP/1.1 200 OK\r\nCT\r\nCL\r\nCL\r\nCL\r\n\r\n"),
    ("-lengths_that_differ", "HTTP/1.1 200 OK\r\nCT\r\nCL\r\nContent-Length: 5\r\n\r\n"),
    ("-length_with_sign", "HTTP/1.1 200 OK\r\nCT\r\nContent-Length: +11\r\n\r\n"),
    ("-length_of_letters", "HTTP/1.1 200 OK\r\nCT\r\nContent-Length: eleven\r\n\r\n"),
    ("-length_with_blank", "HTTP/1.1 200 OK\r\nCT\r\nContent-Length: 1 1\r\n\r\n"),
    ("length_with_zeros", "HTTP/1.1 200 OK\r\nCT\r\nContent-Length: 0000000000000000000011\r\n\r\n"),
    ("to_blank", "HTTP/1.1 302 Found\r\nLocation: /plain?a=b c\r\nContent-Length: 0\r\n\r\n"),
    ("to_utf8", "HTTP/1.1 302 Found\r\nLocation: /plain?küche\r\nContent-Length: 0\r\n\r\n"),
    ("to_latin1", "HTTP/1.1 302 Found\r\nLocation: /plain?k\u{ff}che\r\nContent-Length: 0\r\n\r\n"),
    ("to_quotes", "HTTP/1.1 302 Found\r\nLocation: /plain?a=\"<b>`{|}^\\'[]\r\nContent-Length: 0\r\n\r\n"),
    ("to_no_escape", "HTTP/1.1 302 Found\r\nLocation: /plain?%zz\r\nContent-Length: 0\r\n\r\n"),
    ("to_dots", "HTTP/1.1 302 Found\r\nLocation: /x/./../plain\r\nContent-Length: 0\r\n\r\n"),
    ("to_folded", "HTTP/1.1 302 Found\r\nLocation:\r\n /plain\r\nContent-Length: 0\r\n\r\n"),
    ("-to_control", "HTTP/1.1 302 Found\r\nLocation: /plain?a\u{1}b\r\nContent-Length: 0\r\n\r\n"),
    ("-to_tab", "HTTP/1.1 302 Found\r\nLocation: /plain?a\tb\r\nContent-Length: 0\r\n\r\n"),
];

/// The bytes that a case sends: `\u{ff}` is a byte of Latin 1, which is no UTF-8.
fn answer_of(name: &str) -> Option<Vec<u8>> {
    let (_, head) = HEADS.iter().find(|(known, _)| known.trim_start_matches('-') == name)?;
    let head = head.replace("CT", "Content-Type: text/plain; version=0.0.4");
    let head = head.replace("CL", "Content-Length: 11").replace("LONG", &"x".repeat(40_000));
    let mut bytes = Vec::new();
    for character in head.chars() {
        match character {
            '\u{ff}' => bytes.push(0xff),
            other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes.extend_from_slice(if head.contains(" 302 ") { b"" } else { PAGE.as_bytes() });
    Some(bytes)
}

/// A server that sends bytes as they are, and knows the request lines of who asks on which port.
struct RawServer {
    address: String,
    lines: Arc<Mutex<BTreeSet<String>>>,
}

impl RawServer {
    fn start(answer: fn(&str) -> Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let lines = Arc::<Mutex<BTreeSet<String>>>::default();
        let known = Arc::clone(&lines);
        start("raw-server", move || {
            for stream in listener.incoming().flatten() {
                let known = Arc::clone(&known);
                start("raw-answer", move || serve(stream, &known, answer));
            }
        });
        Self { address, lines }
    }

    fn lines(&self) -> BTreeSet<String> {
        self.lines.lock().expect("not poisoned").clone()
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name(name.to_owned()).spawn(run).expect("a thread");
}

fn serve(mut stream: TcpStream, known: &Mutex<BTreeSet<String>>, answer: fn(&str) -> Option<Vec<u8>>) {
    let mut asked = Vec::new();
    let mut piece = [0; 4096];
    while !asked.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(n_read) => asked.extend_from_slice(&piece[..n_read]),
        }
    }
    let line = asked.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let path = line.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    let name = path.split('?').next().unwrap_or_default();
    let bytes =
        answer(name).unwrap_or_else(|| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec());
    known.lock().expect("not poisoned").insert(line);
    // In two pieces, so that a line may come in parts.
    let (start, end) = bytes.split_at(bytes.len() / 2);
    let _ = stream.write_all(start).and_then(|()| stream.flush());
    thread::yield_now();
    let _ = stream.write_all(end);
    let _ = stream.shutdown(Shutdown::Write);
    // Closing with unread bytes would reset the connection.
    while stream.read(&mut piece).is_ok_and(|n_read| n_read > 0) {}
}

/// Job → health. A scrape that a busy machine cut off says nothing yet.
fn health(answer: &str) -> BTreeMap<String, String> {
    let answer: Value = serde_json::from_str(answer).expect("JSON");
    let targets = answer["data"]["activeTargets"].as_array().expect("an array").iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let health = |target: &Value| match text(&target["lastError"]).contains("deadline") {
        true => "unknown".to_owned(),
        false => text(&target["health"]),
    };
    targets.map(|target| (text(&target["scrapePool"]), health(target))).collect()
}

#[test]
fn what_gos_client_takes_is_taken_and_what_it_refuses_is_refused() {
    let (for_us, for_them) = (RawServer::start(answer_of), RawServer::start(answer_of));
    let config = |server: &RawServer| {
        let mut config = "global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n".to_owned();
        for (name, _) in HEADS {
            let path = name.trim_start_matches('-');
            config.push_str(&format!(
                "- {{job_name: '{name}', metrics_path: /{path}, static_configs: [{{targets: ['{}']}}]}}\n",
                server.address
            ));
        }
        config
    };
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    let peer =
        Peer::agent(&write_whole(dir.path(), "peer.yml", &config(&for_them)), &dir.path().join("peer"));
    let scraped = Scraped::start(&config(&for_us));
    let [mut want, mut got] = [BTreeMap::new(), BTreeMap::new()];
    wait_until("everything was scraped by both", || {
        want = health(&peer.get("/api/v1/targets?state=active"));
        got = health(&scraped.get("/api/v1/targets?state=active").body);
        [&want, &got].iter().all(|all| all.len() == HEADS.len() && !all.values().any(|one| one == "unknown"))
    });
    assert_eq!(got, want, "ours first");
    for (name, _) in HEADS {
        let expected = if name.starts_with('-') { "down" } else { "up" };
        assert_eq!(got[*name], expected, "{name}");
    }
    // Where Go sends what no request line can hold, we escape it.
    let escaped = |line: String| {
        let line = line.replace("b c", "b%20c").replace('ü', "%C3%BC").replace('\u{fffd}', "%FF");
        line.replace("\"<b>", "%22%3Cb%3E")
    };
    let theirs: BTreeSet<String> = for_them.lines().into_iter().map(escaped).collect();
    assert_eq!(for_us.lines(), theirs);
}

#[test]
fn addresses_are_asked_as_go_asks_them() {
    let answer = |name: &str| {
        let (kind, body) =
            if name.starts_with("sd") { ("application/json", "[]") } else { ("text/plain", PAGE) };
        let length = body.len();
        Some(
            format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}")
                .into_bytes(),
        )
    };
    let (for_us, for_them) = (RawServer::start(answer), RawServer::start(answer));
    let config = |at: &str| {
        format!(
            r##"
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: parameters
  metrics_path: "/of a/küche%20{{x}}"
  params: {{"a b": ["c d", "ü&=+%\"<>"], "": [""], "x": ["~!*'()"]}}
  static_configs: [{{targets: ['{at}']}}]
- job_name: labels
  metrics_path: "/l?x=1 2&ü"
  static_configs: [{{targets: ['{at}'], labels: {{__param_q: "a b ü\"<>|{{}}`^\\", __param_r: ""}}}}]
- job_name: without_a_slash
  static_configs: [{{targets: ['{at}']}}]
  relabel_configs: [{{target_label: __metrics_path__, replacement: "p%2fq%zz#f?a=b c"}}]
- job_name: sources
  http_sd_configs:
  - {{url: "http://{at}/sd a/ü?x=b c&ü=\"<b>|{{}}`^\\&%zz", refresh_interval: 1s}}
  - {{url: "http://{at}/sd?", refresh_interval: 1s}}
  - {{url: "http://{at}/sd?a#b c", refresh_interval: 1s}}
remote_write:
- {{url: "http://{at}/write?db=my data", name: one, queue_config: {{batch_send_deadline: 1s}}}}
- {{url: "http://{at}/write ü/x?db=ü&'\"<b>|{{}}`^\\[]", name: two, queue_config: {{batch_send_deadline: 1s}}}}
- {{url: "http://{at}?db=b c", name: three, queue_config: {{batch_send_deadline: 1s}}}}
- {{url: "http://{at}/a/../b?c", name: four, queue_config: {{batch_send_deadline: 1s}}}}
"##
        )
    };
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    let theirs = write_whole(dir.path(), "peer.yml", &config(&for_them.address));
    let _peer = Peer::agent(&theirs, &dir.path().join("peer"));
    let _scraped = Scraped::start(&config(&for_us.address));
    let escaped = |line: String| {
        let is_post = line.starts_with("POST");
        let line = line.replace("b c", "b%20c").replace("my data", "my%20data");
        let line = line.replace("\"<b>", "%22%3Cb%3E").replace('ü', "%C3%BC");
        assert!(is_post || line.starts_with("GET"), "{line}");
        line
    };
    let [mut want, mut got] = [BTreeSet::new(), BTreeSet::new()];
    wait_until("everything was asked by both", || {
        want = for_them.lines().into_iter().map(escaped).collect();
        got = for_us.lines();
        want.len() == 10 && got.len() == 10
    });
    assert_eq!(got, want, "ours first");
    assert!(got.contains("POST /write?db=my%20data HTTP/1.1"), "{got:#?}");
}
