//! No file descriptor left: sources fail, their targets stay, and everything goes on when there are some again.

use std::fs::File;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::discovery::Discovery;
use support::system::own_process::runs_elsewhere;
use support::tls::endpoint::{Endpoint, reply};
use support::wait_until;

/// Enough for the test, few enough to be used up.
const LIMIT: u64 = 200;

fn list(target: &str) -> String {
    format!("[{{\"targets\": [\"{target}\"]}}]")
}

#[test]
fn sources_get_over_a_time_without_descriptors() {
    if runs_elsewhere(module_path!(), "sources_get_over_a_time_without_descriptors") {
        return;
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(LIMIT), maximum }).expect("a lower limit");
    // Each answer on a connection of its own, so that the next needs a descriptor.
    let answer = |target: &str| match reply(200, "Content-Type: application/json\r\n", &list(target)) {
        support::tls::endpoint::Reply::Keep(bytes) => support::tls::endpoint::Reply::Close(bytes),
        other => other,
    };
    let endpoint = Endpoint::plain(move |_| answer("http:1"));
    let url = format!("http://{}/", endpoint.at("127.0.0.1"));
    let jobs = format!(
        "- job_name: exec\n  exec_sd_configs: [{{command: [/bin/cat, DIR/sd/exec], refresh_interval: 200ms}}]\n\
         - job_name: file\n  file_sd_configs: [{{files: ['sd/*.yml'], refresh_interval: 200ms}}]\n\
         - job_name: http\n  http_sd_configs: [{{url: '{url}', refresh_interval: 200ms}}]\n"
    );
    let discovery =
        Discovery::start(&jobs, &[("exec", &list("exec:1")), ("a.yml", "- targets: ['file:1']\n")]);
    let want = |n: u32| {
        format!(
            "exec: exec:{n}{{__meta_exec_command=\"/bin/cat\"}}; file: file:{n}{{__meta_filepath=\"sd/a.yml\"}}; \
             http: http:{n}{{__meta_url={url:?}}}"
        )
    };
    discovery.expect(&want(1));
    discovery.write("exec", &list("exec:2"));
    endpoint.answer(move |_| answer("http:2"));
    let mut hoard = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        hoard.push(file);
    }
    assert!(hoard.len() > 50, "{} descriptors", hoard.len());
    let failures = |kind: &str| discovery.metrics.refresh_failures.with(&[kind, kind]).get();
    let (exec, http) = (failures("exec"), failures("http"));
    wait_until("all of them fail", || {
        // Whatever somebody gives back is taken.
        hoard.extend(File::open("/dev/null"));
        failures("exec") > exec + 3
            && failures("http") > http + 3
            && discovery.metrics.file_read_errors.get() > 0
    });
    // What came before the last descriptor was gone may have been news; nothing has gone.
    while let Ok(sets) = discovery.target_sets.try_recv() {
        assert!(sets.values().all(|groups| !groups.is_empty()), "{}", discovery.render(&sets));
    }
    drop(hoard);
    discovery.write("a.yml", "- targets: ['file:2']\n");
    discovery.expect(&want(2));
    discovery.handle.stop();
}
