//! A disk that says it has synced what it has not: no program can do anything about that, but a test of power cuts must
//! find it out.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped_engine::disk::RealDisk;
use scraped_engine::disk::draw::Draw;
use scraped_engine::disk::faulty::{Faults, FaultyDisk};
use scraped_engine::disk::power_cut::{Survival, image};
use scraped_engine::disk::recorder::{Recorder, Recording, Step};
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::options::WalOptions;
use support::cases::seed;
use support::wal::{ask, check_log, commit, open_with, options, series};
use tempfile::TempDir;

const MINUTE_MS: i64 = 60_000;

/// So many minutes are always kept.
const KEPT_MINUTES: i64 = 10;

const FOR_EVER: Duration = Duration::from_secs(1000 * 3600);

/// What a log did, with marks: twice the minute when that was committed, and one more when all up to it was durable.
struct Life {
    dir: TempDir,
    recorder: Recorder,
    /// Over the recorder.
    disk: FaultyDisk,
    now: Instant,
    minute: i64,
}

impl Life {
    fn on_disk_with(faults: Faults) -> Life {
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        let recorder = Recorder::over(Arc::new(RealDisk), dir.path()).unwrap();
        let disk = FaultyDisk::over(Arc::new(recorder.clone()));
        disk.set(faults);
        Life { dir, recorder, disk, now: Instant::now(), minute: 0 }
    }

    /// A process: so many minutes with a round of maintenance each, and its end.
    fn run(&mut self, n_minutes: i64, is_clean: bool) {
        let (wal, _) = open_with(WalOptions {
            retention_min_time: Duration::from_secs(60 * KEPT_MINUTES as u64),
            fsync_interval: Duration::from_secs(180),
            disk: Arc::new(self.disk.clone()),
            lock_file: false,
            ..options(self.dir.path())
        });
        let mut maintenance = Maintenance::new(wal.clone(), wal.reader().are_all_known());
        let mut appender = wal.appender();
        for _ in 0..n_minutes {
            self.minute += 1;
            let young = format!("young_{}", self.minute / 3);
            commit(&mut appender, &["steady", &young], self.minute * MINUTE_MS, self.minute as f64);
            self.recorder.mark(2 * self.minute as u64);
            if self.minute % 4 == 0 {
                wal.reader().start_segment().unwrap();
            }
            self.now += Duration::from_secs(60);
            maintenance.cycle(self.now);
            self.mark_durable(&wal);
        }
        if is_clean {
            wal.close().unwrap();
            self.recorder.mark(2 * self.minute as u64 + 1);
        }
    }

    fn mark_durable(&self, wal: &Wal) {
        let reader = wal.reader();
        if reader.committed_end().is_some_and(|end| reader.is_durable(end)) {
            self.recorder.mark(2 * self.minute as u64 + 1);
        }
    }
}

/// The minutes up to which samples were committed and durable before a cut.
fn minutes_before(recording: &Recording, n_steps: usize) -> (i64, i64) {
    let (mut committed, mut durable) = (0, 0);
    for step in &recording.steps[..n_steps] {
        match step {
            Step::Mark(number) if number % 2 == 0 => committed = (number / 2) as i64,
            Step::Mark(number) => durable = (number / 2) as i64,
            _ => {}
        }
    }
    (committed, durable)
}

/// What is wrong with a log that is found after a cut.
fn complaint(dir: &Path, (committed, durable): (i64, i64)) -> Option<String> {
    let (wal, _) = open_with(WalOptions { retention_min_time: FOR_EVER, ..options(dir) });
    // Removes what a checkpoint stands for.
    Maintenance::new(wal.clone(), wal.reader().are_all_known()).cycle(Instant::now());
    wal.close().unwrap();
    check_log(dir);
    let answer = ask(dir, "steady");
    let found = answer.get(&series("steady")).cloned().unwrap_or_default();
    let minutes: Vec<i64> = found.iter().map(|(ts_ms, _)| ts_ms / MINUTE_MS).collect();
    // The commit that was being written may be there.
    let is_invented = minutes.last().is_some_and(|last| *last > committed + 1)
        || found.iter().any(|(ts_ms, value)| *value != format!("{:?}", (ts_ms / MINUTE_MS) as f64));
    if is_invented {
        return Some(format!("samples that nobody committed: {found:?}"));
    }
    let mut expected = (committed + 1 - KEPT_MINUTES).max(1)..=durable;
    let missing = expected.find(|minute| !minutes.contains(minute))?;
    Some(format!("minute {missing} was durable: {minutes:?}"))
}

/// The first complaint of so many images.
fn first_complaint(recording: &Recording, n_images: usize) -> Option<String> {
    let mut draw = Draw::new(seed());
    (0..n_images).find_map(|_| {
        let n_steps = draw.below(recording.steps.len() as u64 + 1) as usize;
        let survival = if draw.once_in(4) { Survival::Ordered } else { Survival::Any };
        let image_seed = draw.below(u64::MAX);
        let dir = TempDir::with_prefix("scraped-test-").unwrap();
        image(recording, n_steps, survival, image_seed).write_to(dir.path()).unwrap();
        complaint(dir.path(), minutes_before(recording, n_steps))
            .map(|why| format!("{survival:?}, {n_steps} steps, seed {image_seed}: {why}"))
    })
}

#[test]
fn a_disk_that_lies_about_syncs_is_found_out() {
    let complaint_on = |faults: Faults, n_images: usize| {
        let mut life = Life::on_disk_with(faults);
        life.run(20, true);
        first_complaint(&life.recorder.recording(), n_images)
    };
    assert_eq!(complaint_on(Faults::default(), 30), None);
    let complaint = complaint_on(Faults { lies_about_syncs: true, ..Faults::default() }, 300).unwrap();
    assert!(complaint.contains("was durable"), "{complaint}");
}
