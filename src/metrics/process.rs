//! `process_*` metrics from `/proc/self`.

use crate::metrics::Collect;
use crate::metrics::page::Page;

/// The process as `/proc/self` shows it.
#[derive(Debug, Default)]
pub struct ProcessMetrics {}

impl Collect for ProcessMetrics {
    fn collect(&self, page: &mut Page) {
        let _ = page;
        todo!("web helper")
    }
}
