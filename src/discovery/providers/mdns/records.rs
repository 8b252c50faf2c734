//! What neighbours have said of themselves: the records of all answers put together, each as long as it is good.
//!
//! Knows no socket. Everything comes from strangers, so there is a limit on how much is remembered.

use scraped_engine::sorting::sort_by;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{Name, Packet, ResourceRecord};

/// Instances, and hosts, that are remembered; more than a link should have.
const MAX_REMEMBERED: usize = 4096;

/// Texts of an instance that become labels.
const MAX_TEXTS: usize = 32;

/// Addresses announced within this time belong together.
const SAME_ANSWER: Duration = Duration::from_secs(1);

/// A record is not believed for longer than this, whatever it says (RFC 6762, section 10: 75 minutes are usual).
const MAX_TTL: Duration = Duration::from_secs(75 * 60);

/// All that is known, by name in lower case with its dot.
#[derive(Debug, Default)]
pub(in crate::discovery) struct Records {
    instances: BTreeMap<String, Instance>,
    /// Host → addresses.
    hosts: BTreeMap<String, BTreeMap<IpAddr, Announced>>,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    at: Instant,
    good_until: Instant,
}

#[derive(Debug)]
struct Instance {
    /// The type that it was announced under.
    service: String,
    /// The name before the type, as announced.
    label: String,
    good_until: Instant,
    /// Host with its dot, and port.
    location: Option<(String, u16)>,
    texts: Vec<(String, String)>,
}

/// Of what to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Wanted {
    /// Everything: it may have changed.
    All,
    /// What is not known yet.
    Missing,
}

/// An instance that is known well enough to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery) struct Neighbour<'a> {
    /// The type, without `.local`.
    pub service: &'a str,
    /// The name of the instance.
    pub label: &'a str,
    /// Its host with its dot.
    pub host: &'a str,
    /// An address of the host; IPv4 before IPv6.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its texts, sorted by key.
    pub texts: &'a [(String, String)],
}

impl Records {
    /// Takes in an answer about instances of `services`.
    pub(in crate::discovery) fn take(&mut self, packet: &Packet<'_>, services: &[String], now: Instant) {
        let records = || packet.answers.iter().chain(&packet.additional_records);
        // First who is there: the rest is about these.
        for record in records() {
            if let RData::PTR(pointer) = &record.rdata {
                self.take_instance(record, &pointer.0, services, now);
            }
        }
        for record in records() {
            self.take_detail(record, now);
        }
    }

    fn take_instance(
        &mut self,
        record: &ResourceRecord<'_>,
        name: &Name<'_>,
        services: &[String],
        now: Instant,
    ) {
        let owner = key(&record.name);
        let Some(service) = services.iter().find(|it| owner == format!("{}.local.", it.to_ascii_lowercase()))
        else {
            return;
        };
        let instance_key = key(name);
        if record.ttl == 0 {
            self.instances.remove(&instance_key);
            return;
        }
        let good_until = now + ttl(record);
        if let Some(instance) = self.instances.get_mut(&instance_key) {
            instance.good_until = good_until;
        } else if self.instances.len() < MAX_REMEMBERED {
            let label = name.get_labels().first().map(ToString::to_string).unwrap_or_default();
            let service = service.clone();
            let instance = Instance { service, label, good_until, location: None, texts: Vec::new() };
            self.instances.insert(instance_key, instance);
        }
    }

    fn take_detail(&mut self, record: &ResourceRecord<'_>, now: Instant) {
        let owner = key(&record.name);
        let address = match &record.rdata {
            RData::SRV(srv) => {
                if let Some(instance) = self.instances.get_mut(&owner) {
                    instance.location = (record.ttl > 0).then(|| (key(&srv.target), srv.port));
                }
                return;
            }
            RData::TXT(txt) => {
                if let Some(instance) = self.instances.get_mut(&owner) {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let pairs =
                        txt.iter_raw().map(|(key, value)| (text(key), text(value.unwrap_or_default())));
                    instance.texts = pairs.take(MAX_TEXTS).collect();
                    // Of a key that stands there twice the first counts (RFC 6763, section 6.4): the order is stable.
                    sort_by(&mut instance.texts, |a, b| a.0.cmp(&b.0));
                    instance.texts.dedup_by(|a, b| a.0 == b.0);
                }
                return;
            }
            RData::A(a) => IpAddr::from(Ipv4Addr::from(a.address)),
            RData::AAAA(aaaa) => IpAddr::from(Ipv6Addr::from(aaaa.address)),
            _ => return,
        };
        if self.hosts.len() >= MAX_REMEMBERED && !self.hosts.contains_key(&owner) {
            return;
        }
        let addresses = self.hosts.entry(owner).or_default();
        if record.ttl == 0 {
            addresses.remove(&address);
        } else if addresses.len() < MAX_TEXTS {
            // A host that has moved does not say where it was (RFC 6762, section 10.2).
            addresses.retain(|_, announced| now.saturating_duration_since(announced.at) < SAME_ANSWER);
            addresses.insert(address, Announced { at: now, good_until: now + ttl(record) });
        }
    }

    /// Forgets what is not good any more.
    pub(in crate::discovery) fn expire(&mut self, now: Instant) {
        self.instances.retain(|_, instance| instance.good_until > now);
        self.hosts.retain(|_, addresses| {
            addresses.retain(|_, announced| announced.good_until > now);
            !addresses.is_empty()
        });
    }

    /// Everyone who can be asked, in order.
    pub(in crate::discovery) fn neighbours(&self) -> impl Iterator<Item = Neighbour<'_>> {
        self.instances.values().filter_map(|instance| {
            let (host, port) = instance.location.as_ref()?;
            let addresses = self.hosts.get(host)?;
            // IPv4 sorts first. Link-local IPv6 addresses mean nothing without a zone, which an address label cannot have.
            let is_usable = |it: &&IpAddr| !matches!(it, IpAddr::V6(v6) if v6.is_unicast_link_local());
            let address = *addresses.keys().find(is_usable)?;
            let Instance { service, label, texts, .. } = instance;
            Some(Neighbour { service, label, host, address, port: *port, texts })
        })
    }

    /// Instances and hosts to be asked about: all of them, or those of which not enough is known.
    pub(in crate::discovery) fn names(&self, wanted: Wanted) -> (Vec<&str>, Vec<&str>) {
        let mut instances = Vec::new();
        let mut hosts = Vec::new();
        for (name, instance) in &self.instances {
            if wanted == Wanted::All || instance.location.is_none() {
                instances.push(name.as_str());
            }
            if let Some((host, _)) = &instance.location
                && (wanted == Wanted::All || !self.hosts.contains_key(host))
            {
                hosts.push(host.as_str());
            }
        }
        (instances, hosts)
    }
}

fn key(name: &Name<'_>) -> String {
    format!("{name}.").to_ascii_lowercase()
}

fn ttl(record: &ResourceRecord<'_>) -> Duration {
    Duration::from_secs(record.ttl.into()).min(MAX_TTL)
}
