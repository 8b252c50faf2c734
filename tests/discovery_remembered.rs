//! What a provider found last is there at the next start while its source is not.

#![allow(clippy::expect_used, reason = "a test that cannot be set up has to fail")]

mod sd_support;
mod support;
mod tls_support;

use std::fs;

use sd_support::Discovery;
use tls_support::endpoint::{Endpoint, reply};

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn a_start_without_the_source_has_the_targets_of_before() {
    let endpoint = Endpoint::plain(|_| reply(200, JSON, "[{\"targets\": [\"a:1\"]}]"));
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let job = format!("- job_name: http\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1s}}]\n");
    let discovery = Discovery::start(&job, &[]);
    let fresh = format!("http: a:1{{__meta_url={url:?}}}");
    let remembered = format!("http: a:1{{__meta_remembered=\"true\", __meta_url={url:?}}}");
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
