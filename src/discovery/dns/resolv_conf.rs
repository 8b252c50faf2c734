//! `/etc/resolv.conf` as Prometheus' DNS library reads it (miekg/dns `clientconfig.go`): name servers, search list,
//! `ndots`.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Whom to ask, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery) struct ResolvConf {
    /// Name servers, in order.
    pub servers: Vec<SocketAddr>,
    /// Domains that names are looked for in.
    pub search: Vec<String>,
    /// A name with at least so many dots is asked for as it is first.
    pub n_dots: usize,
}

impl ResolvConf {
    /// Reads the text of the file; lines that mean nothing here are passed over. Servers are asked at `port`.
    pub(in crate::discovery) fn parse(text: &str, port: u16) -> Self {
        let mut conf = Self { servers: Vec::new(), search: Vec::new(), n_dots: 1 };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    conf.servers.extend(words.next().and_then(|word| server(word, port)));
                }
                Some("domain") => conf.search = words.next().map(str::to_owned).into_iter().collect(),
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let n_dots =
                        words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok()).next_back();
                    // The resolver of the C library knows no more than 15 either.
                    conf.n_dots = n_dots.map_or(conf.n_dots, |n_dots: usize| n_dots.min(15));
                }
                _ => {}
            }
        }
        conf
    }

    /// The whole names that `name` may stand for, in the order in which they are asked for.
    pub(in crate::discovery) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let as_it_is = format!("{name}.");
        let searched = self.search.iter().map(|domain| format!("{name}.{}.", domain.trim_end_matches('.')));
        let mut names: Vec<String> = searched.collect();
        if name.matches('.').count() >= self.n_dots {
            names.insert(0, as_it_is);
        } else {
            names.push(as_it_is);
        }
        names
    }
}

/// The address of a server; that of a router on the link has a zone, as in `fe80::1%eth0`.
fn server(word: &str, port: u16) -> Option<SocketAddr> {
    let Some((address, zone)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse::<IpAddr>().ok()?, port));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let index = zone.parse().ok().or_else(|| interface_index(zone))?;
    Some(SocketAddrV6::new(address, port, 0, index).into())
}

/// The number of an interface, from `/sys`; `None` if there is none of that name.
fn interface_index(name: &str) -> Option<u32> {
    if name.contains('/') {
        return None;
    }
    fs::read_to_string(format!("/sys/class/net/{name}/ifindex")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::ResolvConf;

    #[test]
    fn a_file_is_read() {
        let conf = ResolvConf::parse(
            "# made by hand\nnameserver 10.0.0.1\nnameserver ::1\nnameserver fe80::1%lo\nnameserver fe80::2%7\n\
             nameserver fe80::3%nonesuch\nnameserver 10.0.0.2%lo\nnameserver\n\
             domain old.example\nsearch site.example. example\noptions rotate ndots:2 timeout:1\nsortlist 10.0.0.0\n",
            53,
        );
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53", "[fe80::1%1]:53", "[fe80::2%7]:53"]);
        assert_eq!(
            (conf.search.as_slice(), conf.n_dots),
            (&["site.example.".into(), "example".into()][..], 2)
        );
        assert_eq!(ResolvConf::parse("", 53).n_dots, 1);
    }

    #[test]
    fn names_are_completed() {
        let check = |text: &str, name: &str, want: &[&str]| {
            assert_eq!(ResolvConf::parse(text, 53).candidates(name), want, "{text} {name}");
        };
        check("search a b\n", "x.", &["x."]);
        check("search a b.\n", "x", &["x.a.", "x.b.", "x."]);
        check("search a\n", "x.y", &["x.y.", "x.y.a."]);
        check("search a\noptions ndots:2\n", "x.y", &["x.y.a.", "x.y."]);
        check("", "x", &["x."]);
    }
}
