//! Reloads of the real binary: what changes, what must not notice, what is refused.

use std::fs;

use support::api::{active, metric};
use support::command::{query, values};
use support::scraped::{Scraped, write_whole};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

/// A reload waits for no tick: there is none.
const NO_TICK: &str = "--scrape.discovery-reload-interval=1h";

const HEAD: &str = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n";

/// A job that scrapes the path of its name, with more lines of its own.
fn job(targets: &FakeTargets, name: &str, lines: &str) -> String {
    let address = targets.address();
    format!(
        "- job_name: {name}\n  metrics_path: /{name}\n  static_configs: [{{targets: ['{address}']}}]\n{lines}"
    )
}

/// Lines of a job whose targets get this label.
fn labelled(value: &str) -> String {
    format!("  relabel_configs: [{{target_label: v, replacement: {value}}}]\n")
}

fn wait_for_scrapes(targets: &FakeTargets, path: &str, n_more: usize) {
    let n_before = targets.n_requests(path);
    wait_until(&format!("{n_more} more scrapes of {path}"), || targets.n_requests(path) >= n_before + n_more);
}

/// How a test asks for a reload.
#[derive(Clone, Copy, Debug)]
enum Way {
    Signal,
    Post,
}

#[test]
fn a_changed_relabel_rule_is_seen_soon() {
    for (way, flags) in [
        (Way::Signal, &[NO_TICK][..]),
        (Way::Signal, &[NO_TICK, "--web.enable-lifecycle"]),
        (Way::Post, &[NO_TICK, "--web.enable-lifecycle"]),
    ] {
        let targets = FakeTargets::start();
        targets.set("/a", Behaviour::Counter);
        let config = |value| format!("{HEAD}{}", job(&targets, "a", &labelled(value)));
        let scraped = Scraped::start_with(&config("one"), flags);
        wait_for_scrapes(&targets, "/a", 2);
        assert_eq!(active(&scraped, "a")[0].labels["v"], "one");

        scraped.write("scraped.yml", &config("two"));
        match way {
            Way::Signal => scraped.signal("HUP"),
            Way::Post => {
                let answer = scraped.post("/-/reload");
                assert_eq!((answer.status, answer.body.as_str()), (200, ""));
            }
        }
        wait_until("the new label is in the log", || !query(&scraped.data_dir(), "up{v='two'}").is_empty());
        assert_eq!(active(&scraped, "a").len(), 1, "the target is one and the same");
        assert_eq!(active(&scraped, "a")[0].labels["v"], "two");

        // The series of before end with a marker, and all that could be lost is that marker.
        wait_until("the old series is stale", || {
            values(&scraped.data_dir(), "up{v='one'}").last().is_some_and(|value| value == "stale")
        });
        let old = values(&scraped.data_dir(), "up{v='one'}");
        assert!(old[..old.len() - 1].iter().all(|value| value == "1"), "{old:?}");
        assert!(values(&scraped.data_dir(), "up{v='two'}").iter().all(|value| value == "1"));
    }
}

#[test]
fn reload_and_quit_by_post_need_the_flag() {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    let config = |value| format!("{HEAD}{}", job(&targets, "a", &labelled(value)));
    let scraped = Scraped::start(&config("one"));
    wait_for_scrapes(&targets, "/a", 1);
    scraped.write("scraped.yml", &config("two"));
    for path in ["/-/reload", "/-/quit"] {
        let answer = scraped.post(path);
        assert_eq!(answer.status, 403);
        assert!(answer.body.starts_with("Lifecycle API is not enabled."), "{answer:?}");
        let answer = scraped.get(path);
        assert_eq!((answer.status, answer.body.as_str()), (405, "Only POST or PUT requests allowed"));
    }
    wait_for_scrapes(&targets, "/a", 3);
    assert_eq!(active(&scraped, "a")[0].labels["v"], "one", "nothing was reloaded");
    assert!(!scraped.has_ended());

    let mut scraped = Scraped::start_with(&config("one"), &["--web.enable-lifecycle"]);
    let answer = scraped.post("/-/quit");
    assert_eq!((answer.status, answer.body.as_str()), (200, "Requesting termination... Goodbye!"));
    assert_eq!(scraped.wait().code(), Some(0), "{}", scraped.stderr());
}

#[test]
fn a_bad_configuration_is_refused_and_the_old_one_goes_on() {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    let good = format!("{HEAD}{}", job(&targets, "a", ""));
    let scraped = Scraped::start_with(&good, &["--web.enable-lifecycle"]);
    let successful = || metric(&scraped, "prometheus_config_last_reload_successful");
    let loaded_at = || metric(&scraped, "prometheus_config_last_reload_success_timestamp_seconds");
    wait_for_scrapes(&targets, "/a", 2);
    assert_eq!(successful(), Some(1.0));
    let loaded_before = loaded_at();
    let shown_before = scraped.get("/api/v1/status/config").body;
    let file = scraped.dir().path().join("scraped.yml").display().to_string();

    let bad = good.replace("metrics_path: /a", "metrics_path: /a\n  nonsense: 1\n  scrape_timeout: 1x");
    scraped.write("scraped.yml", &bad);
    let answer = scraped.post("/-/reload");
    assert_eq!(answer.status, 500, "{answer:?}");
    // Every mistake, in the answer as in the log.
    for wanted in [
        format!("failed to reload config: cannot load {file}: "),
        format!("{file}:5: scrape_configs[0].nonsense: "),
        format!("{file}:6: scrape_configs[0].scrape_timeout: "),
        "; continuing with the previous configuration\n".to_owned(),
    ] {
        assert!(answer.body.contains(&wanted), "no {wanted:?} in {}", answer.body);
    }
    assert_eq!(successful(), Some(0.0));
    for (what, config) in [("no YAML", "scrape_configs: ["), ("a job twice", &good.repeat(2))] {
        let n_refusals = scraped.stderr().matches("cannot load").count();
        scraped.reload_with(config);
        wait_until(what, || scraped.stderr().matches("cannot load").count() > n_refusals);
        assert_eq!(successful(), Some(0.0));
    }
    fs::remove_file(&file).unwrap();
    let answer = scraped.post("/-/reload");
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.body.contains(&format!("no configuration file at {file}")), "{answer:?}");

    // All that time the old one was in force.
    wait_for_scrapes(&targets, "/a", 2);
    assert_eq!(loaded_at(), loaded_before);
    assert_eq!(scraped.get("/api/v1/status/config").body, shown_before);
    scraped.write("scraped.yml", &good);
    assert_eq!(scraped.post("/-/reload").status, 200);
    assert_eq!(successful(), Some(1.0));
    assert!(loaded_at() > loaded_before);
    wait_for_scrapes(&targets, "/a", 2);
    check_undisturbed(&scraped, "a", &targets);
}

/// A loop that noticed nothing: one connection, no marker, nothing counted as new but at the first scrape.
fn check_undisturbed(scraped: &Scraped, job: &str, targets: &FakeTargets) {
    let data = scraped.data_dir();
    for (series, samples) in query(&data, &format!("{{job='{job}'}}")) {
        assert!(samples.iter().all(|(_, value)| value != "stale"), "{series}: {samples:?}");
    }
    let added = values(&data, &format!("scrape_series_added{{job='{job}'}}"));
    assert_eq!(added[0], "1");
    assert!(added[1..].iter().all(|value| value == "0"), "{job}: {added:?}");
    let counts = values(&data, &format!("fake_scrapes_total{{job='{job}'}}"));
    let expected: Vec<String> = (1..=counts.len()).map(|count| count.to_string()).collect();
    assert_eq!(counts, expected, "{job}: a scrape was lost");
    assert_eq!(targets.n_connections(), 1, "{job}: the connection was kept");
}

#[test]
fn jobs_that_stay_the_same_notice_nothing() {
    let [stays, changes, leaves, comes] = [(); 4].map(|()| FakeTargets::start());
    for (targets, path) in
        [(&stays, "/stays"), (&changes, "/changes"), (&leaves, "/leaves"), (&comes, "/comes")]
    {
        targets.set(path, Behaviour::Counter);
    }
    let first = [
        HEAD,
        &job(&stays, "stays", &labelled("same")),
        &job(&changes, "changes", "  metric_relabel_configs: [{target_label: m, replacement: one}]\n"),
        &job(&leaves, "leaves", ""),
    ];
    let scraped = Scraped::start_with(&first.concat(), &[NO_TICK]);
    wait_for_scrapes(&stays, "/stays", 2);
    wait_for_scrapes(&leaves, "/leaves", 1);

    for round in ["two", "three"] {
        // The order in the file changes too, and a job that stays is written in another way.
        let changed = format!("  metric_relabel_configs: [{{target_label: m, replacement: {round}}}]\n");
        let next = [
            HEAD,
            &job(&comes, "comes", ""),
            &job(&changes, "changes", &changed),
            &job(&stays, "stays", "  relabel_configs:\n  - target_label: v\n    replacement: same\n"),
        ];
        scraped.reload_with(&next.concat());
        let selector = format!("fake_scrapes_total{{m='{round}'}}");
        wait_until("the change is seen", || !query(&scraped.data_dir(), &selector).is_empty());
        wait_until("the new job is scraped", || comes.n_requests("/comes") > 1);
        wait_for_scrapes(&stays, "/stays", 2);
    }
    check_undisturbed(&scraped, "stays", &stays);
    check_undisturbed(&scraped, "comes", &comes);

    // The job that is gone: no more requests, no connection, nothing in the API.
    let n_requests = leaves.n_requests("/leaves");
    wait_until("the connection is closed", || leaves.n_open() == 0);
    wait_for_scrapes(&stays, "/stays", 3);
    assert_eq!(leaves.n_requests("/leaves"), n_requests);
    assert_eq!(active(&scraped, "leaves"), []);
    // The changed one: its old series end in one marker, and a new cache counts the series again.
    let old = values(&scraped.data_dir(), "fake_scrapes_total{m='one'}");
    assert_eq!(old.iter().filter(|value| *value == "stale").count(), 1, "{old:?}");
    assert_eq!(old.last().unwrap(), "stale");
    let added = values(&scraped.data_dir(), "scrape_series_added{job='changes'}");
    assert_eq!(added.iter().filter(|value| *value == "1").count(), 3, "{added:?}");
    assert!(values(&scraped.data_dir(), "up{job='changes'}").iter().all(|value| value == "1"));
}

#[test]
fn a_changed_interval_keeps_the_cache() {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    let config = |lines| format!("{HEAD}{}", job(&targets, "a", lines));
    let scraped = Scraped::start(&config(""));
    wait_for_scrapes(&targets, "/a", 2);
    for lines in ["  scrape_interval: 200ms\n  scrape_timeout: 200ms\n", "  sample_limit: 100\n"] {
        scraped.reload_with(&config(lines));
        let key = lines.trim().split(':').next().unwrap();
        wait_until("it is in force", || {
            scraped.get("/api/v1/status/config").body.replace("\\n", "\n").contains(key)
                && scraped.stderr().matches("configuration loaded").count() > 0
        });
        wait_for_scrapes(&targets, "/a", 3);
    }
    let data = scraped.data_dir();
    let added = values(&data, "scrape_series_added");
    assert_eq!(added.iter().filter(|value| *value != "0").count(), 1, "{added:?}");
    assert!(values(&data, "fake_scrapes_total").iter().all(|value| value != "stale"));
}

#[test]
fn a_storm_of_reloads_leaves_nothing_behind() {
    let targets = FakeTargets::start();
    targets.set("/stays", Behaviour::Counter);
    targets.set("/changes", Behaviour::Counter);
    let config = |value: usize| {
        let changing = labelled(&value.to_string());
        format!("{HEAD}{}{}", job(&targets, "stays", ""), job(&targets, "changes", &changing))
    };
    let scraped = Scraped::start_with(&config(0), &["--web.enable-lifecycle"]);
    wait_for_scrapes(&targets, "/stays", 2);
    let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", scraped.id())).unwrap().count();
    let (n_files, n_threads) = (count("fd"), count("task"));
    for round in 1..=30 {
        scraped.write("scraped.yml", &config(round));
        scraped.signal("HUP");
        let answer = scraped.post("/-/reload");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    wait_until("the last one is in force", || {
        active(&scraped, "changes").iter().any(|target| target.labels["v"] == "30")
    });
    assert_eq!(active(&scraped, "changes").len(), 1);
    wait_for_scrapes(&targets, "/changes", 2);
    // Old loops are let go after their markers, some intervals later; a worker more or less is ordinary.
    wait_until("files and threads are as before", || {
        count("fd") <= n_files + 2 && count("task") <= n_threads + 4
    });
    let added = values(&scraped.data_dir(), "scrape_series_added{job='stays'}");
    assert!(added[1..].iter().all(|value| value == "0"), "{added:?}");
    assert_eq!(scraped.stop().code(), Some(0));
}

#[test]
fn a_hung_target_does_not_delay_a_reload() {
    let targets = FakeTargets::start();
    targets.set("/hangs", Behaviour::Hangs);
    targets.set("/a", Behaviour::Counter);
    let config = |value| {
        let hung = format!("  scrape_interval: 2m\n  scrape_timeout: 2m\n{}", labelled(value));
        format!("{HEAD}{}{}", job(&targets, "hangs", &hung), job(&targets, "a", &labelled(value)))
    };
    let scraped = Scraped::start_with(&config("one"), &[NO_TICK, "--web.enable-lifecycle"]);
    wait_until("the hung target is asked", || targets.n_requests("/hangs") > 0);
    scraped.write("scraped.yml", &config("two"));
    assert_eq!(scraped.post("/-/reload").status, 200);
    wait_until("the new label is in the log", || !query(&scraped.data_dir(), "up{v='two'}").is_empty());
    assert_eq!(active(&scraped, "hangs")[0].labels["v"], "two");
}

#[test]
fn target_files_are_followed_without_a_reload() {
    let targets = FakeTargets::start();
    for path in ["/a", "/b"] {
        targets.set(path, Behaviour::Healthy(page("in_file 1\n")));
    }
    let address = targets.address();
    let group = |path: &str| {
        format!("- targets: ['{address}']\n  labels: {{__metrics_path__: {path}, found: '{path}'}}\n")
    };
    let config = "global: {scrape_interval: 300ms, scrape_timeout: 300ms}\n\
                  scrape_configs:\n- job_name: files\n  file_sd_configs: [{files: ['targets/*.yml']}]\n";
    let scraped = Scraped::start(config);
    let dir = scraped.dir().path().join("targets");
    fs::create_dir(&dir).unwrap();
    let found = || {
        let mut found: Vec<String> =
            active(&scraped, "files").into_iter().map(|target| target.labels["found"].clone()).collect();
        found.sort();
        found
    };
    assert_eq!(found(), [""; 0]);
    write_whole(&dir, "one.yml", &group("/a"));
    wait_until("the first file is found", || found() == ["/a"]);
    wait_until("its target is scraped", || targets.n_requests("/a") > 0);
    write_whole(&dir, "two.yml", &group("/b"));
    wait_until("the second file is found", || found() == ["/a", "/b"]);
    // Nonsense changes nothing, and is told.
    write_whole(&dir, "two.yml", "- targets: {");
    wait_until("the nonsense is told", || scraped.stderr().contains("two.yml"));
    assert!(metric(&scraped, "prometheus_sd_file_read_errors_total").is_some_and(|count| count >= 1.0));
    // Both from one file.
    write_whole(&dir, "one.yml", &format!("{}{}", group("/a"), group("/b")));
    fs::remove_file(dir.join("two.yml")).unwrap();
    wait_for_scrapes(&targets, "/b", 3);
    assert_eq!(found(), ["/a", "/b"]);
    write_whole(&dir, "one.yml", &group("/b"));
    wait_until("a target is gone", || found() == ["/b"]);
    // A target that left a file ends with markers.
    wait_until("its series are stale", || {
        values(&scraped.data_dir(), "up{found='/a'}").last().is_some_and(|value| value == "stale")
    });
    wait_for_scrapes(&targets, "/b", 1);
    assert!(values(&scraped.data_dir(), "in_file{found='/b'}").iter().all(|value| value == "1"));
    assert_eq!(metric(&scraped, "prometheus_config_last_reload_successful"), Some(1.0));
}
