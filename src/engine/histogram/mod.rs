//! Native histograms as they travel from a page through the log to an endpoint (Prometheus' `model/histogram`).
//!
//! A leaf: knows no format, no record and no label. One type holds both flavours, integer counts as delta-coded
//! buckets and float counts as absolute ones, since everything but the counts is the same.

pub mod bounds;
pub mod layout;
pub mod nhcb;
pub mod print;
pub mod resolution;
pub mod validate;

/// Schema of a histogram whose bucket bounds are listed (`histogram.CustomBucketsSchema`).
pub const CUSTOM_BUCKETS_SCHEMA: i32 = -53;

/// Lowest resolution of exponential buckets: each is 65 536 times as wide as the one before.
pub const MIN_SCHEMA: i32 = -4;

/// Highest resolution of exponential buckets: each is 0.27 % wider than the one before.
pub const MAX_SCHEMA: i32 = 8;

/// What is known of a counter reset before this histogram (`histogram.CounterResetHint`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CounterResetHint {
    /// Nothing: a reader compares with the histogram before.
    #[default]
    Unknown,
    /// There was one.
    CounterReset,
    /// There was none.
    NotCounterReset,
    /// The histogram is a gauge: resets mean nothing.
    Gauge,
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Gap to the end of the span before, in buckets; for the first span the index it starts with.
    pub offset: i32,
    /// Buckets in a row.
    pub length: u32,
}

/// Kind of the counts of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Flavour {
    Integer,
    Float,
}

/// Counts of a histogram: of all, of the zero bucket, of the buckets in the order of their spans.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the names are the same in both flavours")]
pub enum Counts {
    /// Buckets are differences: each to the one before, the first to 0.
    Integer { count: u64, zero_count: u64, positive_deltas: Vec<i64>, negative_deltas: Vec<i64> },
    /// Buckets are absolute.
    Float { count: f64, zero_count: f64, positive: Vec<f64>, negative: Vec<f64> },
}

/// One native histogram.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// What is known of a counter reset.
    pub counter_reset_hint: CounterResetHint,
    /// Resolution, −4 to 8: a bucket's bound is the one before times 2^(2^−schema); or [`CUSTOM_BUCKETS_SCHEMA`].
    pub schema: i32,
    /// Half width of the zero bucket.
    pub zero_threshold: f64,
    /// Sum of all observations; the stale marker if the series has ended.
    pub sum: f64,
    /// All counts.
    pub counts: Counts,
    /// Where the positive buckets are.
    pub positive_spans: Vec<Span>,
    /// Where the negative buckets are.
    pub negative_spans: Vec<Span>,
    /// Upper bounds for [`CUSTOM_BUCKETS_SCHEMA`], rising, without +Inf; empty otherwise.
    pub custom_values: Vec<f64>,
}

impl Counts {
    /// No observation.
    pub fn empty(flavour: Flavour) -> Self {
        match flavour {
            Flavour::Integer => Self::Integer {
                count: 0,
                zero_count: 0,
                positive_deltas: Vec::new(),
                negative_deltas: Vec::new(),
            },
            Flavour::Float => {
                Self::Float { count: 0.0, zero_count: 0.0, positive: Vec::new(), negative: Vec::new() }
            }
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counter_reset_hint: CounterResetHint::Unknown,
            schema: 0,
            zero_threshold: 0.0,
            sum: 0.0,
            counts: Counts::empty(Flavour::Integer),
            positive_spans: Vec::new(),
            negative_spans: Vec::new(),
            custom_values: Vec::new(),
        }
    }
}

impl Histogram {
    /// Makes it an empty one that keeps its memory, as far as the flavour stays the same.
    pub fn clear(&mut self, flavour: Flavour) {
        self.counter_reset_hint = CounterResetHint::Unknown;
        self.schema = 0;
        self.zero_threshold = 0.0;
        self.sum = 0.0;
        self.positive_spans.clear();
        self.negative_spans.clear();
        self.custom_values.clear();
        match (&mut self.counts, flavour) {
            (Counts::Integer { count, zero_count, positive_deltas, negative_deltas }, Flavour::Integer) => {
                (*count, *zero_count) = (0, 0);
                positive_deltas.clear();
                negative_deltas.clear();
            }
            (Counts::Float { count, zero_count, positive, negative }, Flavour::Float) => {
                (*count, *zero_count) = (0.0, 0.0);
                positive.clear();
                negative.clear();
            }
            (counts, flavour) => *counts = Counts::empty(flavour),
        }
    }

    /// Buckets of both sides, the zero bucket apart.
    pub fn n_buckets(&self) -> usize {
        match &self.counts {
            Counts::Integer { positive_deltas, negative_deltas, .. } => {
                positive_deltas.len() + negative_deltas.len()
            }
            Counts::Float { positive, negative, .. } => positive.len() + negative.len(),
        }
    }

    /// Number of observations.
    pub fn count(&self) -> f64 {
        match &self.counts {
            Counts::Integer { count, .. } => *count as f64,
            Counts::Float { count, .. } => *count,
        }
    }

    /// True if its bucket bounds are listed.
    pub fn has_custom_buckets(&self) -> bool {
        self.schema == CUSTOM_BUCKETS_SCHEMA
    }
}
