//! A real Prometheus looks into a box by remote read: it answers queries over the box's history as another one answers them
//! over its own copy of the same samples.
//!
//! Needs a real Prometheus (`scripts/peers`, or `PROMETHEUS=`).

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use support::peers::Peer;
use support::protobuf::encode::{content, encode, number};
use support::remote::message::{Message, Protocol, Series};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::{PATIENCE, wait_until};

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Pages that the targets have, one after the other.
const N_PAGES: u64 = 40;
/// From this page on counters begin again.
const RESET_AT: u64 = 18;
/// The last page with errors.
const LAST_ERROR: u64 = 26;
/// Before this page the box is started again.
const RESTART_AT: u64 = 13;
/// Queries that have no answer.
const NEVER: [&str; 4] =
    ["scrape_duration_seconds > 1", "up{site!~\"e.*\"}", "up{site=\"other\"}", "up{site=~\"e.*\",a!=\"b\"}"];
/// Pages that are missing.
const GAP: std::ops::Range<u64> = 30..33;

fn text(number: u64) -> String {
    let counted = if number < RESET_AT { number } else { number - RESET_AT };
    let mut text = String::from("# TYPE requests_total counter\n");
    let _ = writeln!(text, "requests_total{{code=\"200\",handler=\"/\"}} {}", 7 * counted);
    let _ = writeln!(text, "requests_total{{code=\"204\",handler=\"\"}} {}", counted / 3);
    if number <= LAST_ERROR {
        let _ = writeln!(text, "requests_total{{code=\"500\",handler=\"/\"}} {}", counted * counted);
    }
    text.push_str("# TYPE temperature_celsius gauge\n");
    for (room, phase) in [("kitchen", 0.0), ("cellar", 2.0)] {
        let value = 20.0 + 5.0 * (number as f64 / 5.0 + phase).sin();
        let _ = writeln!(text, "temperature_celsius{{room=\"{room}\"}} {value}");
    }
    for (mode, share) in [("idle", 3.0), ("user", 1.25)] {
        for cpu in [0, 1] {
            let value = share * number as f64 + f64::from(cpu);
            let _ = writeln!(text, "node_cpu_seconds_total{{cpu=\"{cpu}\",mode=\"{mode}\"}} {value}");
        }
    }
    let _ = writeln!(
        text,
        "node_memory_MemTotal_bytes 8e9\nnode_memory_MemAvailable_bytes {}",
        4e9 - 1e6 * number as f64
    );
    for (fstype, avail) in [("ext4", 5e9), ("tmpfs", 1e8)] {
        let labels = format!("{{fstype=\"{fstype}\",mountpoint=\"/{fstype}\"}}");
        let _ = writeln!(
            text,
            "node_filesystem_avail_bytes{labels} {avail}\nnode_filesystem_size_bytes{labels} 1e10"
        );
    }
    text.push_str("node_uname_info{nodename=\"edge\"} 1\n");
    text.push_str(&classic("latency_seconds", counted));
    text
}

fn classic(name: &str, counted: u64) -> String {
    format!(
        "# TYPE {name} histogram\n{name}_bucket{{le=\"0.1\"}} {}\n{name}_bucket{{le=\"0.5\"}} {}\n{name}_bucket{{le=\"2.5\"}} {}\n\
         {name}_bucket{{le=\"+Inf\"}} {}\n{name}_sum {}\n{name}_count {}\n",
        counted,
        3 * counted,
        4 * counted,
        5 * counted,
        2.75 * counted as f64,
        5 * counted
    )
}

/// A histogram that gets a bucket more on the way, and a gauge of float counts that falls.
fn native(number: u64) -> Vec<u8> {
    let counted = if number < RESET_AT { number } else { number - RESET_AT };
    let (spans, n_more) =
        if number < 8 { ("{ offset: -1 length: 2 }", 0) } else { ("{ offset: -1 length: 3 }", counted) };
    let deltas = match n_more {
        0 if number < 8 => format!("positive_delta: {counted} positive_delta: {counted}"),
        _ => format!(
            "positive_delta: {counted} positive_delta: {counted} positive_delta: {}",
            n_more as i64 - 2 * counted as i64
        ),
    };
    let families = format!(
        r#"name: "native"
type: HISTOGRAM
metric {{
  histogram {{
    sample_count: {} sample_sum: {} schema: 2 zero_threshold: 0.001 zero_count: {counted}
    positive_span {spans} {deltas}
  }}
}}
---
name: "native_gauge"
type: GAUGE_HISTOGRAM
metric {{
  histogram {{
    sample_count_float: {} sample_sum: -3.25 schema: -1 zero_threshold: 0 zero_count_float: 0.5
    positive_span {{ offset: 1 length: 2 }} positive_count: {} positive_count: 2.5
  }}
}}
"#,
        4 * counted + n_more,
        1.5 * counted as f64,
        3.0 + (number % 5) as f64 + 0.25,
        (number % 5) as f64 + 0.25,
    );
    families.split("\n---\n").flat_map(encode).collect()
}

fn set_pages(targets: &FakeTargets, number: u64) {
    if GAP.contains(&number) {
        ["/page", "/native", "/converted"].iter().for_each(|path| targets.set(path, Behaviour::Status(500)));
        return;
    }
    targets.set("/page", Behaviour::Healthy(page(&text(number))));
    targets.set("/native", Behaviour::ContentType(Arc::from(native(number)), PROTOBUF.to_owned()));
    let counted = if number < RESET_AT { number } else { number - RESET_AT };
    targets.set("/converted", Behaviour::Healthy(page(&classic("converted", counted))));
}

fn config(target: &str, copy: &str) -> String {
    let job = |name: &str, fields: &str| {
        format!(
            "- job_name: {name}\n  metrics_path: /{name}\n  static_configs: [{{targets: ['{target}']}}]\n{fields}"
        )
    };
    format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, external_labels: {{site: edge, a: b}}}}\n\
         remote_write:\n- url: http://{copy}/api/v1/write\n  protobuf_message: io.prometheus.write.v2.Request\n  \
         send_native_histograms: true\n  queue_config: {{batch_send_deadline: 100ms, max_backoff: 100ms, max_shards: 1}}\n\
         scrape_configs:\n{}{}{}",
        job("page", ""),
        job("native", "  scrape_protocols: [PrometheusProto]\n  scrape_native_histograms: true\n"),
        job("converted", "  convert_classic_histograms_to_nhcb: true\n")
    )
}

/// A box that has seen something, the Prometheus that has a copy of it, and one that reads the box.
pub(super) struct Scene {
    pub(super) scraped: Scraped,
    pub(super) copy: Peer,
    reader: Peer,
    /// What is asked about lies before this, in milliseconds since the Unix epoch.
    pub(super) end_ms: u64,
    _targets: FakeTargets,
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

fn answer(peer: &Peer, path: &str, parameters: &[(&str, &str)]) -> Value {
    let escaped = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let query: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    let (status, body) = peer.request("GET", &format!("{path}?{}", query.join("&")));
    let answer = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}"));
    assert_eq!(status, 200, "{parameters:?}: {answer}");
    answer
}

impl Scene {
    pub(super) fn play() -> Self {
        let dir = Arc::new(tempfile::TempDir::with_prefix("scraped-test-").unwrap());
        let copy =
            Peer::server("global: {}\n", &dir.path().join("copy"), &["--enable-feature=native-histograms"]);
        let targets = FakeTargets::start();
        set_pages(&targets, 0);
        fs::write(dir.path().join("scraped.yml"), config(&targets.address(), copy.address())).unwrap();
        let mut scraped = Scraped::start_in(Arc::clone(&dir), &[]);
        for number in 0..N_PAGES {
            if number == RESTART_AT {
                assert!(scraped.stop().success());
                scraped = Scraped::start_in(Arc::clone(&dir), &[]);
            }
            set_pages(&targets, number);
            let asked = || ["/page", "/native", "/converted"].map(|path| targets.n_requests(path));
            let before = asked();
            wait_until("each page is scraped", || {
                asked().iter().zip(before).all(|(now, before)| *now > before)
            });
        }
        let end_ms = now_ms();
        // Samples go to one shard in the order of the log.
        wait_until("the copy has all that was before", || {
            ["page", "native", "converted"].iter().all(|job| {
                let query = format!("timestamp(up{{job=\"{job}\"}})");
                let newest = answer(&copy, "/api/v1/query", &[("query", &query)]);
                let seconds =
                    newest["data"]["result"][0]["value"][1].as_str().and_then(|it| it.parse::<f64>().ok());
                seconds.is_some_and(|seconds| seconds * 1000.0 > end_ms as f64)
            })
        });
        let read =
            format!("remote_read:\n- url: http://{}/api/v1/read\n  read_recent: true\n", scraped.address());
        let reader = Peer::server(&read, &dir.path().join("reader"), &["--enable-feature=native-histograms"]);
        Self { scraped, copy, reader, end_ms, _targets: targets }
    }

    /// What the reader and the copy answer, in an order of its own.
    fn both(&self, path: &str, parameters: &[(&str, &str)]) -> [Value; 2] {
        [&self.reader, &self.copy].map(|peer| {
            let mut answer = answer(peer, path, parameters)["data"].take();
            if let Some(list) = answer.get_mut("result").and_then(Value::as_array_mut) {
                list.sort_by_key(|series| series["metric"].to_string());
            }
            answer
        })
    }
}

#[test]
fn a_prometheus_elsewhere_answers_over_the_history_of_the_box_as_over_its_own_copy() {
    let scene = Scene::play();
    let queries = fs::read_to_string(support::repository().join("tests/data/web/remote_read.txt")).unwrap();
    let queries: Vec<&str> =
        queries.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (mut differ, mut n_answers) = (Vec::new(), BTreeMap::new());
    for query in &queries {
        let mut check = |path: &str, parameters: &[(&str, &str)]| {
            let [read, copied] = scene.both(path, parameters);
            let is_empty = copied["result"].as_array().is_some_and(Vec::is_empty);
            *n_answers.entry(*query).or_insert(0) += usize::from(!is_empty);
            if read != copied {
                differ.push(format!("{parameters:?}\n  {read}\n  {copied}"));
            }
        };
        for before_ms in [0, 800, 1700, 3300, 5200] {
            check("/api/v1/query", &[("query", query), ("time", &seconds(scene.end_ms - before_ms))]);
        }
        let start = seconds(scene.end_ms - 30_000);
        check(
            "/api/v1/query_range",
            &[("query", query), ("start", &start), ("end", &seconds(scene.end_ms)), ("step", "0.3")],
        );
    }
    assert!(differ.is_empty(), "(the reader first)\n{}", differ.join("\n"));
    n_answers.retain(|_, n_answers| *n_answers == 0);
    let never: Vec<&&str> = n_answers.keys().collect();
    assert_eq!(never, NEVER.iter().collect::<Vec<_>>(), "answered with nothing");
}

#[test]
fn series_and_labels_of_the_box_are_listed() {
    let scene = Scene::play();
    let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (start, end) = (seconds(scene.end_ms - 30_000), seconds(scene.end_ms));
    for selector in
        ["up", "{__name__=~\"node_.*\"}", "native", "requests_total{code=\"500\"}", "up{site=\"edge\"}"]
    {
        let [read, copied] =
            scene.both("/api/v1/series", &[("match[]", selector), ("start", &start), ("end", &end)]);
        let sorted = |list: &Value| {
            let mut list: Vec<String> = list.as_array().unwrap().iter().map(Value::to_string).collect();
            list.sort();
            list
        };
        assert!(!sorted(&read).is_empty(), "{selector}");
        assert_eq!(sorted(&read), sorted(&copied), "{selector}");
    }
}

/// A query for what passes some matchers: number of the operator, name, value.
fn query(range_ms: (u64, u64), matchers: &[(u64, &str, &str)]) -> Vec<u8> {
    let matcher = |(operator, name, value): &(u64, &str, &str)| {
        let fields = [number(1, *operator), content(2, name.as_bytes()), content(3, value.as_bytes())];
        content(3, &fields.concat())
    };
    let matchers: Vec<Vec<u8>> = matchers.iter().map(matcher).collect();
    [number(1, range_ms.0), number(2, range_ms.1), matchers.concat()].concat()
}

fn packed(message: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(message).unwrap()
}

/// The head and the body of an answer to a request of remote read. By HTTP/1.0, so that the body is in one piece.
fn ask(address: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head =
        format!("POST /api/v1/read HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let head_len = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..head_len].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, answer[head_len + 4..].to_vec())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The results of a `ReadResponse`, query by query. A result is written as a request of remote write 1.0 is.
fn results(block: &[u8]) -> Vec<Vec<Series>> {
    let message = snap::raw::Decoder::new().decompress_vec(block).unwrap();
    let (mut left, mut results) = (&message[..], Vec::new());
    while let Some(rest) = left.strip_prefix(&[1 << 3 | 2]) {
        let n_len = rest.iter().position(|byte| *byte < 0x80).unwrap() + 1;
        let len = rest[..n_len].iter().rev().fold(0, |len, byte| len << 7 | usize::from(byte & 0x7f));
        let decoded = Message::decode(Protocol::V1, &rest[n_len..n_len + len]).unwrap();
        results.push(decoded.series);
        left = &rest[n_len + len..];
    }
    assert!(left.is_empty());
    for series in results.iter_mut().flatten().flat_map(|series| &mut series.histograms) {
        // What is known of resets is the server's own; the numbers are not.
        series.1.reset_hint = 0;
    }
    results.iter_mut().for_each(|result| result.sort_by_key(Series::key));
    results
}

#[test]
fn requests_by_hand_are_answered_as_by_a_server() {
    let scene = Scene::play();
    let addresses = [scene.copy.address(), scene.scraped.address()];
    let range = (scene.end_ms - 60_000, scene.end_ms);
    let up = content(1, &query(range, &[(0, "__name__", "up")]));

    let requests: [(&str, Vec<u8>); 4] = [
        ("no form", up.clone()),
        ("samples", [up.clone(), number(2, 0), number(2, 1)].concat()),
        (
            "two queries",
            [up.clone(), content(1, &query(range, &[(2, "__name__", "requests.*"), (1, "code", "200")]))]
                .concat(),
        ),
        ("nothing", content(1, &query(range, &[(0, "__name__", "nosuch")]))),
    ];
    for (what, request) in requests {
        let [theirs, ours] = addresses.map(|address| ask(address, &packed(&request)));
        assert_eq!(ours.0, 200, "{what}: {}", String::from_utf8_lossy(&ours.2));
        for name in ["Content-Type", "Content-Encoding"] {
            assert_eq!(header(&ours.1, name), header(&theirs.1, name), "{what}: {name}");
        }
        let (ours, theirs) = (results(&ours.2), results(&theirs.2));
        assert_eq!(ours, theirs, "{what}");
        assert_eq!(ours.iter().all(Vec::is_empty), what == "nothing");
    }

    let [theirs, ours] =
        addresses.map(|address| ask(address, &packed(&[up.clone(), number(2, 9), number(2, 1)].concat())));
    assert_eq!((theirs.0, ours.0), (200, 200));
    for name in ["Content-Type", "Content-Encoding"] {
        assert_eq!(header(&ours.1, name), header(&theirs.1, name), "{name}");
    }

    let matcher = |operator, value| packed(&content(1, &query(range, &[(operator, "a", value)])));
    let wrong: [(&str, Vec<u8>); 6] = [
        ("no block", b"nothing packed".to_vec()),
        ("nothing at all", Vec::new()),
        ("cut", packed(&up[..up.len() - 1])),
        ("another kind of field", packed(&number(1, 1))),
        ("no such form", packed(&[up, number(2, 9)].concat())),
        ("no such operator", matcher(7, "b")),
    ];
    for (what, body) in wrong {
        let [theirs, ours] = addresses.map(|address| ask(address, &body));
        // Prometheus answers 500 where a matcher is wrong.
        let want = if what == "no such operator" { 500 } else { 400 };
        assert_eq!((theirs.0, ours.0), (want, 400), "{what}");
        for name in ["Content-Type", "Content-Encoding"] {
            assert_eq!(header(&ours.1, name).is_some(), name == "Content-Type", "{what}");
        }
        assert_eq!(String::from_utf8_lossy(&ours.2), String::from_utf8_lossy(&theirs.2), "{what}");
    }
    let [theirs, ours] = addresses.map(|address| ask(address, &matcher(2, "(")));
    assert_eq!((theirs.0, ours.0), (500, 400));
    assert_eq!(ours.2, theirs.2);
}
