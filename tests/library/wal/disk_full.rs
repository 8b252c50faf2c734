//! A disk that fills up: what was committed stays, old segments go before new samples, writing resumes by itself.
//!
//! Uses a small tmpfs of its own, which needs root; without it the log's own tests still fill an injected disk
//! (`wal/head_tests.rs`), and this one says that it did nothing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use scraped_engine::disk::RealDisk;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::keep::maintenance::Handle;
use support::system::small_disk::SmallDisk;
use support::wal::{Answer, Foreign, ask_all, check_log, open, series, stage, write_segment};

/// Scrapes of 200 series; remembers what was committed.
struct Scraper {
    wal: scraped_engine::wal::head::Wal,
    maintenance: Option<Handle>,
    committed: BTreeMap<i64, Vec<f64>>,
    refused: Vec<i64>,
    noise: u64,
}

const N_SERIES: usize = 200;

impl Scraper {
    fn open(dir: &Path) -> Scraper {
        let (wal, summary) = open(dir);
        assert_eq!(summary.losses, Vec::<String>::new());
        let maintenance = Handle::spawn(wal.clone(), wal.reader().are_all_known()).unwrap();
        Scraper {
            wal,
            maintenance: Some(maintenance),
            committed: BTreeMap::new(),
            refused: Vec::new(),
            noise: 1,
        }
    }

    fn scrape(&mut self, ts_ms: i64) -> bool {
        let mut appender = self.wal.appender();
        let mut values = Vec::new();
        for idx in 0..N_SERIES {
            self.noise = self.noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = (self.noise >> 12) as f64;
            stage(&mut appender, &[&format!("series_{idx}")], ts_ms, value);
            values.push(value);
        }
        match appender.commit() {
            Ok(report) => {
                assert_eq!(report.appended, N_SERIES);
                self.committed.insert(ts_ms, values);
                true
            }
            Err(WalError::Poisoned { .. }) => {
                self.refused.push(ts_ms);
                false
            }
            // A truncation took the series in between; the scrape loop would run once more.
            Err(WalError::StaleSeries) => self.scrape(ts_ms),
            Err(error) => panic!("{error}"),
        }
    }

    /// Everything from the oldest kept sample on must be there, and nothing that was refused.
    fn check(&self, dir: &Path) -> usize {
        let answer = ask_all(dir);
        let oldest_ms = answer.values().map(|samples| samples[0].0).min().unwrap();
        let mut expected = Answer::new();
        for (ts_ms, values) in self.committed.range(oldest_ms..) {
            for (idx, value) in values.iter().enumerate() {
                let samples = expected.entry(series(&format!("series_{idx}"))).or_default();
                samples.push((*ts_ms, format!("{value:?}")));
            }
        }
        assert!(answer == expected, "from {oldest_ms} on, refused {:?}", self.refused);
        self.committed.range(oldest_ms..).count()
    }

    fn stop(&mut self) {
        self.maintenance.take().unwrap().stop();
        self.wal.close().unwrap();
    }
}

#[test]
fn old_segments_go_before_new_samples() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let dir = disk.data_dir();
    let mut scraper = Scraper::open(&dir);
    for ts_ms in 0..8000 {
        scraper.scrape(ts_ms);
    }
    // 8000 scrapes of 200 samples are several times what the disk holds.
    assert!(scraper.refused.len() < 10, "refused: {:?}", scraper.refused);
    let kept = scraper.check(&dir);
    assert!(kept > 500 && kept < 7000, "{kept}");
    assert_eq!(scraper.committed.keys().last(), Some(&7999));
    scraper.stop();
    check_log(&dir);
    scraper.check(&dir);
    let mut again = Scraper::open(&dir);
    assert!(again.scrape(10_000));
    again.stop();
    check_log(&dir);
}

#[test]
fn a_disk_filled_by_others_costs_new_samples_only_until_there_is_room() {
    let Some(disk) = SmallDisk::mount("6m") else { return };
    let dir = disk.data_dir();
    let mut scraper = Scraper::open(&dir);
    let mut ts_ms = 0;
    let mut scrape = |scraper: &mut Scraper, n_scrapes: i64| {
        let mut n_committed = 0;
        for _ in 0..n_scrapes {
            ts_ms += 1;
            n_committed += usize::from(scraper.scrape(ts_ms));
        }
        n_committed
    };
    assert_eq!(scrape(&mut scraper, 100), 100);
    for left_bytes in [0, 1, 5000, 20_000] {
        disk.fill(left_bytes);
        for _ in 0..10 {
            scrape(&mut scraper, 30);
            // Others are always faster.
            disk.fill(left_bytes);
        }
        scraper.check(&dir);
        disk.free();
        // By itself: no restart.
        let start = Instant::now();
        while scrape(&mut scraper, 1) == 0 {
            assert!(start.elapsed() < Duration::from_secs(60), "writing does not resume");
            thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(scrape(&mut scraper, 100), 100);
        scraper.check(&dir);
    }
    scraper.stop();
    check_log(&dir);
    scraper.check(&dir);
}

#[test]
fn a_start_on_a_full_disk_keeps_everything_and_waits_for_room() {
    let Some(disk) = SmallDisk::mount("6m") else { return };
    let dir = disk.data_dir();
    let mut scraper = Scraper::open(&dir);
    for ts_ms in 0..300 {
        assert!(scraper.scrape(ts_ms));
    }
    // A kill: nothing is closed. The last record is torn, as a full disk leaves it.
    scraper.maintenance.take().unwrap().stop();
    let committed = std::mem::take(&mut scraper.committed);
    drop(scraper);
    fs::remove_file(dir.join("lock")).unwrap();
    fs::remove_file(dir.join("reserve")).unwrap();
    let newest =
        scraped_engine::wal::format::segment::list(&RealDisk, &dir.join("wal")).unwrap().pop().unwrap();
    File::options().write(true).open(&newest.path).unwrap().set_len(newest.bytes - 5).unwrap();
    disk.fill(0);

    let (wal, summary) = open(&dir);
    assert_eq!(summary.losses.len(), 1, "{:?}", summary.losses);
    let mut scraper =
        Scraper { wal: wal.clone(), maintenance: None, committed, refused: Vec::new(), noise: 7 };
    scraper.committed.remove(&299);
    scraper.check(&dir);
    scraper.maintenance = Some(Handle::spawn(wal.clone(), wal.reader().are_all_known()).unwrap());
    assert!(!scraper.scrape(999), "there is no room, and no reserve to make any");
    scraper.check(&dir);
    disk.free();
    let start = Instant::now();
    while !scraper.scrape(1000 + start.elapsed().as_millis() as i64) {
        assert!(start.elapsed() < Duration::from_secs(60), "writing does not resume");
        thread::sleep(Duration::from_millis(20));
    }
    scraper.stop();
    check_log(&dir);
    scraper.check(&dir);
}

#[test]
fn a_repair_on_a_full_disk_spends_the_reserve() {
    let Some(disk) = SmallDisk::mount("6m") else { return };
    let dir = disk.data_dir();
    let mut scraper = Scraper::open(&dir);
    for ts_ms in 0..300 {
        assert!(scraper.scrape(ts_ms));
    }
    scraper.stop();
    assert!(dir.join("reserve").exists());
    // Damage in the middle: the segment must be written anew.
    let path = dir.join("wal/00000000");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&path, bytes).unwrap();
    disk.fill(0);
    let (wal, summary) = open(&dir);
    assert_eq!(summary.losses.len(), 1, "{:?}", summary.losses);
    assert_eq!(summary.samples, 299 * N_SERIES as u64);
    drop(wal);
    check_log(&dir);
}

#[test]
fn an_import_without_room_for_two_logs_takes_the_newest_samples() {
    let Some(disk) = SmallDisk::mount("8m") else { return };
    let dir = disk.data_dir();
    let labels = [("__name__", "a"), ("job", "test")];
    let mut noise = 1_u64;
    for number in 0..5 {
        let samples: Vec<(u64, i64, f64)> = (0..100_000)
            .map(|idx| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (1 << 40, i64::from(number) * 100_000 + idx, (noise >> 12) as f64)
            })
            .collect();
        let mut records = vec![Foreign::Series(1 << 40, &labels)];
        records.truncate(usize::from(number == 0));
        records.extend(samples.chunks(1000).map(Foreign::Samples));
        write_segment(&dir.join("wal"), number, &records);
    }
    let (wal, summary) = open(&dir);
    assert!(summary.losses[0].contains("for want of room"), "{:?}", summary.losses);
    wal.close().unwrap();
    check_log(&dir);
    let samples = &ask_all(&dir)[&series("a")];
    assert_eq!(samples.last().unwrap().0, 499_999);
    assert!(samples.len() >= 100_000 && samples.len() < 500_000 && samples.len() as u64 == summary.samples);
}
