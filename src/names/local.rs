//! Names of one label under `.local`, which are asked of the link itself (RFC 6762, section 3;
//! prometheus/prometheus#2537). A name with more labels is one of a name server, in clusters and in companies.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, TYPE};

use crate::names::link::Link;

/// Questions are sent so often: packets get lost.
const ROUNDS: usize = 3;

/// Answers are waited for this long after each question; a neighbour that owns the name answers at once.
const ROUND: Duration = Duration::from_millis(250);

/// How long an address of the other family may come behind the first one.
const STRAGGLERS: Duration = Duration::from_millis(50);

/// More addresses than a neighbour has.
const MAX_ADDRESSES: usize = 16;

/// Whether `host` belongs to the link: one label under `local`, as the minimal modules of nss-mdns have it.
pub(in crate::names) fn is_local(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host).split_once('.');
    labels.is_some_and(|(label, domain)| !label.is_empty() && domain.eq_ignore_ascii_case("local"))
}

/// Addresses that neighbours give for `host`, IPv4 first; none if no one answers. Link-local IPv6 addresses are left
/// out: they mean nothing without the interface.
///
/// # Errors
/// The link cannot be asked, or `host` is no name.
pub(in crate::names) fn look_up(host: &str, link: &Link) -> io::Result<Vec<IpAddr>> {
    let name = Name::new(host.trim_end_matches('.')).map_err(io::Error::other)?;
    let mut question = Packet::new_query(0);
    for kind in [TYPE::A, TYPE::AAAA] {
        let asked = Question::new(name.clone(), QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
        question.questions.push(asked);
    }
    let question = question.build_bytes_vec_compressed().map_err(io::Error::other)?;
    let mut addresses = BTreeSet::new();
    for _ in 0..ROUNDS {
        link.ask(&question)?;
        let mut deadline = Instant::now() + ROUND;
        loop {
            let had_none = addresses.is_empty();
            let now = Instant::now();
            if now >= deadline {
                break;
            }
            link.hear(deadline - now, |packet| take(packet, host, &mut addresses))?;
            if had_none && !addresses.is_empty() {
                deadline = deadline.min(Instant::now() + STRAGGLERS);
            }
        }
        if !addresses.is_empty() {
            break;
        }
    }
    Ok(addresses.into_iter().collect())
}

fn take(packet: &Packet<'_>, host: &str, addresses: &mut BTreeSet<IpAddr>) {
    for record in packet.answers.iter().chain(&packet.additional_records) {
        let is_asked = record.name.to_string().eq_ignore_ascii_case(host.trim_end_matches('.'));
        let address = match &record.rdata {
            RData::A(a) => IpAddr::from(Ipv4Addr::from(a.address)),
            RData::AAAA(aaaa) => IpAddr::from(Ipv6Addr::from(aaaa.address)),
            _ => continue,
        };
        let is_usable = !matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
        if is_asked && is_usable && record.ttl > 0 && addresses.len() < MAX_ADDRESSES {
            addresses.insert(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn only_a_label_under_local_belongs_to_the_link() {
        for host in ["box.local", "BOX.Local", "box.local.", "xn--kche-0ra.local"] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "grafana.default.svc.cluster.local",
            "esp.corp.local",
            "local",
            ".local",
            "box.local..",
            "box.locale",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
