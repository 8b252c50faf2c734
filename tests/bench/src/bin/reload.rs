//! What a reload with thousands of targets in files costs, and what live loops notice of it.
//!
//! `reload --scraped PROGRAM --scratch DIR [--targets N,N] [--jobs N,N] [--rounds N]` starts `scraped` with so many
//! targets that refuse connections, in as many files as there are jobs, and two loops that are scraped every second:
//! `live` in a job that never changes, `kept` in one that does. A round is a reload that changes the timeout of every
//! target, then a new target in a file. Printed are medians and, in brackets, the most.
//!
//! - `reload`: POST to `/-/reload` until its answer: all pools are synced and the scheduler has every change.
//! - `sync`: the sum of `prometheus_target_sync_length_seconds` over all jobs for the new target's sync.
//! - `first scrape`: from the file in its place to the new target's first request.
//! - of both loops the most that a request was off its grid, and how many requests were missing or too many.
//!
//! Fails if a limit of the project is broken: 300 ms a reload and 1 s to the first scrape with 10 000 targets, and live
//! loops that lose no scrape and get none too many.

use scraped_bench::http::read_head;
use std::collections::HashMap;
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Of the two loops that are watched.
const INTERVAL: Duration = Duration::from_secs(1);

/// What may be taken from the median phase by chance.
const EARLY_MS: f64 = 100.0;

/// A change that comes sooner after another one may wait for the tick of discovery, as in Prometheus.
const QUIET: Duration = Duration::from_secs(6);

const PATIENCE: Duration = Duration::from_secs(120);

const LIMIT_TARGETS: usize = 10_000;
const RELOAD_LIMIT: Duration = Duration::from_millis(300);
const FIRST_SCRAPE_LIMIT: Duration = Duration::from_secs(1);

/// When each path was asked for.
type Requests = Arc<Mutex<HashMap<String, Vec<Instant>>>>;

struct Args {
    scraped: PathBuf,
    scratch: PathBuf,
    targets: Vec<usize>,
    jobs: Vec<usize>,
    rounds: usize,
}

fn args() -> Args {
    let mut args = Args {
        scraped: PathBuf::new(),
        scratch: PathBuf::new(),
        targets: vec![1000, LIMIT_TARGETS, 30_000],
        jobs: vec![1, 10, 100],
        rounds: 5,
    };
    let mut words = std::env::args().skip(1);
    let numbers = |text: &str| text.split(',').map(|it| it.parse().expect("numbers")).collect::<Vec<usize>>();
    while let Some(name) = words.next() {
        let value = words.next().unwrap_or_else(|| panic!("{name} has no value"));
        match name.as_str() {
            "--scraped" => args.scraped = value.into(),
            "--scratch" => args.scratch = value.into(),
            "--targets" => args.targets = numbers(&value),
            "--jobs" => args.jobs = numbers(&value),
            "--rounds" => args.rounds = value.parse().expect("--rounds is a number"),
            _ => panic!("{name} is not known"),
        }
    }
    args
}

fn main() -> ExitCode {
    let args = args();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let requests = Requests::default();
    let served = Arc::clone(&requests);
    std::thread::spawn(move || serve(&listener, &served));
    println!(
        "targets jobs  reload ms       sync ms         first scrape ms  off the grid ms (missing or too many)"
    );
    let mut is_within_limits = true;
    for &n_targets in &args.targets {
        for &n_jobs in &args.jobs {
            let bench = Bench::start(&args, n_targets, n_jobs, &address, &requests);
            let (mut reloads, mut syncs, mut first_scrapes) = (Vec::new(), Vec::new(), Vec::new());
            for round in 0..args.rounds {
                sleep(QUIET);
                reloads.push(bench.reload(round));
                sleep(QUIET);
                let (sync, first_scrape) = bench.add_target(round);
                syncs.push(sync);
                first_scrapes.push(first_scrape);
            }
            let (live, kept) = (off_grid(&requests, "/live"), off_grid(&requests, "/kept"));
            println!(
                "{n_targets:>7} {n_jobs:>4}  {:<15} {:<15} {:<16} live {:.1} ({}), kept {:.1} ({})",
                shown(&mut reloads),
                shown(&mut syncs),
                shown(&mut first_scrapes),
                live.0,
                live.1,
                kept.0,
                kept.1
            );
            is_within_limits &= live.1 + kept.1 == 0;
            if n_targets == LIMIT_TARGETS {
                is_within_limits &= median(&mut reloads) <= RELOAD_LIMIT;
                is_within_limits &= median(&mut first_scrapes) <= FIRST_SCRAPE_LIMIT;
            }
        }
    }
    if is_within_limits {
        return ExitCode::SUCCESS;
    }
    println!(
        "MORE THAN {RELOAD_LIMIT:?} a reload or {FIRST_SCRAPE_LIMIT:?} to the first scrape with {LIMIT_TARGETS} targets, or a scrape missing or too many"
    );
    ExitCode::FAILURE
}

fn median(durations: &mut [Duration]) -> Duration {
    durations.sort();
    durations[durations.len() / 2]
}

fn shown(durations: &mut [Duration]) -> String {
    let median = median(durations);
    let most = durations.last().copied().unwrap_or_default();
    format!("{:.0} ({:.0})", median.as_secs_f64() * 1e3, most.as_secs_f64() * 1e3)
}

/// How far the requests were from a grid through their median phase, and how many there were too few or too many. The
/// first one may come off it.
fn off_grid(requests: &Requests, path: &str) -> (f64, u64) {
    let times = requests.lock().expect("lock").get(path).cloned().unwrap_or_default();
    let (&start, times) = times.split_first().unwrap_or_else(|| panic!("{path} is never scraped"));
    let interval_ms = INTERVAL.as_secs_f64() * 1e3;
    let at_ms: Vec<f64> = times.iter().map(|it| (*it - start).as_secs_f64() * 1e3).collect();
    let mut phases: Vec<f64> = at_ms.iter().map(|it| it.rem_euclid(interval_ms)).collect();
    phases.sort_by(f64::total_cmp);
    let phase = phases[phases.len() / 2];
    // A busy machine makes them late, nothing makes them early.
    let slots = at_ms.iter().map(|it| ((it - phase + EARLY_MS) / interval_ms).floor());
    let most = at_ms
        .iter()
        .zip(slots.clone())
        .map(|(at, slot)| (at - phase - slot * interval_ms).abs())
        .fold(0.0, f64::max);
    let slots: Vec<i64> = slots.map(|it| it as i64).collect();
    (most, slots.windows(2).map(|pair| (pair[1] - pair[0] - 1).unsigned_abs()).sum())
}

struct Bench {
    child: Child,
    dir: PathBuf,
    address: String,
    requests: Requests,
    web: String,
    n_jobs: usize,
}

impl Bench {
    fn start(args: &Args, n_targets: usize, n_jobs: usize, address: &str, requests: &Requests) -> Self {
        let dir = args.scratch.join(format!("{n_targets}-{n_jobs}"));
        let targets = dir.join("targets");
        fs::create_dir_all(&targets).expect("a directory");
        for job in 0..n_jobs {
            let mine = (job..n_targets).step_by(n_jobs);
            let listed: Vec<String> =
                mine.map(|n| format!("127.{}.{}.{}:1", 1 + n / 62_500, n / 250 % 250, n % 250 + 1)).collect();
            let group = format!("[{{\"targets\": {listed:?}, \"labels\": {{\"job_number\": \"{job}\"}}}}]\n");
            fs::write(targets.join(format!("{job}.json")), group).expect("a file");
        }
        let kept = format!(
            "[{{\"targets\": [\"{address}\"], \"labels\": {{\"__metrics_path__\": \"/kept\", \"__scrape_interval__\": \"1s\", \"__scrape_timeout__\": \"1s\"}}}}]"
        );
        fs::write(targets.join("0-kept.json"), kept).expect("a file");
        requests.lock().expect("lock").clear();
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|it| it.local_addr()).expect("a port").port();
        let web = format!("127.0.0.1:{port}");
        let mut bench = Self {
            child: Command::new("true").spawn().expect("a process"),
            dir,
            address: address.to_owned(),
            requests: Arc::clone(requests),
            web,
            n_jobs,
        };
        bench.write_config(usize::MAX);
        let log = fs::File::create(bench.dir.join("log")).expect("a file");
        bench.child.wait().expect("it ended");
        bench.child = Command::new(&args.scraped)
            .arg(format!("--config.file={}", bench.dir.join("scraped.yml").display()))
            .arg(format!("--storage.agent.path={}", bench.dir.join("data").display()))
            .arg(format!("--web.listen-address={}", bench.web))
            .args(["--web.enable-lifecycle", "--log.level=warn"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("scraped starts");
        // Every target was asked once, so that the first scrapes do not count.
        let deadline = Instant::now() + PATIENCE;
        while bench.metric("prometheus_target_scrape_pool_targets") < (n_targets + 2) as f64
            || bench.metric("prometheus_agent_active_series") < (5 * n_targets) as f64
        {
            assert!(Instant::now() < deadline, "not all targets were scraped");
            sleep(Duration::from_millis(200));
        }
        bench.requests.lock().expect("lock").clear();
        bench
    }

    /// Every round has another timeout.
    fn write_config(&self, round: usize) {
        let timeout_s = if round % 2 == 0 { 9 } else { 8 };
        let mut config = format!(
            "scrape_configs:\n- job_name: live\n  scrape_interval: 1s\n  metrics_path: /live\n  \
             static_configs: [{{targets: ['{}']}}]\n",
            self.address
        );
        for job in 0..self.n_jobs {
            let more = if job == 0 { ", 'targets/0-*.json'" } else { "" };
            config.push_str(&format!(
                "- job_name: files-{job}\n  scrape_interval: 1h\n  scrape_timeout: {timeout_s}s\n  \
                 file_sd_configs: [{{files: ['targets/{job}.json'{more}]}}]\n"
            ));
        }
        fs::write(self.dir.join("scraped.yml"), config).expect("a file");
    }

    fn reload(&self, round: usize) -> Duration {
        self.write_config(round);
        let start = Instant::now();
        let answer = exchange(&self.web, "POST /-/reload");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        start.elapsed()
    }

    /// Sync of all pools and first scrape of a target more.
    fn add_target(&self, round: usize) -> (Duration, Duration) {
        let path = format!("/new/{round}");
        let before = self.metric("prometheus_target_sync_length_seconds_sum");
        let group = format!(
            "[{{\"targets\": [\"{}\"], \"labels\": {{\"__metrics_path__\": \"{path}\"}}}}]",
            self.address
        );
        replace(&self.dir.join("targets/0-new.json"), &group);
        let start = Instant::now();
        let first_scrape = loop {
            if let Some(at) = self.requests.lock().expect("lock").get(&path).and_then(|it| it.first()) {
                break at.saturating_duration_since(start);
            }
            assert!(start.elapsed() < PATIENCE, "{path} is not scraped");
            sleep(Duration::from_millis(1));
        };
        let sync_s = self.metric("prometheus_target_sync_length_seconds_sum") - before;
        (Duration::from_secs_f64(sync_s.max(0.0)), first_scrape)
    }

    /// The sum of a metric's series.
    fn metric(&self, name: &str) -> f64 {
        let page = exchange(&self.web, "GET /metrics");
        let lines =
            page.lines().filter(|line| line.strip_prefix(name).is_some_and(|it| it.starts_with(['{', ' '])));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Moves a whole file into its place.
fn replace(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).expect("a file");
    fs::rename(draft, path).expect("a file");
}

/// The answer to a request; empty while nobody listens.
fn exchange(address: &str, request: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address) {
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let _ =
            stream.write_all(head.as_bytes()).and_then(|()| stream.read_to_string(&mut answer).map(|_| ()));
    }
    answer
}

fn serve(listener: &TcpListener, requests: &Requests) {
    for stream in listener.incoming().flatten() {
        let requests = Arc::clone(requests);
        std::thread::spawn(move || {
            let mut stream = stream;
            let Ok(reading) = stream.try_clone() else { return };
            let mut reading = BufReader::new(reading);
            while let Ok(Some(head)) = read_head(&mut reading) {
                requests.lock().expect("lock").entry(head.path).or_default().push(Instant::now());
                let answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nup 1";
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        });
    }
}
