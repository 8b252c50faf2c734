//! What one sample costs: bytes on disk and on the wire, and what these are worked out of.

use crate::remote::metrics::EndpointMetrics;
use crate::web::pages::figures::Figures;
use crate::web::pages::{bytes, coarse, escape};
use std::sync::Arc;

/// Bytes of one sample.
#[derive(Debug, Default)]
pub(super) struct Prices {
    /// On disk; `None` before anything was written.
    pub(super) disk: Option<f64>,
    /// On the wire, to all endpoints; `None` if nothing was taken by any.
    pub(super) wire: Option<f64>,
    /// How it was worked out, sentence by sentence, as HTML.
    pub(super) basis: Vec<String>,
}

impl Prices {
    /// Of what was written since the start, and of what endpoints have taken in the last day.
    pub(super) fn read(figures: &Figures, endpoints: &[Arc<EndpointMetrics>], started: &str) -> Self {
        let mut prices = Self::default();
        let n_written = figures.of("prometheus_tsdb_wal_record_parts_bytes_written_total");
        let n_samples = figures.of("prometheus_agent_samples_appended_total");
        prices.basis.push(match n_samples > 0.0 {
            true => {
                let price = n_written / n_samples;
                prices.disk = Some(price);
                format!(
                    "A sample takes {price:.1} bytes on disk: {} for {n_samples} samples since the start, {started}.",
                    bytes(n_written)
                )
            }
            false => "Nothing was written to disk yet.".to_owned(),
        });
        for endpoint in endpoints {
            let (sent, taken) = (endpoint.byte_traffic.lock().day, endpoint.sample_traffic.lock().day);
            let name = escape(&endpoint.name);
            prices.basis.push(match taken.n {
                0 => format!("{name} has taken no sample yet: what it would cost on the wire is not known."),
                n_taken => {
                    let price = sent.n as f64 / n_taken as f64;
                    prices.wire = Some(prices.wire.unwrap_or(0.0) + price);
                    format!(
                        "On the wire to {name} it takes {price:.1} bytes, repetitions included: {} for {n_taken} samples \
                         in the last {}.",
                        bytes(sent.n as f64),
                        coarse(taken.over)
                    )
                }
            });
        }
        if endpoints.is_empty() {
            prices.basis.push("Nothing goes on the wire: no remote_write is configured.".to_owned());
        }
        prices
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::traffic::{Growth, Traffic};
    use std::time::Duration;

    #[test]
    fn no_price_without_what_it_is_worked_out_of() {
        let endpoint = Arc::new(EndpointMetrics::new("a&b".to_owned(), "http://b".to_owned()));
        let prices = Prices::read(&Figures::default(), &[Arc::clone(&endpoint)], "1m ago");
        assert_eq!((prices.disk, prices.wire, prices.basis.len()), (None, None, 2));
        assert!(prices.basis[1].starts_with("a&amp;b has taken no sample yet"), "{:?}", prices.basis);

        let over = Duration::from_secs(3600);
        let traffic = |n: u64| Traffic { day: Growth { n, over }, ..Traffic::default() };
        *endpoint.byte_traffic.lock() = traffic(500);
        *endpoint.sample_traffic.lock() = traffic(100);
        let mut figures = Figures::default();
        figures.take(
            "prometheus_tsdb_wal_record_parts_bytes_written_total 3000\n\
             prometheus_agent_samples_appended_total{type=\"float\"} 600\n",
        );
        let prices = Prices::read(&figures, &[endpoint], "1m ago");
        assert_eq!((prices.disk, prices.wire), (Some(5.0), Some(5.0)));
        let want = [
            "A sample takes 5.0 bytes on disk: 3.0 kB for 600 samples since the start, 1m ago.",
            "On the wire to a&amp;b it takes 5.0 bytes, repetitions included: 500 bytes for 100 samples in the last 1h.",
        ];
        assert_eq!(prices.basis, want);
    }
}
