//! The log's directory is removed under the daemon, or its disk goes away and comes back: that is noticed and said, what
//! is lost is counted, and the log goes on in its place without a restart.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::api::metric;
use support::remote::receiver::Receiver;
use support::remote::{
    config, given_up, n_arrived, on_disk, wait_until_accounted, wait_until_sent, wait_until_sent_but,
};
use support::scraped::{ON_DISK, Scraped, free_address};
use support::targets::FakeTargets;
use support::wal::check_log;
use support::{PATIENCE, pause, wait_for_long, wait_until};
use tempfile::TempDir;

/// What is gone is noticed within this.
const NOTICED: Duration = Duration::from_secs(10);

/// Waits for a 503 with a reason that has `word`, and then for readiness.
fn await_notice(scraped: &Scraped, word: &str) {
    let start = Instant::now();
    wait_until("not ready", || {
        let ready = scraped.get("/-/ready");
        ready.status == 503 && ready.body.contains(word)
    });
    assert!(start.elapsed() < NOTICED, "noticed after {:?}", start.elapsed());
}

fn await_ready(scraped: &Scraped) {
    wait_until("ready again", || scraped.get("/-/ready").status == 200);
    assert_eq!(metric(scraped, "scraped_wal_unusable"), Some(0.0));
}

/// Samples come in and arrive, and what is on disk is a log that everybody can read.
fn check_that_it_goes_on(scraped: Scraped, receiver: &Receiver, flags: &[&str], n_given_up: usize) {
    let before = n_arrived(receiver);
    wait_until("new samples arrive", || n_arrived(receiver) > before + 20);
    let (data, dir) = (scraped.data_dir(), scraped.dir());
    assert!(!on_disk(&data).is_empty());
    wait_until_sent_but(&data, receiver, n_given_up);
    wait_until("the position is saved", || {
        fs::read_dir(data.join("remote")).is_ok_and(|mut files| {
            files.any(|file| file.unwrap().path().extension().is_some_and(|it| it == "position"))
        })
    });
    assert!(data.join("remote/endpoints").exists() && data.join("lock").exists());
    let second = Scraped::spawn_in(Arc::clone(&dir), &[ON_DISK]);
    let start = Instant::now();
    while !second.has_ended() {
        let told = || format!("{}\nthe first one: {}", second.stderr(), scraped.stderr());
        assert!(start.elapsed() < PATIENCE, "the directory is not locked: {}", told());
        pause(start);
    }
    assert!(second.stderr().contains("locked by another process"), "{}", second.stderr());
    assert!(scraped.stop().success());
    check_log(&data);

    let copy = TempDir::with_prefix("scraped-test-").unwrap();
    let status = Command::new("cp").arg("-a").arg(data.join("wal")).arg(copy.path()).status();
    assert!(status.unwrap().success());
    let said = support::wal::peers::run_agent(copy.path());
    assert!(!said.contains("level=ERROR"), "{said}");

    let scraped = Scraped::start_in(dir, &[&[ON_DISK], flags].concat());
    let stderr = scraped.stderr();
    assert!(!stderr.contains("lost") && !stderr.contains("missing"), "{stderr}");
    let before = n_arrived(receiver);
    wait_until("new samples arrive after a restart", || n_arrived(receiver) > before + 20);
    receiver.check();
}

fn removed(what: &str, prepare: impl Fn(&Path)) {
    let targets = FakeTargets::noisy(50);
    let receiver = Receiver::start();
    let text = config(&targets.address(), "/metrics", &receiver.url(), "name: main", "");
    let scraped = Scraped::start_with(&text.replace("500ms", "200ms"), &[ON_DISK]);
    wait_until("samples arrive", || n_arrived(&receiver) > 100);
    prepare(&scraped.data_dir());
    await_notice(&scraped, "vanished");
    await_ready(&scraped);
    let stderr = scraped.stderr();
    assert_eq!(stderr.matches("had vanished: somebody removed it").count(), 1, "{what}: {stderr}");
    let lost = metric(&scraped, "scraped_wal_samples_lost_total{reason=\"vanished\"}").unwrap();
    assert!(lost > 100.0, "{what}: {lost}");
    check_that_it_goes_on(scraped, &receiver, &[], 0);
}

#[test]
fn the_directory_of_the_log_is_removed() {
    removed("wal", |data| fs::remove_dir_all(data.join("wal")).unwrap());
}

#[test]
fn the_whole_data_directory_is_removed() {
    removed("all", |data| fs::remove_dir_all(data).unwrap());
}

#[test]
fn the_directory_is_replaced_by_another() {
    removed("other", |data| {
        fs::rename(data.join("wal"), data.with_extension("aside")).unwrap();
        fs::create_dir(data.join("wal")).unwrap();
    });
}

/// A place where no directory can be made again: a file has its name.
#[test]
fn what_cannot_be_made_again_is_counted_until_it_can() {
    let targets = FakeTargets::noisy(50);
    let receiver = Receiver::start();
    let text = config(&targets.address(), "/metrics", &receiver.url(), "name: main", "");
    let scraped = Scraped::start_with(&text.replace("500ms", "200ms"), &[ON_DISK]);
    wait_until("samples arrive", || n_arrived(&receiver) > 100);
    let wal_dir = scraped.data_dir().join("wal");
    fs::remove_dir_all(&wal_dir).unwrap();
    fs::write(&wal_dir, "").unwrap();
    await_notice(&scraped, "cannot be begun again");
    assert_eq!(metric(&scraped, "scraped_wal_unusable"), Some(1.0));
    let refused = || metric(&scraped, "scraped_wal_samples_lost_total{reason=\"write_failed\"}").unwrap();
    wait_until("new samples are counted", || refused() > 200.0);
    assert_eq!(scraped.get("/-/healthy").status, 200);
    fs::remove_file(&wal_dir).unwrap();
    await_ready(&scraped);
    let stderr = scraped.stderr();
    assert_eq!(stderr.matches("cannot be begun again").count(), 1, "{stderr}");
    check_that_it_goes_on(scraped, &receiver, &[], 0);
}

const SMALL: [&str; 3] = [
    "--storage.agent.wal-segment-size=1MB",
    "--wal.fsync-interval=1s",
    "--storage.remote.flush-deadline=20s",
];

/// Removes these segments while the endpoint is away: what it has not had is counted exactly, and what is left arrives.
fn remove_segments(which: &[u32]) {
    let targets = FakeTargets::noisy(3000);
    let away = free_address();
    let text =
        config(&targets.address(), "/metrics", &format!("http://{away}/api/v1/write"), "name: main", "");
    let scraped = Scraped::start_with(&text.replace("500ms", "100ms"), &[&[ON_DISK], &SMALL[..]].concat());
    let (data, _dir) = (scraped.data_dir(), scraped.dir());
    let path = |number: u32| data.join(format!("wal/{number:08}"));
    wait_for_long("three segments and one begun", || {
        fs::metadata(path(3)).is_ok_and(|it| it.len() > 100_000)
    });
    which.iter().for_each(|number| fs::remove_file(path(*number)).unwrap());
    await_notice(&scraped, "vanished");
    await_ready(&scraped);
    let sections = text.split_once("remote_write:").unwrap().1;
    scraped.reload_with(&format!("remote_write:{sections}"));
    wait_until("the reload", || scraped.stderr().contains("configuration loaded"));
    let receiver = Receiver::start_on(&away);
    wait_until_accounted(&scraped, &receiver, 0);
    assert!(given_up(&scraped) > 3000.0 && n_arrived(&receiver) > 3000, "{which:?}");
    wait_until_sent(&data, &receiver);
    receiver.check();
    assert!(scraped.stop().success());
    check_log(&data);
}

#[test]
fn the_first_segment_is_removed_and_the_rest_arrives() {
    remove_segments(&[0]);
}

#[test]
fn a_segment_in_the_middle_is_removed_and_the_rest_arrives() {
    remove_segments(&[1]);
}

#[test]
fn every_other_segment_is_removed_and_the_rest_arrives() {
    remove_segments(&[0, 2]);
}

#[test]
fn the_newest_segment_is_removed_and_the_rest_arrives() {
    remove_segments(&[3]);
}

#[test]
fn the_newest_and_another_segment_are_removed_and_the_rest_arrives() {
    remove_segments(&[1, 3]);
}

fn run(command: &str, arguments: &[&str]) -> bool {
    Command::new(command).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// A disk in a file, with a file system that becomes read-only at the first error.
struct Disk {
    image: tempfile::NamedTempFile,
    dir: Arc<TempDir>,
}

impl Disk {
    fn mount() -> Option<Disk> {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(32 << 20).unwrap();
        let disk = Disk { image, dir: Arc::new(TempDir::with_prefix("scraped-test-").unwrap()) };
        let is_there = run("mkfs.ext4", &["-q", &disk.image()]) && disk.mount_again();
        if !is_there {
            println!("no file system can be mounted here: nothing was tested");
        }
        is_there.then_some(disk)
    }

    fn image(&self) -> String {
        self.image.path().display().to_string()
    }

    fn place(&self) -> String {
        self.dir.path().display().to_string()
    }

    fn mount_again(&self) -> bool {
        // A loop device of its own: with the old one the kernel would find the old, broken file system again.
        let found = Command::new("losetup").args(["--find", "--show", &self.image()]).output();
        let device = found.map(|found| String::from_utf8_lossy(&found.stdout).trim().to_owned());
        let device = device.unwrap_or_default();
        !device.is_empty() && run("mount", &["-o", "errors=remount-ro", &device, &self.place()])
    }

    fn fail(&self) -> bool {
        let source = Command::new("findmnt").args(["-no", "SOURCE", &self.place()]).output().unwrap().stdout;
        let device = String::from_utf8(source).unwrap().trim().trim_start_matches("/dev/").to_owned();
        run("sync", &["-f", &self.place()]);
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").is_ok()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        while run("umount", &["-l", &self.place()]) {}
        let list = Command::new("losetup").args(["-j", &self.image()]).output();
        for line in String::from_utf8_lossy(&list.map(|list| list.stdout).unwrap_or_default()).lines() {
            run("losetup", &["-d", line.split(':').next().unwrap_or_default()]);
        }
    }
}

#[test]
fn a_disk_becomes_read_only_and_is_mounted_again() {
    let Some(disk) = Disk::mount() else { return };
    let targets = FakeTargets::noisy(50);
    let receiver = Receiver::start();
    let text = config(&targets.address(), "/metrics", &receiver.url(), "name: main", "");
    fs::write(disk.dir.path().join("scraped.yml"), text.replace("500ms", "200ms")).unwrap();
    let scraped = Scraped::start_in(Arc::clone(&disk.dir), &[ON_DISK]);
    wait_until("samples arrive", || n_arrived(&receiver) > 100);
    if !disk.fail() {
        println!("no error can be made here: nothing was tested");
        return;
    }
    await_notice(&scraped, "Read-only file system");
    let refused = || metric(&scraped, "scraped_wal_samples_lost_total{reason=\"write_failed\"}").unwrap();
    wait_until("new samples are counted", || refused() > 200.0);
    // The one who minds the box mends it; the daemon still has files open on the old mount.
    assert!(run("umount", &["-l", &disk.place()]));
    assert!(run("e2fsck", &["-fy", &disk.image()]) || run("e2fsck", &["-fy", &disk.image()]));
    assert!(disk.mount_again());
    await_ready(&scraped);
    check_that_it_goes_on(scraped, &receiver, &[], 0);
}

/// The disk is away long enough for the log to be begun again in the mount point, and then it is back.
#[test]
fn a_disk_is_away_for_a_while_and_comes_back_with_what_it_had() {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    let disk = TempDir::with_prefix("scraped-test-").unwrap();
    let (place, source) = (dir.path().display().to_string(), disk.path().display().to_string());
    if !run("mount", &["--bind", &source, &place]) {
        println!("nothing can be mounted here: nothing was tested");
        return;
    }
    let targets = FakeTargets::noisy(50);
    let receiver = Receiver::start();
    let text = config(&targets.address(), "/metrics", &receiver.url(), "name: main", "");
    fs::write(dir.path().join("scraped.yml"), text.replace("500ms", "200ms")).unwrap();
    let scraped = Scraped::start_in(Arc::clone(&dir), &[ON_DISK]);
    wait_until("samples arrive", || n_arrived(&receiver) > 100);
    let data = scraped.data_dir();
    wait_until("the position is saved", || fs::read_dir(data.join("remote")).unwrap().count() == 2);
    assert!(run("umount", &["-l", &place]));
    wait_until("the log is begun again in the mount point", || data.join("wal/00000001").exists());
    let before = n_arrived(&receiver);
    wait_until("samples arrive", || n_arrived(&receiver) > before + 100);
    assert!(run("mount", &["--bind", &source, &place]));
    wait_until("what was there is back", || {
        scraped.stderr().contains("segments that had vanished before are back")
    });
    await_ready(&scraped);
    wait_until("positions are written there", || scraped.stderr().contains("went away or came back"));
    let numbers = || -> Vec<bool> { (0..3).map(|n| data.join(format!("wal/{n:08}")).exists()).collect() };
    assert_eq!(numbers(), [true; 3]);
    // What was on its way when the disk went is counted, and comes back to be queried only.
    let n_given_up = given_up(&scraped) as usize;
    check_that_it_goes_on(scraped, &receiver, &[], n_given_up);
    assert_eq!(numbers(), [true; 3]);
    while run("umount", &["-l", &place]) {}
}

/// Another file system, which cannot be written, is mounted over the directory, and taken away again.
#[test]
fn a_read_only_file_system_is_mounted_over_it() {
    let targets = FakeTargets::noisy(50);
    let receiver = Receiver::start();
    let text = config(&targets.address(), "/metrics", &receiver.url(), "name: main", "");
    let scraped = Scraped::start_with(&text.replace("500ms", "200ms"), &[ON_DISK]);
    wait_until("samples arrive", || n_arrived(&receiver) > 100);
    let data = scraped.data_dir().display().to_string();
    if !run("mount", &["-t", "tmpfs", "-o", "ro", "none", &data]) {
        println!("no tmpfs can be mounted here: nothing was tested");
        return;
    }
    await_notice(&scraped, "Read-only file system");
    let refused = || metric(&scraped, "scraped_wal_samples_lost_total{reason=\"write_failed\"}").unwrap();
    wait_until("new samples are counted", || refused() > 200.0);
    assert!(run("umount", &[&data]));
    await_ready(&scraped);
    check_that_it_goes_on(scraped, &receiver, &[], 0);
}
