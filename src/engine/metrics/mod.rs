//! Self-metrics: plain atomics, one struct a module, no global registry.
//!
//! A module owns a struct of these and implements [`Collect`]; `daemon` hands all of them to the web server, which
//! asks them for a page. Names are Prometheus' names where the meaning is the same, so that dashboards work.

pub mod kind;
pub mod page;
mod table;

use crate::metrics::page::Page;
use crate::sorting::sort_by;
use parking_lot::Mutex;
use portable_atomic::{AtomicU64, Ordering};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// Something that writes its metrics on a page.
pub trait Collect: Send + Sync {
    /// Writes every family with help, type and samples.
    fn collect(&self, page: &mut Page);
}

/// Everything that collects, in the order of the page. Modules register at start; the web server asks.
#[derive(Default)]
pub struct Registry(Mutex<Vec<Arc<dyn Collect>>>);

impl Registry {
    /// Adds a module's metrics.
    pub fn register(&self, collector: Arc<dyn Collect>) {
        self.0.lock().push(collector);
    }

    /// The whole page, a module's metrics a piece.
    pub fn pieces(&self) -> impl Iterator<Item = String> + use<> {
        let collectors = self.0.lock().clone();
        collectors.into_iter().map(|collector| {
            let mut page = Page::default();
            collector.collect(&mut page);
            page.into_text()
        })
    }

    /// The whole page.
    pub fn page(&self) -> String {
        self.pieces().collect()
    }
}

/// A counter: only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A gauge: a number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Adds `delta`, which may be negative.
    pub fn add(&self, delta: f64) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bits| {
            Some((f64::from_bits(bits) + delta).to_bits())
        });
    }

    /// The value now.
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A classic histogram with fixed upper bounds (`+Inf` is implied).
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    state: Mutex<HistogramState>,
}

/// What a histogram has counted: per-bucket counts (not cumulative, the last is over every bound), count and sum.
#[derive(Clone, Debug)]
pub struct HistogramState {
    /// Observations a bucket; one more than there are bounds.
    pub buckets: Box<[u64]>,
    /// All observations.
    pub count: u64,
    /// Sum of the observed values.
    pub sum: f64,
}

impl Histogram {
    /// A histogram over ascending `bounds`.
    pub fn new(bounds: &'static [f64]) -> Self {
        let buckets = vec![0; bounds.len() + 1].into_boxed_slice();
        Self { bounds, state: Mutex::new(HistogramState { buckets, count: 0, sum: 0.0 }) }
    }

    /// Counts one value.
    pub fn observe(&self, value: f64) {
        let bucket_idx = self.bounds.partition_point(|bound| *bound < value);
        let mut state = self.state.lock();
        if let Some(bucket) = state.buckets.get_mut(bucket_idx) {
            *bucket += 1;
        }
        state.count += 1;
        state.sum += value;
    }

    /// The bounds and a copy of the counts.
    pub fn snapshot(&self) -> (&'static [f64], HistogramState) {
        (self.bounds, self.state.lock().clone())
    }
}

/// How many of the newest values a [`Summary`] takes its quantiles from.
const SUMMARY_WINDOW_VALUES: usize = 512;

/// A summary: quantiles over the newest values, count and sum over all.
#[derive(Debug, Default)]
pub struct Summary(Mutex<SummaryState>);

#[derive(Debug, Default)]
struct SummaryState {
    newest: VecDeque<f64>,
    count: u64,
    sum: f64,
}

impl Summary {
    /// Takes one value in.
    pub fn observe(&self, value: f64) {
        let mut state = self.0.lock();
        if state.newest.len() == SUMMARY_WINDOW_VALUES {
            state.newest.pop_front();
        }
        state.newest.push_back(value);
        state.count += 1;
        state.sum += value;
    }

    /// Takes a duration in, in seconds.
    pub fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_secs_f64());
    }

    /// The values at `quantiles` (NaN while empty), the count and the sum.
    pub fn snapshot(&self, quantiles: &[f64]) -> (Vec<f64>, u64, f64) {
        let state = self.0.lock();
        let mut sorted: Vec<f64> = state.newest.iter().copied().collect();
        sort_by(&mut sorted, f64::total_cmp);
        let at = |quantile: &f64| {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
        };
        (quantiles.iter().map(at).collect(), state.count, state.sum)
    }
}

/// A metric with a label whose value is known when it is made.
#[derive(Debug)]
pub struct Labelled<T> {
    label: (&'static str, &'static str),
    metric: T,
}

impl<T: Default> Labelled<T> {
    /// A metric at zero with this label.
    pub fn new(name: &'static str, value: &'static str) -> Self {
        Self { label: (name, value), metric: T::default() }
    }
}

impl<T> Deref for Labelled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.metric
    }
}

/// Metrics of one family, distinguished by label values; children go when their job or endpoint goes.
#[derive(Debug)]
pub struct Family<T> {
    label_names: &'static [&'static str],
    make: fn() -> T,
    children: Mutex<BTreeMap<Vec<String>, Arc<T>>>,
}

impl<T: Default> Family<T> {
    /// An empty family with these label names.
    pub fn new(label_names: &'static [&'static str]) -> Self {
        Self::made_by(label_names, T::default)
    }

    /// The same with the children that are known already, by the value of the one label: a rate needs the zero before the
    /// first event.
    pub fn of(label_names: &'static [&'static str; 1], label_values: &[&str]) -> Self {
        let family = Self::new(label_names);
        for value in label_values {
            family.with(&[value]);
        }
        family
    }
}

impl<T> Family<T> {
    /// An empty family with these label names, whose children are made so.
    pub fn made_by(label_names: &'static [&'static str], make: fn() -> T) -> Self {
        Self { label_names, make, children: Mutex::default() }
    }

    /// A child that belongs to nothing yet.
    pub(crate) fn make_child(&self) -> T {
        (self.make)()
    }

    /// The child with these label values, made at first use.
    pub fn with(&self, label_values: &[&str]) -> Arc<T> {
        let key: Vec<String> = label_values.iter().map(|value| (*value).to_owned()).collect();
        Arc::clone(self.children.lock().entry(key).or_insert_with(|| Arc::new((self.make)())))
    }

    /// Forgets the child with these label values.
    pub fn remove(&self, label_values: &[&str]) {
        let key: Vec<String> = label_values.iter().map(|value| (*value).to_owned()).collect();
        self.children.lock().remove(&key);
    }

    /// The label names.
    pub fn label_names(&self) -> &'static [&'static str] {
        self.label_names
    }

    /// All children with their label values, in order.
    pub fn children(&self) -> Vec<(Vec<String>, Arc<T>)> {
        self.children.lock().iter().map(|(values, child)| (values.clone(), Arc::clone(child))).collect()
    }
}
