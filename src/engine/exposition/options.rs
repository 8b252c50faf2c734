//! What a job wants of a parser.

/// What becomes of histograms (Prometheus' `textparse.ParserOptions`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParserOptions {
    /// Native histograms are read as classic ones: `scrape_native_histograms` is off.
    pub ignore_native_histograms: bool,
    /// Classic series stay where there is a native histogram too: `always_scrape_classic_histograms`.
    pub keep_classic_histograms: bool,
    /// Classic histograms become native ones: `convert_classic_histograms_to_nhcb`.
    pub convert_classic_histograms: bool,
    /// `_created` lines of OpenMetrics are start times and no samples: `created-timestamp-zero-ingestion`.
    pub skip_created_series: bool,
}
