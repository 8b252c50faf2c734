//! `scraped wal dump`: a line for each entry of a log: file, place, kind, and what it says.

use std::io::{self, BufWriter, Write};

use serde_json::{Value as Json, json};

use crate::commands::query::matrix::Value;
use crate::commands::wal::log::Log;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::Terminal;
use scraped_engine::families::type_name;
use scraped_engine::histogram::Histogram;
use scraped_engine::labels::Labels;
use scraped_engine::labels::selector::of_series;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::record::record_type::RecordType;

/// Where entries go.
struct Lines<'a> {
    out: BufWriter<&'a mut Terminal>,
    is_json: bool,
    /// File and offset of the record.
    place: (String, u64),
}

impl Lines<'_> {
    /// An entry: its kind, its series, its time, and what it says, as text and as JSON.
    fn line(
        &mut self,
        kind: &str,
        series_ref: Option<u64>,
        ts_ms: Option<i64>,
        said: (String, Json),
    ) -> io::Result<()> {
        let (file, offset) = &self.place;
        if self.is_json {
            let line = json!({"file": file, "offset": offset, "kind": kind, "ref": series_ref, "ts_ms": ts_ms, "says": said.1});
            return writeln!(self.out, "{line}");
        }
        write!(self.out, "{file}:{offset} {kind}")?;
        if let Some(series_ref) = series_ref {
            write!(self.out, " {series_ref}")?;
        }
        if let Some(ts_ms) = ts_ms {
            write!(self.out, " {ts_ms}")?;
        }
        writeln!(self.out, " {}", said.0)
    }

    fn record(&mut self, kind: RecordType, record: Record<'_>) -> io::Result<()> {
        let plain = |text: String| (text.clone(), json!(text));
        let kind = kind.name();
        match record {
            Record::Series(entries) => {
                for entry in entries.flatten() {
                    let series = of_series(&Labels::from_pairs(entry.labels));
                    self.line(kind, Some(entry.series_ref), None, plain(series))?;
                }
            }
            Record::Samples(entries) => {
                for sample in entries.flatten() {
                    let value = plain(Value(sample.value).to_string());
                    self.line(kind, Some(sample.series_ref), Some(sample.ts_ms), value)?;
                }
            }
            Record::Histograms(entries) => {
                for entry in entries.flatten() {
                    let mut histogram = Histogram::default();
                    entry.histogram.decode_into(&mut histogram);
                    let said = plain(histogram.to_string());
                    self.line(kind, Some(entry.series_ref), Some(entry.ts_ms), said)?;
                }
            }
            Record::Exemplars(entries) => {
                for entry in entries.flatten() {
                    let labels = of_series(&Labels::from_pairs(entry.labels));
                    let said = plain(format!("{} {labels}", Value(entry.value)));
                    self.line(kind, Some(entry.series_ref), Some(entry.ts_ms), said)?;
                }
            }
            Record::Metadata(entries) => {
                for entry in entries.flatten() {
                    let said = format!("{} {:?} {:?}", type_name(entry.metric_type), entry.unit, entry.help);
                    self.line(kind, Some(entry.series_ref), None, plain(said))?;
                }
            }
            Record::Other(_) => self.line(kind, None, None, plain(String::new()))?,
        }
        Ok(())
    }
}

pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let mut log = Log::open(arguments)?;
    if let Some(number) = arguments.flag_number("segment") {
        log.files.retain(|file| u64::from(file.number) == number && !file.is_of_checkpoint);
        if log.files.is_empty() {
            return Err(format!(
                "{} has no segment {number}; scraped wal stat lists them",
                log.path.display()
            )
            .into());
        }
    }
    let is_json = arguments.is_json();
    let mut lines = Lines { out: BufWriter::new(terminal), is_json, place: (String::new(), 0) };
    log.walk(&mut |file, record| match record {
        Ok(record) => {
            lines.place = (file.name(), record.start);
            lines.record(RecordType::of(record.bytes), record::decode(record.bytes))
        }
        Err(error) => {
            lines.place = (file.name(), error.offset);
            let said = error.cause.to_string();
            lines.line("damage", None, None, (said.clone(), json!(said)))
        }
    })?;
    lines.out.flush()?;
    Ok(Outcome::Good)
}
