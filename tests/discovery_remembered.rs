//! What a provider found last is there at the next start while its source is not.

#![allow(clippy::expect_used, reason = "a test that cannot be set up has to fail")]

mod sd_support;
mod support;
mod tls_support;

use std::fs;

use sd_support::Discovery;
use tls_support::endpoint::{Endpoint, Reply, reply};

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn a_start_without_the_source_has_the_targets_of_before() {
    let endpoint = Endpoint::plain(|_| reply(200, JSON, "[{\"targets\": [\"a:1\"]}]"));
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let job = format!("- job_name: http\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1s}}]\n");
    let discovery = Discovery::start(&job, &[]);
    let fresh = format!("http: a:1{{__meta_url={url:?}}}");
    let remembered = format!("http: a:1{{__meta_url={url:?}, __remembered__=\"true\"}}");
    assert_eq!(discovery.next(), fresh);
    endpoint.answer(|_| reply(503, "", ""));
    let discovery = discovery.restart(&job);
    assert_eq!(discovery.next(), remembered);
    // Until the source answers.
    endpoint.answer(|_| reply(200, JSON, "[{\"targets\": [\"a:1\"]}]"));
    discovery.expect(&fresh);
    // Other settings are another provider: nothing is known of it, and nothing is kept of this one.
    let kept = || fs::read_dir(discovery.dir.path().join("discovery")).expect("a directory").count();
    assert_eq!(kept(), 1);
    discovery.reload("- job_name: http\n  static_configs: [{targets: ['b:1']}]\n");
    discovery.expect("http: b:1{}");
    assert_eq!(kept(), 0);
    discovery.handle.stop();
}

/// Jobs that ask the same list with another secret each, as tenants of one server do.
fn tenants(url: &str) -> String {
    let job = |name: &str| {
        format!(
            "- job_name: {name}\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1s, \
             authorization: {{credentials: secret-{name}}}}}]\n"
        )
    };
    job("one") + &job("two")
}

#[test]
fn what_differs_in_a_secret_is_not_mixed_up_and_the_secret_is_not_on_disk() {
    let endpoint = Endpoint::plain(|request| {
        let tenant = request.values("Authorization").concat().replace("Bearer secret-", "");
        reply(200, JSON, &format!("[{{\"targets\": [\"{tenant}:1\"]}}]"))
    });
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let discovery = Discovery::start(&tenants(&url), &[]);
    let fresh = format!("{{__meta_url={url:?}}}");
    discovery.expect(&format!("one: one:1{fresh}; two: two:1{fresh}"));
    endpoint.answer(|_| Reply::Hang);
    let discovery = discovery.restart(&tenants(&url));
    let old = format!("{{__meta_url={url:?}, __remembered__=\"true\"}}");
    assert_eq!(discovery.next(), format!("one: one:1{old}; two: two:1{old}"));
    let kept = fs::read_dir(discovery.dir.path().join("discovery")).expect("a directory");
    for path in kept.map(|entry| entry.expect("readable").path()) {
        let text = fs::read_to_string(&path).expect("readable");
        assert!(!text.contains("secret") && !path.to_string_lossy().contains("secret"), "{text}");
    }
    discovery.handle.stop();
}

#[test]
fn an_empty_list_is_an_answer_that_is_remembered() {
    let endpoint = Endpoint::plain(|_| reply(200, JSON, "[]"));
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let job = format!("- job_name: http\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1s}}]\n");
    let discovery = Discovery::start(&job, &[]);
    assert_eq!(discovery.next(), "http:");
    endpoint.answer(|_| Reply::Hang);
    let discovery = discovery.restart(&job);
    assert_eq!(discovery.next(), "http:");
    assert!(fs::read_dir(discovery.dir.path().join("discovery")).expect("a directory").count() == 1);
    discovery.handle.stop();
}

#[test]
fn a_directory_that_cannot_be_written_costs_only_the_memory() {
    let endpoint = Endpoint::plain(|_| reply(200, JSON, "[{\"targets\": [\"a:1\"]}]"));
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let job = format!("- job_name: http\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1s}}]\n");
    // Not a directory at all, which stops root too.
    let discovery = Discovery::start("", &[]);
    fs::write(discovery.dir.path().join("discovery"), "in the way").expect("writable");
    discovery.reload(&job);
    discovery.expect(&format!("http: a:1{{__meta_url={url:?}}}"));
    let discovery = discovery.restart(&job);
    assert_eq!(discovery.next(), format!("http: a:1{{__meta_url={url:?}}}"));
    discovery.handle.stop();
}
