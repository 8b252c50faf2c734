//! A metrics page in text format 0.0.4, written family by family.
//!
//! Numbers are printed as Go prints them, so that a diff against Prometheus' own page shows only what differs.

use crate::metrics::kind::Metric;
use std::fmt::Write as _;

/// The page being written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    /// Name of the family that [`Page::metric`] wrote last.
    family: &'static str,
}

impl Page {
    /// The finished page.
    pub fn into_text(self) -> String {
        self.text
    }

    /// A metric with these labels; its header too unless the metric before has the same name, as children of one family
    /// have.
    pub fn metric(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], metric: &impl Metric) {
        if self.family != name {
            self.header(name, help, metric.kind());
            self.family = name;
        }
        metric.write(self, name, labels);
    }

    /// A family with one gauge whose value is at hand.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.header(name, help, "gauge");
        self.sample(name, &[], value);
    }

    /// `_sum` and `_count` of a histogram or a summary.
    pub(crate) fn sum_and_count(&mut self, name: &str, labels: &[(&str, &str)], sum: f64, count: u64) {
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

/// A float as Go's `strconv.FormatFloat(v, 'g', -1, 64)` prints it: exponents below -4 and from 6 on.
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
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Counter, Family, Histogram};

    #[test]
    fn floats_as_go_prints_them() {
        let check = |value: f64, text: &str| assert_eq!(go_float(value), text);
        check(0.0, "0");
        check(1.0, "1");
        check(0.1, "0.1");
        check(123_456.0, "123456");
        check(100_000.0, "100000");
        check(1e6, "1e+06");
        check(1_234_567.5, "1.2345675e+06");
        check(1e20, "1e+20");
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
        page.metric("c_total", "Counts.", &[], &counters);
        page.metric("h", "Seconds.", &[], &histogram);
        let expected = "# HELP c_total Counts.\n# TYPE c_total counter\nc_total{job=\"a\\\"b\"} 2\n\
                        # HELP h Seconds.\n# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"1\"} 1\n\
                        h_bucket{le=\"+Inf\"} 2\nh_sum 7.5\nh_count 2\n";
        assert_eq!(page.into_text(), expected);
    }
}
