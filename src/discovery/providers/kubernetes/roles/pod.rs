//! Pods as targets, and what they say of the endpoints that they are behind (Prometheus' `discovery/kubernetes/pod.go`).

use crate::config::discovery::Provenance;
use crate::discovery::lists::tally::{Fate, Tally, memory_bytes};
use crate::discovery::lists::target_labels::host_port;
use crate::discovery::providers::kubernetes::objects::{Container, ContainerStatus, Object, Port, Status};
use crate::discovery::providers::kubernetes::roles::{Pairs, of_named};
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use scraped_engine::labels::Labels;

/// A target for each port of each container; without targets while the pod has no address.
///
/// # Errors
/// A sentence: it has too many.
pub(in crate::discovery::providers::kubernetes) fn pod_group(
    pod: &Object,
    tally: &mut Tally,
) -> Result<TargetGroup, String> {
    let Object { metadata, spec, status, .. } = pod;
    let provenance = Provenance::Network;
    let source = format!("pod/{}/{}", metadata.namespace, metadata.name);
    if status.pod_ip.is_empty() {
        return Ok(TargetGroup { provenance, source, targets: Vec::new(), labels: Labels::default() });
    }
    let mut targets = Vec::new();
    let containers = spec.containers.iter().map(|it| (it, &status.container_statuses, "false"));
    let init_containers = spec.init_containers.iter().map(|it| (it, &status.init_container_statuses, "true"));
    for (container, statuses, is_init) in containers.chain(init_containers) {
        let common = labels_of_container(container, statuses, is_init);
        let mut push = |address: String, of_port: Pairs| {
            let own = [(ADDRESS_LABEL.to_owned(), address)];
            let labels = Labels::from_pairs(common.iter().cloned().chain(own).chain(of_port));
            if tally.made(&labels)? == Fate::Kept {
                targets.push(labels);
            }
            Ok::<(), String>(())
        };
        if container.ports.is_empty() {
            // Rules have to add a port.
            push(status.pod_ip.clone(), Pairs::new())?;
        }
        for port in &container.ports {
            push(host_port(&status.pod_ip, port.container_port), labels_of_port(port))?;
        }
    }
    let group = TargetGroup { provenance, source, targets, labels: Labels::from_pairs(labels_of_pod(pod)) };
    tally.group(&group).map(|()| group)
}

fn labels_of_pod(pod: &Object) -> Pairs {
    let Object { metadata, spec, status, .. } = pod;
    let mut pairs = of_named("pod", metadata);
    let controller = metadata.controller();
    let (kind, name) = controller.map(|owner| (owner.kind.as_str(), owner.name.as_str())).unwrap_or_default();
    let fixed = [
        ("namespace", metadata.namespace.as_str()),
        ("pod_ip", &status.pod_ip),
        ("pod_ready", &readiness(status)),
        ("pod_phase", &status.phase),
        ("pod_node_name", &spec.node_name),
        ("pod_host_ip", &status.host_ip),
        ("pod_uid", &metadata.uid),
        ("pod_controller_kind", kind),
        ("pod_controller_name", name),
    ];
    pairs.extend(fixed.map(|(name, value)| (format!("__meta_kubernetes_{name}"), value.to_owned())));
    pairs
}

fn readiness(status: &Status) -> String {
    let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
    ready.map_or("unknown", |condition| &condition.status).to_lowercase()
}

fn labels_of_container(container: &Container, statuses: &[ContainerStatus], is_init: &str) -> Pairs {
    let status = statuses.iter().find(|status| status.name == container.name);
    let fixed = [
        ("name", container.name.as_str()),
        ("id", status.map(|status| status.container_id.as_str()).unwrap_or_default()),
        ("image", &container.image),
        ("init", is_init),
    ];
    let label =
        |(name, value): (&str, &str)| (format!("__meta_kubernetes_pod_container_{name}"), value.to_owned());
    fixed.map(label).into()
}

fn labels_of_port(port: &Port) -> Pairs {
    let fixed = [
        ("number", port.container_port.to_string()),
        ("name", port.name.clone()),
        ("protocol", port.protocol.clone()),
    ];
    fixed.map(|(name, value)| (format!("__meta_kubernetes_pod_container_port_{name}"), value)).into()
}

/// A pod, for the endpoints that it is behind.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) struct KnownPod {
    pub labels: Labels,
    /// Empty while it starts.
    pub ip: String,
    /// Ports of each container.
    pub containers: Vec<Vec<KnownPort>>,
}

/// A port of a container, with labels of both.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) struct KnownPort {
    pub number: u16,
    pub labels: Labels,
}

impl KnownPod {
    pub(in crate::discovery::providers::kubernetes) fn new(pod: &Object) -> Self {
        let mut pairs = labels_of_pod(pod);
        // That is their group's.
        pairs.retain(|(name, _)| name != "__meta_kubernetes_namespace");
        let ports = |(container, is_init): (&Container, &str)| {
            let common = labels_of_container(container, &[], is_init);
            let known = |port: &Port| KnownPort {
                number: port.container_port,
                labels: Labels::from_pairs(common.iter().cloned().chain(labels_of_port(port))),
            };
            container.ports.iter().map(known).collect()
        };
        let containers = pod.spec.containers.iter().map(|it| (it, "false"));
        let init_containers = pod.spec.init_containers.iter().map(|it| (it, "true"));
        Self {
            labels: Labels::from_pairs(pairs),
            ip: pod.status.pod_ip.clone(),
            containers: containers.chain(init_containers).map(ports).collect(),
        }
    }

    /// What it takes in memory, about.
    pub(in crate::discovery::providers::kubernetes) fn n_bytes(&self) -> usize {
        let ports = self.containers.iter().flatten().map(|port| memory_bytes(&port.labels));
        self.ip.len() + memory_bytes(&self.labels) + ports.sum::<usize>()
    }
}
