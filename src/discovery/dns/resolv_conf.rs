//! `/etc/resolv.conf` as Prometheus' DNS library reads it (miekg/dns `clientconfig.go`): name servers, search list,
//! `ndots`.

use std::net::{IpAddr, SocketAddr};

/// Port of name servers.
const PORT: u16 = 53;

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
    /// Reads the text of the file; lines that mean nothing here are passed over.
    pub(in crate::discovery) fn parse(text: &str) -> Self {
        let mut conf = Self { servers: Vec::new(), search: Vec::new(), n_dots: 1 };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone, as in fe80::1%eth0, is not something that a socket address can be made of by itself.
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    conf.servers.extend(address.map(|address| SocketAddr::new(address, PORT)));
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

#[cfg(test)]
mod tests {
    use super::ResolvConf;

    #[test]
    fn a_file_is_read() {
        let conf = ResolvConf::parse(
            "# made by hand\nnameserver 10.0.0.1\nnameserver ::1\nnameserver fe80::1%eth0\nnameserver\n\
             domain old.example\nsearch site.example. example\noptions rotate ndots:2 timeout:1\nsortlist 10.0.0.0\n",
        );
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53"]);
        assert_eq!(
            (conf.search.as_slice(), conf.n_dots),
            (&["site.example.".into(), "example".into()][..], 2)
        );
        assert_eq!(ResolvConf::parse("").n_dots, 1);
    }

    #[test]
    fn names_are_completed() {
        let check = |text: &str, name: &str, want: &[&str]| {
            assert_eq!(ResolvConf::parse(text).candidates(name), want, "{text} {name}");
        };
        check("search a b\n", "x.", &["x."]);
        check("search a b.\n", "x", &["x.a.", "x.b.", "x."]);
        check("search a\n", "x.y", &["x.y.", "x.y.a."]);
        check("search a\noptions ndots:2\n", "x.y", &["x.y.a.", "x.y."]);
        check("", "x", &["x."]);
    }
}
