//! What is read of Kubernetes' objects: the few fields that become labels. Everything else is skipped as it comes.

pub(in crate::discovery::providers::kubernetes) mod endpoints;

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::discovery::lists::allowance::{list, map};
use crate::discovery::lists::nullable::or_default;
use crate::discovery::providers::kubernetes::objects::endpoints::{EndpointPort, SliceEndpoint, Subset};

/// An object of any kind; fields that its kind does not have stay empty.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct Object {
    #[serde(deserialize_with = "or_default")]
    pub metadata: Metadata,
    #[serde(deserialize_with = "or_default")]
    pub spec: Spec,
    #[serde(deserialize_with = "or_default")]
    pub status: Status,
    /// Of `Endpoints`.
    #[serde(deserialize_with = "list")]
    pub subsets: Vec<Subset>,
    /// Of a slice, as the two that follow.
    #[serde(deserialize_with = "or_default")]
    pub address_type: String,
    #[serde(deserialize_with = "list")]
    pub endpoints: Vec<SliceEndpoint>,
    #[serde(deserialize_with = "list")]
    pub ports: Vec<EndpointPort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct Metadata {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub uid: String,
    #[serde(deserialize_with = "or_default")]
    pub resource_version: String,
    #[serde(deserialize_with = "map")]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "map")]
    pub annotations: BTreeMap<String, String>,
    #[serde(deserialize_with = "list")]
    pub owner_references: Vec<Owner>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct Owner {
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub controller: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct Spec {
    #[serde(deserialize_with = "or_default")]
    pub node_name: String,
    #[serde(deserialize_with = "list")]
    pub containers: Vec<Container>,
    #[serde(deserialize_with = "list")]
    pub init_containers: Vec<Container>,
    #[serde(rename = "providerID", deserialize_with = "or_default")]
    pub provider_id: String,
    /// Of a service, as those that follow.
    #[serde(deserialize_with = "list")]
    pub ports: Vec<EndpointPort>,
    #[serde(deserialize_with = "or_default")]
    pub r#type: String,
    #[serde(deserialize_with = "or_default")]
    pub external_name: String,
    #[serde(rename = "clusterIP", deserialize_with = "or_default")]
    pub cluster_ip: String,
    #[serde(rename = "loadBalancerIP", deserialize_with = "or_default")]
    pub load_balancer_ip: String,
    #[serde(deserialize_with = "or_default")]
    pub ip_family_policy: String,
    #[serde(deserialize_with = "list")]
    pub ip_families: Vec<String>,
    /// Of an ingress, as the two that follow.
    #[serde(deserialize_with = "or_default")]
    pub ingress_class_name: String,
    #[serde(deserialize_with = "list")]
    pub rules: Vec<IngressRule>,
    #[serde(deserialize_with = "list")]
    pub tls: Vec<IngressTls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct IngressRule {
    #[serde(deserialize_with = "or_default")]
    pub host: String,
    pub http: Option<IngressHttp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct IngressHttp {
    #[serde(deserialize_with = "list")]
    pub paths: Vec<IngressPath>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct IngressPath {
    #[serde(deserialize_with = "or_default")]
    pub path: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct IngressTls {
    #[serde(deserialize_with = "list")]
    pub hosts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct Container {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub image: String,
    #[serde(deserialize_with = "list")]
    pub ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct Port {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    pub container_port: u16,
    #[serde(deserialize_with = "or_default")]
    pub protocol: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct Status {
    #[serde(rename = "podIP", deserialize_with = "or_default")]
    pub pod_ip: String,
    #[serde(rename = "hostIP", deserialize_with = "or_default")]
    pub host_ip: String,
    #[serde(deserialize_with = "or_default")]
    pub phase: String,
    #[serde(deserialize_with = "list")]
    pub conditions: Vec<Condition>,
    #[serde(deserialize_with = "list")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "list")]
    pub init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "list")]
    pub addresses: Vec<Address>,
    #[serde(deserialize_with = "or_default")]
    pub daemon_endpoints: DaemonEndpoints,
    /// Of a service.
    #[serde(deserialize_with = "or_default")]
    pub load_balancer: LoadBalancer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct LoadBalancer {
    #[serde(deserialize_with = "list")]
    pub ingress: Vec<LoadBalancerIngress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct LoadBalancerIngress {
    #[serde(deserialize_with = "or_default")]
    pub ip: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct Condition {
    #[serde(deserialize_with = "or_default")]
    pub r#type: String,
    #[serde(deserialize_with = "or_default")]
    pub status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct ContainerStatus {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(rename = "containerID", deserialize_with = "or_default")]
    pub container_id: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct Address {
    #[serde(deserialize_with = "or_default")]
    pub r#type: String,
    #[serde(deserialize_with = "or_default")]
    pub address: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct DaemonEndpoints {
    #[serde(deserialize_with = "or_default")]
    pub kubelet_endpoint: DaemonEndpoint,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(in crate::discovery::providers::kubernetes) struct DaemonEndpoint {
    pub port: u16,
}

/// One page of a list. Its kind is asked for: an empty object is no empty list.
#[derive(Debug, Deserialize)]
pub(in crate::discovery::providers::kubernetes) struct List {
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: ListMetadata,
    #[serde(default, deserialize_with = "list")]
    pub items: Vec<Object>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct ListMetadata {
    #[serde(deserialize_with = "or_default")]
    pub resource_version: String,
    /// Where the next page begins; empty on the last one.
    #[serde(deserialize_with = "or_default")]
    pub r#continue: String,
}

/// One line of a watch: first read with a [`Note`] as its object, since a `Status` has other types.
#[derive(Debug, Deserialize)]
pub(in crate::discovery::providers::kubernetes) struct Event<T> {
    pub r#type: String,
    pub object: T,
}

/// What is common to all objects, and what a `Status` says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct Note {
    #[serde(deserialize_with = "or_default")]
    pub metadata: ListMetadata,
    #[serde(deserialize_with = "or_default")]
    pub code: u16,
    #[serde(deserialize_with = "or_default")]
    pub message: String,
}

impl Metadata {
    /// What distinguishes objects of one kind.
    pub(in crate::discovery::providers::kubernetes) fn key(&self) -> String {
        match self.namespace.as_str() {
            "" => self.name.clone(),
            namespace => format!("{namespace}/{}", self.name),
        }
    }

    /// Who made it.
    pub(in crate::discovery::providers::kubernetes) fn controller(&self) -> Option<&Owner> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}
