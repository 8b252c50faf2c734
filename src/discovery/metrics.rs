//! `prometheus_sd_*`: what discovery counts about itself.

use crate::metrics::Collect;
use crate::metrics::page::Page;

/// Counters of all discovery threads.
#[derive(Debug, Default)]
pub struct DiscoveryMetrics {}

impl Collect for DiscoveryMetrics {
    fn collect(&self, page: &mut Page) {
        let _ = page;
    }
}
