//! What sources of targets complain of stands on the page of targets for as long as it is so.

use std::sync::Arc;
use support::scraped::{Scraped, write_whole};
use support::tls::endpoint::{Endpoint, reply};
use support::wait_until;
use tempfile::TempDir;

const JSON: &str = "Content-Type: application/json\r\n";

const HEADING: &str = "Failing sources";

#[test]
fn a_source_that_fails_is_shown_until_it_answers_or_is_gone() {
    let endpoint = Endpoint::plain(|_| reply(503, "", "closed <for> lunch"));
    let url = format!("http://{}/targets", endpoint.at("127.0.0.1"));
    let file = "- job_name: file\n  file_sd_configs: [{files: [sd.yml], refresh_interval: 1s}]\n";
    let config = format!(
        "scrape_configs:\n- job_name: asked\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1s}}]\n{file}"
    );
    let scraped = Scraped::start(&config);
    scraped.write("sd.yml", "- targets: [a:1\n");
    let page = || scraped.get("/targets").body;
    let http = "<td data-label=Source>http of job &quot;asked&quot;";
    wait_until("both are shown", || {
        let page = page();
        page.contains(HEADING)
            && page.contains(http)
            && page.contains("server returned HTTP status 503")
            && page.contains("<td data-label=Source>file_sd: ")
    });
    endpoint.answer(|_| reply(200, JSON, "[]"));
    wait_until("one answers", || !page().contains(http));
    assert!(page().contains(HEADING));
    scraped.write("sd.yml", "- targets: ['127.0.0.1:1']\n");
    wait_until("the file is mended", || !page().contains(HEADING));
    // A provider takes its complaint with it.
    endpoint.answer(|_| reply(503, "", ""));
    wait_until("it fails again", || page().contains(http));
    scraped.reload_with(&format!("scrape_configs:\n{file}"));
    wait_until("it is gone", || !page().contains(HEADING));
}

/// A list that is not there may be a mistyped name, or one that somebody writes later: no error, and not silent.
#[test]
fn a_list_that_does_not_exist_is_shown_until_it_is_there() {
    let config = "scrape_configs:\n\
                  - job_name: typo\n  file_sd_configs: [{files: [late.yml, 'none*.yml', nowhere/b.json, here.yml]}]\n";
    let dir = Arc::new(TempDir::new().expect("a directory"));
    write_whole(dir.path(), "scraped.yml", config);
    write_whole(dir.path(), "here.yml", "- targets: ['127.0.0.1:1']\n");
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let path = |name: &str| dir.path().join(name);
    let page = || scraped.get("/targets").body;
    let source = |name: &str| format!("<td data-label=Source>file_sd: {}<", path(name).display());
    let (late, nowhere) = (source("late.yml"), source("nowhere/b.json"));
    wait_until("both are shown", || [&late, &nowhere].iter().all(|source| page().contains(*source)));
    // A pattern may well match nothing.
    assert_eq!(page().matches("<td data-label=Source>").count(), 2, "{}", page());
    assert!(page().contains("the file does not exist, so it has no targets"));
    let n_lines = |words: &str| scraped.stderr().lines().filter(|line| line.contains(words)).count();
    let words = |what: &str| format!("{} {what}", path("late.yml").display());
    assert_eq!((n_lines(&words("does not exist; ")), n_lines("level=error")), (1, 0), "{}", scraped.stderr());
    scraped.write("late.yml", "- targets: ['127.0.0.1:2']\n");
    wait_until("it is there", || !page().contains(&late) && page().contains("127.0.0.1:2"));
    assert!(page().contains(&nowhere), "{}", page());
    assert_eq!(n_lines(&words("is there now")), 1, "{}", scraped.stderr());
    std::fs::remove_file(path("late.yml")).expect("removable");
    wait_until("it is gone", || page().contains(&late) && !page().contains("127.0.0.1:2"));
    assert_eq!(n_lines(&words("is gone, and its targets with it; ")), 1, "{}", scraped.stderr());
    assert_eq!(n_lines(&words("does not exist; ")), 1, "said once: {}", scraped.stderr());
    let metrics = scraped.get("/metrics").body;
    assert!(metrics.contains("prometheus_sd_file_read_errors_total 0"), "no error: {metrics}");
    scraped.reload_with("scrape_configs: []\n");
    wait_until("the source is gone", || !page().contains(HEADING));
}

/// Sources whose addresses hold a password: while they fail, and while they answer.
#[test]
fn no_password_of_an_address_is_shown() {
    let endpoint = Endpoint::plain(|_| reply(503, "", ""));
    let at = format!("me:hunter2@{}", endpoint.at("127.0.0.1"));
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
         - job_name: http\n  http_sd_configs: [{{url: 'http://{at}/list', refresh_interval: 1s}}]\n\
         - job_name: docker\n  docker_sd_configs: [{{host: 'tcp://{at}', refresh_interval: 1s}}]\n\
         - job_name: docker-http\n  docker_sd_configs: [{{host: 'http://{at}', refresh_interval: 1s}}]\n\
         - job_name: consul\n  consul_sd_configs: [{{server: '{at}', refresh_interval: 1s}}]\n\
         - job_name: kubelet\n  kubelet_sd_configs: [{{url: 'http://{at}', refresh_interval: 1s}}]\n\
         - job_name: kubernetes\n  kubernetes_sd_configs: [{{role: pod, api_server: 'http://{at}'}}]\n\
         - job_name: closed\n  http_sd_configs: [{{url: 'http://me:hunter2@127.0.0.1:1/', refresh_interval: 1s}}]\n\
         - job_name: closed-docker\n  docker_sd_configs: [{{host: 'tcp://me:hunter2@127.0.0.1:1', refresh_interval: 1s}}]\n\
         - job_name: closed-consul\n  consul_sd_configs: [{{server: 'me:hunter2@127.0.0.1:1', refresh_interval: 1s}}]\n"
    );
    let scraped = Scraped::start(&config);
    let check = || {
        for path in ["/targets", "/status", "/api/v1/targets", "/api/v1/status/config", "/metrics"] {
            let body = scraped.get(path).body;
            assert!(!body.contains("hunter2"), "{path}: {body}");
        }
        let log = scraped.stderr();
        assert!(!log.contains("hunter2"), "{log}");
    };
    for job in [
        "http",
        "docker",
        "docker-http",
        "consul",
        "kubelet",
        "kubernetes",
        "closed",
        "closed-docker",
        "closed-consul",
    ] {
        let is_told = || {
            let page = scraped.get("/targets").body;
            page.contains(&format!("of job &quot;{job}&quot;"))
                || page.contains(&format!("of job &#34;{job}"))
        };
        wait_until(job, is_told);
    }
    check();
    // The password is sent all the same.
    assert!(endpoint.requests().iter().any(|it| it.values("Authorization") == ["Basic bWU6aHVudGVyMg=="]));
    let answers = [("/list", "[{\"targets\": [\"127.0.0.1:1\"]}]"), ("/v1/agent/self", "[\"hunter2\"]")];
    endpoint.answer(move |request| {
        let path = request.head.split(' ').nth(1).unwrap_or_default().to_owned();
        let answer =
            answers.iter().find(|(known, _)| *known == path).map_or("{\"hunter2\": 7}", |(_, body)| body);
        reply(200, JSON, answer)
    });
    wait_until("a target", || scraped.get("/api/v1/targets").body.contains("__meta_url"));
    let shown = format!("http://me:xxxxx@{}/list", endpoint.at("127.0.0.1"));
    assert!(scraped.get("/api/v1/targets").body.contains(&shown));
    wait_until("wrong answers are told", || scraped.get("/targets").body.contains("expected "));
    check();
}
