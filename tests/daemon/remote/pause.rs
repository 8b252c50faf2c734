//! An endpoint that is wrong is not a sample that is wrong: credentials, URL, rate limit and captive portals cost no
//! sample, and few requests.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use support::api::metric_sum;
use support::counts::assert_accounted;
use support::remote::receiver::{Answer, Receiver};
use support::remote::{arrived, config, wait_until_sent};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets};
use support::tls::proxy::{Manner, Proxy};
use support::wait_until;

const NAMED: &str = "name: main";
const LOGIN: &str = "<!doctype html><title>Hotel</title><form>Room number?</form>";

struct Fixture {
    targets: FakeTargets,
    receiver: Receiver,
    config: String,
    scraped: Scraped,
}

impl Fixture {
    fn start(answer: Answer, section: &str, queue: &str) -> Self {
        let targets = FakeTargets::start();
        targets.set("/metrics", Behaviour::Counter);
        let receiver = Receiver::start();
        receiver.answer(answer);
        let config =
            config(&targets.address(), "/metrics", &receiver.url(), &format!("{NAMED}\n{section}"), queue);
        let scraped = Scraped::start(&config);
        Self { targets, receiver, config, scraped }
    }

    fn await_scrapes(&self, n: usize) {
        let n_before = self.targets.n_requests("/metrics");
        wait_until("scrapes", || self.targets.n_requests("/metrics") >= n_before + n);
    }

    fn is_paused(&self) -> bool {
        metric_sum(&self.scraped, "scraped_remote_endpoint_paused") == 1.0
    }

    /// Everything arrives, from the first value on.
    fn check_complete(&self) {
        wait_until_sent(&self.scraped.data_dir(), &self.receiver);
        assert_accounted(&arrived(&self.receiver), "");
        assert_eq!(metric_sum(&self.scraped, "prometheus_remote_storage_samples_failed_total"), 0.0);
        assert!(!self.is_paused());
        self.receiver.check();
    }

    /// The one line about the pause.
    fn told(&self, words: &str) -> String {
        wait_until("the log", || self.scraped.stderr().contains("nothing is sent for"));
        let stderr = self.scraped.stderr();
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("nothing is sent for")).collect();
        assert_eq!(lines.len(), 1, "{stderr}");
        assert!(lines[0].contains(words), "{words}: {}", lines[0]);
        lines[0].to_owned()
    }
}

fn html(status: u16, content_type: &str) -> Answer {
    let lines = if content_type.is_empty() { vec![] } else { vec![format!("Content-Type: {content_type}")] };
    Answer::Refuses(status, lines, LOGIN.to_owned())
}

/// Asked once, and not again; a reload with other settings ends the pause.
fn check_pause(answer: Answer, section: &str, words: &str) {
    let fixture = Fixture::start(answer, section, "");
    wait_until("a request", || fixture.receiver.n_requests() > 0);
    fixture.await_scrapes(5);
    assert_eq!(fixture.receiver.n_requests(), 1, "{words}");
    assert!(fixture.told(words).contains("nothing is sent for 30s, the samples wait in the log"));
    assert!(fixture.is_paused());
    let status = fixture.scraped.get("/status").body;
    assert!(status.contains("paused, asked again in"), "{status}");
    fixture.receiver.answer(Answer::Stores(204));
    fixture.scraped.reload_with(&fixture.config.replace("remote_timeout: 5s", "remote_timeout: 6s"));
    fixture.check_complete();
}

#[test]
fn an_endpoint_that_is_wrong_is_left_alone_and_its_samples_are_kept() {
    let cases = [
        (Answer::status(401), "look at basic_auth, authorization, oauth2, sigv4 or azuread"),
        (Answer::status(403), "look at basic_auth, authorization, oauth2, sigv4 or azuread"),
        (Answer::status(404), "look at url"),
        (Answer::status(405), "look at url"),
        (Answer::status(407), "look at user and password in proxy_url"),
        (Answer::status(408), "max_samples_per_send"),
        (Answer::status(410), "look at url"),
        (Answer::status(415), "look at protobuf_message"),
        (Answer::status(429), "retry_on_http_429"),
    ];
    thread::scope(|scope| {
        for (answer, words) in cases {
            scope.spawn(move || check_pause(answer, "", words));
        }
    });
}

#[test]
fn a_captive_portal_acknowledges_nothing() {
    let words = "looks like the login page of a network";
    check_pause(html(200, "text/html; charset=utf-8"), "", words);
    check_pause(html(202, ""), "", words);
    check_pause(html(200, "text/plain"), "protobuf_message: io.prometheus.write.v2.Request", words);
    // Another host.
    let portal = Receiver::start();
    portal.answer(html(200, "text/html"));
    let location = portal.url().replace("127.0.0.1", "localhost");
    check_pause(Answer::redirects(307, &location), "basic_auth: {username: me, password: hunter2}", words);
    let requests = portal.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].header("authorization"), "", "a secret for another host");
}

#[test]
fn answers_of_real_endpoints_are_acknowledgements() {
    for (status, lines, body) in [
        (200, vec![], ""),
        (200, vec!["Content-Type: text/html; charset=utf-8".to_owned()], ""),
        (200, vec!["Content-Type: application/json".to_owned()], "{\"status\":\"success\"}"),
        (202, vec!["Content-Type: text/plain; charset=utf-8".to_owned()], "accepted\n"),
    ] {
        let fixture = Fixture::start(Answer::Refuses(status, lines, body.to_owned()), "", "");
        wait_until("it counts as sent", || {
            metric_sum(&fixture.scraped, "prometheus_remote_storage_samples_total") > 5.0
        });
        assert!(!fixture.is_paused());
    }
}

#[test]
fn all_shards_pause_and_one_asks_when_the_endpoint_says() {
    let answer = Answer::retry_after(429, "2");
    let fixture = Fixture::start(answer, "", "min_shards: 4");
    wait_until("a third try", || {
        let tries: BTreeSet<String> =
            fixture.receiver.requests().iter().map(|it| it.header("retry-attempt").to_owned()).collect();
        tries.len() >= 2 && fixture.receiver.n_requests() >= 6
    });
    let at: Vec<Instant> = fixture.receiver.requests().iter().map(|it| it.at).collect();
    // Those of the first moment were under way together; then it is one at a time.
    let first =
        at.iter().filter(|at| at.duration_since(fixture.receiver.requests()[0].at).as_millis() < 1500);
    let n_first = first.count();
    assert!(n_first <= 4, "{n_first}");
    for pair in at[n_first.saturating_sub(1)..].windows(2) {
        let pause = pair[1].duration_since(pair[0]);
        assert!(pause >= Duration::from_millis(1950), "{pause:?}");
    }
    fixture.receiver.answer(Answer::Stores(204));
    fixture.check_complete();
    assert!(fixture.scraped.stderr().contains("takes samples again"));
}

#[test]
fn a_reload_asks_again_at_once() {
    let fixture = Fixture::start(Answer::status(401), "", "");
    wait_until("a pause", || fixture.is_paused());
    fixture.await_scrapes(2);
    assert_eq!(fixture.receiver.n_requests(), 1);
    fixture.receiver.answer(Answer::Stores(204));
    fixture.scraped.reload_with(&fixture.config);
    fixture.check_complete();
    assert_eq!(fixture.receiver.requests()[1].header("retry-attempt"), "1");
}

#[test]
fn a_stop_does_not_wait_for_a_pause_to_end() {
    for queue in ["", "min_shards: 3, capacity: 10, max_samples_per_send: 5"] {
        let fixture = Fixture::start(Answer::status(403), "", queue);
        wait_until("a pause", || fixture.is_paused());
        fixture.await_scrapes(3);
        let Fixture { receiver, scraped, targets: _targets, .. } = fixture;
        let dir = scraped.dir();
        let start = Instant::now();
        assert!(scraped.stop().success());
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
        assert!(!receiver.received().values().any(|samples| !samples.is_empty()));
        receiver.answer(Answer::Stores(204));
        let scraped = Scraped::start_in(dir, &[]);
        wait_until("what was kept", || receiver.values("fake_scrapes_total").contains(&1.0));
        wait_until_sent(&scraped.data_dir(), &receiver);
    }
}

#[test]
fn prometheus_way_with_429_has_to_be_asked_for() {
    let fixture = Fixture::start(Answer::status(429), "", "retry_on_http_429: false");
    wait_until("drops", || {
        metric_sum(&fixture.scraped, "prometheus_remote_storage_samples_failed_total") > 0.0
    });
    let n_requests = fixture.receiver.n_requests();
    wait_until("more requests", || fixture.receiver.n_requests() > n_requests + 1);
    assert!(!fixture.is_paused());
    let shown = fixture.scraped.get("/api/v1/status/config").body;
    assert!(shown.contains("retry_on_http_429: false"), "{shown}");
}

/// A daemon whose endpoint is reached through a proxy that says this; one request, and no sample is given up.
fn check_proxy(manner: Manner, words: &[&str]) {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let receiver = Receiver::start();
    let (address, path) = receiver
        .url()
        .trim_start_matches("http://")
        .split_once('/')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let through = |manner: Manner| {
        let is_socks = matches!(manner, Manner::Socks { .. });
        let proxy = Proxy::new(manner, None, address.clone());
        let (speech, url) = if is_socks { ("socks5", "http") } else { ("http", "https") };
        let section = format!("{NAMED}\nproxy_url: {speech}://edge:hunter2@{}", proxy.at("127.0.0.1"));
        let url = format!("{url}://endpoint.example/{path}");
        (config(&targets.address(), "/metrics", &url, &section, ""), proxy)
    };
    let (refused, proxy) = through(manner);
    let scraped = Scraped::start(&refused);
    wait_until("a pause", || scraped.stderr().contains("nothing is sent for"));
    let n_before = targets.n_requests("/metrics");
    wait_until("scrapes", || targets.n_requests("/metrics") >= n_before + 5);
    let stderr = scraped.stderr();
    for words in words.iter().chain(&["the samples wait in the log"]) {
        assert!(stderr.contains(words), "{words}: {stderr}");
    }
    assert!(!stderr.contains("hunter2"), "{stderr}");
    assert_eq!(stderr.matches("nothing is sent for").count(), 1, "{stderr}");
    assert!(proxy.n_connections() == 1, "asked again: {:?}", proxy.asked());
    assert_eq!(metric_sum(&scraped, "scraped_remote_endpoint_paused"), 1.0);
    let n_failed = metric_sum(&scraped, "prometheus_remote_storage_samples_failed_total");
    assert_eq!(n_failed, 0.0);
    // What has waited goes to the same endpoint through another proxy.
    let login = Some(("edge".to_owned(), "hunter2".to_owned()));
    let (good, _proxy) = through(Manner::Socks { login, reply: 0 });
    scraped.reload_with(&good);
    wait_until_sent(&scraped.data_dir(), &receiver);
    assert_accounted(&arrived(&receiver), "");
}

#[test]
fn a_proxy_that_refuses_is_left_alone_and_samples_are_kept() {
    let connect = |answer: &str| Manner::Connect(answer.to_owned());
    let login = ["the proxy does not accept the credentials", "proxy_url", "proxy_connect_header"];
    let other = ["the proxy does not let it through", "proxy_url", "proxy_connect_header"];
    let socks = |password: &str, reply| Manner::Socks {
        login: Some(("edge".to_owned(), password.to_owned())),
        reply,
    };
    let cases = [
        (connect("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"), login),
        (connect("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), other),
        (connect("HTTP/1.0 405 Method Not Allowed\r\n\r\n"), other),
        (connect("HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n"), other),
        (connect("HTTP/1.1 429 Slow Down\r\nRetry-After: 3600\r\n\r\n"), other),
        (socks("other", 0), login),
        (socks("hunter2", 2), other),
    ];
    thread::scope(|scope| {
        for (manner, words) in cases {
            scope.spawn(move || check_proxy(manner, &words));
        }
    });
}

/// That a proxy cannot reach the endpoint now is no refusal.
#[test]
fn a_proxy_that_cannot_reach_the_endpoint_is_asked_again() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let answer = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n".to_owned();
    let proxy = Proxy::new(Manner::Connect(answer), None, String::new());
    let section = format!("{NAMED}\nproxy_url: http://{}", proxy.at("127.0.0.1"));
    let scraped = Scraped::start(&config(
        &targets.address(),
        "/metrics",
        "https://endpoint.example/write",
        &section,
        "",
    ));
    wait_until("another try", || proxy.n_connections() >= 3);
    assert_eq!(metric_sum(&scraped, "scraped_remote_endpoint_paused"), 0.0);
}
