//! `dns_sd_configs` (Prometheus' `discovery/dns/dns.go`).

use std::time::Duration;

use crate::config::discovery::refresh::refresh_interval;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, duration, texts};
use crate::config::text::fields::Field;

/// Prometheus' `dns.DefaultSDConfig`.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// One entry of `dns_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsSdConfig {
    /// Names to ask for; without a dot at their end the search list applies.
    pub names: Vec<String>,
    /// Default 30s.
    pub refresh_interval: Duration,
    /// `type`, default SRV.
    pub record_type: DnsRecordType,
    /// Port of the targets; SRV records have their own.
    pub port: u16,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the DNS")]
pub enum DnsRecordType {
    A,
    Aaaa,
    Mx,
    Ns,
    Srv,
}

impl DnsRecordType {
    const ALL: [Self; 5] = [Self::A, Self::Aaaa, Self::Mx, Self::Ns, Self::Srv];

    /// As in a zone file.
    pub fn name(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Ns => "NS",
            Self::Srv => "SRV",
        }
    }
}

pub(in crate::config) fn read(item: &Field<'_>) -> Option<DnsSdConfig> {
    let mut fields = item.fields()?;
    let names = fields.take("names").map(|field| field.texts()).unwrap_or_default();
    if names.is_empty() {
        item.mistake_below("names", "DNS-SD config must contain at least one SRV record name");
    }
    let refresh_interval = refresh_interval(&mut fields, REFRESH_INTERVAL);
    let mut record_type = DnsRecordType::Srv;
    if let Some(field) = fields.take("type")
        && let Some(text) = field.text()
    {
        let named = DnsRecordType::ALL.into_iter().find(|it| text.eq_ignore_ascii_case(it.name()));
        match named {
            Some(named) => record_type = named,
            None => {
                field.mistake(format!("invalid DNS-SD records type {text}; must be A, AAAA, MX, NS or SRV"))
            }
        }
    }
    let port_field = fields.take("port");
    let port = port_field.as_ref().and_then(Field::count).unwrap_or(0);
    if let (Some(field), Err(_)) = (&port_field, u16::try_from(port)) {
        field.mistake(format!("port {port} is above 65535"));
    }
    if port == 0 && record_type != DnsRecordType::Srv {
        item.mistake_below("port", "a port is required in DNS-SD configs for all record types except SRV");
    }
    fields.finish(|_| false);
    Some(DnsSdConfig { names, refresh_interval: refresh_interval?, record_type, port: port.try_into().ok()? })
}

impl DnsSdConfig {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add("names", texts(&self.names));
        entries.add("refresh_interval", duration(self.refresh_interval));
        entries.add("type", Yaml::text(self.record_type.name()));
        entries.add("port", Yaml::raw(self.port));
        entries.into_map()
    }
}
