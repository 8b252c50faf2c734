//! The command line of a Prometheus agent, as it is moved over.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use support::command::{self, finish};
use support::peers::program;
use support::scraped::Scraped;
use support::wait_until;
use tempfile::TempDir;

const CONFIG: &str = "scrape_configs: []\n";
/// In which no start can go on: a flag that is taken is followed by this complaint.
const NO_CONFIG: &str = "--config.file=/no/such/file.yml";

fn data(name: &str) -> Vec<String> {
    let path = format!("{}/tests/data/flags/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).expect("readable");
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

/// Names of `--help`, with `[no-]` in front of those without a value.
fn flags_of(help: &str) -> BTreeSet<String> {
    // What a flag does stands further to the right.
    let words = help.lines().filter_map(|line| line.strip_prefix("      --"));
    words.map(|word| word.split(['=', ' ']).next().unwrap_or_default().to_owned()).collect()
}

/// What is said of a flag with this value.
fn said(name: &str, value: Option<&str>) -> (Option<i32>, String) {
    let flag = value.map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}"));
    let mut arguments = vec![flag.as_str()];
    if name != "config.file" {
        arguments.push(NO_CONFIG);
    }
    let finished = command::scraped(&arguments);
    (finished.code, finished.stderr)
}

#[test]
fn every_flag_of_the_real_one_is_known() {
    let help = finish(Command::new(program("prometheus", "PROMETHEUS")).arg("--help-long"));
    let flags = flags_of(&help.stdout);
    assert!(flags.len() > 40, "{flags:?}");
    for flag in &flags {
        let (name, is_switch) = match flag.strip_prefix("[no-]") {
            Some(name) => (name, true),
            None => (flag.as_str(), false),
        };
        if matches!(name, "help" | "version") {
            continue;
        }
        for name in
            if is_switch { vec![name.to_owned(), format!("no-{name}")] } else { vec![name.to_owned()] }
        {
            let (_, said) = said(&name, (!is_switch).then_some("1"));
            assert!(!said.contains("unknown long flag"), "--{name}: {said}");
            assert!(!said.contains("needs a value") && !said.contains("unexpected"), "--{name}: {said}");
        }
    }
}

#[test]
fn every_flag_of_later_ones_is_known_too() {
    let mut n_of_servers = 0;
    for line in data("prometheus.txt") {
        let (who, name) = line.split_once(' ').expect("two words");
        let (code, said) = said(name, Some("1"));
        assert!(!said.contains("unknown long flag"), "--{name}: {said}");
        let is_refused = said.contains("The following flag(s) can not be used in agent mode");
        assert_eq!(is_refused, who == "server", "--{name}: {said}");
        assert_eq!(code, Some(if is_refused { 3 } else { 1 }), "--{name}: {said}");
        n_of_servers += usize::from(is_refused);
    }
    assert!(n_of_servers > 30);
}

#[test]
fn every_feature_is_known() {
    let names = data("features.txt").join(",");
    let (_, said) = said("enable-feature", Some(&format!("{names},no-such-feature")));
    assert_eq!(said.matches("is unknown").count(), 1, "{said}");
    assert!(said.contains("--enable-feature=no-such-feature is unknown"), "{said}");
    assert!(!said.contains("auto-reload-config"), "obeyed without a word: {said}");
}

#[test]
fn flags_of_a_server_are_refused_in_its_words() {
    let arguments = ["--agent", "--query.timeout=1m", "--storage.tsdb.path", "x", NO_CONFIG];
    let theirs = finish(Command::new(program("prometheus", "PROMETHEUS")).args(arguments));
    let ours = command::scraped(&arguments);
    assert_eq!(ours.code, theirs.code);
    let (first, rest) = ours.stderr.split_once('\n').expect("sentences");
    assert_eq!(first, format!("scraped: {}", theirs.stderr.trim_end()));
    // And then what does the same here.
    assert!(rest.contains("--storage.tsdb.path: use --storage.agent.path"), "{rest}");
}

#[test]
fn the_command_line_of_an_agent_starts() {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    fs::write(dir.path().join("scraped.yml"), CONFIG).expect("writable");
    // What roles for Ansible, charts for Helm and modules for Puppet write.
    let arguments = [
        "--agent",
        "--enable-feature=native-histograms,exemplar-storage",
        "--web.config.file=",
        "--web.console.libraries=/etc/prometheus/console_libraries",
        "--web.console.templates",
        "/etc/prometheus/consoles",
        "--web.external-url=http://box.example:9090/prometheus/",
        "--web.route-prefix=/",
        "--web.max-connections=100",
        "--web.read-timeout=1m",
        "--web.page-title=box 7",
        "--web.user-assets=/tmp",
        "--web.cors.origin=.*",
        "--web.enable-lifecycle",
        "--storage.agent.wal-truncate-frequency=1h",
        "--storage.agent.retention.max-time=4h",
        "--no-auto-gomemlimit",
        "--auto-gomaxprocs",
        "--auto-gomemlimit.ratio=0.8",
        "--config.auto-reload-interval=10s",
        "--log.level=DEBUG",
        "--log.format=json",
    ];
    let scraped = Scraped::start_in(dir, &arguments);
    let log = scraped.stderr();
    for (flag, n_said) in [
        ("--web.console.libraries", 1),
        ("--web.console.templates", 1),
        ("--web.page-title", 1),
        ("--web.user-assets", 1),
        ("--storage.agent.wal-truncate-frequency", 1),
        ("--no-auto-gomemlimit", 1),
        ("--web.config.file", 0),
        ("--web.max-connections", 0),
    ] {
        assert_eq!(log.matches(&format!("{flag} has no effect")).count(), n_said, "{flag}: {log}");
    }
    assert!(log.contains("\"level\":\"DEBUG\""), "{log}");
    let flags = scraped.get("/api/v1/status/flags").body;
    assert!(flags.contains(r#""web.external-url":"http://box.example:9090/prometheus/""#), "{flags}");
    assert!(scraped.get("/targets").body.contains("href=\"/prometheus/targets\""));
}

#[test]
fn what_would_be_dangerous_to_ignore_stops_the_start() {
    let check = |argument: &str, words: &str| {
        let finished = command::scraped(&[argument, NO_CONFIG]);
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains(words), "{finished:?}");
    };
    check("--web.enable-remote-write-receiver", "would be lost");
    check("--web.enable-otlp-receiver", "would be lost");
    check("--web.external-url=1.2.3.4:9090", "first path segment in URL cannot contain colon");
    check("--web.cors.origin=(", "missing closing )");
    check("--web.max-connections=0", "must be a number above 0");
    check("--log.level=verbose", "must be debug, info, warn or error");
}

#[test]
fn changed_files_are_loaded_by_themselves() {
    let target =
        |name: &str| format!("- job_name: {name}\n  static_configs: [{{targets: ['127.0.0.1:1']}}]\n");
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    fs::write(dir.path().join("scraped.yml"), "scrape_config_files: ['more*.yml']\n").expect("writable");
    let scraped = Scraped::start_in(dir, &["--config.auto-reload", "--config.auto-reload-interval=1s"]);
    let jobs = || scraped.get("/api/v1/scrape_pools").body;
    let n_said = |words: &str| scraped.stderr().matches(words).count();
    // A file that the configuration names, then a broken one, which is said once while the old one goes on.
    scraped.write("more1.yml", &format!("scrape_configs:\n{}", target("first")));
    wait_until("the new file is loaded", || jobs().contains("first"));
    scraped.write("more1.yml", "scrape_configs: [\n");
    wait_until("the broken file is refused", || n_said("continuing with the previous") == 1);
    // Nothing more is said at the next looks: there is no event to wait for.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!(n_said("continuing with the previous"), 1);
    assert!(jobs().contains("first"));
    scraped.write("more1.yml", &format!("scrape_configs:\n{}", target("second")));
    wait_until("the mended file is loaded", || jobs().contains("second") && !jobs().contains("first"));
    scraped.write("scraped.yml", &format!("scrape_configs:\n{}", target("third")));
    wait_until("the main file is loaded", || jobs().contains("third") && !jobs().contains("second"));
    // A reload by hand is not done again.
    let n_loaded = n_said("configuration loaded");
    scraped.reload_with(&format!("scrape_configs:\n{}", target("fourth")));
    wait_until("the reload by hand", || jobs().contains("fourth"));
    // The same for loads: a look may have been under way, and then there are no more.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(n_said("configuration loaded") <= n_loaded + 2);
    let n_loaded = n_said("configuration loaded");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(n_said("configuration loaded"), n_loaded);
}

#[test]
fn the_feature_of_older_ones_does_the_same() {
    let arguments = ["--enable-feature=auto-reload-config", "--config.auto-reload-interval=1s"];
    let scraped = Scraped::start_with(CONFIG, &arguments);
    scraped.write("scraped.yml", "scrape_configs:\n- job_name: new\n");
    wait_until("it is loaded", || scraped.get("/api/v1/scrape_pools").body.contains("new"));
}

#[test]
fn without_the_flag_nothing_is_loaded_by_itself() {
    let scraped = Scraped::start_with(CONFIG, &["--config.auto-reload-interval=1s"]);
    scraped.write("scraped.yml", "scrape_configs:\n- job_name: new\n");
    // What does not happen has no event.
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(!scraped.get("/api/v1/scrape_pools").body.contains("new"));
    assert!(!scraped.stderr().contains("configuration loaded"));
}
