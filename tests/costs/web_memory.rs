//! Answers that are long cost the daemon no memory, however many read them and however slowly.

use crate::alone;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use support::scraped::{Scraped, ask_with};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_for_long;

const N_TARGETS: usize = 300;
const N_FAMILIES: usize = 100;
/// Clients of each answer that read it, and that never do.
const N_READERS: usize = 3;
const N_STALLED: usize = 30;
/// A page of HTML, whatever it is about.
const MAX_PAGE_BYTES: usize = 60_000;
/// The answer has 7 MB; 33 clients that all had one of their own would have 230.
const MAX_GROWTH_KB: u64 = 16 * 1024;

fn kb(scraped: &Scraped, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", scraped.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a field");
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().expect("a number")
}

#[test]
fn long_answers_are_made_as_they_are_read() {
    let _alone = alone();
    let mut text = String::new();
    for number in 0..N_FAMILIES {
        let name = format!("family_number_{number}_of_a_page_of_the_usual_kind_total");
        let _ = writeln!(text, "# HELP {name} Help of \"family\" {number}, with as many words as usual.");
        let _ = writeln!(text, "# TYPE {name} counter\n{name} {number}");
    }
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page(&text)));
    let mut config =
        "global: {scrape_interval: 1h, scrape_timeout: 1m}\nscrape_configs:\n- job_name: many\n  \
                      static_configs:\n"
            .to_owned();
    for number in 0..N_TARGETS {
        let address = targets.address();
        let _ = writeln!(
            config,
            "  - {{targets: ['{address}'], labels: {{n: '{number}', site: 'of some length'}}}}"
        );
    }
    let scraped = Scraped::start_with(&config, &[]);
    wait_for_long("all are up", || {
        let targets = scraped.get("/api/v1/targets?state=active").body;
        targets.matches("\"health\":\"up\"").count() == N_TARGETS
    });
    for path in [
        "/api/v1/targets/metadata",
        "/api/v1/metadata",
        "/api/v1/targets",
        "/targets",
        "/metrics",
        "/api/v1/status/config",
    ] {
        // The high-water mark starts again at what is in use.
        fs::write(format!("/proc/{}/clear_refs", scraped.id()), "5").expect("our child");
        let before = kb(&scraped, "VmRSS");
        let stalled: Vec<TcpStream> = (0..N_STALLED)
            .map(|_| {
                let mut stream = TcpStream::connect(scraped.address()).expect("accepted");
                write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("open");
                stream
            })
            .collect();
        let bodies: Vec<String> = thread::scope(|scope| {
            let read =
                || ask_with(scraped.address(), "GET", path, "Host: localhost\r\n").expect("an answer").body;
            let readers: Vec<_> = (0..N_READERS).map(|_| scope.spawn(read)).collect();
            readers.into_iter().map(|reader| reader.join().expect("no panic")).collect()
        });
        let grown = kb(&scraped, "VmHWM").saturating_sub(before);
        assert!(grown < MAX_GROWTH_KB, "{path}: {grown} kB for {} bytes", bodies[0].len());
        drop(stalled);
        if path.starts_with("/api") {
            let answer: Value = serde_json::from_str(&bodies[0]).expect("JSON");
            assert_eq!(answer["status"], "success");
            let rows = |value: &Value| value.as_array().map_or(0, Vec::len);
            match path {
                "/api/v1/targets/metadata" => assert_eq!(rows(&answer["data"]), N_TARGETS * N_FAMILIES),
                "/api/v1/targets" => assert_eq!(rows(&answer["data"]["activeTargets"]), N_TARGETS),
                "/api/v1/metadata" => {
                    assert_eq!(answer["data"].as_object().map_or(0, serde_json::Map::len), N_FAMILIES);
                }
                _ => assert!(answer["data"]["yaml"].as_str().expect("text").contains("of some length")),
            }
        }
        if path == "/targets" {
            assert_eq!(bodies[0].matches("<td data-label=Endpoint>").count(), 36);
            assert!(bodies[0].contains(&format!("<p>{N_TARGETS} targets, here 1 to 36")));
            assert!(bodies[0].len() < MAX_PAGE_BYTES, "{} bytes", bodies[0].len());
            assert!(bodies[0].trim_end().ends_with("</html>"));
        }
    }
}

#[test]
fn a_client_that_reads_slowly_gets_all_and_one_that_does_not_is_closed() {
    let _alone = alone();
    let mut config = "scrape_configs:\n- job_name: many\n  static_configs:\n".to_owned();
    for number in 0..2000 {
        let _ = writeln!(config, "  - {{targets: ['127.0.0.1:1'], labels: {{n: '{number}'}}}}");
    }
    let scraped = Scraped::start_with(&config, &["--scrape.max-workers=4", "--no-scrape.on-start"]);
    wait_for_long("all are there", || scraped.get("/targets").body.contains("<p>2000 targets"));
    let ask = || {
        let mut stream = TcpStream::connect(scraped.address()).expect("accepted");
        stream.write_all(b"GET /api/v1/targets HTTP/1.0\r\n\r\n").expect("open");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("possible");
        stream
    };
    let (mut slow, mut never) = (ask(), ask());
    // Longer than the 5 s that a part of an answer may take.
    let (mut text, mut piece) = (Vec::new(), [0; 8 * 1024]);
    let started = std::time::Instant::now();
    loop {
        let n_read = slow.read(&mut piece).expect("open");
        if n_read == 0 {
            break;
        }
        text.extend_from_slice(&piece[..n_read]);
        if started.elapsed() < Duration::from_secs(7) {
            thread::sleep(Duration::from_millis(100));
        }
    }
    assert!(started.elapsed() > Duration::from_secs(6));
    let text = String::from_utf8(text).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains("Connection: close") && !head.contains("chunked"), "{head}");
    let answer: Value = serde_json::from_str(body).expect("whole");
    assert_eq!(answer["data"]["activeTargets"].as_array().map_or(0, Vec::len), 2000);
    let mut cut = Vec::new();
    // The end of the stream, or a reset: either way not all of it.
    let _ = never.read_to_end(&mut cut);
    assert!(cut.len() < text.len(), "{} of {}", cut.len(), text.len());
}
