//! Each kind of thread is killed once, by a panic at its start, some also by one at their end, and what was promised for
//! that is seen: the daemon stops in order with exit status 2, or the thread starts again, or those it worked for go on
//! without it. What makes a thread panic again and again is set aside, and the rest goes on.

use std::thread;

use support::api::{active, metric};
use support::discovery::kubernetes::{ApiServer, objects};
use support::remote::receiver::{Answer, Receiver};
use support::remote::{arrived, config, missing, n_arrived, on_disk, wait_until_sent};
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::tls::endpoint::{Endpoint, reply};
use support::wait_until;

/// What is to panic, as `engine/threads/fault.rs` says.
const FAULTS: &str = "SCRAPED_FAULT_PANIC";

/// The exit status of a bug.
const EXIT_BUG: i32 = 2;

fn counting() -> (FakeTargets, Receiver) {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    (targets, Receiver::start())
}

fn start(kind: &str, config: &str) -> Scraped {
    Scraped::spawn_under((FAULTS, kind), config).ready()
}

fn n_panics(scraped: &Scraped, kind: &str) -> Option<f64> {
    metric(scraped, &format!("scraped_panics_total{{thread=\"{kind}\"}}"))
}

fn n_restarts(scraped: &Scraped, kind: &str) -> Option<f64> {
    metric(scraped, &format!("scraped_thread_restarts_total{{thread=\"{kind}\"}}"))
}

/// The daemon stops in order, says which thread has died, and has the exit status of a bug.
fn check_ends_by_a_bug(mut scraped: Scraped, kind: &str) {
    let status = scraped.wait();
    let stderr = scraped.stderr();
    assert_eq!(status.code(), Some(EXIT_BUG), "{kind}: {stderr}");
    check_said_once(&stderr, kind);
    assert!(stderr.contains("stopped in "), "{kind}: {stderr}");
    // What was held is free.
    assert!(Scraped::start_in(scraped.dir(), &[]).stop().success(), "{kind}");
}

/// The panic was counted, and said in one line with its place.
fn check_said_once(stderr: &str, kind: &str) {
    let said: Vec<&str> = stderr.lines().filter(|line| line.contains("a fault that was asked for")).collect();
    let [line] = said[..] else { panic!("{said:#?}") };
    let has = |text: &str| assert!(line.contains(text), "{text}: {line}");
    has("level=ERROR");
    has(&format!("BUG: thread {kind}"));
    has(" panicked at ");
    has("fault.rs:");
}

#[test]
fn without_an_essential_thread_the_daemon_stops_in_order_with_the_exit_status_of_a_bug() {
    let kinds = [
        "signals",
        "web",
        "sd-manager",
        "sd",
        "scrape-manager",
        "scrape-scheduler",
        "scrape-worker",
        "wal-maintenance",
        "remote-manager",
    ];
    let (targets, receiver) = counting();
    let config = config(&targets.address(), "/metrics", &receiver.url(), "", "");
    thread::scope(|scope| {
        for kind in kinds {
            let config = &config;
            scope.spawn(move || {
                check_ends_by_a_bug(Scraped::spawn_under((FAULTS, kind), config), kind);
            });
        }
    });
}

#[test]
fn a_thread_that_dies_while_the_daemon_stops_gives_it_the_exit_status_of_a_bug() {
    let kinds = ["signals", "web", "scrape-manager", "scrape-scheduler", "wal-maintenance", "remote-manager"];
    let (targets, receiver) = counting();
    let config = config(&targets.address(), "/metrics", &receiver.url(), "", "");
    thread::scope(|scope| {
        for kind in kinds {
            let config = &config;
            scope.spawn(move || {
                let scraped = start(&format!("end={kind}"), config);
                scraped.signal("TERM");
                check_ends_by_a_bug(scraped, kind);
            });
        }
    });
}

#[test]
fn the_watch_of_directories_starts_again() {
    let targets = FakeTargets::start();
    let config = "scrape_configs: [{job_name: listed, file_sd_configs: [{files: ['listed.json']}]}]";
    let scraped = start("sd-file-watch", config);
    wait_until("it is started again", || n_restarts(&scraped, "sd-file-watch") == Some(1.0));
    assert_eq!(n_panics(&scraped, "sd-file-watch"), Some(1.0));
    scraped.write("listed.json", &format!(r#"[{{"targets": ["{}"]}}]"#, targets.address()));
    wait_until("the list is read", || active(&scraped, "listed").len() == 1);
    check_said_once(&scraped.stderr(), "sd-file-watch");
    assert!(scraped.stop().success());
}

#[test]
fn a_watch_of_kubernetes_lists_everything_again() {
    let server = ApiServer::start(&[("nodes", objects("nodes.json"))]);
    let config = format!("scrape_configs:\n{}", server.job("role: node, own_node: false"));
    let scraped = start("watch", &config);
    wait_until("all nodes are targets", || active(&scraped, "k").len() == objects("nodes.json").len());
    assert_eq!((n_panics(&scraped, "watch"), n_restarts(&scraped, "watch")), (Some(1.0), Some(1.0)));
    check_said_once(&scraped.stderr(), "watch-nodes-0");
    assert!(scraped.stop().success());
}

#[test]
fn the_thread_of_queries_starts_again() {
    let (targets, receiver) = counting();
    let scraped = start("query", &config(&targets.address(), "/metrics", &receiver.url(), "", ""));
    // Waits while the thread is away.
    let answer = scraped.get("/api/v1/series?match[]=up");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!((n_panics(&scraped, "query"), n_restarts(&scraped, "query")), (Some(1.0), Some(1.0)));
    check_said_once(&scraped.stderr(), "query");
    assert!(scraped.stop().success());
}

#[test]
fn the_sender_of_metadata_starts_again() {
    let (targets, receiver) = counting();
    let section = "name: main\nmetadata_config: {send_interval: 200ms}";
    let scraped =
        start("remote-metadata", &config(&targets.address(), "/metrics", &receiver.url(), section, ""));
    wait_until("metadata", || !receiver.state().families.is_empty());
    let counted = (n_panics(&scraped, "remote-metadata"), n_restarts(&scraped, "remote-metadata"));
    assert_eq!(counted, (Some(1.0), Some(1.0)));
    check_said_once(&scraped.stderr(), "remote-metadata-main");
    assert!(scraped.stop().success());
}

#[test]
fn when_a_thread_of_an_endpoint_dies_all_of_them_start_again_and_every_sample_arrives() {
    for kind in ["wal-watcher", "remote-shard"] {
        let (targets, receiver) = counting();
        let config = config(&targets.address(), "/metrics", &receiver.url(), "name: main", "");
        let scraped = start(kind, &config);
        wait_until("samples", || n_arrived(&receiver) > 10);
        check_endpoint_went_on(scraped, &receiver, kind);
    }
}

#[test]
fn when_the_reader_of_the_backlog_dies_every_sample_arrives() {
    let (targets, receiver) = counting();
    receiver.state().takes_any_order = true;
    let queue = "in_order: false, capacity: 20, max_samples_per_send: 20, max_shards: 1";
    let text = config(&targets.address(), "/metrics", &receiver.url(), "name: main", queue);
    let scraped = start("wal-backlog", &text.replace("500ms", "100ms"));
    wait_until("samples", || n_arrived(&receiver) > 0);
    receiver.answer(Answer::status(503));
    let n_scrapes = targets.n_requests("/metrics");
    wait_until("a backlog", || targets.n_requests("/metrics") > n_scrapes + 60);
    receiver.answer(Answer::Stores(204));
    wait_until("it has died", || n_panics(&scraped, "wal-backlog") == Some(1.0));
    check_endpoint_went_on(scraped, &receiver, "wal-backlog");
}

#[test]
fn when_a_search_beside_a_shard_dies_every_good_sample_arrives() {
    let targets = FakeTargets::start();
    let series =
        |name: &str| (0..50).map(|idx| format!("{name}{{idx=\"{idx}\"}} {idx}\n")).collect::<String>();
    targets.set("/metrics", Behaviour::Healthy(page(&(series("good") + &series("refused")))));
    let receiver = Receiver::start();
    receiver.answer(Answer::RefusesSeries("__name__=\"refused\"".to_owned()));
    let scraped =
        start("remote-search", &config(&targets.address(), "/metrics", &receiver.url(), "name: main", ""));
    wait_until("it has died", || n_panics(&scraped, "remote-search") == Some(1.0));
    wait_until("they start again", || n_restarts(&scraped, "wal-watcher") == Some(1.0));
    let good = || {
        let mut whole = on_disk(&scraped.data_dir());
        whole.retain(|key, _| !key.contains("refused"));
        whole
    };
    let whole = good();
    wait_until("all good samples", || missing(&whole, &arrived(&receiver)).is_empty());
    check_said_once(&scraped.stderr(), "remote-search-main");
    assert!(scraped.stop().success());
}

/// The endpoint's threads have started again, and all that is on disk arrives.
fn check_endpoint_went_on(scraped: Scraped, receiver: &Receiver, kind: &str) {
    wait_until("they start again", || n_restarts(&scraped, "wal-watcher") == Some(1.0));
    assert_eq!(n_panics(&scraped, kind), Some(1.0), "{kind}");
    wait_until_sent(&scraped.data_dir(), receiver);
    check_said_once(&scraped.stderr(), &format!("{kind}-main"));
    assert!(scraped.stop().success(), "{kind}");
    receiver.check();
}

#[test]
fn a_lookup_that_dies_has_failed_and_the_next_one_answers() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let port = targets.address().rsplit(':').next().unwrap().to_owned();
    let scraped = start("http-lookup", &one_target("", &format!("localhost:{port}")));
    wait_until("up", || active(&scraped, "one").iter().any(|target| target.health == "up"));
    assert_eq!(n_panics(&scraped, "http-lookup"), Some(1.0));
    assert!(scraped.stderr().contains("BUG: the lookup of localhost panicked at "), "{}", scraped.stderr());
    assert!(scraped.stop().success());
}

#[test]
fn a_request_for_a_token_that_dies_has_failed_and_the_next_one_gets_it() {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Counter);
    let json = "Content-Type: application/json\r\n";
    let server = Endpoint::plain(move |_| {
        reply(200, json, r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#)
    });
    let token = format!(
        "oauth2: {{client_id: box, client_secret: hunter2, token_url: 'http://{}/'}}, ",
        server.at("127.0.0.1")
    );
    let scraped = start("http-token", &one_target(&token, &targets.address()));
    wait_until("up", || active(&scraped, "one").iter().any(|target| target.health == "up"));
    assert_eq!(n_panics(&scraped, "http-token"), Some(1.0));
    assert!(scraped.stderr().contains("BUG: asking for a token panicked at "), "{}", scraped.stderr());
    assert!(scraped.stop().success());
}

#[test]
fn a_page_that_makes_scrapes_panic_is_set_aside_until_its_settings_change_and_the_others_go_on() {
    let targets = FakeTargets::start();
    targets.set("/bad", Behaviour::Healthy(page("poison_total 1\n")));
    targets.set("/good", Behaviour::Healthy(page("good_total 1\n")));
    let job = |name: &str, interval: &str| {
        format!(
            "- job_name: {name}\n  metrics_path: /{name}\n  scrape_interval: {interval}\n  scrape_timeout: {interval}\n  \
             static_configs: [{{targets: ['{}']}}]\n",
            targets.address()
        )
    };
    let config =
        |interval: &str| format!("scrape_configs:\n{}{}", job("bad", interval), job("good", "200ms"));
    let scraped = start("page=poison", &config("200ms"));
    let last_error = || active(&scraped, "bad").first().map(|it| it.last_error.clone()).unwrap_or_default();
    let n_skipped = || metric(&scraped, "scraped_scrapes_skipped_total{reason=\"set_aside\"}").unwrap();
    let check = |n_times: f64| {
        wait_until("it is set aside", || last_error().starts_with("set aside: 3 scrapes in a row panicked"));
        wait_until("it is not asked", || n_skipped() >= 5.0 * n_times);
        assert_eq!(n_panics(&scraped, "scrape-worker"), Some(3.0 * n_times));
        assert_eq!(metric(&scraped, "scraped_targets_set_aside_total"), Some(n_times));
        assert_eq!(active(&scraped, "good")[0].health, "up");
    };
    check(1.0);
    assert_eq!(targets.n_requests("/bad"), 3);
    scraped.reload_with(&config("300ms"));
    wait_until("it is asked again", || n_panics(&scraped, "scrape-worker") > Some(3.0));
    check(2.0);
    assert!(scraped.stderr().contains("/bad in a row have panicked"), "{}", scraped.stderr());
    assert!(scraped.stop().success());
}

#[test]
fn series_and_records_that_make_threads_panic_are_set_aside_and_all_else_arrives() {
    // Exemplars stand in records of their own, with all their labels.
    let text = "# TYPE bad counter\nbad_total{kind=\"encoded\"} 1\nbad_total{kind=\"judged\"} 1\n\
                # TYPE good counter\ngood_total 1 # {trace=\"lost\"} 1\ngood_total{idx=\"1\"} 1\n# EOF\n";
    let open_metrics = "Content-Type: application/openmetrics-text; version=1.0.0\r\n";
    let target = Endpoint::plain(move |_| reply(200, open_metrics, text));
    let receiver = Receiver::start();
    let section = "name: main\nsend_exemplars: true\nwrite_relabel_configs:\n\
                   - {source_labels: [nothing], regex: something, action: drop}";
    let scraped = start(
        "request=encoded,rule=judged,record=lost",
        &config(&target.at("127.0.0.1"), "/metrics", &receiver.url(), section, ""),
    );
    let labels = "remote_name=\"main\"";
    let sum = |family: &str, of: &str| {
        let page = scraped.get("/metrics").body;
        let lines = page.lines().filter(|line| line.starts_with(family) && line.contains(of));
        let lines = lines.filter(|line| line.contains(labels));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>()
    };
    let n_dropped = || sum("prometheus_remote_storage_samples_dropped_total", "reason=\"panicked\"");
    // Two series, and the record of the exemplar, which is not repeated.
    wait_until("all three are set aside", || sum("scraped_remote_panics_set_aside_total", "") == 3.0);
    wait_until("samples are dropped untried", || n_dropped() > 10.0);
    let n_shard_panics = n_panics(&scraped, "remote-shard").unwrap();
    assert_eq!(n_restarts(&scraped, "wal-watcher"), Some(0.0));
    let is_bad = |key: &str| key.contains("encoded") || key.contains("judged");
    let mut whole = on_disk(&scraped.data_dir());
    let n_bad: usize = whole.iter().filter(|(key, _)| is_bad(key)).map(|(_, samples)| samples.len()).sum();
    assert!(n_bad > 10, "{n_bad}");
    whole.retain(|key, _| !is_bad(key));
    wait_until("all others", || missing(&whole, &arrived(&receiver)).is_empty());
    assert!(!arrived(&receiver).keys().any(|key| is_bad(key)));
    // What is set aside makes nothing panic any more.
    assert_eq!(n_panics(&scraped, "remote-shard"), Some(n_shard_panics));
    let stderr = scraped.stderr();
    for named in [
        "sending samples of {__name__=",
        r#"kind=\"encoded\"} panicked at "#,
        r#"kind=\"judged\"} panicked at "#,
        "after 3 panics the series is set aside",
        "the record at 00000000:",
    ] {
        assert!(stderr.contains(named), "{named}: {stderr}");
    }
    assert!(scraped.stop().success());
    receiver.check();
}

/// The job `one`, with one target and these fields in front.
fn one_target(fields: &str, address: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
         scrape_configs: [{{job_name: one, {fields}static_configs: [{{targets: ['{address}']}}]}}]\n"
    )
}
