//! Targets without sockets: a loop whose behaviour is the target's label `does`, and a journal of what was done with it.
//!
//! For tests of the schedule alone. `does` is one of `answers`, `hangs` (until its deadline or until it is cancelled),
//! `overruns` (answers after 1.6 intervals), `panics` (in every scrape), `panics-twice` (also while the panic is told).

use crate::wait_until;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use scraped::clock::Clock;
use scraped::config::{Config, GlobalConfig, ScrapeConfig};
use scraped::discovery::target_group::TargetGroup;
use scraped::scrape::error::ScrapeError;
use scraped::scrape::metrics::ScrapeMetrics;
use scraped::scrape::schedule::scheduler::{Changes, FirstScrape, Handle, SchedulerOptions};
use scraped::scrape::schedule::workers::Scrapeable;
use scraped::scrape::scrape_loop::{Answered, ScrapeTime};
use scraped::scrape::targets::loop_key::{LoopKey, LoopKeys};
use scraped::scrape::targets::on_demand::{Located, OnDemand, Outcome};
use scraped::scrape::targets::pool::{LoopChanges, LoopSettings};
use scraped::scrape::targets::target::Target;
use scraped::scrape::targets::target_url::TargetUrl;
use scraped_engine::labels::Labels;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What happened to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// The loop was made.
    Created,
    /// A scrape got an answer.
    Answered,
    /// A scrape ended at its deadline.
    TimedOut,
    /// A scrape was skipped, with this reason.
    Reported(String),
    /// The loop went on after a panic.
    AfterPanic,
    /// The end of the target was written.
    EndOfRun,
    /// The loop got other settings.
    Replaced,
}

/// One line of the journal.
#[derive(Clone, Debug)]
pub struct Line {
    /// Whose.
    pub instance: String,
    /// What.
    pub act: Act,
    /// Its timestamp, milliseconds since the epoch.
    pub ts_ms: i64,
    /// When it was written down.
    pub at: Instant,
}

/// What happened, in order.
#[derive(Debug, Default)]
pub struct Journal {
    lines: Mutex<Vec<Line>>,
    n_hanging: Mutex<(usize, usize)>,
}

impl Journal {
    fn write(&self, target: &Target, act: Act, ts_ms: i64) {
        let instance = target.labels.get("instance").to_owned();
        self.lines.lock().push(Line { instance, act, ts_ms, at: Instant::now() });
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().clone()
    }

    /// Lines of one target.
    pub fn of(&self, instance: &str) -> Vec<Line> {
        self.lines.lock().iter().filter(|line| line.instance == instance).cloned().collect()
    }

    /// How often `act` happened to each target.
    pub fn counts(&self, act: &Act) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in self.lines.lock().iter().filter(|line| line.act == *act) {
            *counts.entry(line.instance.clone()).or_default() += 1;
        }
        counts
    }

    /// How many hung at the same time, at most.
    pub fn max_hanging(&self) -> usize {
        self.n_hanging.lock().1
    }

    /// How many hang now.
    pub fn n_hanging(&self) -> usize {
        self.n_hanging.lock().0
    }

    /// Waits until `is_so`; panics with `what` when it does not come.
    pub fn wait_for(&self, what: &str, is_so: impl Fn(&Journal) -> bool) {
        wait_until(what, || is_so(self));
    }
}

/// The stand-in for a scrape loop.
pub struct FakeLoop {
    target: Arc<Target>,
    cancel: Sender<()>,
    cancelled: Receiver<()>,
    is_new: bool,
    is_replaced: bool,
}

impl FakeLoop {
    fn tell_news(&mut self, journal: &Journal, ts_ms: i64) {
        if std::mem::take(&mut self.is_new) {
            journal.write(&self.target, Act::Created, ts_ms);
        }
        if std::mem::take(&mut self.is_replaced) {
            journal.write(&self.target, Act::Replaced, ts_ms);
        }
    }

    fn hang(&self, journal: &Journal, at: ScrapeTime) -> Answered {
        {
            let mut n_hanging = journal.n_hanging.lock();
            n_hanging.0 += 1;
            n_hanging.1 = n_hanging.1.max(n_hanging.0);
        }
        let is_cancelled = self.cancelled.recv_deadline(at.deadline).is_ok();
        journal.n_hanging.lock().0 -= 1;
        if !is_cancelled {
            journal.write(&self.target, Act::TimedOut, at.ts_ms);
        }
        Answered::No
    }
}

impl Scrapeable for FakeLoop {
    type Worker = Arc<Journal>;

    fn new(settings: &LoopSettings) -> Self {
        let (cancel, cancelled) = bounded(1);
        Self { target: Arc::clone(&settings.target), cancel, cancelled, is_new: true, is_replaced: false }
    }

    fn scrape(&mut self, journal: &mut Arc<Journal>, at: ScrapeTime) -> Answered {
        self.tell_news(journal, at.ts_ms);
        match self.target.labels.get("does") {
            "hangs" => self.hang(journal, at),
            "overruns" => {
                std::thread::sleep(self.target.scrape_interval * 16 / 10);
                journal.write(&self.target, Act::Answered, at.ts_ms);
                Answered::Yes
            }
            "panics" | "panics-twice" => panic!("this target makes scrapes panic"),
            _ => {
                journal.write(&self.target, Act::Answered, at.ts_ms);
                Answered::Yes
            }
        }
    }

    fn report_failure(&mut self, journal: &mut Arc<Journal>, at: ScrapeTime, error: ScrapeError) {
        self.tell_news(journal, at.ts_ms);
        journal.write(&self.target, Act::Reported(error.to_string()), at.ts_ms);
    }

    fn after_panic(&mut self, journal: &mut Arc<Journal>, at: ScrapeTime) {
        journal.write(&self.target, Act::AfterPanic, at.ts_ms);
        assert_ne!(self.target.labels.get("does"), "panics-twice", "and telling of it panics as well");
    }

    fn end_of_run(&mut self, journal: &mut Arc<Journal>, ts_ms: i64) {
        journal.write(&self.target, Act::EndOfRun, ts_ms);
    }

    fn replace(&mut self, settings: &LoopSettings) {
        self.target = Arc::clone(&settings.target);
        self.is_replaced = true;
    }

    fn canceller(&self) -> Box<dyn Fn() + Send> {
        let cancel = self.cancel.clone();
        // Full: it was cancelled before.
        Box::new(move || _ = cancel.try_send(()))
    }
}

/// A scheduler with its workers over fake targets.
pub struct Fixture {
    /// What happened.
    pub journal: Arc<Journal>,
    /// What the scheduler counts.
    pub metrics: Arc<ScrapeMetrics>,
    /// The time that it goes by.
    pub clock: Clock,
    /// How often the order check was restarted.
    pub order_restarts: Arc<Mutex<u32>>,
    /// Where keys of loops come from.
    pub keys: LoopKeys,
    on_demand: OnDemand,
    scheduler: Handle<FakeLoop>,
}

impl Fixture {
    /// Starts the scheduler and no target.
    pub fn start(max_workers: usize, first_scrape: FirstScrape) -> Self {
        let journal = Arc::new(Journal::default());
        let metrics = Arc::new(ScrapeMetrics::default());
        let clock = Clock::system();
        let order_restarts = Arc::new(Mutex::new(0));
        let scheduler = Handle::spawn(SchedulerOptions {
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
            first_scrape,
            timestamp_tolerance: Duration::from_secs(1),
            max_workers,
            make_worker: {
                let journal = Arc::clone(&journal);
                Box::new(move || Arc::clone(&journal))
            },
            restart_order_check: {
                let order_restarts = Arc::clone(&order_restarts);
                Box::new(move || *order_restarts.lock() += 1)
            },
        })
        .expect("a scheduler");
        let on_demand = OnDemand::default();
        on_demand.open(scheduler.orders());
        Self { journal, metrics, clock, order_restarts, keys: LoopKeys::default(), on_demand, scheduler }
    }

    /// Adds targets of job `job` and returns their keys.
    pub fn add(&self, targets: Vec<Target>) -> Vec<LoopKey> {
        let config = Arc::new(job("job"));
        let add: Vec<_> =
            targets.into_iter().map(|target| (self.keys.next(), settings(target, &config))).collect();
        let keys = add.iter().map(|(key, _)| *key).collect();
        self.change(LoopChanges { add, ..LoopChanges::default() });
        keys
    }

    /// Tells the scheduler of changed loops.
    pub fn change(&self, loops: LoopChanges) {
        self.apply(Changes { loops: vec![loops], ..Changes::default() });
    }

    /// Tells the scheduler of any changes.
    pub fn apply(&self, changes: Changes) {
        (self.scheduler.changes())(changes);
    }

    /// Asks for a scrape at once.
    pub fn scrape_now(&self, key: LoopKey) -> Receiver<Outcome> {
        self.on_demand.ask(key).expect("few ask")
    }

    /// Asks where a loop stands.
    pub fn locate(&self, key: LoopKey) -> Receiver<Located> {
        self.on_demand.locate(key).expect("few ask")
    }

    /// Stops the scheduler and its workers.
    pub fn stop(self) {
        self.scheduler.stop();
    }
}

/// What a loop over this target is made of.
pub fn settings(target: Target, config: &Arc<ScrapeConfig>) -> LoopSettings {
    LoopSettings::alone(Arc::new(target), Arc::clone(config), Arc::default())
}

/// A fake target; its timeout is its interval.
pub fn target(instance: &str, does: &str, interval: Duration) -> Target {
    let labels = Labels::from_pairs([("does", does), ("instance", instance), ("job", "job")]);
    let url = TargetUrl::build("http", instance, "/metrics", &[], std::iter::empty());
    Target::new(labels, url, interval, interval)
}

/// A job with Prometheus' defaults.
pub fn job(job_name: &str) -> ScrapeConfig {
    ScrapeConfig { job_name: job_name.to_owned(), ..ScrapeConfig::default() }
}

/// A configuration with these jobs.
pub fn config(jobs: Vec<ScrapeConfig>) -> Arc<Config> {
    let n_main_file_jobs = jobs.len();
    Arc::new(Config {
        global: GlobalConfig::default(),
        scrape_configs: jobs.into_iter().map(Arc::new).collect(),
        n_main_file_jobs,
        remote_write: Vec::new(),
        scrape_config_files: Vec::new(),
        notes: Vec::new(),
    })
}

/// A group of targets with these addresses.
pub fn group(addresses: &[&str]) -> Arc<TargetGroup> {
    Arc::new(TargetGroup {
        provenance: scraped::config::discovery::Provenance::Operator,
        source: "0".to_owned(),
        targets: addresses.iter().map(|address| Labels::from_pairs([("__address__", *address)])).collect(),
        labels: Labels::default(),
    })
}
