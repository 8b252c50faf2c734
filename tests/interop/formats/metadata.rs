//! Metadata of metric families as a real agent has it: both scrape the same pages and answer the same questions.
//!
//! Needs what `scripts/peers` fetches; fails without it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use serde_json::Value;
use support::peers::Peer;
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use support::wal::kinds;
use tempfile::TempDir;

const TEXT: &str = r#"# HELP go_x Number of "things"\nthat are \\ there.
# TYPE go_x counter
go_x 1
# TYPE only_type gauge
only_type{a="b"} 1
# HELP only_help   Only help, with blanks.  
only_help 1
# HELP hist A histogram.
# TYPE hist histogram
hist_bucket{le="1"} 1
hist_bucket{le="+Inf"} 1
hist_sum 1
hist_count 1
# HELP without_samples Nothing of it.
# TYPE without_samples summary
# HELP "utf8.name" Quoted.
# TYPE "utf8.name" gauge
{"utf8.name"} 1
# HELP late Comes late.
untyped_before 1
# TYPE late untyped
late 1
"#;

const OPENMETRICS: &str = r#"# TYPE a counter
# HELP a Says \"a\".
a_total 1
# TYPE b_seconds gauge
# UNIT b_seconds seconds
# HELP b_seconds Says b.
b_seconds 1
# TYPE c info
c_info{x="y"} 1
# TYPE d stateset
d{d="on"} 1
# TYPE e gaugehistogram
e_bucket{le="+Inf"} 1
e_gcount 1
e_gsum 1
# TYPE only_type gauge
# HELP only_type It differs.
only_type 1
# TYPE f unknown
f 1
# EOF
"#;

const CONFIG: &str = r#"
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
- {job_name: text, metrics_path: /text, static_configs: [{targets: ['ADDRESS'], labels: {n: one}}, {targets: ['ADDRESS'], labels: {n: two}}]}
- {job_name: om, metrics_path: /openmetrics, static_configs: [{targets: ['ADDRESS']}]}
- {job_name: refused, metrics_path: /refused, static_configs: [{targets: ['ADDRESS']}]}
- {job_name: missing, metrics_path: /missing, static_configs: [{targets: ['ADDRESS']}]}
"#;

fn targets() -> FakeTargets {
    let targets = FakeTargets::start();
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8".to_owned();
    for (path, behaviour) in [
        ("/text", Behaviour::Healthy(page(TEXT))),
        ("/openmetrics", Behaviour::ContentType(page(OPENMETRICS), openmetrics)),
        (
            "/refused",
            Behaviour::Healthy(page("# TYPE before counter\nbefore 1\nbad{\n# TYPE after counter\n")),
        ),
    ] {
        targets.set(path, behaviour);
    }
    targets
}

/// Rows in an order that both have: Prometheus has none.
fn sorted(body: &str) -> Value {
    let mut answer: Value = serde_json::from_str(body).expect("JSON");
    let sort = |rows: &mut Value| {
        if let Some(rows) = rows.as_array_mut() {
            rows.sort_by_key(Value::to_string);
        }
    };
    sort(&mut answer["data"]);
    if let Some(metrics) = answer["data"].as_object_mut() {
        metrics.values_mut().for_each(sort);
    }
    answer
}

#[test]
fn an_agent_says_the_same_of_metric_families() {
    let targets = targets();
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    let config = dir.path().join("scraped.yml");
    fs::write(&config, CONFIG.replace("ADDRESS", &targets.address())).unwrap();
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let agent = Peer::agent(&config, &dir.path().join("agent"));
    // Families that a page has last: one of each target.
    let is_complete = |ask: &dyn Fn(&str) -> String| {
        [("late", 2), ("f", 1), ("before", 1)].iter().all(|(name, n_targets)| {
            let rows = sorted(&ask(&format!("/api/v1/targets/metadata?metric={name}")));
            rows["data"].as_array().is_some_and(|rows| rows.len() == *n_targets)
        })
    };
    wait_until("both have read all pages", || {
        is_complete(&|path| scraped.get(path).body) && is_complete(&|path| agent.get(path))
    });
    for path in [
        "/api/v1/metadata",
        "/api/v1/metadata?metric=only_type",
        "/api/v1/metadata?metric=none",
        "/api/v1/metadata?limit=0",
        "/api/v1/metadata?limit=-1&limit_per_metric=0",
        "/api/v1/targets/metadata",
        "/api/v1/targets/metadata?metric=go_x",
        "/api/v1/targets/metadata?metric=none",
        "/api/v1/targets/metadata?limit=0",
        "/api/v1/targets/metadata?match_target=%7Bn%3D%22two%22%7D",
        "/api/v1/targets/metadata?match_target=%7Bjob%3D~%22o.%22%7D&metric=b_seconds",
    ] {
        let (ours, theirs) = (sorted(&scraped.get(path).body), sorted(&agent.get(path)));
        assert_eq!(format!("{ours:#}"), format!("{theirs:#}"), "{path}");
    }
    for path in [
        "/api/v1/metadata?limit=x",
        "/api/v1/metadata?limit_per_metric=x",
        "/api/v1/targets/metadata?limit=1.5",
    ] {
        let answer = scraped.ask("GET", path);
        assert_eq!((answer.status, answer.body), agent.request("GET", path), "{path}");
    }
    // Of two that differ, one or two.
    for (path, n) in [("limit_per_metric=1", 1), ("limit_per_metric=2", 2)] {
        let path = format!("/api/v1/metadata?metric=only_type&{path}");
        assert_eq!(sorted(&scraped.get(&path).body)["data"]["only_type"].as_array().unwrap().len(), n);
    }
    let refused = scraped.ask("GET", "/api/v1/targets/metadata?match_target=%7B");
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains(r#"invalid parameter \"match_target\": "#), "{}", refused.body);

    let sizes = |page: &str| -> BTreeMap<String, String> {
        let lines = page.lines().filter(|line| line.starts_with("prometheus_target_metadata_cache_"));
        lines
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    };
    let (ours, theirs) = (sizes(&scraped.get("/metrics").body), sizes(&agent.get("/metrics")));
    assert_eq!(ours.len(), 8, "{ours:?}");
    assert_eq!(ours, theirs);
}

#[test]
fn metadata_is_in_the_log_where_it_is_asked_for() {
    let targets = targets();
    for (flags, is_there) in [(&["--enable-feature=metadata-wal-records"][..], true), (&[], false)] {
        let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
        let config = CONFIG.replace("ADDRESS", &targets.address());
        fs::write(dir.path().join("scraped.yml"), config).unwrap();
        let scraped = Scraped::start_in(Arc::clone(&dir), flags);
        let data = scraped.data_dir();
        wait_until("some scrapes", || {
            data.join("wal").is_dir() && support::command::values(&data, r#"up{job="om"}"#).len() >= 3
        });
        scraped.stop();
        support::wal::check_log(&data);
        let metadata = kinds::metadata(&data);
        assert_eq!(!metadata.is_empty(), is_there, "{metadata:?}");
        if !is_there {
            continue;
        }
        let of = |name: &str, job: &str| {
            let (name, job) = (format!("__name__=\"{name}\""), format!("job=\"{job}\""));
            let found = metadata.iter().find(|(series, _)| series.contains(&name) && series.contains(&job));
            found.map(|(_, (kind, unit, help))| (kind.as_str(), unit.as_str(), help.as_str()))
        };
        assert_eq!(of("b_seconds", "om"), Some(("gauge", "seconds", "Says b.")));
        assert_eq!(of("a_total", "om"), Some(("counter", "", "Says \"a\".")));
        assert_eq!(of("hist_bucket", "text"), Some(("histogram", "", "A histogram.")));
        assert_eq!(of("untyped_before", "text"), None, "it stands behind the help of another family");
        assert_eq!(of("up", "text"), None);
        assert_eq!(of("before", "refused"), None, "the page is not stored");
    }
}
