//! Figures of the daemon's own page of metrics.

use serde::Serialize;
use std::fmt;

/// The page.
pub(in crate::commands) struct Figures(pub(in crate::commands) String);

impl Figures {
    /// The sum of a metric over all its series; 0 if there is none.
    pub(in crate::commands) fn sum(&self, name: &str) -> f64 {
        self.each(name).map(|(_, value)| value).sum()
    }

    /// Its series: labels as they stand there, without braces, and the value.
    pub(in crate::commands) fn each<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            Some((labels, value.split(' ').next()?.parse().ok()?))
        })
    }

    /// The value of one label in what [`Figures::each`] gives.
    pub(in crate::commands) fn label<'a>(labels: &'a str, name: &str) -> &'a str {
        let start = labels.split_once(&format!("{name}=\"")).map_or("", |(_, rest)| rest);
        start.split('"').next().unwrap_or_default()
    }

    /// Bytes of a sample on disk, measured since the start; `None` before anything was written.
    pub(in crate::commands) fn disk_price(&self) -> Option<f64> {
        let n_samples = self.sum("prometheus_agent_samples_appended_total");
        let n_bytes = self.sum("prometheus_tsdb_wal_record_parts_bytes_written_total");
        (n_samples > 0.0).then(|| n_bytes / n_samples)
    }

    /// The same on the wire, to all endpoints; `None` if nothing was sent.
    pub(in crate::commands) fn wire_price(&self) -> Option<f64> {
        let n_samples = self.sum("prometheus_remote_storage_samples_total");
        let n_bytes = self.sum("prometheus_remote_storage_bytes_total");
        let n_endpoints = self.each("prometheus_remote_storage_samples_total").count() as f64;
        (n_samples > 0.0).then(|| n_bytes / n_samples * n_endpoints)
    }

    /// How far each endpoint is behind.
    pub(in crate::commands) fn lags(&self) -> Vec<Lag> {
        let newest_s = self.sum("prometheus_remote_storage_highest_timestamp_in_seconds");
        let waiting: Vec<(&str, f64)> = self.each("prometheus_remote_storage_samples_pending").collect();
        self.each("prometheus_remote_storage_queue_highest_sent_timestamp_seconds")
            .map(|(labels, sent_s)| {
                let name = Self::label(labels, "remote_name");
                let pending = waiting.iter().find(|(labels, _)| Self::label(labels, "remote_name") == name);
                Lag {
                    endpoint: name.to_owned(),
                    seconds: (sent_s > 0.0).then(|| (newest_s - sent_s).max(0.0)),
                    samples: pending.map_or(0.0, |(_, n)| *n),
                }
            })
            .collect()
    }
}

/// How far an endpoint is behind.
#[derive(Clone, Debug, Serialize)]
pub(in crate::commands) struct Lag {
    endpoint: String,
    /// `None` as long as it has taken nothing.
    seconds: Option<f64>,
    /// That wait.
    samples: f64,
}

impl fmt::Display for Lag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, samples, .. } = self;
        match self.seconds {
            None => write!(f, "{endpoint} has taken nothing yet, {samples:.0} samples wait"),
            Some(seconds) => write!(f, "{endpoint} is {seconds:.0} s behind, {samples:.0} samples wait"),
        }
    }
}

/// `12.3 kB`.
pub(in crate::commands) fn bytes(n_bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut n = n_bytes;
    let mut unit = 0;
    while n >= 1000.0 && unit + 1 < units.len() {
        n /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{n:.0} B") } else { format!("{n:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let page = "# HELP a x\na 1\na_b 5\na{x=\"y} z\",w=\"v\"} 2.5\nc 1e3 1700000000000\n";
        let figures = Figures(page.to_owned());
        assert_eq!((figures.sum("a"), figures.sum("c"), figures.sum("d")), (3.5, 1000.0, 0.0));
        let labels: Vec<&str> = figures.each("a").map(|(labels, _)| labels).collect();
        assert_eq!(labels, ["", "x=\"y} z\",w=\"v\""]);
        assert_eq!(Figures::label(labels[1], "w"), "v");
        assert_eq!(
            (bytes(999.0), bytes(12_345.0), bytes(2.5e9)),
            ("999 B".into(), "12.3 kB".into(), "2.5 GB".into())
        );
    }
}
