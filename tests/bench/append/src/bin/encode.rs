//! What it costs to make requests of samples: labels, message, compression; and how many bytes come out.
//!
//! `encode [EXTERNAL_LABELS]` prints nanoseconds and bytes a sample for both messages; requests hold 2000 samples of
//! four hosts whose values move. `encode 0 1|2 N` only makes N rounds of requests of one message: `scripts/bench
//! --encode` lets valgrind count the instructions of that.

use scraped_bench::node_page::NodePage;
use scraped_engine::encode::packer::Packer;
use scraped_engine::encode::series_labels::SeriesLabels;
use scraped_engine::encode::{Message, RequestWriter};
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::series::SeriesHandle;
use scraped_engine::wal::head::{LogReader, Wal};
use scraped_engine::wal::options::WalOptions;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 100;
const HOSTS: u64 = 20;
const REQUEST_SAMPLES: usize = 2000;
const START_S: f64 = 500_000.0;

struct Sample {
    handle: SeriesHandle,
    ts_ms: i64,
    value: f64,
}

fn main() {
    let args: Vec<u32> = std::env::args().skip(1).map(|it| it.parse().expect("a number")).collect();
    let n_external = args.first().copied().unwrap_or(0);
    let external = Labels::from_pairs((0..n_external).map(|it| (format!("zone_{it}"), "somewhere")));
    let labels = SeriesLabels::new(external, Vec::new());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let wal = open(dir.path());
    let requests = requests(&wal);
    let message = |version| if version == 1 { Message::V1 } else { Message::V2 };
    let mut encode = Encode::new(wal.reader(), &labels);
    if let [_, version, n_rounds] = args[..] {
        for _ in 0..n_rounds {
            for request in &requests {
                encode.request(message(version), request);
            }
        }
        return;
    }
    let n_samples = (requests.len() * REQUEST_SAMPLES) as f64;
    for version in [1, 2] {
        let (mut raw, mut packed) = (0, 0);
        let mut best = Duration::MAX;
        for _ in 0..ROUNDS {
            (raw, packed) = (0, 0);
            let start = Instant::now();
            for request in &requests {
                let (raw_bytes, packed_bytes) = encode.request(message(version), request);
                raw += raw_bytes;
                packed += packed_bytes;
            }
            best = best.min(start.elapsed());
        }
        println!(
            "remote write {version}.0, {n_external} external labels: {:.1} ns/sample, {:.1} bytes/sample, {:.2} packed",
            best.as_nanos() as f64 / n_samples,
            raw as f64 / n_samples,
            packed as f64 / n_samples
        );
    }
}

struct Encode<'a> {
    log: LogReader,
    labels: &'a SeriesLabels,
    writer: RequestWriter,
    packer: Packer,
}

impl<'a> Encode<'a> {
    fn new(log: LogReader, labels: &'a SeriesLabels) -> Self {
        Self { log, labels, writer: RequestWriter::new(Message::V1), packer: Packer::default() }
    }

    /// As a shard does it. Bytes of the message and of the request.
    fn request(&mut self, message: Message, samples: &[Sample]) -> (usize, usize) {
        let handles: Vec<SeriesHandle> = samples.iter().map(|sample| sample.handle).collect();
        self.writer.start(message);
        self.labels.write(
            &self.log,
            &handles,
            &mut self.writer,
            |idx, writer| {
                writer.sample(samples[idx].ts_ms, samples[idx].value);
                writer.end_series();
            },
            |idx| panic!("series {idx} is gone"),
        );
        let message = self.writer.bytes();
        let packed = self.packer.pack(message).expect("a message of ordinary size");
        (message.len(), packed.len())
    }
}

/// Scrapes of the hosts one after the other, cut into requests; each in order of series.
fn requests(wal: &Wal) -> Vec<Vec<Sample>> {
    let page = NodePage::new();
    let mut samples = Vec::new();
    for host in 0..HOSTS {
        let at_s = START_S + host as f64 / 4.0;
        let mut text = String::new();
        page.render(host, at_s, &mut text);
        let instance = format!("10.2.0.{}:9100", host + 1);
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let handle = handle(wal, series, &instance);
            let value = value.parse().expect("a number");
            samples.push(Sample { handle, ts_ms: 1_700_000_000_000 + (at_s * 1000.0) as i64, value });
        }
    }
    let mut requests = Vec::new();
    while samples.len() >= REQUEST_SAMPLES {
        let rest = samples.split_off(REQUEST_SAMPLES);
        samples.sort_by_key(|sample| sample.handle);
        requests.push(std::mem::replace(&mut samples, rest));
    }
    requests
}

fn handle(wal: &Wal, series: &str, instance: &str) -> SeriesHandle {
    let mut labels = LabelsBuilder::new();
    labels.set("instance", instance);
    labels.set("job", "node");
    let (name, rest) = series.split_once('{').unwrap_or((series, ""));
    labels.set("__name__", name);
    for pair in rest.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once("=\"").expect("a label");
        labels.set(name, value.trim_end_matches('"'));
    }
    let mut appender = wal.appender();
    let handle = appender.series(&labels).expect("a series").handle;
    appender.append(handle, 1, 0.0);
    appender.commit().expect("it is written");
    handle
}

fn open(dir: &Path) -> Wal {
    let options = WalOptions { segment_size_bytes: Some(8 << 20), lock_file: false, ..WalOptions::at(dir) };
    Wal::open(options, &mut |_, _| {}).expect("the log can be opened").0
}
