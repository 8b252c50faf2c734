//! `Endpoints` and their slices (Prometheus' `discovery/kubernetes/{endpoints,endpointslice}.go`): addresses behind a
//! service, as far as the object itself knows them. What its service, nodes and pods add comes when groups are made.

use crate::config::discovery::kubernetes::Role;
use crate::discovery::lists::tally::{Fate, Tally, memory_bytes};
use crate::discovery::lists::target_labels::{host_port, sanitized};
use crate::discovery::providers::kubernetes::objects::Object;
use crate::discovery::providers::kubernetes::objects::endpoints::{
    EndpointAddress, EndpointPort, SliceEndpoint, TargetRef,
};
use crate::discovery::providers::kubernetes::roles::{Pairs, label, of_namespaced};
use crate::discovery::target_group::ADDRESS_LABEL;
use scraped_engine::labels::Labels;

/// The label of a slice that names its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An `Endpoints` or an `EndpointSlice`.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) struct EndpointSet {
    pub source: String,
    pub namespace: String,
    /// `namespace/name`.
    pub service: Option<String>,
    /// Of a slice.
    pub address_type: String,
    pub labels: Labels,
    pub endpoints: Vec<Endpoint>,
}

/// One address with one port.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) struct Endpoint {
    pub labels: Labels,
    pub node: Option<String>,
    /// `namespace/name`.
    pub pod: Option<String>,
    pub port: Option<u16>,
    /// Goes before what the container says of the port.
    pub protocol: Option<String>,
}

impl EndpointSet {
    /// What it takes in memory, about.
    pub(in crate::discovery::providers::kubernetes) fn n_bytes(&self) -> usize {
        let of_endpoint = |endpoint: &Endpoint| {
            let texts = [&endpoint.node, &endpoint.pod, &endpoint.protocol];
            memory_bytes(&endpoint.labels) + texts.into_iter().flatten().map(String::len).sum::<usize>()
        };
        let own = self.source.len() + self.namespace.len() + memory_bytes(&self.labels);
        own + self.endpoints.iter().map(of_endpoint).sum::<usize>()
    }

    /// Of an `Endpoints`; with `only_node` without addresses on other nodes.
    ///
    /// # Errors
    /// A sentence: it has too many.
    pub(in crate::discovery::providers::kubernetes) fn of_endpoints(
        object: &Object,
        only_node: Option<&str>,
        tally: &mut Tally,
    ) -> Result<Self, String> {
        let metadata = &object.metadata;
        let capacity = metadata.labels.get("endpoints.kubernetes.io/over-capacity").map(String::as_str);
        if let Some(state @ ("truncated" | "warning")) = capacity {
            log::warn!(
                "discovery: kubernetes: endpoints {:?} have more than 1000 addresses ({state}); use the role \
                 endpointslice",
                metadata.key()
            );
        }
        let mut set = Self::new(object, Role::Endpoints, Some(metadata.name.as_str()), tally)?;
        for subset in &object.subsets {
            for port in &subset.ports {
                let ready = subset.addresses.iter().map(|it| (it, "true"));
                let not_ready = subset.not_ready_addresses.iter().map(|it| (it, "false"));
                for (address, ready) in ready.chain(not_ready) {
                    set.push(of_address(address, port, ready), only_node, tally)?;
                }
            }
        }
        Ok(set)
    }

    /// Of an `EndpointSlice`; with `only_node` without addresses on other nodes.
    ///
    /// # Errors
    /// A sentence: it has too many.
    pub(in crate::discovery::providers::kubernetes) fn of_slice(
        object: &Object,
        only_node: Option<&str>,
        tally: &mut Tally,
    ) -> Result<Self, String> {
        let service = object.metadata.labels.get(SERVICE_NAME).map(String::as_str);
        let mut set = Self::new(object, Role::EndpointSlice, service, tally)?;
        for endpoint in &object.endpoints {
            for port in &object.ports {
                for address in &endpoint.addresses {
                    set.push(of_slice_endpoint(address, endpoint, port), only_node, tally)?;
                }
            }
        }
        Ok(set)
    }

    /// Without endpoints yet.
    fn new(object: &Object, role: Role, service: Option<&str>, tally: &mut Tally) -> Result<Self, String> {
        let (metadata, role) = (&object.metadata, role.name());
        let mut labels = of_namespaced(role, metadata);
        labels.push(label("endpointslice_address_type", object.address_type.as_str()));
        let set = Self {
            source: format!("{role}/{}/{}", metadata.namespace, metadata.name),
            namespace: metadata.namespace.clone(),
            service: service.map(|name| format!("{}/{name}", metadata.namespace)),
            address_type: object.address_type.clone(),
            labels: Labels::from_pairs(labels),
            endpoints: Vec::new(),
        };
        tally.labels(0, set.n_bytes()).map(|()| set)
    }

    fn push(&mut self, endpoint: Endpoint, only_node: Option<&str>, tally: &mut Tally) -> Result<(), String> {
        let is_elsewhere = endpoint.node.as_deref().zip(only_node).is_some_and(|(its, own)| its != own);
        if !is_elsewhere && tally.made(&endpoint.labels)? == Fate::Kept {
            self.endpoints.push(endpoint);
        }
        Ok(())
    }
}

fn of_address(address: &EndpointAddress, port: &EndpointPort, ready: &str) -> Endpoint {
    let number = port.port.unwrap_or_default();
    let protocol = port.protocol.clone().unwrap_or_default();
    let target = address.target_ref.as_ref();
    let mut pairs = vec![
        (ADDRESS_LABEL.to_owned(), host_port(&address.ip, number)),
        label("endpoint_port_name", port.name.as_deref().unwrap_or_default()),
        label("endpoint_port_protocol", protocol.as_str()),
        label("endpoint_ready", ready),
        label("endpoint_node_name", address.node_name.as_deref().unwrap_or_default()),
        label("endpoint_hostname", address.hostname.as_str()),
    ];
    pairs.extend(of_target("endpoint_address_target", target));
    let node = address.node_name.clone().or_else(|| node_of(target));
    Endpoint {
        labels: Labels::from_pairs(pairs),
        node,
        pod: pod_of(target),
        port: Some(number),
        protocol: Some(protocol),
    }
}

fn of_slice_endpoint(address: &str, endpoint: &SliceEndpoint, port: &EndpointPort) -> Endpoint {
    let target = endpoint.target_ref.as_ref();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let condition = |state: Option<bool>| state.map(|it| it.to_string()).unwrap_or_default();
    let mut pairs: Pairs = [
        ("port_name", text(&port.name)),
        ("port_protocol", text(&port.protocol)),
        ("port", port.port.map(|it| it.to_string()).unwrap_or_default()),
        ("port_app_protocol", text(&port.app_protocol)),
        ("endpoint_conditions_ready", condition(endpoint.conditions.ready)),
        ("endpoint_conditions_serving", condition(endpoint.conditions.serving)),
        ("endpoint_conditions_terminating", condition(endpoint.conditions.terminating)),
        ("endpoint_hostname", endpoint.hostname.clone()),
        ("endpoint_node_name", text(&endpoint.node_name)),
        ("endpoint_zone", endpoint.zone.clone()),
    ]
    .map(|(name, value)| label(&format!("endpointslice_{name}"), value))
    .into();
    pairs.push((
        ADDRESS_LABEL.to_owned(),
        port.port.map_or_else(|| address.to_owned(), |port| host_port(address, port)),
    ));
    pairs.extend(of_target("endpointslice_address_target", target));
    for (key, value) in &endpoint.deprecated_topology {
        let key = sanitized(key);
        pairs.push(label(&format!("endpointslice_endpoint_topology_{key}"), value.as_str()));
        pairs.push(label(&format!("endpointslice_endpoint_topology_present_{key}"), "true"));
    }
    Endpoint {
        labels: Labels::from_pairs(pairs),
        node: node_of(target).or_else(|| endpoint.node_name.clone()),
        pod: pod_of(target),
        port: port.port,
        protocol: None,
    }
}

fn of_target(prefix: &str, target: Option<&TargetRef>) -> Pairs {
    let pairs = |it: &TargetRef| {
        vec![
            label(&format!("{prefix}_kind"), it.kind.as_str()),
            label(&format!("{prefix}_name"), it.name.as_str()),
        ]
    };
    target.map(pairs).unwrap_or_default()
}

fn node_of(target: Option<&TargetRef>) -> Option<String> {
    target.filter(|it| it.kind == "Node").map(|it| it.name.clone())
}

fn pod_of(target: Option<&TargetRef>) -> Option<String> {
    target.filter(|it| it.kind == "Pod").map(|it| format!("{}/{}", it.namespace, it.name))
}
