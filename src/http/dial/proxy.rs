//! Which proxy a request takes, if any: `proxy_url` with `no_proxy`, or what the environment says.
//!
//! After Go's `golang.org/x/net/http/httpproxy`, whose rules for `NO_PROXY` these are: addresses, networks, domains
//! with those below them, ports, `*`. How a proxy is spoken to is the business of `tunnel` and the transport.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::config::client::proxy::{ProxyChoice, ProxyConfig, SCHEMES};
use crate::config::client::secret::Secret;
use crate::http::address::site::{Site, join};
use crate::http::address::url::Url;
use crate::percent;

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Speech {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS 5; the proxy looks names up.
    Socks5,
}

/// A proxy.
#[derive(Debug)]
pub(in crate::http) struct Proxy {
    pub(in crate::http) speech: Speech,
    pub(in crate::http) site: Site,
    /// User and password, decoded.
    pub(in crate::http) login: Option<(Secret, Secret)>,
}

/// Which proxy a request takes.
#[derive(Debug, Default)]
pub(in crate::http) struct Proxies {
    for_http: Option<Arc<Proxy>>,
    for_https: Option<Arc<Proxy>>,
    /// `None`: no exceptions, this machine included.
    exceptions: Option<Exceptions>,
}

/// `NO_PROXY`.
#[derive(Debug, Default)]
struct Exceptions {
    is_all: bool,
    networks: Vec<(IpAddr, u8)>,
    addresses: Vec<(IpAddr, String)>,
    domains: Vec<Domain>,
}

#[derive(Debug)]
struct Domain {
    /// With a dot in front.
    suffix: String,
    /// The domain itself, not only what is below it.
    is_itself_meant: bool,
    /// Empty: any.
    port: String,
}

impl Proxies {
    /// What `config` says; `environment` gives the value of a variable, empty if there is none.
    pub(in crate::http) fn new(config: &ProxyConfig, environment: impl Fn(&str) -> String) -> Self {
        match &config.choice {
            ProxyChoice::Direct => Self::default(),
            ProxyChoice::Url(url) => {
                let proxy = Proxy::parse(url.full.expose()).map(Arc::new);
                let exceptions = (!config.no_proxy.is_empty()).then(|| Exceptions::parse(&config.no_proxy));
                Self { for_http: proxy.clone(), for_https: proxy, exceptions }
            }
            ProxyChoice::Environment => {
                let any = |names: [&str; 2]| {
                    let values = names.into_iter().map(&environment);
                    values.into_iter().find(|value| !value.is_empty()).unwrap_or_default()
                };
                Self {
                    for_http: Proxy::parse(&any(["HTTP_PROXY", "http_proxy"])).map(Arc::new),
                    for_https: Proxy::parse(&any(["HTTPS_PROXY", "https_proxy"])).map(Arc::new),
                    exceptions: Some(Exceptions::parse(&any(["NO_PROXY", "no_proxy"]))),
                }
            }
        }
    }

    /// The proxy for a request to `host` and `port`, by TLS or not.
    pub(in crate::http) fn of(&self, is_tls: bool, host: &str, port: u16) -> Option<&Arc<Proxy>> {
        let proxy = if is_tls { &self.for_https } else { &self.for_http };
        let proxy = proxy.as_ref()?;
        let is_excepted = self.exceptions.as_ref().is_some_and(|exceptions| exceptions.hold(host, port));
        (!is_excepted).then_some(proxy)
    }

    /// Whether TLS may be needed though a URL says `http`.
    pub(in crate::http) fn need_tls(&self) -> bool {
        let speaks_tls = |proxy: &Arc<Proxy>| proxy.speech == Speech::Https;
        self.for_http.as_ref().is_some_and(speaks_tls) || self.for_https.as_ref().is_some_and(speaks_tls)
    }
}

impl Proxy {
    /// A URL, or `host:port` of an HTTP proxy; `None` if it is neither.
    fn parse(text: &str) -> Option<Self> {
        let of_speech = |url: Url| {
            let speech = match url.scheme.as_str() {
                "http" => Speech::Http,
                "https" => Speech::Https,
                "socks5" | "socks5h" => Speech::Socks5,
                _ => return None,
            };
            let login = url.userinfo().map(|userinfo| {
                let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
                let decoded = |text| String::from_utf8_lossy(&percent::decoded(text)).into_owned();
                (Secret::new(decoded(user)), Secret::new(decoded(password)))
            });
            Some(Self { speech, site: url.site().clone(), login })
        };
        match Url::parse(text).ok().filter(|url| SCHEMES.contains(&url.scheme.as_str())) {
            Some(url) => of_speech(url),
            None if text.contains("://") => None,
            None => Url::parse(&format!("http://{text}")).ok().and_then(of_speech),
        }
    }

    /// The port of a proxy whose URL has none.
    pub(in crate::http) fn default_port(&self) -> u16 {
        match self.speech {
            Speech::Http => 80,
            Speech::Https => 443,
            Speech::Socks5 => 1080,
        }
    }

    /// Host and port, for messages.
    pub(in crate::http) fn shown(&self) -> String {
        join(self.site.host(), self.site.port_or(self.default_port()).unwrap_or_default())
    }

    /// The value of `Proxy-Authorization`.
    pub(in crate::http) fn authorization(&self) -> Option<Secret> {
        let (user, password) = self.login.as_ref()?;
        let encoded = BASE64_STANDARD.encode(format!("{}:{}", user.expose(), password.expose()));
        Some(Secret::new(format!("Basic {encoded}")))
    }
}

impl Exceptions {
    fn parse(text: &str) -> Self {
        let mut exceptions = Self::default();
        for entry in text.split(',').map(|entry| entry.trim().to_ascii_lowercase()) {
            if entry.is_empty() {
                continue;
            }
            if entry == "*" {
                return Self { is_all: true, ..Self::default() };
            }
            if let Some(network) = parse_network(&entry) {
                exceptions.networks.push(network);
                continue;
            }
            let (host, port) = split_port(&entry).unwrap_or((&entry, ""));
            if let Some(address) = parse_address(host) {
                exceptions.addresses.push((address, port.to_owned()));
            } else if !host.is_empty() {
                let host = if host.starts_with("*.") { &host[1..] } else { host };
                let is_itself_meant = !host.starts_with('.');
                let dot = if is_itself_meant { "." } else { "" };
                let suffix = format!("{dot}{host}");
                exceptions.domains.push(Domain { suffix, is_itself_meant, port: port.to_owned() });
            }
        }
        exceptions
    }

    fn hold(&self, host: &str, port: u16) -> bool {
        let address = parse_address(host);
        if host == "localhost" || address.is_some_and(|address| address.is_loopback()) || self.is_all {
            return true;
        }
        let port = port.to_string();
        let is_port = |wanted: &str| wanted.is_empty() || wanted == port;
        if let Some(address) = address
            && (self.networks.iter().any(|network| is_in(address, *network))
                || self.addresses.iter().any(|(known, port)| *known == address && is_port(port)))
        {
            return true;
        }
        let host = host.trim().to_ascii_lowercase();
        self.domains.iter().any(|domain| {
            let is_meant = host.ends_with(&domain.suffix)
                || (domain.is_itself_meant && domain.suffix.get(1..) == Some(host.as_str()));
            is_meant && is_port(&domain.port)
        })
    }
}

fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

/// `10.0.0.0/8`, `fd00::/8`.
fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?);
    let n_bits = if address.is_ipv4() { 32 } else { 128 };
    (length <= n_bits).then_some((address, length))
}

fn is_in(address: IpAddr, (network, length): (IpAddr, u8)) -> bool {
    let is_same = |a: u128, b: u128, n_bits: u8| {
        let n_ignored = u32::from(n_bits - length);
        a.checked_shr(n_ignored).unwrap_or(0) == b.checked_shr(n_ignored).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => is_same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => is_same(u128::from(a), u128::from(b), 128),
        _ => false,
    }
}

/// `host:port` or `[address]:port`, as Go's `net.SplitHostPort` takes them apart.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(host) => Some((host.strip_suffix(']')?, port)),
        None if host.contains(':') => None,
        None => Some((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::{Proxies, Proxy, Speech};
    use crate::config::client::proxy::{ProxyChoice, ProxyConfig};
    use crate::config::client::secret::{Secret, SecretUrl};

    fn by_url(url: &str, no_proxy: &str) -> Proxies {
        let url = SecretUrl { full: Secret::new(url), shown: String::new() };
        let choice = ProxyChoice::Url(url);
        let config = ProxyConfig { choice, no_proxy: no_proxy.to_owned(), ..Default::default() };
        Proxies::new(&config, |_| panic!("the environment is not asked"))
    }

    /// Hosts with a port that are asked directly, and others.
    fn check(no_proxy: &str, direct: &[&str], proxied: &[&str]) {
        let proxies = by_url("http://proxy:3128", no_proxy);
        let is_proxied = |host: &&str| {
            let (host, port) = host.rsplit_once(':').expect("a port");
            let host = host.trim_matches(['[', ']']);
            proxies.of(false, host, port.parse().expect("a number")).is_some()
        };
        assert!(direct.iter().all(|host| !is_proxied(host)), "{no_proxy}: {direct:?}");
        assert!(proxied.iter().all(is_proxied), "{no_proxy}: {proxied:?}");
    }

    #[test]
    fn exceptions_are_those_of_go() {
        check("", &[], &["localhost:80", "127.0.0.1:80", "box:80"]);
        check("x", &["localhost:80", "127.0.0.1:80", "127.9.9.9:1", "[::1]:80", "x:1", "a.x:2"], &["ax:1"]);
        check("*", &["box:80", "10.0.0.1:80"], &[]);
        check(
            "10.0.0.0/8, fd00::/8,192.168.1.1,[fe80::1]:9100",
            &["10.1.2.3:1", "[fd12::1]:80", "192.168.1.1:80", "[fe80::1]:9100"],
            &["11.0.0.1:1", "192.168.1.2:80", "[fe80::1]:9101", "[fe00::1]:80", "box:80"],
        );
        check("1.2.3.4:9100", &["1.2.3.4:9100"], &["1.2.3.4:9101"]);
        check(
            ".y.com, *.z.com,Foo.com:8080,bar.com,:80,,300.0.0.0/8,10.0.0.0/33",
            &["x.y.com:1", "a.z.com:1", "FOO.com:8080", "a.foo.com:8080", "bar.com:1", "a.b.bar.com:9"],
            &["y.com:1", "z.com:1", "foo.com:80", "xbar.com:1", "box:80", "10.0.0.1:1"],
        );
        check("0.0.0.0/0", &["9.9.9.9:1"], &["[fd00::1]:1"]);
        check("::ffff:1.2.3.4", &["1.2.3.4:9"], &["1.2.3.5:9"]);
    }

    #[test]
    fn the_environment_is_read_as_go_reads_it() {
        let config = ProxyConfig { choice: ProxyChoice::Environment, ..Default::default() };
        let with = |variables: &'static [(&str, &str)]| {
            Proxies::new(&config, move |name| {
                let value = variables.iter().find(|(variable, _)| *variable == name);
                value.map_or(String::new(), |(_, value)| (*value).to_owned())
            })
        };
        let host_of = |proxies: &Proxies, is_tls| proxies.of(is_tls, "box", 9100).map(|proxy| proxy.shown());
        let none = with(&[]);
        assert_eq!((host_of(&none, false), host_of(&none, true)), (None, None));
        let both = with(&[("HTTP_PROXY", "a:1"), ("http_proxy", "b:2"), ("https_proxy", "https://c")]);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!((host_of(&both, false), host_of(&both, true)), (text("a:1"), text("c:443")));
        assert!(both.need_tls());
        assert!(both.of(false, "localhost", 80).is_none());
        let excepted = with(&[("http_proxy", "a:1"), ("NO_PROXY", ""), ("no_proxy", "box:9100")]);
        assert_eq!(host_of(&excepted, false), None);
        assert!(with(&[("HTTP_PROXY", "http://[")]).of(false, "box", 1).is_none());
    }

    #[test]
    fn proxies_are_read_from_urls() {
        let check = |text: &str, want: Option<(Speech, &str, u16)>| {
            let proxy = Proxy::parse(text);
            let got = proxy.as_ref().map(|proxy| {
                (
                    proxy.speech,
                    proxy.site.host(),
                    proxy.site.port_or(proxy.default_port()).unwrap_or_default(),
                )
            });
            assert_eq!(got, want, "{text}");
        };
        check("http://proxy", Some((Speech::Http, "proxy", 80)));
        check("HTTPS://proxy:1/x", Some((Speech::Https, "proxy", 1)));
        check("socks5h://[::1]", Some((Speech::Socks5, "::1", 1080)));
        check("localhost:3128", Some((Speech::Http, "localhost", 3128)));
        // It is there, and cannot be asked: nothing goes around it.
        check("http://proxy:99999", Some((Speech::Http, "proxy", 0)));
        check("http://proxy:312x", None);
        check("", None);
        let proxy = Proxy::parse("http://Aladdin:open%20sesame@proxy").expect("a proxy");
        let line = proxy.authorization().expect("a login");
        assert_eq!(line.expose(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!format!("{proxy:?}").contains("sesame"), "{proxy:?}");
    }
}
