//! An address of a host, and the order in which several are tried.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};

/// An address; one that means something on one link alone names that in its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    ip: IpAddr,
    /// Name or number of an interface.
    zone: Option<Arc<str>>,
}

impl Address {
    /// `127.0.0.1`, `::1`, `fe80::1%eth0`; no other way of writing an address is one, as in Go (`127.1` is none).
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once('%') {
            None => Some(Self { ip: text.parse().ok()?, zone: None }),
            Some((address, zone)) => {
                let ip = IpAddr::V6(address.parse().ok()?);
                (!zone.is_empty()).then(|| Self { ip, zone: Some(zone.into()) })
            }
        }
    }

    /// Without its zone.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// To connect to. An interface may get another number at any time: it is looked at now.
    pub fn at(&self, port: u16) -> SocketAddr {
        match (self.ip, &self.zone) {
            (IpAddr::V6(ip), Some(zone)) => SocketAddrV6::new(ip, port, 0, interface_index(zone)).into(),
            (ip, _) => SocketAddr::new(ip, port),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        Self { ip, zone: None }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "{}%{zone}", self.ip),
            None => self.ip.fmt(f),
        }
    }
}

/// The number of an interface; of a name that none has, the digits that it begins with (Go's `ipv6ZoneCache.index`). 0,
/// which no link has, where there are none.
fn interface_index(zone: &str) -> u32 {
    let of_name = || {
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None).ok()?;
        rustix::net::netdevice::name_to_index(&socket, zone).ok()
    };
    let digits = zone.len() - zone.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    of_name().unwrap_or_else(|| zone[..digits].parse().unwrap_or_default())
}

/// This machine.
pub(in crate::names) fn loopback() -> Vec<Address> {
    vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into(), IpAddr::V6(Ipv6Addr::LOCALHOST).into()]
}

/// The order of RFC 6724, section 6, as far as Go and the C library have it: what cannot be reached comes last.
pub(in crate::names) fn sort(addresses: &mut [Address]) {
    sort_by_source(addresses, source);
}

fn sort_by_source(addresses: &mut [Address], source: impl Fn(&Address) -> Option<IpAddr>) {
    if addresses.len() > 1 {
        addresses.sort_by_cached_key(|address| Rank::new(address.ip, source(address)));
    }
}

/// The address that we would be seen by; no packet is sent.
fn source(address: &Address) -> Option<IpAddr> {
    /// Any: nothing is sent.
    const PORT: u16 = 9;
    let target = address.at(PORT);
    let socket = Socket::new(Domain::for_address(target), Type::DGRAM, None).ok()?;
    socket.connect(&SockAddr::from(target)).ok()?;
    Some(socket.local_addr().ok()?.as_socket()?.ip())
}

/// Smaller is better; fields are the rules 1, 2, 5, 6, 8 and 9 in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    is_unusable: bool,
    has_other_scope: bool,
    has_other_label: bool,
    /// Of 255.
    precedence_missing: u8,
    scope: u8,
    /// Of 128; only of IPv6, as anything else upsets servers that share their load by the order of their addresses.
    prefix_missing: u8,
}

impl Rank {
    fn new(ip: IpAddr, source: Option<IpAddr>) -> Self {
        let (precedence, label) = policy(ip);
        let prefix = match (ip, source) {
            (IpAddr::V6(ip), Some(IpAddr::V6(source))) => (ip.to_bits() ^ source.to_bits()).leading_zeros(),
            _ => 0,
        };
        Self {
            is_unusable: source.is_none(),
            has_other_scope: source.is_some_and(|source| scope(source) != scope(ip)),
            has_other_label: source.is_some_and(|source| policy(source).1 != label),
            precedence_missing: u8::MAX - precedence,
            scope: scope(ip),
            prefix_missing: 128 - prefix as u8,
        }
    }
}

const LINK_LOCAL: u8 = 2;
const SITE_LOCAL: u8 = 5;
const GLOBAL: u8 = 14;

fn scope(ip: IpAddr) -> u8 {
    match ip {
        _ if ip.is_loopback() => LINK_LOCAL,
        IpAddr::V4(ip) if ip.is_link_local() => LINK_LOCAL,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => LINK_LOCAL,
        IpAddr::V6(ip) if ip.segments()[0] & 0xffc0 == 0xfec0 => SITE_LOCAL,
        _ => GLOBAL,
    }
}

/// Precedence and label: the table of RFC 6724, section 2.1.
fn policy(ip: IpAddr) -> (u8, u8) {
    let ip = match ip {
        IpAddr::V4(_) => return (35, 4),
        IpAddr::V6(ip) => ip,
    };
    match ip.segments() {
        _ if ip.is_loopback() => (50, 0),
        [0, 0, 0, 0, 0, 0xffff, ..] => (35, 4),
        [0, 0, 0, 0, 0, 0, ..] => (1, 3),
        [0x2001, 0, ..] => (5, 5),
        [0x2002, ..] => (30, 2),
        [0x3ffe, ..] => (1, 12),
        [first, ..] if first & 0xffc0 == 0xfec0 => (1, 11),
        [first, ..] if first & 0xfe00 == 0xfc00 => (3, 13),
        _ => (40, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, interface_index, sort_by_source};
    use std::net::IpAddr;

    #[test]
    fn addresses_are_written_in_one_way() {
        let check = |text: &str, want: Option<&str>| {
            assert_eq!(Address::parse(text).map(|it| it.at(1).to_string()).as_deref(), want, "{text}");
        };
        check("127.0.0.1", Some("127.0.0.1:1"));
        check("fe80::1%lo", Some("[fe80::1%1]:1"));
        check("fe80::1%1", Some("[fe80::1%1]:1"));
        check("fe80::1%25lo", Some("[fe80::1%25]:1"));
        check("fe80::1%nonesuch", Some("[fe80::1]:1"));
        for text in ["127.1", "0x7f.1", "2130706433", "127.0.0.01", "127.0.0.1%lo", "fe80::1%", "[::1]", ""] {
            check(text, None);
        }
        assert_eq!(interface_index("lo/../lo"), 0);
    }

    #[test]
    fn the_best_address_comes_first() {
        // What a machine with IPv4 and, or without, global IPv6 is seen by.
        let check = |has_v6: bool, given: &[&str], want: &[&str]| {
            let source = |address: &Address| match address.ip() {
                ip if ip.is_loopback() => Some(ip),
                IpAddr::V4(_) => "192.168.1.5".parse().ok(),
                IpAddr::V6(_) if has_v6 => "2a00::5".parse().ok(),
                IpAddr::V6(_) => None,
            };
            let mut addresses: Vec<Address> = given.iter().filter_map(|text| Address::parse(text)).collect();
            sort_by_source(&mut addresses, source);
            let got: Vec<String> = addresses.iter().map(Address::to_string).collect();
            assert_eq!(got, want, "{has_v6}");
        };
        check(true, &["1.2.3.4", "2a00::9", "2b00::9"], &["2a00::9", "2b00::9", "1.2.3.4"]);
        check(false, &["2a00::9", "1.2.3.4", "1.2.3.3"], &["1.2.3.4", "1.2.3.3", "2a00::9"]);
        check(false, &["127.0.0.1", "::1"], &["::1", "127.0.0.1"]);
        check(true, &["fd00::1", "1.2.3.4"], &["1.2.3.4", "fd00::1"]);
    }
}
