//! `consul_sd_configs`: instances of services that a Consul server or agent knows (Prometheus'
//! `discovery/consul/consul.go`).
//!
//! Runs on the thread `sd-consul-<n>`. Prometheus keeps a request open for each service and answers a change after the
//! refresh interval at the latest; asking once in that time is as fast and keeps nothing open. A service that cannot
//! be asked for keeps the instances it had.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::discovery::Provenance;
use crate::config::discovery::consul::ConsulSdConfig;
use crate::config::text::yaml::MAX_TEXT_BYTES;
use crate::discovery::complaints::Complaint;
use crate::discovery::lists::allowance::{ANSWER_BYTES, List, Map, list, map, within};
use crate::discovery::lists::json_mistake::json_mistake;
use crate::discovery::lists::tally::{Fate, Tally, Wanted};
use crate::discovery::lists::target_labels::{host_port, sanitized};
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::refresh::Source;
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use crate::http::address::escape::{escape, escape_query};
use crate::http::address::url::Url;
use crate::http::{Canceller, Headers, HttpClient, Question, USER_AGENT};
use scraped_engine::labels::Labels;
use scraped_engine::threads::stop::StopToken;

/// One request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Checks that say that a node or a service is under maintenance (Consul's `api/health.go`).
const NODE_MAINTENANCE: &str = "_node_maintenance";
const SERVICE_MAINTENANCE_PREFIX: &str = "_service_maintenance:";

/// One entry of `consul_sd_configs`.
#[derive(Debug)]
pub(in crate::discovery) struct ConsulSource {
    config: Box<ConsulSdConfig>,
    wanted: Wanted,
    shown_server: String,
    /// `None`: `server` cannot be asked.
    client: Result<HttpClient, String>,
    /// Empty until it is known.
    datacenter: String,
    /// Service → its instances.
    groups: BTreeMap<String, TargetGroup>,
    /// Of services that could not be asked for last, while others have targets.
    complaints: BTreeMap<String, Complaint>,
    metrics: Arc<DiscoveryMetrics>,
}

/// Consul leaves empty lists and maps out, or has `null` for them.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Instance {
    node: Node,
    service: Service,
    #[serde(deserialize_with = "list")]
    checks: Vec<Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    node: String,
    address: String,
    #[serde(deserialize_with = "map")]
    meta: BTreeMap<String, String>,
    #[serde(deserialize_with = "map")]
    tagged_addresses: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    #[serde(deserialize_with = "list")]
    tags: Vec<String>,
    address: String,
    #[serde(deserialize_with = "map")]
    meta: BTreeMap<String, String>,
    port: u16,
    namespace: String,
    partition: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    #[serde(rename = "CheckID")]
    check_id: String,
    status: String,
}

#[derive(Debug, Deserialize)]
struct AgentSelf {
    #[serde(rename = "Config")]
    config: AgentConfig,
}

#[derive(Debug, Deserialize)]
struct AgentConfig {
    #[serde(rename = "Datacenter")]
    datacenter: String,
}

impl ConsulSource {
    /// A source that has not asked yet.
    pub(in crate::discovery) fn new(
        config: Box<ConsulSdConfig>,
        wanted: Wanted,
        metrics: Arc<DiscoveryMetrics>,
    ) -> Self {
        let token = config.token.as_ref();
        let private = token.map(|token| ("X-Consul-Token".into(), token.clone())).into_iter().collect();
        let headers = Headers { fixed: &[USER_AGENT], others: Vec::new(), private };
        let url = Url::parse(&format!("{}://{}", config.scheme, config.server.full.expose()));
        let shown_server = format!("{}://{}", config.scheme, config.server.shown);
        let client = url.map(|url| HttpClient::new(url, headers, &config.client));
        let datacenter = config.datacenter.clone();
        Self {
            config,
            wanted,
            shown_server,
            client,
            datacenter,
            groups: BTreeMap::new(),
            complaints: BTreeMap::new(),
            metrics,
        }
    }

    /// The answer to a question, with the parameters that all have.
    fn ask<T: DeserializeOwned>(&mut self, path: &str, parameters: &[(&str, &str)]) -> Result<T, String> {
        let Self { config, shown_server, client, .. } = self;
        let mut question = format!("{}{path}?", config.path_prefix);
        let own = [("dc", &config.datacenter), ("ns", &config.namespace), ("partition", &config.partition)];
        let own = own
            .into_iter()
            .map(|(name, value)| (name, value.as_str()))
            .filter(|(_, value)| !value.is_empty());
        for (name, value) in own.chain(parameters.iter().copied()) {
            escape_query(&mut question, name);
            question.push('=');
            escape_query(&mut question, value);
            question.push('&');
        }
        question.pop();
        let client = client.as_mut().map_err(|sentence| sentence.clone())?;
        let question =
            Question { path_and_query: Some(&question), headers: &[], limit_bytes: MAX_TEXT_BYTES };
        let answer = client.fetch(&question, Instant::now() + TIMEOUT).map_err(|error| error.to_string())?;
        if answer.status() != 200 {
            let body = String::from_utf8_lossy(&answer.body);
            let line = body.lines().next().unwrap_or_default();
            return Err(format!(
                "{shown_server}{path}: Unexpected response code: {} ({line})",
                answer.status()
            ));
        }
        within(ANSWER_BYTES, || serde_json::from_slice(&answer.body))
            .map_err(|error| format!("{shown_server}{path}: {}", json_mistake(&error)))
    }

    /// The same, counted.
    fn call<T: DeserializeOwned>(
        &mut self,
        labels: [&str; 2],
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, String> {
        let began_at = Instant::now();
        let answer = self.ask(path, parameters);
        self.metrics.consul_rpc_seconds.with(&labels).observe_duration(began_at.elapsed());
        if answer.is_err() {
            self.metrics.consul_rpc_failures.inc();
        }
        answer
    }

    /// Parameters of the catalogue and of health.
    fn selection<'a>(
        config: &'a ConsulSdConfig,
        node_meta: &'a [String],
        filter: &'a str,
    ) -> Vec<(&'a str, &'a str)> {
        let mut parameters = Vec::new();
        if config.allow_stale {
            parameters.push(("stale", ""));
        }
        parameters.extend(node_meta.iter().map(|pair| ("node-meta", pair.as_str())));
        if !filter.is_empty() {
            parameters.push(("filter", filter));
        }
        parameters
    }

    /// Names of the services to look at.
    fn services(&mut self, node_meta: &[String]) -> Result<Vec<String>, String> {
        let config = self.config.clone();
        if !config.services.is_empty() && config.tags.is_empty() && config.filter.is_empty() {
            return Ok(config.services);
        }
        let parameters = Self::selection(&config, node_meta, &config.filter);
        let Map(catalogue): Map<List<String>> =
            self.call(["catalog", "services"], "/v1/catalog/services", &parameters)?;
        let is_wanted = |name: &String, tags: &Vec<String>| {
            (config.services.is_empty() || config.services.contains(name))
                && config.tags.iter().all(|tag| tags.contains(tag))
        };
        let services = catalogue.into_iter().map(|(name, List(tags))| (name, tags));
        Ok(services.filter(|(name, tags)| is_wanted(name, tags)).map(|(name, _)| name).collect())
    }

    fn service_group(
        &mut self,
        name: &str,
        node_meta: &[String],
        tally: &mut Tally,
    ) -> Result<TargetGroup, String> {
        let config = self.config.clone();
        let mut parameters = Self::selection(&config, node_meta, &config.health_filter);
        parameters.extend(config.tags.iter().map(|tag| ("tag", tag.as_str())));
        let mut path = "/v1/health/service/".to_owned();
        // Its slashes too, as Consul's own client for Go sends it.
        escape(&mut path, name.as_bytes(), |byte| b"/$&+,;=:@".contains(&byte));
        let List(instances): List<Instance> = self.call(["health", "service"], &path, &parameters)?;
        let mut targets = Vec::new();
        for instance in &instances {
            let labels = target(instance, &config.tag_separator);
            if tally.made(&labels)? == Fate::Kept {
                targets.push(labels);
            }
        }
        let labels = [("__meta_consul_service", name), ("__meta_consul_dc", &self.datacenter)];
        let (provenance, source) = (Provenance::Network, name.to_owned());
        let group = TargetGroup { provenance, source, targets, labels: Labels::from_pairs(labels) };
        tally.group(&group).map(|()| group)
    }
}

impl Source for ConsulSource {
    fn kind(&self) -> &'static str {
        "consul"
    }

    fn canceller(&self) -> Option<Canceller> {
        self.client.as_ref().ok().map(HttpClient::canceller)
    }

    fn refresh(&mut self, stop: &StopToken) -> Result<Vec<TargetGroup>, String> {
        if self.datacenter.is_empty() {
            let agent: AgentSelf = self.call(["agent", "self"], "/v1/agent/self", &[])?;
            self.datacenter = agent.config.datacenter;
        }
        let node_meta: Vec<String> =
            self.config.node_meta.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        let services = self.services(&node_meta)?;
        self.groups.retain(|name, _| services.contains(name));
        self.complaints.retain(|name, _| services.contains(name));
        let mut failures = Vec::new();
        let mut tally = Tally::new(Provenance::Network, self.wanted);
        for name in &services {
            if stop.is_stopped() {
                break;
            }
            let before = tally.clone();
            match self.service_group(name, &node_meta, &mut tally) {
                Ok(group) => {
                    self.groups.insert(name.clone(), group);
                    self.complaints.remove(name);
                }
                Err(sentence) => {
                    // What it had stays and counts instead.
                    tally = before;
                    if let Some(group) = self.groups.get_mut(name) {
                        tally.whole(group)?;
                    }
                    failures.push((name, sentence));
                }
            }
        }
        if self.groups.is_empty()
            && let Some((_, sentence)) = failures.pop()
        {
            return Err(sentence);
        }
        for (name, sentence) in failures {
            let source = || format!("consul_sd: service {name}");
            let before = self.complaints.get(name);
            if let Some(new) = self.metrics.complaints.raise(before, source, &sentence) {
                log::warn!("discovery: consul: service {name:?}: {sentence}; its targets stay as they are");
                self.complaints.insert(name.clone(), new);
            }
        }
        Ok(self.groups.values().cloned().collect())
    }
}

fn target(instance: &Instance, tag_separator: &str) -> Labels {
    let Instance { node, service, checks } = instance;
    let tags = service.tags.join(tag_separator);
    let host = if service.address.is_empty() { &node.address } else { &service.address };
    let fixed = [
        (ADDRESS_LABEL, host_port(host, service.port)),
        ("__meta_consul_address", node.address.clone()),
        ("__meta_consul_node", node.node.clone()),
        ("__meta_consul_namespace", service.namespace.clone()),
        ("__meta_consul_partition", service.partition.clone()),
        // Surrounded, so that rules need not care where a tag stands.
        ("__meta_consul_tags", format!("{tag_separator}{tags}{tag_separator}")),
        ("__meta_consul_service_address", service.address.clone()),
        ("__meta_consul_service_port", service.port.to_string()),
        ("__meta_consul_service_id", service.id.clone()),
        ("__meta_consul_health", health(checks).to_owned()),
    ];
    let prefixed = [
        ("__meta_consul_metadata_", &node.meta),
        ("__meta_consul_service_metadata_", &service.meta),
        ("__meta_consul_tagged_address_", &node.tagged_addresses),
    ];
    let prefixed = prefixed.into_iter().flat_map(|(prefix, map)| {
        let label =
            move |(key, value): (&String, &String)| (format!("{prefix}{}", sanitized(key)), value.clone());
        map.iter().map(label)
    });
    let labels = fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(prefixed);
    Labels::from_pairs(labels.filter(|(_, value)| !value.is_empty()))
}

/// Consul's `HealthChecks.AggregatedStatus`: the worst of all.
fn health(checks: &[Check]) -> &'static str {
    const BY_RANK: [&str; 4] = ["passing", "warning", "critical", "maintenance"];
    let mut worst = 0;
    for check in checks {
        let id = &check.check_id;
        let status = match id == NODE_MAINTENANCE || id.starts_with(SERVICE_MAINTENANCE_PREFIX) {
            true => "maintenance",
            false => check.status.as_str(),
        };
        match BY_RANK.iter().position(|it| *it == status) {
            Some(rank) => worst = worst.max(rank),
            None => return "",
        }
    }
    BY_RANK[worst]
}
