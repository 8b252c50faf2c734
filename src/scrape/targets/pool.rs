//! One job's targets: discovered groups in, changes to the running loops out.
//!
//! Synced on the rayon threads of the scrape manager, all pools at once. A pool holds no loop and no lock, only the keys
//! of its loops: the loops live with the scheduler.

use crate::config::ScrapeConfig;
use crate::discovery::target_group::TargetGroup;
use crate::scrape::fetch::failure_log::FailureLog;
use crate::scrape::metrics::{ScrapeMetrics, go_duration};
use crate::scrape::targets::found::{Found, FoundTargets};
use crate::scrape::targets::loop_key::{LoopKey, LoopKeys};
use crate::scrape::targets::reuse::{Reuse, reuse};
use crate::scrape::targets::status::{ActiveTarget, PoolStatus, TargetStatus};
use crate::scrape::targets::target::Target;
use crate::scrape::targets::target_limit::TargetLimit;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What a loop needs to know.
#[derive(Clone, Debug)]
pub struct LoopSettings {
    /// What to scrape.
    pub target: Arc<Target>,
    /// How.
    pub config: Arc<ScrapeConfig>,
    /// Its row for the API.
    pub status: Arc<TargetStatus>,
    /// Whether its job has too many targets.
    pub target_limit: Arc<TargetLimit>,
    /// Where scrapes that got no page are written.
    pub failure_log: Option<Arc<FailureLog>>,
}

impl LoopSettings {
    /// Of a target that is its job's only one.
    pub fn alone(target: Arc<Target>, config: Arc<ScrapeConfig>, status: Arc<TargetStatus>) -> Self {
        Self { target, config, status, target_limit: Arc::default(), failure_log: None }
    }
}

/// `scrape_failure_log_file` of all jobs, each file once.
pub type FailureLogs = BTreeMap<PathBuf, Arc<FailureLog>>;

/// What a sync changes for the scheduler.
#[derive(Debug, Default)]
pub struct LoopChanges {
    /// New targets, and known ones whose scrape cache is of no use any more.
    pub add: Vec<(LoopKey, LoopSettings)>,
    /// Targets that are gone: their series get staleness markers two intervals later.
    pub retire: Vec<LoopKey>,
    /// Known targets with new settings; they keep their cache.
    pub replace: Vec<(LoopKey, LoopSettings)>,
}

impl LoopChanges {
    /// True if nothing changes.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.retire.is_empty() && self.replace.is_empty()
    }
}

/// What all pools share during a sync.
#[derive(Clone, Copy, Debug)]
pub struct PoolsShare<'manager> {
    /// Where new loops get their names.
    pub keys: &'manager LoopKeys,
    /// By path.
    pub failure_logs: &'manager FailureLogs,
    /// What syncs count.
    pub metrics: &'manager ScrapeMetrics,
}

/// The targets of one job.
#[derive(Debug)]
pub struct ScrapePool {
    config: Arc<ScrapeConfig>,
    /// By [`Target::hash`].
    active: BTreeMap<u64, ActiveLoop>,
    target_limit: Arc<TargetLimit>,
    failure_log: Option<Arc<FailureLog>>,
}

#[derive(Clone, Debug)]
struct ActiveLoop {
    key: LoopKey,
    target: Arc<Target>,
    status: Arc<TargetStatus>,
}

impl ScrapePool {
    /// A pool without targets.
    pub fn new(config: Arc<ScrapeConfig>) -> Self {
        Self { config, active: BTreeMap::new(), target_limit: Arc::default(), failure_log: None }
    }

    /// The configuration of the last sync.
    pub fn config(&self) -> &Arc<ScrapeConfig> {
        &self.config
    }

    /// Number of targets.
    pub fn len(&self) -> usize {
        self.active.len()
    }

    /// True without targets.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Works out what `groups` under `config` change (`scrapePool.Sync` and `reload` in Prometheus' `scrape/scrape.go`).
    pub fn sync(
        &mut self,
        config: &Arc<ScrapeConfig>,
        groups: &[Arc<TargetGroup>],
        shared: PoolsShare<'_>,
    ) -> (LoopChanges, PoolStatus) {
        let started = Instant::now();
        let reuse = reuse(&self.config, config);
        self.config = Arc::clone(config);
        self.failure_log = shared.failure_logs.get(&config.scrape_failure_log_file).map(Arc::clone);
        let found = FoundTargets::of(config, groups, shared.metrics);
        let n_targets = found.count();
        let (changes, active) = self.exchange(found.targets, reuse, shared.keys);
        self.count(n_targets, reuse, started, shared.metrics);
        (changes, PoolStatus { active, dropped: found.dropped, dropped_count: found.n_dropped })
    }

    /// Keeps the loops of targets that are still there, adds those of new ones, and lets the others go.
    fn exchange(
        &mut self,
        found: Vec<Found>,
        reuse: Reuse,
        keys: &LoopKeys,
    ) -> (LoopChanges, Vec<ActiveTarget>) {
        let mut changes = LoopChanges::default();
        let mut active = Vec::with_capacity(found.len());
        let mut gone = std::mem::take(&mut self.active);
        let mut unknown = Vec::new();
        for found in found {
            match gone.remove(&found.target.hash) {
                Some(known) => active.push(self.keep(known, found, reuse, keys, &mut changes)),
                None => unknown.push(found),
            }
        }
        // A target that differs only in its interval or in a `__` label continues where it was.
        let mut gone_by_identity: BTreeMap<u64, ActiveLoop> = BTreeMap::new();
        if !unknown.is_empty() {
            gone_by_identity.extend(gone.values().map(|it| (it.target.identity(), it.clone())));
        }
        for found in unknown {
            active.push(match gone_by_identity.remove(&found.target.identity()) {
                Some(known) => {
                    gone.remove(&known.target.hash);
                    let reuse = if reuse == Reuse::Untouched { Reuse::Cache } else { reuse };
                    self.keep(known, found, reuse, keys, &mut changes)
                }
                None => self.add(found, Arc::default(), keys, &mut changes),
            });
        }
        changes.retire.extend(gone.into_values().map(|it| it.key));
        (changes, active)
    }

    /// A sync that began at `started` has found this many targets.
    fn count(&self, n_targets: usize, reuse: Reuse, started: Instant, metrics: &ScrapeMetrics) {
        let took = started.elapsed();
        if reuse != Reuse::Untouched {
            metrics.scrape_pool_reloads.inc();
            let interval = go_duration(self.config.scrape_interval);
            metrics.reload_length.with(&[&interval]).observe_duration(took);
        }
        let job_name = &[self.config.job_name.as_str()];
        let limit = self.config.limits.target_limit;
        if self.target_limit.check(n_targets, limit) {
            metrics.exceeded_target_limit.inc();
        }
        metrics.target_limit.with(job_name).set(limit as f64);
        metrics.scrape_pool_targets.with(job_name).set(n_targets as f64);
        metrics.scrape_pool_syncs.with(job_name).inc();
        metrics.sync_length.with(job_name).observe_duration(took);
    }

    fn keep(
        &mut self,
        known: ActiveLoop,
        found: Found,
        reuse: Reuse,
        keys: &LoopKeys,
        changes: &mut LoopChanges,
    ) -> ActiveTarget {
        match reuse {
            Reuse::Untouched => {
                let active = found.listed(known.key, Arc::clone(&known.target), Arc::clone(&known.status));
                self.active.insert(known.target.hash, known);
                active
            }
            Reuse::Cache => {
                let target = Arc::clone(&found.target);
                let known = ActiveLoop { target: Arc::clone(&target), ..known };
                changes.replace.push((known.key, self.settings(&known)));
                let active = found.listed(known.key, Arc::clone(&target), Arc::clone(&known.status));
                self.active.insert(target.hash, known);
                active
            }
            Reuse::Nothing => {
                changes.retire.push(known.key);
                self.add(found, known.status, keys, changes)
            }
        }
    }

    fn add(
        &mut self,
        found: Found,
        status: Arc<TargetStatus>,
        keys: &LoopKeys,
        changes: &mut LoopChanges,
    ) -> ActiveTarget {
        let target = Arc::clone(&found.target);
        let added = ActiveLoop { key: keys.next(), target: Arc::clone(&target), status: Arc::clone(&status) };
        let key = added.key;
        changes.add.push((key, self.settings(&added)));
        self.active.insert(target.hash, added);
        found.listed(key, target, status)
    }

    fn settings(&self, active: &ActiveLoop) -> LoopSettings {
        LoopSettings {
            target: Arc::clone(&active.target),
            config: Arc::clone(&self.config),
            status: Arc::clone(&active.status),
            target_limit: Arc::clone(&self.target_limit),
            failure_log: self.failure_log.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scrape_options::ScrapeLimits;
    use crate::scrape::error::ScrapeError;
    use crate::scrape::targets::target::tests::{drop_with, group, job, set};
    use std::time::Duration;

    struct Fixture {
        pool: ScrapePool,
        keys: LoopKeys,
        metrics: ScrapeMetrics,
        status: PoolStatus,
    }

    impl Fixture {
        fn new(config: ScrapeConfig) -> Self {
            let pool = ScrapePool::new(Arc::new(config));
            Self {
                pool,
                keys: LoopKeys::default(),
                metrics: ScrapeMetrics::default(),
                status: PoolStatus::default(),
            }
        }

        /// Syncs and returns how many loops were added, retired and replaced.
        fn sync(&mut self, config: &ScrapeConfig, groups: &[Arc<TargetGroup>]) -> (usize, usize, usize) {
            let config = Arc::new(config.clone());
            let failure_logs = FailureLogs::new();
            let shared = PoolsShare { keys: &self.keys, failure_logs: &failure_logs, metrics: &self.metrics };
            let (changes, status) = self.pool.sync(&config, groups, shared);
            assert_eq!(status.active.len(), self.pool.len());
            self.status = status;
            (changes.add.len(), changes.retire.len(), changes.replace.len())
        }
    }

    #[test]
    fn targets_come_stay_and_go() {
        let config = job("j");
        let mut fixture = Fixture::new(config.clone());
        let (a, b, c) = ("__address__=a", "__address__=b", "__address__=c");
        assert_eq!(fixture.sync(&config, &[group(&[a, b], "")]), (2, 0, 0));
        assert_eq!(fixture.sync(&config, &[group(&[b, a], "")]), (0, 0, 0));
        // The same target twice is one.
        assert_eq!(fixture.sync(&config, &[group(&[b, c], ""), group(&[b, c], "")]), (1, 1, 0));
        assert_eq!(fixture.sync(&config, &[]), (0, 2, 0));
        assert!(fixture.pool.is_empty());
        assert_eq!(fixture.metrics.scrape_pool_syncs.with(&["j"]).get(), 4);
    }

    #[test]
    fn a_reload_keeps_what_the_change_leaves_valid() {
        let before = job("j");
        let check = |after: ScrapeConfig, want| {
            let mut fixture = Fixture::new(before.clone());
            let groups = [group(&["__address__=a", "__address__=b"], "")];
            assert_eq!(fixture.sync(&before, &groups), (2, 0, 0));
            let status = Arc::clone(&fixture.status.active[0].status);
            assert_eq!(fixture.sync(&after, &groups), want, "{after:?}");
            assert!(Arc::ptr_eq(&status, &fixture.status.active[0].status));
            let n_reloads = u64::from(want != (0, 0, 0));
            assert_eq!(fixture.metrics.scrape_pool_reloads.get(), n_reloads);
        };
        let seconds = Duration::from_secs;
        check(before.clone(), (0, 0, 0));
        check(
            ScrapeConfig {
                discovery: vec![crate::config::discovery::DiscoveryConfig::Static(Vec::new())],
                ..before.clone()
            },
            (0, 0, 0),
        );
        check(ScrapeConfig { scrape_interval: seconds(30), ..before.clone() }, (0, 0, 2));
        check(ScrapeConfig { scrape_timeout: seconds(5), ..before.clone() }, (0, 0, 2));
        check(
            ScrapeConfig { limits: ScrapeLimits { sample_limit: 5, ..before.limits }, ..before.clone() },
            (0, 0, 2),
        );
        check(ScrapeConfig { honor_labels: true, ..before.clone() }, (2, 2, 0));
        check(ScrapeConfig { metric_relabel_configs: vec![set("x", "y")], ..before.clone() }, (2, 2, 0));
    }

    #[test]
    fn an_internal_label_that_changes_costs_no_cache() {
        let config = job("j");
        let mut fixture = Fixture::new(config.clone());
        assert_eq!(fixture.sync(&config, &[group(&["__address__=a __x=1"], "")]), (1, 0, 0));
        assert_eq!(fixture.sync(&config, &[group(&["__address__=a __x=2"], "")]), (0, 0, 1));
        assert_eq!(
            fixture.sync(&config, &[group(&["__address__=a __scrape_interval__=30s"], "")]),
            (0, 0, 1)
        );
        assert_eq!(fixture.sync(&config, &[group(&["__address__=a x=seen"], "")]), (1, 1, 0));
    }

    #[test]
    fn dropped_targets_are_kept_up_to_the_limit_and_all_counted() {
        for (limit, want) in [(0, 3), (2, 2), (9, 3)] {
            let rules = vec![drop_with("skip")];
            let limits = ScrapeLimits { keep_dropped_targets: limit, ..ScrapeLimits::default() };
            let config = ScrapeConfig { relabel_configs: rules, limits, ..job("j") };
            let mut fixture = Fixture::new(config.clone());
            let (a, b, c) = ("__address__=a skip=1", "__address__=b skip=1", "__address__=c skip=1");
            assert_eq!(fixture.sync(&config, &[group(&[a, b, "__address__=d", c], "")]), (1, 0, 0));
            assert_eq!((fixture.status.dropped.len(), fixture.status.dropped_count), (want, 3));
            assert_eq!(fixture.status.dropped[0].labels().get("__address__"), "a");
        }
    }

    #[test]
    fn too_many_targets_fail_all_until_there_are_few_enough() {
        let mut config = job("j");
        config.limits.target_limit = 2;
        let mut fixture = Fixture::new(config.clone());
        let (a, b, c) = ("__address__=a", "__address__=b", "__address__=c");
        let mut check =
            |config: &ScrapeConfig, groups: &[Arc<TargetGroup>], want: Option<ScrapeError>, n_times: u64| {
                fixture.sync(config, groups);
                let limit = config.limits.target_limit;
                assert_eq!(fixture.pool.target_limit.error(limit), want);
                assert_eq!(fixture.metrics.exceeded_target_limit.get(), n_times);
                assert_eq!(fixture.metrics.target_limit.with(&["j"]).get(), limit as f64);
            };
        check(&config, &[group(&[a, b, a], "")], None, 0);
        check(&config, &[group(&[a, b, c], "")], Some(ScrapeError::TargetLimit { targets: 3, limit: 2 }), 1);
        check(&config, &[group(&[a, b, c], "")], Some(ScrapeError::TargetLimit { targets: 3, limit: 2 }), 2);
        config.limits.target_limit = 3;
        check(&config, &[group(&[a, b, c], "")], None, 2);
        config.limits.target_limit = 0;
        check(&config, &[group(&[a, b, c], "")], None, 2);
    }

    #[test]
    fn a_bad_target_costs_only_itself() {
        let config = job("j");
        let mut fixture = Fixture::new(config.clone());
        let groups = [group(&["__address__=http://a/b", "__address__=b", "no=address"], "")];
        assert_eq!(fixture.sync(&config, &groups), (1, 0, 0));
        assert_eq!(fixture.metrics.sync_failed.with(&["j"]).get(), 2);
    }
}
