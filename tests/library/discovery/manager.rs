//! The discovery manager over real sources: what a reload keeps, holds over and drops, and who can slow down whom.

use std::sync::atomic::{AtomicUsize, Ordering};

use support::discovery::Discovery;
use support::system::own_process::runs_elsewhere;
use support::tls::endpoint::{Endpoint, Reply, reply};
use support::wait_until;

const JSON: &str = "Content-Type: application/json\r\n";

const FIXED: &str = "- job_name: fixed\n  static_configs: [{targets: ['s:1']}]\n";

fn list(target: &str) -> Reply {
    reply(200, JSON, &format!("[{{\"targets\": [\"{target}\"]}}]"))
}

fn url(endpoint: &Endpoint, path: &str) -> String {
    format!("http://{}{path}", endpoint.at("127.0.0.1"))
}

/// A job with one target of its own beside what is behind `url`.
fn mixed(url: &str, own: &str) -> String {
    format!(
        "- job_name: mixed\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1h}}]\n  \
         static_configs: [{{targets: ['{own}']}}]\n"
    )
}

#[test]
fn a_source_that_never_answers_holds_nothing_up() {
    // Other tests have threads of the same names.
    if runs_elsewhere(module_path!(), "a_source_that_never_answers_holds_nothing_up") {
        return;
    }
    let endpoint = Endpoint::plain(|_| Reply::Hang);
    let url = url(&endpoint, "/");
    let discovery = Discovery::start(FIXED, &[]);
    discovery.next();
    discovery.reload(&mixed(&url, "own:1"));
    discovery.expect("mixed: own:1{}");
    discovery.reload(&mixed(&url, "own:2"));
    discovery.expect("mixed: own:2{}");
    // Not asked again either: its settings are the same.
    assert_eq!(endpoint.n_connections(), 1);
    // Nor is the question left behind when nobody wants an answer any more.
    let is_asked = || thread_names().iter().any(|name| name.starts_with("sd-http-"));
    assert!(is_asked());
    discovery.reload(FIXED);
    discovery.expect("fixed: s:1{}");
    wait_until("its thread ends", || !is_asked());
    discovery.handle.stop();
}

/// Of the threads of this process.
fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc").flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

#[test]
fn targets_of_other_settings_go_when_the_new_source_does_not_answer() {
    let endpoint = Endpoint::plain(|request| match request.head.starts_with("GET /old ") {
        true => list("a:1"),
        false => Reply::Hang,
    });
    let (old, new) = (url(&endpoint, "/old"), url(&endpoint, "/new"));
    let discovery = Discovery::start(&mixed(&old, "own:1"), &[]);
    discovery.expect(&format!("mixed: a:1{{__meta_url={old:?}}} own:1{{}}"));
    discovery.reload(&mixed(&new, "own:1"));
    // For a moment they stay, since most sources answer at once.
    discovery.expect(&format!("mixed: own:1{{}} a:1{{__meta_url={old:?}}}"));
    discovery.expect("mixed: own:1{}");
    // A kind of source that the job does not have any more takes its targets along at once.
    discovery.reload(FIXED);
    discovery.expect("fixed: s:1{}");
    discovery.handle.stop();
}

#[test]
fn an_open_source_goes_on_over_a_reload_with_its_targets() {
    let endpoint = Endpoint::plain(|_| list("a:1"));
    let url = url(&endpoint, "/");
    let http = format!("- job_name: NAME\n  http_sd_configs: [{{url: '{url}', refresh_interval: 1h}}]\n");
    let job = |name: &str| http.replace("NAME", name);
    let discovery = Discovery::start(&job("one"), &[]);
    let target = format!("a:1{{__meta_url={url:?}}}");
    discovery.expect(&format!("one: {target}"));
    for jobs in [vec!["one", "two"], vec!["two"], vec!["other", "two"], vec!["other"]] {
        discovery.reload(&jobs.iter().map(|name| job(name)).collect::<String>());
        let want: Vec<String> = jobs.iter().map(|name| format!("{name}: {target}")).collect();
        discovery.expect(&want.join("; "));
    }
    assert_eq!(endpoint.requests().len(), 1);
    discovery.handle.stop();
}

#[test]
fn a_source_that_repeats_itself_slows_nobody_down() {
    let endpoint = Endpoint::plain(|_| list("a:1"));
    let url = url(&endpoint, "/");
    let job = format!("- job_name: http\n  http_sd_configs: [{{url: '{url}', refresh_interval: 50ms}}]\n");
    let discovery = Discovery::start(&job, &[]);
    assert_eq!(discovery.answered(), format!("http: a:1{{__meta_url={url:?}}}"));
    wait_until("it has repeated itself", || discovery.metrics.received_updates.get() > 50);
    assert_eq!(discovery.metrics.sent_updates.get(), 1);
    discovery.handle.stop();
}

#[test]
fn a_source_that_changes_all_the_time_is_slowed_down() {
    static N_ASKED: AtomicUsize = AtomicUsize::new(0);
    const N_CHANGES: usize = 20;
    let endpoint = Endpoint::plain(|_| {
        let n = N_ASKED.fetch_add(1, Ordering::Relaxed).min(N_CHANGES);
        list(&format!("a:{n}"))
    });
    let url = url(&endpoint, "/");
    let job = format!("- job_name: http\n  http_sd_configs: [{{url: '{url}', refresh_interval: 300ms}}]\n");
    let discovery = Discovery::start(&job, &[]);
    discovery.expect(&format!("http: a:{N_CHANGES}{{__meta_url={url:?}}}"));
    let n_sent = discovery.metrics.sent_updates.get();
    // One every 300 ms is more than every wait but the first three.
    assert!(n_sent < N_CHANGES as u64 * 3 / 4, "{n_sent} sets for {N_CHANGES} changes");
    discovery.handle.stop();
}

#[test]
fn what_is_counted_goes_with_its_job_and_its_provider() {
    let endpoint = Endpoint::plain(|_| list("a:1"));
    let url = url(&endpoint, "/");
    let http = |job: &str| format!("- job_name: {job}\n  http_sd_configs: [{{url: '{url}'}}]\n");
    let discovery = Discovery::start(&(http("http") + FIXED), &[]);
    discovery.expect(&format!("fixed: s:1{{}}; http: a:1{{__meta_url={url:?}}}"));
    let shown = [
        "prometheus_sd_refresh_failures_total{mechanism=\"http\",config=\"http\"} 0\n",
        "prometheus_sd_refresh_duration_seconds_count{mechanism=\"http\",config=\"http\"} 1\n",
        "prometheus_sd_discovered_targets{name=\"scrape\",config=\"http\"} 1\n",
        "prometheus_sd_last_update_timestamp_seconds{name=\"scrape\",config=\"http\"} ",
        "prometheus_sd_refresh_duration_histogram_seconds_count{mechanism=\"http\"} 1\n",
        "prometheus_sd_last_update_timestamp_seconds{name=\"scrape\",config=\"fixed\"} ",
    ];
    wait_until("the update is told of", || discovery.page().contains(shown[3]));
    let page = discovery.page();
    shown.iter().for_each(|line| assert!(page.contains(line), "{line} is not in\n{page}"));
    for n in 0..50 {
        discovery.reload(&http(&format!("job{n}")));
        discovery.next();
    }
    discovery.reload(FIXED);
    discovery.expect("fixed: s:1{}");
    let page = discovery.page();
    assert!(!page.contains("config=\"http\"") && !page.contains("config=\"job"), "{page}");
    assert!(page.contains(shown[4].split(' ').next().expect("a name")), "{page}");
    discovery.handle.stop();
}
