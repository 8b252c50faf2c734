//! `--storage.agent.max-series`: a target whose series are new in every page does not fill memory, and costs its
//! neighbours none of theirs.

use std::collections::BTreeMap;
use std::sync::Arc;

use support::api::{active, metric};
use support::command::query;
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const MAX_SERIES: &str = "--storage.agent.max-series=300";

fn exploding() -> Behaviour {
    let pages: Vec<Behaviour> = (0..200)
        .map(|round| {
            let lines: String =
                (0..100).map(|idx| format!("exploding{{round=\"{round}\",idx=\"{idx}\"}} 1\n")).collect();
            Behaviour::Healthy(page(&lines))
        })
        .collect();
    Behaviour::InTurn(pages.into())
}

fn config(address: &str) -> String {
    let job = |name: &str| {
        format!(
            "- {{job_name: {name}, metrics_path: /{name}, static_configs: [{{targets: ['{address}']}}]}}\n"
        )
    };
    format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n{}{}{}",
        job("good"),
        job("explodes"),
        job("late")
    )
}

fn n_left_out(scraped: &Scraped, job: &str) -> f64 {
    metric(scraped, &format!("scraped_max_series_samples_dropped_total{{scrape_job=\"{job}\"}}"))
        .unwrap_or(0.0)
}

#[test]
fn new_series_are_left_out_and_known_ones_go_on() {
    let targets = FakeTargets::start();
    targets.set("/good", Behaviour::Healthy(page("good 1\n")));
    targets.set("/explodes", Behaviour::Healthy(page("")));
    targets.set("/late", Behaviour::Hangs);
    let scraped = Scraped::start_with(&config(&targets.address()), &[MAX_SERIES]);
    assert!(
        scraped.stderr().contains("0 of at most 300 series (--storage.agent.max-series)"),
        "{}",
        scraped.stderr()
    );
    let health = |job: &str| active(&scraped, job).first().map_or(String::new(), |it| it.health.clone());
    wait_until("good is stored", || health("good") == "up");
    targets.set("/explodes", exploding());
    wait_until("series are left out", || n_left_out(&scraped, "explodes") > 1000.0);
    assert_eq!((health("explodes").as_str(), n_left_out(&scraped, "good")), ("up", 0.0));
    assert!(metric(&scraped, "prometheus_agent_active_series").unwrap() <= 300.0 + 5.0);

    // Report series are always there, also those of a target that is new.
    let good_before = query(&scraped.data_dir(), "good").values().map(Vec::len).sum::<usize>();
    targets.set("/late", Behaviour::Healthy(page("late 1\n")));
    wait_until("the late one is up", || health("late") == "up" && n_left_out(&scraped, "late") > 1.0);
    let data = scraped.data_dir();
    assert!(query(&data, "late").is_empty());
    assert!(query(&data, "up{job='late'}").values().flatten().any(|(_, value)| value == "1"));
    wait_until("good goes on", || {
        query(&data, "good").values().flatten().filter(|(_, value)| value == "1").count() > good_before + 5
    });
    let ups: BTreeMap<i64, String> = query(&data, "up{job='good'}").into_values().flatten().collect();
    for (ts_ms, value) in query(&data, "good").values().flatten() {
        assert!(value == "1" || ups[ts_ms] == "0", "no gap: {value} at {ts_ms}");
    }

    let (shown, storage) = (scraped.get("/targets").body, scraped.get("/storage").body);
    assert!(shown.contains("of new series left out: --storage.agent.max-series"), "{shown}");
    assert!(
        storage.contains("of at most 300 series (--storage.agent.max-series): new series are left out"),
        "{storage}"
    );
    let told = scraped.stderr().matches("new ones are left out until some are gone").count();
    assert_eq!(told, 1, "{}", scraped.stderr());
}

#[test]
fn a_log_with_more_series_than_the_bound_still_starts() {
    let targets = FakeTargets::start();
    let lines: String = (0..500).map(|idx| format!("many{{idx=\"{idx}\"}} 1\n")).collect();
    targets.set("/good", Behaviour::Healthy(page(&lines)));
    targets.set("/explodes", Behaviour::Healthy(page("")));
    targets.set("/late", Behaviour::Healthy(page("")));
    let scraped = Scraped::start_with(&config(&targets.address()), &["--storage.agent.max-series=0"]);
    let n_samples = |data: &std::path::Path| query(data, "many").values().map(Vec::len).sum::<usize>();
    wait_until("all is stored", || n_samples(&scraped.data_dir()) >= 1000);
    let dir = scraped.dir();
    assert!(scraped.stop().success());

    targets.set("/explodes", exploding());
    let scraped = Scraped::start_in(Arc::clone(&dir), &[MAX_SERIES]);
    let before = n_samples(&scraped.data_dir());
    wait_until("what is known goes on, what is new is left out", || {
        n_samples(&scraped.data_dir()) >= before + 1000 && n_left_out(&scraped, "explodes") > 100.0
    });
    assert_eq!(n_left_out(&scraped, "good"), 0.0);
}

/// The default is taken from the memory that there is.
#[test]
fn a_start_says_how_many_series_there_may_be() {
    let scraped = Scraped::start("scrape_configs: []\n");
    assert!(scraped.stderr().contains("0 of at most ") && scraped.stderr().contains(" MiB of memory by /"));
    assert_eq!(scraped.get("/-/healthy").status, 200, "without targets nothing stands still");
    let refused = Scraped::spawn_in(scraped.dir(), &["--storage.agent.max-series=many"]);
    wait_until("it is refused", || refused.has_ended());
    assert!(refused.stderr().contains("must be a number or auto"), "{}", refused.stderr());
}
