//! What a provider found last is there at the next start while its source is not.

use std::fs;
use std::path::PathBuf;

use support::api::active;
use support::discovery::Discovery;
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets};
use support::tls::endpoint::{Endpoint, Reply, reply};
use support::wait_until;

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn a_start_without_the_source_has_the_targets_of_before() {
    let endpoint = Endpoint::plain(|_| reply(200, JSON, "[{\"targets\": [\"a:1\"]}]"));
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let job = format!("- job_name: http\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1s}}]\n");
    let discovery = Discovery::start(&job, &[]);
    let fresh = format!("http: a:1{{__meta_url={url:?}}}");
    let remembered = format!("http: a:1{{__meta_url={url:?}, __remembered__=\"true\"}}");
    assert_eq!(discovery.answered(), fresh);
    endpoint.answer(|_| reply(503, "", ""));
    let discovery = discovery.restart(&job);
    assert_eq!(discovery.next(), remembered);
    let kept = || -> Vec<PathBuf> {
        let entries = fs::read_dir(discovery.dir.path().join("discovery")).expect("a directory");
        entries.map(|entry| entry.expect("readable").path()).collect()
    };
    let [path] = kept().try_into().expect("one file");
    fs::remove_file(&path).expect("there");
    // Until the source answers.
    endpoint.answer(|_| reply(200, JSON, "[{\"targets\": [\"a:1\"]}]"));
    discovery.expect(&fresh);
    // Other settings are another provider: nothing is known of it, and nothing is kept of this one.
    wait_until("it is remembered again", || kept() == [path.clone()]);
    discovery.reload("- job_name: http\n  static_configs: [{targets: ['b:1']}]\n");
    discovery.expect("http: b:1{}");
    assert!(kept().is_empty());
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
    assert_eq!(discovery.answered(), format!("one: one:1{old}; two: two:1{old}"));
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
    assert_eq!(discovery.answered(), format!("http: a:1{{__meta_url={url:?}}}"));
    discovery.handle.stop();
}

#[test]
fn a_file_that_broke_while_nobody_looked_has_its_last_good_targets() {
    let job = "- job_name: files\n  file_sd_configs: [{files: ['sd/*.yml'], refresh_interval: 1s}]\n";
    let files = [("a.yml", "- targets: ['a:1']\n"), ("b.yml", "- targets: ['b:1']\n")];
    let discovery = Discovery::start(job, &files);
    let good = |name: &str| format!("{name}:1{{__meta_filepath=\"sd/{name}.yml\"}}");
    let old = |name: &str| format!("{name}:1{{__meta_filepath=\"sd/{name}.yml\", __remembered__=\"true\"}}");
    assert_eq!(discovery.next(), format!("files: {} {}", good("a"), good("b")));
    let sd = discovery.dir.path().join("sd");
    fs::write(sd.join("a.yml"), "- targets: {").expect("writable");
    let discovery = discovery.restart(job);
    assert_eq!(discovery.next(), format!("files: {} {}", old("a"), good("b")));
    // And after another restart; what is not there has no targets.
    fs::remove_file(sd.join("b.yml")).expect("there");
    let discovery = discovery.restart(job);
    assert_eq!(discovery.next(), format!("files: {}", old("a")));
    discovery.write("a.yml", "- targets: ['a:1']\n");
    discovery.expect(&format!("files: {}", good("a")));
    // A directory that cannot be listed, as on a disk with errors.
    let elsewhere = discovery.dir.path().join("elsewhere");
    fs::rename(&sd, &elsewhere).expect("same disk");
    std::os::unix::fs::symlink("sd", &sd).expect("a link to itself");
    let discovery = discovery.restart(job);
    assert_eq!(discovery.next(), format!("files: {}", old("a")));
    fs::remove_file(&sd).expect("there");
    fs::rename(&elsewhere, &sd).expect("same disk");
    discovery.expect(&format!("files: {}", good("a")));
    discovery.handle.stop();
}

/// As the page and the API show it, with the real binary; a target that is remembered is scraped.
#[test]
fn what_is_remembered_is_scraped_and_shown_as_such() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let address = targets.address();
    let body = format!("[{{\"targets\": [\"{address}\"]}}]");
    let endpoint = Endpoint::plain(move |_| reply(200, JSON, &body));
    let url = format!("http://{}/", endpoint.at("127.0.0.1"));
    // A rule that makes labels of all that the source says: the mark is none of it.
    let config = format!(
        "global: {{scrape_interval: 300ms, scrape_timeout: 300ms}}\nscrape_configs:\n- job_name: http\n  \
         http_sd_configs: [{{url: '{url}', refresh_interval: 500ms}}]\n  \
         relabel_configs: [{{action: labelmap, regex: '__meta_(.+)'}}]\n"
    );
    let scraped = Scraped::start(&config);
    let only = |scraped: &Scraped| {
        wait_until("it is scraped", || active(scraped, "http").iter().any(|it| it.health == "up"));
        active(scraped, "http").pop().expect("a target")
    };
    let fresh = only(&scraped);
    endpoint.answer(|_| Reply::Hang);
    let dir = scraped.dir();
    assert!(scraped.stop().success());
    let scraped = Scraped::start_in(dir, &[]);
    let remembered = only(&scraped);
    assert_eq!(remembered.labels, fresh.labels);
    let is_shown = || scraped.get("/targets").body.contains("(remembered: its source has not answered yet)");
    let is_marked = || scraped.get("/api/v1/targets").body.contains("\"__remembered__\":\"true\"");
    assert!(is_shown() && is_marked());
    let body = format!("[{{\"targets\": [\"{address}\"]}}]");
    endpoint.answer(move |_| reply(200, JSON, &body));
    wait_until("its source has answered", || !is_shown() && !is_marked());
    assert_eq!(only(&scraped).labels, fresh.labels);
}
