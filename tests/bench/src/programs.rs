//! Programs that are measured: how each is started, and what the system knows about it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A way to run a program.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// What it is called on the command line and in the table.
    pub name: &'static str,
    /// What is special about it.
    pub about: &'static str,
    kind: Kind,
    is_v2: bool,
    /// `queue_config`, in YAML; empty: the default.
    queue: &'static str,
    /// Of the log; `None`: the default.
    compression: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scraped,
    Prometheus,
    VmagentZstd,
    VmagentSnappy,
}

const fn program(name: &'static str, about: &'static str, kind: Kind) -> Program {
    Program { name, about, kind, is_v2: false, queue: "", compression: None }
}

/// All of them.
pub const PROGRAMS: &[Program] = &[
    program("scraped", "remote write 1.0, log with its default compression", Kind::Scraped),
    Program {
        is_v2: true,
        compression: Some("zstd"),
        ..program("scraped-2", "remote write 2.0, log with zstd", Kind::Scraped)
    },
    Program {
        is_v2: true,
        queue: "{max_samples_per_send: 10000, capacity: 50000}",
        compression: Some("zstd"),
        ..program("scraped-2-10k", "the same with max_samples_per_send: 10000", Kind::Scraped)
    },
    program("vmagent", "VictoriaMetrics' own protocol: 1.0 packed with zstd, its default", Kind::VmagentZstd),
    program("vmagent-snappy", "remote write 1.0 (-remoteWrite.forcePromProto)", Kind::VmagentSnappy),
    program("prometheus", "agent, remote write 1.0, log with snappy, its defaults", Kind::Prometheus),
    Program {
        is_v2: true,
        compression: Some("zstd"),
        ..program("prometheus-2", "agent, remote write 2.0, log with zstd", Kind::Prometheus)
    },
];

/// Where things are and what is scraped.
#[derive(Clone, Debug)]
pub struct Setup {
    pub scratch: PathBuf,
    pub scraped: PathBuf,
    pub peers: PathBuf,
    /// `scrape_configs` and what stands before it.
    pub scrape_config: String,
    pub receiver_port: u16,
}

/// A program that runs; dropping it kills it.
#[derive(Debug)]
pub struct Running {
    pub program: Program,
    child: Child,
    dir: PathBuf,
    clock: libc::clockid_t,
}

impl Program {
    /// The path it writes to.
    pub fn write_path(&self) -> String {
        format!("/write/{}", self.name)
    }

    /// The program's file.
    pub fn file(&self, setup: &Setup) -> PathBuf {
        match self.kind {
            Kind::Scraped => setup.scraped.clone(),
            Kind::Prometheus => setup.peers.join("prometheus"),
            Kind::VmagentZstd | Kind::VmagentSnappy => setup.peers.join("vmagent"),
        }
    }

    /// Starts it; its own page is on any free port.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self, setup: &Setup) -> io::Result<Running> {
        let dir = setup.scratch.join(self.name);
        fs::create_dir_all(&dir)?;
        let url = format!("http://127.0.0.1:{}{}", setup.receiver_port, self.write_path());
        let listen = "127.0.0.1:0";
        let config_file = dir.join("config.yml");
        let is_vmagent = matches!(self.kind, Kind::VmagentZstd | Kind::VmagentSnappy);
        let mut config = setup.scrape_config.clone();
        if !is_vmagent {
            config.push_str(&format!("remote_write:\n  - url: {url}\n"));
            if self.is_v2 {
                config.push_str("    protobuf_message: io.prometheus.write.v2.Request\n");
            }
            if !self.queue.is_empty() {
                config.push_str(&format!("    queue_config: {}\n", self.queue));
            }
        }
        fs::write(&config_file, config)?;
        let mut command = Command::new(self.file(setup));
        let shown = |path: &Path| path.display().to_string();
        let mut args = match self.kind {
            Kind::Scraped | Kind::Prometheus => vec![
                format!("--config.file={}", shown(&config_file)),
                format!("--storage.agent.path={}", shown(&dir.join("data"))),
                format!("--web.listen-address={listen}"),
                "--log.level=warn".to_owned(),
                "--agent".to_owned(),
            ],
            Kind::VmagentZstd | Kind::VmagentSnappy => vec![
                format!("-promscrape.config={}", shown(&config_file)),
                format!("-remoteWrite.url={url}"),
                format!("-remoteWrite.tmpDataPath={}", shown(&dir.join("data"))),
                format!("-httpListenAddr={listen}"),
            ],
        };
        if let Some(compression) = self.compression {
            args.push(format!("--storage.agent.wal-compression-type={compression}"));
        }
        if self.kind == Kind::VmagentSnappy {
            args.push("-remoteWrite.forcePromProto=true".to_owned());
        }
        let log = fs::File::create(dir.join("log"))?;
        let child = command.args(args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut clock = 0;
        // SAFETY: writes the one number it is given.
        let failed = unsafe { libc::clock_getcpuclockid(child.id() as libc::pid_t, &mut clock) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        Ok(Running { program: *self, child, dir, clock })
    }
}

impl Running {
    /// CPU time of all threads it has had, user and system.
    pub fn cpu(&self) -> Duration {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: writes the one struct it is given.
        unsafe { libc::clock_gettime(self.clock, &mut time) };
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    /// Resident bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Bytes of files under its data directory.
    pub fn disk_bytes(&self) -> u64 {
        bytes_under(&self.dir.join("data"))
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bytes_under(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_under(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
