//! What is on disk belongs to an endpoint from the moment the configuration names it: nothing of it goes unsent because
//! its queue has not started yet, or cannot start.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scraped::config;
use scraped::config::{Config, FeatureDefaults};
use scraped::remote::read::claims::Claims;
use scraped::remote::settle::ledger::{DropReason, Ledger};
use scraped::remote::settle::mark::Mark;
use scraped::remote::settle::position::{Known, Positions, Remembered};
use scraped::remote::settle::progress::Saved;
use scraped_engine::disk::RealDisk;
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::format::segment;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::keep::maintenance::Maintenance;
use scraped_engine::wal::keep::truncate_files::truncate;
use scraped_engine::wal::options::WalOptions;
use support::api::{metric, metric_sum};
use support::remote::receiver::{Answer, Receiver};
use support::remote::{arrived, config, given_up, missing, n_samples, on_disk, wait_until_sent};
use support::scraped::{ON_DISK, Scraped, free_address};
use support::targets::{Behaviour, FakeTargets, page};
use support::wal::{commit, open_with, options};
use support::{wait_for_long, wait_until};

const URL: &str = "http://127.0.0.1:1/write";

/// Everything but the last segment is older than may be.
fn short_memory(dir: &Path) -> WalOptions {
    WalOptions { retention_min_time: Duration::ZERO, ..options(dir) }
}

/// A log of four segments with a sample each.
fn write_log(dir: &Path) {
    let (wal, _) = open_with(short_memory(dir));
    let mut appender = wal.appender();
    for ts_ms in 1..=4 {
        commit(&mut appender, &["a"], ts_ms * 1000, 1.0);
        wal.reader().start_segment().unwrap();
    }
    wal.close().unwrap();
}

fn sections(text: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yml");
    fs::write(&path, format!("remote_write: [{text}]\n")).unwrap();
    config::load_with(&path, FeatureDefaults::default()).unwrap()
}

fn numbers(dir: &Path) -> Vec<u32> {
    segment::list(&RealDisk, &dir.join("wal")).unwrap().into_iter().map(|segment| segment.number).collect()
}

/// What is left of the log after the first round of a start with this configuration.
fn after_first_round(dir: &Path, sections: &Config) -> (Vec<u32>, Wal, Claims) {
    let (wal, summary) = open_with(short_memory(dir));
    let (claims, readers_known) = Claims::make(&wal.reader(), sections, summary.samples > 0).unwrap();
    Maintenance::new(wal.clone(), readers_known).cycle(Instant::now());
    (numbers(dir), wal, claims)
}

fn position(identity: &str, url: &str, segment: u32) -> Known {
    let saved = Saved { mark: Mark::start_of(segment), ledger: Ledger::default(), ahead: Vec::new() };
    Known { identity: identity.to_owned(), url: url.to_owned(), saved }
}

#[test]
fn the_first_round_leaves_what_the_configured_endpoints_have_not_had() {
    let check = |what: &str, text: &str, prepare: &dyn Fn(&Path, &Positions), first: u32| {
        let dir = tempfile::tempdir().unwrap();
        write_log(dir.path());
        let positions = Positions::open(Arc::new(RealDisk), dir.path()).unwrap();
        prepare(&dir.path().join("remote"), &positions);
        let (left, wal, claims) = after_first_round(dir.path(), &sections(text));
        assert_eq!(left.first(), Some(&first), "{what}: {left:?}");
        drop((wal, claims));
    };
    let named = format!("{{url: '{URL}', name: a}}");
    let nameless = format!("{{url: '{URL}'}}");
    let save = |positions: &Positions, known: &Known| {
        positions.enlist([known.identity.as_str()].into_iter()).unwrap();
        positions.save(known).unwrap();
    };
    check("no endpoint", "", &|_, _| {}, 3);
    check("its position", &named, &|_, positions| save(positions, &position("a", URL, 2)), 2);
    check("by its URL", &nameless, &|_, positions| save(positions, &position(URL, URL, 1)), 1);
    check("a name it did not have", &named, &|_, positions| save(positions, &position(URL, URL, 1)), 1);
    check("another name", &named, &|_, positions| save(positions, &position("old", URL, 1)), 1);
    check("nothing is remembered of a log with data", &named, &|_, _| {}, 0);
    check("its file is missing", &named, &|_, positions| positions.enlist(["a"].into_iter()).unwrap(), 0);
    let damage = |dir: &Path, damage: &dyn Fn(&Path)| {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|it| it == "position") {
                damage(&path);
            }
        }
    };
    check(
        "its file is damaged",
        &named,
        &|dir, positions| {
            save(positions, &position("a", URL, 3));
            damage(dir, &|path| fs::write(path, "nothing").unwrap());
        },
        0,
    );
    check(
        "its file cannot be read",
        &named,
        &|dir, positions| {
            save(positions, &position("a", URL, 3));
            damage(dir, &|path| {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
            });
        },
        0,
    );
    let both = format!("{named}, {{url: 'http://127.0.0.1:2/', name: b}}");
    check(
        "the one that is further behind",
        &both,
        &|_, positions| {
            save(positions, &position("a", URL, 3));
            save(positions, &position("b", "http://127.0.0.1:2/", 1));
        },
        1,
    );
    check("one that is new", &both, &|_, positions| save(positions, &position("a", URL, 3)), 3);
}

#[test]
fn a_claim_holds_while_the_place_cannot_be_read_and_counts_exactly_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path());
    let (wal, _) = open_with(short_memory(dir.path()));
    let positions = Positions::open(Arc::new(RealDisk), dir.path()).unwrap();
    positions.enlist(["a"].into_iter()).unwrap();
    let inside = Position { segment: 1, offset: 10 };
    let saved = Saved { mark: Mark { position: inside, fingerprint: 7 }, ..Saved::default() };
    positions.save(&Known { saved, ..position("a", URL, 1) }).unwrap();
    // The segment cannot be opened: its name is a link to itself.
    let path = dir.path().join("wal/00000001");
    let aside = dir.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let config = sections(&format!("{{url: '{URL}', name: a}}"));
    let (mut claims, readers_known) = Claims::make(&wal.reader(), &config, true).unwrap();
    let mut claim = claims.open.remove(0);
    assert!(claim.find_place(&wal.reader(), "a").is_err());
    fs::remove_file(&path).unwrap();
    fs::rename(&aside, &path).unwrap();
    Maintenance::new(wal.clone(), readers_known).cycle(Instant::now());
    assert_eq!(numbers(dir.path()).first(), Some(&1));
    claim.find_place(&wal.reader(), "a").unwrap();
    let (place, _mark) = claim.take().unwrap();
    // The fingerprint was wrong: from the start of the segment.
    assert_eq!(place.saved.mark.position, Position { segment: 1, offset: 0 });
}

fn busy_target(n_series: u64) -> FakeTargets {
    let targets = FakeTargets::start();
    let noise = |idx: u64| idx.wrapping_mul(6_364_136_223_846_793_005) >> 11;
    let content: String =
        (0..n_series).map(|idx| format!("m{{idx=\"{idx}\"}} {}\n", noise(idx + 1))).collect();
    targets.set("/metrics", Behaviour::Healthy(page(&content)));
    targets
}

const FLAGS: [&str; 4] = [
    "--storage.agent.retention.min-time=1s",
    "--storage.agent.wal-segment-size=1MB",
    "--storage.remote.flush-deadline=1s",
    "--wal.fsync-interval=1s",
];

/// An outage longer than `retention.min-time`, a kill, another start, a reload that renames: nothing is removed unsent.
#[test]
fn an_outage_over_kills_starts_and_renames_loses_nothing() {
    let targets = busy_target(3000);
    let away = free_address();
    let quick = |text: String| text.replace("500ms", "100ms");
    let text = |section: &str| {
        quick(config(&targets.address(), "/metrics", &format!("http://{away}/api/v1/write"), section, ""))
    };
    let mut scraped = Scraped::start_with(&text("name: main"), &FLAGS);
    let data = scraped.data_dir();
    let dir = scraped.dir();
    wait_until("some segments", || numbers(&data).len() > 2);
    let newest = || on_disk(&data).values().flatten().map(|sample| sample.0).max().unwrap_or_default();
    let from = newest();
    wait_until("what is older than min-time", || newest() > from + 1500);
    for section in ["name: main", "name: other", ""] {
        scraped.signal("KILL");
        scraped.wait();
        let before = on_disk(&data);
        fs::write(dir.path().join("scraped.yml"), text(section)).unwrap();
        scraped = Scraped::start_in(Arc::clone(&dir), &FLAGS);
        let n_rounds = metric(&scraped, "prometheus_tsdb_wal_fsync_duration_seconds_count").unwrap();
        wait_until("two rounds of maintenance", || {
            metric(&scraped, "prometheus_tsdb_wal_fsync_duration_seconds_count").unwrap() > n_rounds + 1.0
        });
        let gone = missing(&before, &on_disk(&data));
        assert!(gone.is_empty(), "{section}: {gone:#?}");
    }
    scraped.reload_with(&text("name: last"));
    wait_until("the reload", || scraped.stderr().contains("configuration loaded"));
    assert_eq!(numbers(&data).first(), Some(&0));
    let receiver = Receiver::start_on(&away);
    wait_until_sent(&data, &receiver);
    assert!(n_samples(&arrived(&receiver)) > 3000);
    receiver.check();
    assert!(!scraped.stderr().contains("removed from the log"), "{}", scraped.stderr());
}

/// A daemon that is killed between the checkpoint and the removal of its segments: the next start removes them, and counts
/// what the endpoint has not had of them, from the record on where it stopped.
#[test]
fn what_a_start_removes_for_the_one_before_is_counted() {
    let targets = busy_target(10_000);
    let receiver = Receiver::start();
    let queue = "max_shards: 1, max_samples_per_send: 100000, capacity: 200000";
    let text =
        config(&targets.address(), "/metrics", &receiver.url(), "name: main", queue).replace("500ms", "1s");
    // Refuses from a request on that begins a scrape: what has arrived is then whole records, and settled.
    let (mut n_stored, mut newest_ms, mut refuses) = (0, i64::MIN, false);
    receiver.script(move |request| {
        let samples = request.message.series.iter().flat_map(|series| &series.samples);
        let times_ms: Vec<i64> = samples.map(|sample| sample.0).collect();
        refuses |=
            n_stored > 10_000 && !times_ms.is_empty() && times_ms.iter().all(|&ts_ms| ts_ms > newest_ms);
        if refuses {
            return Answer::status(503);
        }
        n_stored += times_ms.len();
        newest_ms = times_ms.into_iter().max().unwrap_or(newest_ms).max(newest_ms);
        Answer::Stores(204)
    });
    // Three segments on the disk.
    let flags = [&[ON_DISK][..], &FLAGS[1..]].concat();
    let scraped = Scraped::start_with(&text.replace("1s", "500ms"), &flags);
    let (data, dir) = (scraped.data_dir(), scraped.dir());
    wait_until("samples arrive", || n_samples(&arrived(&receiver)) > 10_000);
    let saved = || match Positions::open(Arc::new(RealDisk), &data).unwrap().recall("main", true) {
        Remembered::At(saved) => saved,
        other => panic!("{other:?}"),
    };
    wait_for_long("the place is saved, and three segments", || {
        saved().total().sent == n_samples(&arrived(&receiver)) as u64 && numbers(&data).len() > 3
    });
    scraped.signal("KILL");
    wait_until("the end", || scraped.has_ended());
    drop(scraped);
    let n_before = n_samples(&on_disk(&data));
    assert_eq!(saved().mark.position.segment, 0);
    assert!(saved().mark.position.offset > 0);

    let files = ["00000000", "00000001"].map(|name| data.join("wal").join(name));
    let contents = files.each_ref().map(|path| fs::read(path).unwrap());
    let (wal, _) = open_with(options(&data));
    truncate(&wal, 1, &[], None).unwrap();
    wal.close().unwrap();
    files.iter().zip(contents).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    receiver.answer(Answer::Stores(204));
    fs::write(dir.path().join("scraped.yml"), text).unwrap();
    let scraped = Scraped::start_in(Arc::clone(&dir), &flags);
    let dropped = || given_up(&scraped);
    wait_until("the segments are removed", || numbers(&data).first() == Some(&2));
    wait_for_long("what is left arrives, and the rest is counted", || {
        let appended = metric_sum(&scraped, "prometheus_agent_samples_appended_total");
        n_samples(&arrived(&receiver)) as f64 + dropped() == n_before as f64 + appended
    });
    assert!(dropped() > 10_000.0, "{}", dropped());
    let stderr = scraped.stderr();
    assert_eq!(stderr.matches("were removed from the log before they could be sent").count(), 1, "{stderr}");
    assert!(!stderr.contains("is not in the log any more"), "{stderr}");
    assert_eq!(receiver.state().n_duplicates, 0);
    assert!(scraped.stop().success());
    receiver.check();
    let total = saved().total();
    assert_eq!(total.taken, total.sent + total.dropped[DropReason::WalTruncated as usize]);
    assert_eq!(total.sent, n_samples(&arrived(&receiver)) as u64);
}
