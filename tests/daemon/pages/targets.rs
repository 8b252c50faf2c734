//! The targets page: of each target that is broken in its own way it names the place and shows what came; what it is asked
//! for it finds; no secret and nothing that acts is on it.

use support::scraped::{Scraped, without_own_script};
use support::tls::endpoint::{Endpoint, Request, reply};
use support::wait_until;

const TEXT: &str = "Content-Type: text/plain\r\n";

/// A job: its name and path, more of its settings, and what its row has to show beside its name.
const BROKEN: &[(&str, &str, &[&str])] = &[
    (
        "status",
        "",
        &[
            "<b>answer</b>: server returned HTTP status 503",
            "begins:</small> locked &lt;b&gt;by&lt;/b&gt; another",
        ],
    ),
    (
        "type",
        "",
        &["<b>answer</b>: received unsupported Content-Type", "begins:</small> &lt;script&gt;alert(1)"],
    ),
    ("parse", "", &["<b>parse</b>: ", "line 2:</small> bad{x= <mark>&lt;script&gt;</mark>"]),
    ("short", "", &["<b>parse</b>: ", "line 1:</small> a"]),
    ("gzip", "", &["<b>unpack</b>: gzip: "]),
    ("limit", "sample_limit: 1", &["<b>limit</b>: sample limit exceeded"]),
    ("size", "body_size_limit: 4B", &["<b>limit</b>: body size limit exceeded"]),
    ("hang", "", &["<b>first byte</b>: Get ", "context deadline exceeded"]),
    ("cut", "", &["<b>body</b>: unexpected EOF"]),
    (
        "refused",
        "relabel_configs: [{target_label: __address__, replacement: '127.0.0.1:1'}]",
        &["<b>connect</b>: "],
    ),
    (
        "name",
        "relabel_configs: [{target_label: __address__, replacement: 'nosuch.invalid:1'}]",
        &["<b>resolve</b>: "],
    ),
    ("tls", "scheme: https", &["<b>TLS</b>: "]),
    (
        "secret",
        "authorization: {credentials: hunter2}",
        &["<b>answer</b>: server returned HTTP status 401", "401 Whatever</tr>"],
    ),
];

fn answer(request: &Request) -> support::tls::endpoint::Reply {
    use support::tls::endpoint::Reply;
    let path = request.head.split(' ').nth(1).unwrap_or_default();
    match path {
        "/status" => reply(503, TEXT, "locked <b>by</b> another\n"),
        "/type" => reply(200, "Content-Type: text/html\r\n", "<script>alert(1)</script>"),
        "/parse" => reply(200, TEXT, "a 1\nbad{x= <script>\nc 1\n"),
        "/short" => reply(200, TEXT, "a"),
        "/gzip" => reply(200, "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", "a 1\n"),
        "/hang" => Reply::Hang,
        "/cut" => Reply::Close(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\na 1".to_vec(),
        ),
        "/secret" => reply(401, TEXT, &format!("who is {}?\n", request.values("Authorization").concat())),
        _ => reply(200, TEXT, "a 1\nb 2\nc 3\n"),
    }
}

#[test]
fn each_row_says_where_it_failed_and_shows_what_came() {
    let endpoint = Endpoint::plain(answer);
    let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    for (job, settings, _) in BROKEN.iter().copied().chain([("good", "", &[] as &[&str])]) {
        let address = endpoint.at("127.0.0.1");
        config.push_str(&format!(
            "- job_name: {job}\n  metrics_path: /{job}\n  static_configs: [{{targets: ['{address}']}}]\n"
        ));
        if !settings.is_empty() {
            config.push_str(&format!("  {settings}\n"));
        }
    }
    let scraped = Scraped::start(&config);
    let section = |query: &str| scraped.get(&format!("/targets?{query}")).body;
    for (job, _, shown) in BROKEN {
        let mut page = String::new();
        wait_until(&format!("{job} is shown"), || {
            page = section(&format!("job={job}"));
            page.contains("<b class=down>down</b> for ")
        });
        for part in shown.iter().chain(&["<path class=down d=\"M", "none was good"]) {
            assert!(page.contains(part), "{job}: {part}\n{page}");
        }
        assert_eq!(page.matches("<td data-label=Endpoint>").count(), 1, "{page}");
    }
    wait_until("the good one is up", || section("job=good").contains("<b class=up>up</b>"));
    wait_until("a strip grows", || {
        let page = section("job=good");
        (2..100).any(|n| page.contains(&format!("<small>{n} stored")))
    });

    // What is asked for is found, and nothing else.
    let n_rows = |query: &str| section(query).matches("<td data-label=Endpoint>").count();
    assert_eq!(n_rows(""), BROKEN.len() + 1);
    for (query, want) in [
        ("state=up", 1),
        ("state=down", BROKEN.len()),
        ("state=unknown", 0),
        ("q=HTTP+status", 2),
        ("q=JOB%3D%22parse%22", 1),
        ("q=%2Fgzip", 1),
        ("q=nothing+like+that", 0),
        ("job=gone", 0),
        ("state=down&job=good", 0),
        ("from=13", 1),
        ("from=99999999999999999999&state=%3Cb%3E", BROKEN.len() + 1),
    ] {
        assert_eq!(n_rows(query), want, "{query}");
    }
    assert!(section("q=nothing+like+that").contains("No target is like that."));
    let whole = section("");
    assert!(!without_own_script(&whole).contains("<script") && !whole.contains("hunter2"), "{whole}");
    assert!(section("q=%3Cscript%3E%22").contains("value=\"&lt;script&gt;&quot;\""));
}

#[test]
fn since_when_is_told_over_a_change_and_the_last_good_scrape_is_kept() {
    let endpoint = Endpoint::plain(answer);
    let scraped = Scraped::start(&format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
         - {{job_name: box, static_configs: [{{targets: ['{}']}}]}}\n",
        endpoint.at("127.0.0.1")
    ));
    let page = || scraped.get("/targets").body;
    wait_until("it is up", || page().contains("<b class=up>up</b> for "));
    assert!(!page().contains("none was good"), "{}", page());
    endpoint.answer(|_| reply(500, TEXT, ""));
    wait_until("it is down", || page().contains("<b class=down>down</b> for "));
    let down = page();
    assert!(down.contains("scrapes failed, the last good one ") && !down.contains("<pre>"), "{down}");
    endpoint.answer(answer);
    wait_until("it is up again", || page().contains("<b class=up>up</b> for "));
    assert!(page().contains("scrapes failed</small>"), "{}", page());
}
