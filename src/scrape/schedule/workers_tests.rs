//! The elastic pool by hand: jobs that last as long as the test says, and a clock that is only a number.

use super::*;
use crossbeam_channel::{Sender, unbounded};
use std::collections::BTreeSet;
use std::thread;

/// Reports the worker's name and waits until it may go home.
struct Told(Receiver<()>);

type Names = Sender<String>;

impl Scrapeable for Told {
    type Worker = Names;

    fn new(_: &LoopSettings) -> Self {
        Self(bounded(0).1)
    }

    fn scrape(&mut self, names: &mut Names, _: ScrapeTime) -> Answered {
        names.send(thread::current().name().unwrap_or("").to_owned()).unwrap();
        let _ = self.0.recv();
        Answered::Yes
    }

    fn report_failure(&mut self, _: &mut Names, _: ScrapeTime, _: ScrapeError) {}
    fn after_panic(&mut self, _: &mut Names, _: ScrapeTime) {}
    fn end_of_run(&mut self, _: &mut Names, _: i64) {}
    fn replace(&mut self, _: &LoopSettings) {}

    fn canceller(&self) -> Box<dyn Fn() + Send> {
        Box::new(|| ())
    }
}

struct Fixture {
    workers: Workers<Told>,
    names: Receiver<String>,
    home: Receiver<Done<Told>>,
}

impl Fixture {
    fn new(max_workers: usize) -> Self {
        let (names_sender, names) = unbounded();
        let (home_sender, home) = unbounded();
        let workers = Workers::new(
            max_workers,
            WorkerContext {
                make_worker: Box::new(move || names_sender.clone()),
                give_back: Box::new(move |done| home_sender.send(done).unwrap()),
                clock: Clock::system(),
                metrics: Arc::new(ScrapeMetrics::default()),
            },
        );
        Self { workers, names, home }
    }

    /// Dispatches a scrape that lasts until the sender is dropped.
    fn dispatch(&mut self, now: Instant) -> Sender<()> {
        let (lasts, end) = bounded(0);
        let slot = Slot { due: now, due_ts_ms: 0, tolerance: Duration::ZERO, scrape_timeout: Duration::ZERO };
        let job = Job { slot_idx: 0, scrape_loop: Box::new(Told(end)), task: Task::Scrape(slot) };
        self.workers.dispatch(job, now);
        lasts
    }

    fn come_home(&mut self, n: usize, now: Instant) {
        for _ in 0..n {
            let done = self.home.recv().unwrap();
            self.workers.returned(done.worker_idx, now);
        }
    }
}

#[test]
fn one_worker_serves_the_trickle_after_a_burst_and_the_others_end() {
    let mut fixture = Fixture::new(8);
    let start = Instant::now();
    let burst: Vec<_> = (0..5).map(|_| fixture.dispatch(start)).collect();
    let names: BTreeSet<String> = (0..5).map(|_| fixture.names.recv().unwrap()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    drop(burst);
    fixture.come_home(5, start);
    let mut trickle = BTreeSet::new();
    for seconds in 1..=31 {
        let now = start + Duration::from_secs(seconds);
        drop(fixture.dispatch(now));
        trickle.insert(fixture.names.recv().unwrap());
        fixture.come_home(1, now);
        fixture.workers.maintain(now);
    }
    assert_eq!(trickle.len(), 1, "{trickle:?}");
    assert_eq!(fixture.workers.n_threads, 1);
    let last = start + Duration::from_secs(31) + WORKER_IDLE_EXIT;
    assert_eq!(fixture.workers.next_maintenance(), Some(last));
    fixture.workers.maintain(last);
    assert_eq!((fixture.workers.n_threads, fixture.workers.next_maintenance()), (0, None));
    drop(fixture.dispatch(last));
    fixture.come_home(1, last);
    fixture.workers.stop();
}

#[test]
fn beyond_the_cap_jobs_wait_for_a_worker() {
    let mut fixture = Fixture::new(2);
    let now = Instant::now();
    let mut jobs: Vec<_> = (0..5).map(|_| fixture.dispatch(now)).collect();
    assert_eq!((fixture.workers.n_threads, fixture.workers.overflow.len()), (2, 3));
    assert_eq!((fixture.workers.n_before(0), fixture.workers.n_before(1)), (Some(0), None));
    while !jobs.is_empty() {
        drop(jobs.remove(0));
        fixture.come_home(1, now);
    }
    assert_eq!((fixture.workers.n_threads, fixture.workers.parked.len()), (2, 2));
    assert_eq!(fixture.names.len(), 5);
    fixture.workers.stop();
}

#[test]
fn a_thread_that_the_system_refuses_is_tried_again_and_no_job_is_lost() {
    let mut fixture = Fixture::new(4);
    // No address space has room for this.
    fixture.workers.kind.stack_bytes = usize::MAX & !0xffff;
    let now = Instant::now();
    let jobs = [fixture.dispatch(now), fixture.dispatch(now)];
    assert_eq!((fixture.workers.n_threads, fixture.workers.overflow.len()), (0, 2));
    let retry_at = fixture.workers.next_maintenance().unwrap();
    fixture.workers.maintain(retry_at);
    assert_eq!((fixture.workers.n_threads, fixture.workers.overflow.len()), (0, 2));
    fixture.workers.kind = THREAD;
    let retry_at = fixture.workers.next_maintenance().unwrap();
    fixture.workers.maintain(retry_at);
    assert_eq!((fixture.workers.n_threads, fixture.workers.overflow.len()), (2, 0));
    drop(jobs);
    fixture.come_home(2, retry_at);
    fixture.workers.stop();
}

#[test]
fn a_start_close_to_the_slot_is_dated_in_it() {
    let due = Instant::now();
    let tolerance = Duration::from_millis(2);
    let slot = Slot { due, due_ts_ms: 1000, tolerance, scrape_timeout: Duration::from_secs(1) };
    for (late_us, ts_ms) in [(0, 1000), (2000, 1000), (2001, 1002), (3999, 1003), (1_500_000, 2500)] {
        let start = due + Duration::from_micros(late_us);
        let time = slot.scrape_time(start);
        assert_eq!((time.ts_ms, time.deadline), (ts_ms, start + Duration::from_secs(1)), "{late_us}");
    }
}
