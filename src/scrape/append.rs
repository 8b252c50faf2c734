//! From a page to a transaction: every sample through the cache to the appender (Prometheus' `scrapeLoop.append`).
//!
//! Runs on a worker that holds a permit. Stages only; the scrape loop commits or rolls back. A page that is refused
//! is refused as a whole.

use crate::config::ScrapeConfig;
use crate::exposition::Entry;
use crate::exposition::parser::{Parser, ParserBuffers, ParserOptions};
use crate::labels::{Labels, METRIC_NAME};
use crate::scrape::cache::{Cursor, Hit, Known, NewText, ScrapeCache};
use crate::scrape::error::ScrapeError;
use crate::scrape::metadata::MetadataCache;
use crate::scrape::negotiation::format_of_page;
use crate::scrape::report::PageCounts;
use crate::scrape::sample_labels::{SampleLabels, Sampled};
use crate::scrape::scrape_loop::MetadataRecords;
use crate::series::SeriesHandle;
use crate::wal::appender::Appender;
use crate::wal::error::WalError;
use std::mem;

/// What a target gave, unpacked.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// `Content-Type` as sent; empty when missing.
    pub content_type: &'a str,
    /// The page.
    pub bytes: &'a [u8],
}

/// Samples that were read and not staged, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// The same spelling stood in the page before.
    pub duplicates: u64,
    /// Not newer than the newest sample of a series that is new to the cache.
    pub out_of_order: u64,
    /// Timestamps too far ahead.
    pub out_of_bounds: u64,
}

/// One page on its way into a transaction.
#[derive(Debug)]
pub struct PageAppend<'a> {
    /// The job.
    pub config: &'a ScrapeConfig,
    /// Labels of every sample.
    pub target_labels: &'a Labels,
    /// Timestamp of samples without one of their own.
    pub ts_ms: i64,
    /// Samples with a later timestamp are left out.
    pub max_ts_ms: i64,
    /// The target's cache, begun.
    pub cache: &'a mut ScrapeCache,
    /// Where the page is in the cache.
    pub cursor: &'a mut Cursor,
    /// What the target's pages say of their families.
    pub metadata: &'a mut MetadataCache,
    /// Whether that goes into the log, too.
    pub metadata_records: MetadataRecords,
    /// Scratch.
    pub labels: &'a mut SampleLabels,
    /// Memory of the parser.
    pub parser_buffers: &'a mut ParserBuffers,
    /// The transaction.
    pub appender: &'a mut Appender,
    /// What the page had; also right when it is refused, as far as it was read.
    pub counts: PageCounts,
    /// What was not staged.
    pub left_out: LeftOut,
    /// Samples that count against `sample_limit`.
    pub n_limited: u64,
}

impl PageAppend<'_> {
    /// Stages a page.
    ///
    /// # Errors
    /// The page is refused; what is staged is to be rolled back.
    pub fn append(&mut self, page: Page<'_>) -> Result<(), ScrapeError> {
        let format = format_of_page(page.content_type, self.config.fallback_scrape_protocol)?;
        // `scrape_native_histograms` is off.
        let options = ParserOptions { ignore_native_histograms: true, ..ParserOptions::default() };
        let buffers = mem::take(&mut *self.parser_buffers);
        let mut parser = Parser::new(format, page.bytes, options, buffers);
        self.metadata.begin(format);
        let result = self.append_entries(&mut parser);
        *self.parser_buffers = parser.into_buffers();
        result?;
        if self.is_over_limit() {
            let samples = self.counts.post_metric_relabeling;
            return Err(ScrapeError::SampleLimit { samples, limit: self.config.limits.sample_limit });
        }
        Ok(())
    }

    /// Whether `sample_limit` is exceeded.
    pub fn is_over_limit(&self) -> bool {
        self.config.limits.sample_limit > 0 && self.n_limited > self.config.limits.sample_limit
    }

    fn append_entries(&mut self, parser: &mut Parser<'_>) -> Result<(), ScrapeError> {
        loop {
            let Self { cache, cursor, .. } = self;
            let Some(entry) = parser.next(|rest| cache.guess(cursor, rest))? else {
                return Ok(());
            };
            let Entry::Series { known, value, timestamp_ms } = entry else {
                self.metadata.note(&entry);
                continue;
            };
            self.counts.scraped += 1;
            let own_ts_ms = timestamp_ms.filter(|_| self.config.honor_timestamps);
            let sample = Sample { own_ts_ms, ts_ms: own_ts_ms.unwrap_or(self.ts_ms), value };
            let guessed = if known { self.cache.hit_guessed(self.cursor) } else { None };
            let found = match guessed {
                Some(hit) => Ok(hit),
                None => self.cache.find(self.cursor, parser.series_text()),
            };
            match found {
                Ok(Hit { known: Known::Dropped, .. }) => {}
                // Parsing labels costs far more than all the rest: only where the series is not at hand.
                Ok(Hit { entry_idx, is_repeated, known: Known::Series(handle) }) => {
                    self.append_known(entry_idx, is_repeated, handle, sample);
                    self.log_changed_metadata(handle, parser)?;
                }
                Ok(Hit { entry_idx, is_repeated, known: Known::Forgotten }) => {
                    self.append_forgotten(entry_idx, is_repeated, parser, sample)?;
                }
                Err(new_text) => self.append_new(new_text, parser, sample)?,
            }
        }
    }

    fn append_known(&mut self, entry_idx: usize, is_repeated: bool, handle: SeriesHandle, sample: Sample) {
        self.counts.post_metric_relabeling += 1;
        if is_repeated && sample.own_ts_ms.is_none() {
            self.left_out.duplicates += 1;
            return;
        }
        if !self.is_admitted(sample) {
            return;
        }
        self.appender.append(handle, sample.ts_ms, sample.value);
        if self.is_tracked(sample) {
            self.cache.track(entry_idx);
        }
    }

    /// A series that the cache knows and whose handle was lost.
    fn append_forgotten(
        &mut self,
        entry_idx: usize,
        is_repeated: bool,
        parser: &Parser<'_>,
        sample: Sample,
    ) -> Result<(), ScrapeError> {
        match self.labels.build(parser, self.target_labels, self.config)? {
            // The same rules kept it before; other rules come with an empty cache.
            Sampled::Dropped => Ok(()),
            Sampled::Kept => {
                let lookup = self.appender.series(&self.labels.builder).map_err(wal_error)?;
                self.cache.remember(entry_idx, lookup.handle);
                self.append_known(entry_idx, is_repeated, lookup.handle, sample);
                self.log_metadata(lookup.handle);
                Ok(())
            }
        }
    }

    fn append_new(
        &mut self,
        new_text: NewText,
        parser: &Parser<'_>,
        sample: Sample,
    ) -> Result<(), ScrapeError> {
        if self.labels.build(parser, self.target_labels, self.config)? == Sampled::Dropped {
            self.cache.insert(self.cursor, new_text, None);
            return Ok(());
        }
        self.counts.post_metric_relabeling += 1;
        if !self.is_admitted(sample) {
            return Ok(());
        }
        let lookup = self.appender.series(&self.labels.builder).map_err(wal_error)?;
        if sample.ts_ms <= lookup.last_ts_ms {
            // It is taken in, and counted as added, with its first sample.
            self.left_out.out_of_order += 1;
            return Ok(());
        }
        self.appender.append(lookup.handle, sample.ts_ms, sample.value);
        self.log_metadata(lookup.handle);
        let entry_idx = self.cache.insert(self.cursor, new_text, Some(lookup.handle));
        if self.is_tracked(sample) {
            self.cache.track(entry_idx);
        }
        self.counts.series_added += 1;
        Ok(())
    }

    /// What the page says of a series whose labels are in the builder, if it says something of it.
    fn log_metadata(&mut self, handle: SeriesHandle) {
        if self.metadata_records == MetadataRecords::NotWritten {
            return;
        }
        if let Some(family) = self.metadata.current()
            && family.has_metric(self.labels.builder.get(METRIC_NAME))
        {
            self.appender.append_metadata(handle, family.metric_type, family.unit, family.help);
        }
    }

    /// The same for a series that the cache knows, if the page says something else than the last one.
    fn log_changed_metadata(&mut self, handle: SeriesHandle, parser: &Parser<'_>) -> Result<(), ScrapeError> {
        if self.metadata_records == MetadataRecords::NotWritten
            || self.metadata.current().is_none_or(|family| !family.is_new)
        {
            return Ok(());
        }
        if self.labels.build(parser, self.target_labels, self.config)? == Sampled::Kept {
            self.log_metadata(handle);
        }
        Ok(())
    }

    /// Counts a sample against the limits. Those over `sample_limit` are still read, so that the report says how many
    /// there are.
    fn is_admitted(&mut self, sample: Sample) -> bool {
        self.n_limited += 1;
        if self.is_over_limit() {
            return false;
        }
        if sample.ts_ms > self.max_ts_ms {
            self.left_out.out_of_bounds += 1;
            return false;
        }
        true
    }

    fn is_tracked(&self, sample: Sample) -> bool {
        sample.own_ts_ms.is_none() || self.config.track_timestamps_staleness
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// The timestamp in the page, if it counts.
    own_ts_ms: Option<i64>,
    ts_ms: i64,
    value: f64,
}

fn wal_error(error: WalError) -> ScrapeError {
    ScrapeError::Wal { cause: error.to_string() }
}
