//! Pods and nodes as target groups (Prometheus' `discovery/kubernetes/{pod,node}.go`).

use std::collections::BTreeMap;

use crate::config::discovery::Provenance;
use crate::discovery::lists::tally::{Fate, Tally};
use crate::discovery::lists::target_labels::{host_port, sanitized};
use crate::discovery::providers::kubernetes::objects::{
    Container, ContainerStatus, Metadata, Object, Port, Status,
};
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use scraped_engine::labels::Labels;

/// By which address a node is reached: the first of these that it has.
const ADDRESS_TYPES: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

/// A label set in the making.
pub(in crate::discovery::providers::kubernetes) type Pairs = Vec<(String, String)>;

/// Labels and annotations of an object, each with a label that says that it is there.
pub(in crate::discovery::providers::kubernetes) fn of_metadata(resource: &str, metadata: &Metadata) -> Pairs {
    let mut pairs = Pairs::new();
    for (kind, map) in [("label", &metadata.labels), ("annotation", &metadata.annotations)] {
        for (key, value) in map {
            let key = sanitized(key);
            pairs.push((format!("__meta_kubernetes_{resource}_{kind}_{key}"), value.clone()));
            pairs.push((format!("__meta_kubernetes_{resource}_{kind}present_{key}"), "true".to_owned()));
        }
    }
    pairs
}

/// The same with its name.
pub(in crate::discovery::providers::kubernetes) fn of_named(resource: &str, metadata: &Metadata) -> Pairs {
    let mut pairs = of_metadata(resource, metadata);
    pairs.push((format!("__meta_kubernetes_{resource}_name"), metadata.name.clone()));
    pairs
}

/// A target for each port of each container; without targets while the pod has no address.
///
/// # Errors
/// A sentence: it has too many.
pub(in crate::discovery::providers::kubernetes) fn pod_group(
    pod: &Object,
    tally: &mut Tally,
) -> Result<TargetGroup, String> {
    let Object { metadata, spec, status } = pod;
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
    let Object { metadata, spec, status } = pod;
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

/// The kubelet of a node; `None` if the node has no address.
pub(in crate::discovery::providers::kubernetes) fn node_group(node: &Object) -> Option<TargetGroup> {
    let Object { metadata, spec, status } = node;
    // The first address of each type.
    let mut addresses: BTreeMap<&str, &str> = BTreeMap::new();
    for address in &status.addresses {
        addresses.entry(&address.r#type).or_insert(&address.address);
    }
    let address = ADDRESS_TYPES.iter().find_map(|kind| addresses.get(kind))?;
    let port = status.daemon_endpoints.kubelet_endpoint.port;
    let own = [
        (ADDRESS_LABEL.to_owned(), host_port(address, port)),
        ("instance".to_owned(), metadata.name.clone()),
    ];
    let addresses = addresses.iter().map(|(kind, address)| {
        (format!("__meta_kubernetes_node_address_{}", sanitized(kind)), (*address).to_owned())
    });
    let target = Labels::from_pairs(own.into_iter().chain(addresses));
    let mut pairs = vec![("__meta_kubernetes_node_provider_id".to_owned(), spec.provider_id.clone())];
    pairs.extend(status.conditions.iter().map(|condition| {
        let kind = sanitized(&condition.r#type.to_lowercase());
        (format!("__meta_kubernetes_node_condition_{kind}"), condition.status.to_lowercase())
    }));
    pairs.extend(of_named("node", metadata));
    let source = format!("node/{}", metadata.name);
    Some(TargetGroup {
        provenance: Provenance::Network,
        source,
        targets: vec![target],
        labels: Labels::from_pairs(pairs),
    })
}
