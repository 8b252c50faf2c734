//! Services as targets, and what they say of their endpoints (Prometheus' `discovery/kubernetes/service.go`).

use crate::discovery::lists::tally::Tally;
use crate::discovery::lists::target_labels::host_port;
use crate::discovery::providers::kubernetes::objects::Object;
use crate::discovery::providers::kubernetes::objects::endpoints::EndpointPort;
use crate::discovery::providers::kubernetes::roles::{counted_group, label, of_namespaced};
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use scraped_engine::labels::Labels;

/// A service, for the endpoints behind it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) struct KnownService {
    pub labels: Labels,
    /// Of a service with addresses of two families: the one of which slices count. The others repeat their targets.
    pub only_family: Option<String>,
}

impl KnownService {
    pub(in crate::discovery::providers::kubernetes) fn new(service: &Object) -> Self {
        let spec = &service.spec;
        let is_dual = matches!(spec.ip_family_policy.as_str(), "PreferDualStack" | "RequireDualStack");
        Self {
            labels: Labels::from_pairs(of_namespaced("service", &service.metadata)),
            only_family: spec.ip_families.first().filter(|_| is_dual).cloned(),
        }
    }
}

/// A target for each port, by the name that the cluster's name server knows.
///
/// # Errors
/// A sentence: it has too many.
pub(in crate::discovery::providers::kubernetes) fn service_group(
    service: &Object,
    tally: &mut Tally,
) -> Result<TargetGroup, String> {
    let Object { metadata, spec, status, .. } = service;
    let host = format!("{}.{}.svc", metadata.name, metadata.namespace);
    let kind = spec.r#type.as_str();
    let mut addresses: Vec<&str> = status.load_balancer.ingress.iter().map(|it| it.ip.as_str()).collect();
    addresses.retain(|ip| !ip.is_empty());
    let load_balancer = match addresses.as_slice() {
        [] => spec.load_balancer_ip.clone(),
        addresses => addresses.join(","),
    };
    let common = [
        label("service_type", kind),
        match kind {
            "ExternalName" => label("service_external_name", &spec.external_name),
            _ => label("service_cluster_ip", &spec.cluster_ip),
        },
        // An empty label is none.
        label("service_loadbalancer_ip", if kind == "LoadBalancer" { load_balancer } else { String::new() }),
    ];
    let target = |port: &EndpointPort| {
        let number = port.port.unwrap_or_default();
        let own = [
            (ADDRESS_LABEL.to_owned(), host_port(&host, number)),
            label("service_port_name", port.name.as_deref().unwrap_or_default()),
            label("service_port_number", number.to_string()),
            label("service_port_protocol", port.protocol.as_deref().unwrap_or_default()),
        ];
        Labels::from_pairs(common.iter().cloned().chain(own))
    };
    let source = format!("svc/{}/{}", metadata.namespace, metadata.name);
    let targets = spec.ports.iter().map(target).collect();
    counted_group(source, of_namespaced("service", metadata), targets, tally)
}
