//! What a page costs on one core: read, looked up in the cache, written to the log.
//!
//! `cargo run --release --target-dir target/bench --manifest-path tests/bench/append/Cargo.toml [-- PAGE [COPIES]]`
//! takes a saved page of node_exporter, or PAGE, as often as COPIES says with a label more. Prints the best of several
//! rounds. With a third and a fourth argument it only stores the page so many times in that format (`text`,
//! `openmetrics`, `protobuf`): `scripts/bench --page` lets valgrind count the instructions of that.

mod pages;

use crate::pages::Exposed;
use scraped::clock::Clock;
use scraped::config;
use scraped::scrape::metrics::ScrapeMetrics;
use scraped::scrape::scrape_loop::{ScrapeLoop, ScrapeTime, Worker};
use scraped::scrape::targets::pool::LoopSettings;
use scraped::scrape::targets::target::Target;
use scraped::scrape::targets::target_url::{TargetUrl, UrlScheme};
use scraped_engine::exposition::Entry;
use scraped_engine::exposition::parser::{Parser, ParserBuffers};
use scraped_engine::exposition::recall::{KnownSeries, NoRecall};
use scraped_engine::labels::Labels;
use scraped_engine::store::append::Page;
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::permits::Permits;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::options::WalOptions;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;

fn main() {
    let mut args = std::env::args().skip(1);
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/exposition/ok/node_exporter.prom");
    let path = args.next().map_or(default, Into::into);
    let n_copies: usize = args.next().map_or(1, |it| it.parse().expect("COPIES is a number"));
    let text = pages::copies(&std::fs::read_to_string(&path).expect("PAGE can be read"), n_copies);
    if let Some(n_scrapes) = args.next().map(|it| it.parse().expect("SCRAPES is a number")) {
        let format = args.next();
        let exposed = match format.as_deref() {
            Some("openmetrics") => pages::as_openmetrics(&text),
            Some("protobuf") => pages::as_protobuf(&text),
            _ => pages::as_text(&text),
        };
        return store(&exposed, n_scrapes);
    }
    // Copies stand behind the page: nothing but text takes a family in two pieces.
    let others =
        if n_copies == 1 { vec![pages::as_openmetrics(&text), pages::as_protobuf(&text)] } else { vec![] };
    for exposed in [pages::as_text(&text)].into_iter().chain(others) {
        println!("{} as {}", path.display(), exposed.content_type);
        measure(&exposed);
    }
}

fn measure(exposed: &Exposed) {
    let n_bytes = exposed.page.len();
    let n_samples = count(exposed);
    println!("{n_bytes} bytes, {n_samples} samples");
    let read = best(|| {
        assert_eq!(count(exposed), n_samples);
    });
    print("read, every text for the first time", read, n_samples, n_bytes);

    let lens = text_lens(exposed);
    let read = best(|| read_known(exposed, &lens));
    print("read, every text known", read, n_samples, n_bytes);

    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut scrape_loop, mut worker, wal) = bench(dir.path());
    let mut ts_ms = 0;
    let mut scrape = || {
        ts_ms += 15_000;
        scrape_once(&mut scrape_loop, &mut worker, ts_ms, exposed);
    };
    let start = Instant::now();
    scrape();
    print("first scrape", start.elapsed(), n_samples, n_bytes);
    let repeated = best(&mut scrape);
    print("scrape, read to write", repeated, n_samples, n_bytes);
    let last = scrape_loop.status().last().expect("it was scraped");
    assert_eq!((last.error, last.samples_scraped as usize), (None, n_samples));
    println!("{} series", wal.active_series());
}

fn read_known(exposed: &Exposed, lens: &[usize]) {
    let mut parser = parser(exposed);
    let mut lens = lens.iter().copied();
    let mut due = lens.next();
    while let Some(entry) = parser.next(&mut KnownSeries(|_: &[u8]| due)).expect("a good page") {
        if let Entry::Series { known, .. } = entry {
            assert!(known);
            due = lens.next();
        }
    }
}

fn store(exposed: &Exposed, n_scrapes: i64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (mut scrape_loop, mut worker, _wal) = bench(dir.path());
    for number in 1..=n_scrapes {
        scrape_once(&mut scrape_loop, &mut worker, number * 15_000, exposed);
    }
}

fn scrape_once(scrape_loop: &mut ScrapeLoop, worker: &mut Worker, ts_ms: i64, exposed: &Exposed) {
    let start = Instant::now();
    let at = ScrapeTime { start, ts_ms, deadline: start + Duration::from_secs(10) };
    let page = Page { content_type: exposed.content_type, bytes: &exposed.page };
    scrape_loop.store(worker, at, Ok(page));
}

fn print(what: &str, took: Duration, n_samples: usize, n_bytes: usize) {
    let ns_a_sample = took.as_nanos() as f64 / n_samples as f64;
    let mb_a_second = n_bytes as f64 / took.as_secs_f64() / 1e6;
    println!("{what:<40} {ns_a_sample:8.1} ns/sample {mb_a_second:8.0} MB/s");
}

fn best(mut work: impl FnMut()) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed()
    });
    rounds.min().unwrap_or_default()
}

fn parser(exposed: &Exposed) -> Parser<'_> {
    Parser::new(exposed.format, &exposed.page, Default::default(), ParserBuffers::default())
}

fn count(exposed: &Exposed) -> usize {
    let mut parser = parser(exposed);
    let mut n_samples = 0;
    while let Some(entry) = parser.next(&mut NoRecall).expect("a good page") {
        n_samples += usize::from(matches!(entry, Entry::Series { .. }));
    }
    n_samples
}

fn text_lens(exposed: &Exposed) -> Vec<usize> {
    let mut parser = parser(exposed);
    let mut lens = Vec::new();
    while let Some(entry) = parser.next(&mut NoRecall).expect("a good page") {
        if matches!(entry, Entry::Series { .. }) {
            lens.push(parser.series_text().len());
        }
    }
    lens
}

fn bench(dir: &Path) -> (ScrapeLoop, Worker, Wal) {
    let options = WalOptions { segment_size_bytes: Some(8 << 20), lock_file: false, ..WalOptions::at(dir) };
    let (wal, _) = Wal::open(options, &mut |_, _| {}).expect("the log can be opened");
    let budget = BodyBudget::new(64 << 20, 64 << 20);
    let worker =
        Worker::new(Permits::new(1, &wal), budget, Arc::new(ScrapeMetrics::default()), Clock::system());
    let config_path = dir.join("scraped.yml");
    std::fs::write(&config_path, "scrape_configs: [{job_name: node}]").expect("a file can be written");
    let config = Arc::clone(&config::load(&config_path).expect("a good configuration").scrape_configs[0]);
    let labels = Labels::from_pairs([("instance", "host:9100"), ("job", "node")]);
    let url = TargetUrl {
        scheme: UrlScheme::Http,
        authority: "host:9100".to_owned(),
        path_and_query: "/metrics".to_owned(),
    };
    let target = Arc::new(Target::new(labels, url, Duration::from_secs(15), Duration::from_secs(10)));
    (ScrapeLoop::new(&LoopSettings::alone(target, config, Arc::default())), worker, wal)
}
