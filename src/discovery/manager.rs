//! The thread `sd-manager`: which providers run, what each found last, and the target sets made of it.
//!
//! Jobs with equal settings share a provider. Changes are collected for a moment, longer the more often they come, and
//! then the sets of all jobs are offered, empty ones included, so that vanished targets are dropped. While the receiver
//! is busy only the newest sets are kept.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvError, SendError, Sender, at, never, select};

use crate::config::Config;
use crate::config::discovery::DiscoveryConfig;
use crate::discovery::discoverer;
use crate::discovery::discoverer::{GroupSender, Update};
use crate::discovery::keeper::{Keeper, KeptDir};
use crate::discovery::lists::tally::Wanted;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::outbox::{MIN_WAIT, Outbox};
use crate::discovery::providers::provider;
use crate::discovery::target_group::{TargetGroup, TargetSets};
use crate::http::Canceller;
use scraped_engine::threads::stop::{Stopper, stop_pair};
use scraped_engine::threads::{STACK_BYTES, Thread, ThreadKind};

const THREAD: ThreadKind = ThreadKind { name: "sd-manager", stack_bytes: STACK_BYTES };

/// What a provider found that a reload has replaced by another one is used until that one has spoken, but no longer than
/// this: a source that is asked for something else may not answer for hours.
const HOLD_OVER: Duration = Duration::from_secs(10);

/// Everything that can wake the thread.
enum Event {
    Apply(Apply),
    Update(Update),
    /// Changes have been collected long enough, or something was held over for long enough.
    Due,
    /// The receiver took the sets, or is gone.
    Sent(Result<(), SendError<TargetSets>>),
}

/// State of the thread.
pub(in crate::discovery) struct Manager {
    /// Given to providers.
    updates: Sender<Update>,
    /// Closed when the last thread that holds it has ended.
    alive: Sender<Infallible>,
    outbox: Outbox,
    metrics: Arc<DiscoveryMetrics>,
    config: Arc<Config>,
    kept_dir: KeptDir,
    providers: Vec<Provider>,
    n_started: u64,
    /// Job → its providers.
    jobs: BTreeMap<String, Vec<u64>>,
    held_over: Vec<HeldOver>,
}

/// Groups of a provider that a reload has taken from a job, until those that replace it have spoken.
struct HeldOver {
    job: String,
    groups: Vec<Arc<TargetGroup>>,
    /// Providers of the job that were started instead; never empty.
    successors: Vec<u64>,
    until: Instant,
}

struct Provider {
    id: u64,
    config: DiscoveryConfig,
    wanted: Wanted,
    /// Labels `mechanism` and `config` of what is counted about it.
    kind: &'static str,
    started_for: String,
    /// Without its thread it never says anything; the next reload tries again.
    has_thread: bool,
    /// What it found; `None` until its first word.
    groups: Option<Vec<Arc<TargetGroup>>>,
    /// What it found in an earlier life, until its first word.
    remembered: Option<Vec<Arc<TargetGroup>>>,
    /// Its file.
    kept_path: Option<PathBuf>,
    _running: Running,
}

/// A provider's thread. Dropping it stops it without waiting.
struct Running {
    /// `None` only inside `drop`.
    stopper: Option<Stopper>,
    canceller: Option<Canceller>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // First the stop, so that who is interrupted knows why.
        self.stopper = None;
        if let Some(canceller) = &self.canceller {
            canceller.cancel();
        }
    }
}

impl Provider {
    /// What it found, or would have found when it was last heard of.
    fn newest(&self) -> Option<&Vec<Arc<TargetGroup>>> {
        self.groups.as_ref().or(self.remembered.as_ref())
    }
}

/// Starts the thread. It ends when `orders` is closed, and its providers with it.
pub(in crate::discovery) fn spawn(
    manager: Manager,
    orders: Receiver<Apply>,
    received: Receiver<Update>,
) -> io::Result<Thread> {
    THREAD.spawn_essential("", move || manager.run(&orders, &received))
}

impl Manager {
    /// A manager that has started nothing yet.
    pub(in crate::discovery) fn new(
        updates: Sender<Update>,
        alive: Sender<Infallible>,
        outbox: Outbox,
        metrics: Arc<DiscoveryMetrics>,
        config: Arc<Config>,
        kept_dir: KeptDir,
    ) -> Self {
        Self {
            updates,
            alive,
            outbox,
            metrics,
            config,
            kept_dir,
            providers: Vec::new(),
            n_started: 0,
            jobs: BTreeMap::new(),
            held_over: Vec::new(),
        }
    }

    fn run(mut self, orders: &Receiver<Apply>, received: &Receiver<Update>) {
        self.kept_dir.remove_halves();
        self.apply(Arc::clone(&self.config));
        loop {
            let event = {
                let held_until = self.held_over.iter().map(|held| held.until).min();
                let due = self.outbox.due().into_iter().chain(held_until).min().map_or_else(never, at);
                let offer = self.outbox.offer();
                select! {
                    recv(orders) -> order => order.map(Event::Apply),
                    recv(received) -> update => update.map(Event::Update),
                    recv(due) -> _ => Ok(Event::Due),
                    send(offer, self.outbox.take_pending()) -> sent => Ok(Event::Sent(sent)),
                }
            };
            match event {
                Ok(Event::Apply(apply)) => {
                    self.apply(apply.config);
                    // The main thread may have given up waiting.
                    let _ = apply.applied.send(());
                }
                Ok(Event::Update(update)) => self.take(update),
                Ok(Event::Due) => {
                    let sets = self.target_sets();
                    self.outbox.put(sets);
                }
                Ok(Event::Sent(Ok(()))) => self.metrics.sent(self.jobs.keys()),
                Ok(Event::Sent(Err(_))) => log::debug!("discovery: target sets are not taken any more"),
                // A closed channel is the stop signal.
                Err(RecvError) => return,
            }
        }
    }

    fn apply(&mut self, config: Arc<Config>) {
        let mut before = std::mem::take(&mut self.providers);
        let jobs_before = std::mem::take(&mut self.jobs);
        let n_started_before = self.n_started;
        self.metrics.failed_configs.set(0.0);
        for job in &config.scrape_configs {
            let mut ids = Vec::new();
            for discovery in &job.discovery {
                let wanted = wanted(&config, discovery);
                let is_equal = |provider: &Provider| {
                    provider.config == *discovery && provider.wanted == wanted && provider.has_thread
                };
                let provider = if let Some(shared) = self.providers.iter().find(|it| is_equal(it)) {
                    // The same entry twice in a job is one.
                    if !ids.contains(&shared.id) {
                        ids.push(shared.id);
                    }
                    continue;
                } else if let Some(kept_idx) = before.iter().position(is_equal) {
                    before.swap_remove(kept_idx)
                } else {
                    self.start(discovery, wanted, &job.job_name)
                };
                ids.push(provider.id);
                self.providers.push(provider);
            }
            self.jobs.insert(job.job_name.clone(), ids);
        }
        self.hold_over(&jobs_before, &before, n_started_before);
        self.forget_counts(&jobs_before, &before);
        self.config = config;
        let kept_paths = self.providers.iter().filter_map(|provider| provider.kept_path.clone()).collect();
        self.kept_dir.remove_others(&kept_paths);
        // What is left of `before` stops by being dropped here.
        self.outbox.due_after(if self.all_complete() { Duration::ZERO } else { MIN_WAIT });
    }

    /// A provider whose settings have changed a little must not leave its jobs without targets until the new one has
    /// spoken.
    fn hold_over(
        &mut self,
        jobs_before: &BTreeMap<String, Vec<u64>>,
        gone: &[Provider],
        n_started_before: u64,
    ) {
        let until = Instant::now() + HOLD_OVER;
        for (job, ids_before) in jobs_before {
            let Some(ids) = self.jobs.get(job) else { continue };
            let started: Vec<&Provider> = self
                .providers
                .iter()
                .filter(|it| it.id >= n_started_before && ids.contains(&it.id))
                .collect();
            let has_left = |it: &&Provider| ids_before.contains(&it.id) && !ids.contains(&it.id);
            for provider in gone.iter().chain(&self.providers).filter(has_left) {
                // One of the same kind takes its place; if there is none, anything new does.
                let is_same_kind = |it: &&&Provider| it.kind == provider.kind;
                let same_kind: Vec<u64> = started.iter().filter(is_same_kind).map(|it| it.id).collect();
                let successors = match same_kind.is_empty() {
                    true => started.iter().map(|it| it.id).collect(),
                    false => same_kind,
                };
                let groups = provider.newest().cloned().unwrap_or_default();
                self.held_over.push(HeldOver { job: job.clone(), groups, successors, until });
            }
        }
        // What is held over from an earlier reload stays, if this one has left its successors alone.
        self.drop_held_over();
    }

    fn drop_held_over(&mut self) {
        let Self { held_over, providers, jobs, .. } = self;
        let now = Instant::now();
        held_over.retain(|held| {
            let is_awaited = |id: &u64| {
                jobs.get(&held.job).is_some_and(|ids| ids.contains(id))
                    && providers.iter().any(|it| it.id == *id && it.groups.is_none())
            };
            now < held.until && held.successors.iter().any(is_awaited)
        });
    }

    /// What is counted by job or provider goes with them.
    fn forget_counts(&self, jobs_before: &BTreeMap<String, Vec<u64>>, gone: &[Provider]) {
        for job in jobs_before.keys().filter(|job| !self.jobs.contains_key(*job)) {
            self.metrics.forget_job(job);
        }
        for provider in gone {
            let is_counted_there =
                |it: &Provider| it.kind == provider.kind && it.started_for == provider.started_for;
            if !self.providers.iter().any(is_counted_there) {
                self.metrics.forget_provider(provider.kind, &provider.started_for);
            }
        }
    }

    fn start(&mut self, config: &DiscoveryConfig, wanted: Wanted, job: &str) -> Provider {
        let discoverer = provider(config, job, wanted, &self.metrics);
        let (kind, canceller) = (discoverer.kind(), discoverer.canceller());
        let id = self.n_started;
        self.n_started += 1;
        let (stopper, stop) = stop_pair();
        // Of two of a job that differ in nothing but a secret, one is remembered.
        let is_taken =
            |keeper: &Keeper| self.providers.iter().any(|it| it.kept_path.as_deref() == Some(keeper.path()));
        let keeper = self.kept_dir.keeper(config, job).filter(|keeper| !is_taken(keeper));
        // A provider of files knows by itself which of them it cannot read.
        let asks_first = !matches!(config, DiscoveryConfig::File(_));
        let remembered = keeper.as_ref().filter(|_| asks_first).and_then(Keeper::load);
        let kept_path = keeper.as_ref().map(|keeper| keeper.path().to_owned());
        let updates = self.updates.clone();
        let mut groups = GroupSender { provider: id, updates, stop: stop.clone(), keeper };
        let name = format!("{kind}-{id}");
        let alive = self.alive.clone();
        let spawned = discoverer::THREAD.spawn_essential(&name, move || {
            let _alive = alive;
            discoverer.run(&mut groups, &stop);
        });
        let has_thread = spawned.is_ok();
        if let Err(error) = spawned {
            self.metrics.failed_configs.add(1.0);
            log::error!(
                "discovery: cannot start sd-{name}: {error}; its targets are looked for after the next reload"
            );
        }
        Provider {
            id,
            config: config.clone(),
            wanted,
            kind,
            started_for: job.to_owned(),
            has_thread,
            groups: None,
            remembered,
            kept_path,
            _running: Running { stopper: Some(stopper), canceller },
        }
    }

    fn take(&mut self, update: Update) {
        self.metrics.received_updates.inc();
        let was_complete = self.all_complete();
        // Providers that were stopped may still have something in the channel.
        let Some(provider) = self.providers.iter_mut().find(|it| it.id == update.provider) else { return };
        // Who says the same again and again must not slow down what others have to say.
        let is_news = provider.groups.as_ref() != Some(&update.groups);
        provider.groups = Some(update.groups);
        provider.remembered = None;
        if !was_complete && self.all_complete() {
            self.outbox.due_after(Duration::ZERO);
        } else if is_news {
            self.outbox.collect();
        }
    }

    /// The sets of all jobs as they are now.
    fn target_sets(&mut self) -> TargetSets {
        self.drop_held_over();
        let mut sets = TargetSets::new();
        for (job, ids) in &self.jobs {
            let found = ids.iter().filter_map(|id| self.provider(*id)?.newest());
            let held = self.held_over.iter().filter(|held| held.job == *job).map(|held| &held.groups);
            let groups: Vec<Arc<TargetGroup>> = found.chain(held).flatten().cloned().collect();
            self.metrics.set_discovered(job, groups.iter().map(|group| group.targets.len()).sum());
            sets.insert(job.clone(), groups);
        }
        sets
    }

    fn provider(&self, id: u64) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    fn all_complete(&self) -> bool {
        self.providers.iter().all(|provider| provider.groups.is_some() || !provider.has_thread)
    }
}

/// How many targets of a provider matter to the jobs that share it.
fn wanted(config: &Config, discovery: &DiscoveryConfig) -> Wanted {
    if matches!(discovery, DiscoveryConfig::Static(_)) {
        return Wanted::default();
    }
    let jobs = config.scrape_configs.iter().filter(|job| job.discovery.contains(discovery));
    let limits = jobs.map(|job| job.limits.targets_kept().filter(|_| job.relabel_configs.is_empty()));
    Wanted { n_targets: limits.collect::<Option<Vec<usize>>>().and_then(|limits| limits.into_iter().max()) }
}

/// The main thread's word to the manager.
#[derive(Debug)]
pub(crate) struct Apply {
    pub(in crate::discovery) config: Arc<Config>,
    pub(in crate::discovery) applied: Sender<()>,
}
