//! Objects as target groups and as labels, a file per role (Prometheus' `discovery/kubernetes/{pod,node,…}.go`).

pub(in crate::discovery::providers::kubernetes) mod endpoints;
pub(in crate::discovery::providers::kubernetes) mod ingress;
pub(in crate::discovery::providers::kubernetes) mod node;
pub(in crate::discovery::providers::kubernetes) mod pod;
pub(in crate::discovery::providers::kubernetes) mod service;

use crate::config::discovery::Provenance;
use crate::discovery::lists::tally::Tally;
use crate::discovery::lists::target_labels::sanitized;
use crate::discovery::providers::kubernetes::objects::Metadata;
use crate::discovery::target_group::TargetGroup;
use scraped_engine::labels::Labels;

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

/// The same with its namespace, as a group of targets has it.
fn of_namespaced(resource: &str, metadata: &Metadata) -> Pairs {
    let mut pairs = of_named(resource, metadata);
    pairs.push(("__meta_kubernetes_namespace".to_owned(), metadata.namespace.clone()));
    pairs
}

/// One more label of Kubernetes.
fn label(name: &str, value: impl Into<String>) -> (String, String) {
    (format!("__meta_kubernetes_{name}"), value.into())
}

/// A group of targets, counted; what is too much is an error.
fn counted_group(
    source: String,
    labels: Pairs,
    targets: Vec<Labels>,
    tally: &mut Tally,
) -> Result<TargetGroup, String> {
    let labels = Labels::from_pairs(labels);
    let mut group = TargetGroup { provenance: Provenance::Network, source, targets, labels };
    tally.whole(&mut group)?;
    Ok(group)
}
