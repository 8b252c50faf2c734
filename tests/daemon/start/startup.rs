//! The command from outside: what it says at start, how it refuses, how it ends, what a second start finds.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped_engine::disk::RealDisk;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::format::segment_reader::{SegmentReader, Tail};
use scraped_engine::wal::keep::checkpoint;
use serde_json::Value;
use support::command::{Finished, finish, query, scraped, values};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use tempfile::TempDir;

/// A refusal takes milliseconds; the promise is a second or two, the rest is for a busy machine.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);
/// The promise is one second; the rest is for a busy machine. Timeouts of the hung targets are far beyond it.
const STOPPED_WITHIN: Duration = Duration::from_secs(3);

/// The user that owns nothing, on every distribution.
const NOBODY: u32 = 65_534;

/// A configuration whose jobs are the paths of `targets`, scraped often.
fn config(targets: &FakeTargets, paths: &[&str]) -> String {
    let mut text = "global: {scrape_interval: 300ms, scrape_timeout: 300ms}\nscrape_configs:\n".to_owned();
    for path in paths {
        let job = path.trim_start_matches('/');
        text.push_str(&format!("- job_name: {job}\n  metrics_path: {path}\n"));
        text.push_str(&format!("  static_configs: [{{targets: ['{}']}}]\n", targets.address()));
    }
    text
}

/// A directory with an empty `ok.yml`, for starts that have to fail.
struct Refusals {
    dir: TempDir,
}

impl Refusals {
    fn new() -> Self {
        let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
        fs::write(dir.path().join("ok.yml"), "scrape_configs: []\n").expect("writable");
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The command has to end soon with exit 1 and `sentence` as all it says beside its log.
    fn check(&self, arguments: &[&str], sentence: &str) {
        let config = format!("--config.file={}", self.path("ok.yml"));
        let data = format!("--storage.agent.path={}", self.path("data"));
        // Flags cannot be repeated.
        let mut all = Vec::new();
        for default in [config.as_str(), data.as_str(), "--web.listen-address=127.0.0.1:0"] {
            let name = default.split_once('=').map_or(default, |(name, _)| name);
            if !arguments.iter().any(|argument| argument.starts_with(name)) {
                all.push(default);
            }
        }
        all.extend(arguments);
        let finished = scraped(&all);
        check_refusal(&finished, sentence);
    }
}

fn check_refusal(finished: &Finished, sentence: &str) {
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stdout, "", "errors go to stderr");
    let said: Vec<&str> = finished.stderr.lines().filter(|line| !line.starts_with("time=")).collect();
    assert_eq!(said, [format!("scraped: {sentence}")], "{finished:?}");
    assert!(finished.took < REFUSED_WITHIN, "took {:?}", finished.took);
    assert!(!finished.stderr.contains("level=ERROR"), "said twice: {}", finished.stderr);
}

#[test]
fn refuses_to_start_with_one_sentence() {
    let refusals = Refusals::new();
    let path = |name: &str| refusals.path(name);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    refusals.check(
        &[&format!("--web.listen-address={address}")],
        &format!(
            "{address} is in use by another process; stop that one or choose another address with \
             --web.listen-address=HOST:PORT"
        ),
    );
    refusals.check(
        &["--web.listen-address=192.0.2.1:9090"],
        "cannot listen on 192.0.2.1:9090: Cannot assign requested address (os error 99); choose another with \
         --web.listen-address=HOST:PORT",
    );

    let missing = path("none.yml");
    refusals.check(
        &[&format!("--config.file={missing}")],
        &format!(
            "no configuration file at {missing}; name one with --config.file=FILE, etc/scraped.yml is one to \
             start from"
        ),
    );
    fs::write(path("bad.yml"), "scrape_configs:\n- job_name: a\n  scrape_interval: 15x\n").unwrap();
    let bad = path("bad.yml");
    refusals.check(
        &[&format!("--config.file={bad}")],
        &format!("{bad}:3: scrape_configs[0].scrape_interval: unknown unit \"x\" in duration \"15x\""),
    );

    // Modes do not stop root, a file in the way does.
    fs::write(path("file"), "").unwrap();
    let below_a_file = path("file/data");
    refusals.check(
        &[&format!("--storage.agent.path={below_a_file}")],
        &format!(
            "cannot create data directory {below_a_file}: Not a directory (os error 20); --storage.agent.path must \
             be a directory"
        ),
    );
    refusals.check(&["--nonsense"], "unknown long flag '--nonsense', try --help");
    refusals.check(&["--scrape.max-workers=1"], "--scrape.max-workers=1: must be a number from 4 to 65536");
    refusals.check(&["--storage.agent.path"], "--storage.agent.path needs a value, as in --help");
    refusals.check(&["extra"], "unexpected extra, try --help");
}

/// By another process: a file that this one has open for writing, or a child of it that is just being started, cannot be
/// executed.
fn copy_program(to: &str) {
    assert!(Command::new("cp").arg(support::program()).arg(to).status().unwrap().success());
}

#[test]
fn refuses_a_directory_it_may_not_write() {
    let refusals = Refusals::new();
    let closed = refusals.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let data = format!("{closed}/data");
    let mut command = Command::new(support::program());
    if fs::write(format!("{closed}/probe"), "").is_ok() {
        // Modes forbid root nothing, so somebody else starts it, from a place that everybody can read.
        let binary = refusals.path("scraped");
        copy_program(&binary);
        fs::set_permissions(refusals.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        command = Command::new(binary);
        command.uid(NOBODY).gid(NOBODY);
    }
    let config = format!("--config.file={}", refusals.path("ok.yml"));
    command.args([&config, &format!("--storage.agent.path={data}"), "--web.listen-address=127.0.0.1:0"]);
    check_refusal(
        &finish(&mut command),
        &format!(
            "cannot create data directory {data}: Permission denied (os error 13); give this user the rights to \
             read and write there or choose another --storage.agent.path"
        ),
    );
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    let first = Scraped::start(&config(&targets, &["/a"]));
    let mut second = Scraped::spawn_in(first.dir(), &[]);
    assert_eq!(second.wait().code(), Some(1), "{}", second.stderr());
    let sentence = format!(
        "scraped: data directory is locked by another process ({}); stop the other process or choose another \
         --storage.agent.path",
        first.data_dir().join("lock").display()
    );
    assert_eq!(second.stderr().lines().last(), Some(sentence.as_str()), "{}", second.stderr());
    // The first one is not disturbed.
    let n_before = targets.n_requests("/a");
    wait_until("the first process scrapes on", || targets.n_requests("/a") > n_before + 1);
    assert_eq!(first.stop().code(), Some(0));
}

#[test]
fn start_says_what_it_works_with() {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    targets.set("/b", Behaviour::Counter);
    let scraped = Scraped::start(&config(&targets, &["/a", "/b"]));
    wait_until("the first samples are announced", || scraped.stderr().contains("first samples written"));
    let log = scraped.stderr();
    let data = scraped.data_dir().display().to_string();
    let file = scraped.dir().path().join("scraped.yml").display().to_string();
    for wanted in [
        format!("scraped {} starts, configuration {file}", env!("CARGO_PKG_VERSION")),
        "2 jobs, 2 static targets".to_owned(),
        format!("pages at http://{}/targets", scraped.address()),
        format!("data directory {data}: 0 series"),
    ] {
        assert!(log.contains(&wanted), "no {wanted:?} in\n{log}");
    }
    // "A few lines": nothing else is worth one at a start without trouble.
    assert!(log.lines().count() <= 8, "{log}");
    assert!(log.lines().all(|line| line.contains(" level=INFO ")), "{log}");
    assert_eq!(log.matches("first samples written").count(), 1);
}

#[test]
fn signals_end_it_soon_while_targets_hang() {
    for signal in ["TERM", "INT"] {
        let targets = FakeTargets::start();
        targets.set("/hangs", Behaviour::Hangs);
        targets.set("/dribbles", Behaviour::Dribbles(page(&"a 1\n".repeat(1000)), Duration::from_millis(50)));
        targets.set("/good", Behaviour::Counter);
        let address = targets.address();
        let config = format!(
            "global: {{scrape_interval: 2m, scrape_timeout: 2m}}\n\
             scrape_configs:\n\
             - {{job_name: hangs, metrics_path: /hangs, static_configs: [{{targets: ['{address}']}}]}}\n\
             - {{job_name: dribbles, metrics_path: /dribbles, static_configs: [{{targets: ['{address}']}}]}}\n\
             - {{job_name: good, metrics_path: /good, static_configs: [{{targets: ['{address}']}}]}}\n"
        );
        let mut scraped = Scraped::start(&config);
        wait_until("all targets are asked", || {
            ["/hangs", "/dribbles"].iter().all(|path| targets.n_requests(path) > 0)
                && scraped.stderr().contains("first samples written")
        });
        let start = Instant::now();
        scraped.signal(signal);
        assert_eq!(scraped.wait().code(), Some(0), "SIG{signal}: {}", scraped.stderr());
        assert!(start.elapsed() < STOPPED_WITHIN, "SIG{signal}: took {:?}", start.elapsed());
        assert!(scraped.stderr().contains("stopped in 0."), "{}", scraped.stderr());
        // What was cut off by the stop is no failure of the target.
        assert_eq!(query(&scraped.data_dir(), "{job=~'hangs|dribbles'}"), BTreeMap::new());
        assert_eq!(values(&scraped.data_dir(), "fake_scrapes_total{job='good'}"), ["1"]);
        assert!(!scraped.data_dir().join("lock").exists(), "a clean stop removes the lock file");
    }
}

#[test]
fn a_second_start_keeps_the_series() {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    let config = config(&targets, &["/a"]);
    let first = Scraped::start(&config);
    let (dir, data) = (first.dir(), first.data_dir());
    wait_until("the target was scraped", || targets.n_requests("/a") > 2);
    assert_eq!(first.stop().code(), Some(0));
    let before = values(&data, "fake_scrapes_total");
    let refs_before = series_records(&data);
    assert!(refs_before.len() >= 6, "a series and the report: {refs_before:?}");

    let second = Scraped::start_in(Arc::clone(&dir), &[]);
    let n_series = refs_before.len();
    assert!(second.stderr().contains(&format!("{n_series} series")), "{}", second.stderr());
    let n_requests = targets.n_requests("/a");
    wait_until("it was scraped again", || targets.n_requests("/a") > n_requests + 2);
    // While the daemon writes.
    let (kept, added) = both_sides(&data, &before);
    assert_eq!(kept, before);
    assert!(!added.is_empty());
    assert_eq!(second.stop().code(), Some(0));
    assert_eq!(series_records(&data), refs_before, "the series have their refs and no second record");

    // And a third one after a kill, which leaves the lock file and a torn end.
    let mut third = Scraped::start_in(Arc::clone(&dir), &[]);
    let n_requests = targets.n_requests("/a");
    wait_until("it was scraped again", || targets.n_requests("/a") > n_requests + 2);
    third.signal("KILL");
    assert_eq!(third.wait().code(), None);
    assert!(data.join("lock").exists(), "nobody was there to remove it");
    let before = values(&data, "fake_scrapes_total");
    let fourth = Scraped::start_in(dir, &[]);
    let n_requests = targets.n_requests("/a");
    wait_until("it was scraped again", || targets.n_requests("/a") > n_requests + 2);
    assert_eq!(fourth.stop().code(), Some(0));
    let (kept, added) = both_sides(&data, &before);
    assert_eq!(kept, before);
    assert!(added.len() > 1);
    assert_eq!(series_records(&data), refs_before);
    // Nothing says the target was away: a restart writes no staleness markers, only a scrape that failed does.
    assert!(values(&data, "up").iter().all(|value| value == "1" || value == "0"));
    let n_failed = values(&data, "up").iter().filter(|value| *value == "0").count();
    let n_markers = values(&data, "fake_scrapes_total").iter().filter(|value| *value == "stale").count();
    assert!(n_markers <= n_failed, "{n_markers} markers, {n_failed} failed scrapes");
}

/// The counter's samples that were there before, and those behind them, each of which has to be higher.
fn both_sides(data: &Path, before: &[String]) -> (Vec<String>, Vec<String>) {
    let all = values(data, "fake_scrapes_total");
    let counts: Vec<u64> = all.iter().filter_map(|value| value.parse().ok()).collect();
    assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "{counts:?}");
    let (kept, added) = all.split_at(before.len().min(all.len()));
    (kept.to_vec(), added.to_vec())
}

/// Every series record of the log: labels → refs, one each time there is a record.
fn series_records(data: &Path) -> BTreeMap<String, Vec<u64>> {
    let wal_dir = data.join("wal");
    assert!(
        checkpoint::list(&RealDisk, &wal_dir).unwrap().is_empty(),
        "the test is over before the first checkpoint"
    );
    let mut refs: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for info in segment::list(&RealDisk, &wal_dir).unwrap() {
        let mut reader =
            SegmentReader::new(segment::open(&RealDisk, &info.path).unwrap(), info.number, Tail::Live);
        while let Some(raw) = reader.next_record().unwrap() {
            let Record::Series(entries) = record::decode(raw.bytes) else { continue };
            for entry in entries {
                let entry = entry.unwrap();
                let labels: Vec<String> =
                    entry.labels.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                refs.entry(labels.join(",")).or_default().push(entry.series_ref);
            }
        }
    }
    refs
}

#[test]
fn version_and_help() {
    let version = scraped(&["--version"]);
    assert_eq!(version.code, Some(0));
    let expected = format!("scraped, version {} ({})\n", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    assert_eq!(version.stdout, expected);
    assert_eq!(version.stderr, "");
    for flag in ["--help", "-h"] {
        let help = scraped(&[flag]);
        assert_eq!(help.code, Some(0));
        assert_eq!(help.stderr, "");
        for wanted in ["check config FILE", "query SELECTOR", "--storage.agent.path=DIR", "--version"] {
            assert!(help.stdout.contains(wanted), "no {wanted:?} in\n{}", help.stdout);
        }
        assert!(help.stdout.lines().all(|line| line.len() <= 160), "{}", help.stdout);
    }
}

#[test]
fn check_config_counts_and_names_mistakes() {
    let refusals = Refusals::new();
    let good = refusals.path("ok.yml");
    let finished = scraped(&["check", "config", &good]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert_eq!(finished.stdout, format!("{good}: good: 0 jobs, 0 static targets\n"));

    let bad = refusals.path("bad.yml");
    fs::write(&bad, "global: {nonsense: 1}\nscrape_configs:\n- job_name: a\n- job_name: a\n").unwrap();
    let finished = scraped(&["check", "config", &bad]);
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(1), ""));
    let lines: Vec<&str> = finished.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "every mistake has a line: {lines:?}");
    assert!(lines[0].starts_with(&format!("{bad}:1: global.nonsense: ")), "{lines:?}");
    assert!(lines[1].starts_with(&format!("{bad}:4: scrape_configs[1].job_name: ")), "{lines:?}");

    let usage = scraped(&["check", "config"]);
    check_refusal(&usage, "something is missing; usage: scraped check config [flags] FILE");
}

#[test]
fn query_refuses_with_one_sentence() {
    let refusals = Refusals::new();
    let ask = |name: &str| {
        let path = format!("--storage.agent.path={}", refusals.path(name));
        scraped(&["query", "up", &path])
    };
    let name_it = "name the data directory of scraped with --storage.agent.path";
    fs::create_dir(refusals.path("empty")).unwrap();
    let wal_dir = refusals.path("empty/wal");
    let no_log = format!(
        "no write-ahead log in {wal_dir}; start scraped first or name its data directory with --storage.agent.path"
    );
    check_refusal(&ask("empty"), &no_log);
    let none = refusals.path("none");
    check_refusal(&ask("none"), &format!("no such directory: {none}; {name_it}"));
    let file = refusals.path("ok.yml");
    check_refusal(&ask("ok.yml"), &format!("{file} is not a directory; {name_it}"));
    let below = refusals.path("ok.yml/x");
    check_refusal(&ask("ok.yml/x"), &format!("cannot look into {below}: Not a directory (os error 20)"));
    fs::create_dir(refusals.path("wal_is_a_file")).unwrap();
    fs::write(refusals.path("wal_is_a_file/wal"), "").unwrap();
    let wal = refusals.path("wal_is_a_file/wal");
    check_refusal(&ask("wal_is_a_file"), &format!("{wal} is not a directory; {name_it}"));
}

/// The data directory of a service is for its user alone.
#[test]
fn query_without_permission_says_so() {
    assert!(rustix::process::geteuid().is_root(), "needs root, to be somebody else");
    let refusals = Refusals::new();
    fs::set_permissions(refusals.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let program = refusals.path("scraped");
    copy_program(&program);
    let secret = refusals.path("private");
    fs::create_dir_all(refusals.path("private/data/wal")).unwrap();
    fs::create_dir_all(refusals.path("open/wal")).unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(refusals.path("open/wal"), Permissions::from_mode(0o700)).unwrap();
    let ask = |path: &str| {
        let path = format!("--storage.agent.path={path}");
        finish(Command::new(&program).args(["query", "up", &path]).uid(NOBODY).gid(NOBODY))
    };
    let denied = "Permission denied (os error 13); ask as root or as the user that scraped runs as";
    check_refusal(&ask(&secret), &format!("cannot look into {secret}/wal: {denied}"));
    check_refusal(&ask(&format!("{secret}/data")), &format!("cannot look into {secret}/data: {denied}"));
    let open = refusals.path("open");
    let rights = "give this user the rights to read and write there or choose another --storage.agent.path";
    let cannot_read = format!("cannot read {open}/wal: Permission denied (os error 13); {rights}");
    check_refusal(&ask(&open), &cannot_read);
}

#[test]
fn json_log_is_json_line_by_line() {
    let targets = FakeTargets::start();
    targets.set("/a", Behaviour::Counter);
    let config = config(&targets, &["/a"]);
    let scraped = Scraped::start_with(&config, &["--log.format=json", "--log.level=debug"]);
    wait_until("the first samples are announced", || scraped.stderr().contains("first samples written"));
    scraped.reload_with("scrape_configs: [\"quotes\": \\");
    wait_until("the reload is refused", || scraped.stderr().contains("cannot load"));
    for line in scraped.stderr().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|err| panic!("{err}: {line}"));
        for field in ["time", "level", "source", "msg"] {
            assert!(line[field].is_string(), "no {field} in {line}");
        }
    }
}
