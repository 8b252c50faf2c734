//! Discovery as a whole against a real Prometheus: several providers in a job, jobs that share one, targets that come
//! from two, reloads, limits; and what both count of it.

use std::fs;

use support::data;
use support::peers::differential::Both;
use support::tls::endpoint::{Endpoint, Request, reply};

const JSON: &str = "Content-Type: application/json\r\n";

fn path(request: &Request) -> &str {
    request.head.split(' ').nth(1).expect("a path")
}

/// A list and an engine behind one port.
fn sources() -> Endpoint {
    let containers = fs::read_to_string(data("discovery/docker/podman_containers.json")).expect("a fixture");
    Endpoint::plain(move |request| match path(request) {
        "/list" => reply(
            200,
            JSON,
            r#"[{"targets": ["both:1", "http:1", ""], "labels": {"of": "http", "env": "x"}}]"#,
        ),
        "/other" => reply(
            200,
            JSON,
            r#"[{"targets": ["other:1"]}, {"targets": ["other:2", "both:1"], "labels": {"drop": "me"}}]"#,
        ),
        "/_ping" => reply(200, "Api-Version: 1.41\r\n", ""),
        "/v1.41/networks" => reply(200, JSON, "[]"),
        it if it.starts_with("/v1.41/containers/json") => reply(200, JSON, &containers),
        _ => reply(404, "", ""),
    })
}

fn jobs(endpoint: &Endpoint) -> String {
    let at = endpoint.at("127.0.0.1");
    format!(
        r#"
- job_name: mixed
  scheme: https
  metrics_path: /probe
  params: {{module: [a, b]}}
  http_sd_configs: [{{url: 'http://{at}/list'}}, {{url: 'http://{at}/other'}}]
  file_sd_configs: [{{files: ['sd/*.yml']}}]
  docker_sd_configs: [{{host: 'tcp://{at}'}}]
  static_configs:
  - {{targets: ['both:1', 'static:1'], labels: {{of: static}}}}
  - {{targets: ['static:2', '']}}
  - {{labels: {{no: targets}}}}
  relabel_configs:
  - {{source_labels: [drop], regex: me, action: drop}}
  - {{source_labels: [__meta_url, __meta_filepath, __meta_docker_container_name], separator: ';', target_label: from}}
  - {{source_labels: [__address__], regex: '(.*):1', target_label: __param_target}}
  - {{source_labels: [__address__], regex: 'static:1', target_label: __scrape_interval__, replacement: 2m}}
  - {{source_labels: [from], regex: '.*/list;.*', target_label: __address__, replacement: '${{1}}'}}
  - {{regex: 'of|no', action: labeldrop}}
- job_name: shares
  http_sd_configs: [{{url: 'http://{at}/list'}}, {{url: 'http://{at}/list'}}]
  file_sd_configs: [{{files: ['sd/*.yml']}}]
  honor_labels: true
- job_name: limited
  target_limit: 1
  http_sd_configs: [{{url: 'http://{at}/other'}}]
- job_name: keeps
  keep_dropped_targets: 2
  static_configs: [{{targets: ['k:1', 'k:2', 'k:1']}}]
  relabel_configs: [{{source_labels: [__address__], regex: '.*', action: drop}}]
- job_name: same
  static_configs: [{{targets: ['s:1', 's:2'], labels: {{a: b}}}}, {{targets: ['s:2'], labels: {{a: b}}}}]
- job_name: same again
  static_configs: [{{targets: ['s:1', 's:2'], labels: {{a: b}}}}, {{targets: ['s:2'], labels: {{a: b}}}}]
- job_name: none
- job_name: empty
  static_configs: [{{targets: []}}]
  file_sd_configs: [{{files: ['missing/*.json']}}]
"#
    )
}

const FILE: &str = "- targets: ['file:1', 'both:1']\n  labels: {of: file, job: theirs, instance: named}\n";

/// Targets of the jobs above, job by job.
const ADDRESSES: [&[&str]; 5] = [
    &[
        "other:1",
        "other:2",
        "both:1",
        "file:1",
        "both:1",
        "10.88.0.2:9100",
        "10.88.0.2:80",
        ":80",
        "both:1",
        "static:1",
        "static:2",
    ],
    &["both:1", "http:1", "file:1", "both:1"],
    &["other:1", "other:2", "both:1"],
    &["k:1", "k:2"],
    &["s:1", "s:2", "s:1", "s:2"],
];

#[test]
fn providers_together() {
    let endpoint = sources();
    let jobs = jobs(&endpoint);
    let both = Both::start(&jobs, &[("sd/a.yml", FILE)]);
    both.agree("every provider", &ADDRESSES.concat());
    // A job of two that share a provider goes, one that shares another comes, one is told to relabel.
    let (shares, limited) =
        (jobs.find("- job_name: shares").expect("there"), jobs.find("- job_name: limited").expect("there"));
    let fewer = format!(
        "{}{}- job_name: third\n  http_sd_configs: [{{url: 'http://{}/other'}}]\n  \
         relabel_configs: [{{source_labels: [drop], target_label: kept}}]\n",
        &jobs[..shares],
        &jobs[limited..],
        endpoint.at("127.0.0.1"),
    )
    .replace("labels: {a: b}", "labels: {a: c}");
    both.reload(&fewer);
    both.replace("sd/b.yml", "- targets: ['file:2']\n");
    let third = ["other:1", "other:2", "both:1", "file:2"];
    both.agree("reloaded", &[ADDRESSES[0], ADDRESSES[2], ADDRESSES[3], ADDRESSES[4], &third].concat());
    both.reload("- job_name: none\n");
    both.agree("nothing is left", &[]);
    both.reload(&jobs);
    both.agree("all over again", &[&ADDRESSES.concat(), ["file:2"; 2].as_slice()].concat());
}

/// A family of a provider that we do not have.
const NOT_HERE: &str = "prometheus_sd_linode_failures_total";

/// Families that have one label more since Prometheus 3.9: which job it is about.
const WITH_CONFIG: [&str; 2] =
    ["prometheus_sd_refresh_duration_seconds", "prometheus_sd_refresh_failures_total"];

#[test]
fn both_count_the_same_things() {
    let endpoint = sources();
    let both = Both::start(&jobs(&endpoint), &[("sd/a.yml", FILE)]);
    both.agree("every provider", &ADDRESSES.concat());
    let (mut theirs, ours) = both.families("prometheus_sd_");
    assert!(theirs.remove(NOT_HERE).is_some(), "{theirs:?}");
    for name in WITH_CONFIG {
        theirs.get_mut(name).expect("a family").1.insert(0, "config".to_owned());
    }
    assert!(theirs.len() > 15, "{theirs:?}");
    for (name, family) in &theirs {
        assert_eq!(ours.get(name), Some(family), "{name}");
    }
    let jobs = ["mixed", "shares", "limited", "keeps", "same", "same again", "none", "empty"];
    let of_jobs =
        jobs.map(|job| format!("prometheus_sd_discovered_targets{{name=\"scrape\",config={job:?}}}"));
    for series in &of_jobs {
        let (_, ours) = both.values(series);
        let in_their_order = series.replace("name=\"scrape\",", "").replace('}', ",name=\"scrape\"}");
        assert_eq!(both.values(&in_their_order).0, ours, "{series}");
    }
}
