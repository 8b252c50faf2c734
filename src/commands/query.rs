//! `scraped query SELECTOR`: the series in a data directory and their samples, for people and scripts.
//!
//! Reads the checkpoint and the segments in order, also while the daemon writes them: a torn end is the end, and if a
//! segment vanishes because the daemon truncated, reading starts over. Writes nothing to the directory and takes no
//! lock. Memory grows with the answer only.
//!
//! `--format json` is what Prometheus answers to a range selector:
//! `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[1700000000.123,
//! "1"]]}]}}`. Times are seconds, values strings (`"NaN"`, `"+Inf"`, `"-Inf"`); a staleness marker, which Prometheus
//! never shows, is `"stale"`. A series with native histograms has them under `histograms`, as objects.

use scraped_engine::sorting::{sort_by, sort_by_key};
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::commands::matrix;
use crate::commands::matrix::Series;
use crate::flags::{Arguments, Done, Flags, Outcome};
use crate::terminal::Terminal;
use scraped_engine::histogram::Histogram;
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::selector::Selector;
use scraped_engine::labels::selector::error::ParseError;
use scraped_engine::labels::selector::parser::parse_selector;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::format::segment_reader::{SegmentReader, Tail};
use scraped_engine::wal::keep::checkpoint;

/// `scraped query`.
pub(in crate::commands) fn command(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let options = QueryOptions {
        selector: arguments.word(0),
        since: arguments.flag_duration("since"),
        path: arguments.flag_file("storage.agent.path").unwrap_or_else(|| Flags::default().wal.path),
        format: if arguments.is_json() { QueryFormat::Json } else { QueryFormat::Table },
    };
    run(options, terminal)?;
    Ok(Outcome::Good)
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// A PromQL series selector.
    pub selector: String,
    /// How far back from the newest sample written; `None` is everything.
    pub since: Option<Duration>,
    /// `--storage.agent.path`.
    pub path: PathBuf,
    /// How to print.
    pub format: QueryFormat,
}

/// How the answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryFormat {
    /// A line a sample: series, time, value.
    Table,
    /// Prometheus' JSON.
    Json,
}

/// Why there is no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueryError {
    /// The selector is none.
    Selector(ParseError),
    /// There is no log in the directory.
    NoData {
        /// Where it should be.
        wal_dir: PathBuf,
    },
    /// There is no such directory.
    NoDirectory {
        /// As it was named.
        path: PathBuf,
    },
    /// A file stands where a directory should be.
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// Whether there is a log cannot be seen.
    Hidden {
        /// What cannot be looked at.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file cannot be read.
    Wal(WalError),
    /// The daemon truncates faster than the log can be read.
    Truncating,
    /// The answer cannot be written.
    Output(io::Error),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryError::Selector(error) => {
                write!(f, "selector: {error}; write it as in up{{job=\"node\",instance=~\"web.*\"}}")
            }
            QueryError::NoData { wal_dir } => write!(
                f,
                "no write-ahead log in {}; start scraped first or name its data directory with --storage.agent.path",
                wal_dir.display()
            ),
            QueryError::NoDirectory { path } => write!(
                f,
                "no such directory: {}; name the data directory of scraped with --storage.agent.path",
                path.display()
            ),
            QueryError::NotADirectory { path } => write!(
                f,
                "{} is not a directory; name the data directory of scraped with --storage.agent.path",
                path.display()
            ),
            QueryError::Hidden { path, cause } => {
                write!(f, "cannot look into {}: {cause}", path.display())?;
                match cause.kind() {
                    io::ErrorKind::PermissionDenied => f.write_str(AS_WHOM),
                    _ => Ok(()),
                }
            }
            QueryError::Wal(error) => error.fmt(f),
            QueryError::Truncating => {
                write!(
                    f,
                    "segments vanished while they were read ({MAX_ROUNDS} times, limit: {MAX_ROUNDS}); "
                )?;
                f.write_str("try again, or raise --storage.agent.retention.max-bytes of the daemon")
            }
            QueryError::Output(cause) => write!(f, "cannot write the answer: {cause}"),
        }
    }
}

impl std::error::Error for QueryError {}

/// The way out where permission is missing: the data directory is for one user alone.
const AS_WHOM: &str = "; ask as root or as the user that scraped runs as";

/// How often reading starts over because a segment vanished. Truncations are minutes apart.
const MAX_ROUNDS: u32 = 5;

/// Samples kept before those that `--since` leaves out are thrown away for the first time: 1 MiB.
const PRUNE_SAMPLES: usize = 64 * 1024;

/// Answers a query.
///
/// # Errors
/// [`QueryError`]; a closed pipe behind `out` is none.
pub fn run(options: QueryOptions, out: &mut dyn Write) -> Result<(), QueryError> {
    let selector = parse_selector(&options.selector).map_err(QueryError::Selector)?;
    let wal_dir = options.path.join("wal");
    look_for(&options.path, &wal_dir)?;
    let answer = read(&wal_dir, &selector, options.since)?;
    let mut out = BufWriter::new(out);
    let printed = match options.format {
        QueryFormat::Table => matrix::print_table(&answer.series, &options.selector, &mut out),
        QueryFormat::Json => matrix::print_json(&answer.series, &mut out),
    };
    match printed.and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(QueryError::Output(cause)),
        _ => Ok(()),
    }
}

/// Says what is wrong with a log that cannot be read; a directory with a log in it is fine.
fn look_for(path: &Path, wal_dir: &Path) -> Result<(), QueryError> {
    let is_dir = |path: &Path| fs::metadata(path).map(|metadata| metadata.is_dir());
    let (path, cause) = match (is_dir(path), is_dir(wal_dir)) {
        (_, Ok(true)) => return Ok(()),
        (Ok(false), _) => return Err(QueryError::NotADirectory { path: path.to_owned() }),
        (_, Ok(false)) => return Err(QueryError::NotADirectory { path: wal_dir.to_owned() }),
        (Ok(true), Err(cause)) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(QueryError::NoData { wal_dir: wal_dir.to_owned() });
        }
        (Err(cause), _) if cause.kind() == io::ErrorKind::NotFound => {
            return Err(QueryError::NoDirectory { path: path.to_owned() });
        }
        (Ok(true), Err(cause)) => (wal_dir, cause),
        (Err(cause), Err(_)) => (path, cause),
    };
    Err(QueryError::Hidden { path: path.to_owned(), cause })
}

fn read(wal_dir: &Path, selector: &Selector, since: Option<Duration>) -> Result<Answer, QueryError> {
    for _ in 0..MAX_ROUNDS {
        let mut answer = Answer::new(since);
        match answer.read_log(wal_dir, selector) {
            Ok(()) => {
                answer.finish();
                return Ok(answer);
            }
            // The daemon has written a new checkpoint and removed what it stands for.
            Err(WalError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(QueryError::Wal(error)),
        }
    }
    Err(QueryError::Truncating)
}

struct Answer {
    since_ms: Option<i64>,
    series: Vec<Series>,
    by_labels: HashMap<Labels, usize, foldhash::fast::RandomState>,
    /// What a ref means at this place of the log: only series that match.
    by_ref: HashMap<u64, usize, foldhash::fast::RandomState>,
    labels: LabelsBuilder,
    /// Newest timestamp of the last record: the order in the log is the order of time, even if the clock was set.
    now_ms: i64,
    n_samples: usize,
    prune_at: usize,
    n_damaged: u64,
}

impl Answer {
    fn new(since: Option<Duration>) -> Self {
        Answer {
            since_ms: since.map(|since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            series: Vec::new(),
            by_labels: HashMap::default(),
            by_ref: HashMap::default(),
            labels: LabelsBuilder::new(),
            now_ms: i64::MIN,
            n_samples: 0,
            prune_at: PRUNE_SAMPLES,
            n_damaged: 0,
        }
    }

    fn read_log(&mut self, wal_dir: &Path, selector: &Selector) -> Result<(), WalError> {
        let checkpoint = checkpoint::list(wal_dir)?.pop();
        let segments = segment::list(wal_dir)?;
        if let Some(checkpoint) = &checkpoint {
            for file in checkpoint.segments()? {
                self.read_file(&file.path, checkpoint.number, Tail::Closed, selector)?;
            }
        }
        let last = segments.last().map(|segment| segment.number);
        for segment in &segments {
            // A checkpoint stands for segments up to its number, also before the daemon has removed them.
            if checkpoint.as_ref().is_some_and(|checkpoint| segment.number <= checkpoint.number) {
                continue;
            }
            let tail = if Some(segment.number) == last { Tail::Live } else { Tail::Closed };
            self.read_file(&segment.path, segment.number, tail, selector)?;
        }
        Ok(())
    }

    fn read_file(
        &mut self,
        path: &Path,
        number: u32,
        tail: Tail,
        selector: &Selector,
    ) -> Result<(), WalError> {
        let source = segment::open(path).map_err(WalError::io("open segment", path))?;
        let mut reader = SegmentReader::new(source, number, tail);
        loop {
            match reader.next_record() {
                Ok(Some(raw)) => self.record(raw.bytes, selector),
                Ok(None) => return Ok(()),
                Err(_) if tail == Tail::Live => {}
                Err(_) => self.n_damaged += 1,
            }
        }
    }

    /// The series of a ref, if it is asked for, to take one sample more.
    fn series_of(&mut self, series_ref: u64) -> Option<&mut Series> {
        let series = self.series.get_mut(*self.by_ref.get(&series_ref)?)?;
        self.n_samples += 1;
        Some(series)
    }

    fn record(&mut self, bytes: &[u8], selector: &Selector) {
        match record::decode(bytes) {
            Record::Series(entries) => {
                for entry in entries.flatten() {
                    self.labels.clear();
                    for (name, value) in entry.labels {
                        self.labels.set(name, value);
                    }
                    self.series(entry.series_ref, selector);
                }
            }
            Record::Samples(samples) => {
                let mut newest_ms = None;
                for sample in samples.flatten() {
                    newest_ms = newest_ms.max(Some(sample.ts_ms));
                    if let Some(series) = self.series_of(sample.series_ref) {
                        series.samples.push((sample.ts_ms, sample.value));
                    }
                }
                self.samples_were_read_until(newest_ms);
            }
            Record::Histograms(histograms) => {
                let mut newest_ms = None;
                for entry in histograms.flatten() {
                    newest_ms = newest_ms.max(Some(entry.ts_ms));
                    if let Some(series) = self.series_of(entry.series_ref) {
                        let mut histogram = Histogram::default();
                        entry.histogram.decode_into(&mut histogram);
                        series.histograms.push((entry.ts_ms, histogram));
                    }
                }
                self.samples_were_read_until(newest_ms);
            }
            Record::Exemplars(_) | Record::Metadata(_) | Record::Other(_) => {}
        }
    }

    fn samples_were_read_until(&mut self, newest_ms: Option<i64>) {
        self.now_ms = newest_ms.unwrap_or(self.now_ms);
        if self.n_samples > self.prune_at {
            self.prune();
            self.prune_at = PRUNE_SAMPLES + 2 * self.n_samples;
        }
    }

    /// A series record: from here on the ref means these labels.
    fn series(&mut self, series_ref: u64, selector: &Selector) {
        if !selector.matches(|name| self.labels.get(name)) {
            self.by_ref.remove(&series_ref);
            return;
        }
        let labels = self.labels.labels();
        let series_idx = *self.by_labels.entry(labels).or_insert_with_key(|labels| {
            let (samples, histograms) = (Vec::new(), Vec::new());
            self.series.push(Series { labels: labels.clone(), samples, histograms });
            self.series.len() - 1
        });
        self.by_ref.insert(series_ref, series_idx);
    }

    /// Throws away what is older than `--since` allows.
    fn prune(&mut self) {
        let Some(since_ms) = self.since_ms else { return };
        let oldest_ms = self.now_ms.saturating_sub(since_ms);
        for series in &mut self.series {
            series.samples.retain(|(ts_ms, _)| *ts_ms >= oldest_ms);
            series.histograms.retain(|(ts_ms, _)| *ts_ms >= oldest_ms);
        }
        let n_samples = |series: &Series| series.samples.len() + series.histograms.len();
        self.n_samples = self.series.iter().map(n_samples).sum();
    }

    fn finish(&mut self) {
        self.prune();
        self.series.retain(|series| !series.samples.is_empty() || !series.histograms.is_empty());
        sort_by(&mut self.series, |left, right| left.labels.cmp(&right.labels));
        for series in &mut self.series {
            // In order already, unless the clock was set back or another program wrote the series under two refs.
            sort_by_key(&mut series.samples, |(ts_ms, _)| *ts_ms);
            series.samples.dedup_by_key(|(ts_ms, _)| *ts_ms);
            sort_by_key(&mut series.histograms, |(ts_ms, _)| *ts_ms);
            series.histograms.dedup_by_key(|(ts_ms, _)| *ts_ms);
        }
        if self.n_damaged > 0 {
            log::warn!(
                "{} damaged places in the write-ahead log were passed over; the next start of the daemon repairs it",
                self.n_damaged
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::float::STALE_NAN_BITS;
    use scraped_engine::wal::format::record::samples::{Sample, SamplesEncoder};
    use scraped_engine::wal::format::record::series::SeriesEncoder;
    use scraped_engine::wal::options::Compression;
    use scraped_engine::wal::write::bulk_writer::BulkWriter;

    enum Write {
        Series(u64, &'static [(&'static str, &'static str)]),
        Sample(u64, i64, f64),
    }
    use Write::{Sample as S, Series as L};

    fn write_segment(dir: &Path, number: u32, writes: &[Write]) {
        fs::create_dir_all(dir).unwrap();
        let mut writer = BulkWriter::create(dir, number, 1 << 20, Compression::Snappy).unwrap();
        for write in writes {
            let mut record = Vec::new();
            match write {
                L(series_ref, labels) => {
                    SeriesEncoder::start(&mut record).push(&mut record, *series_ref, labels.iter().copied())
                }
                S(series_ref, ts_ms, value) => SamplesEncoder::start(&mut record)
                    .push(&mut record, Sample { series_ref: *series_ref, ts_ms: *ts_ms, value: *value }),
            }
            writer.append(&record).unwrap();
        }
        writer.finish().unwrap();
    }

    const UP_A: &[(&str, &str)] = &[("__name__", "up"), ("job", "a")];
    const UP_B: &[(&str, &str)] = &[("__name__", "up"), ("job", "b")];

    fn query(dir: &Path, selector: &str, since: Option<u64>, format: QueryFormat) -> Result<String, String> {
        let mut out = Vec::new();
        let options = QueryOptions {
            selector: selector.to_owned(),
            since: since.map(Duration::from_secs),
            path: dir.to_owned(),
            format,
        };
        run(options, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn table_has_a_line_a_sample() {
        let dir = tempfile::tempdir().unwrap();
        let stale = f64::from_bits(STALE_NAN_BITS);
        write_segment(&dir.path().join("wal/checkpoint.00000004"), 0, &[L(1, UP_A)]);
        write_segment(&dir.path().join("wal"), 4, &[L(9, UP_A), S(9, 1, 17.0)]);
        write_segment(&dir.path().join("wal"), 5, &[S(1, 1_700_000_000_123, 1.0), L(2, UP_B)]);
        write_segment(
            &dir.path().join("wal"),
            6,
            &[S(2, 951_782_400_000, 0.5), S(1, 1_700_000_005_000, stale)],
        );
        let answer = query(dir.path(), "up", None, QueryFormat::Table).unwrap();
        let expected = "\
SERIES         TIME                      VALUE
up{job=\"a\"}  2023-11-14T22:13:20.123Z  1
up{job=\"a\"}  2023-11-14T22:13:25.000Z  stale
up{job=\"b\"}  2000-02-29T00:00:00.000Z  0.5
"
        .replace("SERIES         TIME", "SERIES       TIME");
        assert_eq!(answer, expected);
        assert_eq!(
            query(dir.path(), r#"{job="none"}"#, None, QueryFormat::Table).unwrap(),
            "no samples match {job=\"none\"}\n"
        );
    }

    #[test]
    fn json_is_prometheus_json() {
        let dir = tempfile::tempdir().unwrap();
        let samples =
            [1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e21, 1e-7, f64::from_bits(STALE_NAN_BITS)];
        let mut writes = vec![L(1, &[("__name__", "x"), ("q", "a\"\nü")])];
        writes.extend(samples.iter().enumerate().map(|(idx, value)| S(1, 1000 + idx as i64, *value)));
        write_segment(&dir.path().join("wal"), 0, &writes);
        let answer = query(dir.path(), "x", None, QueryFormat::Json).unwrap();
        assert_eq!(
            answer,
            concat!(
                r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"x","#,
                r#""q":"a\"\nü"},"values":[[1,"1"],[1.001,"NaN"],[1.002,"+Inf"],[1.003,"-Inf"],"#,
                r#"[1.004,"1000000000000000000000"],[1.005,"0.0000001"],[1.006,"stale"]]}]}}"#,
                "\n"
            )
        );
        let parsed: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(parsed["data"]["result"][0]["metric"]["q"], "a\"\nü");
        let none = query(dir.path(), "y", None, QueryFormat::Json).unwrap();
        assert_eq!(none, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[]}}\n");
    }

    #[test]
    fn since_counts_from_the_newest_sample_of_any_series() {
        let dir = tempfile::tempdir().unwrap();
        let mut writes = vec![L(1, UP_A), L(2, UP_B)];
        writes.extend((0..200_000).map(|second| S(1, second * 1000, second as f64)));
        writes.push(S(2, 200_009_000, 1.0));
        write_segment(&dir.path().join("wal"), 0, &writes);
        let answer = query(dir.path(), r#"up{job="a"}"#, Some(12), QueryFormat::Table).unwrap();
        let values: Vec<&str> = answer.lines().skip(1).map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(values, ["199997", "199998", "199999"]);
    }

    #[test]
    fn a_ref_means_what_its_last_record_says() {
        let dir = tempfile::tempdir().unwrap();
        write_segment(&dir.path().join("wal"), 0, &[L(1, UP_A), S(1, 1, 1.0), L(1, UP_B), S(1, 2, 2.0)]);
        let answer = query(dir.path(), r#"up{job="a"}"#, None, QueryFormat::Table).unwrap();
        assert_eq!(answer.lines().count(), 2, "{answer}");
    }

    #[test]
    fn torn_end_of_the_newest_segment_is_its_end() {
        let dir = tempfile::tempdir().unwrap();
        write_segment(&dir.path().join("wal"), 0, &[L(1, UP_A), S(1, 1, 1.0), S(1, 2, 2.0)]);
        let path = dir.path().join("wal/00000000");
        let whole = fs::read(&path).unwrap();
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        fs::write(&path, &whole[..end]).unwrap();
        let answer = query(dir.path(), "up", None, QueryFormat::Table).unwrap();
        assert_eq!(answer.lines().count(), 2, "{answer}");
    }

    #[test]
    fn errors_are_sentences() {
        let dir = tempfile::tempdir().unwrap();
        let error = query(dir.path(), "up", None, QueryFormat::Table).unwrap_err();
        assert!(
            error.starts_with("no write-ahead log in") && error.contains("--storage.agent.path"),
            "{error}"
        );
        let error = query(dir.path(), "up{", None, QueryFormat::Table).unwrap_err();
        assert!(error.starts_with("selector: 1:4: parse error: unexpected end of input"), "{error}");
    }
}
