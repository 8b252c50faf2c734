//! Dashboards and alerts under `etc`: promtool takes them, and a Prometheus that has scraped a daemon answers each of their
//! questions with data. So it does what Prometheus' own mixin asks.

use std::fs;
use std::sync::Arc;

use serde_json::Value;
use support::peers::{Peer, promtool};
use support::remote::receiver::Receiver;
use support::scraped::{Scraped, free_address};
use support::targets::{Behaviour, FakeTargets, page};
use support::{data, repository, wait_until};
use tempfile::TempDir;

#[test]
fn promtool_takes_the_alerts_and_each_is_raised_by_its_trouble_alone() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    fs::copy(repository().join("etc/alerts/scraped.yml"), dir.path().join("scraped.yml")).unwrap();
    fs::copy(data("alerts/scraped_test.yml"), dir.path().join("test.yml")).unwrap();
    for arguments in [["check", "rules", "scraped.yml"], ["test", "rules", "test.yml"]] {
        let output = promtool().args(arguments).current_dir(dir.path()).output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{said:?}");
    }
}

/// A dashboard's questions, its variables replaced.
fn questions(name: &str, box_: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join("etc/grafana").join(name)).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: std::collections::BTreeSet<u64> =
        panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let questions = targets.map(|target| {
        let question = target["expr"].as_str().unwrap();
        let question = question.replace("$job", ".+").replace("$box", box_).replace("$by", "instance");
        let question = question.replace("$__rate_interval", "1m");
        assert!(!question.contains('$'), "{name}: {question}");
        question
    });
    questions.collect()
}

#[test]
fn every_question_of_the_dashboards_and_of_the_mixin_has_an_answer() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("m 1\n")));
    let receiver = Receiver::start();
    let config = format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
         scrape_configs:\n- job_name: fake\n  sample_limit: 100\n  static_configs: [{{targets: ['{}', '{}']}}]\n\
         remote_write: [{{url: '{}', name: main}}]\n",
        targets.address(),
        free_address(),
        receiver.url()
    );
    let scraped =
        Scraped::start_with(&config, &["--wal.fsync-interval=1s", "--storage.agent.retention.min-time=1s"]);
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    let server = Peer::server(
        &format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n\
             - job_name: scraped\n  static_configs: [{{targets: ['{0}']}}]\n\
             - job_name: away\n  static_configs: [{{targets: ['{1}']}}]\n",
            scraped.address(),
            free_address()
        ),
        dir.path(),
        // The daemon's own report about its targets stands there, too.
        &["--enable-feature=extra-scrape-metrics"],
    );
    let ask = |question: &str| -> Value {
        let encoded: String = question.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let (_, body) = server.request("GET", &format!("/api/v1/query?query={encoded}"));
        serde_json::from_str(&body).unwrap_or_else(|_| panic!("{question}: {body}"))
    };
    let n_answers = |answer: &Value| answer["data"]["result"].as_array().map_or(0, Vec::len);
    wait_until("samples are sent, and the server knows it", || {
        n_answers(&ask("rate(prometheus_remote_storage_samples_total[1m]) > 0")) > 0
            && n_answers(&ask("rate(prometheus_tsdb_wal_fsync_duration_seconds_count[1m]) > 0")) > 0
            && n_answers(&ask("rate(prometheus_target_interval_length_seconds_count[1m]) > 0")) > 0
    });
    let mixin = fs::read_to_string(data("alerts/mixin.txt")).unwrap();
    let mixin = mixin.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
    let all: Vec<String> = questions("fleet.json", scraped.address())
        .into_iter()
        .chain(questions("box.json", scraped.address()))
        .chain(mixin)
        .collect();
    assert!(all.len() > 60, "{}", all.len());
    for question in all {
        let answer = ask(&question);
        assert_eq!(answer["status"], "success", "{question}: {answer}");
        assert!(n_answers(&answer) > 0, "{question} has no answer");
    }
    assert!(scraped.stop().success());
}
