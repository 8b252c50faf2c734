//! Targets that are broken, each in its own way: a person who reads the page learns the cause of each.

use std::fmt::Write as _;
use std::fs;

use rustls::version::{TLS12, TLS13};
use support::scraped::Scraped;
use support::tls::endpoint::{Endpoint, Reply, Request, redirect, reply, server_tls};
use support::tls::{Authority, Validity};
use support::wait_until;

use super::devtools::Browser;

/// A line of `tests/data/web/broken_targets.txt`.
struct Broken<'a> {
    name: &'a str,
    scheme: &'a str,
    settings: &'a str,
    /// Where the scrape failed, what the cause is, and what is shown of the answer.
    shown: [&'a str; 3],
}

impl<'a> Broken<'a> {
    fn read(line: &'a str) -> Self {
        let mut fields = line.split('|').map(str::trim);
        let mut next = || fields.next().expect("six fields");
        let (name, scheme, settings) = (next(), next(), next());
        Self { name, scheme, settings, shown: [next(), next(), next()] }
    }
}

fn answer(request: &Request) -> Reply {
    let text = |body: &str| reply(200, "Content-Type: text/plain\r\n", body);
    match request.head.split(' ').nth(1).unwrap_or_default() {
        "/silent" => Reply::Hang,
        "/missing" => reply(404, "Content-Type: text/plain\r\n", "no metrics here"),
        "/forbidden" => reply(401, "Content-Type: text/plain\r\n", "who are you"),
        "/html" => reply(200, "Content-Type: text/html\r\n", "<h1>Welcome</h1>"),
        "/broken_line" => text("a 1\nb{c=\"d\"} oops\n"),
        "/broken_gzip" => reply(200, "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n", "not packed"),
        "/cut" => Reply::Close(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 99\r\n\r\na 1\n".to_vec(),
        ),
        "/circle" => redirect(302, "/circle"),
        _ => text("a{b=\"c\"} 1\na{b=\"d\"} 1\n"),
    }
}

#[test]
fn the_page_names_the_cause_of_each_broken_target() {
    let Some(mut browser) = Browser::find() else { return };
    let rows = fs::read_to_string(support::data("web/broken_targets.txt")).expect("a file");
    let rows: Vec<Broken> = rows.lines().filter(|line| !line.starts_with('#')).map(Broken::read).collect();
    let plain = Endpoint::plain(answer);
    let authority = Authority::new("nobody's");
    let with_tls = |validity| {
        let pair = authority.issue(&["127.0.0.1"], validity);
        Endpoint::tls(server_tls(&pair, None, &[&TLS12, &TLS13]))
    };
    let (stranger, expired) = (with_tls(Validity::Now), with_tls(Validity::Past));
    let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    for Broken { name, scheme, settings, .. } in &rows {
        let address = match *name {
            "refused" => "127.0.0.1:1".to_owned(),
            "nameless" => "nothing.invalid:80".to_owned(),
            "stranger" => stranger.at("127.0.0.1"),
            "expired" => expired.at("127.0.0.1"),
            _ => plain.at("127.0.0.1"),
        };
        let _ =
            write!(config, "- job_name: {name}\n  scheme: {scheme}\n  metrics_path: /{name}\n  {settings}\n");
        let _ = writeln!(config, "  static_configs: [{{targets: ['{address}']}}]");
    }
    let scraped = Scraped::start(&config);
    wait_until("all have failed", || {
        scraped.get("/targets").body.matches("<b class=down>down").count() == rows.len()
    });
    let base = format!("http://{}", scraped.address());
    let mut missing = Vec::new();
    for Broken { name, shown, .. } in &rows {
        browser.open(&format!("{base}/targets?job={name}"));
        let text = browser.text();
        let row = text.split_once("Error").map_or("", |(_, row)| row);
        missing.extend(
            shown.iter().filter(|shown| !row.contains(**shown)).map(|shown| (*name, *shown, row.to_owned())),
        );
    }
    assert_eq!(missing, [], "what the page does not say");
}
