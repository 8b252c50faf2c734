//! Fetching over real sockets: every way a target can misbehave, and what it may cost.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use scraped::clock::Clock;
use scraped::config::ScrapeConfig;
use scraped::config::scrape_options::ScrapeLimits;
use scraped::scrape::fetch::scraper::{Fetched, Scraper};
use scraped::scrape::targets::target_url::{TargetUrl, UrlScheme};
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::decode::ContentEncoding;
use scraped_engine::store::decode::Decoder;
use scraped_engine::store::pace::Pace;
use support::scraped::free_address;
use support::targets::{Behaviour, FakeTargets, FullBacklog, packed_page, page};
use support::{PATIENCE, wait_until};

const PAGE: &str = "# TYPE up gauge\nup 1\nrequests_total{path=\"/\"} 17\n";

/// A timeout that a hung target is cut off at; the test waits for it.
const SHORT: Duration = Duration::from_secs(2);

/// A job's settings as far as a fetch knows them.
fn job(body_size_limit_bytes: u64, enable_compression: bool) -> ScrapeConfig {
    ScrapeConfig {
        job_name: "fetch".to_owned(),
        enable_compression,
        limits: ScrapeLimits { body_size_limit_bytes, ..ScrapeLimits::default() },
        ..ScrapeConfig::default()
    }
}

fn url(address: &str, path: &str) -> TargetUrl {
    TargetUrl { scheme: UrlScheme::Http, authority: address.to_owned(), path_and_query: path.to_owned() }
}

/// A scraper with all that a worker would lend it.
struct Fetch {
    scraper: Scraper,
    budget: Arc<BodyBudget>,
    decoder: Decoder,
    limit_bytes: u64,
}

impl Fetch {
    fn of(address: &str, path: &str) -> Self {
        Self::with(&url(address, path), 0)
    }

    fn with(url: &TargetUrl, limit_bytes: u64) -> Self {
        Self {
            scraper: Scraper::new(url, &job(limit_bytes, true), Duration::from_millis(2500)),
            budget: BodyBudget::new(16 << 20, u64::MAX),
            decoder: Decoder::default(),
            limit_bytes,
        }
    }

    /// The page, or the error as text.
    fn get(&mut self, timeout: Duration) -> Result<(Fetched, String), String> {
        let deadline = Instant::now() + timeout;
        let mut body = self.budget.wire_buffer();
        let mut decoded = self.budget.decoded_buffer();
        let fetched =
            self.scraper.fetch(deadline, &mut body, &Clock::system()).map_err(|error| error.to_string())?;
        assert_eq!(fetched.wire_bytes, body.len());
        let encoding = fetched.content_encoding;
        let page = self
            .decoder
            .decode(encoding, &body, &mut decoded, self.limit_bytes, &mut Pace::alone(deadline))
            .map_err(|error| error.to_string())?;
        Ok((fetched, String::from_utf8_lossy(page).into_owned()))
    }

    fn page(&mut self) -> String {
        self.get(PATIENCE).expect("a page").1
    }

    fn error(&mut self, timeout: Duration) -> String {
        let error = self.get(timeout).expect_err("no page");
        assert_eq!(self.budget.held_bytes(), 0, "a failed scrape gives everything back");
        error
    }
}

/// Checks the error of one behaviour; `{}` in `want` stands for the address.
fn check_error(behaviour: Behaviour, timeout: Duration, want: &str) {
    let targets = FakeTargets::start();
    targets.set("/metrics", behaviour);
    let start = Instant::now();
    let error = Fetch::of(&targets.address(), "/metrics").error(timeout);
    assert_eq!(error, want.replace("{}", &targets.address()));
    assert!(start.elapsed() < timeout + PATIENCE / 2, "took {:?}", start.elapsed());
}

#[test]
fn the_request_is_that_of_prometheus() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page(PAGE)));
    let address = targets.address();
    let fetched = Fetch::of(&address, "/metrics?target=a%20b&x=1").get(PATIENCE).expect("a page");
    assert_eq!(fetched.1, PAGE);
    assert_eq!(fetched.0.content_type, "text/plain; version=0.0.4; charset=utf-8");
    let version = env!("CARGO_PKG_VERSION");
    let head = targets.last_head("/metrics");
    let mut lines: Vec<&str> = head.lines().collect();
    lines.sort_unstable();
    let want = format!(
        "\nAccept-Encoding: gzip\nAccept: {accept}\nGET /metrics?target=a%20b&x=1 HTTP/1.1\nHost: {address}\n\
         User-Agent: scraped/{version}\nX-Prometheus-Scrape-Timeout-Seconds: 2.5",
        accept = scraped::scrape::fetch::negotiation::accept(&job(0, true).options),
    );
    assert_eq!(lines.join("\n"), want);
    // Without compression the target is told so.
    let mut scraper = Scraper::new(&url(&address, "/metrics"), &job(0, false), Duration::from_secs(10));
    let mut body = BodyBudget::new(1 << 20, 1 << 20).wire_buffer();
    scraper.fetch(Instant::now() + PATIENCE, &mut body, &Clock::system()).expect("a page");
    let head = targets.last_head("/metrics");
    assert!(head.contains("\nAccept-Encoding: identity\n"), "{head}");
    assert!(head.contains("\nX-Prometheus-Scrape-Timeout-Seconds: 10\n"), "{head}");
}

#[test]
fn one_connection_serves_scrape_after_scrape() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let mut fetch = Fetch::of(&targets.address(), "/metrics");
    for n_scrape in 1..=10 {
        assert!(fetch.page().ends_with(&format!("\nfake_scrapes_total {n_scrape}\n")));
    }
    // Error answers, short redirect bodies and every framing keep it as well.
    for behaviour in [
        Behaviour::Status(503),
        Behaviour::Chunked(page(PAGE), 7),
        Behaviour::Gzip(packed_page(PAGE)),
        Behaviour::Healthy(page("")),
    ] {
        targets.set("/metrics", behaviour);
        let _ = fetch.get(PATIENCE);
    }
    targets.set("/metrics", Behaviour::Healthy(page(PAGE)));
    assert_eq!(fetch.page(), PAGE);
    assert_eq!(targets.n_connections(), 1);
}

#[test]
fn every_framing_gives_the_same_page() {
    let long_page =
        "# a comment that makes the page longer than every buffer on the way\n".repeat(3000) + PAGE;
    let targets = FakeTargets::start();
    let mut fetch = Fetch::of(&targets.address(), "/metrics");
    for text in [PAGE, long_page.as_str()] {
        for behaviour in [
            Behaviour::Healthy(page(text)),
            Behaviour::Gzip(packed_page(text)),
            Behaviour::Chunked(page(text), 11),
            Behaviour::Chunked(page(text), 1 << 20),
            Behaviour::UntilClosed(page(text)),
            Behaviour::Slow(page(text), Duration::from_millis(20)),
            Behaviour::ContentEncoding(page(text), "GZIP".to_owned()),
        ] {
            let name = format!("{behaviour:?}");
            targets.set("/metrics", behaviour);
            assert!(fetch.page() == text, "{}", &name[..20]);
        }
    }
    targets.set("/metrics", Behaviour::Healthy(page("")));
    assert_eq!(fetch.page(), "");
}

#[test]
fn a_connection_that_the_peer_closed_meanwhile_is_replaced() {
    let targets = FakeTargets::start();
    let mut fetch = Fetch::of(&targets.address(), "/metrics");
    targets.set("/metrics", Behaviour::ClosesKeepAlive(page(PAGE)));
    for _ in 0..3 {
        assert_eq!(fetch.page(), PAGE);
    }
    // The harder kind: open until the request comes.
    targets.set("/metrics", Behaviour::ClosesOnSecond(page(PAGE)));
    for _ in 0..3 {
        assert_eq!(fetch.page(), PAGE);
    }
    // But a fresh connection that is closed is an answer, and it is not asked a second time.
    targets.set("/metrics", Behaviour::Closes);
    targets.close_connections();
    let n_before = targets.n_requests("/metrics");
    fetch.error(PATIENCE);
    wait_until("no more requests", || targets.n_open() == 0);
    assert!(targets.n_requests("/metrics") <= n_before + 2);
}

#[test]
fn connection_errors_read_as_gos() {
    let address = free_address();
    let error = Fetch::of(&address, "/metrics").error(PATIENCE);
    assert_eq!(
        error,
        format!("Get \"http://{address}/metrics\": dial tcp {address}: connect: connection refused")
    );
    check_error(Behaviour::Closes, PATIENCE, "Get \"http://{}/metrics\": EOF");
    check_error(Behaviour::Resets, PATIENCE, "Get \"http://{}/metrics\": read: connection reset by peer");
    check_error(Behaviour::CutsBody(page(PAGE), 10), PATIENCE, "unexpected EOF");
    check_error(Behaviour::ResetsInBody(page(PAGE), 10), PATIENCE, "read: connection reset by peer");
    check_error(Behaviour::BadGzip, PATIENCE, "gzip: invalid header");
    check_error(Behaviour::Status(503), PATIENCE, "server returned HTTP status 503 Whatever");
    check_error(Behaviour::Status(204), PATIENCE, "server returned HTTP status 204 Whatever");
    check_error(Behaviour::Status(304), PATIENCE, "server returned HTTP status 304 Whatever");
    let error = Fetch::of("no-such-host.invalid:9100", "/metrics").error(PATIENCE);
    assert!(
        error.starts_with(
            "Get \"http://no-such-host.invalid:9100/metrics\": dial tcp: lookup no-such-host.invalid on "
        ),
        "{error}"
    );
}

#[test]
fn one_deadline_bounds_the_whole_exchange() {
    let pause = Duration::from_millis(20);
    let head = "Get \"http://{}/metrics\": context deadline exceeded (while waiting for the response)";
    let body = "context deadline exceeded (while reading the body)";
    check_error(Behaviour::Hangs, SHORT, head);
    check_error(Behaviour::DribblesHead(pause), SHORT, head);
    check_error(Behaviour::Dribbles(page(&PAGE.repeat(100)), pause), SHORT, body);
    check_error(Behaviour::Slow(page(PAGE), 10 * SHORT), SHORT, head);
    let blocked = FullBacklog::fill();
    let start = Instant::now();
    let error = Fetch::of(&blocked.address(), "/metrics").error(SHORT);
    let connect = "Get \"http://{}/metrics\": context deadline exceeded (while connecting)";
    assert_eq!(error, connect.replace("{}", &blocked.address()));
    assert!(start.elapsed() >= SHORT / 2 && start.elapsed() < PATIENCE);
    // A redirect does not start the clock anew.
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Redirects(302, "/slow".to_owned()));
    targets.set("/slow", Behaviour::Hangs);
    let error = Fetch::of(&targets.address(), "/metrics").error(SHORT);
    assert_eq!(error, head.replace("{}/metrics", &format!("{}/slow", targets.address())));
}

#[test]
fn large_pages_stop_at_a_limit_that_the_error_names() {
    let cap = "body size limit exceeded (limit: 16777216B, the smaller of --scrape.max-body-bytes and \
               --scrape.body-budget)";
    check_error(Behaviour::Endless, PATIENCE, cap);
    check_error(Behaviour::LongLine(200 << 20), PATIENCE, cap);
    check_error(Behaviour::Huge(64 << 20), PATIENCE, cap);
    check_error(Behaviour::GzipBomb(1 << 30), PATIENCE, cap);
    let targets = FakeTargets::start();
    let limit = "body size limit exceeded (body_size_limit: 100000B)";
    for behaviour in [
        Behaviour::Endless,
        Behaviour::Huge(100_000),
        Behaviour::Huge(1 << 20),
        Behaviour::LongLine(200 << 20),
        Behaviour::GzipBomb(1 << 30),
    ] {
        targets.set("/metrics", behaviour);
        let mut fetch = Fetch::with(&url(&targets.address(), "/metrics"), 100_000);
        assert_eq!(fetch.error(PATIENCE), limit);
    }
    targets.set("/metrics", Behaviour::Huge(99_999));
    assert_eq!(Fetch::with(&url(&targets.address(), "/metrics"), 100_000).page().len(), 99_999);
    targets.set("/metrics", Behaviour::Huge(10 << 20));
    assert_eq!(Fetch::of(&targets.address(), "/metrics").page().len(), 10 << 20);
}

#[test]
fn hung_targets_hold_nothing_of_the_budget() {
    let targets = FakeTargets::start();
    targets.set("/hangs", Behaviour::Hangs);
    targets.set("/dribbles", Behaviour::Dribbles(page(&PAGE.repeat(1000)), Duration::from_millis(20)));
    let budget = BodyBudget::new(16 << 20, u64::MAX);
    thread::scope(|scope| {
        for path in ["/hangs", "/dribbles"] {
            for _ in 0..20 {
                scope.spawn(|| {
                    let url = url(&targets.address(), path);
                    let mut scraper = Scraper::new(&url, &job(0, true), SHORT);
                    let mut body = budget.wire_buffer();
                    scraper
                        .fetch(Instant::now() + 2 * SHORT, &mut body, &Clock::system())
                        .expect_err("no page");
                });
            }
        }
        wait_until("all dribble", || targets.n_requests("/dribbles") == 20);
        thread::sleep(SHORT / 2);
        let held_bytes = budget.held_bytes();
        assert!(held_bytes > 0 && held_bytes <= 20 * (64 << 10), "{held_bytes}");
    });
    assert_eq!(budget.held_bytes(), 0);
}

#[test]
fn redirects_are_followed_as_gos_client_does() {
    let targets = FakeTargets::start();
    let address = targets.address();
    for hop in 0..12 {
        let status = [301, 302, 303, 307, 308][hop % 5];
        targets.set(&format!("/hop/{hop}"), Behaviour::Redirects(status, format!("../hop/{}", hop + 1)));
    }
    targets.set("/hop/9", Behaviour::Healthy(page(PAGE)));
    let mut fetch = Fetch::of(&address, "/hop/0");
    assert_eq!(fetch.page(), PAGE);
    assert_eq!(fetch.page(), PAGE);
    assert_eq!(targets.n_connections(), 1, "short redirects keep the connection");
    targets.set("/hop/9", Behaviour::Redirects(302, "/hop/10".to_owned()));
    assert_eq!(fetch.error(PATIENCE), "Get \"/hop/10\": stopped after 10 redirects");
    // To another host, where the header has to follow.
    let other = FakeTargets::start();
    other.set("/metrics", Behaviour::Healthy(page(PAGE)));
    let elsewhere = format!("http://{}/metrics?x=1#top", other.address());
    targets.set("/away", Behaviour::Redirects(302, elsewhere));
    assert_eq!(Fetch::of(&address, "/away").page(), PAGE);
    let head = other.last_head("/metrics").to_lowercase();
    assert!(head.starts_with("get /metrics?x=1 "), "{head}");
    assert!(head.contains(&format!("\nhost: {}\n", other.address())), "{head}");
    // What is no redirect.
    for status in [300, 304, 305] {
        targets.set("/odd", Behaviour::Redirects(status, "/hop/9".to_owned()));
        let error = Fetch::of(&address, "/odd").error(PATIENCE);
        assert_eq!(error, format!("server returned HTTP status {status} Moved"));
    }
    targets.set("/odd", Behaviour::Redirects(302, "ftp://localhost/metrics".to_owned()));
    assert_eq!(
        Fetch::of(&address, "/odd").error(PATIENCE),
        "Get \"ftp://localhost/metrics\": unsupported protocol scheme \"ftp\""
    );
}

#[test]
fn schemes_and_addresses() {
    let none = TargetUrl { scheme: UrlScheme::Unsupported("".into()), ..url("localhost:1", "/metrics") };
    let error = Fetch::with(&none, 0).error(PATIENCE);
    assert_eq!(error, "Get \"//localhost:1/metrics\": unsupported protocol scheme \"\"");
    let error = Fetch::of("not a host", "/metrics").error(PATIENCE);
    assert_eq!(error, "parse \"http://not%20a%20host/metrics\": invalid URL escape \"%20\"");
    // Names and IPv6, where the machine has it.
    let targets = FakeTargets::start();
    targets.set("/", Behaviour::Healthy(page(PAGE)));
    let (_, port) = targets.address().split_once(':').map(|(_, port)| ((), port.to_owned())).expect("a port");
    assert_eq!(Fetch::of(&format!("localhost:{port}"), "").page(), PAGE);
    assert!(targets.last_head("/").contains(&format!("localhost:{port}\n")));
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        let targets = FakeTargets::start_on("[::1]:0");
        targets.set("/metrics", Behaviour::Healthy(page(PAGE)));
        assert_eq!(Fetch::of(&targets.address(), "/metrics").page(), PAGE);
        assert!(targets.last_head("/metrics").contains(&format!("{}\n", targets.address())));
    }
}

#[test]
fn a_cancel_ends_what_runs_at_once() {
    let targets = FakeTargets::start();
    targets.set("/hangs", Behaviour::Hangs);
    targets.set("/dribbles", Behaviour::Dribbles(page(&PAGE.repeat(1000)), Duration::from_millis(20)));
    targets.set("/endless", Behaviour::UntilClosed(page(PAGE)));
    let blocked = FullBacklog::fill();
    for url in [
        url(&targets.address(), "/hangs"),
        url(&targets.address(), "/dribbles"),
        url(&blocked.address(), "/metrics"),
    ] {
        let mut fetch = Fetch::with(&url, 0);
        let canceller = fetch.scraper.canceller();
        let start = Instant::now();
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                let outcome = fetch.get(10 * PATIENCE);
                (outcome, fetch)
            });
            thread::sleep(Duration::from_millis(100));
            canceller.cancel();
            let (outcome, mut fetch) = running.join().expect("no panic");
            assert_eq!(outcome, Err("context canceled".to_owned()));
            assert_eq!(fetch.error(PATIENCE), "context canceled", "it stays cancelled");
        });
        assert!(start.elapsed() < PATIENCE, "{url}");
    }
}

#[test]
fn heads_are_bounded_and_nonsense_is_an_error() {
    check_error(
        Behaviour::HugeHead(11 << 20),
        PATIENCE,
        "Get \"http://{}/metrics\": net/http: server response headers exceeded 10485760 bytes; aborted",
    );
    let targets = FakeTargets::start();
    for n_bytes in [10_000, 1 << 20] {
        targets.set("/metrics", Behaviour::HugeHead(n_bytes));
        assert_eq!(Fetch::of(&targets.address(), "/metrics").page(), "");
    }
    for nonsense in [
        "SSH-2.0-OpenSSH_9.2p1\r\n",
        "\0\0\0\0\0\0\0\0",
        "HTTP/1.1 999999 What\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\n: nothing\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: \u{7f}\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "",
    ] {
        targets.set("/metrics", Behaviour::Raw(page(nonsense)));
        let error = Fetch::of(&targets.address(), "/metrics").error(PATIENCE);
        assert!(!error.is_empty(), "{nonsense:?}");
    }
    // Interim answers are skipped.
    let interim = format!(
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{PAGE}",
        PAGE.len()
    );
    targets.set("/metrics", Behaviour::Raw(page(&interim)));
    let (fetched, text) = Fetch::of(&targets.address(), "/metrics").get(PATIENCE).expect("a page");
    assert_eq!((text.as_str(), fetched.content_type.as_str()), (PAGE, ""));
    assert_eq!(fetched.content_encoding, ContentEncoding::Identity);
}

#[test]
fn garbage_of_every_kind_makes_no_panic() {
    let targets = FakeTargets::start();
    let valid = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{PAGE}\r\n0\r\n\r\n",
        PAGE.len()
    );
    let mut fetch = Fetch::of(&targets.address(), "/metrics");
    for n_flip in 0..600_usize {
        let mut bytes = valid.clone().into_bytes();
        let flip_idx = (n_flip * 7919) % bytes.len();
        bytes[flip_idx] ^= 1 << (n_flip % 8);
        bytes.truncate(bytes.len() - n_flip % 3 * 11);
        targets.set("/metrics", Behaviour::Raw(Arc::from(bytes)));
        // Whatever comes of it: an error or some page, and no hang.
        let _ = fetch.get(PATIENCE);
    }
    targets.set("/metrics", Behaviour::Healthy(page(PAGE)));
    assert_eq!(fetch.page(), PAGE);
}
