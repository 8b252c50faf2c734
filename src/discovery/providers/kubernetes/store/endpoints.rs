//! Addresses behind services with what services, nodes and pods say of them.

use std::collections::BTreeMap;

use crate::config::discovery::Provenance;
use crate::discovery::lists::target_labels::host_port;
use crate::discovery::providers::kubernetes::roles::endpoints::{Endpoint, EndpointSet};
use crate::discovery::providers::kubernetes::roles::pod::KnownPod;
use crate::discovery::providers::kubernetes::store::Store;
use crate::discovery::providers::kubernetes::store::attach::pairs;
use crate::discovery::providers::kubernetes::wanted::{Kept, Purpose, Whereabouts};
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use scraped_engine::labels::Labels;

/// A pod behind some of the addresses, and the ports by which it is.
struct Behind<'store> {
    pod: &'store KnownPod,
    at: &'store Whereabouts,
    ports: Vec<u16>,
}

impl Store {
    /// A target for each address and port, and one for each other port of the pods that are behind them.
    pub(super) fn endpoints_group(&self, set: &EndpointSet) -> TargetGroup {
        let service = set.service.as_deref().and_then(|key| self.find(Purpose::ServiceLabels, key));
        let mut labels = pairs(&set.labels);
        let mut is_repeated = false;
        if let Some(Kept::Service(service)) = service {
            labels.extend(pairs(&service.labels));
            let (only, its) = (&service.only_family, &set.address_type);
            is_repeated = !its.is_empty() && only.as_ref().is_some_and(|only| only != its);
        }
        labels.extend(self.of_namespace(&set.namespace));
        let mut targets = Vec::new();
        let mut pods: BTreeMap<&str, Behind<'_>> = BTreeMap::new();
        for endpoint in set.endpoints.iter().filter(|_| !is_repeated) {
            let key = endpoint.pod.as_deref();
            let found = key.and_then(|key| Some((key, self.find(Purpose::PodLabels, key)?)));
            let Some((key, Kept::Pod(pod, at))) = found else {
                targets.push(self.endpoint_target(endpoint, None));
                continue;
            };
            targets.push(self.endpoint_target(endpoint, Some((pod, at))));
            let behind = pods.entry(key).or_insert_with(|| Behind { pod, at, ports: Vec::new() });
            behind.ports.extend(endpoint.port);
        }
        for behind in pods.values().filter(|behind| !behind.pod.ip.is_empty()) {
            self.push_other_ports(behind, &mut targets);
        }
        TargetGroup {
            provenance: Provenance::Network,
            source: set.source.clone(),
            targets,
            labels: Labels::from_pairs(labels),
        }
    }

    fn endpoint_target(&self, endpoint: &Endpoint, pod: Option<(&KnownPod, &Whereabouts)>) -> Labels {
        let mut all = pairs(&endpoint.labels);
        if let Some(node) = &endpoint.node {
            all.extend(self.of_node(node).unwrap_or_default());
        }
        if let Some((pod, at)) = pod {
            all.extend(pairs(&pod.labels));
            all.extend(self.of_maker(at));
            for container in &pod.containers {
                let Some(port) = container.iter().find(|port| Some(port.number) == endpoint.port) else {
                    continue;
                };
                all.extend(pairs(&port.labels));
                all.extend(endpoint.protocol.iter().map(|protocol| {
                    ("__meta_kubernetes_pod_container_port_protocol".to_owned(), protocol.clone())
                }));
            }
        }
        Labels::from_pairs(all)
    }

    fn push_other_ports(&self, Behind { pod, at, ports }: &Behind<'_>, targets: &mut Vec<Labels>) {
        let others = pod.containers.iter().flatten().filter(|port| !ports.contains(&port.number));
        for port in others {
            let mut all = vec![(ADDRESS_LABEL.to_owned(), host_port(&pod.ip, port.number))];
            all.extend(pairs(&port.labels));
            all.extend(pairs(&pod.labels));
            all.extend(self.of_maker(at));
            targets.push(Labels::from_pairs(all));
        }
    }
}
