//! Host and port of a URL, as Go's `net/url` and `net/http` read them: what is connected to, what the header `Host` says,
//! how it is printed.

use std::fmt;

use crate::config::client::go_url;
use crate::http::address::escape::escape;
use crate::http::error::HttpErrorKind;
use crate::names::idna;

/// Host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Go's `URL.Host`: escapes are undone.
    host_and_port: String,
    /// What is connected to: without brackets, with the zone of an IPv6 address, a name as name servers know it. Empty:
    /// this machine.
    host: String,
    /// Digits as typed; empty: that of the scheme.
    port: String,
    /// The header `Host`: without the zone, which means something on this machine alone.
    header: String,
}

impl Site {
    /// Reads what stands between `//` and the path, without user and password.
    ///
    /// # Errors
    /// Go's words for what is no host or no port.
    pub fn parse(text: &str) -> Result<Self, String> {
        let host_and_port = go_url::parse_host(text)?;
        let (host, port) = go_url::split_host(&host_and_port);
        // A name that cannot be written in ASCII is looked up as it is, and so not found.
        let dialled = idna::lookup_name(host).unwrap_or_else(|| host.to_owned());
        let (host, port) = (host.to_owned(), port.to_owned());
        let header = header(&host_and_port, &host, &port);
        Ok(Self { host_and_port, host: dialled, port, header })
    }

    /// What is connected to, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The header `Host`.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// Whether there is neither host nor port.
    pub fn is_empty(&self) -> bool {
        self.host.is_empty() && self.port.is_empty()
    }

    /// The port, or `default` where none was typed.
    ///
    /// # Errors
    /// It is above 65535. It is never another one.
    pub fn port_or(&self, default: u16) -> Result<u16, HttpErrorKind> {
        if self.port.is_empty() {
            return Ok(default);
        }
        let digits = self.port.trim_start_matches('0');
        let digits = if digits.is_empty() { "0" } else { digits };
        digits.parse().map_err(|_| HttpErrorKind::Dial(format!("address {}: invalid port", self.port)))
    }

    /// Host and port for ureq, which knows fewer hosts than Go: it only distinguishes connections by it.
    pub fn key(&self) -> String {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_address = |byte: u8| byte.is_ascii_hexdigit() || b":.".contains(&byte);
        let port = if self.port.is_empty() { String::new() } else { format!(":{}", self.port) };
        match &self.host {
            host if !host.is_empty() && host.bytes().all(is_plain) => format!("{host}{port}"),
            host if host.parse::<std::net::Ipv6Addr>().is_ok() && host.bytes().all(is_address) => {
                format!("[{host}]{port}")
            }
            host => {
                let mut key = "x".to_owned();
                host.bytes().for_each(|byte| key.push_str(&format!("{byte:02x}")));
                key + "." + &port
            }
        }
    }
}

/// As a URL prints it.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        escape(&mut text, self.host_and_port.as_bytes(), |byte| {
            byte.is_ascii() && go_url::is_host_byte(byte)
        });
        f.write_str(&text)
    }
}

/// Go's `removeEmptyPort`, `PunycodeHostPort` and `removeZone`.
fn header(host_and_port: &str, host: &str, port: &str) -> String {
    let host_and_port = match port {
        "" => host_and_port.strip_suffix(':').unwrap_or(host_and_port),
        _ => host_and_port,
    };
    if !host_and_port.starts_with('[') {
        return match host_and_port.is_ascii() || port.is_empty() {
            true => idna::header_name(host_and_port),
            false => format!("{}:{port}", idna::header_name(host)),
        };
    }
    let address = host.split('%').next().unwrap_or_default();
    match port {
        "" => format!("[{address}]"),
        port => format!("[{address}]:{port}"),
    }
}

/// Go's `net.JoinHostPort`, of what is connected to.
pub fn join(host: &str, port: u16) -> String {
    if host.contains([':', '%']) { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::Site;

    #[test]
    fn sites_are_asked_as_go_asks_them() {
        let check = |text: &str, host: &str, header: &str, shown: &str, key: &str| {
            let site = Site::parse(text).expect("a site");
            let got = (site.host(), site.header(), site.to_string(), site.key());
            assert_eq!(got, (host, header, shown.to_owned(), key.to_owned()), "{text}");
        };
        check("box:9100", "box", "box:9100", "box:9100", "box:9100");
        check("box:", "box", "box", "box:", "box");
        check("[::1]", "::1", "[::1]", "[::1]", "[::1]");
        check(
            "[fe80::1%25lo]:1",
            "fe80::1%lo",
            "[fe80::1]:1",
            "[fe80::1%25lo]:1",
            "x666538303a3a31256c6f.:1",
        );
        check("::1:99", "::1", "::1:99", "::1:99", "[::1]:99");
        check(":99", "", ":99", ":99", "x.:99");
        check(
            "Küche.lan:1",
            "xn--kche-0ra.lan",
            "xn--Kche-0ra.lan:1",
            "K%C3%BCche.lan:1",
            "xn--kche-0ra.lan:1",
        );
        check("ü_x", "ü_x", "xn--_x-wka", "%C3%BC_x", "xc3bc5f78.");
        check("a%25b", "a%b", "a%b", "a%25b", "x612562.");
    }

    #[test]
    fn a_port_is_the_one_that_was_typed_or_none() {
        let check = |text: &str, want: Result<u16, &str>| {
            let port = Site::parse(text).expect("a site").port_or(80).map_err(|kind| kind.to_string());
            assert_eq!(port, want.map_err(str::to_owned), "{text}");
        };
        check("box", Ok(80));
        check("box:", Ok(80));
        check("box:0", Ok(0));
        check("box:00037999", Ok(37999));
        check("box:65535", Ok(65535));
        check("box:65536", Err("dial tcp: address 65536: invalid port"));
        check("[::1]:90900", Err("dial tcp: address 90900: invalid port"));
        check("box:99999999999999999999", Err("dial tcp: address 99999999999999999999: invalid port"));
    }
}
