//! What goes wrong around an endpoint and not in it: a certificate runs out, the disk is full while it is away.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rustls::version::{TLS12, TLS13};
use scraped::remote::settle::ledger::{DropReason, Ledger};
use scraped::remote::settle::position::{Positions, Remembered};
use scraped_engine::disk::RealDisk;
use support::counts::accounted;
use support::remote::message::{Message, Protocol};
use support::remote::receiver::{Answer, Receiver};
use support::remote::{Series, arrived, config, missing, n_samples, on_disk, wait_until_sent};
use support::scraped::{ON_DISK, Scraped};
use support::system::small_disk::SmallDisk;
use support::targets::{Behaviour, FakeTargets, page};
use support::tls::endpoint::{Endpoint, reply, server_tls};
use support::tls::{Authority, Validity};
use support::{wait_for_long, wait_until};
use tempfile::TempDir;

const NAMED: &str = "name: main";

fn await_scrapes(targets: &FakeTargets, n: usize) {
    let n_before = targets.n_requests("/metrics");
    wait_until("scrapes", || targets.n_requests("/metrics") >= n_before + n);
}

#[test]
fn a_certificate_that_ran_out_is_named_and_costs_nothing() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let authority = Authority::new("servers");
    let tls = |validity| server_tls(&authority.issue(&["localhost"], validity), None, &[&TLS12, &TLS13]);
    let endpoint = Endpoint::tls(tls(Validity::Past));
    let stored = Arc::new(Mutex::new(Series::new()));
    let seen = Arc::clone(&stored);
    endpoint.answer(move |request| {
        let body = snap::raw::Decoder::new().decompress_vec(&request.body).unwrap();
        let message = Message::decode(Protocol::V1, &body).unwrap();
        let mut seen = seen.lock().unwrap();
        for series in &message.series {
            seen.entry(series.key()).or_default().extend(&series.samples);
        }
        reply(200, "", "")
    });
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
    let url = format!("https://{}/api/v1/write", endpoint.at("localhost"));
    let section = format!("{NAMED}\ntls_config: {{ca_file: ca.pem}}");
    let config = config(&targets.address(), "/metrics", &url, &section, "").replace("500ms", "200ms");
    fs::write(dir.path().join("scraped.yml"), config).unwrap();
    let start = Instant::now();
    let scraped = Scraped::start_in(dir, &[]);
    wait_until("the error", || {
        let stderr = scraped.stderr();
        let told = stderr.lines().find(|line| line.contains("remote_write main") && line.contains("WARN"));
        told.is_some_and(|line| {
            line.contains("x509: certificate has expired") && line.contains("wait in the log")
        })
    });
    assert!(scraped.get("/status").body.contains("certificate has expired"));
    await_scrapes(&targets, 10);
    // A shard pauses up to 250 ms: 30, 60, 120, 240, 250, …
    let most = 4 + start.elapsed().as_millis() as usize / 250;
    assert!(endpoint.n_connections() <= most, "{} tries, {most} at most", endpoint.n_connections());
    assert!(stored.lock().unwrap().is_empty());
    endpoint.set_tls(tls(Validity::Now));
    wait_until("all values", || {
        let n_scrapes = targets.n_requests("/metrics");
        accounted(&stored.lock().unwrap(), "").is_some_and(|counted| counted.n_scrapes() + 2 >= n_scrapes)
    });
    wait_until("it is told", || scraped.stderr().contains("takes samples again"));
    assert!(scraped.stop().success());
}

#[test]
fn a_disk_that_is_full_while_behind_costs_the_oldest_and_is_counted() {
    let Some(disk) = SmallDisk::mount("6m") else { return };
    // Values that differ, so that they cannot be packed.
    let content = |n: u64| -> String {
        let value = |idx: u64| (idx * n).wrapping_mul(6_364_136_223_846_793_005) >> 11;
        (0..3000).map(|idx| format!("many{{idx=\"{idx}\"}} {}\n", value(idx))).collect()
    };
    let pages: Vec<Behaviour> = (1..200).map(|n| Behaviour::Healthy(page(&content(n)))).collect();
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::InTurn(Arc::from(pages)));
    let receiver = Receiver::start();
    let config = config(&targets.address(), "/metrics", &receiver.url(), NAMED, "").replace("500ms", "100ms");
    let dir = disk.dir();
    fs::write(dir.path().join("scraped.yml"), config).unwrap();
    // More than the disk has, so that it is the disk that says no.
    let arguments =
        [ON_DISK, "--storage.agent.retention.max-bytes=1GB", "--storage.agent.wal-segment-size=1MB"];
    let scraped = Scraped::start_in(dir, &arguments);
    let data = scraped.data_dir();
    wait_until("samples", || receiver.state().series.len() > 3000);
    receiver.answer(Answer::status(503));
    let n_removals = || scraped.stderr().matches("no space left on the disk").count();
    // First the log fills it by itself, then others take all that is left.
    wait_for_long("the oldest go", || n_removals() > 0);
    let before = n_removals();
    disk.fill(0);
    wait_for_long("more of the oldest go", || n_removals() > before);
    await_scrapes(&targets, 10);
    // A file of positions needs a block, which others may have taken.
    disk.free();
    targets.set("/metrics", Behaviour::Healthy(page("fresh 1\n")));
    receiver.answer(Answer::Stores(204));
    // Fresh samples flow again by themselves, and what is still there arrives.
    wait_for_long("fresh samples", || receiver.state().series.keys().any(|key| key.contains("\"fresh\"")));
    await_scrapes(&targets, 5);
    wait_until_sent(&data, &receiver);
    wait_until("the loss is told", || {
        scraped.stderr().contains("were removed from the log before they could be sent")
    });
    assert!(!scraped.stderr().contains("BUG"), "{}", scraped.stderr());
    let dir = scraped.dir();
    assert!(scraped.stop().success());
    assert_eq!(missing(&on_disk(&data), &arrived(&receiver)), Vec::<String>::new());
    let Remembered::At(saved) = Positions::open(Arc::new(RealDisk), &data).unwrap().recall("main", true)
    else {
        panic!("no position")
    };
    let Ledger { taken, sent, dropped } = saved.total();
    let n_lost = dropped[DropReason::WalTruncated as usize];
    assert!(n_lost > 0 && taken == sent + n_lost, "{:?}", saved.total());
    assert_eq!(sent, n_samples(&arrived(&receiver)) as u64);
    receiver.check();
    drop(dir);
}
