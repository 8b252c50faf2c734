//! The real `promtool` and `prometheus` on a copy of a log.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Answer, copy_dir, normal};

/// How long a server may take to read a small log.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program that the environment variable names, or the one that `scripts/peers` fetched.
pub fn program(name: &str, variable: &str) -> PathBuf {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/bin").join(name),
    };
    assert!(path.is_file(), "{} is not there: run scripts/peers, or set {variable}=", path.display());
    path
}

/// A copy of `wal/` as a server's data directory.
fn copy(dir: &Path) -> TempDir {
    let copy = TempDir::with_prefix("scraped-test-").expect("a directory");
    copy_dir(&dir.join("wal"), &copy.path().join("wal"));
    copy
}

/// What `promtool tsdb dump` says of a copy; it must exit 0.
pub fn dump(dir: &Path) -> Answer {
    let copy = copy(dir);
    let output = Command::new(program("promtool", "PROMTOOL"))
        .args(["tsdb", "dump", "--sandbox-dir-root"])
        .arg(copy.path())
        .arg(copy.path())
        .output()
        .expect("promtool runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool tsdb dump: {stderr}");
    let mut answer = Answer::new();
    for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
        // {__name__="up", job="x"} 1 1700000000000
        let (line, ts_ms) = line.rsplit_once(' ').expect("a time");
        let (series, value) = line.rsplit_once(' ').expect("a value");
        // A histogram is printed in braces, with blanks.
        if value.parse::<f64>().is_err() {
            continue;
        }
        let sample = (ts_ms.parse().expect("a time"), normal(value));
        answer.entry(series.to_owned()).or_default().push(sample);
    }
    for samples in answer.values_mut() {
        samples.sort();
    }
    answer
}

/// Runs a real agent on the directory itself until it has scraped itself, and stops it; returns what it said.
pub fn run_agent(dir: &Path) -> String {
    let config = TempDir::with_prefix("scraped-test-").expect("a directory");
    let address = free_address();
    let file = config.path().join("prometheus.yml");
    let yaml = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs: [{{job_name: itself, static_configs: [{{targets: [{address:?}]}}]}}]\n"
    );
    fs::write(&file, yaml).expect("writable");
    let log_path = config.path().join("log");
    let mut child = Command::new(program("prometheus", "PROMETHEUS"))
        .arg("--agent")
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.agent.path={}", dir.display()))
        .arg(format!("--web.listen-address={address}"))
        .arg("--scrape.discovery-reload-interval=1s")
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log_path).expect("writable"))
        .spawn()
        .expect("prometheus runs");
    let log = || fs::read_to_string(&log_path).unwrap_or_default();
    let start = Instant::now();
    let has_scraped = || {
        let (_, page) = get(&address, "/metrics")?;
        let line = page
            .lines()
            .find(|line| line.starts_with("prometheus_agent_samples_appended_total{type=\"float\"}"))?;
        line.rsplit(' ').next()?.parse::<f64>().ok().filter(|samples| *samples > 0.0)
    };
    while has_scraped().is_none() {
        assert!(child.try_wait().expect("a state").is_none(), "prometheus ended: {}", log());
        assert!(start.elapsed() < PATIENCE, "prometheus does not scrape: {}", log());
        thread::sleep(Duration::from_millis(50));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs").success());
    assert!(child.wait().expect("a state").success(), "{}", log());
    log()
}

fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

fn get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// A real server on a copy of a log. Dropping it kills it.
pub struct Server {
    child: Child,
    dir: TempDir,
    address: String,
}

impl Server {
    /// Starts a server on a copy of `wal/` and waits until it is ready.
    pub fn start(dir: &Path) -> Server {
        let copy = copy(dir);
        let address = free_address();
        fs::write(copy.path().join("prometheus.yml"), "{}").expect("writable");
        let log = fs::File::create(copy.path().join("log")).expect("writable");
        let child = Command::new(program("prometheus", "PROMETHEUS"))
            .arg(format!("--config.file={}", copy.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", copy.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--storage.tsdb.retention.time=100y")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus runs");
        let mut server = Server { child, dir: copy, address };
        let start = Instant::now();
        while server.get("/-/ready").is_none_or(|(status, _)| status != 200) {
            let ended = server.child.try_wait().expect("a state");
            assert!(ended.is_none(), "prometheus ended: {}", server.log());
            assert!(start.elapsed() < PATIENCE, "prometheus is not ready: {}", server.log());
            thread::sleep(Duration::from_millis(50));
        }
        server
    }

    /// What the server wrote on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// All samples of the series that `selector` finds, staleness markers left out as PromQL does.
    pub fn ask(&self, selector: &str, at_ms: i64) -> Answer {
        let query = format!("{selector}[30d]");
        let path = format!("/api/v1/query?query={}&time={}", percent(&query), at_ms / 1000 + 1);
        let (status, body) = self.get(&path).expect("an answer");
        assert_eq!(status, 200, "{body}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let mut answer = Answer::new();
        for row in body["data"]["result"].as_array().expect("a list") {
            let metric = row["metric"].as_object().expect("labels");
            let labels = scraped::labels::Labels::from_pairs(
                metric.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("text"))),
            );
            let samples = row["values"].as_array().expect("a list").iter().map(|pair| {
                let seconds = pair[0].as_f64().expect("a time");
                ((seconds * 1000.0).round() as i64, normal(pair[1].as_str().expect("a value")))
            });
            answer.insert(labels.to_string(), samples.collect());
        }
        answer
    }

    fn get(&self, path: &str) -> Option<(u16, String)> {
        get(&self.address, path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(
            |byte| {
                if byte.is_ascii_alphanumeric() {
                    char::from(byte).to_string()
                } else {
                    format!("%{byte:02X}")
                }
            },
        )
        .collect()
}
