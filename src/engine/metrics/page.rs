//! A metrics page in text format 0.0.4, written family by family.
//!
//! Numbers are printed as Go prints them, so that a diff against Prometheus' own page shows only what differs.

use crate::metrics::{Counter, Family, Gauge, Histogram, Summary};
use std::fmt::Write as _;

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
        self.gauge_value(name, help, gauge.get());
    }

    /// A family with one gauge whose value is at hand.
    pub fn gauge_value(&mut self, name: &str, help: &str, value: f64) {
        self.header(name, help, "gauge");
        self.sample(name, &[], value);
    }

    /// A family of counters.
    pub fn counters(&mut self, name: &str, help: &str, family: &Family<Counter>) {
        self.header(name, help, "counter");
        for (values, counter) in family.children() {
            self.sample(name, &pairs(family.label_names(), &values), counter.get() as f64);
        }
    }

    /// A family of gauges.
    pub fn gauges(&mut self, name: &str, help: &str, family: &Family<Gauge>) {
        self.header(name, help, "gauge");
        for (values, gauge) in family.children() {
            self.sample(name, &pairs(family.label_names(), &values), gauge.get());
        }
    }

    /// A family with one histogram.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.header(name, help, "histogram");
        self.histogram_samples(name, &[], histogram);
    }

    /// The samples of one histogram of a family.
    pub fn histogram_samples(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let (bounds, state) = histogram.snapshot();
        let bucket_name = format!("{name}_bucket");
        let mut cumulative = 0;
        let bounds = bounds.iter().copied().chain([f64::INFINITY]);
        for (bound, count) in bounds.zip(state.buckets.iter()) {
            cumulative += count;
            let bound = go_float(bound);
            let mut labels = labels.to_vec();
            labels.push(("le", &bound));
            self.sample(&bucket_name, &labels, cumulative as f64);
        }
        self.sum_and_count(name, labels, state.sum, state.count);
    }

    /// A family with one summary, with Prometheus' quantiles.
    pub fn summary(&mut self, name: &str, help: &str, summary: &Summary) {
        self.header(name, help, "summary");
        self.summary_samples(name, &[], summary);
    }

    /// A family of summaries, with Prometheus' quantiles.
    pub fn summaries(&mut self, name: &str, help: &str, family: &Family<Summary>) {
        self.header(name, help, "summary");
        for (values, summary) in family.children() {
            self.summary_samples(name, &pairs(family.label_names(), &values), &summary);
        }
    }

    fn summary_samples(&mut self, name: &str, labels: &[(&str, &str)], summary: &Summary) {
        let (values, count, sum) = summary.snapshot(&QUANTILES);
        for (quantile, value) in QUANTILES.iter().zip(values) {
            let quantile = go_float(*quantile);
            let mut labels = labels.to_vec();
            labels.push(("quantile", &quantile));
            self.sample(name, &labels, value);
        }
        self.sum_and_count(name, labels, sum, count);
    }

    fn sum_and_count(&mut self, name: &str, labels: &[(&str, &str)], sum: f64, count: u64) {
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count as f64);
    }

    /// `# HELP` and `# TYPE`; samples of the family must follow at once.
    pub fn header(&mut self, name: &str, help: &str, kind: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample line.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.text.push_str(name);
        for (label_idx, (label_name, label_value)) in labels.iter().enumerate() {
            let opening = if label_idx == 0 { '{' } else { ',' };
            let label_value = label_value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{opening}{label_name}=\"{label_value}\"");
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", go_float(value));
    }
}

fn pairs<'a>(names: &'a [&'a str], values: &'a [String]) -> Vec<(&'a str, &'a str)> {
    names.iter().copied().zip(values.iter().map(String::as_str)).collect()
}

/// A float as Go's `strconv.FormatFloat(v, 'g', -1, 64)` prints it: exponents below -4 and from 21 on.
pub fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_go_prints_them() {
        let check = |value: f64, text: &str| assert_eq!(go_float(value), text);
        check(0.0, "0");
        check(1.0, "1");
        check(0.1, "0.1");
        check(1e20, "100000000000000000000");
        check(1e21, "1e+21");
        check(1.5e-7, "1.5e-07");
        check(0.0001, "0.0001");
        check(-2.5, "-2.5");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::NAN, "NaN");
    }

    #[test]
    fn a_page() {
        let counters = Family::<Counter>::new(&["job"]);
        counters.with(&["a\"b"]).add(2);
        let histogram = Histogram::new(&[0.5, 1.0]);
        histogram.observe(0.5);
        histogram.observe(7.0);
        let mut page = Page::default();
        page.counters("c_total", "Counts.", &counters);
        page.histogram("h", "Seconds.", &histogram);
        let expected = "# HELP c_total Counts.\n# TYPE c_total counter\nc_total{job=\"a\\\"b\"} 2\n\
                        # HELP h Seconds.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"1\"} 1\n\
                        h_bucket{le=\"+Inf\"} 2\nh_sum 7.5\nh_count 2\n";
        assert_eq!(page.into_text(), expected);
    }
}
