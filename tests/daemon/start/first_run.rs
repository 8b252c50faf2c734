//! A start without a configuration, in a network where nothing but loopback is: exporters are found, scraped and written down.

use std::fs;
use std::process::{Child, Command, Stdio};

use support::scraped::{Answer, ask_with};
use support::system::own_network::{Files, runs_elsewhere};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use tempfile::TempDir;

const FILES: Files<'_> = Files { resolv_conf: "", hosts: "" };
const WEB: &str = "127.0.0.1:19090";

/// The daemon in a directory, its error output in a file there.
struct Run {
    child: Child,
}

impl Run {
    fn start(dir: &TempDir) -> Self {
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(support::program())
            .args(["run", "--web.listen-address=127.0.0.1:19090"])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child }
    }

    fn targets() -> String {
        let answer: Option<Answer> = ask_with(WEB, "GET", "/api/v1/targets", "Host: localhost\r\n");
        answer.map(|answer| answer.body).unwrap_or_default()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn exporters_of_this_machine_are_found_and_written_down() {
    if runs_elsewhere(module_path!(), "exporters_of_this_machine_are_found_and_written_down", &FILES) {
        return;
    }
    let node = FakeTargets::start_on("127.0.0.1:9100");
    node.set("/metrics", Behaviour::Healthy(page("# TYPE node_a gauge\nnode_a 1\n")));
    let other = FakeTargets::start_on("127.0.0.1:8080");
    other.set("/metrics", Behaviour::Healthy(page("<html>hello</html>\n")));
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let file = dir.path().join("prometheus.yml");
    let run = Run::start(&dir);
    wait_until("both targets are up", || Run::targets().matches("\"health\":\"up\"").count() == 2);
    let written = fs::read_to_string(&file).unwrap();
    for job in [
        "  - job_name: scraped\n    static_configs:\n      - targets: ['127.0.0.1:19090']\n",
        "  - job_name: node\n    static_configs:\n      - targets: ['127.0.0.1:9100']\n",
    ] {
        assert!(written.contains(job), "{written}");
    }
    assert_eq!(written.matches("job_name").count(), 2, "{written}");
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    for line in [
        "no configuration file at prometheus.yml: looking for exporters on 34 well-known ports of 127.0.0.1",
        "exporters that answer: node (127.0.0.1:9100)",
        "beside these the daemon scrapes itself (127.0.0.1:19090)",
        "prometheus.yml is written and yours to keep; add remote_write there to send samples on",
    ] {
        assert!(log.contains(line), "{log}");
    }
    drop(run);
    // It is the owner's: the next start reads it and looks for nothing.
    fs::write(&file, "scrape_configs: [{job_name: mine, static_configs: [{targets: ['127.0.0.1:9100']}]}]\n")
        .unwrap();
    let _run = Run::start(&dir);
    wait_until("the target is there", || Run::targets().contains("\"job\":\"mine\""));
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("looking for exporters"), "{log}");
    assert!(fs::read_to_string(&file).unwrap().contains("mine"));
}

#[test]
fn where_nothing_can_be_written_there_is_a_sentence() {
    if runs_elsewhere(module_path!(), "where_nothing_can_be_written_there_is_a_sentence", &FILES) {
        return;
    }
    let mut command = Command::new(support::program());
    command.args(["--web.listen-address=127.0.0.1:0"]).current_dir("/proc");
    let finished = support::command::finish(&mut command);
    assert_eq!(finished.code, Some(1));
    let sentence = "no configuration file at prometheus.yml, and none can be written there: ";
    assert!(finished.stderr.contains(sentence), "{}", finished.stderr);
}

#[test]
fn where_the_port_is_taken_no_file_is_left_behind() {
    if runs_elsewhere(module_path!(), "where_the_port_is_taken_no_file_is_left_behind", &FILES) {
        return;
    }
    let _other = FakeTargets::start_on(WEB);
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let mut command = Command::new(support::program());
    command.arg(format!("--web.listen-address={WEB}")).current_dir(dir.path());
    let finished = support::command::finish(&mut command);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains(WEB), "{}", finished.stderr);
    assert!(fs::read_dir(dir.path()).unwrap().next().is_none(), "{}", finished.stderr);
}
