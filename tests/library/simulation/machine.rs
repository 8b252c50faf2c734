//! A box: a log, wal-maintenance and an endpoint on one thread, in an order that is drawn from a seed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use scraped::remote::settle::position::Positions;
use scraped_engine::disk::draw::Draw;
use scraped_engine::disk::faulty::{Faults, FaultyDisk};
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::flush;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::options::WalOptions;
use support::wal::check_log;

use super::clock;
use super::clock::Clock;
use super::endpoint::{Endpoint, Found, N_SHARDS, URL, claim};
use super::ledger::Ledger;
use super::reading;
use super::samples::{N_SERIES, labels, value};
use super::weather;
use super::weather::Wire;

/// Time from one scrape to the next.
const SCRAPE_INTERVAL: Duration = Duration::from_secs(15);

/// Wal-maintenance comes round as often.
const ROUND: Duration = Duration::from_secs(5);

/// What kind of box it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Bytes of memory for commits; `None`: they go to the disk at once.
    memory_bytes: Option<u64>,
    segment_size_bytes: u64,
    retention_min_time: Duration,
    /// Little enough to be reached in an outage.
    retention_max_bytes: Option<u64>,
    flush_after: Duration,
    is_clock_set: bool,
    has_bad_disk: bool,
}

impl Kind {
    pub(super) fn drawn(draw: &mut Draw, is_memory_first: bool) -> Kind {
        let mut one_of = |choices: [u64; 3]| choices[draw.below(3) as usize];
        Kind {
            memory_bytes: is_memory_first.then(|| one_of([8, 32, 256]) << 10),
            segment_size_bytes: one_of([4, 12, 44]) << 10,
            retention_min_time: Duration::from_secs(60 * one_of([5, 20, 60])),
            retention_max_bytes: (one_of([0, 0, 1]) == 1).then(|| one_of([60, 100, 200]) << 10),
            flush_after: Duration::from_secs(60 * one_of([1, 5, 10])),
            is_clock_set: one_of([0, 0, 1]) == 1,
            has_bad_disk: one_of([0, 1, 1]) == 1,
        }
    }
}

/// What happened to a box, by how often.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) samples: u64,
    pub(super) arrived: u64,
    pub(super) refused_by_disk: u64,
    pub(super) kills: u64,
    pub(super) lost_by_kills: u64,
    pub(super) stops: u64,
    pub(super) truncations: u64,
    pub(super) lost: u64,
}

/// A box.
pub(super) struct Machine {
    kind: Kind,
    draw: Draw,
    clock: Clock,
    options: WalOptions,
    disk: FaultyDisk,
    wal: Wal,
    maintenance: Maintenance,
    positions: Positions,
    endpoint: Endpoint,
    ledger: Ledger,
    wire: Wire,
    is_disk_bad: bool,
    /// The disk has been bad since this process began.
    is_blemished: bool,
    saved: Position,
    oldest: u32,
    next_scrape: Duration,
    seen: Seen,
}

impl Machine {
    /// A new box in an empty directory.
    pub(super) fn new(dir: &Path, kind: Kind, draw: Draw) -> Machine {
        let clock = Clock::begin();
        let disk = FaultyDisk::over(Arc::new(steady_disk()));
        let options = WalOptions {
            segment_size_bytes: Some(kind.segment_size_bytes),
            retention_min_time: kind.retention_min_time,
            retention_max_bytes: Some(kind.retention_max_bytes.unwrap_or(1 << 40)),
            memory_bytes: kind.memory_bytes,
            flush_after: kind.flush_after,
            lock_file: false,
            disk: Arc::new(disk.clone()),
            now: clock::now,
            ..WalOptions::at(dir)
        };
        let Process { wal, maintenance, positions, endpoint, .. } = start(&options);
        let oldest = wal.reader().oldest_position().expect("the log can be read").segment;
        let saved = endpoint.progress().settled().mark.position;
        let mut ledger = Ledger::default();
        ledger.restarted(&endpoint, saved, oldest, &wal.reader().gone_from(0));
        Machine {
            kind,
            draw,
            clock,
            options,
            disk,
            wal,
            maintenance,
            positions,
            endpoint,
            ledger,
            wire: Wire::Healthy,
            is_disk_bad: false,
            is_blemished: false,
            saved,
            oldest,
            next_scrape: SCRAPE_INTERVAL,
            seen: Seen::default(),
        }
    }

    /// What has happened to it.
    pub(super) fn seen(&self) -> Seen {
        self.seen
    }

    /// Time since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The next thing happens, and the ledger is compared.
    pub(super) fn go_on(&mut self) {
        match self.draw.below(1000) {
            0..200 => self.pass_time(),
            200..460 => self.read(),
            460..800 => self.exchange(),
            800..860 => self.endpoint.note_settled(),
            860..910 => self.save(),
            910..935 => self.count_gone(),
            935..985 => self.maintain(),
            985..988 => self.flush(),
            988..991 => self.reload(),
            991 | 992 => self.stop(),
            993 => self.kill(None),
            994 => {
                let n_changes = self.draw.below(8);
                self.kill(Some(n_changes));
            }
            995 | 996 => self.wire = Wire::drawn(&mut self.draw),
            997 | 998 => self.turn_disk(),
            _ => self.set_clock(),
        }
        self.ledger.check(&self.endpoint);
    }

    fn pass_time(&mut self) {
        self.clock.pass(ROUND);
        if self.clock.elapsed() >= self.next_scrape {
            self.next_scrape += SCRAPE_INTERVAL;
            self.scrape();
        }
        self.maintain();
    }

    fn scrape(&mut self) {
        let ts_ms = self.clock.next_stamp();
        let mut appender = self.wal.appender();
        let mut set = LabelsBuilder::new();
        let mut taken = Vec::new();
        for idx in 0..N_SERIES {
            labels((ts_ms, idx), &mut set);
            let series = appender.series(&set).expect("the series can be made");
            appender.append(series.handle, ts_ms, value((ts_ms, idx)));
            if series.last_ts_ms < ts_ms {
                taken.push(idx);
            }
        }
        match appender.commit() {
            Ok(report) => {
                assert_eq!(report.appended, taken.len(), "at {ts_ms}");
                self.seen.samples += taken.len() as u64;
                if !taken.is_empty() {
                    let end = self.wal.reader().committed_end().expect("an open log");
                    self.ledger.committed(ts_ms, taken, end, self.clock.elapsed_ms());
                }
            }
            Err(WalError::Poisoned { .. }) if self.is_disk_bad => {
                self.seen.refused_by_disk += taken.len() as u64
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn maintain(&mut self) {
        self.maintenance.cycle(clock::now());
        self.look_at_log();
        if self.kind.memory_bytes.is_some() && !self.is_blemished {
            let log = self.wal.reader();
            let oldest_ms = self.ledger.oldest_open(|end| log.is_only_in_memory(end));
            let age = oldest_ms.map(|at_ms| self.clock.elapsed_ms() - at_ms).unwrap_or_default();
            assert!(age < self.kind.flush_after.as_millis() as u64, "only in memory for {age} ms");
        }
    }

    /// What has gone of the log might go.
    fn look_at_log(&mut self) {
        let oldest = self.wal.reader().oldest_position().expect("the log can be read").segment;
        if oldest <= self.oldest {
            return;
        }
        self.oldest = oldest;
        self.seen.truncations += 1;
        if self.is_blemished || self.kind.retention_max_bytes.is_some() {
            return;
        }
        assert_eq!(self.ledger.open_before(oldest), 0, "removed before it was settled, up to {oldest}");
        if self.kind.memory_bytes.is_none() && !self.kind.is_clock_set {
            let newest_ms = self.wal.reader().newest_ts_ms().unwrap_or(self.clock.wall_ms());
            let age_ms = self.ledger.newest_before(oldest).map(|ms| newest_ms - ms);
            let min_ms = self.kind.retention_min_time.as_millis() as i64;
            assert!(age_ms.is_none_or(|age_ms| age_ms > min_ms), "removed after {age_ms:?} ms");
        }
    }

    fn flush(&mut self) {
        let written = self.maintenance.write_memory();
        assert!(written.is_ok() || self.is_blemished, "{written:?}");
        self.look_at_log();
    }

    fn read(&mut self) {
        for _ in 0..8 {
            match self.endpoint.read() {
                Found::Nothing => break,
                Found::Record(end, samples) => self.ledger.read(end, &samples),
                Found::Lost(gone, n_lost) => {
                    let position = self.endpoint.progress().newest_lane().1;
                    self.ledger.lost(&gone, n_lost, position);
                }
            }
        }
    }

    fn count_gone(&mut self) {
        let (gone, n_lost) = self.endpoint.count_gone();
        self.ledger.lost(&gone, n_lost, Position::default());
    }

    /// Something happens on the wire of one shard.
    fn exchange(&mut self) {
        let shard = self.draw.below(N_SHARDS as u64) as usize;
        match self.wire {
            Wire::Away => {}
            Wire::Healthy => {
                self.take(shard);
                self.answer(shard);
            }
            Wire::Shaky => match self.draw.below(8) {
                0 => {
                    let refused = self.endpoint.refuse(shard);
                    self.ledger.refused(&refused);
                }
                1 => {
                    self.take(shard);
                    let unanswered = self.endpoint.lose_answer(shard);
                    self.ledger.unanswered(&unanswered);
                }
                2 | 3 => self.answer(shard),
                4 | 5 => self.take(shard),
                _ => {}
            },
        }
    }

    fn take(&mut self, shard: usize) {
        let taken = self.endpoint.take(shard);
        self.seen.arrived += taken.len() as u64;
        self.ledger.arrived(&taken);
    }

    fn answer(&mut self, shard: usize) {
        let answered = self.endpoint.answer(shard);
        self.ledger.sent(&answered);
    }

    fn save(&mut self) {
        match self.endpoint.save(&self.positions) {
            Ok(saved) => self.saved = saved,
            Err(error) => assert!(self.is_blemished, "{error}"),
        }
        self.ledger.saved(self.saved);
    }

    /// Its section is another one, or goes and comes again.
    fn reload(&mut self) {
        let n_lost = self.endpoint.reload();
        self.ledger.rewound(self.endpoint.progress().settled().mark.position, n_lost);
    }

    /// As the daemon stops.
    fn stop(&mut self) {
        self.seen.stops += 1;
        self.endpoint.note_settled();
        let written = self.maintenance.write_memory();
        let finished = flush::finish(&self.wal.reader());
        self.save();
        let is_in_doubt = written.is_err() || finished.is_err();
        assert!(!is_in_doubt || self.is_blemished, "{written:?}, {finished:?}");
        let settled = self.endpoint.progress().settled().mark.position;
        let n_lost = self.end();
        assert!(n_lost == 0 || self.is_blemished, "{n_lost} samples are lost by a stop");
        let closed = self.wal.close();
        assert!(closed.is_ok() || self.is_blemished, "{closed:?}");
        if !self.is_blemished {
            check_log(&self.options.path);
        }
        let begins = self.start();
        let is_remembered =
            begins >= settled || self.wal.reader().oldest_position().is_ok_and(|oldest| settled >= oldest);
        assert!(is_remembered || self.is_blemished, "{settled:?} was settled, and {begins:?} remembered");
    }

    /// The process is killed, or does no more than so many changes to the disk.
    fn kill(&mut self, n_changes: Option<u64>) {
        self.seen.kills += 1;
        if let Some(n_changes) = n_changes {
            self.is_blemished |= self.is_disk_bad;
            let is_blemished = self.is_blemished;
            self.is_blemished = true;
            weather::killed_after(&self.disk, n_changes);
            if self.draw.once_in(2) {
                self.save()
            } else {
                self.maintain()
            }
            self.is_blemished = is_blemished;
        }
        self.seen.lost_by_kills += self.end();
        self.start();
    }

    /// The process ends. Samples that are lost with the memory.
    fn end(&mut self) -> u64 {
        let log = self.wal.reader();
        self.ledger.killed(|end| log.is_only_in_memory(end), &log.gone_from(0))
    }

    /// The next process begins, on a disk that is good again. Where it goes on.
    fn start(&mut self) -> Position {
        self.disk.heal();
        self.is_disk_bad = false;
        let Process { wal, maintenance, positions, endpoint, begins, losses, is_written_again } =
            start(&self.options);
        assert!(losses.is_empty() || self.is_blemished, "{losses:?}");
        let oldest = wal.reader().oldest_position().expect("the log can be read").segment;
        (self.wal, self.maintenance, self.positions, self.endpoint) = (wal, maintenance, positions, endpoint);
        if is_written_again {
            let records = reading::all(&self.wal.reader(), oldest);
            self.ledger.written_again(&records);
            self.saved = begins;
        } else if self.is_blemished {
            self.ledger.found(&reading::all(&self.wal.reader(), oldest), begins);
        }
        self.ledger.restarted(&self.endpoint, begins, oldest, &self.wal.reader().gone_from(0));
        self.oldest = oldest;
        assert!(
            begins >= self.saved || self.is_blemished,
            "{:?} was saved, and {begins:?} is known",
            self.saved
        );
        self.saved = begins;
        self.is_blemished = false;
        begins
    }

    fn turn_disk(&mut self) {
        self.is_disk_bad = self.kind.has_bad_disk && !self.is_disk_bad;
        let faults = if self.is_disk_bad { weather::faults(&mut self.draw) } else { Faults::default() };
        self.disk.set(faults);
        self.is_blemished |= self.is_disk_bad;
        if self.is_disk_bad && self.draw.once_in(2) {
            // Both at once: the memory fills up.
            self.wire = Wire::Away;
        }
    }

    fn set_clock(&mut self) {
        if !self.kind.is_clock_set {
            return;
        }
        let by_ms = self.draw.below(7_200_000) as i64 - 3_600_000;
        self.clock.set(by_ms);
        if by_ms < 0 {
            self.wal.restart_order_check();
        }
    }

    /// Disk, wire and clock are good for a while: all that is there arrives.
    pub(super) fn settle(&mut self) {
        self.disk.heal();
        self.is_disk_bad = false;
        for _ in 0..2000 {
            if self.ledger.n_open() == 0 {
                break;
            }
            self.read();
            for shard in 0..N_SHARDS {
                self.take(shard);
                self.answer(shard);
            }
            self.ledger.check(&self.endpoint);
        }
        self.count_gone();
        assert_eq!(self.ledger.n_open(), 0, "something in the log is never sent");
        self.ledger.check(&self.endpoint);
        self.seen.lost = self.ledger.n_lost;
    }
}

/// What begins with a process.
struct Process {
    wal: Wal,
    maintenance: Maintenance,
    positions: Positions,
    endpoint: Endpoint,
    /// Where the endpoint goes on.
    begins: Position,
    losses: Vec<String>,
    /// The log was written again, and all places in it are others.
    is_written_again: bool,
}

/// As the daemon starts.
fn start(options: &WalOptions) -> Process {
    let (wal, summary) = Wal::open(options.clone(), &mut |_, _| {}).expect("the log opens");
    let positions = Positions::open(Arc::clone(&options.disk), &options.path).expect("a directory");
    let claim = claim(&wal, &positions, summary.samples > 0);
    let known = wal.reader().are_all_known();
    let mut endpoint = Endpoint::new(&wal, claim);
    let begins = endpoint.progress().settled().mark.position;
    endpoint.save(&positions).expect("the position can be saved");
    positions.enlist([URL].into_iter()).expect("the endpoint can be remembered");
    let maintenance = Maintenance::new(wal.clone(), known);
    let is_written_again = summary.takeover.is_some();
    Process { wal, maintenance, positions, endpoint, begins, losses: summary.losses, is_written_again }
}

/// A disk on which no sync takes time.
fn steady_disk() -> FaultyDisk {
    let disk = FaultyDisk::default();
    disk.set(Faults { lies_about_syncs: true, ..Faults::default() });
    disk
}
