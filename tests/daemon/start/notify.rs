//! What a supervisor hears by `NOTIFY_SOCKET`: ready, how things are, reloads, that all goes on, and the stop.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use support::remote::receiver::Receiver;
use support::remote::{config, n_arrived};
use support::scraped::Scraped;
use support::system::small_disk::HangingDisk;
use support::targets::{Behaviour, FakeTargets, page};
use support::{PATIENCE, pause, wait_for_long, wait_until};
use tempfile::TempDir;

/// A supervisor: the socket that the daemon gets.
struct Supervisor(UnixDatagram);

impl Supervisor {
    fn bind(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// The first message from now on that begins with `word`; all that comes before it is passed over.
    fn wait_for(&self, word: &str) -> String {
        let start = Instant::now();
        loop {
            match self.next() {
                Some(message) if message.starts_with(word) => return message,
                Some(_) => {}
                None => {
                    assert!(start.elapsed() < PATIENCE, "still waiting for {word}");
                    pause(start);
                }
            }
        }
    }

    /// The next message, if one is there.
    fn next(&self) -> Option<String> {
        let mut bytes = [0; 4096];
        self.0.recv(&mut bytes).ok().map(|n| String::from_utf8_lossy(&bytes[..n]).into_owned())
    }
}

fn now_us() -> u64 {
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    (uptime.split(' ').next().unwrap().parse::<f64>().unwrap() * 1e6) as u64
}

#[test]
fn it_hears_of_a_start_of_reloads_of_how_things_are_and_of_the_stop() {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    let supervisor = Supervisor::bind(&dir.path().join("notify"));
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("m 1\n")));
    let receiver = Receiver::start();
    let text = config(&targets.address(), "/metrics", &receiver.url(), "name: main", "");
    fs::write(dir.path().join("scraped.yml"), &text).unwrap();
    let socket = dir.path().join("notify");
    // A watchdog of 3 s is fed every second.
    let variables = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "3000000")];
    let scraped = Scraped::spawn_with(Arc::clone(&dir), &[], &variables);
    assert_eq!(supervisor.wait_for("READY"), "READY=1");
    // A figure that changes is told again.
    supervisor.wait_for("STATUS=1 of 1 targets up; main ");
    supervisor.wait_for("WATCHDOG=1");
    supervisor.wait_for("WATCHDOG=1");
    let before_us = now_us();
    scraped.signal("HUP");
    let reloading = supervisor.wait_for("RELOADING=1\n");
    let at_us: u64 = reloading.rsplit_once("MONOTONIC_USEC=").unwrap().1.parse().unwrap();
    assert!(at_us + 1_000_000 > before_us && at_us <= now_us() + 1_000_000, "{before_us} {reloading}");
    supervisor.wait_for("READY=1");
    // One that is refused has an end too.
    scraped.reload_with("scrape_configs: what\n");
    supervisor.wait_for("RELOADING=1\n");
    supervisor.wait_for("READY=1");
    scraped.write("scraped.yml", &text);
    targets.set("/metrics", Behaviour::Status(500));
    supervisor.wait_for("STATUS=0 of 1 targets up; main ");
    assert!(scraped.stop().success());
    supervisor.wait_for("STOPPING=1");
    assert!(n_arrived(&receiver) > 0);
}

/// The disk hangs: no scrape ends.
#[test]
fn a_daemon_whose_scrapes_stand_still_is_not_fed() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let Some(disk) = HangingDisk::mount(dir.path().join("data")) else { return };
    let supervisor = Supervisor::bind(&dir.path().join("notify"));
    let _targets = FakeTargets::scraped_by(dir.path());
    let socket = dir.path().join("notify");
    let variables = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "600000")];
    let scraped = Scraped::spawn_with(Arc::new(dir), &[], &variables);
    supervisor.wait_for("STATUS=1 of 1 targets up");
    supervisor.wait_for("WATCHDOG=1");
    disk.freeze();
    wait_for_long("it is said", || scraped.stderr().contains("the supervisor's watchdog is not fed until"));
    while supervisor.next().is_some() {}
    wait_until("it looks again", || scraped.get("/-/healthy").body.contains("no scrape of any target"));
    assert_eq!(supervisor.next(), None);
    disk.thaw();
    supervisor.wait_for("WATCHDOG=1");
    assert!(scraped.stop().success());
}

/// The service manager's own view, where systemd is.
#[test]
fn the_unit_is_valid_and_hardened() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/scraped.service");
    let analyze = |arguments: &[&str], unit: &Path| {
        let output = Command::new("systemd-analyze").args(arguments).arg(unit).output();
        let output = output.expect("systemd-analyze is missing (on Debian: apt-get install systemd)");
        (output.status.success(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let (is_hardened, said) = analyze(&["security", "--offline=true", "--threshold=15", "--no-pager"], &unit);
    assert!(is_hardened, "{said}");
    // With a program that is there.
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let content = fs::read_to_string(&unit).unwrap();
    let program = support::program().display().to_string();
    for name in ["scraped.service", "scraped.socket"] {
        let content = fs::read_to_string(unit.with_file_name(name)).unwrap();
        fs::write(dir.path().join(name), content.replace("/usr/local/bin/scraped", &program)).unwrap();
    }
    let (_, said) = analyze(&["verify", "--man=no"], &dir.path().join("scraped.service"));
    let (_, version) = analyze(&["--version"], Path::new(""));
    let version: u32 = version.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or_default();
    assert!(content.contains("\nType=notify-reload\n"));
    let is_ours = |line: &&str| line.contains("scraped");
    let is_known = |line: &&str| {
        version >= 253 || !line.ends_with("Failed to parse service type, ignoring: notify-reload")
    };
    let complaints: Vec<&str> = said.lines().filter(is_ours).filter(is_known).collect();
    assert!(complaints.is_empty(), "{said}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
