//! The targets that discovery names for one job now, each once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::config::ScrapeConfig;
use crate::discovery::target_group::TargetGroup;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::targets::loop_key::LoopKey;
use crate::scrape::targets::status::{ActiveTarget, TargetStatus};
use crate::scrape::targets::target::{Discovered, Target, targets_from_group};
use scraped_engine::labels::builder::LabelsBuilder;

/// Targets that cannot be made are logged one by one up to this many a sync: a list of a hundred thousand must not fill
/// the log.
const MAX_FAILURES_LOGGED: usize = 10;

/// A target that discovery names now.
#[derive(Debug)]
pub struct Found {
    /// What to scrape.
    pub target: Arc<Target>,
    discovered: Discovered,
}

impl Found {
    /// As the pages list it.
    pub fn listed(self, key: LoopKey, target: Arc<Target>, status: Arc<TargetStatus>) -> ActiveTarget {
        ActiveTarget { key, target, discovered: self.discovered, status }
    }
}

/// All of them.
#[derive(Debug)]
pub struct FoundTargets {
    /// Those that are scraped, or shown because they are too many.
    pub targets: Vec<Found>,
    /// Those that relabelling dropped, up to `keep_dropped_targets`.
    pub dropped: Vec<Discovered>,
    /// How many were dropped.
    pub n_dropped: usize,
    /// By [`Target::hash`]: place in `targets`, which is beyond the end of what is not kept.
    places: BTreeMap<u64, usize>,
    n_failed: usize,
    most_kept: usize,
    most_dropped_kept: usize,
}

impl FoundTargets {
    /// What `groups` give under `config`. A target that cannot be made is counted and logged.
    pub fn of(config: &Arc<ScrapeConfig>, groups: &[Arc<TargetGroup>], metrics: &ScrapeMetrics) -> Self {
        let most_dropped_kept = match usize::try_from(config.limits.keep_dropped_targets) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(limit) => limit,
        };
        let mut found = Self {
            targets: Vec::new(),
            dropped: Vec::new(),
            n_dropped: 0,
            places: BTreeMap::new(),
            n_failed: 0,
            // Above `target_limit` none of them is scraped: some show it, and the rest is only counted.
            most_kept: config.limits.targets_kept().unwrap_or(usize::MAX),
            most_dropped_kept,
        };
        let job_name = &config.job_name;
        let mut builder = LabelsBuilder::new();
        for group in groups {
            let mut target_idx = 0;
            targets_from_group(config, group, &mut builder, |discovered, outcome| {
                match outcome {
                    Ok(Some(target)) => found.take(target, discovered),
                    Ok(None) => found.drop(discovered),
                    Err(error) => {
                        found.n_failed += 1;
                        if found.n_failed <= MAX_FAILURES_LOGGED {
                            log::error!(
                                "job {job_name:?}: creating target failed: instance {target_idx} in group {:?}: \
                                 {error}; it is not scraped",
                                group.source,
                            );
                        }
                    }
                }
                target_idx += 1;
            });
        }
        metrics.sync_failed.with(&[job_name]).add(found.n_failed as u64);
        if found.n_failed > MAX_FAILURES_LOGGED {
            let n_more = found.n_failed - MAX_FAILURES_LOGGED;
            log::error!("job {job_name:?}: creating {n_more} more targets failed; they are not scraped");
        }
        found
    }

    /// How many there are, kept or not.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    fn take(&mut self, target: Target, discovered: Discovered) {
        match self.places.entry(target.hash) {
            Entry::Vacant(entry) => {
                entry.insert(self.targets.len());
                if self.targets.len() < self.most_kept {
                    self.targets.push(Found { target: Arc::new(target), discovered });
                }
            }
            // Who found it last is shown, as in Prometheus.
            Entry::Occupied(entry) => {
                if let Some(found) = self.targets.get_mut(*entry.get()) {
                    found.discovered = discovered;
                }
            }
        }
    }

    fn drop(&mut self, discovered: Discovered) {
        self.n_dropped += 1;
        if self.dropped.len() < self.most_dropped_kept {
            self.dropped.push(discovered);
        }
    }
}
