//! `/etc/resolv.conf`: whom to ask for names, and how, as Go's `net/dnsconfig_unix.go` and the C library read it.
//!
//! Read for each lookup: what has changed holds at once.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::names::address::Address;

/// A longer name is none.
const MAX_NAME_BYTES: usize = 254;

/// Names are looked for in this many domains: each costs a question.
const MAX_SEARCHED: usize = 32;

/// The resolver of the C library knows no more of these either.
const MAX_N_DOTS: usize = 15;
const MAX_TIMEOUT_S: u64 = 30;
const MAX_ATTEMPTS: usize = 5;

/// Whom to ask, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// Name servers, in order.
    pub servers: Vec<SocketAddr>,
    /// Domains that names are looked for in.
    pub search: Vec<String>,
    /// A name with at least this many dots is asked for as it is first.
    pub n_dots: usize,
    /// How long a server has for an answer.
    pub timeout: Duration,
    /// How often all servers are asked.
    pub n_attempts: usize,
    /// `rotate`: each lookup begins with another server.
    pub is_rotated: bool,
    /// `single-request`: one question after the other.
    pub is_one_by_one: bool,
    /// `use-vc`: only by TCP.
    pub is_by_tcp: bool,
    /// `trust-ad`: servers are asked whether they have checked signatures.
    pub is_ad_asked: bool,
    /// `no-aaaa`: only IPv4 addresses are asked for.
    pub is_v4_only: bool,
}

impl ResolvConf {
    /// Reads the file. Servers are asked at `port`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path, port: u16) -> io::Result<Self> {
        Ok(Self::parse(&String::from_utf8_lossy(&fs::read(path)?), port))
    }

    /// Reads the text of the file; lines that mean nothing here are passed over.
    pub fn parse(text: &str, port: u16) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: Vec::new(),
            n_dots: 1,
            timeout: Duration::from_secs(5),
            n_attempts: 2,
            is_rotated: false,
            is_one_by_one: false,
            is_by_tcp: false,
            is_ad_asked: false,
            is_v4_only: false,
        };
        for line in text.trim_start_matches('\u{feff}').lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // One on a link that is not there is none.
                    let server = words.next().and_then(Address::parse).map(|address| address.at(port));
                    let is_usable = |server: &SocketAddr| match server {
                        SocketAddr::V6(v6) => !v6.ip().is_unicast_link_local() || v6.scope_id() > 0,
                        SocketAddr::V4(_) => true,
                    };
                    conf.servers.extend(server.filter(is_usable));
                }
                Some("domain") => conf.search = words.next().map(str::to_owned).into_iter().collect(),
                Some("search") => conf.set_search(words),
                Some("options") => conf.set_options(words),
                _ => {}
            }
        }
        conf
    }

    /// What `LOCALDOMAIN` and `RES_OPTIONS` of the environment say besides, as the C library heeds them.
    pub fn with_environment(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        if let Some(search) = variable("LOCALDOMAIN") {
            self.set_search(search.split_ascii_whitespace());
        }
        if let Some(options) = variable("RES_OPTIONS") {
            self.set_options(options.split_ascii_whitespace());
        }
        self
    }

    /// What the C library assumes where nothing is said: a server on this machine.
    pub fn with_defaults(mut self, port: u16) -> Self {
        if self.servers.is_empty() {
            self.servers = vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        }
        self
    }

    fn set_search<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        self.search = words.filter(|domain| *domain != ".").take(MAX_SEARCHED).map(str::to_owned).collect();
    }

    fn set_options<'a>(&mut self, words: impl Iterator<Item = &'a str>) {
        for word in words {
            let (name, value) = word.split_once(':').unwrap_or((word, ""));
            // The start of it that is a number, as C reads them.
            let digits = value.len() - value.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number: Option<usize> = value[..digits].parse().ok();
            match (name, number) {
                ("ndots", Some(n_dots)) => self.n_dots = n_dots.min(MAX_N_DOTS),
                ("timeout", Some(seconds)) => {
                    self.timeout = Duration::from_secs((seconds as u64).clamp(1, MAX_TIMEOUT_S));
                }
                ("attempts", Some(n_attempts)) => self.n_attempts = n_attempts.clamp(1, MAX_ATTEMPTS),
                ("rotate", _) => self.is_rotated = true,
                ("single-request" | "single-request-reopen", _) => self.is_one_by_one = true,
                ("use-vc" | "usevc" | "tcp", _) => self.is_by_tcp = true,
                ("trust-ad", _) => self.is_ad_asked = true,
                ("no-aaaa", _) => self.is_v4_only = true,
                // `edns0` too: what does not fit comes by TCP.
                _ => {}
            }
        }
    }

    /// The whole names, with their last dot, that `name` may stand for, in the order in which they are asked for. None if
    /// it is too long.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        let is_short = |name: &String| name.len() <= MAX_NAME_BYTES;
        if name.ends_with('.') {
            return Some(name.to_owned()).filter(is_short).into_iter().collect();
        }
        let as_it_is = format!("{name}.");
        let searched = self.search.iter().map(|domain| format!("{name}.{}.", domain.trim_end_matches('.')));
        let mut names: Vec<String> = searched.collect();
        if name.matches('.').count() >= self.n_dots {
            names.insert(0, as_it_is);
        } else {
            names.push(as_it_is);
        }
        names.retain(is_short);
        names
    }
}

#[cfg(test)]
mod tests {
    use super::ResolvConf;
    use std::time::Duration;

    #[test]
    fn a_file_is_read() {
        let conf = ResolvConf::parse(
            "# made by hand\nnameserver 10.0.0.1\nnameserver ::1\nnameserver fe80::1%lo\nnameserver fe80::2%7\n\
             nameserver fe80::3%nonesuch\nnameserver 10.0.0.2%lo\nnameserver\n; nameserver 10.0.0.9\n\
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
    fn options_are_heeded() {
        let of = |text: &str| ResolvConf::parse(text, 53);
        let plain = of("");
        assert_eq!((plain.timeout, plain.n_attempts), (Duration::from_secs(5), 2));
        let all = of(
            "options ndots:99 timeout:0 attempts:9 rotate single-request use-vc trust-ad no-aaaa edns0 x:y\n",
        );
        let want = ResolvConf {
            n_dots: 15,
            timeout: Duration::from_secs(1),
            n_attempts: 5,
            is_rotated: true,
            is_one_by_one: true,
            is_by_tcp: true,
            is_ad_asked: true,
            is_v4_only: true,
            ..plain.clone()
        };
        assert_eq!(all, want);
        assert_eq!(of("options attempts:0 timeout:99\n").timeout, Duration::from_secs(30));
        assert_eq!(of("options ndots:x attempts: timeout\n"), plain);
        let environment = |name: &str| match name {
            "LOCALDOMAIN" => Some("a.example b.example".to_owned()),
            _ => Some("ndots:3 attempts:1".to_owned()),
        };
        let conf = of("search x.example\noptions ndots:2 timeout:3\n").with_environment(environment);
        assert_eq!((conf.search.join(" ").as_str(), conf.n_dots), ("a.example b.example", 3));
        assert_eq!((conf.n_attempts, conf.timeout), (1, Duration::from_secs(3)));
        assert_eq!(of("search x\n").with_environment(|_| None), of("search x\n"));
        let servers: Vec<String> = plain.with_defaults(53).servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.1:53", "[::1]:53"]);
    }

    #[test]
    fn names_are_completed() {
        let check = |text: &str, name: &str, want: &[&str]| {
            assert_eq!(ResolvConf::parse(text, 53).candidates(name), want, "{text} {name}");
        };
        check("search a b\n", "x.", &["x."]);
        check("search a b. .\n", "x", &["x.a.", "x.b.", "x."]);
        check("search a\n", "x.y", &["x.y.", "x.y.a."]);
        check("search a\noptions ndots:2\n", "x.y", &["x.y.a.", "x.y."]);
        check("domain a\n", "x", &["x.a.", "x."]);
        check("", "x", &["x."]);
        let long = "x.".repeat(125) + "x";
        check("search a\n", &long, &[&format!("{long}."), &format!("{long}.a.")]);
        check("search abc\n", &long, &[&format!("{long}.")]);
        check("", &"x.".repeat(130), &[]);
    }
}
