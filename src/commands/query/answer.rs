//! What the log says of the series that were asked for.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::commands::log_files;
use crate::commands::log_files::LogFile;
use crate::commands::query::matrix::Series;
use crate::terminal::Progress;
use scraped_engine::histogram::Histogram;
use scraped_engine::labels::Labels;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::selector::Selector;
use scraped_engine::sorting::{sort_by, sort_by_key};
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::segment_reader::Tail;

/// Samples kept before those that `--since` leaves out are thrown away for the first time: 1 MiB.
const PRUNE_SAMPLES: usize = 64 * 1024;

/// Series that match, and their samples.
pub(in crate::commands::query) struct Answer {
    since_ms: Option<i64>,
    pub(in crate::commands::query) series: Vec<Series>,
    by_labels: HashMap<Labels, usize, foldhash::fast::RandomState>,
    /// What a ref means at this place of the log: only series that match.
    by_ref: HashMap<u64, usize, foldhash::fast::RandomState>,
    labels: LabelsBuilder,
    /// Newest timestamp of the last record: the order in the log is the order of time, even if the clock was set.
    now_ms: i64,
    n_samples: usize,
    prune_at: usize,
    n_damaged: u64,
    /// How far the newest segment has been read: its number and the end of its last record.
    newest: (u32, u64),
}

impl Answer {
    pub(in crate::commands::query) fn new(since: Option<Duration>) -> Self {
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
            newest: (0, 0),
        }
    }

    /// Reads all there is.
    pub(in crate::commands::query) fn read_log(
        &mut self,
        wal_dir: &Path,
        selector: &Selector,
    ) -> Result<(), WalError> {
        let files = log_files::of(wal_dir)?;
        let mut progress = Progress::new("reading the log", files.iter().map(|file| file.bytes).sum());
        let mut n_bytes = 0;
        for file in &files {
            self.read_file(file, 0, selector)?;
            n_bytes += file.bytes;
            progress.at(n_bytes);
        }
        Ok(())
    }

    /// Reads what has been written since, in place of what was read.
    pub(in crate::commands::query) fn read_more(
        &mut self,
        wal_dir: &Path,
        selector: &Selector,
    ) -> Result<(), WalError> {
        for series in &mut self.series {
            series.samples.clear();
            series.histograms.clear();
        }
        let (number, end) = self.newest;
        let files = log_files::of(wal_dir)?;
        for file in files.iter().filter(|file| !file.is_of_checkpoint && file.number >= number) {
            let start = if file.number == number { end } else { 0 };
            self.read_file(file, start, selector)?;
        }
        self.sort();
        Ok(())
    }

    fn read_file(&mut self, file: &LogFile, start: u64, selector: &Selector) -> Result<(), WalError> {
        let mut reader = file.read_from(start)?;
        let mut end = start;
        loop {
            match reader.next_record() {
                Ok(Some(raw)) => {
                    end = raw.end;
                    self.record(raw.bytes, selector);
                }
                Ok(None) => break,
                Err(_) if file.tail == Tail::Live => {}
                Err(_) => self.n_damaged += 1,
            }
        }
        if !file.is_of_checkpoint {
            self.newest = (file.number, end);
        }
        Ok(())
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

    /// Leaves out what `--since` does, and puts the rest in order.
    pub(in crate::commands::query) fn finish(&mut self) {
        self.prune();
        self.sort();
        if self.n_damaged > 0 {
            let _ = writeln!(
                io::stderr().lock(),
                "scraped: {} damaged places in the write-ahead log were passed over; the next start of the daemon repairs it, and so \
                 does scraped wal repair",
                self.n_damaged
            );
        }
    }

    /// Series that have samples, in the order of their labels.
    pub(in crate::commands::query) fn in_order(&mut self) -> Vec<&Series> {
        let has_samples = |series: &&Series| !series.samples.is_empty() || !series.histograms.is_empty();
        let mut series: Vec<&Series> = self.series.iter().filter(has_samples).collect();
        sort_by(&mut series, |left, right| left.labels.cmp(&right.labels));
        series
    }

    fn sort(&mut self) {
        for series in &mut self.series {
            // In order already, unless the clock was set back or another program wrote the series under two refs.
            sort_by_key(&mut series.samples, |(ts_ms, _)| *ts_ms);
            series.samples.dedup_by_key(|(ts_ms, _)| *ts_ms);
            sort_by_key(&mut series.histograms, |(ts_ms, _)| *ts_ms);
            series.histograms.dedup_by_key(|(ts_ms, _)| *ts_ms);
        }
    }
}
