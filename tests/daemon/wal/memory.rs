//! The newest part of the log in memory: what the disk hears of it, and what is lost where.

use scraped_engine::disk::RealDisk;
use scraped_engine::wal::format::segment;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use support::api::{metric, metric_sum};
use support::remote::receiver::{Answer, Receiver};
use support::remote::{arrived, config, ledger, missing, on_disk, wait_until_sent};
use support::scraped::{ON_DISK, Scraped};
use support::system::small_disk::SmallDisk;
use support::targets::{Behaviour, FakeTargets};
use support::wait_until;
use support::wal::check_log;

const IN_MEMORY: &str = "--storage.agent.memory-first=auto";

/// A target whose counter rises with each scrape, and an endpoint.
struct Fixture {
    targets: FakeTargets,
    receiver: Receiver,
    config: String,
}

impl Fixture {
    fn new() -> Self {
        let targets = FakeTargets::start();
        targets.set("/metrics", Behaviour::Counter);
        let receiver = Receiver::start();
        let config = config(&targets.address(), "/metrics", &receiver.url(), "name: main", "")
            .replace("500ms", "100ms");
        Self { targets, receiver, config }
    }

    fn start(&self, arguments: &[&str]) -> Scraped {
        let scraped = Scraped::start_with(&self.config, &[&[IN_MEMORY], arguments].concat());
        self.await_arrivals(5);
        scraped
    }

    /// Waits until the endpoint has so many scrapes more.
    fn await_arrivals(&self, n: usize) {
        let before = self.n_arrived();
        wait_until("samples arrive", || self.n_arrived() >= before + n);
    }

    fn n_arrived(&self) -> usize {
        self.receiver.samples("fake_scrapes_total", "").len()
    }

    fn await_scrapes(&self, n: usize) {
        let before = self.targets.n_requests("/metrics");
        wait_until("scrapes", || self.targets.n_requests("/metrics") >= before + n);
    }

    /// Waits until no value of the counter is missing but those of scrapes that failed, and of one at each stop: a scrape that
    /// is under way then is given up.
    fn await_all_but(&self, n_stops: usize) {
        let n_missing = || {
            let counts = self.receiver.samples("fake_scrapes_total", "");
            let counts: Vec<f64> = counts.into_iter().map(|it| it.1).filter(|it| it.is_finite()).collect();
            let ups = self.receiver.samples("up", "");
            let n_failed = ups.iter().filter(|up| up.1 == 0.0).count();
            let newest = counts.iter().fold(0.0_f64, |newest, count| newest.max(*count));
            (newest as usize).saturating_sub(counts.len() + n_failed)
        };
        wait_until("each value", || n_missing() <= n_stops);
    }
}

/// All files with their sizes, and when they were written.
fn files(dir: &Path) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), (metadata.len(), metadata.modified().unwrap()));
        }
    }
    found
}

/// What the process has handed to file systems, in bytes.
fn written_bytes(scraped: &Scraped) -> u64 {
    let io = fs::read_to_string(format!("/proc/{}/io", scraped.id())).unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).unwrap();
    line.parse().unwrap()
}

fn log_bytes(scraped: &Scraped) -> u64 {
    let log = files(&scraped.data_dir().join("wal"));
    log.values().map(|(bytes, _)| bytes).sum()
}

#[test]
fn nothing_is_written_while_the_endpoint_takes_everything() {
    let fixture = Fixture::new();
    let scraped = fixture.start(&["--wal.fsync-interval=1s"]);
    // The first round of everything that has one, each five seconds or more often.
    fixture.await_arrivals(60);
    let counted = || {
        ["scraped_disk_written_bytes_total", "scraped_disk_written_today_bytes"]
            .map(|family| metric_sum(&scraped, family))
    };
    let (before, files_before) = (written_bytes(&scraped), files(&scraped.data_dir()));
    let counted_before = counted();
    fixture.await_arrivals(70);
    assert_eq!(files(&scraped.data_dir()), files_before);
    assert_eq!(written_bytes(&scraped), before);
    assert_eq!(counted(), counted_before);
    assert_eq!(log_bytes(&scraped), 0);
    // A clean stop has nothing to write of it either, and nothing comes twice.
    let dir = scraped.dir();
    assert!(scraped.stop().success());
    fixture.await_all_but(0);
    let n_arrived = fixture.n_arrived();
    let scraped = Scraped::start_in(dir, &[IN_MEMORY]);
    fixture.await_arrivals(5);
    assert!(scraped.stop().success());
    let samples = fixture.receiver.samples("fake_scrapes_total", "");
    assert!(samples.is_sorted_by(|a, b| a.0 < b.0), "{samples:?}");
    assert!(samples.len() > n_arrived);
    fixture.await_all_but(1);
    fixture.receiver.check();
}

#[test]
fn an_outage_is_written_when_it_lasts_and_a_stop_loses_nothing() {
    let fixture = Fixture::new();
    let scraped = fixture.start(&["--storage.agent.flush-after=2s", "--storage.remote.flush-deadline=1s"]);
    fixture.receiver.answer(Answer::status(503));
    assert_eq!(log_bytes(&scraped), 0);
    wait_until("it is written", || log_bytes(&scraped) > 0);
    fixture.await_scrapes(10);
    let dir = scraped.dir();
    assert!(scraped.stop().success());
    fixture.receiver.answer(Answer::Stores(204));
    let scraped = Scraped::start_in(dir.clone(), &[IN_MEMORY]);
    fixture.await_all_but(1);
    // All that was on the disk is sent, and remembered as sent: a third start does not send it again.
    fixture.await_arrivals(60);
    assert!(scraped.stop().success());
    let n_arrived = fixture.n_arrived();
    let scraped = Scraped::start_in(dir, &[IN_MEMORY]);
    fixture.await_arrivals(3);
    assert!(scraped.stop().success());
    let samples = fixture.receiver.samples("fake_scrapes_total", "");
    assert!(samples.is_sorted_by(|a, b| a.0 < b.0) && samples.len() > n_arrived);
    fixture.await_all_but(2);
    fixture.receiver.check();
}

#[test]
fn a_kill_in_an_outage_takes_what_was_not_written() {
    let fixture = Fixture::new();
    let scraped = fixture.start(&["--storage.agent.flush-after=1h", "--web.enable-lifecycle"]);
    fixture.receiver.answer(Answer::status(503));
    fixture.await_scrapes(20);
    assert_eq!(log_bytes(&scraped), 0);
    let flushed = scraped.post("/-/flush");
    assert_eq!((flushed.status, flushed.body.as_str()), (200, ""));
    fixture.await_scrapes(10);
    let (dir, data_dir) = (scraped.dir(), scraped.data_dir());
    scraped.signal("KILL");
    drop(scraped);
    let kept = on_disk(&data_dir);
    let n_kept: usize =
        kept.iter().filter(|(key, _)| key.contains("fake_scrapes_total")).map(|it| it.1.len()).sum();
    assert!(n_kept >= 19, "{n_kept}");
    fixture.receiver.answer(Answer::Stores(204));
    let scraped = Scraped::start_in(dir, &[IN_MEMORY]);
    wait_until("all that was written", || missing(&kept, &arrived(&fixture.receiver)).is_empty());
    assert!(scraped.stop().success());
    fixture.receiver.check();
}

#[test]
fn without_remote_write_each_scrape_is_on_the_disk_and_a_reload_changes_that() {
    let fixture = Fixture::new();
    let alone = fixture.config.split("remote_write").next().unwrap().to_owned();
    let scraped = Scraped::start_with(&alone, &[IN_MEMORY]);
    wait_until("the log grows", || log_bytes(&scraped) > 0);
    scraped.reload_with(&fixture.config);
    // What was in the log before is not written any more.
    fixture.await_arrivals(20);
    let before = log_bytes(&scraped);
    fixture.await_arrivals(20);
    assert_eq!(log_bytes(&scraped), before);
    scraped.reload_with(&alone);
    wait_until("the log grows again", || log_bytes(&scraped) > before);
    scraped.reload_with(&fixture.config);
    fixture.await_arrivals(20);
    assert_eq!(metric_sum(&scraped, "scraped_wal_samples_lost_total"), 0.0);
    let (_dir, data_dir) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    // The log on the disk is whole: each sample has its series.
    assert!(!on_disk(&data_dir).is_empty());
    fixture.receiver.check();
}

#[test]
fn kills_again_and_again_lose_nothing_of_what_was_written() {
    let fixture = Fixture::new();
    let arguments = [IN_MEMORY, "--storage.agent.flush-after=1s"];
    let mut scraped = fixture.start(&arguments[1..]);
    for round in 0..4 {
        let answer = if round % 2 == 0 { Answer::status(503) } else { Answer::Stores(204) };
        fixture.receiver.answer(answer);
        fixture.await_scrapes(25);
        let (dir, data_dir) = (scraped.dir(), scraped.data_dir());
        scraped.signal("KILL");
        drop(scraped);
        let kept = on_disk(&data_dir);
        fixture.receiver.answer(Answer::Stores(204));
        scraped = Scraped::start_in(dir, &arguments);
        wait_until("all that was written", || missing(&kept, &arrived(&fixture.receiver)).is_empty());
    }
    wait_until_sent(&scraped.data_dir(), &fixture.receiver);
    assert!(scraped.stop().success());
    fixture.receiver.check();
}

#[test]
fn the_newest_come_first_also_out_of_memory() {
    let mut fixture = Fixture::new();
    fixture.receiver.state().takes_any_order = true;
    fixture.config =
        fixture.config.replace("queue_config: {", "queue_config: {in_order: false, capacity: 50, ");
    let scraped = fixture.start(&["--storage.agent.flush-after=1s"]);
    fixture.receiver.answer(Answer::status(503));
    fixture.await_scrapes(40);
    fixture.receiver.answer(Answer::Stores(204));
    fixture.await_all_but(0);
    let ledger = ledger(&scraped, "main");
    assert_eq!(ledger[0], ledger[1..].iter().sum::<f64>(), "{ledger:?}");
    assert!(scraped.stop().success());
    fixture.receiver.check();
}

const EACH_ON_DISK: [&str; 2] = [ON_DISK, "--wal.fsync-interval=1s"];

const WITHOUT_DISK: [&str; 3] = [IN_MEMORY, "--web.enable-lifecycle", "--storage.remote.flush-deadline=1s"];

/// On a disk that takes nothing; it is not ready, and says this of its log.
fn start_without_its_disk(disk: &SmallDisk, why: &str) -> Scraped {
    let scraped = Scraped::spawn_in(disk.dir(), &WITHOUT_DISK);
    wait_until("not ready, with a reason", || {
        assert!(!scraped.has_ended(), "{}", scraped.stderr());
        scraped.try_get("/-/ready").is_some_and(|ready| {
            ready.status == 503
                && ready.body.contains("was read and cannot be written")
                && ready.body.contains(why)
        })
    });
    assert_eq!(metric(&scraped, "scraped_wal_unusable"), Some(1.0));
    scraped
}

/// The disk is back: without a restart everything is written that is not sent, and a start finds it.
fn check_that_it_is_written(scraped: Scraped, fixture: &Fixture, n_lost: usize) {
    wait_until("ready", || scraped.get("/-/ready").status == 200);
    assert_eq!(metric_sum(&scraped, "scraped_wal_samples_lost_total"), 0.0);
    assert_eq!(scraped.post("/-/flush").status, 200);
    assert!(log_bytes(&scraped) > 0);
    let (dir, stderr) = (scraped.dir(), scraped.stderr());
    assert_eq!(stderr.matches("no restart is needed then").count(), 1, "{stderr}");
    assert!(stderr.contains("is in its place and can be written"), "{stderr}");
    let data = scraped.data_dir();
    assert!(scraped.stop().success());
    check_log(&data);
    fixture.receiver.answer(Answer::Stores(204));
    let scraped = Scraped::start_in(dir, &[IN_MEMORY]);
    fixture.await_arrivals(5);
    fixture.await_all_but(n_lost + 1);
    assert!(scraped.stop().success());
    fixture.receiver.check();
}

/// A power cut in an outage, after which the kernel mounts the disk read-only.
#[test]
fn a_start_on_a_read_only_disk_sends_what_is_there_and_what_comes() {
    let Some(disk) = SmallDisk::mount("20m") else { return };
    let fixture = Fixture::new();
    fs::write(disk.dir().path().join("scraped.yml"), &fixture.config).unwrap();
    let scraped = Scraped::start_in(disk.dir(), &EACH_ON_DISK);
    fixture.await_arrivals(5);
    fixture.receiver.answer(Answer::status(503));
    fixture.await_scrapes(10);
    scraped.signal("KILL");
    wait_until("the end", || scraped.has_ended());
    drop(scraped);
    let newest = segment::list(&RealDisk, &disk.data_dir().join("wal")).unwrap().pop().unwrap();
    fs::File::options().write(true).open(&newest.path).unwrap().set_len(newest.bytes - 5).unwrap();
    disk.remount("ro");
    fixture.receiver.answer(Answer::Stores(204));

    let scraped = start_without_its_disk(&disk, "Read-only file system");
    fixture.await_arrivals(20);
    wait_until_sent(&scraped.data_dir(), &fixture.receiver);
    // What was under way at the kill, and the torn one.
    fixture.await_all_but(2);
    fixture.receiver.answer(Answer::status(503));
    fixture.await_scrapes(10);
    disk.remount("rw");
    check_that_it_is_written(scraped, &fixture, 2);
}

/// Neither a file nor a byte can be added.
#[test]
fn a_start_on_a_full_disk_goes_on_in_memory_until_there_is_room() {
    let Some(disk) = SmallDisk::mount("8m,nr_inodes=60") else { return };
    let fixture = Fixture::new();
    fs::write(disk.dir().path().join("scraped.yml"), &fixture.config).unwrap();
    let scraped = Scraped::start_in(disk.dir(), &EACH_ON_DISK);
    fixture.await_arrivals(5);
    assert!(scraped.stop().success());
    let _ = fs::remove_file(disk.data_dir().join("reserve"));
    disk.fill(0);
    disk.fill_names();

    let scraped = start_without_its_disk(&disk, "No space left on device");
    fixture.await_arrivals(20);
    fixture.receiver.answer(Answer::status(503));
    fixture.await_scrapes(10);
    disk.free_names();
    disk.free();
    check_that_it_is_written(scraped, &fixture, 1);
}
