//! `sigv4` beside a real Prometheus with the same keys: the same headers are signed, and for its body and date the signature
//! is the same.

use std::fs;

use scraped::calendar::days_from_civil;
use scraped::config::client::secret::Secret;
use scraped::http::auth::aws::signing::{Keys, Scope, Unsigned, signed};
use support::peers::Peer;
use support::remote::config;
use support::remote::receiver::{Receiver, Request};
use support::remote::sigv4::Signed;
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const SECTION: &str =
    "sigv4: {region: eu-north-1, access_key: AK, secret_key: SK/secret+}\nheaders: {X-Tenant: a}";

fn path(request: &Request) -> &str {
    request.line.split(' ').nth(1).expect("a path")
}

fn as_signed(request: &Request) -> Signed<'_> {
    Signed { method: "POST", path: path(request), headers: &request.headers, body: &request.body }
}

/// What we make of their request at their time.
fn ours_for(request: &Request) -> String {
    let time = request.header("x-amz-date");
    let number = |range: std::ops::Range<usize>| time[range].parse::<i64>().expect("a number");
    let days = days_from_civil(number(0..4), number(4..6), number(6..8));
    let at_s = days * 86_400 + number(9..11) * 3600 + number(11..13) * 60 + number(13..15);
    let signed_too = ["content-encoding", "content-type", "user-agent", "x-prometheus-remote-write-version"];
    let headers: Vec<(&str, &str)> = signed_too.map(|name| (name, request.header(name))).into();
    let unsigned = Unsigned {
        method: "POST",
        host: request.header("host"),
        path_and_query: path(request),
        headers: &headers,
        body: &request.body,
    };
    let keys =
        Keys { access_key: "AK".to_owned(), secret_key: Secret::new("SK/secret+"), session_token: None };
    let lines = signed(&unsigned, &keys, &Scope { region: "eu-north-1", service: "aps", at_s });
    lines[0].1.expose().to_owned()
}

#[test]
fn signatures_are_those_of_prometheus() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\n")));
    let (theirs, ours) = (Receiver::start(), Receiver::start());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prometheus.yml");
    fs::write(&file, config(&targets.address(), "/metrics", &theirs.url(), SECTION, "")).unwrap();
    let peer = Peer::agent(&file, &dir.path().join("data"));
    let scraped = Scraped::start(&config(&targets.address(), "/metrics", &ours.url(), SECTION, ""));
    let n_both = || (theirs.n_requests(), ours.n_requests());
    wait_until("requests of both", || n_both().0 > 0 && n_both().1 > 0);
    let (their, our) = (theirs.requests().remove(0), ours.requests().remove(0));
    for request in [&their, &our] {
        let verdict = as_signed(request).check("AK", "SK/secret+", "eu-north-1", "aps");
        assert_eq!(verdict, Ok(()), "{:?} {}", request.headers, peer.log());
    }
    assert_eq!(as_signed(&our).part("SignedHeaders"), as_signed(&their).part("SignedHeaders"));
    assert_eq!(ours_for(&their), their.header("authorization"));
    drop(scraped);
}
