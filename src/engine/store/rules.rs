//! What a job, a target and a scrape want of a page: the settings that decide what is stored, and nothing else of a
//! configuration.

use crate::exposition::content_type::Format;
use crate::labels::Labels;
use crate::labels::relabel::{NameScheme, RelabelRule};

/// The rules for one page; the names are those of the configuration's keys.
#[derive(Clone, Copy, Debug)]
pub struct PageRules<'a> {
    /// Labels that every series gets.
    pub target_labels: &'a Labels,
    /// What a page without a usable `Content-Type` is taken for; `None`: it is refused.
    pub fallback_format: Option<Format>,
    /// Labels of the page win over those of the target.
    pub honor_labels: bool,
    /// Timestamps of the page count.
    pub honor_timestamps: bool,
    /// Series with timestamps of their own get staleness markers, too.
    pub track_timestamps_staleness: bool,
    /// Native histograms of a page are read; otherwise their classic part.
    pub scrape_native_histograms: bool,
    /// The classic part is read beside the native one.
    pub always_scrape_classic_histograms: bool,
    /// Classic histograms become native ones with custom buckets.
    pub convert_classic_histograms_to_nhcb: bool,
    /// In their order.
    pub metric_relabel_configs: &'a [RelabelRule],
    /// Which names are names.
    pub metric_name_validation_scheme: NameScheme,
    /// Samples after relabelling; 0 for any number.
    pub sample_limit: u64,
    /// Series that the target may have; 0 for any number.
    pub series_limit: u64,
    /// On the labels of a series.
    pub label_limits: LabelLimits,
    /// Buckets of a native histogram; 0 for any number.
    pub native_histogram_bucket_limit: u64,
    /// Least growth from one bucket to the next; 0 for any.
    pub native_histogram_min_bucket_factor: f64,
    /// Whether metadata goes into the log, too.
    pub metadata_records: MetadataRecords,
    /// Timestamp of samples without one of their own.
    pub ts_ms: i64,
    /// Samples with a later timestamp are left out.
    pub max_ts_ms: i64,
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

/// Limits on the labels of one series; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelLimits {
    /// `label_limit`: how many.
    pub labels: u64,
    /// `label_name_length_limit`, in bytes.
    pub name_bytes: u64,
    /// `label_value_length_limit`, in bytes.
    pub value_bytes: u64,
}
