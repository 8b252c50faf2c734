//! From the settings of a provider to the provider.

pub(crate) mod consul;
pub(crate) mod dns;
pub(crate) mod docker;
pub(crate) mod exec;
pub(crate) mod file;
pub(crate) mod http;
pub(crate) mod kubernetes;
pub(crate) mod mdns;
pub(crate) mod statics;

use std::sync::Arc;
use std::time::Duration;

use crate::config::discovery::DiscoveryConfig;
use crate::discovery::discoverer::Discoverer;
use crate::discovery::lists::tally::Wanted;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::providers::consul::ConsulSource;
use crate::discovery::providers::dns::DnsSource;
use crate::discovery::providers::docker::DockerSource;
use crate::discovery::providers::exec::ExecSource;
use crate::discovery::providers::file::FileDiscoverer;
use crate::discovery::providers::http::HttpSource;
use crate::discovery::providers::kubernetes::KubernetesDiscoverer;
use crate::discovery::providers::kubernetes::kubelet::KubeletSource;
use crate::discovery::providers::mdns::MdnsSource;
use crate::discovery::providers::statics::StaticDiscoverer;
use crate::discovery::refresh::{Refresher, Source};

/// What `config` asks for, not started yet; `job` is the one that it is started for, `wanted` says
/// how many of its targets matter.
pub(in crate::discovery) fn provider(
    config: &DiscoveryConfig,
    job: &str,
    wanted: Wanted,
    metrics: &Arc<DiscoveryMetrics>,
) -> Box<dyn Discoverer> {
    let asked = Asked { job, metrics };
    let counted = || Arc::clone(metrics);
    match config {
        DiscoveryConfig::Static(it) => Box::new(StaticDiscoverer(it.clone())),
        DiscoveryConfig::File(it) => Box::new(FileDiscoverer::new(it.clone(), wanted, counted())),
        DiscoveryConfig::Consul(it) => {
            asked.every(it.refresh_interval, ConsulSource::new(it.clone(), wanted, counted()))
        }
        DiscoveryConfig::Dns(it) => asked.every(it.refresh_interval, DnsSource::new(it, counted())),
        DiscoveryConfig::Docker(it) => {
            asked.every(it.refresh_interval, DockerSource::new(it.clone(), wanted))
        }
        DiscoveryConfig::Exec(it) => asked.every(it.refresh_interval, ExecSource::new(it.clone(), wanted)),
        DiscoveryConfig::Http(it) => asked.every(it.refresh_interval, HttpSource::new(it, wanted, counted())),
        DiscoveryConfig::Kubelet(it) => {
            asked.every(it.refresh_interval, KubeletSource::new(it.clone(), wanted))
        }
        DiscoveryConfig::Kubernetes(it) => Box::new(KubernetesDiscoverer::new(it.clone(), job, counted())),
        DiscoveryConfig::Mdns(it) => asked.every(it.refresh_interval, MdnsSource::new(it.clone())),
    }
}

struct Asked<'a> {
    job: &'a str,
    metrics: &'a Arc<DiscoveryMetrics>,
}

impl Asked<'_> {
    fn every(&self, interval: Duration, source: impl Source + 'static) -> Box<dyn Discoverer> {
        let (job, metrics) = (self.job.to_owned(), Arc::clone(self.metrics));
        Box::new(Refresher { source, interval, job, metrics })
    }
}
