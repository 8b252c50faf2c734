//! Ten thousand targets in files: what a change costs, and that live loops notice nothing.

use crate::alone;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::api::{active, metric_sum};
use support::counts::assert_accounted;
use support::remote::on_disk_of;
use support::scraped::{Scraped, write_whole};
use support::targets::{Behaviour, FakeTargets};
use support::tls::endpoint::{Endpoint, reply};
use support::wait_until;

const N_FILES: usize = 10;

const N_TARGETS: usize = 1000;

/// Until the next look without a word of the watch; after so long a reload need not wait for a tick.
const WITHOUT_A_WATCH: Duration = Duration::from_secs(5);

/// A file of targets that refuse connections.
fn group(file: usize) -> String {
    let targets: Vec<String> =
        (0..N_TARGETS).map(|n| format!("'127.{file}.{}.{}:1'", n / 250, n % 250 + 1)).collect();
    format!("- targets: [{}]\n", targets.join(", "))
}

#[test]
fn a_new_target_among_ten_thousand() {
    let _alone = alone();
    let targets = FakeTargets::start();
    targets.set("/live", Behaviour::Counter);
    targets.set("/new", Behaviour::Counter);
    let address = targets.address();
    let config = format!(
        "scrape_configs:\n\
         - job_name: live\n  scrape_interval: 5s\n  scrape_timeout: 5s\n  metrics_path: /live\n  \
         static_configs: [{{targets: ['{address}']}}]\n\
         - job_name: files\n  scrape_interval: 1h\n  file_sd_configs: [{{files: ['targets/*.yml']}}]\n"
    );
    let scraped = Scraped::start(&config);
    let dir = scraped.dir().path().join("targets");
    fs::create_dir(&dir).unwrap();
    (0..N_FILES).for_each(|file| drop(write_whole(&dir, &format!("{file}.yml"), &group(file))));
    wait_until("all targets are there", || active(&scraped, "files").len() == N_FILES * N_TARGETS);
    wait_until("all of them were asked", || {
        metric_sum(&scraped, "prometheus_target_scrape_pool_targets") as usize == N_FILES * N_TARGETS + 1
            && active(&scraped, "files").iter().all(|target| target.health == "down")
    });
    // One more, while nothing else changes.
    let sync_seconds = || metric_sum(&scraped, "prometheus_target_sync_length_seconds_sum");
    let synced_before = sync_seconds();
    let changed_at = Instant::now();
    let new = format!("- targets: ['{address}']\n  labels: {{__metrics_path__: /new}}\n");
    write_whole(&dir, "new.yml", &new);
    wait_until("the new target is scraped", || targets.n_requests("/new") > 0);
    println!(
        "one target more among {}: its first scrape came {:?} after its file, pools were synced in {:.0} ms (debug build)",
        N_FILES * N_TARGETS,
        changed_at.elapsed(),
        (sync_seconds() - synced_before) * 1e3
    );
    let n_live = targets.n_requests("/live");
    wait_until("the live loop goes on", || targets.n_requests("/live") > n_live + 3);
    let data = scraped.data_dir();
    assert_accounted(&on_disk_of(&data, "{job='live'}"), "");
}

/// A change in a directory is heard of: nobody has to look first.
#[test]
fn a_changed_file_is_heard_of() {
    let _alone = alone();
    let targets = FakeTargets::start();
    let address = targets.address();
    let config = "scrape_configs:\n- job_name: files\n  file_sd_configs: [{files: ['*.yml']}]\n";
    let scraped = Scraped::start(config);
    // Some of five is enough: the machine may be busy, but without a watch none would be this fast.
    let mut n_heard = 0;
    for round in 0..5 {
        thread::sleep(WITHOUT_A_WATCH);
        let path = format!("/{round}");
        targets.set(&path, Behaviour::Counter);
        let changed_at = Instant::now();
        let group = format!("- targets: ['{address}']\n  labels: {{__metrics_path__: {path}}}\n");
        write_whole(scraped.dir().path(), "targets.yml", &group);
        wait_until("it is scraped", || targets.n_requests(&path) > 0);
        n_heard += usize::from(changed_at.elapsed() < WITHOUT_A_WATCH / 2);
    }
    assert!(n_heard > 0, "no change was heard of");
}

/// A list of `http_sd_configs` whose targets are others every second.
#[test]
fn a_list_that_changes_every_second_disturbs_nobody() {
    let _alone = alone();
    const N_CHANGES: usize = 16;
    let targets = FakeTargets::start();
    targets.set("/live", Behaviour::Counter);
    let address = targets.address().to_owned();
    let n_asked = Arc::new(AtomicUsize::new(0));
    let (counted, live) = (Arc::clone(&n_asked), address.clone());
    let endpoint = Endpoint::plain(move |_| {
        let n = counted.fetch_add(1, Ordering::Relaxed);
        // One that stays among hundreds that do not.
        let others: Vec<String> =
            (0..300).map(|idx| format!("\"127.1.{}.{}:1\"", n % 250, idx % 250 + 1)).collect();
        let body = format!("[{{\"targets\": [\"{live}\", {}]}}]", others.join(", "));
        reply(200, "Content-Type: application/json\r\n", &body)
    });
    let url = format!("http://{}/", endpoint.at("127.0.0.1"));
    let config = format!(
        "scrape_configs:\n- job_name: http\n  scrape_interval: 3s\n  scrape_timeout: 3s\n  \
         metrics_path: /live\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1s}}]\n"
    );
    let scraped = Scraped::start(&config);
    wait_until("the list has changed often", || n_asked.load(Ordering::Relaxed) > N_CHANGES);
    let data = scraped.data_dir();
    let counted = assert_accounted(&on_disk_of(&data, &format!("{{instance='{address}'}}")), "");
    assert!(counted.counts.len() >= N_CHANGES / 4, "{counted:?}");
    let n_sets = metric_sum(&scraped, "prometheus_sd_updates_total");
    assert!(n_sets > 1.0, "{n_sets} sets for {N_CHANGES} changes");
}
