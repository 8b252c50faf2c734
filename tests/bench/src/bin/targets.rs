//! Loopback targets for `scripts/bench`: one listener, as many targets as there are addresses in 127.0.0.0/8.
//!
//! `targets PORT SAMPLES INTERVAL_MS` serves
//! - `/metrics`: SAMPLES series whose counters rise by one a scrape;
//! - `/hang`: accepts and never answers;
//! - `/write`: takes remote write and forgets it;
//! - `/stats`: scrapes served, and how late they were on their grid of INTERVAL_MS (milliseconds at the quantiles
//!   0.5, 0.99 and 1); reading it starts a new count.
//!
//! A target does not know its grid: it takes the earliest scrape so far for one that was on time.
//!
//! The page is rendered once a connection and only its digits are written anew, so that the targets take little of the
//! machine that the bench measures on.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use scraped_bench::http::read_head;

/// All values have ten digits, so a page keeps its length.
const FIRST_VALUE: u64 = 1_000_000_000;
const STACK_BYTES: usize = 64 * 1024;
const SERIES_A_FAMILY: usize = 10;

#[derive(Clone)]
struct Bench {
    n_samples: usize,
    interval: Duration,
    /// How late each scrape was, in milliseconds.
    lateness_ms: Arc<Mutex<Vec<f64>>>,
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse().expect("targets PORT SAMPLES INTERVAL_MS"));
    let mut arg = |name: &str| -> u64 { args.next().unwrap_or_else(|| panic!("{name} is missing")) };
    let port = arg("PORT") as u16;
    let n_samples = arg("SAMPLES") as usize;
    let interval = Duration::from_millis(arg("INTERVAL_MS"));
    let bench = Bench { n_samples, interval, lateness_ms: Arc::default() };
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("port is free");
    for stream in listener.incoming().flatten() {
        let bench = bench.clone();
        let serve = move || drop(bench.serve(stream));
        if std::thread::Builder::new().stack_size(STACK_BYTES).spawn(serve).is_err() {
            eprintln!("no thread for a connection");
        }
    }
}

impl Bench {
    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut requests = BufReader::with_capacity(1024, stream.try_clone()?);
        let mut page = None;
        // The first scrape may come off the grid.
        let mut n_scrapes = 0;
        let mut slot = None;
        while let Some(head) = read_head(&mut requests)? {
            std::io::copy(&mut requests.by_ref().take(head.body_bytes), &mut std::io::sink())?;
            match head.path.as_str() {
                "/hang" => std::thread::sleep(Duration::from_secs(3600)),
                "/write" => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")?,
                "/stats" => stream.write_all(self.stats().as_bytes())?,
                _ => {
                    let now = Instant::now();
                    n_scrapes += 1;
                    match slot {
                        Some(due) => {
                            let due = nearest_slot(due, self.interval, now).min(now);
                            slot = Some(due);
                            let late = now.saturating_duration_since(due);
                            self.lateness_ms.lock().expect("lock").push(late.as_secs_f64() * 1e3);
                        }
                        None if n_scrapes == 2 => slot = Some(now),
                        None => {}
                    }
                    stream.write_all(page.get_or_insert_with(|| Page::new(self.n_samples)).next())?;
                }
            }
        }
        Ok(())
    }

    fn stats(&self) -> String {
        let mut lateness_ms = std::mem::take(&mut *self.lateness_ms.lock().expect("lock"));
        lateness_ms.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let rank = (quantile * lateness_ms.len() as f64).ceil() as usize;
            lateness_ms.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        let body = format!("{} {:.2} {:.2} {:.2}\n", lateness_ms.len(), at(0.5), at(0.99), at(1.0));
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }
}

/// The slot nearest to `now` of the grid through `slot`, which is in the past.
fn nearest_slot(slot: Instant, interval: Duration, now: Instant) -> Instant {
    let mut nearest = slot;
    while now.saturating_duration_since(nearest) > interval / 2 {
        nearest += interval;
    }
    nearest
}

struct Page {
    response: Vec<u8>,
    value_ends: Vec<usize>,
    value: u64,
}

impl Page {
    fn new(n_samples: usize) -> Self {
        let mut body = Vec::new();
        let mut value_ends = Vec::new();
        for family_idx in 0..n_samples.div_ceil(SERIES_A_FAMILY) {
            let name = format!("bench_requests_{family_idx}_total");
            body.extend(
                format!("# HELP {name} Requests of kind {family_idx}.\n# TYPE {name} counter\n").bytes(),
            );
            let first = family_idx * SERIES_A_FAMILY;
            for series_idx in first..(first + SERIES_A_FAMILY).min(n_samples) {
                let line = format!(
                    "{name}{{path=\"/api/v1/items/{series_idx}\",method=\"GET\",code=\"200\"}} {FIRST_VALUE}"
                );
                body.extend(line.bytes());
                value_ends.push(body.len());
                body.push(b'\n');
            }
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        for value_end in &mut value_ends {
            *value_end += head.len();
        }
        let mut response = head.into_bytes();
        response.append(&mut body);
        Self { response, value_ends, value: FIRST_VALUE }
    }

    fn next(&mut self) -> &[u8] {
        self.value += 1;
        let digits = self.value.to_string();
        for value_end in &self.value_ends {
            self.response[value_end - digits.len()..*value_end].copy_from_slice(digits.as_bytes());
        }
        &self.response
    }
}
