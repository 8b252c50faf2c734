//! Endpoints that are away, answer nonsense, or refuse a part, and a log that is damaged meanwhile: what is on disk
//! arrives, and what does not is counted.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use scraped::remote::settle::ledger::{DropReason, Ledger};
use scraped::remote::settle::position::{Positions, Remembered};
use scraped_engine::disk::RealDisk;
use support::api::metric_sum;
use support::remote::receiver::{Answer, Receiver, WRITE_PATH};
use support::remote::{arrived, committed, config, missing, n_samples, on_disk, wait_until_sent};
use support::scraped::{ON_DISK, Scraped, is_memory_first};
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;

const NAMED: &str = "name: main";

fn many_series(n: usize) -> FakeTargets {
    let content: String = (0..n).map(|idx| format!("many{{idx=\"{idx}\"}} {idx}\n")).collect();
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page(&content)));
    targets
}

fn await_scrapes(targets: &FakeTargets, n: usize) {
    let n_before = targets.n_requests("/metrics");
    wait_until("scrapes", || targets.n_requests("/metrics") >= n_before + n);
}

fn saved_ledger(data: &Path) -> Ledger {
    match Positions::open(Arc::new(RealDisk), data).unwrap().recall("main", true) {
        Remembered::At(saved) => saved.total(),
        other => panic!("{other:?}"),
    }
}

/// Resident memory in KiB.
fn resident_kib(scraped: &Scraped) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", scraped.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn an_outage_of_many_samples_waits_on_disk_and_drains() {
    let targets = many_series(1000);
    let receiver = Receiver::start();
    let quick = |config: String| config.replace("500ms", "100ms");
    let scraped = Scraped::start(&quick(config(
        &targets.address(),
        "/metrics",
        &receiver.url(),
        NAMED,
        "max_samples_per_send: 500",
    )));
    wait_until("the first samples", || receiver.state().series.len() > 1000);
    await_scrapes(&targets, 10);
    let before_kib = resident_kib(&scraped);
    receiver.answer(Answer::status(503));
    await_scrapes(&targets, 50);
    let in_outage_kib = resident_kib(&scraped);
    let n_stored = n_samples(&committed(&scraped.data_dir(), &receiver)) - n_samples(&arrived(&receiver));
    assert!(n_stored > 30_000, "{n_stored}");
    // What waits would be 40,000 samples; the queues hold a fixed number of them.
    assert!(in_outage_kib < before_kib * 6 / 5 + 2048, "{before_kib} KiB before, {in_outage_kib} KiB after");
    receiver.answer(Answer::Stores(204));
    wait_until_sent(&scraped.data_dir(), &receiver);
    assert_eq!(receiver.state().n_duplicates, 0);
    receiver.check();
    let data = scraped.data_dir();
    let dir = scraped.dir();
    assert!(scraped.stop().success());
    let n_samples = n_samples(&committed(&data, &receiver)) as u64;
    let ledger = saved_ledger(&data);
    // What was sent out of memory moves no position on the disk, and is written for its own sake only if that does.
    let n_counted = if is_memory_first() { ledger.sent.min(n_samples) } else { n_samples };
    assert_eq!(ledger, Ledger { taken: n_counted, sent: n_counted, ..Ledger::default() });
    drop(dir);
}

#[test]
fn nonsense_for_an_answer_loses_nothing_and_is_told() {
    let raw = |text: &str| Answer::Raw(text.as_bytes().to_vec());
    let cases = [
        (Answer::EndlessHead, ""),
        (Answer::EndlessBody(500), "500"),
        (raw(""), "EOF"),
        (raw("this is not HTTP at all\r\n\r\n"), "malformed"),
        (raw("HTTP/1.1 9 ?\r\n\r\n"), "malformed"),
        (raw("HTTP/1.1 503 Bu"), ""),
        (raw("\u{0}\u{1}\u{2}"), "malformed"),
        (Answer::redirects(307, WRITE_PATH), "redirect"),
        (Answer::redirects(308, "http://127.0.0.1:1/"), "refused"),
        (Answer::redirects(302, ""), ""),
        (Answer::redirects(307, "gopher://nowhere"), "gopher"),
        (Answer::status(300), "300"),
    ];
    for (answer, words) in cases {
        let targets = many_series(3);
        let receiver = Receiver::start();
        // A redirect may make a GET of it, which is no write.
        receiver.script({
            let answer = answer.clone();
            move |_| answer.clone()
        });
        let scraped =
            Scraped::start(&config(&targets.address(), "/metrics", &receiver.url(), NAMED, "max_shards: 1"));
        wait_until("tries", || receiver.n_requests() >= 3);
        await_scrapes(&targets, 2);
        let stderr = scraped.stderr();
        let told = stderr.lines().find(|line| line.contains("remote_write main") && line.contains("WARN"));
        assert!(told.is_some_and(|line| line.contains(words)), "{answer:?}: {stderr}");
        receiver.answer(Answer::Stores(204));
        wait_until_sent(&scraped.data_dir(), &receiver);
    }
}

#[test]
fn success_with_a_body_without_end_is_success() {
    let targets = many_series(3);
    let receiver = Receiver::start();
    receiver.answer(Answer::StoresWithEndlessBody);
    let scraped = Scraped::start(&config(&targets.address(), "/metrics", &receiver.url(), NAMED, ""));
    wait_until("requests", || receiver.n_requests() >= 4);
    wait_until_sent(&scraped.data_dir(), &receiver);
    assert_eq!(receiver.state().n_duplicates, 0);
    receiver.check();
}

#[test]
fn a_series_that_is_refused_costs_exactly_its_samples() {
    let targets = many_series(500);
    let receiver = Receiver::start();
    let bad = "idx=\"77\"";
    receiver.answer(Answer::RefusesSeries(bad.to_owned()));
    // What is refused stands nowhere else.
    let config = config(&targets.address(), "/metrics", &receiver.url(), NAMED, "");
    let scraped = Scraped::start_with(&config, &[ON_DISK]);
    await_scrapes(&targets, 5);
    wait_until("the log", || {
        scraped.stderr().lines().any(|line| line.contains("ERROR") && line.contains("77"))
    });
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    let disk = on_disk(&data);
    let bad_samples: Vec<u64> =
        disk.iter().filter(|(key, _)| key.contains(bad)).map(|it| it.1.len() as u64).collect();
    let gone = missing(&disk, &arrived(&receiver));
    assert_eq!((gone.len(), bad_samples.len()), (1, 1), "{gone:#?}");
    let n_samples = n_samples(&disk) as u64;
    let mut expected = Ledger { taken: n_samples, sent: n_samples - bad_samples[0], ..Ledger::default() };
    expected.dropped[DropReason::Rejected as usize] = bad_samples[0];
    assert_eq!(saved_ledger(&data), expected);
    receiver.check();
    drop(dir);
}

#[test]
fn a_dead_endpoint_does_not_hold_up_another() {
    let targets = many_series(10);
    let (dead, alive) = (Receiver::start(), Receiver::start());
    dead.answer(Answer::Hangs);
    let config = config(&targets.address(), "/metrics", &alive.url(), NAMED, "");
    let scraped = Scraped::start(&format!("{config}- url: {}\n", dead.url()));
    wait_until("a try at the dead one", || dead.n_requests() >= 1);
    for _ in 0..3 {
        await_scrapes(&targets, 2);
        wait_until_sent(&scraped.data_dir(), &alive);
    }
    assert_eq!(alive.state().n_duplicates, 0);
    dead.answer(Answer::Stores(204));
    wait_until_sent(&scraped.data_dir(), &dead);
    alive.check();
    dead.check();
}

#[test]
fn what_is_readable_of_a_log_that_was_damaged_arrives() {
    let targets = many_series(50);
    let receiver = Receiver::start();
    receiver.answer(Answer::status(503));
    let config = config(&targets.address(), "/metrics", &receiver.url(), NAMED, "");
    let mut scraped = Scraped::start_with(&config, &[ON_DISK]);
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    // A start is a segment.
    for _ in 0..4 {
        await_scrapes(&targets, 4);
        scraped.signal("KILL");
        drop(scraped);
        scraped = Scraped::start_in(dir.clone(), &[ON_DISK]);
    }
    await_scrapes(&targets, 1);
    scraped.signal("KILL");
    drop(scraped);
    let n_whole = n_samples(&on_disk(&data));
    let mut segments: Vec<_> =
        fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_none() && fs::metadata(path).unwrap().len() > 0);
    segments.sort();
    assert!(segments.len() >= 4, "{segments:?}");
    let damage = |idx: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(&segments[idx]).unwrap();
        change(&mut bytes);
        fs::write(&segments[idx], bytes).unwrap();
    };
    damage(0, &|bytes| {
        let at = bytes.len() * 3 / 4;
        bytes[at] ^= 0x10;
    });
    damage(1, &|bytes| {
        let at = bytes.len() / 2;
        bytes[at..at + 20].fill(0);
    });
    damage(2, &|bytes| bytes.truncate(bytes.len() - 7));
    damage(3, &|bytes| bytes.extend_from_slice(b"garbage that is no record"));

    let scraped = Scraped::start_in(dir.clone(), &[ON_DISK]);
    thread::sleep(Duration::from_millis(200));
    let readable = on_disk(&data);
    assert!(n_samples(&readable) > n_whole / 2, "{} of {n_whole}", n_samples(&readable));
    receiver.answer(Answer::Stores(204));
    wait_until_sent(&data, &receiver);
    assert_eq!(missing(&readable, &arrived(&receiver)), Vec::<String>::new());
    drop(scraped);
}

#[test]
fn what_an_outage_costs_beyond_the_room_for_it_is_counted() {
    let targets = many_series(3000);
    let receiver = Receiver::start();
    let config = config(&targets.address(), "/metrics", &receiver.url(), NAMED, "");
    let arguments = [
        ON_DISK,
        "--storage.agent.retention.max-bytes=5MB",
        "--storage.agent.wal-segment-size=1MB",
        "--no-storage.agent.wal-compression",
    ];
    let scraped = Scraped::start_with(&config.replace("500ms", "100ms"), &arguments);
    wait_until("the first samples", || receiver.state().series.len() > 3000);
    receiver.answer(Answer::status(503));
    let oldest_segment = || {
        let names = fs::read_dir(scraped.data_dir().join("wal")).unwrap();
        let numbers = names.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
        numbers.min().unwrap()
    };
    // Beyond what the queue holds in memory.
    let first = oldest_segment();
    for n_gone in 1..=2 {
        wait_until("truncation", || oldest_segment() >= first + n_gone);
    }
    // Less comes in now than an unoptimised build can send.
    targets.set("/metrics", Behaviour::Healthy(page("fresh 1\n")));
    receiver.answer(Answer::Stores(204));
    wait_until("it is told", || scraped.stderr().contains("were removed from the log before"));
    // Fresh samples flow again by themselves.
    await_scrapes(&targets, 3);
    wait_until_sent(&scraped.data_dir(), &receiver);
    let appended = metric_sum(&scraped, "prometheus_agent_samples_appended_total") as u64;
    let (dir, data) = (scraped.dir(), scraped.data_dir());
    assert!(scraped.stop().success());
    assert_eq!(missing(&on_disk(&data), &arrived(&receiver)), Vec::<String>::new());
    let ledger = saved_ledger(&data);
    let n_lost = ledger.dropped[DropReason::WalTruncated as usize];
    assert!(n_lost > 0, "{ledger:?}");
    assert_eq!(ledger.taken, ledger.sent + n_lost, "{ledger:?}");
    assert_eq!(ledger.sent, n_samples(&arrived(&receiver)) as u64, "{ledger:?}");
    assert!(ledger.taken >= appended, "{ledger:?} of {appended}");
    receiver.check();
    drop(dir);
}
