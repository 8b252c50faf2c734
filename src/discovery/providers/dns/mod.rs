//! `dns_sd_configs`: targets that name servers know (Prometheus' `discovery/dns/dns.go`).
//!
//! Runs on the thread `sd-dns-<n>`, which asks for one name after the other; a name that cannot be resolved keeps the
//! targets it had. Asks as all lookups do (`names::exchange`), by `/etc/resolv.conf`, which is read again
//! each time; the hosts file and the link have no part in it.

mod resolver;
#[cfg(test)]
mod source_tests;

use std::path::PathBuf;
use std::sync::Arc;

use crate::config::discovery::Provenance;
use crate::config::discovery::dns::{DnsRecordType, DnsSdConfig};
use crate::discovery::complaints::Complaint;
use crate::discovery::lists::target_labels::host_port;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::providers::dns::resolver::{Record, look_up};
use crate::discovery::refresh::Source;
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use crate::names::resolv_conf::ResolvConf;
use crate::names::resolver::SlowServers;
use scraped_engine::labels::Labels;
use scraped_engine::threads::stop::StopToken;

const RESOLV_CONF: &str = "/etc/resolv.conf";

const SERVER_PORT: u16 = 53;

const NAME_LABEL: &str = "__meta_dns_name";
const SRV_TARGET_LABEL: &str = "__meta_dns_srv_record_target";
const SRV_PORT_LABEL: &str = "__meta_dns_srv_record_port";
const MX_TARGET_LABEL: &str = "__meta_dns_mx_record_target";
const NS_TARGET_LABEL: &str = "__meta_dns_ns_record_target";

/// One entry of `dns_sd_configs`.
#[derive(Debug)]
pub(in crate::discovery) struct DnsSource {
    record_type: DnsRecordType,
    port: u16,
    resolv_conf: PathBuf,
    /// Of name servers.
    server_port: u16,
    slow_servers: SlowServers,
    names: Vec<KnownName>,
    metrics: Arc<DiscoveryMetrics>,
}

#[derive(Debug)]
struct KnownName {
    name: String,
    /// `None` until it was resolved once.
    group: Option<TargetGroup>,
    /// While the last attempt failed, and other names have targets.
    complaint: Option<Complaint>,
}

impl DnsSource {
    /// A source that has not asked yet.
    pub(in crate::discovery) fn new(config: &DnsSdConfig, metrics: Arc<DiscoveryMetrics>) -> Self {
        let known = |name: &String| KnownName { name: name.clone(), group: None, complaint: None };
        Self {
            record_type: config.record_type,
            port: config.port,
            resolv_conf: RESOLV_CONF.into(),
            server_port: SERVER_PORT,
            slow_servers: SlowServers::default(),
            names: config.names.iter().map(known).collect(),
            metrics,
        }
    }
}

impl Source for DnsSource {
    fn kind(&self) -> &'static str {
        "dns"
    }

    fn refresh(&mut self, stop: &StopToken) -> Result<Vec<TargetGroup>, String> {
        let conf = ResolvConf::read(&self.resolv_conf, self.server_port).map_err(|error| {
            format!("could not load resolv.conf: {}: {error}", self.resolv_conf.display())
        })?;
        let mut failures = Vec::new();
        for (idx, known) in self.names.iter_mut().enumerate() {
            if stop.is_stopped() {
                break;
            }
            self.metrics.dns_lookups.inc();
            match look_up(&conf, &self.slow_servers, &known.name, self.record_type) {
                Ok(records) => {
                    known.complaint = None;
                    known.group = Some(group(&known.name, self.port, &records));
                }
                Err(sentence) => {
                    self.metrics.dns_lookup_failures.inc();
                    failures.push((idx, sentence));
                }
            }
        }
        let groups: Vec<TargetGroup> = self.names.iter().filter_map(|known| known.group.clone()).collect();
        if groups.is_empty()
            && let Some((_, sentence)) = failures.pop()
        {
            return Err(sentence);
        }
        for (idx, sentence) in failures {
            let Some(known) = self.names.get_mut(idx) else { continue };
            let source = || format!("dns_sd: {}", known.name);
            if let Some(new) = self.metrics.complaints.raise(known.complaint.as_ref(), source, &sentence) {
                log::warn!("discovery: dns: {sentence}; its targets stay as they are");
                known.complaint = Some(new);
            }
        }
        Ok(groups)
    }
}

fn group(name: &str, port: u16, records: &[Record]) -> TargetGroup {
    let target = |record: &Record| {
        let mut labels = vec![(NAME_LABEL, name.to_owned())];
        let (host, port) = match record {
            // An IPv4 address in an AAAA record is written as one, as Go does.
            Record::Address(address) => (address.to_canonical().to_string(), port),
            Record::Service(host, port) => {
                labels.extend([(SRV_TARGET_LABEL, host.clone()), (SRV_PORT_LABEL, port.to_string())]);
                (host.clone(), *port)
            }
            Record::MailExchange(host) => {
                labels.push((MX_TARGET_LABEL, host.clone()));
                (host.clone(), port)
            }
            Record::NameServer(host) => {
                labels.push((NS_TARGET_LABEL, host.clone()));
                (host.clone(), port)
            }
        };
        labels.push((ADDRESS_LABEL, host_port(host.trim_end_matches('.'), port)));
        Labels::from_pairs(labels)
    };
    TargetGroup {
        provenance: Provenance::Network,
        source: name.to_owned(),
        targets: records.iter().map(target).collect(),
        labels: Labels::default(),
    }
}
