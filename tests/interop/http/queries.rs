//! Queries over the local log, and the same requests to a real Prometheus that got the same samples by remote write.
//!
//! Needs a real Prometheus (`scripts/peers`, or `PROMETHEUS=`).

use std::fmt::Write;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::peers::Peer;
use support::protobuf::encode::encode;
use support::scraped::{Answer, Scraped, send};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use tempfile::TempDir;

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Seconds from one sample of a page to the next, and how many there are.
const SECONDS_A_SAMPLE: i64 = 5;
const N_SAMPLES: i64 = 40;

/// Both have the same samples up to a time.
struct Both {
    prometheus: Peer,
    scraped: Scraped,
    _targets: FakeTargets,
    /// Seconds since the Unix epoch.
    t: i64,
    _dir: TempDir,
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// Lines with a timestamp of the last minutes.
fn floats(until_s: i64) -> String {
    let mut text = String::from("# TYPE a_total counter\n");
    let times =
        || (0..N_SAMPLES).map(|idx| (idx, (until_s - (N_SAMPLES - idx) * SECONDS_A_SAMPLE) * 1000 + 123));
    for (path, by) in [("/a", 1), ("/b", 3)] {
        for (idx, ts_ms) in times() {
            writeln!(text, "a_total{{path=\"{path}\"}} {} {ts_ms}", idx * by).unwrap();
        }
    }
    // A gap.
    for (idx, ts_ms) in times().filter(|(idx, _)| !(10..30).contains(idx)) {
        writeln!(text, "a_total {idx}.5 {ts_ms}").unwrap();
    }
    let special = ["NaN", "+Inf", "-Inf", "1e21", "123456789012345680000", "1e-7", "0.1", "-0"];
    for ((_, ts_ms), value) in times().zip(special.iter().cycle()) {
        writeln!(text, "special {value} {ts_ms}").unwrap();
    }
    for (idx, ts_ms) in times().filter(|(idx, _)| *idx < 20) {
        writeln!(text, "mixed {idx} {ts_ms}").unwrap();
    }
    text
}

fn histograms(until_s: i64) -> String {
    let mut text = String::new();
    for (name, from) in [("native", 0), ("mixed", 20)] {
        writeln!(text, "name: \"{name}\"\ntype: HISTOGRAM").unwrap();
        for idx in from..N_SAMPLES {
            let ts_ms = (until_s - (N_SAMPLES - idx) * SECONDS_A_SAMPLE) * 1000 + 123;
            writeln!(
                text,
                "metric {{ timestamp_ms: {ts_ms} histogram {{ sample_count: {} sample_sum: 18.4 zero_threshold: 0.001 \
                 zero_count: 2 schema: 1 positive_span {{ offset: 0 length: 2 }} positive_span {{ offset: 1 length: 1 }} \
                 positive_delta: {idx} positive_delta: 1 positive_delta: -1 negative_span {{ offset: 1 length: 1 }} \
                 negative_delta: 4 }} }}",
                3 * idx + 7
            )
            .unwrap();
        }
        if name == "native" {
            text.push_str("---\n");
        }
    }
    text
}

impl Both {
    fn start() -> Self {
        let targets = FakeTargets::start();
        let until_s = now_s() - 20;
        targets.set("/floats", Behaviour::Healthy(page(&floats(until_s))));
        targets.set(
            "/histograms",
            Behaviour::ContentType(encode(&histograms(until_s)).into(), PROTOBUF.to_owned()),
        );
        targets
            .set("/still", Behaviour::Healthy(page(&format!("still{{a=\"\\\"\\\\\"}} 1e6 {until_s}000\n"))));
        targets.set(
            "/live",
            Behaviour::InTurn(
                [
                    "gone 1\n{\"dotted.name\",\"label.with.dots\"=\"x\"} 5\n",
                    "stays 1\n{\"dotted.name\",\"label.with.dots\"=\"x\"} 5\n",
                ]
                .map(|text| Behaviour::Healthy(page(text)))
                .into(),
            ),
        );
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        let prometheus = Peer::server(
            "global: {scrape_interval: 1h, external_labels: {site: a}}\n",
            &dir.path().join("peer"),
            &["--enable-feature=native-histograms"],
        );
        let mut config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{site: a}}, scrape_native_histograms: true}}\n\
             remote_write:\n- url: http://{}/api/v1/write\n  send_native_histograms: true\n\
             \x20 write_relabel_configs: [{{action: labeldrop, regex: site}}]\n\
             \x20 queue_config: {{batch_send_deadline: 100ms, max_shards: 1}}\nscrape_configs:\n",
            prometheus.address()
        );
        for job in ["floats", "histograms", "still", "live"] {
            writeln!(
                config,
                "- job_name: {job}\n  metrics_path: /{job}\n  static_configs: [{{targets: ['{}']}}]",
                targets.address()
            )
            .unwrap();
        }
        let scraped = Scraped::start(&config);
        wait_until("all is scraped, and one series has ended", || {
            let n_found = |query: &str| found(&scraped, query).as_array().map_or(0, Vec::len);
            n_found("stays") == 1 && n_found("gone") == 0 && n_found("up") == 4 && n_found("up==1") == 0
        });
        let t = now_s();
        wait_until("Prometheus has it all", || newest_up(&prometheus) > t);
        Self { prometheus, scraped, _targets: targets, t, _dir: dir }
    }

    /// What each of them answers, Prometheus first.
    fn ask(&self, request: &Request) -> [Answer; 2] {
        [self.prometheus.address(), self.scraped.address()].map(|address| {
            let pairs = request.parameters.iter();
            let pairs: Vec<String> =
                pairs.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
            let text = pairs.join("&");
            let host = format!("Host: {address}\r\n");
            let answer = match request.is_form {
                true => {
                    let headers = format!("{host}Content-Type: application/x-www-form-urlencoded\r\n");
                    send(address, "POST", &request.path, &headers, text.as_bytes())
                }
                false => send(address, "GET", &format!("{}?{text}", request.path), &host, b""),
            };
            answer.unwrap_or_else(|| panic!("{address}: no answer to {}", request.line))
        })
    }
}

/// The result of an instant query of ours.
fn found(scraped: &Scraped, query: &str) -> Value {
    let answer = scraped.get(&format!("/api/v1/query?query={}", encoded(query)));
    serde_json::from_str::<Value>(&answer.body).unwrap_or_default()["data"]["result"].clone()
}

/// Seconds of the newest sample of the least `up`.
fn newest_up(peer: &Peer) -> i64 {
    let answer = peer.get("/api/v1/query?query=min(timestamp(up))");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    let seconds = answer["data"]["result"][0]["value"][1].as_str().unwrap_or("0");
    seconds.parse::<f64>().unwrap() as i64
}

/// A line of `queries.txt`.
struct Request {
    line: String,
    is_form: bool,
    path: String,
    parameters: Vec<(String, String)>,
    /// `engine`, `unlike body …` or nothing.
    verdict: String,
}

fn requests(t: i64) -> Vec<Request> {
    let text = fs::read_to_string(support::data("web/queries.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| request(line, t)).collect()
}

fn request(line: &str, t: i64) -> Request {
    let mut parts = line.split(" | ");
    let first = parts.next().unwrap();
    let (is_form, path) = match first.strip_prefix("form ") {
        Some(path) => (true, path),
        None => (false, first),
    };
    let mut request = Request {
        line: line.to_owned(),
        is_form,
        path: path.to_owned(),
        parameters: Vec::new(),
        verdict: String::new(),
    };
    for part in parts {
        match part.split_once('=').filter(|_| !part.starts_with("unlike ")) {
            Some((name, value)) => request.parameters.push((name.to_owned(), with_times(value, t))),
            None => part.clone_into(&mut request.verdict),
        }
    }
    request
}

/// `{t-60}` as a time.
fn with_times(value: &str, t: i64) -> String {
    let Some((before, rest)) = value.split_once("{t") else { return value.to_owned() };
    let (minus, behind) = rest.split_once('}').unwrap();
    let seconds = match minus.strip_prefix('-') {
        Some(minus) => t as f64 - minus.parse::<f64>().unwrap(),
        None => t as f64,
    };
    format!("{before}{seconds}{}", with_times(behind, t))
}

fn encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The body as it is compared: series in order of their labels.
fn compared(answer: &Answer) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(&answer.body) else { return answer.body.clone() };
    if let Some(rows) = value.pointer_mut("/data/result").and_then(Value::as_array_mut) {
        rows.sort_by_key(|row| row["metric"].to_string());
    }
    if value["data"].as_array().is_some_and(|rows| rows.iter().all(Value::is_object)) {
        value["data"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    value.to_string()
}

fn content_type(answer: &Answer) -> &str {
    let mut headers = answer.head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(name, _)| name.eq_ignore_ascii_case("Content-Type")).map_or("none", |(_, value)| value)
}

#[test]
fn queries_are_answered_as_a_prometheus_with_the_same_samples_answers_them() {
    let both = Both::start();
    let requests = requests(both.t);
    assert!(requests.len() > 150);
    let mut differ = Vec::new();
    for request in &requests {
        let [theirs, ours] = both.ask(request);
        if request.verdict == "engine" {
            assert_eq!(theirs.status, 200, "{}: {}", request.line, theirs.body);
            let says =
                ours.body.contains("\"errorType\":\"execution\"") && ours.body.contains("/api/v1/read");
            if ours.status != 422 || !says {
                differ.push(format!("{}\n  {}", request.line, ours.body));
            }
            continue;
        }
        let mut pairs = vec![
            (theirs.status.to_string(), ours.status.to_string()),
            (content_type(&theirs).to_owned(), content_type(&ours).to_owned()),
        ];
        if !request.verdict.starts_with("unlike body") {
            pairs.push((compared(&theirs), compared(&ours)));
        }
        let said = |(theirs, ours): (String, String)| format!("{}\n  {theirs}\n  {ours}", request.line);
        differ.extend(pairs.into_iter().filter(|(theirs, ours)| theirs != ours).map(said));
    }
    assert!(differ.is_empty(), "{} (Prometheus first)\n{}", differ.len(), differ.join("\n"));
}

#[test]
fn a_real_prometheus_scrapes_the_newest_samples() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    targets.set("/dotted", Behaviour::Healthy(page("{\"dotted.name\",\"with.dots\"=\"a\\\"b\"} 5\n")));
    let address = targets.address();
    let job = |name: &str, path: &str| {
        format!(
            "- job_name: {name}\n  metrics_path: {path}\n  static_configs: [{{targets: ['{address}']}}]\n"
        )
    };
    let scraped = Scraped::start(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, external_labels: {{site: edge}}}}\nscrape_configs:\n{}{}",
        job("counting", "/metrics"),
        job("dotted", "/dotted")
    ));
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let config = format!(
        "global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}\nscrape_configs:\n- job_name: federate\n  honor_labels: true\n\
         \x20 metrics_path: /federate\n  params: {{'match[]': ['{{job!=\"\"}}']}}\n  static_configs: [{{targets: ['{}']}}]\n",
        scraped.address()
    );
    let prometheus = Peer::server(&config, dir.path(), &[]);
    let rows = |query: &str| {
        let answer = prometheus.get(&format!("/api/v1/query?query={}", encoded(query)));
        serde_json::from_str::<Value>(&answer).unwrap()["data"]["result"].as_array().unwrap().clone()
    };
    wait_until("several samples", || {
        rows("fake_scrapes_total[1m]").first().is_some_and(|row| row["values"].as_array().unwrap().len() > 2)
    });
    let theirs = &rows("fake_scrapes_total[1m]")[0];
    let labels = &theirs["metric"];
    assert_eq!((&labels["job"], &labels["site"]), (&Value::from("counting"), &Value::from("edge")));
    assert_eq!(labels["instance"], Value::from(address.as_str()));
    // Each is one of ours, with its time.
    let ours = &found(&scraped, "fake_scrapes_total[1m]")[0]["values"];
    for sample in theirs["values"].as_array().unwrap() {
        assert!(ours.as_array().unwrap().contains(sample), "{sample} in {ours}");
    }
    let dotted = &rows("{\"dotted.name\"}")[0]["metric"]["with.dots"];
    assert_eq!(dotted, &Value::from("a\"b"));
}
