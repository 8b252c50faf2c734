//! `--web.listen-address`: both families, several addresses, and what is said of them.

use std::net::{Ipv6Addr, TcpListener};

use support::command;
use support::scraped::{Scraped, ask_with, free_address};
use support::wait_until;

const CONFIG: &str = "scrape_configs: []\n";

/// A port that is free on every address.
fn free_port() -> String {
    free_address().rsplit(':').next().expect("a port").to_owned()
}

fn answers(address: &str) -> bool {
    let headers = format!("Host: {address}\r\n");
    ask_with(address, "GET", "/-/ready", &headers).is_some_and(|answer| answer.status == 200)
}

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[test]
fn each_address_is_listened_on_in_the_families_it_stands_for() {
    let check = |host: &str, v4: bool, v6: bool| {
        let port = free_port();
        let scraped = Scraped::start_with(CONFIG, &[&format!("--web.listen-address={host}:{port}")]);
        // The address that the handle has given is served beside the new one.
        assert!(answers(scraped.address()), "{host}");
        assert_eq!(answers(&format!("127.0.0.1:{port}")), v4, "{host} by IPv4");
        assert_eq!(answers(&format!("[::1]:{port}")), v6 && has_ipv6(), "{host} by IPv6");
        let warning = "the web server has no password";
        let is_open = matches!(host, "" | "0.0.0.0" | "[::]");
        assert_eq!(scraped.stderr().matches(warning).count(), usize::from(is_open), "{host}");
        assert!(scraped.stop().success());
    };
    check("", true, true);
    check("[::]", true, true);
    check("0.0.0.0", true, false);
    // The hosts file says what `localhost` itself is.
    check("box.localhost", true, true);
    check("127.0.0.1", true, false);
    if has_ipv6() {
        check("[::1]", false, true);
    }
}

#[test]
fn a_name_is_refused_on_loopback_and_taken_on_every_interface() {
    let (local, open) = (free_port(), free_port());
    let local_address = format!("--web.listen-address=127.0.0.1:{local}");
    let scraped =
        Scraped::start_with(CONFIG, &[&local_address, &format!("--web.listen-address=0.0.0.0:{open}")]);
    let status = |port: &str| {
        let answer = ask_with(&format!("127.0.0.1:{port}"), "GET", "/metrics", "Host: metrics.example\r\n");
        answer.expect("an answer").status
    };
    assert_eq!((status(&local), status(&open)), (421, 200));
    drop(scraped);
}

#[test]
fn addresses_that_meet_stop_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("scraped.yml");
    std::fs::write(&config, CONFIG).expect("writable");
    let port = free_port();
    let refused = |first: &str, second: &str| {
        let finished = command::scraped(&[
            &format!("--config.file={}", config.display()),
            &format!("--storage.agent.path={}", dir.path().join("data").display()),
            &format!("--web.listen-address={first}:{port}"),
            &format!("--web.listen-address={second}:{port}"),
        ]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(
            finished.stderr.contains(&format!(
                "listen tcp {second}:{port}: bind: address already in use: --web.listen-address names it twice"
            )),
            "{finished:?}"
        );
    };
    refused("127.0.0.1", "127.0.0.1");
    refused("", "127.0.0.1");
    refused("127.0.0.1", "localhost");
}

#[test]
fn pages_under_a_prefix_are_announced_with_it() {
    let dir = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    std::fs::write(dir.path().join("scraped.yml"), CONFIG).expect("writable");
    let scraped = Scraped::spawn_in(dir, &["--web.external-url=http://proxy.example/box7"]);
    let ready = |path: &str| scraped.try_get(path).map(|answer| answer.status);
    wait_until("it is ready", || ready("/box7/-/ready") == Some(200));
    assert_eq!(ready("/-/ready"), Some(404));
    let line = format!("pages at http://{}/box7/targets", scraped.address());
    assert!(scraped.stderr().contains(&line), "{}", scraped.stderr());
}
