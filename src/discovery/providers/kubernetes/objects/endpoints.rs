//! `Endpoints` and `EndpointSlice`: the second is the first with other names.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::discovery::lists::allowance::{list, map};
use crate::discovery::lists::nullable::or_default;

/// Addresses and ports of `Endpoints`; each address has each port.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct Subset {
    #[serde(deserialize_with = "list")]
    pub addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "list")]
    pub not_ready_addresses: Vec<EndpointAddress>,
    #[serde(deserialize_with = "list")]
    pub ports: Vec<EndpointPort>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct EndpointAddress {
    #[serde(deserialize_with = "or_default")]
    pub ip: String,
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    pub node_name: Option<String>,
    pub target_ref: Option<TargetRef>,
}

/// What an address belongs to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct TargetRef {
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// A port of a service, of `Endpoints` or of a slice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct EndpointPort {
    pub name: Option<String>,
    pub port: Option<u16>,
    pub protocol: Option<String>,
    pub app_protocol: Option<String>,
}

/// One endpoint of a slice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::discovery::providers::kubernetes) struct SliceEndpoint {
    #[serde(deserialize_with = "list")]
    pub addresses: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub conditions: SliceConditions,
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    pub node_name: Option<String>,
    pub target_ref: Option<TargetRef>,
    #[serde(deserialize_with = "or_default")]
    pub zone: String,
    #[serde(deserialize_with = "map")]
    pub deprecated_topology: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::discovery::providers::kubernetes) struct SliceConditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}
