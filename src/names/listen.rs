//! Addresses to listen on, as `--web.listen-address` names them.

use scraped_engine::sorting::sort_by_key;
use std::net::{Ipv6Addr, SocketAddr};

use crate::names::address::Address;
use crate::names::resolver::Resolver;

/// Where `text`, a `HOST:PORT`, says to listen. Without a host that is `[::]`, which takes IPv4 too. Of a name with several
/// addresses all, IPv4 first; Go listens on the first of them.
///
/// # Errors
/// Go's words behind `listen tcp: `: there is no port, or one that is none, or the name has no address.
pub fn listen_addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = split(text)?;
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = match port {
        // Any free one, as in Go.
        "" => 0,
        port if is_number => port.parse().map_err(|_| format!("address {port}: invalid port"))?,
        port => return Err(format!("lookup tcp/{port}: unknown port")),
    };
    if host.is_empty() {
        return Ok(vec![(Ipv6Addr::UNSPECIFIED, port).into()]);
    }
    if let Some(address) = Address::parse(host) {
        return Ok(vec![address.at(port)]);
    }
    let found = Resolver::system().look_up(host).map_err(|failure| format!("lookup {host}{failure}"))?;
    let mut addresses: Vec<SocketAddr> = found.iter().map(|address| address.at(port)).collect();
    sort_by_key(&mut addresses, SocketAddr::is_ipv6);
    Ok(addresses)
}

/// Go's `net.SplitHostPort`.
fn split(text: &str) -> Result<(&str, &str), String> {
    let wrong = |what: &str| Err(format!("address {text}: {what}"));
    let Some((host, port)) = text.rsplit_once(':') else { return wrong("missing port in address") };
    let host = match host.strip_prefix('[') {
        None if port.contains(']') => return wrong("missing port in address"),
        None if host.contains(':') => return wrong("too many colons in address"),
        None => host,
        Some(host) => match host.strip_suffix(']') {
            Some(host) => host,
            None if port.contains(']') => return wrong("missing port in address"),
            None => return wrong("missing ']' in address"),
        },
    };
    match host.contains(['[', ']']) {
        true => wrong("unexpected '[' in address"),
        false => Ok((host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::listen_addresses;

    #[test]
    fn addresses_are_those_of_go() {
        let check = |text: &str, want: Result<&str, &str>| {
            let shown = |all: Vec<std::net::SocketAddr>| {
                all.iter().map(ToString::to_string).collect::<Vec<String>>().join(" ")
            };
            let got = listen_addresses(text).map(shown);
            assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned), "{text}");
        };
        check("127.0.0.1:9090", Ok("127.0.0.1:9090"));
        check("[::1]:9090", Ok("[::1]:9090"));
        check("[::1%lo]:9090", Ok("[::1%1]:9090"));
        check(":9090", Ok("[::]:9090"));
        check("[::]:9090", Ok("[::]:9090"));
        check("0.0.0.0:9090", Ok("0.0.0.0:9090"));
        check("127.0.0.1:", Ok("127.0.0.1:0"));
        check("x.localhost:1", Ok("127.0.0.1:1 [::1]:1"));
        check("127.0.0.1:65536", Err("address 65536: invalid port"));
        check("127.0.0.1:-1", Err("lookup tcp/-1: unknown port"));
        check("127.0.0.1:+80", Err("lookup tcp/+80: unknown port"));
        check("127.0.0.1:909O", Err("lookup tcp/909O: unknown port"));
        check("127.0.0.1", Err("address 127.0.0.1: missing port in address"));
        check("[::1]", Err("address [::1]: missing port in address"));
        check("::1:9090", Err("address ::1:9090: too many colons in address"));
        check("127.1:9090", Err("lookup 127.1: no such host"));
    }
}
