//! `http_sd_configs` against a real Prometheus: both ask the same server and have to make the same of what it says.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use support::peers::differential::Both;
use support::tls::endpoint::{Endpoint, Reply, Request, redirect, reply};
use support::wait_until;

const JSON: &str = "Content-Type: application/json\r\n";

/// An answer, `N` in it for a number of its own, and whether a real Prometheus takes targets from it.
const ANSWERS: &[(u16, &str, &str, bool)] = &[
    (200, JSON, r#"[{"targets": ["dN:1"]}]"#, true),
    (
        200,
        JSON,
        r#"[{"targets": ["dN:1"], "labels": {"größe": "ü\u00fc", "a.b": "", "__meta_x": "y"}}, {"targets": []}]"#,
        true,
    ),
    (
        200,
        JSON,
        r#"[{"targets": ["dN:1"], "labels": {"__meta_url": "mine", "__scheme__": "https", "job": "own", "e": null}}]"#,
        true,
    ),
    (200, JSON, r#"[{"targets": null}, {"targets": ["dN:1"], "labels": null}, {}]"#, true),
    (200, JSON, r#"[{"Targets": ["x:1"], "targets": ["dN:1"], "labels": {"a": "1", "a": "2"}}]"#, true),
    (200, JSON, r#"[{"targets": ["dN:1"], "source": "x"}]"#, false),
    (200, JSON, r#"[{"targets": ["dN:1"]}] x"#, false),
    (200, JSON, r#"[{"targets": ["dN:1"]}, null]"#, false),
    (200, JSON, "null", false),
    (200, JSON, "[]", false),
    (200, JSON, "", false),
    (200, JSON, "- targets: ['dN:1']\n", false),
    (200, "", r#"[{"targets": ["dN:1"]}]"#, false),
    (200, "Content-Type: text/html\r\n", r#"[{"targets": ["dN:1"]}]"#, false),
    (200, "Content-Type: text/json\r\n", r#"[{"targets": ["dN:1"]}]"#, false),
    (200, "Content-Type: application/json; charset=utf-8\r\n", r#"[{"targets": ["dN:1"]}]"#, true),
    (200, "Content-Type:   Application/JSON;charset=\"UTF-8\"  \r\n", r#"[{"targets": ["dN:1"]}]"#, true),
    (200, "Content-Type: application/json; charset=latin1\r\n", r#"[{"targets": ["dN:1"]}]"#, false),
    (200, "Content-Type: application/json; charset=utf-8; x=y\r\n", r#"[{"targets": ["dN:1"]}]"#, false),
    (200, "Content-Type: application/json;\r\n", r#"[{"targets": ["dN:1"]}]"#, false),
    (200, "Content-Type: application/json ; charset=utf-8\r\n", r#"[{"targets": ["dN:1"]}]"#, false),
    (
        200,
        "content-type: application/json\r\nContent-Type: text/html\r\n",
        r#"[{"targets": ["dN:1"]}]"#,
        true,
    ),
    (
        200,
        "Content-Type: text/html\r\nContent-Type: application/json\r\n",
        r#"[{"targets": ["dN:1"]}]"#,
        false,
    ),
    (
        200,
        "Content-Type: application/json\r\nContent-Encoding: identity\r\n",
        r#"[{"targets": ["dN:1"]}]"#,
        true,
    ),
    (200, "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", r#"[{"targets": ["dN:1"]}]"#, true),
    (201, JSON, r#"[{"targets": ["dN:1"]}]"#, false),
    (204, JSON, "", false),
    (206, JSON, r#"[{"targets": ["dN:1"]}]"#, false),
    (300, JSON, r#"[{"targets": ["dN:1"]}]"#, false),
    (404, JSON, r#"[{"targets": ["dN:1"]}]"#, false),
    (500, JSON, r#"[{"targets": ["dN:1"]}]"#, false),
];

/// A job that asks for `url`.
fn job(name: &str, url: &str, settings: &str) -> String {
    format!("- job_name: {name}\n  http_sd_configs: [{{url: {url:?}, {settings}}}]\n")
}

fn list(address: &str) -> String {
    format!("[{{\"targets\": [{address:?}]}}]")
}

fn path(request: &Request) -> &str {
    request.head.split(' ').nth(1).expect("a path")
}

#[test]
fn what_is_a_list() {
    let endpoint = Endpoint::plain(|request| {
        let n: usize = path(request).strip_prefix("/d").and_then(|n| n.parse().ok()).expect("a number");
        let (status, headers, body, _) = ANSWERS[n];
        reply(status, headers, &body.replace("dN", &format!("d{n}")))
    });
    let url = |n: usize| format!("http://{}/d{n}", endpoint.at("127.0.0.1"));
    let jobs: String = (0..ANSWERS.len()).map(|n| job(&format!("j{n}"), &url(n), "")).collect();
    let taken = ANSWERS.iter().enumerate().filter(|(_, answer)| answer.3);
    let taken: Vec<String> = taken.map(|(n, _)| format!("d{n}:1")).collect();
    let both = Both::start(&jobs, &[]);
    both.agree("every answer", &taken.iter().map(String::as_str).collect::<Vec<_>>());
}

/// What is asked as we ask it: Go sends letters beyond ASCII in a query as they are.
fn escaped(text: &str) -> String {
    text.replace('ö', "%C3%B6").replace('ß', "%C3%9F")
}

/// The different heads that one of the two sent, without the lines that are a program's own, in an order of its own.
fn heads(endpoint: &Endpoint, agent: &str) -> BTreeSet<Vec<String>> {
    // Nobody needs to know where a redirect came from.
    const OWN: [&str; 4] = ["User-Agent: ", "Accept-Encoding: ", "Connection: ", "Referer: "];
    let requests = endpoint.requests();
    let sent = requests.iter().filter(|it| it.values("User-Agent").concat().starts_with(agent));
    let lines = |request: &Request| {
        let lines = request.head.lines().filter(|line| !OWN.iter().any(|it| line.starts_with(it)));
        let mut lines: Vec<String> = lines.map(escaped).collect();
        lines.sort();
        lines
    };
    sent.map(lines).collect()
}

/// Settings of an entry, what stands behind the host in its URL, and whether there is an answer in the end.
const QUESTIONS: &[(&str, &str, bool)] = &[
    ("", "/a", true),
    ("", "", true),
    ("", "/", true),
    ("", "//a//b/", true),
    ("", "/a/../b/./c", true),
    ("", "/a?x=1&y=a+b%20c&z", true),
    ("", "?x=1", true),
    ("", "/ü?ö=ß", true),
    ("", "/a b", true),
    ("", "/a%2Fb%41", true),
    ("", "/a#fragment", true),
    ("refresh_interval: 1m30s", "/interval", true),
    ("refresh_interval: 1250ms", "/ms", true),
    ("basic_auth: {username: box, password: 'p:w'}", "/basic", true),
    ("basic_auth: {username: box}", "/nopassword", true),
    ("authorization: {credentials: x}", "/bearer", true),
    ("authorization: {type: Own, credentials: x}", "/own", true),
    ("http_headers: {X-Site: {values: [a, b]}, x-low: {values: [c]}}", "/headers", true),
    ("", "/redirect301", true),
    ("", "/redirect302", true),
    ("", "/redirect307", true),
    ("", "/redirect308", true),
    ("follow_redirects: false", "/redirect302", false),
    ("basic_auth: {username: box, password: pw}", "/redirect302", true),
    ("", "/circle", false),
];

#[test]
fn what_is_asked() {
    let answer = |request: &Request| {
        let path = escaped(path(request));
        match path.strip_prefix("/redirect") {
            Some(status) => redirect(status.parse().expect("a status"), "/there"),
            None if path == "/circle" => redirect(302, "/circle"),
            None => {
                reply(200, JSON, &format!("[{{\"targets\": [\"x:1\"], \"labels\": {{\"path\": {path:?}}}}}]"))
            }
        }
    };
    let endpoint = Endpoint::plain(answer);
    let mut jobs = String::new();
    for (n, (settings, rest, _)) in QUESTIONS.iter().enumerate() {
        jobs += &job(&format!("q{n}"), &format!("http://{}{rest}", endpoint.at("127.0.0.1")), settings);
    }
    let both = Both::start(&jobs, &[]);
    let n_answered = QUESTIONS.iter().filter(|(_, _, is_answered)| *is_answered).count();
    both.agree("every question", &vec!["x:1"; n_answered]);
    assert_asked_alike(&endpoint);
}

fn assert_asked_alike(endpoint: &Endpoint) {
    let (theirs, ours) = (heads(endpoint, "Prometheus/"), heads(endpoint, "scraped/"));
    let only_theirs: Vec<_> = theirs.difference(&ours).collect();
    let only_ours: Vec<_> = ours.difference(&theirs).collect();
    assert!(only_theirs.is_empty() && only_ours.is_empty(), "{only_theirs:#?}\n{only_ours:#?}");
}

/// Meant to differ: with Prometheus 3.5 anybody who may see the targets may see it too.
#[test]
fn a_password_in_the_url_is_used_and_not_shown() {
    let endpoint = Endpoint::plain(|_| reply(200, JSON, &list("a:1")));
    let url = format!("http://box:hunter2@{}/", endpoint.at("127.0.0.1"));
    let both = Both::start(&job("http", &url, ""), &[]);
    wait_until("both know it", || {
        let (theirs, ours) = both.addresses();
        theirs == ["a:1"] && ours == ["a:1"]
    });
    assert_asked_alike(&endpoint);
    assert_eq!(endpoint.last().values("Authorization"), ["Basic Ym94Omh1bnRlcjI="]);
    let shown = both.scraped.get("/api/v1/targets").body;
    assert!(shown.contains("http://box:xxxxx@") && !shown.contains("hunter2"), "{shown}");
    assert!(both.prometheus.get("/api/v1/targets").contains("hunter2"), "the difference is gone");
}

#[test]
fn lists_that_change() {
    let content = Arc::new(Mutex::new(reply(200, JSON, &list("a:1"))));
    let served = Arc::clone(&content);
    let endpoint = Endpoint::plain(move |_| served.lock().expect("not poisoned").clone());
    let url = format!("http://{}/", endpoint.at("127.0.0.1"));
    // Two jobs share a provider; the third one has its own.
    let interval = "refresh_interval: 400ms";
    let jobs = job("a", &url, interval)
        + &job("b", &url, interval)
        + "  static_configs: [{targets: ['s:1'], labels: {x: y}}]\n"
        + &job("c", &url, "refresh_interval: 500ms")
        + "  relabel_configs: [{source_labels: [__address__], regex: '.*:1', action: drop}]\n";
    let both = Both::start(&jobs, &[]);
    let n_asked = |agent: &str| {
        endpoint.requests().iter().filter(|it| it.values("User-Agent").concat().starts_with(agent)).count()
    };
    let step = |answer: Reply, name: &str, addresses: &[&str]| {
        *content.lock().expect("not poisoned") = answer;
        let before = (n_asked("Prometheus/"), n_asked("scraped/"));
        // The last one that was counted before may have been given the former answer; each job asks again.
        wait_until(name, || n_asked("Prometheus/") >= before.0 + 6 && n_asked("scraped/") >= before.1 + 6);
        let all = [addresses, addresses, &["s:1"], addresses];
        both.agree(name, &all.concat());
    };
    step(reply(200, JSON, &list("a:1")), "at first", &["a:1"]);
    let many: Vec<String> = (0..300).map(|n| format!("m{n}:1")).collect();
    let groups: Vec<String> = many
        .iter()
        .map(|address| {
            format!("{{\"targets\": [{address:?}, {address:?}], \"labels\": {{\"of\": {address:?}}}}}")
        })
        .collect();
    let text = format!("[{}]", groups.join(","));
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    *content.lock().expect("not poisoned") = reply(200, JSON, &text);
    // Where they are dropped each is listed as often as it was named.
    let dropped = [many.as_slice(), many.as_slice()].concat();
    both.agree("many groups", &[many.as_slice(), &many, &["s:1"], &dropped].concat());
    step(
        reply(200, JSON, r#"[{"targets": ["b:2"], "labels": {"n": "1"}}, {"targets": ["c:3"]}]"#),
        "fewer",
        &["b:2", "c:3"],
    );
    step(
        reply(200, JSON, r#"[{"targets": ["b:2"], "labels": {"n": "2"}}, {"targets": []}]"#),
        "a label",
        &["b:2"],
    );
    let is_kept = ["b:2"];
    step(reply(500, JSON, &list("x:1")), "500", &is_kept);
    step(reply(200, "Content-Type: text/html\r\n", &list("x:1")), "another type", &is_kept);
    step(reply(200, JSON, r#"[{"targets": ["x:1"]}, null]"#), "null", &is_kept);
    step(
        Reply::Close(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n[]".to_vec(),
        ),
        "half of it",
        &is_kept,
    );
    step(Reply::Close(b"nonsense\r\n\r\n".to_vec()), "no HTTP", &is_kept);
    let chunked = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[{\"\r\n11\r\ntargets\":[\"k:5\"]}\r\n1\r\n]\r\n0\r\n\r\n";
    step(Reply::Keep(chunked.to_vec()), "in chunks", &["k:5"]);
    step(
        Reply::Close(
            b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n[{\"targets\":[\"o:6\"]}]".to_vec(),
        ),
        "HTTP/1.0",
        &["o:6"],
    );
    step(reply(200, JSON, "[]"), "empty", &[]);
    step(reply(200, JSON, &list("z:9")), "back", &["z:9"]);
    step(reply(200, JSON, "null"), "null", &[]);
}
