//! What the log costs between a scrape and its requests: samples are committed, read back and taken apart; on the disk and in
//! memory.
//!
//! `log` prints nanoseconds a sample for both; `log disk|memory N` only makes N rounds: `scripts/bench --log` lets valgrind
//! count the instructions of that.

use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::wal::follow::{Follower, Next};
use scraped_engine::wal::format::record::{Record, decode};
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::options::WalOptions;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;
const SERIES: i64 = 1000;
const MEMORY_BYTES: u64 = 8 << 20;

fn main() {
    let mut args = std::env::args().skip(1);
    if let (Some(place), Some(n_rounds)) = (args.next(), args.next()) {
        run(&place, n_rounds.parse().expect("a number"));
        return;
    }
    for place in ["disk", "memory"] {
        let best = run(place, ROUNDS).as_nanos() as f64 / SERIES as f64;
        println!("{place}: {best:.1} ns a sample");
    }
}

/// The best of some rounds.
fn run(place: &str, n_rounds: usize) -> Duration {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wal = open(dir.path(), (place == "memory").then_some(MEMORY_BYTES));
    let reader = wal.reader();
    let start = reader.committed_end().expect("it is open");
    let mark = reader.claim(start);
    let mut follower = Follower::new(reader, start);
    let mut appender = wal.appender();
    let handles: Vec<_> = (0..SERIES)
        .map(|idx| {
            let mut labels = LabelsBuilder::new();
            labels.set("__name__", "some_metric_total");
            labels.set("idx", &idx.to_string());
            appender.series(&labels).expect("it is open").handle
        })
        .collect();
    let mut best = Duration::MAX;
    for round in 1..=n_rounds as i64 {
        let start = Instant::now();
        for (idx, handle) in (0..SERIES).zip(&handles) {
            appender.append(*handle, round * 15_000, (round * idx) as f64 * 1.37);
        }
        appender.commit().expect("there is room");
        let mut n_samples = 0;
        let mut visit = |_, _, record: &[u8]| {
            if let Record::Samples(samples) = decode(record) {
                n_samples += samples.map(|it| it.expect("a good sample")).filter(|it| it.ts_ms > 0).count();
            }
            Next::Record
        };
        follower.read(&mut visit, &mut |error| panic!("{error}")).expect("it can be read");
        assert_eq!(n_samples as i64, SERIES);
        mark.settle(follower.position());
        best = best.min(start.elapsed());
    }
    best
}

fn open(dir: &Path, memory_bytes: Option<u64>) -> Wal {
    let options = WalOptions {
        segment_size_bytes: Some(8 << 20),
        lock_file: false,
        memory_bytes,
        ..WalOptions::at(dir)
    };
    Wal::open(options, &mut |_, _| {}).expect("the log can be opened").0
}
