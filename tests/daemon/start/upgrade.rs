//! Another version of the program on the same data directory, and the program replaced while it runs.

use std::fs;
use std::sync::Arc;

use support::remote::on_disk_of;
use support::scraped::Scraped;
use support::targets::FakeTargets;
use support::wait_until;
use tempfile::TempDir;

const INTERVAL_MS: i64 = 1000;

#[test]
fn a_directory_of_a_newer_program_is_refused_and_one_of_an_older_is_taken_over() {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    let _targets = FakeTargets::scraped_by(dir.path());
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let version = scraped.data_dir().join("version");
    wait_until("a sample", || scraped.stderr().contains("first samples written"));
    assert!(scraped.stop().success());
    let ours = fs::read_to_string(&version).unwrap();
    let files = || {
        let mut names: Vec<_> =
            fs::read_dir(dir.path().join("data/wal")).unwrap().map(|it| it.unwrap().path()).collect();
        names.sort();
        names.iter().map(|path| (path.clone(), fs::read(path).unwrap_or_default())).collect::<Vec<_>>()
    };
    let before = files();
    for (text, sentence) in [
        ("2 scraped 9.0.0\n", "a newer format than scraped"),
        ("\u{0}\u{0}\n", "which is no version of a data directory"),
    ] {
        fs::write(&version, text).unwrap();
        let mut refused = Scraped::spawn_in(Arc::clone(&dir), &[]);
        assert_eq!(refused.wait().code(), Some(1));
        wait_until("the sentence", || refused.stderr().contains(sentence));
        assert_eq!(fs::read_to_string(&version).unwrap(), text);
        assert_eq!(files(), before);
    }
    fs::write(&version, "1 scraped 0.0.1\n").unwrap();
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    assert!(scraped.stderr().contains("written last by \\\"1 scraped 0.0.1\\\", taken over by scraped"));
    assert_eq!(fs::read_to_string(&version).unwrap(), ours);
    // A directory of before there was that file, or of a Prometheus agent.
    assert!(scraped.stop().success());
    fs::remove_file(&version).unwrap();
    let scraped = Scraped::start_in(dir, &[]);
    assert_eq!(fs::read_to_string(&version).unwrap(), ours);
    assert!(scraped.stop().success());
}

/// Times of all samples of the target's `up`.
fn scrapes_ms(dir: &TempDir) -> Vec<i64> {
    let series = on_disk_of(&dir.path().join("data"), "up");
    let mut times: Vec<i64> = series.values().flatten().map(|(ts_ms, _)| *ts_ms).collect();
    times.sort_unstable();
    times.dedup();
    times
}

#[test]
fn a_program_that_is_replaced_while_it_runs_goes_on_and_its_restart_loses_no_scrape() {
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").unwrap());
    let targets = FakeTargets::scraped_by(dir.path());
    let program = dir.path().join("scraped");
    let install = || {
        let new = dir.path().join("scraped.new");
        support::copy_program(&support::program(), &new);
        fs::rename(new, &program).unwrap();
    };
    install();
    let scraped = Scraped::start_program(&program, Arc::clone(&dir), &[]);
    wait_until("scrapes", || targets.n_requests("/metrics") >= 3);
    install();
    let before = targets.n_requests("/metrics");
    wait_until("scrapes after the replacement", || targets.n_requests("/metrics") >= before + 2);
    for path in ["/metrics", "/targets", "/-/healthy"] {
        assert_eq!(scraped.get(path).status, 200, "{path}");
    }
    assert!(scraped.stop().success());
    let scraped = Scraped::start_program(&program, Arc::clone(&dir), &[]);
    let before = targets.n_requests("/metrics");
    wait_until("scrapes after the restart", || targets.n_requests("/metrics") >= before + 3);
    assert!(scraped.stop().success());
    let times = scrapes_ms(&dir);
    assert!(times.len() >= 8, "{times:?}");
    // The longest gap is one slot, which may have been under way at the stop; the machine may be busy.
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest <= 3 * INTERVAL_MS, "{times:?}");
}
