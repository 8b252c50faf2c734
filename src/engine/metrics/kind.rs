//! How each kind of metric writes its samples.

use crate::metrics::page::{Page, go_float};
use crate::metrics::{Counter, Family, Gauge, Histogram, Labelled, Summary};

/// The quantiles Prometheus' own summaries carry.
const QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];

/// A metric that can stand on a page.
pub trait Metric {
    /// What `# TYPE` says.
    fn kind(&self) -> &'static str;

    /// Writes the samples, each with these labels.
    fn write(&self, page: &mut Page, name: &str, labels: &[(&str, &str)]);
}

impl Metric for Counter {
    fn kind(&self) -> &'static str {
        "counter"
    }

    fn write(&self, page: &mut Page, name: &str, labels: &[(&str, &str)]) {
        page.sample(name, labels, self.get() as f64);
    }
}

impl Metric for Gauge {
    fn kind(&self) -> &'static str {
        "gauge"
    }

    fn write(&self, page: &mut Page, name: &str, labels: &[(&str, &str)]) {
        page.sample(name, labels, self.get());
    }
}

impl Metric for Histogram {
    fn kind(&self) -> &'static str {
        "histogram"
    }

    fn write(&self, page: &mut Page, name: &str, labels: &[(&str, &str)]) {
        let (bounds, state) = self.snapshot();
        let bucket_name = format!("{name}_bucket");
        let mut cumulative = 0;
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(state.buckets.iter()) {
            cumulative += count;
            let bound = go_float(bound);
            page.sample(&bucket_name, &[labels, &[("le", &bound)]].concat(), cumulative as f64);
        }
        page.sum_and_count(name, labels, state.sum, state.count);
    }
}

impl Metric for Summary {
    fn kind(&self) -> &'static str {
        "summary"
    }

    fn write(&self, page: &mut Page, name: &str, labels: &[(&str, &str)]) {
        let (values, count, sum) = self.snapshot(&QUANTILES);
        for (quantile, value) in QUANTILES.iter().zip(values) {
            let quantile = go_float(*quantile);
            page.sample(name, &[labels, &[("quantile", &quantile)]].concat(), value);
        }
        page.sum_and_count(name, labels, sum, count);
    }
}

impl<T: Metric> Metric for Family<T> {
    fn kind(&self) -> &'static str {
        self.make_child().kind()
    }

    fn write(&self, page: &mut Page, name: &str, labels: &[(&str, &str)]) {
        for (values, child) in self.children() {
            let own = self.label_names().iter().copied().zip(values.iter().map(String::as_str));
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain(own).collect();
            child.write(page, name, &labels);
        }
    }
}

impl<T: Metric> Metric for Labelled<T> {
    fn kind(&self) -> &'static str {
        self.metric.kind()
    }

    fn write(&self, page: &mut Page, name: &str, labels: &[(&str, &str)]) {
        self.metric.write(page, name, &[labels, &[self.label]].concat());
    }
}
