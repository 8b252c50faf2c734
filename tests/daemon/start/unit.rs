//! The units for systemd fit the program: its flags exist, a stop has the time that it needs, nothing that is done is
//! forbidden, and the socket is where the pages are without it.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use support::command::{finish, scraped};
use support::remote::receiver::Receiver;
use support::remote::{config, n_arrived, n_samples, on_disk, wait_until_sent};
use support::scraped::{Scraped, free_address, write_whole};
use support::system::deny::allow_families;
use support::targets::{Behaviour, FakeTargets, page};
use support::wait_until;
use tempfile::TempDir;

fn text_of(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("etc").join(name)).expect("the unit")
}

/// Key → values, in the order of the file.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let text = text_of(name);
    let mut unit: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', '[']) && !line.is_empty()) {
        let (key, value) = line.split_once('=').expect("a key and a value");
        unit.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    unit
}

fn value(key: &str) -> String {
    let values = unit("scraped.service").remove(key).unwrap_or_default();
    assert_eq!(values.len(), 1, "{key}");
    values.concat()
}

/// Flags that a text names.
fn flags_in(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| c.is_whitespace() || "=()`".contains(c));
    words.filter(|word| word.starts_with("--") && word.contains('.')).collect()
}

fn seconds(text: &str) -> u64 {
    text.trim_end_matches('s').parse().expect("seconds")
}

#[test]
fn what_it_starts_exists_and_a_stop_has_time() {
    let start = value("ExecStart");
    let flags: Vec<(&str, &str)> =
        start.split(' ').skip(1).map(|flag| flag.split_once('=').expect("a flag with a value")).collect();
    let help = scraped(&["--help"]).stdout;
    for (flag, _) in &flags {
        assert!(help.contains(&format!("{flag}=")) || help.contains(&format!("{flag} ")), "{flag}: {help}");
    }
    let of = |name: &str| flags.iter().find(|(flag, _)| *flag == name).expect(name).1;
    let flush = seconds(of("--storage.remote.flush-deadline"));
    // The rest of a stop takes a second or two, on a slow disk some more.
    assert!(seconds(&value("TimeoutStopSec")) >= flush + 10, "{flush}");
    assert_eq!(of("--storage.agent.path"), format!("/var/lib/{}", value("StateDirectory")));
    assert_eq!(of("--config.file"), "/etc/scraped/scraped.yml");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/scraped.yml");
    let checked = scraped(&["check", "config", sample.to_str().expect("text")]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

#[test]
fn the_socket_is_where_the_pages_are_without_it() {
    let mut socket = unit("scraped.socket");
    let help = scraped(&["--help"]).stdout;
    let addresses = socket.remove("ListenStream").expect("an address");
    assert_eq!(addresses.len(), 1, "{addresses:?}");
    assert!(help.contains(&format!("(default {})", addresses[0])), "{addresses:?}: {help}");
    assert_eq!(socket.remove("WantedBy").expect("a target"), ["sockets.target"]);
    // By its name it belongs to the service; what its text says to add is there.
    let text = text_of("scraped.socket");
    assert!(text.contains("scraped.service"), "{text}");
    let flags = flags_in(&text);
    assert!(flags.contains(&"--web.systemd-socket"), "{flags:?}");
    for flag in flags {
        let name = flag.trim_start_matches("--");
        assert!(help.contains(&format!("--{name}")) || help.contains(&format!("--[no-]{name}")), "{flag}");
    }
}

#[test]
fn what_it_keeps_is_for_nobody_else_and_what_it_may_take_has_bounds() {
    assert_eq!((value("UMask"), value("StateDirectoryMode")), ("0077".to_owned(), "0700".to_owned()));
    assert!(value("LimitNOFILE").parse::<u64>().expect("a number") >= 30_000);
    assert!(value("TasksMax").parse::<u64>().expect("a number") >= 1024);
    assert_eq!((value("OOMPolicy").as_str(), value("ProtectProc").as_str()), ("continue", "invisible"));
    for key in ["NoNewPrivileges", "ProtectKernelLogs", "ProtectHostname", "DynamicUser"] {
        assert_eq!(value(key), "yes", "{key}");
    }
    value("MemoryMax");
}

#[test]
fn a_credential_of_the_unit_is_a_file_of_the_configuration() {
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    let config = write_whole(
        dir.path(),
        "scraped.yml",
        "scrape_configs:\n- job_name: a\n  basic_auth: {username: a, password_file: $CREDENTIALS_DIRECTORY/password}\n",
    );
    let check = |directory: Option<&Path>| {
        let mut command = Command::new(support::program());
        command.args(["check", "config", config.to_str().expect("text")]).env_remove("CREDENTIALS_DIRECTORY");
        command.envs(directory.map(|directory| ("CREDENTIALS_DIRECTORY", directory)));
        finish(&mut command)
    };
    write_whole(dir.path(), "password", "hunter2");
    let with = check(Some(dir.path()));
    assert_eq!(with.code, Some(0), "{with:?}");
    let without = check(None);
    assert_eq!(without.code, Some(1), "{without:?}");
    let printed = format!("{without:?}");
    assert!(printed.contains("the environment has no CREDENTIALS_DIRECTORY"), "{printed}");
}

/// What the log says of a job with `mdns_sd_configs`, once it has asked the link or could not.
fn log_with(families: &[i32]) -> String {
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    let config = write_whole(
        dir.path(),
        "scraped.yml",
        "scrape_configs:\n- job_name: m\n  mdns_sd_configs: [{services: [_prometheus-http._tcp], refresh_interval: 1s}]\n",
    );
    let log = dir.path().join("log");
    let mut command = Command::new(support::program());
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.agent.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address={}", free_address()))
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).expect("a file"));
    allow_families(&mut command, families);
    let mut child = command.spawn().expect("the program");
    let until = Instant::now() + Duration::from_secs(4);
    let text = loop {
        let text = fs::read_to_string(&log).expect("a log");
        // That nothing is complained of takes a while to be seen.
        if text.contains("cannot ask the link") || Instant::now() > until {
            break text;
        }
        thread::sleep(Duration::from_millis(50));
    };
    let _ = child.kill();
    let _ = child.wait();
    text
}

#[test]
fn the_families_that_it_allows_are_all_that_is_needed() {
    let number = |family: &str| match family {
        "AF_UNIX" => libc::AF_UNIX,
        "AF_INET" => libc::AF_INET,
        "AF_INET6" => libc::AF_INET6,
        "AF_NETLINK" => libc::AF_NETLINK,
        other => panic!("{other} is not known to this test"),
    };
    let families: Vec<i32> = value("RestrictAddressFamilies").split(' ').map(number).collect();
    let log = log_with(&families);
    assert!(log.contains("pages at") && !log.contains("Address family not supported"), "{log}");
    let fewer: Vec<i32> = families.into_iter().filter(|family| *family != libc::AF_NETLINK).collect();
    let log = log_with(&fewer);
    assert!(log.contains("cannot ask the link: Address family not supported"), "{log}");
}

/// An endpoint that hangs: what it has not had stays in the log, and the stop is over before systemd loses its patience.
#[test]
fn a_stop_in_an_outage_keeps_the_units_time_and_loses_nothing() {
    let start = value("ExecStart");
    let flush =
        start.split(' ').find(|flag| flag.starts_with("--storage.remote.flush-deadline=")).expect("the flag");
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("m 1\n")));
    // It takes connections and answers nothing.
    let address = free_address();
    let hung = TcpListener::bind(&address).expect("a free port");
    let text = config(&targets.address(), "/metrics", &format!("http://{address}/write"), "name: main", "");
    write_whole(dir.path(), "scraped.yml", &text);
    let scraped = Scraped::start_in(Arc::clone(&dir), &[flush]);
    wait_until("samples that wait", || targets.n_requests("/metrics") > 4);
    let data_dir = scraped.data_dir();
    let stopping = Instant::now();
    assert!(scraped.stop().success());
    let took = stopping.elapsed();
    assert!(took < Duration::from_secs(seconds(&value("TimeoutStopSec"))), "{took:?}");
    let n_kept = n_samples(&on_disk(&data_dir));
    drop(hung);
    let receiver = Receiver::start_on(&address);
    let scraped = Scraped::start_in(dir, &[flush]);
    wait_until_sent(&data_dir, &receiver);
    assert!(n_arrived(&receiver) >= n_kept && n_kept > 4, "{n_kept}");
    assert!(scraped.stop().success());
    receiver.check();
}
