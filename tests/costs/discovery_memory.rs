//! Answers of sources that are small on the wire and large in memory, against the real binary: what they cost is bounded,
//! good targets beside them are scraped.

use crate::alone;
use std::fs;
use std::sync::Arc;

use support::api::{active, metric};
use support::command::values;
use support::scraped::Scraped;
use support::targets::{Behaviour, FakeTargets, page};
use support::tls::endpoint::{Endpoint, reply};
use support::{wait_for_long, wait_until};
use tempfile::TempDir;

const JSON: &str = "Content-Type: application/json\r\n";

/// The largest answer that is read.
const ANSWER_BYTES: usize = 16 << 20;

/// What the daemon may have taken in the worst moment: the answer, what may be made of it, what may be kept of it, and
/// itself, far below the 256 MiB of the shipped unit.
const MAX_KB: u64 = 128 << 10;

/// `begin`, as many `item`s as the answer has room for, `end`.
fn filled(begin: &str, item: &str, end: &str) -> String {
    let n_items = (ANSWER_BYTES - begin.len() - end.len()) / (item.len() + 1) - 1;
    let mut text = String::with_capacity(ANSWER_BYTES);
    text.push_str(begin);
    for idx in 0..n_items {
        text.push_str(if idx > 0 { "," } else { "" });
        text.push_str(item);
    }
    text.push_str(end);
    text
}

/// Distinct targets, as many as there is room for.
fn distinct() -> String {
    let mut text = "[{\"targets\": [\"0\"".to_owned();
    for n in 1.. {
        if text.len() + 16 > ANSWER_BYTES {
            break;
        }
        text.push_str(&format!(",\"{n}:1\""));
    }
    text + "]}]"
}

fn peak_kb(scraped: &Scraped) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", scraped.id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What a test waits for.
#[derive(Clone, Copy)]
enum End<'a> {
    /// The page of targets says so.
    Says(&'a str),
    /// So many targets.
    Targets(usize),
}

impl End<'_> {
    fn is_there(self, scraped: &Scraped) -> bool {
        match self {
            Self::Says(word) => scraped.get("/targets").body.contains(word),
            Self::Targets(n_targets) => active(scraped, "bad").len() == n_targets,
        }
    }
}

/// A job with this source beside a good one.
fn check(what: &str, source: &str, settings: &str, files: &[(&str, &str)], end: End<'_>) -> Scraped {
    let targets = FakeTargets::start();
    targets.set("/metrics", Behaviour::Healthy(page("good 1\n")));
    let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
    files.iter().for_each(|(name, text)| fs::write(dir.path().join(name), text).expect("writable"));
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
         - job_name: good\n  static_configs: [{{targets: ['{}']}}]\n- job_name: bad\n  {source}\n{settings}",
        targets.address()
    );
    fs::write(dir.path().join("scraped.yml"), config).expect("writable");
    let scraped = Scraped::start_in(dir, &[]);
    let begin_kb = peak_kb(&scraped);
    wait_for_long(what, || end.is_there(&scraped));
    let n_good = values(&scraped.data_dir(), "good").len();
    wait_until("the good one goes on", || values(&scraped.data_dir(), "good").len() > n_good);
    let peak_kb = peak_kb(&scraped);
    println!("{what}: {begin_kb} kB before, {peak_kb} kB at most");
    assert!(peak_kb <= MAX_KB, "{what}: {peak_kb} kB");
    scraped
}

fn http(endpoint: &Endpoint) -> String {
    format!("http_sd_configs: [{{url: 'http://{}/', refresh_interval: 1h}}]", endpoint.at("127.0.0.1"))
}

/// One test after the other: each has the memory of the machine for itself.
#[test]
fn lists_are_bounded_while_they_are_read() {
    let _alone = alone();
    let serve = |body: String| Endpoint::plain(move |_| reply(200, JSON, &body));
    let limit = "  target_limit: 10\n";
    let exceeded = "target_limit exceeded (number of targets: ";

    let numbers = serve(filled("[", "1", "]"));
    check("numbers", &http(&numbers), limit, &[], End::Says("expected a target group at line 1 column 2"));
    let same = serve(filled("[{\"targets\": [", "\"a\"", "]}]"));
    check("the same target", &http(&same), limit, &[], End::Targets(1));
    let many = serve(distinct());
    let scraped = check("many targets with a limit", &http(&many), limit, &[], End::Says(exceeded));
    assert_eq!(active(&scraped, "bad").len(), 1000);
    drop(scraped);
    check("many targets", &http(&many), "", &[], End::Says("it has more than 50000 targets"));
    check("groups", &http(&serve(filled("[", "{}", "]"))), "", &[], End::Says("the most of one source"));
    let labels = serve(filled("[{\"labels\": {", "\"a\":\"\"", "}}]"));
    check("labels", &http(&labels), "", &[], End::Says("the most of one source"));

    let file = "file_sd_configs: [{files: ['list*.yml', 'list*.json'], refresh_interval: 1s}]";
    let yaml = [("list.yml", &*filled("- targets: [", "a", "]"))];
    check("yaml", file, "", &yaml, End::Says("too many for one list in YAML (limit: 250000)"));
    let yaml = filled("- targets: [", "10.0.0.1:9100", "]");
    let yaml =
        yaml.get(..1_700_000).and_then(|text| text.rsplit_once(',')).expect("a list").0.to_owned() + "]\n";
    check("yaml that is taken", file, "", &[("list.yml", &yaml)], End::Targets(1));
    // Rules may drop any number of them, so all are kept until then; what is scraped is not.
    let targets: Vec<String> = (0..100_000).map(|n| format!("\"{n}:1\"")).collect();
    let list = format!("[{{\"targets\": [{}]}}]", targets.join(","));
    let rule = format!("{limit}  relabel_configs: [{{target_label: x, replacement: y}}]\n");
    let scraped = check("a limit behind rules", file, &rule, &[("list.json", &list)], End::Says(exceeded));
    assert_eq!(active(&scraped, "bad").len(), 1000);
    let n_targets = metric(&scraped, "prometheus_target_scrape_pool_targets{scrape_job=\"bad\"}");
    assert_eq!(n_targets, Some(100_000.0));
    drop(scraped);

    let list = [("list", &*filled("[", "{}", "]"))];
    let exec = "exec_sd_configs: [{command: [/bin/cat, ./list], refresh_interval: 1h}]";
    let dir = TempDir::with_prefix("scraped-test-").expect("a directory");
    let path = dir.path().join("list");
    fs::write(&path, list[0].1).expect("writable");
    let exec = exec.replace("./list", &path.display().to_string());
    check("what a command prints", &exec, "", &[], End::Says("the most of one source"));
}

#[test]
fn objects_are_bounded_while_they_are_read() {
    let _alone = alone();
    let too_many = "the answer has too many values";
    let consul = |services: String, instances: String| {
        let endpoint = Endpoint::plain(move |request| {
            match request.head.split(' ').nth(1).unwrap_or_default().split('?').next() {
                Some("/v1/agent/self") => reply(200, "", "{\"Config\": {\"Datacenter\": \"dc\"}}"),
                Some("/v1/catalog/services") => reply(200, "", &services),
                _ => reply(200, "", &instances),
            }
        });
        let source =
            format!("consul_sd_configs: [{{server: '{}', refresh_interval: 1h}}]", endpoint.at("127.0.0.1"));
        (endpoint, source)
    };
    let one = || "{\"web\": []}".to_owned();
    for (what, services, instances) in [
        ("consul: instances", one(), filled("[", "{}", "]")),
        ("consul: tags", one(), filled("[{\"Service\": {\"Tags\": [", "\"\"", "]}}]")),
        ("consul: metadata", one(), filled("[{\"Node\": {\"Meta\": {", "\"a\":\"\"", "}}}]")),
        ("consul: tags of a service", filled("{\"web\": [", "\"\"", "]}"), "[]".to_owned()),
    ] {
        let (_endpoint, source) = consul(services, instances);
        // The same key again is one: nothing of it is kept, and it is counted all the same.
        check(what, &source, "", &[], End::Says(too_many));
    }
    for (what, containers) in [
        ("docker: containers", filled("[", "{}", "]")),
        ("docker: ports", filled("[{\"Names\": [\"a\"], \"Ports\": [", "{}", "]}]")),
        ("docker: labels", filled("[{\"Names\": [\"a\"], \"Labels\": {", "\"a\":\"\"", "}}]")),
    ] {
        let endpoint = Endpoint::plain(move |request| match request.head.split(' ').nth(1) {
            Some(path) if path.contains("/containers/") => reply(200, "", &containers),
            _ => reply(200, "", "[]"),
        });
        let host = endpoint.at("127.0.0.1");
        let source = format!("docker_sd_configs: [{{host: 'tcp://{host}', refresh_interval: 1h}}]");
        check(what, &source, "", &[], End::Says(too_many));
    }
    for (what, pods) in [
        ("kubelet: pods", filled("{\"kind\": \"PodList\", \"items\": [", "{}", "]}")),
        (
            "kubelet: ports",
            filled(
                "{\"kind\": \"PodList\", \"items\": [{\"spec\": {\"containers\": [{\"ports\": [",
                "{}",
                "]}]}}]}",
            ),
        ),
    ] {
        let endpoint = Endpoint::plain(move |_| reply(200, JSON, &pods));
        let source = format!(
            "kubelet_sd_configs: [{{url: 'http://{}', refresh_interval: 1h}}]",
            endpoint.at("127.0.0.1")
        );
        check(what, &source, "", &[], End::Says(too_many));
    }
    // Pages without an end, each good by itself.
    let pods: Vec<String> = (0..500)
        .map(|n| {
            format!(
                "{{\"metadata\": {{\"name\": \"PAGE-{n}\"}}, \"spec\": {{\"containers\": [{{\"name\": \"c\"}}]}}, \
                 \"status\": {{\"podIP\": \"10.0.0.1\"}}}}"
            )
        })
        .collect();
    let pods = pods.join(",");
    let endpoint = Endpoint::plain(move |request| {
        let last = request.head.split("continue=").nth(1).and_then(|it| it.split(' ').next());
        let page = last.and_then(|it| it.parse().ok()).unwrap_or(0) + 1;
        let items = pods.replace("PAGE", &page.to_string());
        let metadata = format!("{{\"resourceVersion\": \"1\", \"continue\": \"{page}\"}}");
        reply(
            200,
            JSON,
            &format!("{{\"kind\": \"PodList\", \"metadata\": {metadata}, \"items\": [{items}]}}"),
        )
    });
    let api = endpoint.at("127.0.0.1");
    let source =
        format!("kubernetes_sd_configs: [{{role: pod, own_node: false, api_server: 'http://{api}'}}]");
    check("kubernetes: pages", &source, "", &[], End::Says("the most of one source"));
}
