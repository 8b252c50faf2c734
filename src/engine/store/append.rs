//! From a page to a transaction: every sample through the cache to the appender (Prometheus' `scrapeLoop.append`).
//!
//! Runs on a worker that holds a permit. Stages only; the scrape loop commits or rolls back. A page that is refused
//! is refused as a whole.

use crate::exposition::Entry;
use crate::exposition::content_type::Format;
use crate::exposition::options::ParserOptions;
use crate::exposition::parser::{Parser, ParserBuffers};
use crate::exposition::recall::{KnownLine, Recall};
use crate::histogram::resolution::{FitError, schema_of_bucket_factor};
use crate::labels::METRIC_NAME;
use crate::series::SeriesHandle;
use crate::store::cache::{Cursor, Hit, Known, NewText, ScrapeCache};
use crate::store::error::PageError;
use crate::store::family_cache::MetadataCache;
use crate::store::pace::Pace;
use crate::store::page_format::format_of_page;
use crate::store::report::PageCounts;
use crate::store::rules::PageRules;
use crate::store::sample_exemplars::{ExemplarOwner, SampleExemplars};
use crate::store::sample_labels::{SampleLabels, Sampled};
use crate::wal::appender::Appender;
use crate::wal::error::WalError;
use crate::wal::is_stale_nan;
use std::mem;

/// Texts that stand once in a page and are written for many series (labels of a histogram's buckets, the help of a
/// family) may take this many times its size together, and this many bytes beside. An API server's page of protobuf, with
/// some 50 buckets a histogram, comes to about eleven times its size.
const MAX_SPREAD: usize = 8;
const MIN_SPREAD_BYTES: usize = 64 << 20;

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
    /// Of series that are new to a target with as many as `series_limit` allows.
    pub over_series_limit: u64,
    /// Of series that are new to a process with as many as `--storage.agent.max-series` allows.
    pub over_max_series: u64,
}

/// Whether metadata goes into the log beside the samples (`--enable-feature=metadata-wal-records`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetadataRecords {
    /// As Prometheus' agent.
    #[default]
    NotWritten,
    /// A record for every series that is new or whose family is described in another way than before.
    Written,
}

/// Memory for a page; kept by the permit and reused.
#[derive(Debug, Default)]
pub struct PageScratch {
    /// Labels of one series.
    pub labels: SampleLabels,
    /// What the parser puts together.
    pub parser_buffers: ParserBuffers,
    /// Exemplars of one sample.
    pub exemplars: SampleExemplars,
}

/// One page on its way into a transaction.
#[derive(Debug)]
pub struct PageAppend<'a, 'b> {
    /// What the job and the target want of it.
    pub rules: PageRules<'a>,
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
    pub scratch: &'a mut PageScratch,
    /// The transaction.
    pub appender: &'a mut Appender,
    /// What the page had; also right when it is refused, as far as it was read.
    pub counts: PageCounts,
    /// What was not staged.
    pub left_out: LeftOut,
    /// Samples that count against `sample_limit`, if there is one.
    pub n_limited: u64,
    /// Series that count against the target's `series_limit`.
    pub n_series: u64,
    /// A histogram has more buckets than `native_histogram_bucket_limit`, at every resolution.
    pub is_over_bucket_limit: bool,
    /// Bytes of labels of new series, as they stand in the page or would.
    pub n_spread_bytes: usize,
    /// Of metadata in the log.
    pub n_help_bytes: usize,
    /// How many there may be of each; set by [`PageAppend::append`].
    pub max_spread_bytes: usize,
    /// Deadline, cancellation and who else waits.
    pub pace: &'a mut Pace<'b>,
}

impl PageAppend<'_, '_> {
    /// Stages a page.
    ///
    /// # Errors
    /// The page is refused; what is staged is to be rolled back.
    pub fn append(&mut self, page: Page<'_>) -> Result<(), PageError> {
        #[cfg(any(test, feature = "faults"))]
        crate::threads::fault::strike_at("page", page.bytes);
        let format = format_of_page(page.content_type, self.rules.fallback_format)?;
        let options = ParserOptions {
            ignore_native_histograms: !self.rules.scrape_native_histograms,
            keep_classic_histograms: self.rules.always_scrape_classic_histograms,
            convert_classic_histograms: self.rules.convert_classic_histograms_to_nhcb,
            // `created-timestamp-zero-ingestion` is not built: as in Prometheus without it, these are samples.
            skip_created_series: false,
        };
        self.max_spread_bytes = page.bytes.len().saturating_mul(MAX_SPREAD).saturating_add(MIN_SPREAD_BYTES);
        let buffers = mem::take(&mut self.scratch.parser_buffers);
        let mut parser = Parser::new(format, page.bytes, options, buffers);
        self.metadata.begin(format);
        let result = match format {
            Format::Text => self.append_entries(&mut parser, HasExemplars::No),
            Format::OpenMetrics | Format::Protobuf => self.append_entries(&mut parser, HasExemplars::Maybe),
        };
        self.scratch.parser_buffers = parser.into_buffers();
        result?;
        if self.is_over_limit() {
            let samples = self.counts.post_metric_relabeling;
            return Err(PageError::SampleLimit { samples, limit: self.rules.sample_limit });
        }
        if self.is_over_bucket_limit {
            return Err(PageError::BucketLimit { limit: self.rules.native_histogram_bucket_limit });
        }
        Ok(())
    }

    /// Whether `sample_limit` is exceeded.
    pub fn is_over_limit(&self) -> bool {
        self.rules.sample_limit > 0 && self.n_limited > self.rules.sample_limit
    }

    fn append_entries(
        &mut self,
        parser: &mut Parser<'_>,
        has_exemplars: HasExemplars,
    ) -> Result<(), PageError> {
        loop {
            let Self { cache, cursor, metadata, .. } = self;
            let Some(entry) = parser.next(&mut LastPages { cache, cursor, metadata })? else {
                return Ok(());
            };
            self.pace.step(parser.series_text().len())?;
            let (known, timestamp_ms, value) = match entry {
                Entry::Series { known, value, timestamp_ms } => (known, timestamp_ms, Value::Float(value)),
                Entry::Histogram { known, timestamp_ms } => (known, timestamp_ms, Value::Histogram),
                Entry::Type { .. }
                | Entry::Help { .. }
                | Entry::Unit { .. }
                | Entry::KnownMetadata { .. }
                | Entry::Comment => {
                    self.metadata.note(&entry);
                    continue;
                }
            };
            self.counts.scraped += 1;
            let own_ts_ms = timestamp_ms.filter(|_| self.rules.honor_timestamps);
            let ts_ms = own_ts_ms.unwrap_or(self.ts_ms);
            let sample = Sample { own_ts_ms, ts_ms, value, has_exemplars };
            let guessed = if known { self.cache.hit_guessed(self.cursor) } else { None };
            let found = match guessed {
                Some(hit) => Ok(hit),
                None => self.cache.find(self.cursor, parser.series_text()),
            };
            match found {
                Ok(Hit { known: Known::Dropped, .. }) => {}
                // Parsing labels costs far more than all the rest: only where the series is not at hand.
                Ok(Hit { entry_idx, is_repeated, known: Known::Series(handle) }) => {
                    self.append_known(entry_idx, is_repeated, handle, parser, sample)?;
                    self.log_changed_metadata(handle, parser)?;
                }
                Ok(Hit { entry_idx, is_repeated, known: Known::Forgotten }) => {
                    self.append_forgotten(entry_idx, is_repeated, parser, sample)?;
                }
                Ok(Hit { entry_idx, is_repeated, known: Known::OverBudget }) => {
                    self.append_over_budget(entry_idx, is_repeated, parser, sample)?;
                }
                Err(new_text) => self.append_new(new_text, parser, sample)?,
            }
        }
    }

    fn append_known(
        &mut self,
        entry_idx: usize,
        is_repeated: bool,
        handle: SeriesHandle,
        parser: &mut Parser<'_>,
        sample: Sample,
    ) -> Result<(), PageError> {
        self.counts.post_metric_relabeling += 1;
        if is_repeated && sample.own_ts_ms.is_none() {
            self.left_out.duplicates += 1;
            return Ok(());
        }
        if !self.is_admitted(parser, sample, Standing::Known)? {
            return Ok(());
        }
        self.stage(handle, parser, sample);
        if self.is_tracked(sample) {
            self.cache.track(entry_idx);
        }
        Ok(())
    }

    /// A series that had to be left out before.
    fn append_over_budget(
        &mut self,
        entry_idx: usize,
        is_repeated: bool,
        parser: &mut Parser<'_>,
        sample: Sample,
    ) -> Result<(), PageError> {
        if !self.has_room() {
            self.counts.post_metric_relabeling += 1;
            self.left_out.over_series_limit += 1;
        } else if self.left_out.over_max_series > 0 {
            // Looking up labels for each of them, only to be refused, would be the costliest part of the page.
            self.counts.post_metric_relabeling += 1;
            self.left_out.over_max_series += 1;
        } else {
            let n_before = self.left_out.over_max_series;
            self.append_forgotten(entry_idx, is_repeated, parser, sample)?;
            if self.left_out.over_max_series == n_before {
                self.n_series += 1;
                self.counts.series_added += 1;
            }
        }
        Ok(())
    }

    /// A series that the cache knows and whose handle was lost.
    fn append_forgotten(
        &mut self,
        entry_idx: usize,
        is_repeated: bool,
        parser: &mut Parser<'_>,
        sample: Sample,
    ) -> Result<(), PageError> {
        match self.scratch.labels.build(parser, &self.rules)? {
            // The same rules kept it before; other rules come with an empty cache.
            Sampled::Dropped => Ok(()),
            Sampled::Kept => {
                let found = self.appender.bounded_series(&self.scratch.labels.builder);
                let Some(lookup) = found.map_err(wal_error)? else {
                    self.counts.post_metric_relabeling += 1;
                    self.left_out.over_max_series += 1;
                    return Ok(());
                };
                self.cache.remember(entry_idx, lookup.handle);
                self.append_known(entry_idx, is_repeated, lookup.handle, parser, sample)?;
                self.log_metadata(lookup.handle);
                Ok(())
            }
        }
    }

    fn append_new(
        &mut self,
        new_text: NewText,
        parser: &mut Parser<'_>,
        sample: Sample,
    ) -> Result<(), PageError> {
        self.n_spread_bytes += parser.series_text().len();
        if self.n_spread_bytes > self.max_spread_bytes {
            let (bytes, limit) = (self.n_spread_bytes, self.max_spread_bytes);
            return Err(PageError::Amplified { bytes, limit });
        }
        if self.scratch.labels.build(parser, &self.rules)? == Sampled::Dropped {
            self.cache.insert(self.cursor, new_text, Known::Dropped);
            return Ok(());
        }
        self.counts.post_metric_relabeling += 1;
        if !self.has_room() {
            // Its text is remembered, so that the next page does not relabel it again.
            self.cache.insert(self.cursor, new_text, Known::OverBudget);
            self.left_out.over_series_limit += 1;
            return Ok(());
        }
        if !self.is_admitted(parser, sample, Standing::New)? {
            return Ok(());
        }
        let found = self.appender.bounded_series(&self.scratch.labels.builder).map_err(wal_error)?;
        let Some(lookup) = found else {
            self.cache.insert(self.cursor, new_text, Known::OverBudget);
            self.left_out.over_max_series += 1;
            return Ok(());
        };
        if sample.ts_ms <= lookup.last_ts_ms {
            // It is taken in, and counted as added, with its first sample.
            self.left_out.out_of_order += 1;
            return Ok(());
        }
        self.stage(lookup.handle, parser, sample);
        self.log_metadata(lookup.handle);
        let entry_idx = self.cache.insert(self.cursor, new_text, Known::Series(lookup.handle));
        if self.is_tracked(sample) {
            self.cache.track(entry_idx);
        }
        self.n_series += 1;
        if !self.is_over_bucket_limit {
            self.counts.series_added += 1;
        }
        Ok(())
    }

    /// What the page says of a series whose labels are in the builder, if it says something of it.
    fn log_metadata(&mut self, handle: SeriesHandle) {
        if self.metadata_records == MetadataRecords::NotWritten {
            return;
        }
        if let Some(family) = self.metadata.current()
            && family.has_metric(self.scratch.labels.builder.get(METRIC_NAME))
            && self.n_help_bytes <= self.max_spread_bytes
        {
            // What is beyond is left out: a help of megabytes for each of a million series.
            self.n_help_bytes += family.help.len();
            self.appender.append_metadata(handle, family.metric_type, family.unit, family.help);
        }
    }

    /// The same for a series that the cache knows, if the page says something else than the last one.
    fn log_changed_metadata(&mut self, handle: SeriesHandle, parser: &Parser<'_>) -> Result<(), PageError> {
        if self.metadata_records == MetadataRecords::NotWritten
            || self.metadata.current().is_none_or(|family| !family.is_new)
        {
            return Ok(());
        }
        if self.scratch.labels.build(parser, &self.rules)? == Sampled::Kept {
            self.log_metadata(handle);
        }
        Ok(())
    }

    /// Whether the target may have another series.
    fn has_room(&self) -> bool {
        self.rules.series_limit == 0 || self.n_series < self.rules.series_limit
    }

    /// Counts a sample against the limits, in the order of Prometheus' appenders: resolution, buckets, samples, time.
    /// Those over `sample_limit` are still read, so that the report says how many there are.
    #[inline]
    fn is_admitted(
        &mut self,
        parser: &mut Parser<'_>,
        sample: Sample,
        standing: Standing,
    ) -> Result<bool, PageError> {
        match sample.value {
            Value::Float(_) => Ok(self.is_within_limits(sample, standing)),
            Value::Histogram => self.is_admitted_histogram(parser, sample, standing),
        }
    }

    // Nearly every sample is a float: what histograms need stays out of its way.
    #[inline(never)]
    fn is_admitted_histogram(
        &mut self,
        parser: &mut Parser<'_>,
        sample: Sample,
        standing: Standing,
    ) -> Result<bool, PageError> {
        if !self.fits_buckets(parser)? || !self.is_within_limits(sample, standing) {
            return Ok(false);
        }
        if let Some(histogram) = parser.histogram() {
            let valid = histogram.validate();
            valid.map_err(|error| self.refused_histogram(&error))?;
        }
        Ok(true)
    }

    #[inline]
    fn is_within_limits(&mut self, sample: Sample, standing: Standing) -> bool {
        if self.rules.sample_limit > 0 {
            self.n_limited += u64::from(!sample.is_end_of(standing));
            if self.is_over_limit() {
                return false;
            }
        }
        if sample.ts_ms > self.max_ts_ms {
            self.left_out.out_of_bounds += 1;
            return false;
        }
        true
    }

    /// What is no histogram ends the page, and is not counted behind relabelling.
    fn refused_histogram(&mut self, error: &dyn std::error::Error) -> PageError {
        self.counts.post_metric_relabeling -= 1;
        PageError::Histogram { cause: error.to_string() }
    }

    /// Lowers the resolution of the histogram read last as far as the job wants it.
    fn fits_buckets(&mut self, parser: &mut Parser<'_>) -> Result<bool, PageError> {
        let Some(histogram) = parser.histogram() else { return Ok(true) };
        let factor = self.rules.native_histogram_min_bucket_factor;
        let mut fitted = Ok(());
        if factor > 1.0 {
            fitted = histogram.cap_schema(schema_of_bucket_factor(factor)).map_err(FitError::Malformed);
        }
        if let (Ok(()), limit @ 1..) = (&fitted, self.rules.native_histogram_bucket_limit) {
            fitted = histogram.fit_buckets(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        match fitted {
            Ok(()) => Ok(true),
            Err(FitError::TooManyBuckets) => {
                self.is_over_bucket_limit = true;
                Ok(false)
            }
            Err(error @ FitError::Malformed(_)) => Err(self.refused_histogram(&error)),
        }
    }

    #[inline]
    fn stage(&mut self, handle: SeriesHandle, parser: &mut Parser<'_>, sample: Sample) {
        let owner = match sample.value {
            Value::Float(value) => {
                self.appender.append(handle, sample.ts_ms, value);
                ExemplarOwner::Float
            }
            Value::Histogram => {
                self.stage_histogram(handle, parser, sample);
                ExemplarOwner::Histogram
            }
        };
        if sample.has_exemplars == HasExemplars::Maybe {
            self.scratch.exemplars.append(parser, owner, sample.ts_ms, self.appender, handle);
        }
    }

    #[inline(never)]
    fn stage_histogram(&mut self, handle: SeriesHandle, parser: &mut Parser<'_>, sample: Sample) {
        if let Some(histogram) = parser.histogram() {
            self.appender.append_histogram(handle, sample.ts_ms, histogram);
        }
    }

    fn is_tracked(&self, sample: Sample) -> bool {
        sample.own_ts_ms.is_none() || self.rules.track_timestamps_staleness
    }
}

/// What a target's earlier pages had.
struct LastPages<'a> {
    cache: &'a ScrapeCache,
    cursor: &'a mut Cursor,
    metadata: &'a mut MetadataCache,
}

impl Recall for LastPages<'_> {
    fn series(&mut self, text: &[u8]) -> Option<usize> {
        self.cache.guess(self.cursor, text)
    }

    fn metadata(&mut self, text: &[u8]) -> Option<KnownLine> {
        self.metadata.guess(text)
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// The timestamp in the page, if it counts.
    own_ts_ms: Option<i64>,
    ts_ms: i64,
    value: Value,
    has_exemplars: HasExemplars,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Float(f64),
    /// The parser has it.
    Histogram,
}

/// Whether the format has exemplars at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HasExemplars {
    No,
    Maybe,
}

/// Whether the cache knows a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Known,
    New,
}

impl Sample {
    /// A stale marker in the page for a series that is known: `sample_limit` does not hold it back.
    fn is_end_of(&self, standing: Standing) -> bool {
        matches!(self.value, Value::Float(value) if standing == Standing::Known && is_stale_nan(value))
    }
}

fn wal_error(error: WalError) -> PageError {
    PageError::Wal { cause: error.to_string() }
}
