//! The daemon starts on a disk that is full, read-only or not there yet, as a power cut leaves it: it scrapes, serves its
//! pages, says what is wrong, and goes on by itself once the disk can be written.
//!
//! Uses tmpfs of its own, which needs root; without it nothing is tested and the tests say so.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use scraped_engine::disk::RealDisk;
use support::api::{active, metric, metric_sum};
use support::remote::receiver::{Answer, Receiver};
use support::remote::{
    config, given_up, n_arrived, n_samples, on_disk, wait_until_accounted, wait_until_sent,
};
use support::scraped::{Scraped, free_address};
use support::system::small_disk::SmallDisk;
use support::targets::FakeTargets;
use support::wal::check_log;
use support::{wait_for_long, wait_until};

/// Positions are on disk soon, so that a kill repeats little.
const QUICK_SYNC: &str = "--wal.fsync-interval=1s";

fn write_config(disk: &SmallDisk, targets: &FakeTargets, url: &str) -> String {
    let text = config(&targets.address(), "/metrics", url, "name: main", "").replace("500ms", "1s");
    fs::write(disk.dir().path().join("scraped.yml"), &text).unwrap();
    text
}

fn refused(scraped: &Scraped) -> f64 {
    metric(scraped, "scraped_wal_samples_lost_total{reason=\"write_failed\"}").unwrap()
}

/// It runs, scrapes, answers, and says `word`.
fn check_that_it_waits(scraped: &Scraped, word: &str) {
    wait_until("not ready, with a reason", || {
        assert!(!scraped.has_ended(), "{}", scraped.stderr());
        scraped.try_get("/-/ready").is_some_and(|ready| ready.status == 503 && ready.body.contains(word))
    });
    assert_eq!(metric(scraped, "scraped_wal_unusable"), Some(1.0));
    for path in ["/-/healthy", "/targets", "/status", "/api/v1/status/config", "/api/v1/status/runtimeinfo"] {
        assert_eq!(scraped.get(path).status, 200, "{path}");
    }
    wait_until("samples are counted", || refused(scraped) > 20.0);
    wait_until("the target says it", || active(scraped, "fake")[0].last_error.contains(word));
    assert_eq!(metric_sum(scraped, "prometheus_agent_samples_appended_total"), 0.0);
}

/// The disk is back: without a restart everything works, and what was on disk before arrives too.
fn check_that_it_goes_on(scraped: Scraped, receiver: &Receiver) {
    wait_until("ready", || scraped.get("/-/ready").status == 200);
    assert_eq!(metric(&scraped, "scraped_wal_unusable"), Some(0.0));
    let before = n_arrived(receiver);
    wait_until("new samples arrive", || n_arrived(receiver) > before + 20);
    wait_until("the target is well", || active(&scraped, "fake")[0].last_error.is_empty());
    let (data, dir) = (scraped.data_dir(), scraped.dir());
    wait_until_sent(&data, receiver);
    wait_until("the position is saved", || {
        fs::read_dir(data.join("remote")).is_ok_and(|mut files| {
            files.any(|file| file.unwrap().path().extension().is_some_and(|it| it == "position"))
        })
    });
    assert!(data.join("remote/endpoints").exists() && data.join("lock").exists());
    let stderr = scraped.stderr();
    assert_eq!(stderr.matches("no restart is needed then").count(), 1, "{stderr}");
    assert!(scraped.stop().success());
    assert!(!data.join("lock").exists());
    check_log(&data);
    wait_until_sent(&data, receiver);
    receiver.check();

    let scraped = Scraped::start_in(dir, &[]);
    let stderr = scraped.stderr();
    assert!(!stderr.contains("lost") && !stderr.contains("missing"), "{stderr}");
    let before = n_arrived(receiver);
    wait_until("new samples arrive after a restart", || n_arrived(receiver) > before + 20);
    receiver.check();
}

/// A power cut: the log has a torn end and what the endpoint has not had, and the kernel mounts the disk read-only.
#[test]
fn a_log_on_a_disk_that_is_read_only_at_first() {
    let Some(disk) = SmallDisk::mount("20m") else { return };
    let targets = FakeTargets::noisy(50);
    let receiver = Receiver::start();
    write_config(&disk, &targets, &receiver.url());
    let scraped = Scraped::start_in(disk.dir(), &[QUICK_SYNC]);
    wait_until("samples arrive", || n_arrived(&receiver) > 100);
    receiver.answer(Answer::status(503));
    let appended = || metric_sum(&scraped, "prometheus_agent_samples_appended_total");
    let before = appended();
    wait_until("samples that are not sent", || appended() > before + 150.0);
    scraped.signal("KILL");
    wait_until("the end", || scraped.has_ended());
    drop(scraped);
    let newest = scraped_engine::wal::format::segment::list(&RealDisk, &disk.data_dir().join("wal"))
        .unwrap()
        .pop()
        .unwrap();
    File::options().write(true).open(&newest.path).unwrap().set_len(newest.bytes - 5).unwrap();
    receiver.answer(Answer::Stores(204));
    disk.remount("ro");
    let n_before = n_arrived(&receiver);

    let scraped = Scraped::spawn_in(disk.dir(), &[QUICK_SYNC]);
    check_that_it_waits(&scraped, "Read-only file system");
    assert_eq!(n_arrived(&receiver), n_before);
    disk.remount("rw");
    wait_until("ready", || scraped.get("/-/ready").status == 200);
    let stderr = scraped.stderr();
    assert_eq!(stderr.matches("is torn at offset").count(), 1, "{stderr}");
    assert_eq!(metric(&scraped, "prometheus_agent_corruptions_total"), Some(1.0));
    check_that_it_goes_on(scraped, &receiver);
}

#[test]
fn a_first_start_on_a_disk_that_is_read_only() {
    let Some(disk) = SmallDisk::mount("20m") else { return };
    let targets = FakeTargets::noisy(50);
    let receiver = Receiver::start();
    write_config(&disk, &targets, &receiver.url());
    disk.remount("ro");
    let scraped = Scraped::spawn_in(disk.dir(), &[QUICK_SYNC]);
    check_that_it_waits(&scraped, "Read-only file system");
    // A reload finds the configuration that remote write starts with later.
    assert!(!disk.data_dir().exists());
    scraped.signal("HUP");
    wait_until("the reload", || scraped.stderr().contains("configuration loaded"));
    disk.remount("rw");
    check_that_it_goes_on(scraped, &receiver);
}

/// The mount point is there, on a root that is read-only; the disk comes later.
#[test]
fn a_disk_that_is_mounted_after_the_start() {
    let Some(disk) = SmallDisk::mount("20m") else { return };
    let targets = FakeTargets::noisy(50);
    let receiver = Receiver::start();
    write_config(&disk, &targets, &receiver.url());
    let place = disk.data_dir();
    fs::create_dir(&place).unwrap();
    disk.remount("ro");
    let scraped = Scraped::spawn_in(disk.dir(), &[QUICK_SYNC]);
    check_that_it_waits(&scraped, "Read-only file system");
    let mount = |arguments: &[&str], place: &Path| {
        assert!(Command::new("mount").args(arguments).arg(place).status().unwrap().success());
    };
    mount(&["-t", "tmpfs", "-o", "size=20m,mode=0700", "none"], &place);
    check_that_it_goes_on(scraped, &receiver);
    assert!(Command::new("umount").arg("-l").arg(&place).status().unwrap().success());
}

/// Nothing can be made: neither a directory nor a file.
#[test]
fn a_first_start_on_a_disk_that_is_full() {
    let Some(disk) = SmallDisk::mount("8m,nr_inodes=60") else { return };
    let targets = FakeTargets::noisy(50);
    let receiver = Receiver::start();
    write_config(&disk, &targets, &receiver.url());
    disk.fill(0);
    disk.fill_names();
    let scraped = Scraped::spawn_in(disk.dir(), &[QUICK_SYNC]);
    check_that_it_waits(&scraped, "No space left on device");
    disk.free_names();
    disk.free();
    check_that_it_goes_on(scraped, &receiver);
}

const SMALL: [&str; 3] =
    ["--storage.agent.wal-segment-size=1MB", QUICK_SYNC, "--storage.remote.flush-deadline=20s"];

/// A log of some segments that the endpoint has not had; its daemon was killed. Samples in it.
fn leave_a_log(disk: &SmallDisk, targets: &FakeTargets, away: &str) -> usize {
    let text = write_config(disk, targets, &format!("http://{away}/api/v1/write"));
    let quick = text.replace("interval: 1s", "interval: 500ms").replace("timeout: 1s", "timeout: 500ms");
    fs::write(disk.dir().path().join("scraped.yml"), quick).unwrap();
    // It removes nothing by itself: that would be neither on the disk nor with the endpoint.
    let keeping = [&SMALL[..], &["--storage.agent.retention.max-bytes=10MB"]].concat();
    let scraped = Scraped::start_in(disk.dir(), &keeping);
    let third = scraped.data_dir().join("wal/00000003");
    wait_for_long("three segments and one begun", || fs::metadata(&third).is_ok_and(|it| it.len() > 100_000));
    scraped.signal("KILL");
    wait_until("the end", || scraped.has_ended());
    drop(scraped);
    fs::write(disk.dir().path().join("scraped.yml"), text).unwrap();
    n_samples(&on_disk(&disk.data_dir()))
}

/// The oldest segments go before new samples do, and are counted, as under a daemon that runs.
#[test]
fn a_log_on_a_disk_that_is_full_gives_up_its_oldest_segments() {
    let Some(disk) = SmallDisk::mount("20m") else { return };
    let targets = FakeTargets::noisy(10_000);
    let away = free_address();
    let n_on_disk = leave_a_log(&disk, &targets, &away);
    assert!(disk.data_dir().join("reserve").exists());
    disk.fill(0);
    let scraped = Scraped::start_in(disk.dir(), &SMALL);
    let appended = || metric_sum(&scraped, "prometheus_agent_samples_appended_total");
    wait_until("segments are removed and counted", || given_up(&scraped) > 10_000.0);
    wait_until("new samples are taken", || appended() > 20_000.0);
    let receiver = Receiver::start_on(&away);
    disk.free();
    wait_until_accounted(&scraped, &receiver, n_on_disk);
    assert!(n_arrived(&receiver) > 10_000);
    assert!(scraped.stop().success());
    check_log(&disk.data_dir());
    receiver.check();
}

/// No file can be made for the next segment: what is set aside is given back for it.
#[test]
fn a_log_on_a_disk_that_takes_no_more_files() {
    let Some(disk) = SmallDisk::mount("40m,nr_inodes=80") else { return };
    let targets = FakeTargets::noisy(10_000);
    let away = free_address();
    let n_on_disk = leave_a_log(&disk, &targets, &away);
    let _ = fs::remove_file(disk.data_dir().join("lock"));
    let lock = File::create(disk.data_dir().join("lock")).unwrap();
    disk.fill_names();
    drop(lock);
    let scraped = Scraped::start_in(disk.dir(), &SMALL);
    let appended = || metric_sum(&scraped, "prometheus_agent_samples_appended_total");
    wait_until("new samples are taken", || appended() > 20_000.0);
    disk.free_names();
    let receiver = Receiver::start_on(&away);
    wait_until_accounted(&scraped, &receiver, n_on_disk);
    assert!(scraped.stop().success());
    check_log(&disk.data_dir());
    receiver.check();
}

/// What somebody else does is no trouble of the disk: it ends the start as ever.
#[test]
fn a_directory_that_another_process_has_locked_is_refused_on_a_read_only_disk_too() {
    let Some(disk) = SmallDisk::mount("20m") else { return };
    let targets = FakeTargets::noisy(1);
    write_config(&disk, &targets, "http://127.0.0.1:9/api/v1/write");
    fs::create_dir(disk.data_dir()).unwrap();
    fs::write(disk.data_dir().join("lock"), "").unwrap();
    let held = File::open(disk.data_dir().join("lock")).unwrap();
    held.try_lock().unwrap();
    disk.remount("ro");
    let mut scraped = Scraped::spawn_in(disk.dir(), &[]);
    assert_eq!(scraped.wait().code(), Some(1));
    assert!(scraped.stderr().contains("locked by another process"), "{}", scraped.stderr());
    drop(held);
    let scraped = Scraped::spawn_in(disk.dir(), &[]);
    wait_until("it waits", || scraped.try_get("/-/ready").is_some_and(|ready| ready.status == 503));
    // It ends when it is asked to.
    assert!(scraped.stop().success());
    assert!(disk.data_dir().join("lock").exists());
}
