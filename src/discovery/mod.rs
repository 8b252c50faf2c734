//! Discovery: one thread a provider, a manager that merges. Sends target sets, knows nothing of scraping.

pub mod metrics;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::config::Config;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::labels::Labels;

/// Targets that came together from one source, with the labels they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Tells groups of one provider apart: an index, or a file name and an index.
    pub source: String,
    /// Labels of each target; `__address__` at least.
    pub targets: Vec<Labels>,
    /// Labels that all of them share; a target's own win.
    pub labels: Labels,
}

/// Job name → its groups; jobs without targets are there with an empty list.
pub type TargetSets = BTreeMap<String, Vec<Arc<TargetGroup>>>;

/// The discovery threads: the manager and one a provider.
#[derive(Debug)]
pub struct Handle {}

impl Handle {
    /// Starts the manager and the providers of `config`. `target_sets` has capacity 1: while it is full the
    /// manager keeps the newest sets and offers them again.
    pub fn spawn(
        config: Arc<Config>,
        target_sets: Sender<TargetSets>,
        metrics: Arc<DiscoveryMetrics>,
    ) -> io::Result<Self> {
        let _ = (config, target_sets, metrics);
        todo!("http helper")
    }

    /// Takes over a new configuration; providers with equal settings go on. All sets are sent again.
    pub fn apply(&self, config: Arc<Config>) {
        let _ = config;
        todo!("http helper")
    }

    /// Stops every thread and waits for them.
    pub fn stop(self) {
        todo!("http helper")
    }
}
