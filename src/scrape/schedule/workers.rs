//! The elastic pool of scrape workers: threads that wait on sockets so that no one else has to.
//!
//! [`Workers`] belongs to the scheduler thread and holds no lock; each worker has a channel of its own, and parked
//! workers are a stack: the one that worked last works next, so those at the bottom stay idle and end. A panic in a
//! scrape is caught here, around the loop's own code and nothing else.

use crate::clock::Clock;
use crate::scrape::error::ScrapeError;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::schedule::mailbox;
use crate::scrape::schedule::mailbox::Post;
use crate::scrape::scrape_loop::{Answered, ScrapeLoop, ScrapeTime, Worker};
use crate::scrape::targets::pool::LoopSettings;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use scraped_engine::metrics::Gauge;
use scraped_engine::threads::{Panicked, Thread, ThreadKind};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Capacity of a worker's own channel. It is never full: only a worker that is parked is given a job, and that takes it
/// off the stack of parked ones.
const HANDOFF_CAPACITY: usize = 1;

/// A TLS handshake with RSA keys of 4096 bits on both sides touches 116 KiB of it (measured); what is not touched costs
/// nothing. Frames are several times larger without optimisation.
const STACK_BYTES: usize = if cfg!(debug_assertions) { 1 << 20 } else { 256 << 10 };

const THREAD: ThreadKind = ThreadKind { name: "scrape-worker", stack_bytes: STACK_BYTES };

/// A worker that was parked for so long ends.
const WORKER_IDLE_EXIT: Duration = Duration::from_secs(30);

/// A worker that was parked for so long gives its scratch space back.
const SCRATCH_IDLE_DROP: Duration = Duration::from_secs(2);

/// Pause before another thread is tried after the system refused one.
const SPAWN_RETRY: Duration = Duration::from_millis(200);

/// What is moved between scheduler and workers: [`ScrapeLoop`], or a stand-in for a test of the schedule alone.
pub trait Scrapeable: Send + Sized + 'static {
    /// Scratch space of a worker thread.
    type Worker: 'static;

    /// A loop that has not scraped yet.
    fn new(settings: &LoopSettings) -> Self;
    /// One scrape and one commit.
    fn scrape(&mut self, worker: &mut Self::Worker, at: ScrapeTime) -> Answered;
    /// `up 0` with this error, without asking the target.
    fn report_failure(&mut self, worker: &mut Self::Worker, at: ScrapeTime, error: ScrapeError);
    /// `up 0` after a panic, with a cache that starts again.
    fn after_panic(&mut self, worker: &mut Self::Worker, at: ScrapeTime);
    /// Staleness markers of a target that is gone.
    fn end_of_run(&mut self, worker: &mut Self::Worker, ts_ms: i64);
    /// New settings, same cache.
    fn replace(&mut self, settings: &LoopSettings);
    /// Ends a scrape that runs in another thread, and all later ones.
    fn canceller(&self) -> Box<dyn Fn() + Send>;
}

impl Scrapeable for ScrapeLoop {
    type Worker = Worker;

    fn new(settings: &LoopSettings) -> Self {
        ScrapeLoop::new(settings)
    }

    fn scrape(&mut self, worker: &mut Worker, at: ScrapeTime) -> Answered {
        self.scrape(worker, at)
    }

    fn report_failure(&mut self, worker: &mut Worker, at: ScrapeTime, error: ScrapeError) {
        self.report_failure(worker, at, error);
    }

    fn after_panic(&mut self, worker: &mut Worker, at: ScrapeTime) {
        self.after_panic(worker, at);
    }

    fn end_of_run(&mut self, worker: &mut Worker, ts_ms: i64) {
        self.end_of_run(worker, ts_ms);
    }

    fn replace(&mut self, settings: &LoopSettings) {
        self.replace(settings);
    }

    fn canceller(&self) -> Box<dyn Fn() + Send> {
        let canceller = self.canceller();
        Box::new(move || canceller.cancel())
    }
}

/// A loop on its way to a worker.
#[derive(Debug)]
pub struct Job<L> {
    /// The scheduler's slot that the loop comes home to.
    pub slot_idx: usize,
    /// The loop, moved.
    pub scrape_loop: Box<L>,
    /// What to do with it.
    pub task: Task,
}

/// What a worker does with a loop.
#[derive(Clone, Debug)]
pub enum Task {
    /// Ask the target.
    Scrape(Slot),
    /// Commit `up 0` and this error with the slot's time.
    Report(Slot, ScrapeError),
    /// Write staleness markers with this timestamp.
    EndOfRun {
        /// Milliseconds since the Unix epoch.
        ts_ms: i64,
    },
}

/// A slot on a target's grid.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// When the scrape was due.
    pub due: Instant,
    /// The timestamp of that instant.
    pub due_ts_ms: i64,
    /// A start that is later by at most this is dated on time.
    pub tolerance: Duration,
    /// How long the target may take.
    pub scrape_timeout: Duration,
}

/// A loop on its way home.
#[derive(Debug)]
pub struct Done<L> {
    /// The slot it belongs to.
    pub slot_idx: usize,
    /// The loop; `None` if it panicked again while it reported a panic.
    pub scrape_loop: Option<Box<L>>,
    /// What the task came to.
    pub outcome: TaskOutcome,
    /// The worker that is free now.
    pub worker_idx: usize,
}

/// What a task came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskOutcome {
    /// A scrape that began at this instant.
    Scraped {
        /// When the worker took the loop.
        start: Instant,
        /// Whether the target is proven.
        answered: Answered,
    },
    /// A scrape that began at this instant, and ran into a bug.
    Panicked {
        /// When the worker took the loop.
        start: Instant,
    },
    /// A report or the end of a run.
    Written,
}

/// What all workers share.
pub struct WorkerContext<L: Scrapeable> {
    /// Makes a worker's scratch space.
    pub make_worker: Box<dyn Fn() -> L::Worker + Send + Sync>,
    /// Gives a loop home; never blocks.
    pub give_back: Box<dyn Fn(Done<L>) + Send + Sync>,
    /// Monotonic time.
    pub clock: Clock,
    /// Counts workers.
    pub metrics: Arc<ScrapeMetrics>,
}

/// The pool, as the scheduler sees it.
pub struct Workers<L: Scrapeable> {
    context: Arc<WorkerContext<L>>,
    max_workers: usize,
    kind: ThreadKind,
    threads: Vec<Option<WorkerThread<L>>>,
    n_threads: usize,
    /// Parked workers and since when; the last one in is the first one out.
    parked: Vec<(usize, Instant)>,
    /// Jobs beyond `max_workers`. Cannot grow past the number of loops.
    overflow: VecDeque<Job<L>>,
    spawn_retry_at: Option<Instant>,
    busy_gauge: Arc<Gauge>,
    idle_gauge: Arc<Gauge>,
}

struct WorkerThread<L> {
    handoff: Post<Job<L>>,
    thread: Thread,
}

impl<L: Scrapeable> Workers<L> {
    /// A pool without threads that grows to `max_workers`, at least one.
    pub fn new(max_workers: usize, context: WorkerContext<L>) -> Self {
        let busy_gauge = context.metrics.workers.with(&["busy"]);
        let idle_gauge = context.metrics.workers.with(&["idle"]);
        Self {
            context: Arc::new(context),
            max_workers: max_workers.max(1),
            kind: THREAD,
            threads: Vec::new(),
            n_threads: 0,
            parked: Vec::new(),
            overflow: VecDeque::new(),
            spawn_retry_at: None,
            busy_gauge,
            idle_gauge,
        }
    }

    /// Gives `job` to a parked worker, to a new one, or keeps it until one comes free. Never blocks.
    pub fn dispatch(&mut self, job: Job<L>, now: Instant) {
        self.overflow.push_back(job);
        self.drain_overflow(now);
    }

    /// A worker has given its loop back and waits.
    pub fn returned(&mut self, worker_idx: usize, now: Instant) {
        self.parked.push((worker_idx, now));
        self.drain_overflow(now);
    }

    /// Ends workers that no one needed for long, and tries again for those the system refused.
    pub fn maintain(&mut self, now: Instant) {
        while let Some((worker_idx, parked_at)) = self.parked.first().copied()
            && now.saturating_duration_since(parked_at) >= WORKER_IDLE_EXIT
        {
            self.parked.remove(0);
            self.end(worker_idx);
        }
        if self.spawn_retry_at.is_some_and(|at| at <= now) {
            self.spawn_retry_at = None;
            self.drain_overflow(now);
        }
        self.show();
    }

    /// When [`Workers::maintain`] has something to do next.
    pub fn next_maintenance(&self) -> Option<Instant> {
        let idle_exit = self.parked.first().map(|(_, parked_at)| *parked_at + WORKER_IDLE_EXIT);
        [idle_exit, self.spawn_retry_at].into_iter().flatten().min()
    }

    /// Of a job that no worker has yet: how many get one before it.
    pub fn n_before(&self, slot_idx: usize) -> Option<usize> {
        self.overflow.iter().position(|job| job.slot_idx == slot_idx)
    }

    /// Throws away what has not started and returns the slots of those jobs.
    pub fn clear_overflow(&mut self) -> Vec<usize> {
        self.overflow.drain(..).map(|job| job.slot_idx).collect()
    }

    /// Ends all parked workers and joins them; one that hangs in a scrape is left behind.
    pub fn stop(mut self) {
        let parked: Vec<usize> = self.parked.drain(..).map(|(worker_idx, _)| worker_idx).collect();
        for worker_idx in parked {
            if let Some(WorkerThread { handoff, thread }) = self.threads[worker_idx].take() {
                drop(handoff);
                thread.join();
            }
        }
    }

    fn drain_overflow(&mut self, now: Instant) {
        while !self.overflow.is_empty() {
            let worker_idx = match self.parked.pop() {
                Some((worker_idx, _)) => worker_idx,
                None if self.n_threads == self.max_workers || self.spawn_retry_at.is_some() => break,
                None => match self.spawn() {
                    Ok(worker_idx) => worker_idx,
                    Err(cause) => {
                        log::error!(
                            "cannot start a scrape worker beside {} others: {cause}; {} scrapes wait, trying again in \
                             {SPAWN_RETRY:?}; allow more processes or set --scrape.max-workers",
                            self.n_threads,
                            self.overflow.len(),
                        );
                        self.spawn_retry_at = Some(now + SPAWN_RETRY);
                        break;
                    }
                },
            };
            if let (Some(job), Some(worker)) = (self.overflow.pop_front(), &self.threads[worker_idx]) {
                // Neither full nor closed: this worker is parked.
                let _ = worker.handoff.send(job);
            }
        }
        self.show();
    }

    fn spawn(&mut self) -> std::io::Result<usize> {
        let free = self.threads.iter().position(Option::is_none);
        let worker_idx = free.unwrap_or(self.threads.len());
        let (handoff, jobs) = bounded(HANDOFF_CAPACITY);
        let context = Arc::clone(&self.context);
        let run = move || run_worker(worker_idx, &jobs, &context);
        let thread = self.kind.spawn_essential(&worker_idx.to_string(), run)?;
        let worker = Some(WorkerThread { handoff: Post::new(handoff, thread.unparker()), thread });
        match free {
            Some(free_idx) => self.threads[free_idx] = worker,
            None => self.threads.push(worker),
        }
        self.n_threads += 1;
        Ok(worker_idx)
    }

    /// Closes the channel of a parked worker: that ends its thread.
    fn end(&mut self, worker_idx: usize) {
        if self.threads[worker_idx].take().is_some() {
            self.n_threads -= 1;
        }
    }

    fn show(&self) {
        self.busy_gauge.set((self.n_threads - self.parked.len()) as f64);
        self.idle_gauge.set(self.parked.len() as f64);
    }
}

/// The `scrape-worker-<n>` thread.
fn run_worker<L: Scrapeable>(worker_idx: usize, jobs: &Receiver<Job<L>>, context: &WorkerContext<L>) {
    let mut scratch = None;
    loop {
        let job = match mailbox::recv(jobs, Some(Instant::now() + SCRATCH_IDLE_DROP)) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                scratch = None;
                match mailbox::recv(jobs, None) {
                    Ok(job) => job,
                    Err(_) => return,
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let Job { slot_idx, mut scrape_loop, task } = job;
        let (outcome, is_usable) = perform(&mut *scrape_loop, task, &mut scratch, context);
        let scrape_loop = is_usable.then_some(scrape_loop);
        (context.give_back)(Done { slot_idx, scrape_loop, outcome, worker_idx });
    }
}

/// Runs one task. The flag is false if the loop cannot be used again.
fn perform<L: Scrapeable>(
    scrape_loop: &mut L,
    task: Task,
    scratch: &mut Option<L::Worker>,
    context: &WorkerContext<L>,
) -> (TaskOutcome, bool) {
    let start = context.clock.now();
    let (at, after_panic) = match &task {
        Task::Scrape(slot) => (Some(slot.scrape_time(start)), TaskOutcome::Panicked { start }),
        Task::Report(slot, _) => (Some(slot.scrape_time(start)), TaskOutcome::Written),
        Task::EndOfRun { .. } => (None, TaskOutcome::Written),
    };
    let attempt = guarded(scratch, context, |worker| match task {
        Task::Scrape(slot) => {
            let answered = scrape_loop.scrape(worker, slot.scrape_time(start));
            TaskOutcome::Scraped { start, answered }
        }
        Task::Report(slot, error) => {
            scrape_loop.report_failure(worker, slot.scrape_time(start), error);
            TaskOutcome::Written
        }
        Task::EndOfRun { ts_ms } => {
            scrape_loop.end_of_run(worker, ts_ms);
            TaskOutcome::Written
        }
    });
    match attempt {
        Ok(outcome) => (outcome, true),
        Err(panicked) => {
            log::error!("BUG: a scrape {panicked}; the target is reported down and starts with a new cache");
            let reported =
                at.map(|at| guarded(scratch, context, |worker| scrape_loop.after_panic(worker, at)));
            (after_panic, !matches!(reported, Some(Err(_))))
        }
    }
}

/// Lends the scratch space and catches a panic. What that left half-done goes; a transaction that is dropped is rolled
/// back.
fn guarded<L: Scrapeable, R>(
    scratch: &mut Option<L::Worker>,
    context: &WorkerContext<L>,
    run: impl FnOnce(&mut L::Worker) -> R,
) -> Result<R, Panicked> {
    let result = THREAD.catch(|| run(scratch.get_or_insert_with(|| (context.make_worker)())));
    if result.is_err() {
        *scratch = None;
    }
    result
}

impl Slot {
    /// Dated on the grid if the start is close to it; better compression, see prometheus/prometheus#7846.
    fn scrape_time(&self, start: Instant) -> ScrapeTime {
        let late = start.saturating_duration_since(self.due);
        let late_ms = if late <= self.tolerance { 0 } else { late.as_millis() as i64 };
        ScrapeTime { start, ts_ms: self.due_ts_ms + late_ms, deadline: start + self.scrape_timeout }
    }
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
