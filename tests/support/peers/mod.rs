//! Real peers as processes: found, started on a free port, asked by HTTP, killed when dropped.
//!
//! `scripts/peers` fetches them. Stands alone, so that any test may take it in by its path.

pub mod differential;
pub mod pages;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::{PATIENCE, pause};

/// What goes wrong on the way to a target, or on a busy machine. It says nothing of what the target answers.
const TROUBLE: [&str; 5] = ["deadline", "refused", "reset by peer", "broken pipe", "EOF"];

/// Whether the error of a scrape is one of the way, which the next scrape may not have.
pub fn is_trouble_on_the_way(error: &str) -> bool {
    TROUBLE.iter().any(|trouble| error.contains(trouble))
}

/// Somebody else may take the port between finding and using it, but not so often in a row.
const MAX_PORTS: usize = 3;

/// The program that the environment variable names, or the one that `scripts/peers` fetched.
pub fn program(name: &str, variable: &str) -> PathBuf {
    let path = match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => crate::repository().join("target/peers/bin").join(name),
    };
    assert!(path.is_file(), "{} is not there: run scripts/peers, or set {variable}=", path.display());
    path
}

/// `promtool`.
pub fn promtool() -> Command {
    Command::new(program("promtool", "PROMTOOL"))
}

/// A running peer with a web server.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Peer {
    /// `prometheus --agent` on a configuration, with its data in `dir`, taking over changed targets at once.
    pub fn agent(config: &Path, dir: &Path) -> Peer {
        Self::agent_with(config, dir, &[])
    }

    /// The same with more arguments.
    pub fn agent_with(config: &Path, dir: &Path, arguments: &[&str]) -> Peer {
        Self::start("prometheus", "PROMETHEUS", dir, "/-/ready", |address| {
            let mut all = vec![
                "--agent".to_owned(),
                format!("--config.file={}", config.display()),
                format!("--storage.agent.path={}", dir.display()),
                format!("--web.listen-address={address}"),
                "--web.enable-lifecycle".to_owned(),
                "--scrape.discovery-reload-interval=100ms".to_owned(),
            ];
            all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
            all
        })
    }

    /// `prometheus --agent` behind a `--web.config.file`; it is there as soon as it listens.
    pub fn locked_agent(config: &Path, dir: &Path, web_config: &Path) -> Peer {
        Self::start("prometheus", "PROMETHEUS", dir, "", |address| {
            vec![
                "--agent".to_owned(),
                format!("--config.file={}", config.display()),
                format!("--storage.agent.path={}", dir.display()),
                format!("--web.listen-address={address}"),
                format!("--web.config.file={}", web_config.display()),
            ]
        })
    }

    /// A `prometheus` that takes remote write, with this configuration and its data in `dir`.
    pub fn server(config: &str, dir: &Path, arguments: &[&str]) -> Peer {
        fs::create_dir_all(dir).expect("writable");
        let config_file = dir.join("prometheus.yml");
        fs::write(&config_file, config).expect("writable");
        Self::start("prometheus", "PROMETHEUS", dir, "/-/ready", |address| {
            let mut all = vec![
                format!("--config.file={}", config_file.display()),
                format!("--storage.tsdb.path={}", dir.join("tsdb").display()),
                format!("--web.listen-address={address}"),
                "--web.enable-remote-write-receiver".to_owned(),
            ];
            all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
            all
        })
    }

    /// A node_exporter with two small collectors.
    pub fn node_exporter(dir: &Path) -> Peer {
        Self::start("prometheus-node-exporter", "NODE_EXPORTER", dir, "/metrics", |address| {
            vec![
                format!("--web.listen-address={address}"),
                "--collector.disable-defaults".to_owned(),
                "--collector.loadavg".to_owned(),
                "--collector.uname".to_owned(),
            ]
        })
    }

    /// Starts a program with `arguments` made for its address and waits until `ready_path` answers 200, or until it listens
    /// if that is empty. Its log goes to `dir`.
    pub fn start(
        name: &str,
        variable: &str,
        dir: &Path,
        ready_path: &str,
        arguments: impl Fn(&str) -> Vec<String>,
    ) -> Peer {
        fs::create_dir_all(dir).expect("writable");
        for _ in 0..MAX_PORTS {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = listener.local_addr().expect("a bound socket").to_string();
            drop(listener);
            let log = dir.join(format!("{name}.log"));
            let child = Command::new(program(name, variable))
                .args(arguments(&address))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(&log).expect("writable"))
                .spawn()
                .expect("the program can be started");
            let mut peer = Peer { child, address, log };
            if peer.becomes_ready(ready_path) {
                return peer;
            }
        }
        panic!("{name} found {MAX_PORTS} ports in use");
    }

    /// False if its port was taken.
    fn becomes_ready(&mut self, ready_path: &str) -> bool {
        let start = Instant::now();
        let is_ready = |peer: &Self| match ready_path {
            "" => TcpStream::connect(&peer.address).is_ok(),
            path => peer.try_request("GET", path).is_some_and(|(status, _)| status == 200),
        };
        while !is_ready(self) {
            if self.child.try_wait().expect("a child").is_some() {
                let log = self.log();
                assert!(log.contains("address already in use"), "it ended:\n{log}");
                return false;
            }
            assert!(start.elapsed() < PATIENCE, "not ready after {PATIENCE:?}:\n{}", self.log());
            pause(start);
        }
        true
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it wrote on standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The body of a page that must be there.
    pub fn get(&self, path: &str) -> String {
        let (status, body) = self.try_request("GET", path).expect("it answers");
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// Status and body of any request.
    pub fn request(&self, method: &str, path: &str) -> (u16, String) {
        self.try_request(method, path)
            .unwrap_or_else(|| panic!("no answer to {method} {path}:\n{}", self.log()))
    }

    /// Ends it as a service manager would and waits for that.
    pub fn stop(mut self) {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().expect("kill runs");
        assert!(kill.success());
        let status = self.child.wait().expect("a child");
        assert!(status.success(), "{}", self.log());
    }

    /// Status and body; HTTP/1.0, so that the body is in one piece and ends with the connection.
    fn try_request(&self, method: &str, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Length: 0\r\n\r\n", self.address)
            .ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
