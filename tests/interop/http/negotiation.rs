//! What a target is asked, and what becomes of its `Content-Type`: many jobs, scraped by us and by a real agent.
//!
//! Needs what `scripts/peers` fetches; fails without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use support::peers::Peer;
use support::scraped::{Scraped, write_whole};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use tempfile::TempDir;

/// Name and own lines of a job.
type Job = (String, String);

fn config(address: &str, jobs: &[Job]) -> String {
    let mut config = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    for (name, lines) in jobs {
        let path = if lines.contains("metrics_path") { "" } else { &format!("  metrics_path: /{name}\n") };
        config.push_str(&format!(
            "- job_name: {name}\n{path}{lines}  static_configs: [{{targets: ['{address}']}}]\n"
        ));
    }
    config
}

/// Both programs with the same jobs, each with targets of its own that answer as `behave` says.
struct Both {
    ours: FakeTargets,
    theirs: FakeTargets,
    scraped: Scraped,
    agent: Peer,
    _dir: Arc<TempDir>,
}

impl Both {
    fn start(jobs: &[Job], behave: impl Fn(&FakeTargets)) -> Self {
        let [ours, theirs] = [(); 2].map(|()| {
            let targets = FakeTargets::start();
            behave(&targets);
            targets
        });
        let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
        let agent_config = write_whole(dir.path(), "agent.yml", &config(&theirs.address(), jobs));
        let agent = Peer::agent(&agent_config, &dir.path().join("agent"));
        let scraped = Scraped::start(&config(&ours.address(), jobs));
        Self { ours, theirs, scraped, agent, _dir: dir }
    }
}

/// The lines of a request in one order: Go sorts all headers by name, we have those of the configuration last.
fn request(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = head
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| match line.split_once(": ") {
            Some(("Host", address)) => format!("Host: {}", address.split(':').next().unwrap_or_default()),
            // Ours says who it is.
            Some(("User-Agent", agent)) => format!("User-Agent: {}", agent.split('/').count()),
            _ => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn targets_are_asked_as_a_real_agent_asks_them() {
    let mut jobs: Vec<Job> = Vec::new();
    let mut add = |name: &str, lines: &str| jobs.push((name.to_owned(), lines.to_owned()));
    add("default", "");
    add("no_compression", "  enable_compression: false\n");
    add("fractions", "  scrape_timeout: 250ms\n");
    add("long", "  scrape_interval: 1s\n  scrape_timeout: 999ms\n");
    add("params", "  metrics_path: /params\n  params: {target: ['a b', c], module: [x]}\n");
    add("authorized", "  basic_auth: {username: u, password: p}\n");
    for escaping in ["allow-utf-8", "underscores", "dots", "values"] {
        add(&escaping.replace('-', "_"), &format!("  metric_name_escaping_scheme: {escaping}\n"));
    }
    let protocols = [
        "PrometheusProto",
        "OpenMetricsText1.0.0",
        "OpenMetricsText0.0.1",
        "PrometheusText1.0.0",
        "PrometheusText0.0.4",
    ];
    for (idx, protocol) in protocols.iter().enumerate() {
        add(&format!("only_{idx}"), &format!("  scrape_protocols: [{protocol}]\n"));
        let mut turned = protocols;
        turned.rotate_left(idx);
        for n_protocols in 2..=5 {
            let list = turned[..n_protocols].join(", ");
            add(
                &format!("turned_{idx}_{n_protocols}"),
                &format!(
                    "  scrape_protocols: [{list}]\n  fallback_scrape_protocol: {protocol}\n  \
                     metric_name_escaping_scheme: values\n"
                ),
            );
        }
    }
    let both = Both::start(&jobs, |targets| {
        for (name, _) in &jobs {
            targets.set(&format!("/{name}"), Behaviour::Healthy(page("a 1\n")));
        }
    });
    let mut differences = Vec::new();
    for (name, _) in &jobs {
        let path = format!("/{name}");
        wait_until("both asked", || {
            [&both.ours, &both.theirs].iter().all(|targets| targets.n_requests(&path) > 0)
        });
        let [ours, theirs] = [&both.ours, &both.theirs].map(|targets| request(&targets.last_head(&path)));
        if ours != theirs {
            differences.push(format!("{name}\n ours   {ours:#?}\n theirs {theirs:#?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Job → health and last error, once every target was scraped.
fn verdicts(get: impl Fn() -> String) -> BTreeMap<String, String> {
    let mut verdicts = BTreeMap::new();
    wait_until("all targets scraped", || {
        let answer: Value = serde_json::from_str(&get()).expect("JSON");
        let targets = answer["data"]["activeTargets"].as_array().expect("an array");
        verdicts = targets
            .iter()
            .map(|target| {
                let text = |key: &str| target[key].as_str().expect("a text");
                (text("scrapePool").to_owned(), format!("{} {}", text("health"), text("lastError")))
            })
            .collect();
        // A scrape that a busy machine cut off says nothing.
        let is_final = |verdict: &String| !verdict.starts_with("unknown") && !verdict.contains("deadline");
        !targets.is_empty() && verdicts.values().all(is_final)
    });
    verdicts
}

#[test]
fn content_types_mean_what_they_mean_to_a_real_agent() {
    const TYPES: [&str; 31] = [
        "",
        " ",
        ";",
        ";;;",
        "text",
        "text/",
        "text/plain",
        "TEXT/PLAIN",
        " text/plain ",
        "text/plain;",
        "text/plain; ;",
        "text/plain;;charset=utf-8",
        "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8",
        "text/plain; version=99",
        "text/plain; version",
        "text/plain; version=",
        "text/plain; version=\"1.0.0\"",
        "text/plain; version=\"1.0",
        "text/plain; a=1; a=1",
        "text/plain; a=1; A=2",
        "text/plain extra",
        "text/plain, application/json",
        "text/html; charset=utf-8",
        "application/openmetrics-text",
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
        "application/openmetrics-text; version=2.0.0",
        "application/openmetrics-text;q=\"",
        "application/vnd.google.protobuf",
        "application/vnd.google.protobuf; proto=something; encoding=text",
        "application/json",
        "*/*",
    ];
    const FALLBACKS: [&str; 6] = [
        "",
        "PrometheusText0.0.4",
        "PrometheusText1.0.0",
        "OpenMetricsText0.0.1",
        "OpenMetricsText1.0.0",
        "PrometheusProto",
    ];
    // As text it is good, as OpenMetrics and as protobuf it is not.
    let body = page("a 1\n\n");
    let mut jobs: Vec<Job> = Vec::new();
    for (type_idx, _) in TYPES.iter().enumerate() {
        for (fallback_idx, fallback) in FALLBACKS.iter().enumerate() {
            let fallback = match *fallback {
                "" => String::new(),
                fallback => format!("  fallback_scrape_protocol: {fallback}\n"),
            };
            let lines = format!("  metrics_path: /type_{type_idx}\n{fallback}");
            jobs.push((format!("type_{type_idx}_fallback_{fallback_idx}"), lines));
        }
    }
    for (name, behaviour) in [("missing", "/missing"), ("empty", "/empty")] {
        jobs.push((name.to_owned(), format!("  metrics_path: {behaviour}\n")));
        let fallback = "  fallback_scrape_protocol: PrometheusText0.0.4\n";
        jobs.push((format!("{name}_fallback"), format!("  metrics_path: {behaviour}\n{fallback}")));
    }
    let both = Both::start(&jobs, |targets| {
        for (idx, content_type) in TYPES.iter().enumerate() {
            let behaviour = Behaviour::ContentType(Arc::clone(&body), (*content_type).to_owned());
            targets.set(&format!("/type_{idx}"), behaviour);
        }
        targets.set("/missing", Behaviour::NoContentType(Arc::clone(&body)));
        targets.set("/empty", Behaviour::ContentType(page(""), "text/html".to_owned()));
    });
    let ours = verdicts(|| both.scraped.get("/api/v1/targets").body);
    let theirs = verdicts(|| both.agent.get("/api/v1/targets"));
    assert_eq!(ours.len(), jobs.len());
    let mut differences = Vec::new();
    for (name, theirs) in &theirs {
        let ours = ours.get(name).map_or("nothing", String::as_str);
        // Errors of the page have our position behind them.
        let position = [" (line ", " (byte "].iter().filter_map(|start| ours.rfind(start)).max();
        let ours_alone = &ours[..position.unwrap_or(ours.len())];
        if ours_alone != theirs {
            differences.push(format!("{name}\n  ours   {ours}\n  theirs {theirs}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
