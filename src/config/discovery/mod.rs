//! Providers of targets: `static_configs` and all `*_sd_configs`, a file each, and what is said about those that are
//! not built.
//!
//! A provider's settings are compared as a whole: jobs with equal ones share it.

pub mod bridged;
pub mod consul;
pub mod dns;
pub mod docker;
pub mod exec;
pub mod file;
pub mod http;
pub mod kubelet;
pub mod kubernetes;
mod kubernetes_selectors;
pub mod mdns;
pub mod refresh;
pub mod statics;
pub mod target_labels;

use crate::config::discovery::bridged::{BRIDGE, BRIDGED};
use crate::config::discovery::target_labels::TargetSpelling;

use crate::config::discovery::consul::ConsulSdConfig;
use crate::config::discovery::dns::DnsSdConfig;
use crate::config::discovery::docker::DockerSdConfig;
use crate::config::discovery::exec::ExecSdConfig;
use crate::config::discovery::file::FileSdConfig;
use crate::config::discovery::http::HttpSdConfig;
use crate::config::discovery::kubelet::KubeletSdConfig;
use crate::config::discovery::kubernetes::KubernetesSdConfig;
use crate::config::discovery::mdns::MdnsSdConfig;
use crate::config::discovery::statics::StaticConfig;
use crate::config::print::emit::{Yaml, emit};
use crate::config::text::fields::{Field, Fields};

/// Who says what a target is, and so what it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// The operator: the configuration, a file that it names, or what a command prints that it names.
    Operator,
    /// Whoever answers on the network.
    Network,
}

/// One provider of targets.
#[derive(Clone, Debug, PartialEq)]
pub enum DiscoveryConfig {
    /// `static_configs`: all groups of the job.
    Static(Vec<StaticConfig>),
    /// One entry of `consul_sd_configs`.
    Consul(Box<ConsulSdConfig>),
    /// One entry of `dns_sd_configs`.
    Dns(DnsSdConfig),
    /// One entry of `docker_sd_configs`.
    Docker(DockerSdConfig),
    /// One entry of `exec_sd_configs`.
    Exec(ExecSdConfig),
    /// One entry of `file_sd_configs`.
    File(FileSdConfig),
    /// One entry of `http_sd_configs`.
    Http(HttpSdConfig),
    /// One entry of `kubelet_sd_configs`.
    Kubelet(KubeletSdConfig),
    /// One entry of `kubernetes_sd_configs`.
    Kubernetes(Box<KubernetesSdConfig>),
    /// One entry of `mdns_sd_configs`.
    Mdns(MdnsSdConfig),
}

impl DiscoveryConfig {
    /// Whose word its targets are. A container engine is asked over a socket of this machine, but what it says of a
    /// container is that container's word.
    pub fn provenance(&self) -> Provenance {
        match self {
            Self::Static(_) | Self::File(_) | Self::Exec(_) => Provenance::Operator,
            Self::Consul(_)
            | Self::Dns(_)
            | Self::Docker(_)
            | Self::Http(_)
            | Self::Kubelet(_)
            | Self::Kubernetes(_)
            | Self::Mdns(_) => Provenance::Network,
        }
    }

    /// The key it stands under.
    pub(in crate::config) fn key(&self) -> &'static str {
        match self {
            Self::Static(_) => "static_configs",
            Self::Consul(_) => "consul_sd_configs",
            Self::Dns(_) => "dns_sd_configs",
            Self::Docker(_) => "docker_sd_configs",
            Self::Exec(_) => "exec_sd_configs",
            Self::File(_) => "file_sd_configs",
            Self::Http(_) => "http_sd_configs",
            Self::Kubelet(_) => "kubelet_sd_configs",
            Self::Kubernetes(_) => "kubernetes_sd_configs",
            Self::Mdns(_) => "mdns_sd_configs",
        }
    }

    /// What distinguishes it from every other provider and is the same after a restart; holds no secret.
    pub fn identity(&self) -> String {
        format!("{}:{}", self.key(), emit(&Yaml::List(self.print())))
    }

    /// Its entries in the list under [`DiscoveryConfig::key`].
    pub(in crate::config) fn print(&self) -> Vec<Yaml> {
        match self {
            Self::Static(groups) => groups.iter().map(StaticConfig::print).collect(),
            Self::Consul(consul) => vec![consul.print()],
            Self::Dns(dns) => vec![dns.print()],
            Self::Docker(docker) => vec![docker.print()],
            Self::Exec(exec) => vec![exec.print()],
            Self::File(file) => vec![file.print()],
            Self::Http(http) => vec![http.print()],
            Self::Kubelet(kubelet) => vec![kubelet.print()],
            Self::Kubernetes(kubernetes) => vec![kubernetes.print()],
            Self::Mdns(mdns) => vec![mdns.print()],
        }
    }
}

/// All providers of one scrape configuration.
pub(in crate::config) fn read(fields: &mut Fields<'_>, spelling: TargetSpelling) -> Vec<DiscoveryConfig> {
    let mut providers = Vec::new();
    for item in sections(fields, "file_sd_configs") {
        providers.extend(file::read(&item).map(DiscoveryConfig::File));
    }
    for item in sections(fields, "consul_sd_configs") {
        providers.extend(consul::read(&item).map(Box::new).map(DiscoveryConfig::Consul));
    }
    for item in sections(fields, "dns_sd_configs") {
        providers.extend(dns::read(&item).map(DiscoveryConfig::Dns));
    }
    for item in sections(fields, "docker_sd_configs") {
        providers.extend(docker::read(&item).map(DiscoveryConfig::Docker));
    }
    for item in sections(fields, "exec_sd_configs") {
        providers.extend(exec::read(&item).map(DiscoveryConfig::Exec));
    }
    for item in sections(fields, "http_sd_configs") {
        providers.extend(http::read(&item).map(DiscoveryConfig::Http));
    }
    for item in sections(fields, "kubelet_sd_configs") {
        providers.extend(kubelet::read(&item).map(DiscoveryConfig::Kubelet));
    }
    for item in sections(fields, "kubernetes_sd_configs") {
        providers.extend(kubernetes::read(&item).map(Box::new).map(DiscoveryConfig::Kubernetes));
    }
    for item in sections(fields, "mdns_sd_configs") {
        providers.extend(mdns::read(&item).map(DiscoveryConfig::Mdns));
    }
    let mut groups = Vec::new();
    for item in sections(fields, "static_configs") {
        groups.extend(statics::read(&item, spelling));
    }
    if !groups.is_empty() {
        providers.push(DiscoveryConfig::Static(groups));
    }
    for (key, field) in fields.ending_in("_sd_configs") {
        if field.is_empty() {
            continue;
        }
        if BRIDGED.contains(&key) {
            field.mistake(format!("{key} speaks an API that is not built in; {BRIDGE}"));
        }
    }
    providers
}

/// The entries of a list of providers that have something in them.
fn sections<'a>(fields: &mut Fields<'a>, key: &'static str) -> Vec<Field<'a>> {
    let mut items = fields.items(key);
    items.retain(|item| {
        if item.is_null() {
            item.mistake(format!("empty or null section in {key}"));
        }
        !item.is_null()
    });
    items
}
