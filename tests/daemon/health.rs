//! `/-/healthy` of a daemon whose disk hangs: no scrape ends, and the web server says so.

use std::fs;
use std::sync::Arc;

use support::command::query;
use support::scraped::Scraped;
use support::system::small_disk::HangingDisk;
use support::targets::{Behaviour, FakeTargets, page};
use support::{wait_for_long, wait_until};
use tempfile::TempDir;

#[test]
fn a_disk_that_hangs_makes_it_unhealthy_and_all_pages_are_answered() {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let Some(disk) = HangingDisk::mount(dir.path().join("data")) else { return };
    let targets = FakeTargets::start();
    targets.set("/good", Behaviour::Healthy(page("good 1\n")));
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs: [{{job_name: good, metrics_path: /good, static_configs: [{{targets: ['{}']}}]}}]\n",
        targets.address()
    );
    fs::write(dir.path().join("scraped.yml"), config).unwrap();
    let scraped = Scraped::start_in(Arc::new(dir), &[]);
    let n_samples = || query(&scraped.data_dir(), "good").values().map(Vec::len).sum::<usize>();
    wait_until("good is stored", || n_samples() > 0);
    wait_until("healthy", || scraped.get("/-/healthy").status == 200);

    disk.freeze();
    wait_for_long("unhealthy", || scraped.get("/-/healthy").status == 503);
    for path in ["/metrics", "/status", "/storage", "/targets", "/api/v1/targets", "/-/ready"] {
        let answer = scraped.get(path);
        assert!([200, 503].contains(&answer.status), "{path}: {}", answer.head);
    }
    let unhealthy = scraped.get("/-/healthy");
    assert_eq!(unhealthy.status, 503, "{}", unhealthy.body);
    let why = "no scrape of any target has ended for ";
    assert!(unhealthy.body.contains(why) && unhealthy.body.contains(" is 3 s"), "{}", unhealthy.body);

    disk.thaw();
    wait_for_long("healthy again", || scraped.get("/-/healthy").status == 200);
    let before = n_samples();
    wait_until("samples are stored again", || n_samples() > before + 2);
    assert!(scraped.stop().success());
}
