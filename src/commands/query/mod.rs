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

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::commands::data_dir;
use crate::commands::data_dir::DataDirError;
use crate::commands::query::answer::Answer;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::Terminal;
use scraped_engine::labels::selector::Selector;
use scraped_engine::labels::selector::error::ParseError;
use scraped_engine::labels::selector::parser::parse_selector;
use scraped_engine::wal::error::WalError;

mod answer;
pub(in crate::commands) mod matrix;
mod plot;

/// `scraped query`.
pub(in crate::commands) fn command(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let format = match (arguments.is_json(), arguments.is_on("plot")) {
        (true, _) => QueryFormat::Json,
        (false, true) => QueryFormat::Plot { columns: terminal.columns().unwrap_or(plot::USUAL_COLUMNS) },
        (false, false) => QueryFormat::Table { columns: terminal.columns() },
    };
    let options = QueryOptions {
        selector: arguments.word(0),
        since: arguments.flag_duration("since"),
        path: data_dir::chosen(arguments),
        format,
    };
    match arguments.is_on("follow") {
        true => follow(options, terminal)?,
        false => run(options, terminal)?,
    }
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
    /// A line a sample: series, time, value; where that is wider than this, series on lines of their own.
    Table {
        /// Characters; `None`: as wide as it is.
        columns: Option<usize>,
    },
    /// Prometheus' JSON.
    Json,
    /// A chart of each series.
    Plot {
        /// Characters.
        columns: usize,
    },
}

/// Why there is no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum QueryError {
    /// The selector is none.
    Selector(ParseError),
    /// The data directory cannot be read.
    DataDir(DataDirError),
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
            QueryError::DataDir(error) => error.fmt(f),
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

/// How often reading starts over because a segment vanished. Truncations are minutes apart.
const MAX_ROUNDS: u32 = 5;

/// How often `--follow` looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Answers a query.
///
/// # Errors
/// [`QueryError`]; a closed pipe behind `out` is none.
pub fn run(options: QueryOptions, out: &mut dyn Write) -> Result<(), QueryError> {
    let selector = parse_selector(&options.selector).map_err(QueryError::Selector)?;
    let wal_dir = data_dir::wal_dir(&options.path).map_err(QueryError::DataDir)?;
    let mut answer = read(&wal_dir, &selector, options.since)?;
    print(&mut answer, &options, out)
}

/// Answers it, and goes on with what is written from then on, until its reader goes away.
fn follow(options: QueryOptions, out: &mut dyn Write) -> Result<(), QueryError> {
    let selector = parse_selector(&options.selector).map_err(QueryError::Selector)?;
    let wal_dir = data_dir::wal_dir(&options.path).map_err(QueryError::DataDir)?;
    let mut answer = read(&wal_dir, &selector, options.since)?;
    loop {
        let mut out = BufWriter::new(&mut *out);
        let lines = matrix::print_lines(&answer.in_order(), &mut out);
        match lines.and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(cause) => return Err(QueryError::Output(cause)),
        }
        drop(out);
        thread::sleep(LOOK_EVERY);
        match answer.read_more(&wal_dir, &selector) {
            // A truncation between the list of files and the look at them: the next look finds others.
            Err(WalError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
            read => read.map_err(QueryError::Wal)?,
        }
    }
}

fn print(answer: &mut Answer, options: &QueryOptions, out: &mut dyn Write) -> Result<(), QueryError> {
    let series = answer.in_order();
    let mut out = BufWriter::new(out);
    let printed = match options.format {
        QueryFormat::Table { columns } => matrix::print_table(&series, &options.selector, columns, &mut out),
        QueryFormat::Json => matrix::print_json(&series, &mut out),
        QueryFormat::Plot { columns } => plot::print(&series, &options.selector, columns, &mut out),
    };
    match printed.and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(QueryError::Output(cause)),
        _ => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::disk::RealDisk;
    use scraped_engine::float::STALE_NAN_BITS;
    use scraped_engine::wal::format::record::samples::{Sample, SamplesEncoder};
    use scraped_engine::wal::format::record::series::SeriesEncoder;
    use scraped_engine::wal::options::Compression;
    use scraped_engine::wal::write::bulk_writer::BulkWriter;
    use std::fs;

    enum Write {
        Series(u64, &'static [(&'static str, &'static str)]),
        Sample(u64, i64, f64),
    }
    use Write::{Sample as S, Series as L};

    fn write_segment(dir: &Path, number: u32, writes: &[Write]) {
        fs::create_dir_all(dir).unwrap();
        let mut writer = BulkWriter::create(&RealDisk, dir, number, 1 << 20, Compression::Snappy).unwrap();
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
        let answer = query(dir.path(), "up", None, QueryFormat::Table { columns: None }).unwrap();
        let expected = "\
SERIES         TIME                      VALUE
up{job=\"a\"}  2023-11-14T22:13:20.123Z  1
up{job=\"a\"}  2023-11-14T22:13:25.000Z  stale
up{job=\"b\"}  2000-02-29T00:00:00.000Z  0.5
"
        .replace("SERIES         TIME", "SERIES       TIME");
        assert_eq!(answer, expected);
        assert_eq!(
            query(dir.path(), r#"{job="none"}"#, None, QueryFormat::Table { columns: None }).unwrap(),
            "no samples match {job=\"none\"}\n"
        );
    }

    #[test]
    fn a_narrow_table_has_each_series_once() {
        let dir = tempfile::tempdir().unwrap();
        let writes = [L(1, UP_A), S(1, 1_700_000_000_123, 1.0), S(1, 1_700_000_005_000, 0.0)];
        write_segment(&dir.path().join("wal"), 0, &writes);
        let answer =
            |columns| query(dir.path(), "up", None, QueryFormat::Table { columns: Some(columns) }).unwrap();
        let wide = "\
SERIES       TIME                      VALUE
up{job=\"a\"}  2023-11-14T22:13:20.123Z  1
up{job=\"a\"}  2023-11-14T22:13:25.000Z  0
";
        assert_eq!(answer(80), wide);
        let narrow = "\
up{job=\"a\"}
  2023-11-14T22:13:20.123Z  1
  2023-11-14T22:13:25.000Z  0
";
        assert_eq!(answer(40), narrow);
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
        let answer =
            query(dir.path(), r#"up{job="a"}"#, Some(12), QueryFormat::Table { columns: None }).unwrap();
        let values: Vec<&str> = answer.lines().skip(1).map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(values, ["199997", "199998", "199999"]);
    }

    #[test]
    fn a_ref_means_what_its_last_record_says() {
        let dir = tempfile::tempdir().unwrap();
        write_segment(&dir.path().join("wal"), 0, &[L(1, UP_A), S(1, 1, 1.0), L(1, UP_B), S(1, 2, 2.0)]);
        let answer = query(dir.path(), r#"up{job="a"}"#, None, QueryFormat::Table { columns: None }).unwrap();
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
        let answer = query(dir.path(), "up", None, QueryFormat::Table { columns: None }).unwrap();
        assert_eq!(answer.lines().count(), 2, "{answer}");
    }

    #[test]
    fn errors_are_sentences() {
        let dir = tempfile::tempdir().unwrap();
        let error = query(dir.path(), "up", None, QueryFormat::Table { columns: None }).unwrap_err();
        assert!(
            error.starts_with("no write-ahead log in") && error.contains("--storage.agent.path"),
            "{error}"
        );
        let error = query(dir.path(), "up{", None, QueryFormat::Table { columns: None }).unwrap_err();
        assert!(error.starts_with("selector: 1:4: parse error: unexpected end of input"), "{error}");
    }
}
