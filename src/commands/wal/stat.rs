//! `scraped wal stat`: what is in each file of a log.

use std::io::Write;

use serde::Serialize;

use crate::commands::query::matrix::UtcTime;
use crate::commands::wal::log::Log;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::Terminal;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;

/// What one file has.
#[derive(Default, Serialize)]
struct FileStat {
    file: String,
    bytes: u64,
    records: u64,
    series: u64,
    samples: u64,
    histograms: u64,
    exemplars: u64,
    metadata: u64,
    damages: u64,
    /// Milliseconds since the Unix epoch.
    oldest_ms: Option<i64>,
    newest_ms: Option<i64>,
}

impl FileStat {
    fn count(&mut self, record: Record<'_>) {
        self.records += 1;
        match record {
            Record::Series(entries) => self.series += entries.flatten().count() as u64,
            Record::Samples(entries) => {
                for sample in entries.flatten() {
                    self.samples += 1;
                    self.saw(sample.ts_ms);
                }
            }
            Record::Histograms(entries) => {
                for histogram in entries.flatten() {
                    self.histograms += 1;
                    self.saw(histogram.ts_ms);
                }
            }
            Record::Exemplars(entries) => self.exemplars += entries.flatten().count() as u64,
            Record::Metadata(entries) => self.metadata += entries.flatten().count() as u64,
            Record::Other(_) => {}
        }
    }

    fn saw(&mut self, ts_ms: i64) {
        self.oldest_ms = Some(self.oldest_ms.map_or(ts_ms, |oldest_ms| oldest_ms.min(ts_ms)));
        self.newest_ms = self.newest_ms.max(Some(ts_ms));
    }

    fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.records += other.records;
        self.series += other.series;
        self.samples += other.samples;
        self.histograms += other.histograms;
        self.exemplars += other.exemplars;
        self.metadata += other.metadata;
        self.damages += other.damages;
        [other.oldest_ms, other.newest_ms].into_iter().flatten().for_each(|ts_ms| self.saw(ts_ms));
    }
}

pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let log = Log::open(arguments)?;
    let of = |file: &crate::commands::log_files::LogFile| FileStat {
        file: file.name(),
        bytes: file.bytes,
        ..FileStat::default()
    };
    let mut files: Vec<FileStat> = log.files.iter().map(of).collect();
    let mut idx = 0;
    log.walk(&mut |file, record| {
        let name = file.name();
        while files[idx].file != name {
            idx += 1;
        }
        match record {
            Ok(record) => files[idx].count(record::decode(record.bytes)),
            Err(_) => files[idx].damages += 1,
        }
        Ok(())
    })?;
    let mut total = FileStat { file: "total".to_owned(), ..FileStat::default() };
    files.iter().for_each(|file| total.add(file));
    if arguments.is_json() {
        let all = serde_json::json!({"in_use": log.is_in_use, "files": files, "total": total});
        writeln!(terminal, "{all}")?;
        return Ok(Outcome::Good);
    }
    let in_use = if log.is_in_use { ", a daemon writes it" } else { "" };
    writeln!(terminal, "{}: {} files{in_use}", log.path.display(), files.len())?;
    let width = files.iter().map(|file| file.file.len()).max().unwrap_or_default().max(5);
    writeln!(
        terminal,
        "{:width$} {:>10} {:>8} {:>8} {:>10} {:>8} {:>8} {:>8} {:>7}  {:24}  TO",
        "FILE", "BYTES", "RECORDS", "SERIES", "SAMPLES", "HISTO", "EXEMPLAR", "METADATA", "DAMAGES", "FROM"
    )?;
    for file in files.iter().chain([&total]) {
        let time = |ts_ms: Option<i64>| ts_ms.map_or("-".to_owned(), |ts_ms| UtcTime(ts_ms).to_string());
        writeln!(
            terminal,
            "{:width$} {:>10} {:>8} {:>8} {:>10} {:>8} {:>8} {:>8} {:>7}  {:24}  {}",
            file.file,
            file.bytes,
            file.records,
            file.series,
            file.samples,
            file.histograms,
            file.exemplars,
            file.metadata,
            file.damages,
            time(file.oldest_ms),
            time(file.newest_ms)
        )?;
    }
    Ok(Outcome::Good)
}
