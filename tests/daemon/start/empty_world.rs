//! A box with nothing on it: no `/etc`, `/proc`, `/sys`, `/tmp`, `/dev`, no certificates, a user without a name, a root that
//! cannot be written, nothing at the other end of the standard streams. What is missing is named once, where it matters.
//!
//! Needs root, for a root directory of its own.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use support::command::finish;
use support::scraped::{ask, free_address};
use support::system::empty_root::EmptyRoot;
use support::targets::{Behaviour, FakeTargets, page};
use support::{PATIENCE, pause, wait_until};

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(address: &str, path: &str) -> String {
    ask(address, "GET", path).map(|answer| answer.body).unwrap_or_default()
}

fn start(root: &EmptyRoot, redirections: &str, address: &str, arguments: &[&str]) -> Running {
    let mut command = root.command(redirections);
    command
        .args([
            "--config.file=/scraped.yml",
            "--storage.agent.path=/data",
            "--storage.remote.flush-deadline=1s",
            // To be seen on the disk.
            "--storage.agent.memory-first=off",
        ])
        .arg(format!("--web.listen-address={address}"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(root.path().join("stderr")).unwrap());
    let mut running = Running(command.spawn().expect("unshare runs"));
    let log = || fs::read_to_string(root.path().join("stderr")).unwrap_or_default();
    let begun_at = Instant::now();
    while ask(address, "GET", "/-/ready").is_none_or(|answer| answer.status != 200) {
        if let Some(status) = running.0.try_wait().expect("a child") {
            panic!("it ended, {status}: {}", log());
        }
        assert!(begun_at.elapsed() < PATIENCE, "it is not ready: {}", log());
        pause(begun_at);
    }
    running
}

#[test]
fn it_runs_in_an_empty_root_and_names_each_absence_once() {
    let root = EmptyRoot::new();
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("m 1\n")));
    root.write(
        "scraped.yml",
        &format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
             scrape_configs:\n\
             - job_name: fake\n  static_configs: [{{targets: ['{0}']}}]\n\
             - job_name: tls\n  scheme: https\n  static_configs: [{{targets: ['{0}']}}]\n\
             - job_name: named\n  static_configs: [{{targets: ['box.example:9100', 'other.example:9100']}}]\n\
             remote_write: [{{url: 'https://127.0.0.1:9/write', name: main}}]\n",
            targets.address()
        ),
    );
    let address = free_address();
    let running = start(&root, "", &address, &[]);
    let targets_page = || get(&address, "/api/v1/targets");
    wait_until("a target is up", || targets_page().contains("\"health\":\"up\""));
    wait_until("what is missing is on the page", || {
        let page = targets_page();
        page.contains("no certificates of authorities found there") && page.contains("lookup box.example")
    });
    wait_until("samples are on disk", || {
        root.path().join("data/wal/00000000").metadata().is_ok_and(|it| it.len() > 2000)
    });
    for path in ["/", "/targets", "/status", "/storage", "/metrics", "/graph", "/api/v1/status/runtimeinfo"] {
        assert!(!get(&address, path).is_empty(), "{path}");
    }
    let log = || fs::read_to_string(root.path().join("stderr")).unwrap();
    wait_until("the endpoint's is said", || log().contains("SSL_CERT_DIR"));
    let log = log();
    for absence in ["no /proc is mounted", "/etc/resolv.conf cannot be read", "remote_write main: Post"] {
        assert_eq!(log.matches(absence).count(), 1, "{absence}: {log}");
    }
    assert!(!log.contains("ERROR") && !log.contains("panic"), "{log}");
    // Its first file shows that nothing else can be written.
    assert!(!root.path().join("tmp").exists() && !root.path().join("proc").exists());
    drop(running);
}

#[test]
fn it_runs_with_its_standard_streams_closed_and_writes_no_line_into_a_file() {
    let root = EmptyRoot::new();
    root.write(
        "scraped.yml",
        "scrape_configs: [{job_name: away, static_configs: [{targets: ['127.0.0.1:9']}]}]\n",
    );
    let address = free_address();
    let running = start(&root, "<&- >&- 2>&-", &address, &["--log.level=debug"]);
    wait_until("it scrapes", || get(&address, "/api/v1/targets").contains("\"health\":\"down\""));
    drop(running);
    let segment = fs::read(root.path().join("data/wal/00000000")).unwrap();
    assert!(!segment.windows(6).any(|bytes| bytes == b"level="));
    assert_eq!(fs::read_to_string(root.path().join("stderr")).unwrap(), "");
    // A sub-command has nowhere to say anything, and ends.
    let mut command = root.command("<&- >&- 2>&-");
    assert!(finish(command.arg("--version")).code.is_some());
}

/// The log daemon's socket is all that there is besides.
#[test]
fn the_systems_log_daemon_gets_the_log() {
    let root = EmptyRoot::new();
    root.write("scraped.yml", "scrape_configs: []\n");
    fs::create_dir(root.path().join("dev")).unwrap();
    let socket = root.path().join("dev/log");
    let daemon = UnixDatagram::bind(&socket).unwrap();
    let is_open = Command::new("chmod").arg("666").arg(&socket).status();
    assert!(is_open.unwrap().success());
    let address = free_address();
    let running = start(&root, "", &address, &["--log.syslog"]);
    let mut bytes = [0; 4096];
    let n = daemon.recv(&mut bytes).unwrap();
    let line = String::from_utf8_lossy(&bytes[..n]).into_owned();
    assert!(line.starts_with("<30>scraped[") && line.contains("]: level=INFO source=daemon"), "{line}");
    assert!(!line.ends_with('\n') && !line.contains("time="), "{line}");
    drop(running);
    assert_eq!(fs::read_to_string(root.path().join("stderr")).unwrap(), "");
}
