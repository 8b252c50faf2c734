//! The scrape-scheduler thread: owns time, and every loop that is not with a worker.
//!
//! It waits for a message or for the next deadline, and never for anything else: it blocks on no send, touches no
//! socket and no file (but for [`SchedulerOptions::restart_order_check`], after a backward step of the wall clock).

use crate::clock::Clock;
use crate::duration::format_duration;
use crate::scrape::error::ScrapeError;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::schedule::end_of_run::EndOfRun;
use crate::scrape::schedule::mailbox;
use crate::scrape::schedule::mailbox::Post;
use crate::scrape::schedule::queue_place::queue_place;
use crate::scrape::schedule::set_aside::{MAX_PANICS, Panics, SET_ASIDE_FOR};
use crate::scrape::schedule::slots::{AfterRun, Lane, Slots, State, Tenant};
use crate::scrape::schedule::suspects::{SuspectLane, Suspicion};
use crate::scrape::schedule::timing::{ClockStep, Timing};
use crate::scrape::schedule::workers::{
    Done, Job, Scrapeable, Slot, Task, TaskOutcome, WorkerContext, Workers,
};
use crate::scrape::scrape_loop::Answered;
use crate::scrape::targets::loop_key::LoopKey;
use crate::scrape::targets::on_demand::{Forward, Order, Refusal, ScrapeRequest};
use crate::scrape::targets::pool::{LoopChanges, LoopSettings};
use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};
use scraped_engine::threads::{STACK_BYTES, Thread, ThreadKind};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const THREAD: ThreadKind = ThreadKind { name: "scrape-scheduler", stack_bytes: STACK_BYTES };

/// First scrapes of up to this many new loops begin in the same instant.
const SPREAD_ABOVE_LOOPS: usize = 100;

/// More of them are spread over this time.
const FIRST_SCRAPE_SPREAD: Duration = Duration::from_secs(1);

/// Divisors of the interval. A slot that was missed by less is run late instead of skipped: a target that uses up a
/// timeout as long as its interval would otherwise be reported down only every other slot.
const LATE_GRACE_DIVISOR: u32 = 10;
/// The first slot on the grid is left out if it comes sooner than this after the scrape at once.
const FIRST_GAP_DIVISOR: u32 = 10;
/// Prometheus clamps the timestamp tolerance to 1 % of the interval.
const TOLERANCE_DIVISOR: u32 = 100;

/// How long a stop waits for cancelled scrapes to come home. Requests end at once; this is for pages being stored.
const STOP_WAIT: Duration = Duration::from_millis(800);

/// When a new loop scrapes for the first time (`--scrape.on-start`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstScrape {
    /// At once, over at most a second when there are many; then on its grid.
    AtOnce,
    /// At its first slot on the grid, as Prometheus does.
    OnGrid,
}

/// Changes of one reload.
#[derive(Debug, Default)]
pub struct Changes {
    /// For the grid of loops that are added or replaced.
    pub offset_seed: u64,
    /// One a pool.
    pub loops: Vec<LoopChanges>,
    /// Jobs that are not in the configuration any more: their loops end without staleness markers, as in Prometheus.
    pub removed_jobs: Vec<String>,
}

/// Everything that can wake the scheduler, beside the clock.
enum Message<L> {
    Apply(Changes),
    Done(Done<L>),
    Ordered(Order),
    Stop,
}

/// What the scheduler needs.
pub struct SchedulerOptions<L: Scrapeable> {
    /// Both clocks.
    pub clock: Clock,
    /// What is counted.
    pub metrics: Arc<ScrapeMetrics>,
    /// `--scrape.on-start`.
    pub first_scrape: FirstScrape,
    /// Before the clamp to 1 % of the interval.
    pub timestamp_tolerance: Duration,
    /// `--scrape.max-workers`.
    pub max_workers: usize,
    /// Makes a worker's scratch space.
    pub make_worker: Box<dyn Fn() -> L::Worker + Send + Sync>,
    /// Called after a backward step of the wall clock: what is stored already must not keep new samples out.
    pub restart_order_check: Box<dyn Fn() + Send>,
}

/// The running scheduler with its workers.
pub struct Handle<L> {
    inbox: Post<Message<L>>,
    thread: Thread,
}

impl<L: Scrapeable> Handle<L> {
    /// Starts the thread; workers come with the first target.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn spawn(options: SchedulerOptions<L>) -> io::Result<Self> {
        // Unbounded: a worker must never block when it gives a loop back. Cannot grow past loops, reloads and
        // requests for a scrape.
        let (sender, inbox) = unbounded();
        let timing = Timing::new(options.clock.clone());
        let scheduler = {
            let sender = sender.clone();
            move || Scheduler::new(options, timing, inbox, Post::new(sender, thread::current())).run()
        };
        let thread = THREAD.spawn_essential("", scheduler)?;
        Ok(Self { inbox: Post::new(sender, thread.unparker()), thread })
    }

    /// A sender for changes; it never blocks.
    pub fn changes(&self) -> Box<dyn Fn(Changes) + Send> {
        let inbox = self.inbox.clone();
        // A closed inbox means that the scheduler has stopped.
        Box::new(move |changes| drop(inbox.send(Message::Apply(changes))))
    }

    /// A sender for orders; it never blocks.
    pub fn orders(&self) -> Forward {
        let inbox = self.inbox.clone();
        // A closed inbox means that the scheduler has stopped; the request is dropped with the message.
        Box::new(move |order| drop(inbox.send(Message::Ordered(order))))
    }

    /// Cancels what runs and ends all threads but those that hang in a scrape after `STOP_WAIT`.
    pub fn stop(self) {
        // A closed inbox: it has stopped already.
        let _ = self.inbox.send(Message::Stop);
        self.thread.join();
    }
}

struct Scheduler<L: Scrapeable> {
    inbox: Receiver<Message<L>>,
    workers: Workers<L>,
    slots: Slots<L>,
    suspects: SuspectLane,
    timing: Timing,
    metrics: Arc<ScrapeMetrics>,
    first_scrape: FirstScrape,
    timestamp_tolerance: Duration,
    offset_seed: u64,
    restart_order_check: Box<dyn Fn() + Send>,
    /// Steps of the wall clock so far, and the number of the last one that was backward.
    clock_epoch: u32,
    backward_epoch: u32,
    is_order_restart_due: bool,
}

impl<L: Scrapeable> Scheduler<L> {
    /// `give_back` sends to `inbox`, which this thread reads.
    fn new(
        options: SchedulerOptions<L>,
        timing: Timing,
        inbox: Receiver<Message<L>>,
        give_back: Post<Message<L>>,
    ) -> Self {
        let context = WorkerContext {
            make_worker: options.make_worker,
            // A closed inbox means that the scheduler has stopped; the loop is dropped with the message.
            give_back: Box::new(move |done| drop(give_back.send(Message::Done(done)))),
            clock: options.clock,
            metrics: Arc::clone(&options.metrics),
        };
        Self {
            inbox,
            workers: Workers::new(options.max_workers, context),
            slots: Slots::new(),
            suspects: SuspectLane::new(options.max_workers),
            timing,
            metrics: options.metrics,
            first_scrape: options.first_scrape,
            timestamp_tolerance: options.timestamp_tolerance,
            offset_seed: 0,
            restart_order_check: options.restart_order_check,
            clock_epoch: 0,
            backward_epoch: 0,
            is_order_restart_due: false,
        }
    }

    fn run(mut self) {
        loop {
            let next_wake =
                [self.slots.next_deadline(), self.workers.next_maintenance()].into_iter().flatten().min();
            match mailbox::recv(&self.inbox, next_wake) {
                Ok(Message::Apply(changes)) => self.apply(changes),
                Ok(Message::Done(done)) => self.on_done(done),
                Ok(Message::Ordered(order)) => self.obey(order),
                Ok(Message::Stop) => return self.stop(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.fire_due();
        }
    }

    fn fire_due(&mut self) {
        let now = self.timing.now();
        if self.slots.next_deadline().is_some_and(|due| due <= now) {
            self.check_clock();
        }
        while let Some(slot_idx) = self.slots.pop_due(now) {
            match self.slots.get(slot_idx).map(|tenant| &tenant.state) {
                Some(State::Idle(_)) => self.begin(slot_idx, now),
                Some(State::Waiting(_)) => self.report_waiting(slot_idx, now),
                Some(State::Retired(..)) => self.write_markers(slot_idx, now),
                Some(State::Running(..)) | None => {}
            }
        }
        self.workers.maintain(now);
    }

    /// Before anything is dated: has the wall clock stepped?
    fn check_clock(&mut self) {
        if let Some(step) = self.timing.check() {
            self.clock_epoch += 1;
            self.metrics.clock_steps.with(&[step.direction()]).inc();
            let (ClockStep::Forward(by) | ClockStep::Backward(by)) = step;
            log::warn!(
                "the wall clock stepped {} by {}; samples carry the new time from now on, no scrape moves",
                step.direction(),
                format_duration(by),
            );
            if matches!(step, ClockStep::Backward(_)) {
                self.backward_epoch = self.clock_epoch;
                self.is_order_restart_due = true;
            }
        }
        if std::mem::take(&mut self.is_order_restart_due) {
            (self.restart_order_check)();
        }
    }

    /// A loop's slot has come.
    fn begin(&mut self, slot_idx: usize, now: Instant) {
        let due = self.advance(slot_idx, now);
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return };
        if tenant.panics.is_set_aside(now) {
            self.metrics.scrapes_skipped.with(&["set_aside"]).inc();
            let error = ScrapeError::SetAside { panics: MAX_PANICS, pause: SET_ASIDE_FOR };
            self.dispatch(slot_idx, Lane::SetAside, due, |slot| Task::Report(slot, error));
        } else if tenant.suspicion.is_none() {
            self.dispatch(slot_idx, Lane::Proven, due, Task::Scrape);
        } else if self.suspects.enter() {
            self.dispatch(slot_idx, Lane::Suspect, due, Task::Scrape);
        } else if let State::Idle(scrape_loop) = &mut tenant.state {
            tenant.state = State::Waiting(scrape_loop.take());
            let next_due = tenant.next_due;
            self.suspects.wait(slot_idx);
            self.slots.schedule(slot_idx, next_due);
        }
    }

    /// A suspect still waits when its next slot comes: it is reported down, and waits on.
    fn report_waiting(&mut self, slot_idx: usize, now: Instant) {
        let due = self.advance(slot_idx, now);
        let error =
            ScrapeError::NoWorker { waiting: self.suspects.n_waiting(), limit: self.suspects.limit() };
        self.metrics.scrapes_skipped.with(&["no_worker"]).inc();
        self.dispatch(slot_idx, Lane::Report, due, |slot| Task::Report(slot, error));
    }

    /// Places have come free: the longest waiting suspects start, between their slots.
    fn start_waiting(&mut self, now: Instant) {
        let slots = &self.slots;
        let is_home = |slot_idx| matches!(slots.get(slot_idx).map(|it| &it.state), Some(State::Waiting(_)));
        if let Some(slot_idx) = self.suspects.enter_first(is_home) {
            self.check_clock();
            self.dispatch(slot_idx, Lane::Suspect, now, Task::Scrape);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Scrape(request) => self.scrape_now(request),
            Order::Locate(request) => {
                let now = self.timing.now();
                let place = queue_place(request.key, now, &self.slots, &self.suspects, &self.workers);
                request.answer(place);
            }
        }
    }

    /// Someone wants a scrape between the slots; `next_due` stays.
    fn scrape_now(&mut self, request: ScrapeRequest) {
        self.check_clock();
        let now = self.timing.now();
        let Some(slot_idx) = self.slots.find(request.key) else { return request.answer(Err(Refusal::Gone)) };
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return };
        if let Some(outcome) = tenant.answer_at_once(now) {
            return request.answer(outcome);
        }
        let lane = match tenant.suspicion {
            None => Lane::Proven,
            Some(_) if self.suspects.enter() => Lane::Suspect,
            Some(_) => return request.answer(Err(Refusal::NoWorker)),
        };
        tenant.request = Some(request);
        self.dispatch(slot_idx, lane, now, Task::Scrape);
    }

    /// Moves `next_due` one slot on and returns the slot that has come.
    fn advance(&mut self, slot_idx: usize, now: Instant) -> Instant {
        let wall_ms = self.timing.wall_ms_at(now);
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return now };
        let due = tenant.next_due;
        let interval = tenant.settings.target.scrape_interval;
        if tenant.is_on_grid {
            tenant.next_due += interval;
        } else {
            let until_next = tenant.settings.target.until_next_slot(wall_ms, self.offset_seed);
            let is_too_soon = until_next < interval / FIRST_GAP_DIVISOR;
            tenant.next_due = now + until_next + if is_too_soon { interval } else { Duration::ZERO };
            tenant.is_on_grid = true;
        }
        due
    }

    fn dispatch(&mut self, slot_idx: usize, lane: Lane, due: Instant, task: impl FnOnce(Slot) -> Task) {
        let due_ts_ms = self.timing.wall_ms_at(due);
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return };
        let (State::Idle(scrape_loop) | State::Waiting(scrape_loop)) = &mut tenant.state else { return };
        let scrape_loop = match scrape_loop.take() {
            Some(mut scrape_loop) => {
                if tenant.is_replaced {
                    scrape_loop.replace(&tenant.settings);
                    tenant.canceller = Some(scrape_loop.canceller());
                }
                scrape_loop
            }
            None => {
                let scrape_loop = Box::new(L::new(&tenant.settings));
                tenant.canceller = Some(scrape_loop.canceller());
                scrape_loop
            }
        };
        tenant.is_replaced = false;
        tenant.state = State::Running(lane, AfterRun::Keep);
        tenant.running_due = due;
        tenant.clock_epoch = self.clock_epoch;
        let target = &tenant.settings.target;
        let tolerance = self.timestamp_tolerance.min(target.scrape_interval / TOLERANCE_DIVISOR);
        let slot = Slot { due, due_ts_ms, tolerance, scrape_timeout: target.scrape_timeout };
        self.slots.unschedule(slot_idx);
        self.workers.dispatch(Job { slot_idx, scrape_loop, task: task(slot) }, self.timing.now());
    }

    /// Two slots after its last scrape a retired loop writes its staleness markers.
    fn write_markers(&mut self, slot_idx: usize, now: Instant) {
        let clock_epoch = self.clock_epoch;
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return };
        let running = State::Running(Lane::EndOfRun, AfterRun::Free);
        if let State::Retired(scrape_loop, end) = std::mem::replace(&mut tenant.state, running) {
            tenant.clock_epoch = clock_epoch;
            let task = Task::EndOfRun { ts_ms: self.timing.wall_ms_at(end.marker_slot) };
            self.workers.dispatch(Job { slot_idx, scrape_loop, task }, now);
        }
    }

    fn on_done(&mut self, done: Done<L>) {
        let now = self.timing.now();
        self.workers.returned(done.worker_idx, now);
        let slot_idx = done.slot_idx;
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return };
        let State::Running(lane, after_run) = tenant.state else { return };
        tenant.has_written = true;
        // What it has just written may be dated before the step, in what is now the future.
        self.is_order_restart_due |= tenant.clock_epoch < self.backward_epoch;
        let scraped = match done.outcome {
            TaskOutcome::Scraped { start, answered } => Some((start, answered)),
            TaskOutcome::Panicked { start } => Some((start, Answered::No)),
            TaskOutcome::Written => None,
        };
        if let Some((start, answered)) = scraped {
            match done.outcome {
                TaskOutcome::Panicked { .. } if tenant.panics.add(now) => {
                    self.metrics.set_aside.inc();
                    log::error!(
                        "BUG: {MAX_PANICS} scrapes of {} in a row have panicked: it is set aside, and tried again in {} \
                         or when its settings change",
                        tenant.settings.target.url,
                        format_duration(SET_ASIDE_FOR)
                    );
                }
                TaskOutcome::Panicked { .. } => {}
                _ => tenant.panics = Panics::default(),
            }
            if lane == Lane::Proven {
                let late = start.saturating_duration_since(tenant.running_due);
                self.metrics.lateness.observe(late.as_secs_f64());
            }
            if let Some(last_start) = tenant.last_start.replace(start) {
                tenant.interval_length.observe_duration(start.saturating_duration_since(last_start));
            }
            let is_suspect = answered != Answered::Yes;
            tenant.suspicion = is_suspect.then(|| Suspicion::new(&self.metrics));
        }
        tenant.answer_request(now);
        if lane == Lane::Suspect {
            self.suspects.leave();
        }
        match after_run {
            AfterRun::Keep => {
                tenant.state = match lane {
                    Lane::Report => State::Waiting(done.scrape_loop),
                    _ => State::Idle(done.scrape_loop),
                };
                self.schedule_next(slot_idx, now);
            }
            AfterRun::Retire => self.retire_at_home(slot_idx, done.scrape_loop),
            AfterRun::Free => self.free(slot_idx),
        }
        self.start_waiting(now);
    }

    /// Schedules `next_due`. Slots that have passed are skipped and counted; nothing runs twice to catch up.
    fn schedule_next(&mut self, slot_idx: usize, now: Instant) {
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return };
        if let Some(late) = now.checked_duration_since(tenant.next_due) {
            let interval = tenant.settings.target.scrape_interval;
            let n_passed =
                u32::try_from(late.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u32::MAX - 1);
            let latest = tenant.next_due + interval * n_passed;
            let is_missed = now.saturating_duration_since(latest) > interval / LATE_GRACE_DIVISOR;
            let n_skipped = n_passed + u32::from(is_missed);
            tenant.next_due = latest + if is_missed { interval } else { Duration::ZERO };
            if n_skipped > 0 {
                self.metrics.scrapes_skipped.with(&["late"]).add(u64::from(n_skipped));
            }
        }
        let next_due = tenant.next_due;
        self.slots.schedule(slot_idx, next_due);
    }

    fn apply(&mut self, changes: Changes) {
        self.check_clock();
        let now = self.timing.now();
        self.offset_seed = changes.offset_seed;
        for job_name in &changes.removed_jobs {
            self.remove_job(job_name);
        }
        let n_added: usize = changes.loops.iter().map(|it| it.add.len()).sum();
        let spread = if n_added > SPREAD_ABOVE_LOOPS { FIRST_SCRAPE_SPREAD } else { Duration::ZERO };
        let mut n_spread = 0;
        for loops in changes.loops {
            loops.retire.into_iter().for_each(|key| self.retire(key));
            loops.replace.into_iter().for_each(|(key, settings)| self.replace(key, settings, now));
            for (key, settings) in loops.add {
                self.add(key, settings, now, spread.mul_f64(f64::from(n_spread) / n_added as f64));
                n_spread += 1;
            }
        }
    }

    fn add(&mut self, key: LoopKey, settings: LoopSettings, now: Instant, spread: Duration) {
        let next_due = match self.first_scrape {
            FirstScrape::AtOnce => now + spread,
            FirstScrape::OnGrid => now + self.until_next_slot(&settings, now),
        };
        let tenant = Tenant {
            interval_length: self.metrics.interval_length_of(settings.target.scrape_interval),
            settings,
            state: State::Idle(None),
            canceller: None,
            is_replaced: false,
            panics: Panics::default(),
            suspicion: Some(Suspicion::new(&self.metrics)),
            is_on_grid: self.first_scrape == FirstScrape::OnGrid,
            next_due,
            running_due: next_due,
            request: None,
            last_start: None,
            has_written: false,
            clock_epoch: self.clock_epoch,
        };
        let slot_idx = self.slots.insert(key, tenant);
        self.slots.schedule(slot_idx, next_due);
    }

    fn until_next_slot(&self, settings: &LoopSettings, now: Instant) -> Duration {
        settings.target.until_next_slot(self.timing.wall_ms_at(now), self.offset_seed)
    }

    fn replace(&mut self, key: LoopKey, settings: LoopSettings, now: Instant) {
        let until_next = self.until_next_slot(&settings, now);
        let Some(slot_idx) = self.slots.find(key) else { return };
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return };
        let (old, new) = (&tenant.settings.target, &settings.target);
        let is_grid_new = (old.hash, old.scrape_interval) != (new.hash, new.scrape_interval);
        tenant.interval_length = self.metrics.interval_length_of(new.scrape_interval);
        tenant.settings = settings;
        tenant.is_replaced = true;
        tenant.panics = Panics::default();
        if is_grid_new && tenant.is_on_grid {
            let next_due = now + until_next;
            tenant.next_due = next_due;
            // A running loop is scheduled when it comes home.
            if !matches!(tenant.state, State::Running(..)) {
                self.slots.schedule(slot_idx, next_due);
            }
        }
    }

    /// A target is gone.
    fn retire(&mut self, key: LoopKey) {
        let Some(slot_idx) = self.slots.forget_key(key) else { return };
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return };
        match &mut tenant.state {
            State::Idle(scrape_loop) | State::Waiting(scrape_loop) => {
                let scrape_loop = scrape_loop.take();
                self.suspects.forget(slot_idx);
                self.retire_at_home(slot_idx, scrape_loop);
            }
            State::Running(_, after_run) => {
                *after_run = AfterRun::Retire;
                self.suspects.forget(slot_idx);
            }
            State::Retired(..) => {}
        }
    }

    /// Keeps the loop until the time of its markers, if there is anything to mark.
    fn retire_at_home(&mut self, slot_idx: usize, scrape_loop: Option<Box<L>>) {
        let Some(tenant) = self.slots.get_mut(slot_idx) else { return };
        let Some(scrape_loop) = scrape_loop.filter(|_| tenant.has_written) else {
            return self.free(slot_idx);
        };
        let end = EndOfRun::after(tenant.next_due, tenant.settings.target.scrape_interval);
        tenant.state = State::Retired(scrape_loop, end);
        tenant.suspicion = None;
        self.slots.schedule(slot_idx, end.due);
    }

    /// A job is not in the configuration any more: nothing more is written for it, not even pending markers.
    fn remove_job(&mut self, job_name: &str) {
        let of_job = |tenant: &Tenant<L>| tenant.settings.config.job_name == job_name;
        let gone: Vec<usize> =
            self.slots.iter().filter(|(_, tenant)| of_job(tenant)).map(|(slot_idx, _)| slot_idx).collect();
        self.slots.forget_keys(&gone);
        for slot_idx in gone {
            self.suspects.forget(slot_idx);
            match self.slots.get_mut(slot_idx).map(|tenant| &mut tenant.state) {
                Some(State::Running(_, after_run)) => *after_run = AfterRun::Free,
                _ => self.free(slot_idx),
            }
        }
    }

    fn free(&mut self, slot_idx: usize) {
        drop(self.slots.free(slot_idx));
    }

    /// Nothing starts any more; what runs is cancelled and leaves no sample.
    fn stop(mut self) {
        self.slots.clear_deadlines();
        for slot_idx in self.workers.clear_overflow() {
            self.free(slot_idx);
        }
        let mut n_running = 0;
        for (_, tenant) in self.slots.iter() {
            if let (State::Running(..), Some(cancel)) = (&tenant.state, &tenant.canceller) {
                n_running += 1;
                cancel();
            }
        }
        let until = self.timing.now() + STOP_WAIT;
        while n_running > 0 {
            match mailbox::recv(&self.inbox, Some(until)) {
                Ok(Message::Done(done)) => {
                    n_running -= 1;
                    self.workers.returned(done.worker_idx, until);
                }
                Ok(Message::Apply(_) | Message::Ordered(_) | Message::Stop) => {}
                Err(_) => {
                    log::warn!(
                        "{n_running} scrapes did not end within {STOP_WAIT:?} of being cancelled; leaving them"
                    );
                    break;
                }
            }
        }
        self.workers.stop();
    }
}
