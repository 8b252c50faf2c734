//! The shape of reloads: target sets come over a channel, a trigger that never blocks asks for a reload, a tick allows
//! one. The manager thread is real; its ticks are given by hand, and what it tells the scheduler is read from a channel.

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use parking_lot::Mutex;
use scraped::config::{Config, ScrapeConfig};
use scraped::discovery::target_group::TargetSets;
use scraped::scrape::manager::{Inputs, ManagerHandle};
use scraped::scrape::metrics::ScrapeMetrics;
use scraped::scrape::schedule::scheduler::Changes;
use scraped::scrape::targets::status::StatusBoard;
use scraped_engine::labels::relabel::{Action, RelabelConfig, RelabelRule};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::PATIENCE;
use support::fake_loops::{config, group, job};
use support::system::own_process::runs_elsewhere;

/// Long enough for a thread to do something it must not do.
const QUIET: Duration = Duration::from_millis(300);

struct Fixture {
    manager: ManagerHandle,
    target_sets: Sender<TargetSets>,
    tick: Sender<Instant>,
    changes: Receiver<Changes>,
    board: Arc<StatusBoard>,
    metrics: Arc<ScrapeMetrics>,
}

impl Fixture {
    fn start(config: Arc<Config>) -> Self {
        // The capacity that discovery's channel has.
        let (target_sets, target_sets_receiver) = bounded(1);
        let (tick, tick_receiver) = bounded(0);
        let (changes_sender, changes) = unbounded();
        let (board, metrics) = (Arc::new(StatusBoard::default()), Arc::new(ScrapeMetrics::default()));
        let manager = ManagerHandle::spawn(Inputs {
            config,
            board: Arc::clone(&board),
            metrics: Arc::clone(&metrics),
            target_sets: target_sets_receiver,
            tick: tick_receiver,
            changes: Box::new(move |changes| changes_sender.send(changes).expect("the test listens")),
        })
        .expect("a manager");
        Self { manager, target_sets, tick, changes, board, metrics }
    }

    fn send(&self, sets: &[(&str, &[&str])]) {
        let sets = sets
            .iter()
            .map(|(job_name, addresses)| ((*job_name).to_owned(), vec![group(addresses)]))
            .collect();
        self.target_sets.send_timeout(sets, PATIENCE).expect("the manager takes target sets at any time");
    }

    /// Returns when the manager has taken the tick.
    fn tick(&self) {
        self.tick.send_timeout(Instant::now(), PATIENCE).expect("the manager takes ticks at any time");
    }

    /// What the next reload changes: added, retired, replaced, removed jobs.
    fn next(&self) -> (usize, usize, usize, usize) {
        let changes = self.changes.recv_timeout(PATIENCE).expect("a reload");
        let sum = |count: fn(&scraped::scrape::targets::pool::LoopChanges) -> usize| {
            changes.loops.iter().map(count).sum()
        };
        (
            sum(|it| it.add.len()),
            sum(|it| it.retire.len()),
            sum(|it| it.replace.len()),
            changes.removed_jobs.len(),
        )
    }

    fn assert_quiet(&self) {
        if let Ok(changes) = self.changes.recv_timeout(QUIET) {
            panic!("nobody asked for this reload: {changes:?}");
        }
    }
}

#[test]
fn the_first_reload_is_not_delayed() {
    let fixture = Fixture::start(config(vec![job("j")]));
    fixture.send(&[("j", &["a", "b"])]);
    // Without a single tick.
    assert_eq!(fixture.next(), (2, 0, 0, 0));
    fixture.manager.stop();
}

#[test]
fn there_is_at_most_one_reload_a_tick_and_it_has_the_newest_sets() {
    let fixture = Fixture::start(config(vec![job("j")]));
    fixture.send(&[("j", &["a"])]);
    assert_eq!(fixture.next(), (1, 0, 0, 0));
    for n_targets in 2..=30 {
        let addresses: Vec<String> = (0..n_targets).map(|idx| format!("a{idx}")).collect();
        fixture.send(&[("j", &addresses.iter().map(String::as_str).collect::<Vec<_>>())]);
    }
    fixture.assert_quiet();
    fixture.tick();
    assert_eq!(fixture.next(), (30, 1, 0, 0));
    fixture.assert_quiet();
    assert_eq!(fixture.metrics.reloads.get(), 2);
    fixture.manager.stop();
}

#[test]
fn without_a_change_there_is_no_reload() {
    let fixture = Fixture::start(config(vec![job("j")]));
    (0..10).for_each(|_| fixture.tick());
    fixture.assert_quiet();
    fixture.send(&[("j", &["a"])]);
    assert_eq!(fixture.next(), (1, 0, 0, 0));
    (0..10).for_each(|_| fixture.tick());
    fixture.assert_quiet();
    assert_eq!(fixture.metrics.reloads.get(), 1);
    // Ticks are not saved up either: two changes after ten ticks are one reload and one that waits.
    fixture.send(&[("j", &["b"])]);
    assert_eq!(fixture.next(), (1, 1, 0, 0));
    fixture.send(&[("j", &["c"])]);
    fixture.assert_quiet();
    fixture.tick();
    assert_eq!(fixture.next(), (1, 1, 0, 0));
    fixture.manager.stop();
}

#[test]
fn the_trigger_never_blocks_the_sender() {
    let fixture = Fixture::start(config(vec![job("j")]));
    // A thousand sets, no tick: each is taken, though the trigger is full after the second.
    (0..1000).for_each(|_| fixture.send(&[("j", &["a"])]));
    fixture.tick();
    while fixture.changes.recv_timeout(QUIET).is_ok() {}
    assert!(fixture.metrics.reloads.get() <= 2);
    fixture.manager.stop();
}

#[test]
fn a_set_that_changes_nothing_touches_no_loop() {
    let fixture = Fixture::start(config(vec![job("j"), job("k")]));
    fixture.send(&[("j", &["a", "b"]), ("k", &["c"])]);
    assert_eq!(fixture.next(), (3, 0, 0, 0));
    fixture.send(&[("j", &["b", "a"]), ("k", &["c", "d"])]);
    fixture.tick();
    assert_eq!(fixture.next(), (1, 0, 0, 0));
    // Sets come whole: a job with an empty list loses its targets, one that is not named keeps them.
    fixture.send(&[("j", &[])]);
    fixture.tick();
    assert_eq!(fixture.next(), (0, 2, 0, 0));
    assert_eq!(fixture.board.pool("k").expect("listed").active.len(), 2);
    fixture.manager.stop();
}

#[test]
fn an_unknown_job_is_logged_and_counted_and_stops_nothing() {
    if runs_elsewhere(module_path!(), "an_unknown_job_is_logged_and_counted_and_stops_nothing") {
        return;
    }
    let logged = capture_log();
    let fixture = Fixture::start(config(vec![job("known")]));
    fixture.send(&[("mystery", &["a"]), ("known", &["b"])]);
    assert_eq!(fixture.next(), (1, 0, 0, 0));
    assert_eq!(fixture.metrics.unknown_jobs.get(), 1);
    assert_eq!(fixture.metrics.scrape_pools.get(), 1);
    let logged = logged.lock();
    let lines: Vec<_> = logged.iter().filter(|line| line.contains(r#"job "mystery""#)).collect();
    assert_eq!(lines.len(), 1, "{logged:?}");
    assert!(fixture.board.pool("mystery").is_none());
    fixture.manager.stop();
}

#[test]
fn a_new_configuration_is_worked_in_without_a_tick() {
    let fixture = Fixture::start(config(vec![job("changes"), job("stays"), job("goes")]));
    fixture.send(&[("changes", &["a", "b"]), ("stays", &["c"]), ("goes", &["d"])]);
    assert_eq!(fixture.next(), (4, 0, 0, 0));
    let relabelled = ScrapeConfig { relabel_configs: vec![set("x", "y")], ..job("changes") };
    let with_new_job = vec![relabelled, job("stays"), job("comes")];
    fixture.manager.apply(config(with_new_job));
    // The changes were sent before the reply.
    assert_eq!(fixture.next(), (2, 2, 0, 1));
    assert!(fixture.board.pool("goes").is_none());
    let listed = fixture.board.pool("changes").expect("listed");
    assert!(listed.active.iter().all(|it| it.target.labels.get("x") == "y"));
    // The sets that discovery sends for it do not wait for a tick either.
    fixture.send(&[("changes", &["a", "b"]), ("stays", &["c"]), ("comes", &["e"])]);
    assert_eq!(fixture.next(), (1, 0, 0, 0));
    assert_eq!(fixture.metrics.unknown_jobs.get(), 0);
    fixture.manager.stop();
}

#[test]
fn an_equal_configuration_touches_no_loop() {
    let fixture = Fixture::start(config(vec![job("j")]));
    fixture.send(&[("j", &["a", "b"])]);
    assert_eq!(fixture.next(), (2, 0, 0, 0));
    let row = |fixture: &Fixture| Arc::clone(&fixture.board.pool("j").expect("listed").active[0].status);
    let before = row(&fixture);
    for _ in 0..3 {
        fixture.manager.apply(config(vec![job("j")]));
        assert_eq!(fixture.next(), (0, 0, 0, 0));
    }
    assert!(Arc::ptr_eq(&before, &row(&fixture)));
    assert_eq!(fixture.metrics.scrape_pool_reloads.get(), 0);
    fixture.manager.stop();
}

#[test]
fn a_closed_channel_ends_the_thread() {
    let Fixture { manager, target_sets, changes: _changes, .. } = Fixture::start(config(vec![job("j")]));
    drop(target_sets);
    // Nothing is left to work it in, and nobody waits for that.
    manager.apply(config(vec![job("j")]));
    manager.stop();
}

fn set(target_label: &str, replacement: &str) -> RelabelRule {
    RelabelRule::new(RelabelConfig {
        source_labels: Vec::new(),
        separator: ";".to_owned(),
        regex: "(.*)".to_owned(),
        modulus: 0,
        target_label: target_label.to_owned(),
        replacement: replacement.to_owned(),
        action: Action::Replace,
    })
    .expect("a good rule")
}

type Lines = Arc<Mutex<Vec<String>>>;

/// What is logged in this process from here on.
fn capture_log() -> Lines {
    struct Capture(Lines);
    impl log::Log for Capture {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            self.0.lock().push(record.args().to_string());
        }
        fn flush(&self) {}
    }
    let lines = Lines::default();
    log::set_boxed_logger(Box::new(Capture(Arc::clone(&lines)))).expect("the only logger here");
    log::set_max_level(log::LevelFilter::Trace);
    lines
}
