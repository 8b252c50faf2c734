//! Every path and method of Prometheus' router in agent mode, and what both answer to the same requests: good ones, bad
//! parameters, wrong methods, paths that are nearly right.
//!
//! Needs a real Prometheus (`scripts/peers`, or `PROMETHEUS=`).

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use serde_json::Value;
use support::peers::Peer;
use support::peers::differential::families;
use support::scraped::{Answer, Scraped, send};
use support::targets::{Behaviour, FakeTargets, page};
use support::{PATIENCE, wait_until};
use tempfile::TempDir;

/// Values that are another's by nature: only their kind of JSON is compared.
const MASKED: &[&str] = &[
    "CWD",
    "GODEBUG",
    "GOGC",
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "branch",
    "buildDate",
    "buildUser",
    "date",
    "goVersion",
    "goroutineCount",
    "lastConfigTime",
    "lastScrape",
    "lastScrapeDuration",
    "revision",
    "serverTime",
    "startTime",
    "storageRetention",
    "version",
    // `tests/interop/config.rs` compares it.
    "yaml",
];
/// Discovered labels that Prometheus has since 3.13.
const NEWER_LABELS: [&str; 3] = [
    "__always_scrape_classic_histograms__",
    "__convert_classic_histograms_to_nhcb__",
    "__scrape_native_histograms__",
];
const CORS_HEADERS: [&str; 4] =
    ["Vary", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Expose-Headers"];

/// A line of `router.txt`.
struct Route {
    method: String,
    path: String,
    verdict: String,
}

/// A line of `requests.txt`.
struct Request {
    method: String,
    target: String,
    form: String,
    origin: Option<String>,
    /// What differs on purpose.
    unlike: Vec<String>,
}

fn lines(file: &str) -> Vec<String> {
    let text = fs::read_to_string(support::repository().join("tests/data/web").join(file)).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

fn routes() -> Vec<Route> {
    let route = |line: String| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        Route { method: next(), path: next(), verdict: next() }
    };
    lines("router.txt").into_iter().map(route).collect()
}

fn requests() -> Vec<Request> {
    let request = |line: String| {
        let mut parts = line.split(" | ");
        let (method, target) = parts.next().unwrap().split_once(' ').unwrap();
        let mut request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            form: String::new(),
            origin: None,
            unlike: Vec::new(),
        };
        for part in parts {
            match part.split_once(' ').unwrap() {
                ("form", form) => form.clone_into(&mut request.form),
                ("origin", origin) => request.origin = Some(origin.to_owned()),
                ("unlike", what) => request.unlike.push(what.split(' ').next().unwrap().to_owned()),
                other => panic!("{other:?} in {line}"),
            }
        }
        request
    };
    lines("requests.txt").into_iter().map(request).collect()
}

impl Route {
    fn covers(&self, request: &Request) -> bool {
        let path = request.target.split('?').next().unwrap();
        let mut parts = path.split('/');
        let is_path = self.path.split('/').all(|want| match want.chars().next() {
            Some('*') => parts.by_ref().last().is_some(),
            Some(':') => parts.next().is_some_and(|part| !part.is_empty()),
            _ => parts.next() == Some(want),
        });
        is_path && parts.next().is_none() && self.method == request.method
    }
}

/// Both on one configuration, with the target up.
struct Both {
    prometheus: Peer,
    scraped: Scraped,
    _targets: FakeTargets,
}

impl Both {
    fn start() -> Self {
        let targets = FakeTargets::start();
        let text =
            "# HELP a_total As.\n# TYPE a_total counter\na_total 1\n# HELP b Bs.\n# TYPE b gauge\nb 2\n";
        targets.set("/metrics", Behaviour::Healthy(page(text)));
        let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
        let address = targets.address();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{site: a}}}}\nscrape_configs:\n\
             - job_name: up\n  static_configs: [{{targets: ['{address}'], labels: {{a: b}}}}]\n  relabel_configs:\n\
             \x20 - {{source_labels: [__address__, job], regex: '(.*):.*;(.*)', target_label: x, replacement: '$2-$1'}}\n\
             \x20 - {{action: drop, source_labels: [nothing], regex: yes}}\n\
             - job_name: dropped\n  static_configs: [{{targets: ['{address}']}}]\n  relabel_configs: [{{action: drop}}]\n"
        );
        fs::write(dir.path().join("scraped.yml"), config).unwrap();
        let prometheus = Peer::agent(&dir.path().join("scraped.yml"), &dir.path().join("peer"));
        let scraped = Scraped::start_in(dir, &["--web.enable-lifecycle", "--web.cors.origin=.*"]);
        wait_until("both have scraped", || {
            let is_up = |list: String| list.contains("\"health\":\"up\"");
            is_up(prometheus.get("/api/v1/targets")) && is_up(scraped.get("/api/v1/targets").body)
        });
        Self { prometheus, scraped, _targets: targets }
    }

    /// What each of them answers, Prometheus first.
    fn ask(&self, request: &Request) -> [Answer; 2] {
        [self.prometheus.address(), self.scraped.address()].map(|address| {
            let mut headers = format!("Host: {address}\r\n");
            if let Some(origin) = &request.origin {
                headers.push_str(&format!("Origin: {origin}\r\n"));
            }
            if !request.form.is_empty() {
                headers.push_str("Content-Type: application/x-www-form-urlencoded\r\n");
            }
            send(address, &request.method, &request.target, &headers, request.form.as_bytes())
                .unwrap_or_else(|| panic!("{address}: no answer to {} {}", request.method, request.target))
        })
    }
}

fn header<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    let mut headers = answer.head.lines().filter_map(|line| line.split_once(": "));
    headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Masks what is another's by nature.
fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !NEWER_LABELS.contains(&name.as_str()));
            for (name, value) in fields {
                match value {
                    Value::String(text) if MASKED.contains(&name.as_str()) => "TEXT".clone_into(text),
                    Value::Number(number) if MASKED.contains(&name.as_str()) => *number = 0.into(),
                    value => mask(value),
                }
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(mask);
            // Prometheus' lists of metadata come out of maps.
            items.sort_by_key(Value::to_string);
        }
        _ => {}
    }
}

/// The body as it is compared.
fn compared(answer: &Answer, is_without_words: bool) -> String {
    let mut body = answer.body.replace("Prometheus Agent is", "X is").replace("scraped is", "X is");
    if let Ok(mut value) = serde_json::from_str::<Value>(&body) {
        mask(&mut value);
        if let (true, Some(Value::String(error))) = (is_without_words, value.get_mut("error")) {
            let kept = error.split_inclusive(": ").next().unwrap_or_default().len();
            error.truncate(kept);
        }
        body = value.to_string();
    } else if is_without_words {
        body.clear();
    }
    body
}

/// What differs and should not.
fn differences(request: &Request, theirs: &Answer, ours: &Answer) -> Vec<String> {
    let is_unlike = |what: &str| request.unlike.iter().any(|unlike| unlike == what);
    let mut pairs = Vec::new();
    if !is_unlike("status") {
        pairs.push(("status", theirs.status.to_string(), ours.status.to_string()));
    }
    let is_redirect = (300..400).contains(&theirs.status);
    let of = |answer: &Answer, name: &str| header(answer, name).unwrap_or("none").to_owned();
    let mut same_header = |name: &'static str| pairs.push((name, of(theirs, name), of(ours, name)));
    if !is_unlike("status") {
        CORS_HEADERS.into_iter().for_each(&mut same_header);
    }
    if !is_unlike("location") && !is_unlike("status") && request.target != "/" {
        same_header("Location");
    }
    if !is_redirect && !is_unlike("type") && !is_unlike("status") {
        same_header("Content-Type");
    }
    if !is_unlike("status") {
        // HEAD is answered wherever GET is.
        let allowed = |answer: &Answer| of(answer, "Allow").replace("HEAD, ", "");
        pairs.push(("Allow", allowed(theirs), allowed(ours)));
    }
    // With `.*` Prometheus repeats the name of the site, and newer versions say that all are.
    let is_allowed = |answer: &Answer| header(answer, "Access-Control-Allow-Origin").is_some().to_string();
    pairs.push(("Access-Control-Allow-Origin", is_allowed(theirs), is_allowed(ours)));
    if !is_redirect && !is_unlike("body") && !is_unlike("status") {
        let is_without_words = is_unlike("words");
        pairs.push(("body", compared(theirs, is_without_words), compared(ours, is_without_words)));
    }
    let differ = pairs.into_iter().filter(|(_, theirs, ours)| theirs != ours);
    let said = |(what, theirs, ours): (&str, String, String)| {
        format!("{} {}: {what}\n  {theirs}\n  {ours}", request.method, request.target)
    };
    differ.map(said).collect()
}

#[test]
fn no_route_of_a_real_agent_is_forgotten() {
    let both = Both::start();
    let routes = routes();
    let page = both.prometheus.get("/metrics");
    let counted = page.lines().filter_map(|line| {
        let labels = line.strip_prefix("prometheus_http_requests_total{")?;
        labels.split_once("handler=\"")?.1.split('"').next()
    });
    let counted: BTreeSet<&str> = counted.collect();
    assert!(counted.len() > 40, "{counted:?}");
    let forgotten: Vec<&&str> =
        counted.iter().filter(|path| routes.iter().all(|route| route.path != ***path)).collect();
    assert!(forgotten.is_empty(), "not in tests/data/web/router.txt: {forgotten:?}");
    let requests = requests();
    for route in &routes {
        let is_asked = requests.iter().any(|request| route.covers(request));
        // The first ends what is asked, the others have tests of their own.
        let elsewhere = ["/-/quit", "/api/v1/*path", "/api/v1/notifications/live"];
        if route.verdict == "same" && !elsewhere.contains(&route.path.as_str()) {
            assert!(is_asked, "{} {}: no request in requests.txt", route.method, route.path);
        }
        let target = route.path.replace(":name", "a").replace("*filepath", "a").replace("*subpath", "pprof/");
        if ["/-/flush", "/-/quit", "/-/reload", "/api/v1/notifications/live"].contains(&target.as_str()) {
            continue;
        }
        let status = both.scraped.ask(&route.method, &target).status;
        match route.verdict.as_str() {
            "not-built" => assert!([404, 405].contains(&status), "{} {target}: {status}", route.method),
            "same" if target.starts_with("/consoles") => assert_eq!(status, 404),
            "newer" if target.ends_with("/otlp/v1/metrics") => assert_eq!(status, 404),
            "same" if target == "/api/v1/write" => assert_eq!(status, 404),
            "same" | "newer" | "server" | "page" | "beyond" => {
                assert!(![404, 405].contains(&status), "{} {target}: {status}", route.method);
            }
            verdict => panic!("{} {target}: {verdict}", route.method),
        }
    }
}

#[test]
fn the_same_requests_have_the_same_answers() {
    let both = Both::start();
    let mut differ = Vec::new();
    for request in requests() {
        let [theirs, ours] = both.ask(&request);
        differ.extend(differences(&request, &theirs, &ours));
    }
    assert!(differ.is_empty(), "(Prometheus first)\n{}", differ.join("\n"));
}

#[test]
fn the_same_is_counted_of_requests() {
    let both = Both::start();
    let prefixes =
        ["net_conntrack_listener_", "prometheus_api_", "prometheus_http_", "prometheus_web_", "promhttp_"];
    for prefix in prefixes {
        let page = both.prometheus.get("/metrics");
        let [theirs, ours] = [page, both.scraped.get("/metrics").body].map(|page| families(&page, prefix));
        assert!(!theirs.is_empty(), "{prefix}");
        assert_eq!(theirs, ours, "{prefix}");
    }
    // Bounds are spelled alike.
    both.prometheus.get("/version");
    both.scraped.get("/version");
    let [theirs, ours] = [both.prometheus.get("/metrics"), both.scraped.get("/metrics").body].map(|page| {
        let buckets = page.lines().filter(|line| line.contains("_bucket{handler=\"/version\","));
        buckets.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect::<BTreeSet<String>>()
    });
    assert_eq!((theirs.len(), &theirs), (19, &ours));
}

#[test]
fn live_notifications_begin_alike() {
    let both = Both::start();
    let heads = [both.prometheus.address(), both.scraped.address()].map(|address| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /api/v1/notifications/live HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend_from_slice(&byte);
        }
        Answer { status: 200, head: String::from_utf8(head).unwrap(), body: String::new() }
    });
    for name in ["Content-Type", "Cache-Control", "Transfer-Encoding", "Vary"] {
        assert_eq!(header(&heads[1], name), header(&heads[0], name), "{name}");
    }
    assert!(heads.iter().all(|answer| answer.head.starts_with("HTTP/1.1 200 ")), "{heads:?}");
}
