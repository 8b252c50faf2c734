//! Which texts Go's `url.Parse` takes for a URL, and its words for those that it refuses.
//!
//! Prometheus parses some URLs when it reads the configuration, and all of them before it asks; its verdict is ours.

use std::net::IpAddr;

use crate::config::client::secret_names::without_secret_parameters;
use crate::percent::{Piece, pieces};

/// Why `text` is no URL, in Go's words but for its password; nothing if it is one, and that is not much to ask.
pub fn complaint(text: &str) -> Option<String> {
    parse(text).err().map(|cause| format!("parse {:?}: {cause}", redacted(text)))
}

/// The text with `xxxxx` for its password, as Go's `Redacted` prints it, and for parameters that are named like secrets.
pub fn redacted(text: &str) -> String {
    let text = &without_secret_parameters(text);
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    match authority.rsplit_once('@').map(|(userinfo, host)| (userinfo.split_once(':'), host)) {
        Some((Some((user, _)), host)) => {
            format!("{scheme}://{user}:xxxxx@{host}{}", &rest[authority.len()..])
        }
        _ => text.to_owned(),
    }
}

/// The same for a `host:port` with a password before it, which is no address.
pub fn redacted_address(text: &str) -> Option<String> {
    let (userinfo, host) = text.rsplit_once('@')?;
    let (user, _) = userinfo.split_once(':')?;
    Some(format!("{user}:xxxxx@{host}"))
}

fn parse(text: &str) -> Result<(), String> {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (has_scheme, rest) = match scheme_len(text)? {
        0 => (false, text),
        len => (true, &text[len + 1..]),
    };
    let path = rest.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        let first = path.split('/').next().unwrap_or_default();
        match first.contains(':') {
            _ if has_scheme => return Ok(()),
            true => return Err("first path segment in URL cannot contain colon".to_owned()),
            false => {}
        }
    }
    let path = match path.strip_prefix("//").filter(|_| has_scheme || !path.starts_with("///")) {
        None => path,
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            check_authority(authority)?;
            path
        }
    };
    check_escapes(path)?;
    check_escapes(fragment)
}

/// Length of the scheme before its colon; 0 without one.
fn scheme_len(text: &str) -> Result<usize, String> {
    for (idx, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if idx > 0 => {}
            b':' if idx == 0 => return Err("missing protocol scheme".to_owned()),
            b':' => return Ok(idx),
            _ => return Ok(0),
        }
    }
    Ok(0)
}

fn check_authority(authority: &str) -> Result<(), String> {
    let (userinfo, host) = match authority.rsplit_once('@') {
        Some((userinfo, host)) => (userinfo, host),
        None => ("", authority),
    };
    parse_host(host)?;
    let is_userinfo =
        |character: char| character.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(character);
    if !userinfo.chars().all(is_userinfo) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    check_escapes(userinfo)
}

/// Host and port of a URL as `URL.Host` has them: a zone and characters beyond ASCII stand for themselves. What follows
/// the last colon are digits, or nothing.
///
/// # Errors
/// Go's words for what is no host or no port.
pub fn parse_host(text: &str) -> Result<String, String> {
    let Some(open_idx) = text.rfind('[') else {
        let port_idx = text.rfind(':').unwrap_or(text.len());
        check_port(&text[port_idx..])?;
        return Ok(String::from_utf8_lossy(&unescaped(text, Part::Host)?).into_owned());
    };
    let Some(close_idx) = text.rfind(']') else { return Err("missing ']' in host".to_owned()) };
    let port = &text[close_idx + 1..];
    check_port(port)?;
    let literal = text.get(open_idx + 1..close_idx).filter(|_| open_idx == 0).unwrap_or_default();
    let (address, zone) = literal.split_at(literal.find("%25").unwrap_or(literal.len()));
    let mut host = unescaped(address, Part::Host)?;
    host.extend(unescaped(zone, Part::Zone)?);
    let host = String::from_utf8_lossy(&host);
    let (address, zone) =
        host.split_once('%').map_or((&*host, None), |(address, zone)| (address, Some(zone)));
    match address.parse() {
        Ok(IpAddr::V6(_)) if zone != Some("") => Ok(format!("[{host}]{port}")),
        Ok(IpAddr::V4(_)) if zone.is_none() => Err("invalid IP-literal".to_owned()),
        _ => Err(format!("invalid host: ParseAddr({host:?}): unable to parse IP")),
    }
}

/// Takes a [`parse_host`] apart: the host without brackets, and the port as typed, empty if there is none.
pub fn split_host(host_and_port: &str) -> (&str, &str) {
    let port_idx = host_and_port.rfind(':').filter(|idx| is_port(&host_and_port[*idx..]));
    let (host, port) =
        port_idx.map_or((host_and_port, ""), |idx| (&host_and_port[..idx], &host_and_port[idx + 1..]));
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    (literal.unwrap_or(host), port)
}

fn check_port(text: &str) -> Result<(), String> {
    match text.is_empty() || is_port(text) {
        true => Ok(()),
        false => Err(format!("invalid port {text:?} after host")),
    }
}

/// Whether this is a colon with digits, or none, behind it.
fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Where a text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Zone,
}

/// Whether Go lets a byte of a host stand for itself, in what it reads and what it prints.
pub fn is_host_byte(byte: u8) -> bool {
    !byte.is_ascii() || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

/// Go's `unescape`: in a host only what is beyond ASCII may be escaped, and the percent sign itself.
fn unescaped(text: &str, part: Part) -> Result<Vec<u8>, String> {
    let is_allowed = |byte: u8| match part {
        Part::Host => byte == b'%' || !byte.is_ascii(),
        Part::Zone => byte == b'%' || byte == b' ' || is_host_byte(byte),
    };
    let byte = |piece: Piece<'_>| match piece {
        Piece::Plain(byte) if is_host_byte(byte) => Ok(byte),
        Piece::Plain(byte) => {
            Err(format!("invalid character {:?} in host name", char::from(byte).to_string()))
        }
        Piece::Escape(byte, _) if is_allowed(byte) => Ok(byte),
        Piece::Escape(_, rest) | Piece::Stray(rest) => {
            let shown = String::from_utf8_lossy(&rest.as_bytes()[..rest.len().min(3)]);
            Err(format!("invalid URL escape {shown:?}"))
        }
    };
    pieces(text).map(byte).collect()
}

fn check_escapes(text: &str) -> Result<(), String> {
    let stray = pieces(text).find_map(|piece| if let Piece::Stray(rest) = piece { Some(rest) } else { None });
    let Some(rest) = stray else { return Ok(()) };
    let shown: String = rest.chars().take(3).collect();
    Err(format!("invalid URL escape {shown:?}"))
}

#[cfg(test)]
mod tests {
    use super::{complaint, parse_host, redacted, redacted_address, split_host};

    /// What `promtool` says.
    fn check(text: &str, want: &str) {
        let got = complaint(text).unwrap_or_default();
        assert_eq!(
            got,
            if want.is_empty() { String::new() } else { format!("parse {:?}: {want}", redacted(text)) }
        );
    }

    #[test]
    fn verdicts_are_those_of_go() {
        for good in [
            "",
            "b",
            "localhost:3128",
            "http://a:b@c:99999",
            "ftp://x",
            "http://[::1]:80/%20?q=%zz",
            "/a:b",
            "http://h:",
            "https://ö.example/ä b",
        ] {
            check(good, "");
        }
        check("127.0.0.1:3128", "first path segment in URL cannot contain colon");
        check("http://foo bar/", "invalid character \" \" in host name");
        check("http://[::1", "missing ']' in host");
        check("http://h:port", "invalid port \":port\" after host");
        check("http://[::1]x", "invalid port \"x\" after host");
        check("%zz", "invalid URL escape \"%zz\"");
        check("http://h/%2", "invalid URL escape \"%2\"");
        assert_eq!(
            complaint("http://us er:pw@h").as_deref(),
            Some("parse \"http://us er:xxxxx@h\": net/url: invalid userinfo")
        );
        check(":80", "missing protocol scheme");
        check("http://a\nb", "net/url: invalid control character in URL");
    }

    #[test]
    fn hosts_are_those_of_go() {
        let check = |text: &str, want: Result<(&str, &str), &str>| {
            let parsed = parse_host(text);
            assert_eq!(
                parsed.as_deref().map(split_host),
                want.map_err(str::to_owned).as_ref().copied(),
                "{text}"
            );
        };
        check("box:9100", Ok(("box", "9100")));
        check("box:", Ok(("box", "")));
        check(":80", Ok(("", "80")));
        check("", Ok(("", "")));
        check("[::1]", Ok(("::1", "")));
        check("[fe80::1%25eth0]:9100", Ok(("fe80::1%eth0", "9100")));
        check("[fe80::1%25a%20b]", Ok(("fe80::1%a b", "")));
        check("2001:db8::1:9100", Ok(("2001:db8::1", "9100")));
        check("::1", Ok((":", "1")));
        check("k%C3%BCche.lan:1", Ok(("küche.lan", "1")));
        check("a%25b", Ok(("a%b", "")));
        check("127.0.0.1:00080", Ok(("127.0.0.1", "00080")));
        check("127.0.0.1:99999", Ok(("127.0.0.1", "99999")));
        check("[127.0.0.1]:1", Err("invalid IP-literal"));
        check("[box]", Err("invalid host: ParseAddr(\"box\"): unable to parse IP"));
        check("[fe80::1%25]", Err("invalid host: ParseAddr(\"fe80::1%\"): unable to parse IP"));
        check("[fe80::1%eth0]", Err("invalid URL escape \"%et\""));
        check("[::1", Err("missing ']' in host"));
        check("[::1]x:1", Err("invalid port \"x:1\" after host"));
        for port in [":91OO", ":-1", ":+80", ":http", ":1 2", ": 1", ":0x50", ":１"] {
            check(&format!("127.0.0.1{port}"), Err(&format!("invalid port {port:?} after host")));
            check(&format!("[::1]{port}"), Err(&format!("invalid port {port:?} after host")));
        }
        check("%20box", Err("invalid URL escape \"%20\""));
        check("user%40box", Err("invalid URL escape \"%40\""));
        check("b x", Err("invalid character \" \" in host name"));
        check("a{b", Err("invalid character \"{\" in host name"));
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(redacted("http://user:p@ss@proxy:3128/x"), "http://user:xxxxx@proxy:3128/x");
        assert_eq!(redacted("http://user@proxy"), "http://user@proxy");
        assert_eq!(redacted("http://proxy/a:b@c"), "http://proxy/a:b@c");
        assert_eq!(redacted("localhost:3128"), "localhost:3128");
        assert_eq!(redacted_address("user:p@ss:w@box:1").as_deref(), Some("user:xxxxx@box:1"));
        assert_eq!(redacted_address("user@box:1"), None);
        assert_eq!(redacted_address("box:1"), None);
    }
}
