//! The data directory: nobody else reads it, and file systems that lack something do not keep the daemon from running.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use support::remote::receiver::Receiver;
use support::remote::{config, wait_until_sent};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use tempfile::TempDir;

fn target() -> FakeTargets {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("a 1\nb 2\n")));
    targets
}

fn with_config(text: &str) -> Arc<TempDir> {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    fs::write(dir.path().join("scraped.yml"), text).unwrap();
    Arc::new(dir)
}

/// Every file and directory under `dir`, itself included, that others have rights on.
fn open_to_others(dir: &Path, found: &mut Vec<String>) {
    let mode = fs::symlink_metadata(dir).unwrap().permissions().mode();
    if mode & 0o077 != 0 {
        found.push(format!("{} {mode:o}", dir.display()));
    }
    if dir.is_dir() {
        fs::read_dir(dir).unwrap().for_each(|entry| open_to_others(&entry.unwrap().path(), found));
    }
}

fn check_modes(scraped: &Scraped) {
    let mut found = Vec::new();
    open_to_others(&scraped.data_dir(), &mut found);
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn files_are_for_this_user_alone_whoever_made_them() {
    let targets = target();
    let receiver = Receiver::start();
    let list = "[{\"targets\": [\"127.0.0.1:1\"], \"labels\": {\"secret\": \"x\"}}]";
    let text = config(&targets.address(), "/metrics", &receiver.url(), "name: main", "");
    let file_sd = "- job_name: listed\n  file_sd_configs:\n  - files: [list.json]\nremote_write:";
    let dir = with_config(&text.replace("remote_write:", file_sd));
    fs::write(dir.path().join("list.json"), list).unwrap();
    // A small segment, so that a checkpoint is made.
    let flags = ["--storage.agent.retention.min-time=0s", "--wal.fsync-interval=1s"];
    let scraped = Scraped::start_in(Arc::clone(&dir), &flags);
    let has = |path: &str| scraped.data_dir().join(path).exists();
    let has_any = |path: &str| fs::read_dir(scraped.data_dir().join(path)).is_ok_and(|dir| dir.count() > 0);
    wait_until("every kind of file", || {
        has("lock")
            && has("reserve")
            && has("wal/00000000")
            && has("remote/endpoints")
            && has_any("discovery")
    });
    wait_until_sent(&scraped.data_dir(), &receiver);
    check_modes(&scraped);
    assert!(!scraped.stderr().contains("other users"), "{}", scraped.stderr());
    assert!(scraped.stop().success());

    // As an earlier version, or Prometheus, has left it.
    let data = dir.path().join("data");
    for path in ["", "wal", "remote", "discovery", "wal/00000000", "remote/endpoints", "reserve"] {
        let path = data.join(path);
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    }
    let scraped = Scraped::start_in(Arc::clone(&dir), &flags);
    check_modes(&scraped);
    let stderr = scraped.stderr();
    assert!(stderr.contains("other users had rights on 7 of its files and directories"), "{stderr}");
    wait_until_sent(&scraped.data_dir(), &receiver);
    assert!(scraped.stop().success());
    let scraped = Scraped::start_in(dir, &flags);
    assert!(!scraped.stderr().contains("other users"), "said once: {}", scraped.stderr());
}

/// CIFS, Azure files and others: `fsync` of a directory is EINVAL, ENOTSUP or ENOSYS.
#[test]
fn a_file_system_that_cannot_sync_a_directory_is_mentioned_once() {
    let targets = target();
    for errno in [libc::EINVAL, libc::ENOTSUP, libc::ENOSYS] {
        let receiver = Receiver::start();
        let dir = with_config(&config(&targets.address(), "/metrics", &receiver.url(), "name: main", ""));
        // Files are written with fdatasync.
        let scraped = Scraped::start_denied(Arc::clone(&dir), &[], (libc::SYS_fsync, errno));
        wait_until("samples arrive", || !receiver.state().series.is_empty());
        wait_until_sent(&scraped.data_dir(), &receiver);
        wait_until("the position is saved", || {
            fs::read_dir(scraped.data_dir().join("remote"))
                .unwrap()
                .flatten()
                .any(|file| file.path().extension().is_some_and(|extension| extension == "position"))
        });
        let stderr = scraped.stderr();
        assert_eq!(stderr.matches("cannot sync a directory").count(), 1, "{stderr}");
        assert!(scraped.stop().success());
    }
}

/// A disk that answers every fsync of a file with EIO.
#[test]
fn a_disk_that_refuses_every_fsync_costs_no_sample_while_there_is_power() {
    let targets = target();
    let receiver = Receiver::start();
    let dir = with_config(&config(&targets.address(), "/metrics", &receiver.url(), "name: main", ""));
    let flags = ["--wal.fsync-interval=1s", "--storage.remote.flush-deadline=5s"];
    let scraped = Scraped::start_denied(Arc::clone(&dir), &flags, (libc::SYS_fdatasync, libc::EIO));
    wait_until("a new segment", || scraped.data_dir().join("wal/00000002").exists());
    wait_until_sent(&scraped.data_dir(), &receiver);
    let count = |name: &str| support::api::metric_sum(&scraped, name);
    assert!(count("scraped_wal_fsyncs_failed_total") >= 2.0);
    assert!(count("scraped_wal_samples_not_durable_total") >= 2.0);
    let stderr = scraped.stderr();
    assert!(stderr.contains("a loss of power may take its newest"), "{stderr}");
    scraped.stop();
    // The disk is mended: what it had is there, and the endpoint goes on.
    let scraped = Scraped::start_in(dir, &flags);
    wait_until_sent(&scraped.data_dir(), &receiver);
    receiver.check();
}
