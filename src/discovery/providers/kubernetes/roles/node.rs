//! Nodes as targets: their kubelets (Prometheus' `discovery/kubernetes/node.go`).

use std::collections::BTreeMap;

use crate::config::discovery::Provenance;
use crate::discovery::lists::target_labels::{host_port, sanitized};
use crate::discovery::providers::kubernetes::objects::Object;
use crate::discovery::providers::kubernetes::roles::of_named;
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use scraped_engine::labels::Labels;

/// By which address a node is reached: the first of these that it has.
const ADDRESS_TYPES: [&str; 6] =
    ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

/// The kubelet of a node; `None` if the node has no address.
pub(in crate::discovery::providers::kubernetes) fn node_group(node: &Object) -> Option<TargetGroup> {
    let Object { metadata, spec, status, .. } = node;
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
