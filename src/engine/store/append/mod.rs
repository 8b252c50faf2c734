//! From a page to a transaction: every sample through the cache to the appender (Prometheus' `scrapeLoop.append`).
//!
//! Runs on a worker that holds a permit. Stages only; the scrape loop commits or rolls back. A page that is refused
//! is refused as a whole.

pub mod label_check;
pub mod sample_exemplars;
pub mod sample_labels;
pub mod tally;

use crate::exposition::Entry;
use crate::exposition::options::ParserOptions;
use crate::exposition::parser::{Parser, ParserBuffers};
use crate::exposition::recall::{KnownLine, Recall};
use crate::float::is_stale_nan;
use crate::histogram::resolution::{FitError, schema_of_bucket_factor};
use crate::labels::METRIC_NAME;
use crate::series::SeriesHandle;
use crate::store::append::sample_exemplars::{ExemplarOwner, SampleExemplars};
use crate::store::append::sample_labels::{SampleLabels, Sampled};
use crate::store::append::tally::{Spread, Tally};
use crate::store::cache::{Cursor, Hit, Known, NewText, ScrapeCache};
use crate::store::error::PageError;
use crate::store::family_cache::MetadataCache;
use crate::store::pace::Pace;
use crate::store::page_format::format_of_page;
use crate::store::rules::{MetadataRecords, PageRules};
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

/// What a target's earlier pages had.
#[derive(Debug)]
pub struct LastPages<'a> {
    /// Its series, begun.
    pub cache: &'a mut ScrapeCache,
    /// Where the page is in the cache.
    pub cursor: &'a mut Cursor,
    /// What they say of their families.
    pub metadata: &'a mut MetadataCache,
}

/// Where samples go, and what is needed to get them there.
#[derive(Debug)]
pub struct Sink<'a> {
    /// The transaction.
    pub appender: &'a mut Appender,
    /// Memory for one sample.
    pub scratch: &'a mut PageScratch,
}

/// One page on its way into a transaction.
#[derive(Debug)]
pub struct PageAppend<'a, 'b> {
    /// What the job, the target and this scrape want of it.
    pub rules: PageRules<'a>,
    /// What is known of it.
    pub last_pages: LastPages<'a>,
    /// Where it goes.
    pub sink: Sink<'a>,
    /// What it came to; also right when it is refused, as far as it was read.
    pub tally: Tally,
    /// Deadline, cancellation and who else waits.
    pub pace: &'a mut Pace<'b>,
}

impl PageAppend<'_, '_> {
    /// Stages a page.
    ///
    /// # Errors
    /// The page is refused; what is staged is to be rolled back.
    // Never a part of its caller, which is optimised for size.
    #[inline(never)]
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
        self.tally.spread = Spread::of_page(page.bytes.len());
        let buffers = mem::take(&mut self.sink.scratch.parser_buffers);
        let mut parser = Parser::new(format, page.bytes, options, buffers);
        self.last_pages.metadata.begin(format);
        let result = self.append_entries(&mut parser);
        self.sink.scratch.parser_buffers = parser.into_buffers();
        result?;
        if self.is_over_limit() {
            let samples = self.tally.counts.post_metric_relabeling;
            return Err(PageError::SampleLimit { samples, limit: self.rules.sample_limit });
        }
        if self.tally.is_over_bucket_limit {
            return Err(PageError::BucketLimit { limit: self.rules.native_histogram_bucket_limit });
        }
        Ok(())
    }

    /// Whether `sample_limit` is exceeded.
    pub fn is_over_limit(&self) -> bool {
        self.rules.sample_limit > 0 && self.tally.n_limited > self.rules.sample_limit
    }

    fn append_entries(&mut self, parser: &mut Parser<'_>) -> Result<(), PageError> {
        loop {
            let Some(entry) = parser.next(&mut self.last_pages)? else { return Ok(()) };
            self.pace.step(parser.series_text().len())?;
            let (known, timestamp_ms, value) = match entry {
                Entry::Series { known, value, timestamp_ms } => (known, timestamp_ms, Value::Float(value)),
                Entry::Histogram { known, timestamp_ms } => (known, timestamp_ms, Value::Histogram),
                Entry::Type { .. }
                | Entry::Help { .. }
                | Entry::Unit { .. }
                | Entry::KnownMetadata { .. }
                | Entry::Comment => {
                    self.last_pages.metadata.note(&entry);
                    continue;
                }
            };
            self.tally.counts.scraped += 1;
            let own_ts_ms = timestamp_ms.filter(|_| self.rules.honor_timestamps);
            let ts_ms = own_ts_ms.unwrap_or(self.rules.ts_ms);
            let sample = Sample { own_ts_ms, ts_ms, value };
            match self.last_pages.find(known, parser) {
                Ok(Hit { known: Known::Dropped, .. }) => {}
                // Parsing labels costs far more than all the rest: only where the series is not at hand.
                Ok(hit @ Hit { known: Known::Series(handle), .. }) => {
                    self.append_known(hit, handle, parser, sample)?;
                    self.log_changed_metadata(handle, parser)?;
                }
                Ok(hit @ Hit { known: Known::Forgotten, .. }) => {
                    self.append_forgotten(hit, parser, sample)?;
                }
                Ok(hit @ Hit { known: Known::OverBudget, .. }) => {
                    self.append_over_budget(hit, parser, sample)?;
                }
                Err(new_text) => self.append_new(new_text, parser, sample)?,
            }
        }
    }

    #[inline(always)]
    fn append_known(
        &mut self,
        hit: Hit,
        handle: SeriesHandle,
        parser: &mut Parser<'_>,
        sample: Sample,
    ) -> Result<(), PageError> {
        self.tally.counts.post_metric_relabeling += 1;
        if hit.is_repeated && sample.own_ts_ms.is_none() {
            self.tally.left_out.duplicates += 1;
            return Ok(());
        }
        if !self.is_admitted(parser, sample, Standing::Known)? {
            return Ok(());
        }
        self.stage(handle, parser, sample);
        if self.is_tracked(sample) {
            self.last_pages.cache.track(hit.entry_idx);
        }
        Ok(())
    }

    /// A series that had to be left out before.
    #[inline(never)]
    fn append_over_budget(
        &mut self,
        hit: Hit,
        parser: &mut Parser<'_>,
        sample: Sample,
    ) -> Result<(), PageError> {
        if !self.has_room() {
            self.tally.counts.post_metric_relabeling += 1;
            self.tally.left_out.over_series_limit += 1;
        } else if self.tally.left_out.over_max_series > 0 {
            // Looking up labels for each of them, only to be refused, would be the costliest part of the page.
            self.tally.counts.post_metric_relabeling += 1;
            self.tally.left_out.over_max_series += 1;
        } else {
            let n_before = self.tally.left_out.over_max_series;
            self.append_forgotten(hit, parser, sample)?;
            if self.tally.left_out.over_max_series == n_before {
                self.tally.n_series += 1;
                self.tally.counts.series_added += 1;
            }
        }
        Ok(())
    }

    /// A series that the cache knows and whose handle was lost.
    #[inline(never)]
    fn append_forgotten(
        &mut self,
        hit: Hit,
        parser: &mut Parser<'_>,
        sample: Sample,
    ) -> Result<(), PageError> {
        match self.sink.scratch.labels.build(parser, &self.rules)? {
            // The same rules kept it before; other rules come with an empty cache.
            Sampled::Dropped => Ok(()),
            Sampled::Kept => {
                let found = self.sink.appender.bounded_series(&self.sink.scratch.labels.builder);
                let Some(lookup) = found.map_err(wal_error)? else {
                    self.tally.counts.post_metric_relabeling += 1;
                    self.tally.left_out.over_max_series += 1;
                    return Ok(());
                };
                self.last_pages.cache.remember(hit.entry_idx, lookup.handle);
                self.append_known(hit, lookup.handle, parser, sample)?;
                self.log_metadata(lookup.handle);
                Ok(())
            }
        }
    }

    #[inline(never)]
    fn append_new(
        &mut self,
        new_text: NewText,
        parser: &mut Parser<'_>,
        sample: Sample,
    ) -> Result<(), PageError> {
        self.tally.spread.add_labels(parser.series_text())?;
        if self.sink.scratch.labels.build(parser, &self.rules)? == Sampled::Dropped {
            self.last_pages.insert(new_text, Known::Dropped);
            return Ok(());
        }
        self.tally.counts.post_metric_relabeling += 1;
        if !self.has_room() {
            // Its text is remembered, so that the next page does not relabel it again.
            self.last_pages.insert(new_text, Known::OverBudget);
            self.tally.left_out.over_series_limit += 1;
            return Ok(());
        }
        if !self.is_admitted(parser, sample, Standing::New)? {
            return Ok(());
        }
        let found =
            self.sink.appender.bounded_series(&self.sink.scratch.labels.builder).map_err(wal_error)?;
        let Some(lookup) = found else {
            self.last_pages.insert(new_text, Known::OverBudget);
            self.tally.left_out.over_max_series += 1;
            return Ok(());
        };
        if sample.ts_ms <= lookup.last_ts_ms {
            // It is taken in, and counted as added, with its first sample.
            self.tally.left_out.out_of_order += 1;
            return Ok(());
        }
        self.stage(lookup.handle, parser, sample);
        self.log_metadata(lookup.handle);
        let entry_idx = self.last_pages.insert(new_text, Known::Series(lookup.handle));
        if self.is_tracked(sample) {
            self.last_pages.cache.track(entry_idx);
        }
        self.tally.n_series += 1;
        if !self.tally.is_over_bucket_limit {
            self.tally.counts.series_added += 1;
        }
        Ok(())
    }

    /// What the page says of a series whose labels are in the builder, if it says something of it.
    fn log_metadata(&mut self, handle: SeriesHandle) {
        if self.rules.metadata_records == MetadataRecords::NotWritten {
            return;
        }
        if let Some(family) = self.last_pages.metadata.current()
            && family.has_metric(self.sink.scratch.labels.builder.get(METRIC_NAME))
            && self.tally.spread.admits_help(family.help)
        {
            self.sink.appender.append_metadata(handle, family.metric_type, family.unit, family.help);
        }
    }

    /// The same for a series that the cache knows, if the page says something else than the last one.
    #[inline]
    fn log_changed_metadata(&mut self, handle: SeriesHandle, parser: &Parser<'_>) -> Result<(), PageError> {
        if self.rules.metadata_records == MetadataRecords::NotWritten
            || self.last_pages.metadata.current().is_none_or(|family| !family.is_new)
        {
            return Ok(());
        }
        if self.sink.scratch.labels.build(parser, &self.rules)? == Sampled::Kept {
            self.log_metadata(handle);
        }
        Ok(())
    }

    /// Whether the target may have another series.
    fn has_room(&self) -> bool {
        self.rules.series_limit == 0 || self.tally.n_series < self.rules.series_limit
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
            self.tally.n_limited += u64::from(!sample.is_end_of(standing));
            if self.is_over_limit() {
                return false;
            }
        }
        if sample.ts_ms > self.rules.max_ts_ms {
            self.tally.left_out.out_of_bounds += 1;
            return false;
        }
        true
    }

    /// What is no histogram ends the page, and is not counted behind relabelling.
    fn refused_histogram(&mut self, error: &dyn std::error::Error) -> PageError {
        self.tally.counts.post_metric_relabeling -= 1;
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
                self.tally.is_over_bucket_limit = true;
                Ok(false)
            }
            Err(error @ FitError::Malformed(_)) => Err(self.refused_histogram(&error)),
        }
    }

    #[inline]
    fn stage(&mut self, handle: SeriesHandle, parser: &mut Parser<'_>, sample: Sample) {
        let owner = match sample.value {
            Value::Float(value) => {
                self.sink.appender.append(handle, sample.ts_ms, value);
                ExemplarOwner::Float
            }
            Value::Histogram => {
                self.stage_histogram(handle, parser, sample);
                ExemplarOwner::Histogram
            }
        };
        if parser.may_have_exemplars() {
            self.sink.scratch.exemplars.append(parser, owner, sample.ts_ms, self.sink.appender, handle);
        }
    }

    #[inline(never)]
    fn stage_histogram(&mut self, handle: SeriesHandle, parser: &mut Parser<'_>, sample: Sample) {
        if let Some(histogram) = parser.histogram() {
            self.sink.appender.append_histogram(handle, sample.ts_ms, histogram);
        }
    }

    fn is_tracked(&self, sample: Sample) -> bool {
        sample.own_ts_ms.is_none() || self.rules.track_timestamps_staleness
    }
}

impl LastPages<'_> {
    /// The sample read last in the cache. `known` is what its entry says.
    #[inline]
    fn find(&mut self, known: bool, parser: &Parser<'_>) -> Result<Hit, NewText> {
        let guessed = if known { self.cache.hit_guessed(self.cursor) } else { None };
        match guessed {
            Some(hit) => Ok(hit),
            None => self.cache.find(self.cursor, parser.series_text()),
        }
    }

    /// Takes a new text in; gives its entry.
    fn insert(&mut self, text: NewText, known: Known) -> usize {
        self.cache.insert(self.cursor, text, known)
    }
}

impl Recall for LastPages<'_> {
    #[inline(always)]
    fn series(&mut self, text: &[u8]) -> Option<usize> {
        self.cache.guess(self.cursor, text)
    }

    #[inline]
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
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Float(f64),
    /// The parser has it.
    Histogram,
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
