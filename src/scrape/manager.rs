//! The scrape-manager thread: target sets in, changes to loops out.
//!
//! Prometheus' `scrape/manager.go` in one `select!`: target sets are stored as they come and pull the trigger, which
//! never blocks; a tick arms the trigger; an armed trigger fires a reload, which syncs all pools in parallel. The thread
//! knows no socket and no loop; loops live with the scheduler.

use crate::clock::Clock;
use crate::config::{Config, ScrapeConfig};
use crate::discovery::target_group::TargetSets;
use crate::scrape::fetch::failure_log::FailureLog;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::schedule::scheduler;
use crate::scrape::schedule::scheduler::{Changes, FirstScrape, SchedulerOptions};
use crate::scrape::scrape_loop::{ScrapeLoop, Worker};
use crate::scrape::targets::loop_key::LoopKeys;
use crate::scrape::targets::on_demand::OnDemand;
use crate::scrape::targets::pool::{FailureLogs, LoopChanges, PoolsShare, ScrapePool};
use crate::scrape::targets::status::{PoolStatus, StatusBoard};
use crate::scrape::targets::target::offset_seed;
use crossbeam_channel::{Receiver, RecvError, Sender, bounded, never, select, tick};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};
use scraped_engine::families::MetadataStore;
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::permits::Permits;
use scraped_engine::store::rules::MetadataRecords;
use scraped_engine::threads::{STACK_BYTES, Thread, ThreadKind};
use scraped_engine::wal::head::Wal;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const THREAD: ThreadKind = ThreadKind { name: "scrape-manager", stack_bytes: STACK_BYTES };

/// Capacity of the trigger. Full means that a reload is already asked for.
const TRIGGER_CAPACITY: usize = 1;

/// Capacity of the control channel: the daemon, its only sender, waits until the manager takes the change. With room for
/// one, a change sent while the thread ends would lie there unread and its sender wait for the reply for ever.
const CONTROL_CAPACITY: usize = 0;

/// Capacity of the channel for one reply: the manager never waits for the daemon to take it.
const REPLY_CAPACITY: usize = 1;

/// Threads that sync pools; relabelling thousands of targets is a matter of milliseconds.
const SYNC_THREADS_MAX: usize = 4;

/// Stack of a sync thread: relabelling and hashing.
const SYNC_STACK_BYTES: usize = 512 << 10;

/// What the scraping side needs.
pub struct ManagerOptions {
    /// Where samples go.
    pub wal: Wal,
    /// Both clocks.
    pub clock: Clock,
    /// Where the lists of targets are put up.
    pub board: Arc<StatusBoard>,
    /// What is counted.
    pub metrics: Arc<ScrapeMetrics>,
    /// Bytes that bodies may hold together.
    pub budget: Arc<BodyBudget>,
    /// The configuration to start with.
    pub config: Arc<Config>,
    /// `--scrape.discovery-reload-interval`: the tick.
    pub discovery_reload_interval: Duration,
    /// `--scrape.on-start`.
    pub first_scrape: FirstScrape,
    /// `--scrape.timestamp-tolerance`; zero when `--scrape.adjust-timestamps` is false.
    pub timestamp_tolerance: Duration,
    /// `--scrape.max-workers`.
    pub max_workers: usize,
    /// Where scrapes leave what pages say of metric families.
    pub metadata: Arc<MetadataStore>,
    /// `--enable-feature=metadata-wal-records`.
    pub metadata_records: MetadataRecords,
    /// Where requests for a scrape at once come from.
    pub on_demand: Arc<OnDemand>,
}

/// The scraping side: manager, scheduler and workers.
pub struct Handle {
    manager: ManagerHandle,
    scheduler: scheduler::Handle<ScrapeLoop>,
}

impl Handle {
    /// Starts the scrape manager and the scheduler; workers come with the first target.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn spawn(options: ManagerOptions, target_sets: Receiver<TargetSets>) -> io::Result<Handle> {
        let ManagerOptions { wal, clock, metrics, budget, .. } = options;
        let permits = Permits::new(n_cpus(), &wal);
        let make_worker = {
            let (clock, metrics) = (clock.clone(), Arc::clone(&metrics));
            let (metadata, metadata_records) = (options.metadata, options.metadata_records);
            move || {
                Worker::new(permits.clone(), Arc::clone(&budget), Arc::clone(&metrics), clock.clone())
                    .with_metadata(Arc::clone(&metadata), metadata_records)
            }
        };
        let scheduler = scheduler::Handle::spawn(SchedulerOptions {
            clock,
            metrics: Arc::clone(&metrics),
            first_scrape: options.first_scrape,
            timestamp_tolerance: options.timestamp_tolerance,
            max_workers: options.max_workers,
            make_worker: Box::new(make_worker),
            restart_order_check: Box::new(move || wal.restart_order_check()),
        })?;
        options.on_demand.open(scheduler.orders());
        let manager = ManagerHandle::spawn(Inputs {
            config: options.config,
            board: options.board,
            metrics,
            target_sets,
            tick: tick(options.discovery_reload_interval),
            changes: scheduler.changes(),
        })?;
        Ok(Handle { manager, scheduler })
    }

    /// Works a new configuration in; returns when the scheduler has every change.
    pub fn apply(&self, config: Arc<Config>) {
        self.manager.apply(config);
    }

    /// Ends all of it. Requests in flight are cancelled and leave no sample; returns within about a second.
    pub fn stop(self) {
        self.manager.stop();
        self.scheduler.stop();
    }
}

/// What the manager thread reads and where it sends.
pub struct Inputs {
    /// The configuration to start with.
    pub config: Arc<Config>,
    /// Where the lists of targets are put up.
    pub board: Arc<StatusBoard>,
    /// What is counted.
    pub metrics: Arc<ScrapeMetrics>,
    /// All jobs' groups, from discovery; closing it ends the thread.
    pub target_sets: Receiver<TargetSets>,
    /// Arms the trigger.
    pub tick: Receiver<Instant>,
    /// Where changes to loops go: the scheduler's inbox.
    pub changes: Box<dyn Fn(Changes) + Send>,
}

/// The manager thread alone.
pub struct ManagerHandle {
    control: Sender<Control>,
    thread: Thread,
}

impl ManagerHandle {
    /// Starts the thread and its rayon pool.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn spawn(inputs: Inputs) -> io::Result<Self> {
        let sync_threads = ThreadPoolBuilder::new()
            .num_threads(n_cpus().min(SYNC_THREADS_MAX))
            .thread_name(|idx| format!("sync-{idx}"))
            .stack_size(SYNC_STACK_BYTES)
            .build()
            .map_err(io::Error::other)?;
        let (control, control_receiver) = bounded(CONTROL_CAPACITY);
        let mut manager = Manager {
            target_sets: inputs.target_sets,
            control: control_receiver,
            tick: inputs.tick,
            trigger: bounded(TRIGGER_CAPACITY),
            changes: inputs.changes,
            board: inputs.board,
            metrics: inputs.metrics,
            sync_threads,
            loop_keys: LoopKeys::default(),
            configs: BTreeMap::new(),
            offset_seed: 0,
            failure_logs: FailureLogs::new(),
            pools: BTreeMap::new(),
            target_sets_now: TargetSets::new(),
        };
        manager.adopt(&inputs.config);
        let thread = THREAD.spawn_essential("", move || manager.run())?;
        Ok(Self { control, thread })
    }

    /// Works a new configuration in; returns when its changes were sent.
    pub fn apply(&self, config: Arc<Config>) {
        let (reply, applied) = bounded(REPLY_CAPACITY);
        if self.control.send(Control::ApplyConfig(config, reply)).is_ok() {
            // Closed: the manager has ended, there is nothing to work it into.
            let _ = applied.recv();
        }
    }

    /// Ends the thread.
    pub fn stop(self) {
        drop(self.control);
        self.thread.join();
    }
}

/// Orders of the daemon; closing the channel stops it.
enum Control {
    ApplyConfig(Arc<Config>, Sender<()>),
}

/// Everything that can wake the manager.
enum Event {
    TargetSets(TargetSets),
    Control(Control),
    Tick,
    Reload,
}

struct Manager {
    target_sets: Receiver<TargetSets>,
    control: Receiver<Control>,
    tick: Receiver<Instant>,
    trigger: (Sender<()>, Receiver<()>),
    changes: Box<dyn Fn(Changes) + Send>,
    board: Arc<StatusBoard>,
    metrics: Arc<ScrapeMetrics>,
    sync_threads: ThreadPool,
    loop_keys: LoopKeys,
    configs: BTreeMap<String, Arc<ScrapeConfig>>,
    offset_seed: u64,
    failure_logs: FailureLogs,
    pools: BTreeMap<String, ScrapePool>,
    target_sets_now: TargetSets,
}

impl Manager {
    fn run(&mut self) {
        // The first reload is not delayed.
        let mut armed = true;
        let never = never();
        loop {
            // A tick arms the trigger arm; the trigger fires the reload.
            let trigger = if armed { &self.trigger.1 } else { &never };
            let event = select! {
                recv(self.target_sets) -> it => it.map(Event::TargetSets),
                recv(self.control) -> it => it.map(Event::Control),
                recv(self.tick) -> it => it.map(|_| Event::Tick),
                recv(trigger) -> it => it.map(|()| Event::Reload),
            };
            match event {
                Ok(Event::TargetSets(sets)) => {
                    self.target_sets_now = sets;
                    self.pull_trigger();
                }
                Ok(Event::Tick) => armed = true,
                Ok(Event::Reload) => {
                    self.reload();
                    armed = false;
                }
                Ok(Event::Control(Control::ApplyConfig(config, reply))) => {
                    self.apply_config(&config);
                    // The sets that discovery sends for this configuration are not delayed either.
                    armed = true;
                    // Closed: the daemon does not wait any more.
                    let _ = reply.send(());
                }
                // A closed channel is the stop signal.
                Err(RecvError) => return,
            }
        }
    }

    fn pull_trigger(&self) {
        // Full: a reload is already asked for.
        let _ = self.trigger.0.try_send(());
    }

    /// Works the newest target sets into the pools; a pool is made when its job is first seen.
    fn reload(&mut self) {
        self.metrics.reloads.inc();
        for job_name in self.target_sets_now.keys() {
            if self.pools.contains_key(job_name) {
                continue;
            }
            match self.configs.get(job_name) {
                Some(config) => {
                    self.metrics.scrape_pools.inc();
                    self.pools.insert(job_name.clone(), ScrapePool::new(Arc::clone(config)));
                }
                None => {
                    self.metrics.unknown_jobs.inc();
                    log::error!(
                        "target set of job {job_name:?}, which the configuration does not know; its targets are not \
                         scraped"
                    );
                }
            }
        }
        let changes = self.sync(|_, _| true);
        (self.changes)(changes);
    }

    /// Syncs the pools that `is_wanted` names, all at once.
    fn sync(&mut self, is_wanted: impl Fn(&ScrapePool, &Arc<ScrapeConfig>) -> bool) -> Changes {
        let Self { pools, configs, target_sets_now, loop_keys, failure_logs, metrics, sync_threads, .. } =
            self;
        let shared = PoolsShare { keys: loop_keys, failure_logs, metrics };
        let wanted: Vec<_> = pools
            .iter_mut()
            .filter_map(|(job_name, pool)| {
                let (config, groups) = (configs.get(job_name)?, target_sets_now.get(job_name)?);
                is_wanted(pool, config).then_some((job_name, pool, config, groups))
            })
            .collect();
        let synced: Vec<(&String, LoopChanges, PoolStatus)> = sync_threads.install(|| {
            let sync_one = |(job_name, pool, config, groups): (_, &mut ScrapePool, _, &Vec<_>)| {
                let (changes, status) = pool.sync(config, groups, shared);
                (job_name, changes, status)
            };
            wanted.into_par_iter().map(sync_one).collect()
        });
        let mut changes = Changes { offset_seed: self.offset_seed, ..Changes::default() };
        for (job_name, loops, status) in synced {
            self.board.publish(job_name, status);
            changes.loops.push(loops);
        }
        changes
    }

    /// Removes the pools of vanished jobs and syncs those whose configuration changed with the targets they have;
    /// other loops notice nothing.
    fn apply_config(&mut self, config: &Config) {
        self.adopt(config);
        let configs = &self.configs;
        let removed_jobs: Vec<String> =
            self.pools.keys().filter(|job_name| !configs.contains_key(*job_name)).cloned().collect();
        for job_name in &removed_jobs {
            self.pools.remove(job_name);
            self.board.remove(job_name);
            self.metrics.forget_job(job_name);
        }
        // Discovery may send its old sets once more; until then no one misses these.
        self.target_sets_now.retain(|job_name, _| configs.contains_key(job_name));
        let changes = self.sync(|pool, config| pool.config() != config);
        // No reload now: it would find nothing new, and the sets that follow would have to wait for the next tick.
        (self.changes)(Changes { removed_jobs, ..changes });
    }

    fn adopt(&mut self, config: &Config) {
        self.failure_logs = open_failure_logs(config, &self.failure_logs);
        self.offset_seed = offset_seed(&config.global.external_labels);
        self.configs = config
            .scrape_configs
            .iter()
            .map(|config| (config.job_name.clone(), Arc::clone(config)))
            .collect();
    }
}

/// The logs of this configuration; one that the last configuration had is opened again.
fn open_failure_logs(config: &Config, last: &FailureLogs) -> FailureLogs {
    let mut logs = FailureLogs::new();
    for path in config.scrape_configs.iter().map(|config| &config.scrape_failure_log_file) {
        if path.as_os_str().is_empty() || logs.contains_key(path) {
            continue;
        }
        let log = match last.get(path) {
            Some(log) => {
                log.reopen();
                Arc::clone(log)
            }
            None => Arc::new(FailureLog::open(path)),
        };
        logs.insert(path.clone(), log);
    }
    logs
}

fn n_cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}
