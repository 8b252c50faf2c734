//! The life of a box: a log, an endpoint and wal-maintenance, driven by one thread in an order that is drawn from a seed.
//!
//! Below them a recorder writes down what is done to the disk. At each moment that matters it makes a mark, by whose number
//! [`Fates`] say when a sample was durable and when the endpoint had it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped::remote::settle::position::Positions;
use scraped_engine::disk::draw::Draw;
use scraped_engine::disk::faulty::{Faults, FaultyDisk};
use scraped_engine::disk::recorder::{Recorder, Recording};
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::flush;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::options::WalOptions;
use scraped_engine::wal::unstamped::EPOCH_MS;
use scraped_engine::wal::unstamped::side_files::{SideFiles, Stamped};

use super::fates::{Fate, Fates, Moment};
use crate::simulation::endpoint::{Endpoint, Found, N_SHARDS, URL, claim};
use crate::simulation::samples::{N_SERIES, Sample, labels, value};

/// Something happens so many times in a life.
const N_EVENTS: usize = 700;

const MINUTE: Duration = Duration::from_secs(60);

/// What kind of life it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scenario {
    /// The endpoint takes everything at once.
    Healthy,
    /// It is away for long.
    Outage,
    /// Segments go as soon as they may.
    Truncation,
    /// Its section is another one, again and again; so is its whole claim.
    Reload,
    /// The process stops or is killed, and another begins.
    Stop,
    /// The same, and each boot begins without knowing the time.
    ClockHeld,
}

/// What waits for its time has no place in the log yet.
const NOWHERE: Position = Position { segment: u32::MAX, offset: u64::MAX };

/// Time counts from here, in all boots.
const BOOTED_MS: i64 = 0;

/// What a life leaves.
pub(super) struct Life {
    pub(super) options: WalOptions,
    pub(super) recording: Recording,
    pub(super) fates: Fates,
    /// When a position was saved, and which.
    pub(super) saves: Vec<(Moment, Position)>,
}

/// A disk on which no sync takes time: what survives is the recording's to say.
pub(super) fn disk() -> FaultyDisk {
    let disk = FaultyDisk::default();
    disk.set(Faults { lies_about_syncs: true, ..Faults::default() });
    disk
}

/// Lives a life in `dir`, with these faults of what stands over the recorder.
pub(super) fn live(dir: &Path, scenario: Scenario, is_memory_first: bool, seed: u64, faults: Faults) -> Life {
    let mut draw = Draw::new(seed);
    let recorder = Recorder::over(Arc::new(disk()), dir).expect("an empty directory");
    let disk = FaultyDisk::over(Arc::new(recorder.clone()));
    disk.set(faults);
    let retention_ms = if scenario == Scenario::Truncation { 20_000 } else { 3_600_000 };
    let memory_bytes = match scenario {
        // All that waits is committed at once, while nobody makes room.
        Scenario::ClockHeld => 256,
        _ => [8, 16, 256][draw.below(3) as usize],
    } << 10;
    let options = WalOptions {
        segment_size_bytes: Some([4, 12, 44][draw.below(3) as usize] << 10),
        retention_min_time: Duration::from_millis(retention_ms),
        retention_max_bytes: Some(1 << 40),
        // Each round of wal-maintenance syncs.
        fsync_interval: Duration::ZERO,
        memory_bytes: is_memory_first.then_some(memory_bytes),
        // What is old is written when a life says so.
        flush_after: Duration::MAX,
        lock_file: false,
        disk: Arc::new(disk),
        ..WalOptions::at(dir)
    };
    let mut living = Living::begin(&options, recorder, scenario, draw);
    for _ in 0..N_EVENTS {
        living.go_on(&options);
    }
    if matches!(scenario, Scenario::Stop | Scenario::ClockHeld) {
        living.stop();
    }
    let Living { recorder, fates, saves, .. } = living;
    Life { options, recording: recorder.recording(), fates, saves }
}

struct Living {
    scenario: Scenario,
    draw: Draw,
    recorder: Recorder,
    wal: Wal,
    maintenance: Maintenance,
    positions: Positions,
    endpoint: Endpoint,
    /// As long as the time is not known.
    side_files: Option<SideFiles>,
    n_boots: u32,
    now: Instant,
    last_moment: Moment,
    last_ts_ms: i64,
    /// Scrapes that wal-maintenance has not seen.
    n_unseen: u64,
    is_away: bool,
    /// What was committed before, and was not durable, may be lost.
    last_kill: Moment,
    fates: Fates,
    saves: Vec<(Moment, Position)>,
}

impl Living {
    fn begin(options: &WalOptions, recorder: Recorder, scenario: Scenario, draw: Draw) -> Living {
        let (wal, maintenance, positions, endpoint) = start(options);
        let mut living = Living {
            scenario,
            draw,
            recorder,
            wal,
            maintenance,
            positions,
            endpoint,
            side_files: None,
            n_boots: 0,
            now: Instant::now(),
            last_moment: 0,
            last_ts_ms: 0,
            n_unseen: 0,
            is_away: false,
            last_kill: 0,
            fates: Fates::new(),
            saves: Vec::new(),
        };
        living.save();
        living.forget_time();
        living
    }

    fn moment(&mut self) -> Moment {
        self.last_moment += 1;
        self.recorder.mark(self.last_moment);
        self.last_moment
    }

    fn go_on(&mut self, options: &WalOptions) {
        if self.side_files.is_some() {
            return self.go_on_without_time(options);
        }
        match self.scenario {
            Scenario::Reload if self.draw.once_in(60) => return self.reload(),
            Scenario::Stop | Scenario::ClockHeld if self.draw.once_in(200) => return self.restart(options),
            Scenario::Healthy => {}
            Scenario::Outage if self.draw.once_in(120) => self.is_away = !self.is_away,
            Scenario::Outage => {}
            _ if self.draw.once_in(if self.is_away { 30 } else { 150 }) => self.is_away = !self.is_away,
            _ => {}
        }
        match self.draw.below(20) {
            0..4 => self.scrape(),
            4..8 => self.read(),
            8..14 => self.exchange(),
            14 => self.endpoint.note_settled(),
            15 | 16 => self.save(),
            17 if self.draw.once_in(if self.scenario == Scenario::Healthy { 15 } else { 3 }) => self.flush(),
            _ => self.maintain(),
        }
    }

    fn go_on_without_time(&mut self, options: &WalOptions) {
        match self.draw.below(60) {
            0 => self.learn_time(),
            1 => self.restart(options),
            2..6 => self.spill(),
            6..10 => self.maintain(),
            _ => self.scrape(),
        }
    }

    /// A boot begins without knowing the time, if such is its life.
    fn forget_time(&mut self) {
        if self.scenario == Scenario::ClockHeld {
            self.side_files = Some(SideFiles::open(&self.wal, &format!("boot {}", self.n_boots)));
        }
    }

    /// What waits for its time is written beside the log.
    fn spill(&mut self) {
        let Some(side_files) = &mut self.side_files else { return };
        side_files.spill().expect("the disk takes it");
        self.n_unseen = 0;
        let moment = self.moment();
        self.each_that_waits(|fate| fate.durable = fate.durable.or(Some(moment)));
    }

    fn each_that_waits(&mut self, does: impl Fn(&mut Fate)) {
        let last_kill = self.last_kill;
        let waits =
            |fate: &&mut Fate| fate.end == NOWHERE && (fate.durable.is_some() || fate.committed > last_kill);
        self.fates.values_mut().filter(waits).for_each(does);
    }

    fn learn_time(&mut self) {
        let Some(mut side_files) = self.side_files.take() else { return };
        let flush = || self.maintenance.write_memory().is_ok();
        let stamped = side_files.stamp_and_flush(BOOTED_MS, flush).expect("the disk takes it");
        assert_eq!(stamped, Stamped::default());
        let end = self.wal.reader().committed_end().expect("an open log");
        self.each_that_waits(|fate| fate.end = end);
        self.n_boots += 1;
        self.maintain();
    }

    /// One scrape, or some at once.
    fn scrape(&mut self) {
        let mut appender = self.wal.appender();
        let epoch_ms = if self.side_files.is_some() { EPOCH_MS } else { 0 };
        for _ in 0..=self.draw.below(2) {
            self.last_ts_ms += 1000;
            let committed = self.moment();
            let page = || (0..N_SERIES).map(|idx| (self.last_ts_ms, idx));
            let mut set = LabelsBuilder::new();
            for sample in page() {
                labels(sample, &mut set);
                let handle = appender.series(&set).expect("the series can be made").handle;
                appender.append(handle, epoch_ms + sample.0, value(sample));
            }
            let report = appender.commit().expect("the log takes the samples");
            assert_eq!(report.appended, N_SERIES);
            let end = match &self.side_files {
                Some(_) => NOWHERE,
                None => self.wal.reader().committed_end().expect("an open log"),
            };
            let fate = Fate { committed, end, durable: None, taken: None, acknowledged: None };
            self.fates.extend(page().map(|sample| (sample, fate)));
            self.n_unseen += 1;
        }
        // Before there is no room in memory.
        if self.n_unseen > 8 {
            self.maintain();
        }
        if self.n_unseen > 2 {
            self.spill();
        }
    }

    fn maintain(&mut self) {
        self.n_unseen = 0;
        self.now += MINUTE;
        self.maintenance.cycle(self.now);
        self.note_durable();
    }

    /// As at `POST /-/flush`, and when something in memory is old.
    fn flush(&mut self) {
        self.maintenance.write_memory().expect("the disk takes it");
        self.note_durable();
    }

    fn note_durable(&mut self) {
        let moment = self.moment();
        let log = self.wal.reader();
        let last_kill = self.last_kill;
        let is_open = |fate: &&mut Fate| fate.durable.is_none() && fate.committed > last_kill;
        for fate in self.fates.values_mut().filter(is_open) {
            fate.durable = log.is_durable(fate.end).then_some(moment);
        }
    }

    fn read(&mut self) {
        for _ in 0..8 {
            if let Found::Lost(_, n_lost) = self.endpoint.read() {
                assert_eq!(n_lost, 0, "what the endpoint had not read was removed");
            }
        }
    }

    /// Requests go to the endpoint, and answers come back.
    fn exchange(&mut self) {
        for _ in 0..self.draw.below(16) {
            let shard = self.draw.below(N_SHARDS as u64) as usize;
            if self.draw.once_in(2) {
                self.answer(shard);
            } else if !self.is_away {
                let taken = self.endpoint.take(shard);
                self.note(&taken, |fate, moment| fate.taken = fate.taken.or(Some(moment)));
            }
        }
    }

    fn answer(&mut self, shard: usize) {
        let answered = self.endpoint.answer(shard);
        self.note(&answered, |fate, moment| fate.acknowledged = fate.acknowledged.or(Some(moment)));
    }

    fn note(&mut self, samples: &[Sample], meets: impl Fn(&mut Fate, Moment)) {
        let moment = self.moment();
        for sample in samples {
            meets(self.fates.get_mut(sample).expect("a sample that was scraped"), moment);
        }
    }

    fn save(&mut self) {
        let position = self.endpoint.save(&self.positions).expect("the position can be saved");
        let moment = self.moment();
        self.saves.push((moment, position));
    }

    fn reload(&mut self) {
        if self.draw.once_in(2) {
            self.endpoint.reload();
            return;
        }
        // Its section goes and comes again.
        self.save();
        let claim = claim(&self.wal, &self.positions, true);
        self.endpoint = Endpoint::new(&self.wal, claim);
    }

    /// As the daemon stops; what is in flight is answered or not.
    fn stop(&mut self) {
        self.spill();
        (0..N_SHARDS).for_each(|shard| self.answer(shard));
        self.endpoint.note_settled();
        self.flush();
        flush::finish(&self.wal.reader()).expect("the disk takes it");
        self.save();
        self.wal.close().expect("the log closes");
        let moment = self.moment();
        // What is not on the disk by now was answered.
        let last_kill = self.last_kill;
        let is_open = |fate: &&mut Fate| fate.acknowledged.is_none() && fate.committed > last_kill;
        for fate in self.fates.values_mut().filter(is_open) {
            fate.durable.get_or_insert(moment);
        }
    }

    fn restart(&mut self, options: &WalOptions) {
        if self.draw.once_in(2) {
            self.stop();
        } else {
            self.last_kill = self.moment();
        }
        self.side_files = None;
        (self.wal, self.maintenance, self.positions, self.endpoint) = start(options);
        self.forget_time();
        self.maintain();
    }
}

fn start(options: &WalOptions) -> (Wal, Maintenance, Positions, Endpoint) {
    let (wal, summary) = Wal::open(options.clone(), &mut |_, _| {}).expect("the log opens");
    assert_eq!(summary.losses, Vec::<String>::new());
    let positions = Positions::open(Arc::clone(&options.disk), &options.path).expect("a directory");
    let claim = claim(&wal, &positions, summary.samples > 0);
    let known = wal.reader().are_all_known();
    let mut endpoint = Endpoint::new(&wal, claim);
    endpoint.save(&positions).expect("the position can be saved");
    positions.enlist([URL].into_iter()).expect("the endpoint can be remembered");
    let maintenance = Maintenance::new(wal.clone(), known);
    (wal, maintenance, positions, endpoint)
}
