//! `mdns_sd_configs`, ours: neighbours that announce themselves by DNS-SD over multicast (RFC 6762, RFC 6763).

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::config::discovery::refresh::refresh_interval;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, duration, texts};
use crate::config::text::fields::Field;

/// A neighbour that comes is a target this soon at the latest.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// What exporters announce themselves as.
const SERVICE: &str = "_prometheus-http._tcp";

/// One entry of `mdns_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct MdnsSdConfig {
    /// Types to look for, default `_prometheus-http._tcp`; without `.local`.
    pub services: Vec<String>,
    /// Addresses of this machine, one for each network to ask in; none means all.
    pub interfaces: Vec<Ipv4Addr>,
    /// Default 30s.
    pub refresh_interval: Duration,
}

pub(in crate::config) fn read(item: &Field<'_>) -> Option<MdnsSdConfig> {
    let mut fields = item.fields()?;
    let mut services = Vec::new();
    for service in fields.items("services") {
        let Some(text) = service.text() else { continue };
        let name = text.trim_end_matches('.').trim_end_matches(".local");
        let is_type = matches!(name.split('.').collect::<Vec<_>>()[..], [service, "_tcp" | "_udp"]
            if service.len() > 1 && service.starts_with('_'));
        if !is_type {
            service.mistake(format!("{text:?} is not a service type; it must be like {SERVICE}"));
        }
        services.push(name.to_owned());
    }
    if services.is_empty() {
        services.push(SERVICE.to_owned());
    }
    let mut interfaces = Vec::new();
    for interface in fields.items("interfaces") {
        let Some(text) = interface.text() else { continue };
        match text.parse() {
            Ok(address) => interfaces.push(address),
            Err(_) => interface.mistake(format!("{text:?} is not an IPv4 address of this machine")),
        }
    }
    let refresh_interval = refresh_interval(&mut fields, REFRESH_INTERVAL);
    fields.finish(|_| false);
    Some(MdnsSdConfig { services, interfaces, refresh_interval: refresh_interval? })
}

impl MdnsSdConfig {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add("services", texts(&self.services));
        if !self.interfaces.is_empty() {
            let interfaces: Vec<String> = self.interfaces.iter().map(Ipv4Addr::to_string).collect();
            entries.add("interfaces", texts(&interfaces));
        }
        entries.add("refresh_interval", duration(self.refresh_interval));
        entries.into_map()
    }
}
