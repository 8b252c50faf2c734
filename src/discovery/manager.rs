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
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvError, SendError, Sender, at, bounded, never, select};

use crate::config::Config;
use crate::config::discovery::DiscoveryConfig;
use crate::discovery::keeper::{Keeper, KeptDir};
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::providers::provider;
use crate::discovery::{Apply, GroupSender, TargetGroup, TargetSets, ThreadEnded, Update};

/// How long changes are collected at first.
const MIN_WAIT: Duration = Duration::from_millis(100);

/// How long changes are collected when they never stop (Prometheus' `updatert`, 5 s).
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Everything that can wake the thread.
enum Event {
    Apply(Apply),
    Update(Update),
    /// Changes have been collected long enough.
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
    thread_ended: ThreadEnded,
    config: Arc<Config>,
    kept_dir: KeptDir,
    providers: Vec<Provider>,
    n_started: u64,
    /// Job → its providers.
    jobs: BTreeMap<String, Vec<u64>>,
    /// Groups from before a reload, of jobs whose new providers have not said anything yet.
    held_over: TargetSets,
}

struct Provider {
    id: u64,
    config: DiscoveryConfig,
    /// What it found; `None` until its first word.
    groups: Option<Vec<Arc<TargetGroup>>>,
    /// What it found in an earlier life, until its first word.
    remembered: Option<Vec<Arc<TargetGroup>>>,
    /// Its file.
    kept_path: Option<PathBuf>,
    /// Dropped to stop its thread.
    _stop: Sender<Infallible>,
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
    thread_ended: ThreadEnded,
) -> io::Result<()> {
    let name = "sd-manager".to_owned();
    let thread = thread::Builder::new().name(name.clone());
    thread.spawn(move || {
        let _watch = Watch { name, thread_ended };
        manager.run(&orders, &received);
    })?;
    Ok(())
}

impl Manager {
    /// A manager that has started nothing yet.
    pub(in crate::discovery) fn new(
        updates: Sender<Update>,
        alive: Sender<Infallible>,
        outbox: Outbox,
        metrics: Arc<DiscoveryMetrics>,
        thread_ended: ThreadEnded,
        config: Arc<Config>,
        kept_dir: KeptDir,
    ) -> Self {
        Self {
            updates,
            alive,
            outbox,
            metrics,
            thread_ended,
            config,
            kept_dir,
            providers: Vec::new(),
            n_started: 0,
            jobs: BTreeMap::new(),
            held_over: TargetSets::new(),
        }
    }

    fn run(mut self, orders: &Receiver<Apply>, received: &Receiver<Update>) {
        self.apply(Arc::clone(&self.config));
        loop {
            let event = {
                let due = self.outbox.due.map_or_else(never, at);
                let offer = self.outbox.offer();
                select! {
                    recv(orders) -> order => order.map(Event::Apply),
                    recv(received) -> update => update.map(Event::Update),
                    recv(due) -> _ => Ok(Event::Due),
                    send(offer, self.outbox.pending.take().unwrap_or_default()) -> sent => Ok(Event::Sent(sent)),
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
                Ok(Event::Sent(Ok(()))) => {
                    self.metrics.sent_updates.inc();
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    self.metrics.last_update_seconds.set(now.as_secs_f64());
                }
                Ok(Event::Sent(Err(_))) => log::debug!("discovery: nobody takes target sets any more"),
                // A closed channel is the stop signal.
                Err(RecvError) => return,
            }
        }
    }

    fn apply(&mut self, config: Arc<Config>) {
        let sets_before = self.target_sets();
        let mut before = std::mem::take(&mut self.providers);
        let jobs_before = std::mem::take(&mut self.jobs);
        self.metrics.failed_configs.set(0.0);
        for job in &config.scrape_configs {
            let mut ids = Vec::new();
            for discovery in &job.discovery {
                let is_equal = |provider: &Provider| provider.config == *discovery;
                let provider = if let Some(shared) = self.providers.iter().find(|it| is_equal(it)) {
                    ids.push(shared.id);
                    continue;
                } else if let Some(kept_idx) = before.iter().position(is_equal) {
                    before.swap_remove(kept_idx)
                } else {
                    self.start(discovery, &job.job_name)
                };
                ids.push(provider.id);
                self.providers.push(provider);
            }
            self.jobs.insert(job.job_name.clone(), ids);
        }
        for job in jobs_before.keys().filter(|job| !self.jobs.contains_key(*job)) {
            self.metrics.forget_job(job);
        }
        self.held_over = sets_before.into_iter().filter(|(job, _)| !self.is_complete(job)).collect();
        self.config = config;
        let kept_paths = self.providers.iter().filter_map(|provider| provider.kept_path.clone()).collect();
        self.kept_dir.remove_others(&kept_paths);
        // What is left of `before` stops by being dropped here.
        self.outbox.due_after(if self.all_complete() { Duration::ZERO } else { MIN_WAIT });
    }

    fn start(&mut self, config: &DiscoveryConfig, job: &str) -> Provider {
        let discoverer = provider(config, job, &self.metrics);
        let id = self.n_started;
        self.n_started += 1;
        let (stop_sender, stop) = bounded(0);
        let keeper = self.kept_dir.keeper(config);
        let remembered = keeper.as_ref().and_then(Keeper::load);
        let kept_path = keeper.as_ref().map(|keeper| keeper.path().to_owned());
        let updates = self.updates.clone();
        let mut groups = GroupSender { provider: id, updates, stop: stop.clone(), keeper };
        let name = format!("sd-{}-{id}", discoverer.kind());
        let watch = Watch { name: name.clone(), thread_ended: Arc::clone(&self.thread_ended) };
        let alive = self.alive.clone();
        let spawned = thread::Builder::new().name(name.clone()).spawn(move || {
            let _alive = alive;
            let _watch = watch;
            discoverer.run(&mut groups, &stop);
        });
        // Without its thread a provider never says anything: its jobs keep what they had.
        if let Err(error) = spawned {
            self.metrics.failed_configs.add(1.0);
            log::error!(
                "discovery: cannot start {name}: {error}; its targets stay as they are until the next reload"
            );
        }
        Provider { id, config: config.clone(), groups: None, remembered, kept_path, _stop: stop_sender }
    }

    fn take(&mut self, update: Update) {
        self.metrics.received_updates.inc();
        let was_complete = self.all_complete();
        // Providers that were stopped may still have something in the channel.
        let Some(provider) = self.providers.iter_mut().find(|it| it.id == update.provider) else { return };
        provider.groups = Some(update.groups);
        provider.remembered = None;
        if !was_complete && self.all_complete() {
            self.outbox.due_after(Duration::ZERO);
        } else {
            self.outbox.collect();
        }
    }

    /// The sets of all jobs as they are now.
    fn target_sets(&mut self) -> TargetSets {
        let mut sets = TargetSets::new();
        for (job, ids) in &self.jobs {
            let groups = if self.is_complete(job) {
                self.held_over.remove(job);
                None
            } else {
                self.held_over.get(job).cloned()
            };
            let groups = groups.unwrap_or_else(|| {
                let found = ids.iter().filter_map(|id| self.provider(*id)?.newest());
                found.flatten().cloned().collect()
            });
            self.metrics.set_discovered(job, groups.iter().map(|group| group.targets.len()).sum());
            sets.insert(job.clone(), groups);
        }
        sets
    }

    fn provider(&self, id: u64) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.id == id)
    }

    /// Whether every provider of a job has said something.
    fn is_complete(&self, job: &str) -> bool {
        let ids = self.jobs.get(job).map(Vec::as_slice).unwrap_or_default();
        ids.iter().all(|id| self.provider(*id).is_some_and(|provider| provider.groups.is_some()))
    }

    fn all_complete(&self) -> bool {
        self.providers.iter().all(|provider| provider.groups.is_some())
    }
}

/// Target sets on their way out.
pub(in crate::discovery) struct Outbox {
    target_sets: Sender<TargetSets>,
    /// Offered to while there is nothing to send: its receiver lives and never receives.
    nobody: (Sender<TargetSets>, Receiver<TargetSets>),
    pending: Option<TargetSets>,
    /// When the next sets are made.
    due: Option<Instant>,
    made_at: Option<Instant>,
    wait: Duration,
    metrics: Arc<DiscoveryMetrics>,
}

impl Outbox {
    /// An empty outbox in front of `target_sets`.
    pub(in crate::discovery) fn new(target_sets: Sender<TargetSets>, metrics: Arc<DiscoveryMetrics>) -> Self {
        let nobody = bounded(0);
        Self { target_sets, nobody, pending: None, due: None, made_at: None, wait: MIN_WAIT, metrics }
    }

    fn offer(&self) -> Sender<TargetSets> {
        if self.pending.is_some() { self.target_sets.clone() } else { self.nobody.0.clone() }
    }

    /// New sets replace those that nobody has taken.
    fn put(&mut self, sets: TargetSets) {
        self.due = None;
        self.made_at = Some(Instant::now());
        if self.pending.replace(sets).is_some() {
            self.metrics.delayed_updates.inc();
        }
    }

    /// Sets are to be made after `wait` at the latest.
    fn due_after(&mut self, wait: Duration) {
        let due = Instant::now() + wait;
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    /// Something has changed: waits for more of it, longer while changes keep coming.
    fn collect(&mut self) {
        if self.due.is_some() {
            return;
        }
        let is_calm = self.made_at.is_none_or(|made_at| made_at.elapsed() > 2 * self.wait);
        self.wait = if is_calm { MIN_WAIT } else { (2 * self.wait).min(MAX_WAIT) };
        self.due_after(self.wait);
    }
}

/// Tells when its thread ends by a panic.
struct Watch {
    name: String,
    thread_ended: ThreadEnded,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.thread_ended)(&self.name);
        }
    }
}
