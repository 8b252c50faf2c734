//! Targets that are files and commands of this machine, with the real binary.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use support::api::{Active, active};
use support::command::values;
use support::scraped::Scraped;
use support::wait_until;
use tempfile::TempDir;

const HEAD: &str = "global: {scrape_interval: 300ms, scrape_timeout: 300ms}\nscrape_configs:\n";

/// The one target of a job.
fn only(scraped: &Scraped, job: &str) -> Active {
    wait_until("a target", || !active(scraped, job).is_empty());
    active(scraped, job).pop().expect("a target")
}

fn wait_for_error(scraped: &Scraped, job: &str, want: &str) {
    wait_until(want, || only(scraped, job).last_error == want);
    assert_eq!(only(scraped, job).health, "down");
}

#[test]
fn files_are_targets() {
    let dir = Arc::new(TempDir::new().unwrap());
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("textfiles")).unwrap();
    // The first has no end of its last line.
    fs::write(at("textfiles/a.prom"), "from_a 1\n# TYPE b counter\nalso_a 2").unwrap();
    // A byte order mark is no content.
    fs::write(at("textfiles/b.prom"), "\u{feff}from_b{x=\"y\"} 3\n").unwrap();
    fs::write(at("textfiles/c.txt"), "not_read 1\n").unwrap();
    fs::write(at("one.prom"), "\u{feff}# HELP one Is it?\none 1\n").unwrap();
    fs::write(at("old.prom"), "old 1\n").unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 60 * 60 + 5);
    File::options().write(true).open(at("old.prom")).unwrap().set_modified(long_ago).unwrap();
    let path = dir.path().display();
    let config = format!(
        "{HEAD}- job_name: one\n  static_configs: [{{targets: ['file:{path}/one.prom']}}]\n\
         - job_name: many\n  static_configs: [{{targets: ['file:{path}/textfiles']}}]\n\
         - job_name: old\n  static_configs: [{{targets: ['file:{path}/old.prom']}}]\n\
         - job_name: kept\n  params: {{max_age: [3h]}}\n  static_configs: [{{targets: ['file:{path}/old.prom']}}]\n\
         - job_name: none\n  static_configs: [{{targets: ['file:{path}/none.prom']}}]\n"
    );
    fs::write(at("scraped.yml"), config).unwrap();
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let data = scraped.data_dir();
    for (selector, value) in
        [("one", "1"), ("from_a", "1"), ("also_a", "2"), ("from_b{x='y'}", "3"), ("old{job='kept'}", "1")]
    {
        wait_until(selector, || values(&data, selector).first().is_some_and(|it| it == value));
    }
    assert!(values(&data, "not_read").is_empty() && values(&data, "old{job='old'}").is_empty());
    assert_eq!(only(&scraped, "kept").scrape_url, format!("file:{path}/old.prom?max_age=3h"));
    assert_eq!(only(&scraped, "one").labels["instance"], format!("file:{path}/one.prom"));
    let old = only(&scraped, "old").last_error;
    assert!(
        old.starts_with(&format!("{path}/old.prom: last written 2h")) && old.ends_with("ago (max_age: 1h)"),
        "{old}"
    );
    wait_for_error(&scraped, "none", &format!("{path}/none.prom: No such file or directory (os error 2)"));
    // A file that is broken or gone ends its series; one that is back goes on.
    fs::write(at("one.prom"), "one 1\none{\n").unwrap();
    wait_until("the mistake is told", || only(&scraped, "one").last_error.contains("line 2"));
    fs::write(at("one.prom"), "one 2\n").unwrap();
    wait_until("it goes on", || values(&data, "one").last().is_some_and(|it| it == "2"));
    fs::remove_file(at("one.prom")).unwrap();
    wait_until("it ends", || values(&data, "one").last().is_some_and(|it| it == "stale"));
    let made = std::process::Command::new("mkfifo").arg(at("one.prom")).status().unwrap();
    assert!(made.success());
    wait_for_error(&scraped, "one", &format!("{path}/one.prom: not a regular file"));
}

const COMMANDS: &str = "\
- job_name: good\n  static_configs: [{targets: ['exec:/bin/echo from_command 7']}]\n\
- job_name: fails\n  static_configs: [{targets: ['exec:/bin/sh -c exit']}, {targets: ['exec:/bin/ls /nonexistent']}]\n\
- job_name: hangs\n  static_configs: [{targets: ['exec:/bin/sleep 1000']}]\n\
- job_name: floods\n  body_size_limit: 100KB\n  static_configs: [{targets: ['exec:/usr/bin/yes a 1']}]\n\
- job_name: shell\n  static_configs: [{targets: ['exec:/bin/echo a 1; echo b 2']}]\n";

#[test]
fn commands_are_targets_where_they_are_allowed() {
    let scraped = Scraped::start_with(&format!("{HEAD}{COMMANDS}"), &["--enable-feature=exec-targets"]);
    let data = scraped.data_dir();
    wait_until("the command is scraped", || {
        values(&data, "from_command").first().is_some_and(|it| it == "7")
    });
    let failing = || {
        let mut errors: Vec<String> = active(&scraped, "fails").into_iter().map(|it| it.last_error).collect();
        errors.sort();
        errors
    };
    wait_until("failures are told", || {
        failing()
            == [
                "",
                "the command ended with exit status 2; what it says of that is in the log at --log.level=debug",
            ]
    });
    wait_for_error(&scraped, "hangs", "context deadline exceeded: the command ran too long and was killed");
    wait_for_error(&scraped, "floods", "body size limit exceeded (body_size_limit: 102400B)");
    // There is no shell: the rest is an argument.
    wait_until("the mistake is told", || only(&scraped, "shell").last_error.contains("line 1"));
    assert!(values(&data, "b").is_empty());
    wait_until("it goes on", || values(&data, "up{job='good'}").len() > 3);
    assert!(values(&data, "up{job='good'}").iter().all(|value| value == "1"));
}

#[test]
fn commands_are_off_by_default() {
    let scraped = Scraped::start(&format!("{HEAD}{COMMANDS}"));
    wait_for_error(&scraped, "good", "exec: targets are off; --enable-feature=exec-targets allows them");
    assert!(values(&scraped.data_dir(), "from_command").is_empty());
}

/// What a writer may leave in a directory beside good files, none of which takes these along.
fn leave_odd_things(dir: &Path) {
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    let at = |name: &str| dir.join(name);
    fs::write(at("dead.prom"), "dead 1\n").unwrap();
    File::options().write(true).open(at("dead.prom")).unwrap().set_modified(long_ago).unwrap();
    fs::write(at("half.prom"), "half 1\nhalf_writ").unwrap();
    fs::create_dir(at("directory.prom")).unwrap();
    symlink("nowhere", at("dangling.prom")).unwrap();
    symlink("/dev/zero", at("device.prom")).unwrap();
    symlink("loop.prom", at("loop.prom")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(at("pipe.prom")).status().unwrap().success());
    fs::write(at("good.prom.tmp"), "half_writ").unwrap();
}

#[test]
fn a_directory_is_read_as_far_as_it_can_be() {
    let dir = Arc::new(TempDir::new().unwrap());
    let at = |name: &str| dir.path().join(name);
    for name in ["mixed", "dead", "many", "empty"] {
        fs::create_dir(at(name)).unwrap();
    }
    leave_odd_things(&at("mixed"));
    fs::write(at("mixed/one.page"), "good 1\n").unwrap();
    symlink(at("mixed/one.page"), at("mixed/good.prom")).unwrap();
    // A link that leads out of the directory that is named.
    fs::write(at("out.page"), "out 1\n").unwrap();
    symlink(at("out.page"), at("mixed/out.prom")).unwrap();
    leave_odd_things(&at("dead"));
    (0..10_000).for_each(|n| fs::write(at("many").join(format!("{n}.prom")), format!("m{n} 1\n")).unwrap());
    // The text format is UTF-8, and nothing else is guessed.
    fs::write(at("latin1.prom"), b"a{b=\"\xe9\"} 1\n").unwrap();
    let endless = File::create(at("huge.prom")).unwrap();
    endless.set_len(1 << 40).unwrap();
    let path = dir.path().display();
    let job = |name: &str, target: &str| {
        format!("- job_name: {name}\n  static_configs: [{{targets: ['file:{path}/{target}']}}]\n")
    };
    let config = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned()
        + &["mixed", "dead", "many", "empty"].map(|name| job(name, name)).concat()
        + &["latin1", "huge"].map(|name| job(name, &format!("{name}.prom"))).concat()
        + &job("limited", "huge.prom")
        + "  body_size_limit: 1MB\n";
    fs::write(at("scraped.yml"), config).unwrap();
    let scraped = Scraped::start_in(Arc::clone(&dir), &[]);
    let data = scraped.data_dir();
    for (selector, value) in
        [("good", "1"), ("m9999", "1"), ("up{job='empty'}", "1"), ("up{job='mixed'}", "1")]
    {
        wait_until(selector, || values(&data, selector).last().is_some_and(|it| it == value));
    }
    assert!(
        values(&data, "dead").is_empty()
            && values(&data, "half").is_empty()
            && values(&data, "out").is_empty()
    );
    wait_until("the log has it", || scraped.stderr().contains("8 of its files are left out"));
    wait_until("nothing is left", || only(&scraped, "dead").health == "down");
    let error = only(&scraped, "dead").last_error;
    assert_eq!(error, format!("{path}/dead/dangling.prom: No such file or directory (os error 2)"));
    wait_until("the mistake is told", || only(&scraped, "latin1").last_error.contains("UTF-8"));
    wait_until("the size is told", || only(&scraped, "huge").last_error.contains("--scrape.max-body-bytes"));
    wait_for_error(&scraped, "limited", "body size limit exceeded (body_size_limit: 1048576B)");
    // A file that becomes too old ends its own series.
    let long_ago = SystemTime::now() - Duration::from_secs(2 * 60 * 60);
    fs::write(at("mixed/other.prom"), "other 1\n").unwrap();
    wait_until("another file", || values(&data, "other").last().is_some_and(|it| it == "1"));
    File::options().write(true).open(at("mixed/other.prom")).unwrap().set_modified(long_ago).unwrap();
    wait_until("it ends", || values(&data, "other").last().is_some_and(|it| it == "stale"));
    assert!(values(&data, "up{job='mixed'}").iter().all(|value| value == "1"));
}
