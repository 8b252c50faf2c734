//! `docker_sd_configs`: containers of a Docker engine, or of Podman by its compatible API (Prometheus'
//! `discovery/moby/{docker,network}.go`).
//!
//! Runs on the thread `sd-docker-<n>`. The engine is asked which version of its API it speaks, then for its running
//! containers and for its networks.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::config::discovery::Provenance;
use crate::config::discovery::docker::DockerSdConfig;
use crate::config::text::yaml::MAX_TEXT_BYTES;
use crate::discovery::lists::allowance::{ANSWER_BYTES, List, list, map, within};
use crate::discovery::lists::json_mistake::json_mistake;
use crate::discovery::lists::nullable::or_default;
use crate::discovery::lists::tally::{Fate, Tally, Wanted};
use crate::discovery::lists::target_labels::{host_port, sanitized};
use crate::discovery::refresh::Source;
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use crate::http::address::escape::escape_query;
use crate::http::address::url::Url;
use crate::http::wire::response::Answer;
use crate::http::{Canceller, Headers, HttpClient, Question, USER_AGENT};
use scraped_engine::labels::Labels;
use scraped_engine::threads::stop::StopToken;

/// The newest version of the API that this was written for.
const NEWEST_API: ApiVersion = ApiVersion(1, 44);

/// What an engine speaks that does not say (Docker 1.12).
const OLDEST_API: ApiVersion = ApiVersion(1, 24);

/// Network mode of a container that uses another one's network.
const CONTAINER_MODE: &str = "container:";

/// One entry of `docker_sd_configs`.
#[derive(Debug)]
pub(in crate::discovery) struct DockerSource {
    config: DockerSdConfig,
    wanted: Wanted,
    /// `?filters=`, or empty.
    query: String,
    /// `None`: `host` cannot be reached.
    client: Result<HttpClient, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ApiVersion(u32, u32);

impl ApiVersion {
    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    #[serde(deserialize_with = "or_default")]
    id: String,
    #[serde(deserialize_with = "list")]
    names: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    image: String,
    #[serde(rename = "ImageID", deserialize_with = "or_default")]
    image_id: String,
    #[serde(deserialize_with = "list")]
    ports: Vec<Port>,
    #[serde(deserialize_with = "map")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    host_config: HostConfig,
    #[serde(deserialize_with = "or_default")]
    network_settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    #[serde(rename = "IP", deserialize_with = "or_default")]
    ip: String,
    private_port: u16,
    public_port: u16,
    #[serde(deserialize_with = "or_default")]
    r#type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    #[serde(deserialize_with = "or_default")]
    network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "map")]
    networks: BTreeMap<String, Option<Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Endpoint {
    #[serde(rename = "NetworkID", deserialize_with = "or_default")]
    network_id: String,
    #[serde(rename = "IPAddress", deserialize_with = "or_default")]
    ip_address: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "or_default")]
    global_ipv6_address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    #[serde(deserialize_with = "or_default")]
    id: String,
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    scope: String,
    internal: bool,
    ingress: bool,
    #[serde(deserialize_with = "map")]
    labels: BTreeMap<String, String>,
}

/// What an engine says when it does not answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Complaint {
    #[serde(deserialize_with = "or_default")]
    message: String,
}

impl DockerSource {
    /// A source that has not asked yet.
    pub(in crate::discovery) fn new(config: DockerSdConfig, wanted: Wanted) -> Self {
        let mut filters: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
        for (name, values) in &config.filters {
            filters.entry(name).or_default().extend(values.iter().map(|value| (value.as_str(), true)));
        }
        let mut query = String::new();
        if !filters.is_empty() {
            query.push_str("?filters=");
            escape_query(&mut query, &serde_json::to_string(&filters).unwrap_or_default());
        }
        let headers = Headers { fixed: &[USER_AGENT], ..Headers::default() };
        let client = match config.host.full.expose().split_once("://") {
            Some(("unix", path)) => Url::parse("http://localhost")
                .map(|url| HttpClient::over_unix_socket(PathBuf::from(path), url, headers, &config.client)),
            Some(("tcp", rest)) => {
                Url::parse(&format!("http://{rest}")).map(|url| HttpClient::new(url, headers, &config.client))
            }
            _ => {
                Url::parse(config.host.full.expose()).map(|url| HttpClient::new(url, headers, &config.client))
            }
        };
        Self { config, wanted, query, client }
    }

    fn ask(&mut self, path: &str, deadline: Instant) -> Result<Answer, String> {
        let host = &self.config.host.shown;
        let client = self.client.as_mut().map_err(|sentence| sentence.clone())?;
        let question = Question { path_and_query: Some(path), headers: &[], limit_bytes: MAX_TEXT_BYTES };
        client.fetch(&question, deadline).map_err(|error| format!("{host}: {error}"))
    }

    /// The version that both sides speak; where that cannot be asked for (some proxies let no `/_ping` through), ours.
    fn version(&mut self, deadline: Instant) -> Result<ApiVersion, String> {
        let answer = self.ask("/_ping", deadline)?;
        let fallback = if answer.status() == 200 { OLDEST_API } else { NEWEST_API };
        let version = answer.header("Api-Version").and_then(ApiVersion::parse);
        Ok(version.unwrap_or(fallback).min(NEWEST_API))
    }

    fn list<T: DeserializeOwned>(&mut self, path: &str, deadline: Instant) -> Result<Vec<T>, String> {
        let answer = self.ask(path, deadline)?;
        let host = &self.config.host.shown;
        if answer.status() != 200 {
            let complaint = serde_json::from_slice::<Complaint>(&answer.body).unwrap_or_default();
            let message = complaint.message.lines().next().unwrap_or_default();
            return Err(format!("{host}: {path} answers {} {} {message}", answer.status(), answer.reason()));
        }
        within(ANSWER_BYTES, || serde_json::from_slice::<List<T>>(&answer.body))
            .map(|list| list.0)
            .map_err(|error| format!("{host}: {path}: {}", json_mistake(&error)))
    }
}

impl Source for DockerSource {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn canceller(&self) -> Option<Canceller> {
        self.client.as_ref().ok().map(HttpClient::canceller)
    }

    fn refresh(&mut self, _: &StopToken) -> Result<Vec<TargetGroup>, String> {
        let deadline = Instant::now() + self.config.refresh_interval.max(Duration::from_secs(1));
        let ApiVersion(major, minor) = self.version(deadline)?;
        let containers = self
            .list(&format!("/v{major}.{minor}/containers/json{}", self.query), deadline)
            .map_err(|sentence| format!("error while listing containers: {sentence}"))?;
        let networks = self
            .list(&format!("/v{major}.{minor}/networks"), deadline)
            .map_err(|sentence| format!("error while computing network labels: {sentence}"))?;
        let tally = Tally::new(Provenance::Network, self.wanted);
        let group = group(&self.config, &containers, &networks, tally);
        group.map(|group| vec![group]).map_err(|sentence| format!("{}: {sentence}", self.config.host.shown))
    }
}

/// The containers as targets, one for each network and each TCP port.
fn group(
    config: &DockerSdConfig,
    containers: &[Container],
    networks: &[Network],
    mut tally: Tally,
) -> Result<TargetGroup, String> {
    let network_labels: BTreeMap<&str, Vec<(String, String)>> =
        networks.iter().map(|network| (network.id.as_str(), labels_of_network(network))).collect();
    let by_id: BTreeMap<&str, &Container> = containers.iter().map(|it| (it.id.as_str(), it)).collect();
    let mut targets = Vec::new();
    for container in containers {
        let Some(name) = container.names.first() else { continue };
        let common = labels_of_container(container, name);
        for endpoint in endpoints(config, container, &by_id) {
            let address = [&endpoint.ip_address, &endpoint.global_ipv6_address]
                .into_iter()
                .find_map(|text| text.parse::<IpAddr>().ok())
                .map(|address| address.to_string())
                .unwrap_or_default();
            let of_network =
                network_labels.get(endpoint.network_id.as_str()).map(Vec::as_slice).unwrap_or_default();
            let mut push = |target_address: String, of_port: Vec<(String, String)>| {
                let own = [
                    (ADDRESS_LABEL.to_owned(), target_address),
                    ("__meta_docker_network_ip".to_owned(), address.clone()),
                ];
                let labels = common.iter().chain(of_network).cloned().chain(own).chain(of_port);
                let labels = Labels::from_pairs(labels.filter(|(_, value)| !value.is_empty()));
                if tally.made(&labels)? == Fate::Kept {
                    targets.push(labels);
                }
                Ok::<(), String>(())
            };
            let mut ports = container.ports.iter().filter(|port| port.r#type == "tcp").peekable();
            if ports.peek().is_none() {
                let is_host_network = container.host_config.network_mode == "host";
                push(
                    if is_host_network {
                        config.host_networking_host.clone()
                    } else {
                        host_port(&address, config.port)
                    },
                    Vec::new(),
                )?;
            }
            for port in ports {
                push(host_port(&address, port.private_port), labels_of_port(port))?;
            }
        }
    }
    let (provenance, source) = (Provenance::Network, "Docker".to_owned());
    Ok(TargetGroup { provenance, source, targets, labels: Labels::default() })
}

/// The networks that a container is reached in.
fn endpoints<'a>(
    config: &DockerSdConfig,
    container: &'a Container,
    by_id: &BTreeMap<&str, &'a Container>,
) -> Vec<&'a Endpoint> {
    let mut owner = container;
    // Containers may share a network in a chain, and a chain may be a circle.
    for _ in 0..by_id.len() {
        let Some(next) = owner.host_config.network_mode.strip_prefix(CONTAINER_MODE) else { break };
        match by_id.get(next) {
            Some(next) if owner.network_settings.networks.is_empty() => owner = next,
            _ => break,
        }
    }
    let mut endpoints: Vec<&Endpoint> = owner.network_settings.networks.values().flatten().collect();
    if config.match_first_network {
        endpoints.truncate(1);
    }
    endpoints
}

fn labels_of_container(container: &Container, name: &str) -> Vec<(String, String)> {
    let fixed = [
        ("id", container.id.as_str()),
        ("name", name),
        ("network_mode", &container.host_config.network_mode),
        ("image", &container.image),
        ("image_id", &container.image_id),
    ];
    let fixed = fixed.map(|(name, value)| (format!("__meta_docker_container_{name}"), value.to_owned()));
    let label = |(name, value): (&String, &String)| {
        (format!("__meta_docker_container_label_{}", sanitized(name)), value.clone())
    };
    fixed.into_iter().chain(container.labels.iter().map(label)).collect()
}

fn labels_of_port(port: &Port) -> Vec<(String, String)> {
    let mut labels = vec![("__meta_docker_port_private".to_owned(), port.private_port.to_string())];
    if port.public_port > 0 {
        labels.push(("__meta_docker_port_public".to_owned(), port.public_port.to_string()));
        let address = port.ip.parse::<IpAddr>().map(|address| address.to_string()).unwrap_or_default();
        labels.push(("__meta_docker_port_public_ip".to_owned(), address));
    }
    labels
}

fn labels_of_network(network: &Network) -> Vec<(String, String)> {
    let fixed = [
        ("id", network.id.clone()),
        ("name", network.name.clone()),
        ("scope", network.scope.clone()),
        ("internal", network.internal.to_string()),
        ("ingress", network.ingress.to_string()),
    ];
    let fixed = fixed.map(|(name, value)| (format!("__meta_docker_network_{name}"), value));
    let label = |(name, value): (&String, &String)| {
        (format!("__meta_docker_network_label_{}", sanitized(name)), value.clone())
    };
    fixed.into_iter().chain(network.labels.iter().map(label)).collect()
}
