//! Telegraf: what it scrapes by `inputs.prometheus` (and `inputs.http` of that format), and where it sends by remote write.
//! What it measures itself has exporters as its counterpart.

use crate::commands::migrate::draft::Draft;
use crate::commands::migrate::site::{Way, split};
use crate::commands::migrate::tree::{
    as_text, at, entries, get, is_true, items, list, map, plain, push, put, put_at, take, text, text_at,
    texts_of,
};
use crate::commands::migrate::{MigrateError, Source, toml};
use crate::config::text::node::Node;

/// Adds one file.
pub(in crate::commands::migrate) fn add(source: &Source<'_>, draft: &mut Draft) -> Result<(), MigrateError> {
    let root = toml::parse(&source.text).map_err(|cause| source.not_theirs(cause))?;
    if get(&root, "inputs").or(get(&root, "outputs")).or(get(&root, "agent")).is_none() {
        return Err(source.not_theirs("neither inputs, outputs nor agent stand there"));
    }
    for (name, value) in get(&root, "global_tags").into_iter().flat_map(entries) {
        put_at(&mut draft.global, &["external_labels", name], value.clone());
    }
    if let Some(interval) = at(&root, &["agent", "interval"]) {
        put(&mut draft.global, "scrape_interval", interval.clone());
    }
    for (plugin, instances) in get(&root, "inputs").into_iter().flat_map(entries) {
        for input in items(instances) {
            let is_page =
                text_at(input, "data_format").is_some_and(|format| format.starts_with("prometheus"));
            match plugin {
                "prometheus" => add_input(input, draft),
                "http" if is_page => add_input(input, draft),
                _ => draft.remark(format!("inputs.{plugin}: {}", instead_of(plugin))),
            }
        }
    }
    for (plugin, instances) in get(&root, "outputs").into_iter().flat_map(entries) {
        for output in items(instances) {
            let format = text_at(output, "data_format").unwrap_or_default();
            match (plugin, format) {
                ("http", "prometheusremotewrite") | ("prometheus_remote_write", _) => add_output(output, draft),
                ("prometheus_client", _) => draft.remark(
                    "outputs.prometheus_client: the newest samples are at /federate?match[]={__name__!=\"\"} of the web address",
                ),
                _ => draft.remark(format!("outputs.{plugin}: samples go by remote write alone; name an endpoint that takes it")),
            }
        }
    }
    for section in ["processors", "aggregators"] {
        for (plugin, _) in get(&root, section).into_iter().flat_map(entries) {
            draft.remark(format!("{section}.{plugin}: look at relabel_configs and metric_relabel_configs"));
        }
    }
    Ok(())
}

fn instead_of(plugin: &str) -> &'static str {
    match plugin {
        "cpu" | "disk" | "diskio" | "kernel" | "mem" | "net" | "netstat" | "processes" | "swap"
        | "system" | "temp" | "sensors" | "systemd_units" | "conntrack" | "interrupts"
        | "linux_sysctl_fs" => "run node_exporter and scrape 127.0.0.1:9100",
        "docker" => "run cadvisor and scrape it, or the metrics address of docker's daemon",
        "ping" | "http_response" | "net_response" | "dns_query" | "x509_cert" => {
            "run blackbox_exporter and scrape its /probe"
        }
        "snmp" => "run snmp_exporter and scrape its /snmp",
        "exec" | "execd" => "a target exec:/PATH may print a page (--enable-feature=exec-targets)",
        "file" | "tail" => "a target file:/PATH may hold a page",
        _ => "run its exporter and scrape it",
    }
}

/// A job for each way in which its URLs are asked.
fn add_input(input: &Node, draft: &mut Draft) {
    let mut ways: Vec<(Way, Vec<String>)> = Vec::new();
    for url in get(input, "urls").map(texts_of).unwrap_or_default() {
        let (way, address) = split(&url);
        match ways.iter_mut().find(|(known, _)| *known == way) {
            Some((_, addresses)) => addresses.push(address),
            None => ways.push((way, vec![address])),
        }
    }
    let name = text_at(input, "alias").or(text_at(input, "name_override")).unwrap_or("telegraf").to_owned();
    let mut jobs: Vec<Node> = ways.iter().map(|(way, addresses)| way.job(&name, addresses)).collect();
    if is_true(input, "monitor_kubernetes_pods") {
        jobs.push(kubernetes_job(input));
    }
    for service in get(input, "kubernetes_services").map(texts_of).unwrap_or_default() {
        let (way, address) = split(&service);
        draft.remark(format!(
            "kubernetes_services: {service}: its name is scraped as one target; role: endpoints has each"
        ));
        jobs.push(way.job(&name, &[address]));
    }
    if is_true(get(input, "consul").unwrap_or(&map([])), "enabled") {
        let agent = at(input, &["consul", "agent"]).and_then(as_text).unwrap_or("http://localhost:8500");
        let server = agent.split_once("://").map_or(agent, |(_, server)| server);
        let mut job = map([("job_name", text(&name))]);
        put(&mut job, "consul_sd_configs", list([map([("server", text(server))])]));
        draft.remark(
            "inputs.prometheus.consul: all services are scraped; services and relabel_configs choose",
        );
        jobs.push(job);
    }
    for mut job in jobs {
        add_settings(input, &mut job);
        let labels = get(input, "tags");
        if let Some(labels) = labels {
            for (label, value) in entries(labels) {
                let rule = map([("target_label", text(label)), ("replacement", value.clone())]);
                push(&mut job, "relabel_configs", rule);
            }
        }
        draft.add_job(job);
    }
    for (key, sentence) in [
        ("namepass", "use metric_relabel_configs with action: keep on __name__"),
        ("namedrop", "use metric_relabel_configs with action: drop on __name__"),
        ("fieldpass", "use metric_relabel_configs with action: keep on __name__"),
        ("fielddrop", "use metric_relabel_configs with action: drop on __name__"),
        ("tagexclude", "use metric_relabel_configs with action: labeldrop"),
        ("taginclude", "use metric_relabel_configs with action: labelkeep"),
        ("kubernetes_label_selector", "use selectors of kubernetes_sd_configs"),
        ("kubernetes_field_selector", "use selectors of kubernetes_sd_configs"),
    ] {
        if get(input, key).is_some() {
            draft.remark(format!("inputs.prometheus.{key}: {sentence}"));
        }
    }
}

/// As Telegraf finds pods: those whose annotation says so.
fn kubernetes_job(input: &Node) -> Node {
    let mut source = map([("role", text("pod"))]);
    if let Some(namespace) = text_at(input, "monitor_kubernetes_pods_namespace").filter(|it| !it.is_empty()) {
        put(&mut source, "namespaces", map([("names", list([text(namespace)]))]));
    }
    if text_at(input, "pod_scrape_scope") != Some("node") {
        put(&mut source, "own_node", plain("false"));
    }
    let annotated =
        |name: &str| list([text(format!("__meta_kubernetes_pod_annotation_prometheus_io_{name}"))]);
    let path = map([
        ("source_labels", annotated("path")),
        ("regex", text("(.+)")),
        ("target_label", text("__metrics_path__")),
    ]);
    let address = map([
        (
            "source_labels",
            list([
                text("__meta_kubernetes_pod_ip"),
                text("__meta_kubernetes_pod_annotation_prometheus_io_port"),
            ]),
        ),
        ("separator", text(":")),
        ("regex", text("(.+:.+)")),
        ("target_label", text("__address__")),
    ]);
    let keep =
        map([("source_labels", annotated("scrape")), ("regex", text("true")), ("action", text("keep"))]);
    map([
        ("job_name", text("telegraf-pods")),
        ("kubernetes_sd_configs", list([source])),
        ("relabel_configs", list([keep, path, address])),
    ])
}

/// Whose key it is there → where it stands here.
const SETTINGS: [(&str, &[&str]); 13] = [
    ("interval", &["scrape_interval"]),
    ("timeout", &["scrape_timeout"]),
    ("response_timeout", &["scrape_timeout"]),
    ("http_timeout", &["scrape_timeout"]),
    ("username", &["basic_auth", "username"]),
    ("password", &["basic_auth", "password"]),
    ("bearer_token", &["authorization", "credentials_file"]),
    ("bearer_token_string", &["authorization", "credentials"]),
    ("tls_ca", &["tls_config", "ca_file"]),
    ("tls_cert", &["tls_config", "cert_file"]),
    ("tls_key", &["tls_config", "key_file"]),
    ("tls_server_name", &["tls_config", "server_name"]),
    ("insecure_skip_verify", &["tls_config", "insecure_skip_verify"]),
];

fn add_settings(plugin: &Node, entry: &mut Node) {
    for (key, place) in SETTINGS {
        if let Some(value) = get(plugin, key).filter(|value| as_text(value) != Some("")) {
            put_at(entry, place, value.clone());
        }
    }
}

fn add_output(output: &Node, draft: &mut Draft) {
    let mut endpoint = map([("url", text(text_at(output, "url").unwrap_or_default()))]);
    if let Some(timeout) = get(output, "timeout") {
        put(&mut endpoint, "remote_timeout", timeout.clone());
    }
    let mut settings = output.clone();
    ["timeout", "interval"].iter().for_each(|key| drop(take(&mut settings, key)));
    add_settings(&settings, &mut endpoint);
    // Remote write says these itself.
    let fixed = ["content-type", "content-encoding", "x-prometheus-remote-write-version", "user-agent"];
    for (name, value) in get(output, "headers").into_iter().flat_map(entries) {
        match name.to_ascii_lowercase().as_str() {
            "authorization" => {
                let (kind, credentials) =
                    as_text(value).unwrap_or_default().split_once(' ').unwrap_or_default();
                put_at(&mut endpoint, &["authorization", "type"], text(kind));
                put_at(&mut endpoint, &["authorization", "credentials"], text(credentials));
            }
            lower if fixed.contains(&lower) => {}
            _ => put_at(&mut endpoint, &["headers", name], value.clone()),
        }
    }
    draft.add_endpoint(endpoint);
}
