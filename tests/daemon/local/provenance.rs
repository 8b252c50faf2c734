//! Sources on the network that name files, commands and sockets of this machine by every trick in
//! `tests/data/discovery/hostile`, with the real binary: none is opened, run or connected to, and good targets beside
//! them are scraped. What a relabel rule of the operator names is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use simple_dns::rdata::{A, MX, NS, RData, SRV};
use simple_dns::{Name, RCODE, TYPE};
use support::api::{active, metric};
use support::command::values;
use support::discovery::kubernetes::{ApiServer, own_node};
use support::discovery::mdns::{Neighbour, Responder, link};
use support::discovery::name_server::Act;
use support::scraped::Scraped;
use support::system::own_network::{Files, runs_elsewhere};
use support::tls::endpoint::{Endpoint, Reply, redirect, reply};
use support::wait_until;
use tempfile::TempDir;

const HEAD: &str = "global: {scrape_interval: 300ms, scrape_timeout: 300ms}\nscrape_configs:\n";

const EXEC: &str = "--enable-feature=exec-targets";

const JSON: &str = "Content-Type: application/json\r\n";

/// Rules that carry the network's text to the labels that matter, every way there is.
const LAUNDRY: &str = "  relabel_configs:
  - {action: labelmap, regex: 'map_(.+)', replacement: '__${1}__'}
  - {action: labelmap, regex: '__meta_.+(?:label|metadata|txt|address)_(__.+__)'}
  - {action: labelmap, regex: '__meta_.+_(address|socket)', replacement: '__unix_${1}__'}
  - {source_labels: [__socket__], regex: '(.+)', target_label: __unix_socket__}
  - {source_labels: [__meta_name, __meta_word], regex: '(.+);(.+)', target_label: '$1', replacement: '$2'}
  - {source_labels: [__meta_word], regex: '([a-z]+:.+)', target_label: __address__, replacement: '$1'}
  - {source_labels: [__meta_kubernetes_pod_annotation_word], regex: '(.+)', target_label: __address__}
  - {source_labels: [__meta_docker_container_label_word], regex: '(exec):(.+)', target_label: __address__, replacement: '${1}:${2}'}
  - {source_labels: [__meta_consul_metadata_word], regex: '(.+):(.+)', target_label: __address__, replacement: '$1:$2'}
  - {source_labels: [__meta_mdns_txt_word], regex: '(.*)', target_label: __tmp}
  - {source_labels: [__tmp], regex: '(.+)', target_label: __address__}
  - {source_labels: [__address__], target_label: __address__, action: lowercase}
";

/// What must not be touched, in a directory.
struct Canaries {
    dir: Arc<TempDir>,
    n_connections: Arc<AtomicUsize>,
}

impl Canaries {
    fn new() -> Self {
        let dir = Arc::new(TempDir::with_prefix("scraped-test-").expect("a directory"));
        fs::write(dir.path().join("secret.prom"), "canary_file 1\n").expect("writable");
        let script = dir.path().join("canary.sh");
        fs::write(&script, "#!/bin/sh\ntouch \"${0%/*}/ran\"\necho canary_command 1\n").expect("writable");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
        let listener = UnixListener::bind(dir.path().join("canary.sock")).expect("a socket");
        let n_connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_connections);
        let accepting = move || {
            listener.incoming().for_each(|_| {
                counted.fetch_add(1, Ordering::SeqCst);
            })
        };
        thread::Builder::new().name("canary".to_owned()).spawn(accepting).expect("a thread");
        Self { dir, n_connections }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file of the fixtures about these canaries.
    fn data(&self, name: &str, good: &str) -> String {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/discovery/hostile");
        let text = fs::read_to_string(dir.join(name)).expect("a fixture");
        let (host, port) = good.split_once(':').expect("an address");
        let text = text.replace("GOOD_HOST", host).replace("GOOD_PORT", port).replace("GOOD", good);
        text.replace("OWN_NODE", &own_node()).replace("DIR", &self.path().display().to_string())
    }

    fn start(&self, jobs: &str) -> Scraped {
        fs::write(self.path().join("scraped.yml"), format!("{HEAD}{jobs}")).expect("writable");
        Scraped::start_in(Arc::clone(&self.dir), &[EXEC])
    }

    /// Nothing was opened, run or connected to.
    fn check(&self, scraped: &Scraped) {
        let data = scraped.data_dir();
        assert_eq!(self.n_connections.load(Ordering::SeqCst), 0, "the socket");
        assert!(!self.path().join("ran").exists(), "the command");
        assert!(values(&data, "canary_file").is_empty() && values(&data, "canary_command").is_empty());
        let targets = scraped.get("/api/v1/targets?state=active").body;
        let at = self.path().display();
        for kind in
            [format!("Url\":\"file:{at}"), format!("Url\":\"exec:{at}"), "Url\":\"http+unix://%2F".to_owned()]
        {
            assert!(!targets.contains(&kind), "{kind}: {targets}");
        }
    }
}

/// Good targets, and the lists of all sources that speak HTTP.
fn endpoint(canaries: &Canaries) -> Endpoint {
    let endpoint = Endpoint::plain(|_| Reply::Hang);
    let good = endpoint.at("127.0.0.1");
    let files = ["http_sd.json", "consul.json", "docker_containers.json", "pods.json"];
    let [http, consul, docker, pods] = files.map(|name| canaries.data(name, &good));
    let at = canaries.path().display().to_string();
    endpoint.answer(move |request| {
        let target = request.head.split(' ').nth(1).unwrap_or_default();
        match target.split('?').next().unwrap_or_default() {
            "/metrics" => reply(200, "Content-Type: text/plain\r\n", "good 1\n"),
            "/http" => reply(200, JSON, &http),
            "/pods" => reply(200, JSON, &pods),
            "/_ping" => reply(200, "Api-Version: 1.41\r\n", "OK"),
            "/v1.41/networks" => reply(200, "", "[]"),
            "/v1.41/containers/json" => reply(200, "", &docker),
            "/v1/agent/self" => reply(200, "", "{\"Config\": {\"Datacenter\": \"file:/etc/shadow\"}}"),
            "/v1/catalog/services" => reply(200, "", "{\"web\": []}"),
            "/v1/health/service/web" => reply(200, "", &consul),
            "/to/file" => redirect(302, &format!("file://{at}/secret.prom")),
            "/to/exec" => redirect(302, &format!("exec:{at}/canary.sh")),
            "/to/socket" => redirect(302, &format!("http+unix://{}/x", at.replace('/', "%2F"))),
            "/to/path" => redirect(302, &format!("unix:{at}/canary.sock")),
            _ => reply(404, "", ""),
        }
    });
    endpoint
}

fn wait_for_good(scraped: &Scraped, job: &str) {
    let selector = format!("good{{job='{job}'}}");
    wait_until(&selector, || values(&scraped.data_dir(), &selector).len() > 2);
}

#[test]
fn no_source_on_the_network_names_what_is_inside() {
    let canaries = Canaries::new();
    let endpoint = endpoint(&canaries);
    let good = endpoint.at("127.0.0.1");
    let pods: Value = serde_json::from_str(&canaries.data("pods.json", &good)).expect("JSON");
    let api_server = ApiServer::start(&[("pods", pods["items"].as_array().expect("items").clone())]);
    let api = api_server.endpoint.at("127.0.0.1");
    let sources = [
        ("http", format!("http_sd_configs: [{{url: 'http://{good}/http', refresh_interval: 1s}}]")),
        ("consul", format!("consul_sd_configs: [{{server: '{good}', refresh_interval: 1s}}]")),
        (
            "docker",
            format!(
                "docker_sd_configs: [{{host: 'tcp://{good}', host_networking_host: '{good}', refresh_interval: 1s}}]"
            ),
        ),
        ("kubelet", format!("kubelet_sd_configs: [{{url: 'http://{good}', refresh_interval: 1s}}]")),
        ("kubernetes", format!("kubernetes_sd_configs: [{{role: pod, api_server: 'http://{api}'}}]")),
    ];
    let mut jobs = String::new();
    for (name, source) in &sources {
        jobs += &format!("- job_name: {name}\n  {source}\n");
        jobs += &format!("- job_name: {name}-laundry\n  {source}\n{LAUNDRY}");
    }
    for to in ["file", "exec", "socket", "path"] {
        jobs += &format!(
            "- job_name: to-{to}\n  metrics_path: /to/{to}\n  static_configs: [{{targets: ['{good}']}}]\n\
             - job_name: list-{to}\n  http_sd_configs: [{{url: 'http://{good}/to/{to}', refresh_interval: 1s}}]\n"
        );
    }
    let scraped = canaries.start(&jobs);
    for (name, _) in &sources {
        wait_for_good(&scraped, name);
        wait_for_good(&scraped, &format!("{name}-laundry"));
    }
    for to in ["file", "exec", "socket", "path"] {
        let is_down = || active(&scraped, &format!("to-{to}")).iter().any(|it| !it.last_error.is_empty());
        wait_until("a redirect is refused", is_down);
        assert!(active(&scraped, &format!("list-{to}")).is_empty());
    }
    for name in ["http", "http-laundry", "kubelet", "kubelet-laundry", "kubernetes", "kubernetes-laundry"] {
        let series = format!("prometheus_target_sync_failed_total{{scrape_job=\"{name}\"}}");
        assert!(metric(&scraped, &series).is_some_and(|n_failed| n_failed >= 2.0), "{series}");
    }
    let sentence = "only a relabel rule whose replacement begins with it as plain text may";
    assert!(scraped.stderr().contains(sentence), "{}", scraped.stderr());
    canaries.check(&scraped);
    // A start without the sources has what they said last, and believes it as little.
    let wait_until_kept = || {
        let n_kept = fs::read_dir(scraped.data_dir().join("discovery")).map_or(0, Iterator::count);
        n_kept >= sources.len()
    };
    wait_until("it is remembered", wait_until_kept);
    endpoint.answer(|request| match request.head.split(' ').nth(1) {
        Some("/metrics") => reply(200, "Content-Type: text/plain\r\n", "good 2\n"),
        _ => reply(503, "", ""),
    });
    assert!(scraped.stop().success());
    let scraped = Scraped::start_in(Arc::clone(&canaries.dir), &[EXEC]);
    let selector = "good{job='http-laundry'}";
    wait_until(selector, || values(&scraped.data_dir(), selector).last().is_some_and(|it| it == "2"));
    canaries.check(&scraped);
    drop(api_server);
}

#[test]
fn no_neighbour_names_what_is_inside() {
    let canaries = Canaries::new();
    let at = canaries.path().display().to_string();
    let texts: Vec<String> = [
        format!("path={at}/secret.prom"),
        format!("__address__=file:{at}/secret.prom"),
        format!("__unix_socket__={at}/canary.sock"),
        format!("word=exec:{at}/canary.sh"),
    ]
    .into();
    let texts: Vec<&'static str> = texts.into_iter().map(|text| &*text.leak()).collect();
    let _link = link();
    let responder = Responder::start(Some(Neighbour {
        service: "_scraped-hostile._tcp",
        instance: "exec:/bin/true",
        host: "evil.local",
        address: [127, 0, 0, 1].into(),
        port: 9,
        texts: texts.leak(),
        ttl: 120,
        is_generous: true,
    }));
    let source = "mdns_sd_configs: [{interfaces: [127.0.0.1], services: [_scraped-hostile._tcp], refresh_interval: 1s}]";
    let jobs = format!("- job_name: m\n  {source}\n- job_name: laundry\n  {source}\n{LAUNDRY}");
    let scraped = canaries.start(&jobs);
    wait_until("the neighbour is asked", || {
        active(&scraped, "m").iter().any(|target| !target.last_error.is_empty())
    });
    let series = "prometheus_target_sync_failed_total{scrape_job=\"laundry\"}";
    wait_until("its other words are refused", || metric(&scraped, series).is_some_and(|it| it >= 1.0));
    canaries.check(&scraped);
    drop(responder);
}

fn probe(dir: &Path, name: &str) -> PathBuf {
    let script = dir.join(name);
    let text = "#!/bin/sh\nfor word in \"$@\"; do echo \"probe_argument{word=\\\"$word\\\"} $#\"; done\n";
    fs::write(&script, text).expect("writable");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("ours");
    script
}

#[test]
fn what_a_rule_says_itself_is_the_operators_word() {
    let canaries = Canaries::new();
    let dir = canaries.path();
    let at = dir.display();
    fs::create_dir_all(dir.join("allowed/deep")).expect("ours");
    for name in ["good", "deep/er"] {
        fs::write(dir.join("allowed").join(format!("{name}.prom")), "allowed 1\n").expect("writable");
    }
    symlink("../secret.prom", dir.join("allowed/link.prom")).expect("ours");
    symlink("good.prom", dir.join("allowed/inside.prom")).expect("ours");
    symlink(dir, dir.join("allowed/up")).expect("ours");
    symlink(dir.join("canary.sock"), dir.join("allowed/link.sock")).expect("ours");
    probe(dir, "probe");
    probe(dir, "probe-evil");
    let served = Endpoint::plain(|_| reply(200, "Content-Type: text/plain\r\n", "by_socket 1\n"));
    served.also_at(&dir.join("allowed/web.sock"));
    let names = [
        "good",
        "deep/er",
        "inside",
        "link",
        "up/secret",
        "../secret",
        "deep/../../secret",
        "/etc/shadow",
        "x y",
        "-option",
        "-evil",
        "web",
        "a\\u0000b",
    ];
    let groups: Vec<String> = names
        .iter()
        .map(|name| format!("{{\"targets\": [\"box\"], \"labels\": {{\"__meta_name\": \"{name}\"}}}}"))
        .collect();
    let list = format!("[{}]", groups.join(", "));
    let lists = Endpoint::plain(move |_| reply(200, JSON, &list));
    let url = format!("http://{}/", lists.at("127.0.0.1"));
    let job = |name: &str, label: &str, replacement: &str| {
        format!(
            "- job_name: {name}\n  http_sd_configs: [{{url: '{url}'}}]\n  relabel_configs:\n  \
             - {{source_labels: [__meta_name], target_label: {label}, replacement: '{replacement}'}}\n  \
             - {{source_labels: [__meta_name], target_label: instance}}\n"
        )
    };
    let jobs = job("file", "__address__", &format!("file:{at}/allowed/$1.prom"))
        + &job("literal", "__address__", &format!("file:{at}/allowed/good.prom"))
        + &job("root", "__address__", "file:/$1")
        + &job("bare", "__address__", "file:$1")
        + &job("exec", "__address__", &format!("exec:{at}/probe --name=x $1"))
        + &job("glued", "__address__", &format!("exec:{at}/probe$1"))
        + &job("socket", "__unix_socket__", &format!("{at}/allowed/$1.sock"));
    let scraped = canaries.start(&jobs);
    let instances = |job: &str, health: &str| {
        let found = active(&scraped, job).into_iter().filter(|it| it.health == health);
        let mut found: Vec<String> = found.map(|it| it.labels["instance"].clone()).collect();
        found.sort();
        found
    };
    let expect = |job: &str, up: &[&str], down: &[&str]| {
        wait_until(job, || instances(job, "up") == up && instances(job, "unknown").is_empty());
        assert_eq!(instances(job, "down"), down, "{job}");
    };
    // What is not there, or behind a link that leads out, is down; what would lead out by its name is no target.
    expect(
        "file",
        &["deep/er", "good", "inside"],
        &["-evil", "-option", "/etc/shadow", "link", "up/secret", "web", "x y"],
    );
    let literal = names.map(|name| name.replace("\\u0000", "\0"));
    let mut literal: Vec<&str> = literal.iter().map(String::as_str).collect();
    literal.sort_unstable();
    expect("literal", &literal, &[]);
    expect("root", &[], &[]);
    // Without a slash behind it, `file` is the name of a host.
    wait_until("bare", || !instances("bare", "down").is_empty() && instances("bare", "up").is_empty());
    assert!(active(&scraped, "bare").iter().all(|target| target.scrape_url.starts_with("http://")));
    expect(
        "exec",
        &[
            "../secret",
            "/etc/shadow",
            "deep/../../secret",
            "deep/er",
            "good",
            "inside",
            "link",
            "up/secret",
            "web",
        ],
        &[],
    );
    expect("glued", &[], &[]);
    wait_until("the socket", || instances("socket", "up") == ["web"]);
    let error = |job: &str, instance: &str| {
        let found = active(&scraped, job).into_iter().find(|it| it.labels["instance"] == instance);
        found.expect("a target").last_error
    };
    let outside = |link: &str, real: &str| {
        format!(
            "{at}/allowed/{link}: leads to {at}/{real}, which is outside of {at}/allowed, which is what the configuration \
             names; --local-targets.dir may allow it"
        )
    };
    assert_eq!(error("file", "link"), outside("link.prom", "secret.prom"));
    assert_eq!(error("file", "up/secret"), outside("up/secret.prom", "secret.prom"));
    assert_eq!(error("socket", "link"), outside("link.sock", "canary.sock"));
    let data = scraped.data_dir();
    let argument = "probe_argument{instance='good',word='good'}";
    wait_until(argument, || values(&data, argument).first().is_some_and(|it| it == "2"));
    assert!(values(&data, "probe_argument{word='-evil'}").is_empty());
    assert!(values(&data, "canary_file").is_empty());
    assert_eq!(canaries.n_connections.load(Ordering::SeqCst), 0);
}

#[test]
fn with_the_flag_everything_local_is_below_its_directories() {
    let canaries = Canaries::new();
    let dir = canaries.path();
    let at = dir.display();
    fs::create_dir_all(dir.join("in")).expect("ours");
    fs::create_dir_all(dir.join("also")).expect("ours");
    fs::write(dir.join("in/a.prom"), "inside 1\n").expect("writable");
    fs::write(dir.join("also/b.prom"), "inside 2\n").expect("writable");
    symlink("../also/b.prom", dir.join("in/b.prom")).expect("ours");
    symlink("../secret.prom", dir.join("in/out.prom")).expect("ours");
    symlink("/bin/echo", dir.join("in/echo")).expect("ours");
    probe(&dir.join("in"), "probe");
    let served = Endpoint::plain(|_| reply(200, "Content-Type: text/plain\r\n", "by_socket 1\n"));
    served.also_at(&dir.join("in/web.sock"));
    fs::write(
        dir.join("list.yml"),
        format!("- targets: ['file:{at}/secret.prom']\n- targets: ['file:{at}/in/a.prom']\n"),
    )
    .expect("writable");
    let jobs = format!(
        "- job_name: in\n  static_configs: [{{targets: ['file:{at}/in/a.prom', 'file:{at}/in/b.prom', 'exec:{at}/in/probe x']}}]\n\
         - job_name: dir\n  static_configs: [{{targets: ['file:{at}/in']}}]\n\
         - job_name: out\n  static_configs: [{{targets: ['file:{at}/secret.prom', 'file:{at}/in/out.prom', \
           'file:{at}/in/../secret.prom', 'file:{at}', 'exec:{at}/canary.sh', 'exec:{at}/in/echo x 1', 'file:/proc/self/environ']}}]\n\
         - job_name: list\n  file_sd_configs: [{{files: ['list.yml']}}]\n\
         - job_name: socket\n  static_configs: [{{targets: [a], labels: {{__unix_socket__: {at}/in/web.sock}}}}, \
           {{targets: [b], labels: {{__unix_socket__: {at}/canary.sock}}}}]\n"
    );
    fs::write(dir.join("scraped.yml"), format!("{HEAD}{jobs}")).expect("writable");
    let flags = [format!("--local-targets.dir={at}/in"), format!("--local-targets.dir={at}/also")];
    let scraped = Scraped::start_in(Arc::clone(&canaries.dir), &[EXEC, &flags[0], &flags[1]]);
    let health =
        |job: &str, health: &str| active(&scraped, job).iter().filter(|it| it.health == health).count();
    for (job, n_up, n_down) in [("in", 3, 0), ("dir", 1, 0), ("out", 0, 7), ("list", 1, 1), ("socket", 1, 1)]
    {
        wait_until(job, || health(job, "up") == n_up && health(job, "down") == n_down);
    }
    for target in active(&scraped, "out") {
        let sentence = format!("outside of the directories of --local-targets.dir ({at}/in, {at}/also)");
        assert!(target.last_error.contains(&sentence), "{}", target.last_error);
    }
    assert!(values(&scraped.data_dir(), "canary_file").is_empty());
    assert!(!dir.join("ran").exists());
    assert_eq!(canaries.n_connections.load(Ordering::SeqCst), 0);
}

/// Files whose content nobody may see, and commands that read them.
#[test]
fn no_content_of_a_file_stands_in_an_error_a_log_or_the_api() {
    const SECRETS: [&str; 8] = [
        "root:*:20228:HUNTER2:99999:7:::\n",
        "password=HUNTER2\n",
        "a{HUNTER2=\"x\" y 1\n",
        "HUNTER2 HUNTER2 HUNTER2\n",
        "# TYPE a HUNTER2\n",
        "a{x=\"HUNTER2\"} 1\na{x=\"HUNTER2\",x=\"y\"} 1\n",
        "HUNTER2{x=\"1\"} 0x_HUNTER2\n",
        "a{l=\"HUNTER2HUNTER2HUNTER2HUNTER2HUNTER2HUNTER2HUNTER2HUNTER2HUNTER2HUNTER2\"} 1\n",
    ];
    let canaries = Canaries::new();
    let dir = canaries.path();
    let at = dir.display();
    fs::create_dir(dir.join("secrets")).expect("ours");
    let mut targets = Vec::new();
    for (idx, secret) in SECRETS.iter().enumerate() {
        fs::write(dir.join(format!("{idx}.secret")), secret).expect("writable");
        fs::write(dir.join(format!("secrets/{idx}.prom")), secret).expect("writable");
        targets.push(format!("'file:{at}/{idx}.secret', 'exec:/bin/cat {at}/{idx}.secret'"));
    }
    targets
        .push(format!("'exec:/bin/sh {at}/0.secret', 'exec:/bin/sh -c .{at}/1.secret', 'file:{at}/secrets'"));
    let targets = targets.join(", ");
    let lists =
        ["yaml: [HUNTER2", "- HUNTER2: x\n", "- targets: [x]\n  labels: {HUNTER2: {}}\n", "HUNTER2\n"];
    let json = [
        "HUNTER2",
        "[\"HUNTER2\"]",
        "[{\"HUNTER2\": 1}]",
        "[{\"targets\": \"HUNTER2\"}]",
        "[{\"targets\": [], \"labels\": {\"HUNTER2\": 7}}]",
        "{\"HUNTER2\": 1}",
    ];
    for (idx, list) in lists.iter().enumerate() {
        fs::write(dir.join(format!("list{idx}.yml")), list).expect("writable");
    }
    for (idx, list) in json.iter().enumerate() {
        fs::write(dir.join(format!("list{idx}.json")), list).expect("writable");
    }
    fs::write(dir.join("token"), "HUNTER2\nHUNTER2").expect("writable");
    fs::write(dir.join("kubeconfig"), "HUNTER2: [\ncurrent-context: HUNTER2").expect("writable");
    let jobs = format!(
        "- job_name: pages\n  label_value_length_limit: 65\n  static_configs: [{{targets: [{targets}]}}]\n\
         - job_name: lists\n  file_sd_configs: [{{files: ['list*.yml', 'list*.json']}}]\n\
         - job_name: command\n  exec_sd_configs: [{{command: [/bin/sh, '{at}/0.secret']}}, {{command: [/bin/cat, '{at}/list1.json']}}]\n\
         - job_name: token\n  authorization: {{credentials_file: token}}\n  static_configs: [{{targets: ['127.0.0.1:1']}}]\n\
         - job_name: kube\n  kubernetes_sd_configs: [{{role: pod, kubeconfig_file: kubeconfig}}]\n"
    );
    let scraped = canaries.start(&jobs);
    let is_asked = |job: &str| active(&scraped, job).iter().all(|it| it.health == "down");
    wait_until("all are asked", || !active(&scraped, "pages").is_empty() && is_asked("pages"));
    wait_until("the token is looked at", || !active(&scraped, "token").is_empty() && is_asked("token"));
    wait_until("the lists are complained of", || scraped.get("/targets").body.contains("list3.yml"));
    wait_until("the command is complained of", || scraped.stderr().contains("exec of job"));
    wait_until("the kubeconfig is complained of", || scraped.stderr().contains("kubernetes of job"));
    for path in
        ["/targets", "/api/v1/targets", "/api/v1/status/config", "/api/v1/targets/metadata", "/metrics"]
    {
        let body = scraped.get(path).body;
        assert!(!body.contains("HUNTER2") && !body.contains("20228"), "{path}: {body}");
    }
    let log = scraped.stderr();
    assert!(!log.contains("HUNTER2") && !log.contains("20228"), "{log}");
    // What is said is enough to find the mistake.
    let errors: Vec<String> = active(&scraped, "pages").into_iter().map(|it| it.last_error).collect();
    for want in [
        "strconv.ParseFloat: invalid syntax (line 1, column 9)",
        "expected equal, got \"INVALID\" (line 1, column 17)",
        "invalid metric type (line 1, column 9)",
        "a label name is not unique in its series: invalid sample",
        "label_value_length_limit exceeded (length: 70, limit: 65)",
    ] {
        assert!(errors.iter().any(|error| error == want), "{want}: {errors:#?}");
    }
}

/// Name servers have port 53 and stand in `/etc/resolv.conf`: the test runs itself once more in a network and file system
/// of its own. Where that cannot be had it says so and tests nothing.
#[test]
fn no_name_server_names_what_is_inside() {
    let files = Files { resolv_conf: "nameserver 127.0.0.1\n", hosts: "127.0.0.1 localhost\n" };
    if runs_elsewhere(module_path!(), "no_name_server_names_what_is_inside", &files) {
        return;
    }
    let canaries = Canaries::new();
    let endpoint = endpoint(&canaries);
    let at = canaries.path().display().to_string();
    let names =
        [format!("file:{at}/secret.prom"), format!("exec:{at}/canary.sh"), format!("{at}/canary.sock")];
    let names: Vec<Name<'static>> =
        names.into_iter().map(|name| Name::new(name.leak()).expect("a name")).collect();
    support::discovery::name_server::server_at(([127, 0, 0, 1], 53).into(), move |asked| {
        let say = |records: Vec<RData<'static>>| Act::Say(RCODE::NoError, records);
        match (asked.name, asked.record_type) {
            ("good.example", TYPE::A) => say(vec![RData::A(A { address: 0x7f00_0001 })]),
            ("evil.example", TYPE::SRV) => {
                let srv = |target: &Name<'static>, port| {
                    RData::SRV(SRV { priority: 1, weight: 1, port, target: target.clone() })
                };
                say(names.iter().flat_map(|name| [srv(name, 0), srv(name, 80)]).collect())
            }
            ("evil.example", TYPE::MX) => say(names
                .iter()
                .map(|name| RData::MX(MX { preference: 1, exchange: name.clone() }))
                .collect()),
            ("evil.example", TYPE::NS) => say(names.iter().map(|name| RData::NS(NS(name.clone()))).collect()),
            _ => Act::Say(RCODE::NameError, Vec::new()),
        }
    });
    let good = endpoint.at("");
    let port = good.trim_start_matches(':');
    let mut jobs = format!(
        "- job_name: good\n  dns_sd_configs: [{{names: [good.example], type: A, port: {port}, refresh_interval: 1s}}]\n"
    );
    for kind in ["SRV", "MX", "NS"] {
        let source = format!(
            "dns_sd_configs: [{{names: [evil.example], type: {kind}, port: 80, refresh_interval: 1s}}]"
        );
        let rule = format!("__meta_dns_{}_record_target", kind.to_lowercase());
        jobs += &format!(
            "- job_name: {kind}\n  {source}\n- job_name: {kind}-laundry\n  {source}\n  relabel_configs:\n  \
             - {{source_labels: [{rule}], regex: '(.+:.+)[.]', target_label: __address__}}\n  \
             - {{source_labels: [{rule}], regex: '(/.+)[.]', target_label: __unix_socket__}}\n"
        );
    }
    let scraped = canaries.start(&jobs);
    wait_for_good(&scraped, "good");
    for job in ["SRV", "MX", "NS", "SRV-laundry", "MX-laundry", "NS-laundry"] {
        let series = format!("prometheus_target_sync_failed_total{{scrape_job=\"{job}\"}}");
        wait_until(&series, || metric(&scraped, &series).is_some_and(|n_failed| n_failed >= 3.0));
    }
    canaries.check(&scraped);
}
