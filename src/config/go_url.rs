//! Which texts Go's `url.Parse` takes for a URL, and its words for those that it refuses.
//!
//! Prometheus parses some URLs when it reads the configuration; its verdict is ours. Nothing is kept of the parts.

use crate::config::secret::without_secret_parameters;

/// Why `text` is no URL, in Go's words; nothing if it is one, and that is not much to ask.
pub(in crate::config) fn complaint(text: &str) -> Option<String> {
    parse(text).err().map(|cause| format!("parse {text:?}: {cause}"))
}

/// The text with `xxxxx` for its password, as Go's `Redacted` prints it, and for parameters that are named like secrets.
pub(in crate::config) fn redacted(text: &str) -> String {
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
    let port = if host.starts_with('[') {
        let Some((_, port)) = host.rsplit_once(']') else { return Err("missing ']' in host".to_owned()) };
        port
    } else {
        host.rfind(':').map_or("", |idx| &host[idx..])
    };
    let digits = port.strip_prefix(':');
    if !port.is_empty() && !digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(format!("invalid port {port:?} after host"));
    }
    check_escapes(host)?;
    let is_host = |character: char| {
        !character.is_ascii()
            || character.is_ascii_alphanumeric()
            || "-_.~!$&'()*+,;=:[]<>\"%".contains(character)
    };
    if let Some(character) = host.chars().find(|character| !is_host(*character)) {
        return Err(format!("invalid character {:?} in host name", character.to_string()));
    }
    let is_userinfo =
        |character: char| character.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(character);
    if !userinfo.chars().all(is_userinfo) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    check_escapes(userinfo)
}

fn check_escapes(text: &str) -> Result<(), String> {
    for (idx, _) in text.match_indices('%') {
        let escape = text.get(idx + 1..idx + 3).unwrap_or_default();
        if escape.len() < 2 || !escape.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let shown: String = text[idx..].chars().take(3).collect();
            return Err(format!("invalid URL escape {shown:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{complaint, redacted};

    /// What `promtool` says.
    fn check(text: &str, want: &str) {
        let got = complaint(text).unwrap_or_default();
        assert_eq!(got, if want.is_empty() { String::new() } else { format!("parse {text:?}: {want}") });
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
        check("http://us er:pw@h", "net/url: invalid userinfo");
        check(":80", "missing protocol scheme");
        check("http://a\nb", "net/url: invalid control character in URL");
    }

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(redacted("http://user:p@ss@proxy:3128/x"), "http://user:xxxxx@proxy:3128/x");
        assert_eq!(redacted("http://user@proxy"), "http://user@proxy");
        assert_eq!(redacted("http://proxy/a:b@c"), "http://proxy/a:b@c");
        assert_eq!(redacted("localhost:3128"), "localhost:3128");
    }
}
