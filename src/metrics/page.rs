//! A metrics page in text format 0.0.4, written family by family.

use crate::metrics::{Counter, Family, Gauge, Histogram, Summary};

/// The page being written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// The quantiles Prometheus' own summaries carry.
pub const QUANTILES: [f64; 5] = [0.01, 0.05, 0.5, 0.9, 0.99];

impl Page {
    /// The finished page.
    pub fn into_text(self) -> String {
        self.text
    }

    /// A family with one counter.
    pub fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.header(name, help, "counter");
        self.sample(name, &[], counter.get() as f64);
    }

    /// A family with one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) {
        self.header(name, help, "gauge");
        self.sample(name, &[], gauge.get());
    }

    /// A family of counters.
    pub fn counters(&mut self, name: &str, help: &str, family: &Family<Counter>) {
        let _ = (name, help, family);
        todo!("web helper")
    }

    /// A family of gauges.
    pub fn gauges(&mut self, name: &str, help: &str, family: &Family<Gauge>) {
        let _ = (name, help, family);
        todo!("web helper")
    }

    /// A family with one histogram.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let _ = (name, help, histogram);
        todo!("web helper")
    }

    /// A family of summaries, with Prometheus' quantiles.
    pub fn summaries(&mut self, name: &str, help: &str, family: &Family<Summary>) {
        let _ = (name, help, family);
        todo!("web helper")
    }

    /// `# HELP` and `# TYPE`; samples of the family must follow at once.
    pub fn header(&mut self, name: &str, help: &str, kind: &str) {
        let _ = (name, help, kind);
        todo!("web helper")
    }

    /// One sample line.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let _ = (name, labels, value);
        let _ = &mut self.text;
        todo!("web helper")
    }
}
