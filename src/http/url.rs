//! The URLs the client asks: three parts, joined with what a redirect says.
//!
//! Only what `http` needs of RFC 3986: paths and queries are sent as they are unless they have a character that none
//! has, and nothing is normalised except the dots of a redirect.

use std::fmt;

use crate::config::secret::{Secret, without_secret_parameters};
use crate::http::escape::escape;

/// An absolute URL without fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// In lower case; only `http` and `https` can be asked.
    pub scheme: String,
    /// Host and port as written, user and password before them if given; the port may be missing.
    pub authority: String,
    /// Already escaped; empty, or starts with `/` or `?`.
    pub path_and_query: String,
}

impl Url {
    /// An absolute URL as typed; `None` if it has no scheme or no host.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split('#').next()?.split_once("://")?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let url = Self::from_authority(scheme.to_ascii_lowercase(), rest);
        (scheme.chars().all(is_scheme) && !scheme.is_empty() && !url.host().is_empty()).then_some(url)
    }

    /// The same with `user:password`, which are sent as credentials and not shown.
    pub fn with_userinfo(&self, userinfo: &Secret) -> Self {
        Self { authority: format!("{}@{}", userinfo.expose(), self.host_and_port()), ..self.clone() }
    }

    /// `user:password` as typed.
    pub(in crate::http) fn userinfo(&self) -> Option<&str> {
        self.authority.rsplit_once('@').map(|(userinfo, _)| userinfo)
    }

    /// The authority without user and password.
    pub(in crate::http) fn host_and_port(&self) -> &str {
        self.authority.rsplit_once('@').map_or(self.authority.as_str(), |(_, host)| host)
    }

    /// Of an IPv6 address with its brackets.
    pub(in crate::http) fn host(&self) -> &str {
        let host_and_port = self.host_and_port();
        &host_and_port[..self.port_idx().unwrap_or(host_and_port.len())]
    }

    /// As typed; `None` if there is none, or an empty one.
    pub(in crate::http) fn port(&self) -> Option<&str> {
        self.port_idx().map(|idx| &self.host_and_port()[idx + 1..]).filter(|port| !port.is_empty())
    }

    /// Where the colon before the port is.
    fn port_idx(&self) -> Option<usize> {
        let host_and_port = self.host_and_port();
        host_and_port.rfind(':').filter(|idx| !host_and_port[*idx..].contains(']'))
    }

    /// As it is asked.
    pub(in crate::http) fn without_userinfo(&self) -> String {
        let slash = if self.path_and_query.starts_with('/') { "" } else { "/" };
        format!("{}://{}{slash}{}", self.scheme, self.host_and_port(), self.path_and_query)
    }

    /// Whether what `owner` may know is safe here: the same host or one below it (Go's `isDomainOrSubdomain`), and
    /// not without TLS where there was TLS.
    pub(in crate::http) fn is_site_of(&self, owner: &Self) -> bool {
        let (host, parent) = (self.host().to_ascii_lowercase(), owner.host().to_ascii_lowercase());
        let is_below = !parent.is_empty()
            && !host.contains([':', '%'])
            && host.strip_suffix(&parent).is_some_and(|before| before.ends_with('.'));
        (host == parent || is_below) && (owner.scheme != "https" || self.scheme == "https")
    }

    /// What a `Location` of an answer from this URL means.
    pub fn join(&self, location: &str) -> Self {
        let location = location.split('#').next().unwrap_or_default();
        if let Some((scheme, rest)) = location.split_once("://")
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        {
            return Self::from_authority(scheme.to_ascii_lowercase(), rest).without_dots();
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::from_authority(self.scheme.clone(), rest).without_dots();
        }
        let (path, query) = self.path_and_query.split_once('?').unwrap_or((&self.path_and_query, ""));
        let path_and_query = if location.is_empty() {
            if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
        } else if location.starts_with('?') {
            format!("{path}{location}")
        } else if location.starts_with('/') {
            location.to_owned()
        } else {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            format!("{directory}/{location}")
        };
        let path_and_query = escaped(&path_and_query);
        let joined = Self { scheme: self.scheme.clone(), authority: self.authority.clone(), path_and_query };
        if location.is_empty() || location.starts_with('?') { joined } else { joined.without_dots() }
    }

    /// As Go resolves what a redirect says, absolute or not.
    fn without_dots(mut self) -> Self {
        let end_idx = self.path_and_query.find('?').unwrap_or(self.path_and_query.len());
        let (path, query) = self.path_and_query.split_at(end_idx);
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            self.path_and_query = format!("{}{query}", without_dots(path));
        }
        self
    }

    fn from_authority(scheme: String, rest: &str) -> Self {
        let end_idx = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end_idx);
        Self { scheme, authority: authority.to_owned(), path_and_query: escaped(path) }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As Go prints a URL without a scheme.
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        // A password is nobody's business.
        let path_and_query = without_secret_parameters(&self.path_and_query);
        match self.userinfo().and_then(|userinfo| userinfo.split_once(':')) {
            Some((user, _)) => write!(f, "//{user}:***@{}{path_and_query}", self.host_and_port()),
            None => write!(f, "//{}{path_and_query}", self.authority),
        }
    }
}

/// A URL or a part of one as somebody sent it, without a password.
pub(in crate::http) fn without_password(location: &str) -> String {
    Url::parse(location).map_or_else(|| location.to_owned(), |url| url.to_string())
}

/// `%20` and the like; what is no escape stays as it is.
pub(in crate::http) fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        let byte = digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    decoded
}

/// Go's `URL.EscapedPath` for the part before the `?`: a path that can be sent stays as it is, another one is escaped as
/// a whole. Of the query only what no request line can hold is escaped; Go sends that too as it is, and what servers
/// make of it is the same. Control characters stay, and are refused when the request is made.
fn escaped(path_and_query: &str) -> String {
    let end_idx = path_and_query.find('?').unwrap_or(path_and_query.len());
    let (path, query) = path_and_query.split_at(end_idx);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/%!$&'()*+,;=:@[]".contains(&byte);
    let can_stand = |byte: u8| byte.is_ascii() && !b" \"<>".contains(&byte);
    if path.bytes().all(is_plain) && query.bytes().all(can_stand) {
        return path_and_query.to_owned();
    }
    let mut escaped = String::new();
    match path.bytes().all(is_plain) {
        true => escaped.push_str(path),
        false => escape(&mut escaped, &percent_decoded(path), |byte| b"/$&+,;=:@".contains(&byte)),
    }
    escape(&mut escaped, query.as_bytes(), can_stand);
    escaped
}

/// RFC 3986, section 5.2.4, for a path that starts with `/`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in path.split('/').skip(1) {
        ends_in_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            name => kept.push(name),
        }
    }
    if ends_in_directory {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(location: &str, joined: &str) {
        let base = Url {
            scheme: "http".to_owned(),
            authority: "box:9100".to_owned(),
            path_and_query: "/a/b/metrics?x=1".to_owned(),
        };
        assert_eq!(base.join(location).to_string(), joined, "{location}");
    }

    #[test]
    fn locations_are_joined_as_rfc_3986_says() {
        check("http://other/m", "http://other/m");
        check("HTTPS://other:1?q#f", "https://other:1?q");
        check("//[::1]:9100/m", "http://[::1]:9100/m");
        check("/m?y=2", "http://box:9100/m?y=2");
        check("m", "http://box:9100/a/b/m");
        check("../m?y=/../2", "http://box:9100/a/m?y=/../2");
        check("../../../m/.", "http://box:9100/m/");
        check("/x/../m?/../y", "http://box:9100/m?/../y");
        check("/x//../m/./", "http://box:9100/x/m/");
        check("//other/a/../../m", "http://other/m");
        check("https://other/./m/..?q", "https://other/?q");
        check("/a b/../ü", "http://box:9100/%C3%BC");
        check("?y=2", "http://box:9100/a/b/metrics?y=2");
        check("", "http://box:9100/a/b/metrics?x=1");
        check("#top", "http://box:9100/a/b/metrics?x=1");
        check("ftp://other/m", "ftp://other/m");
    }

    #[test]
    fn passwords_are_not_printed_and_not_part_of_what_is_asked() {
        let url = Url::parse("https://user:p@ss@box:443?q").expect("a URL");
        assert_eq!(url.to_string(), "https://user:***@box:443?q");
        assert_eq!(url.without_userinfo(), "https://box:443/?q");
        assert_eq!((url.userinfo(), url.host()), (Some("user:p@ss"), "box"));
        assert_eq!(format!("{url:?}"), url.to_string());
        let other = Url::parse("http://box/write").expect("a URL").with_userinfo(&Secret::new("a:p"));
        assert_eq!((other.userinfo(), other.to_string()), (Some("a:p"), "http://a:***@box/write".to_owned()));
        assert_eq!(without_password("http://a:b@c/d"), "http://a:***@c/d");
        assert_eq!(without_password("/d"), "/d");
        for text in ["", "box:9100/metrics", "://box", "http://", "http://:80/", "http:/box"] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_path_is_sent_as_go_sends_it() {
        for (typed, sent) in [
            ("/a%2Fb%41;x=[1]?y z", "/a%2Fb%41;x=[1]?y%20z"),
            ("/a b/ü!?ü", "/a%20b/%C3%BC%21?%C3%BC"),
            ("/a?b=%zz%20+`{|}^\\'[]~\"<>/?", "/a?b=%zz%20+`{|}^\\'[]~%22%3C%3E/?"),
            ("/a%2Fb c%", "/a/b%20c%25"),
            ("/{a}|b", "/%7Ba%7D%7Cb"),
        ] {
            assert_eq!(Url::parse(&format!("http://box{typed}")).expect("a URL").path_and_query, sent);
            check(typed, &format!("http://box:9100{sent}"));
        }
        assert_eq!(Url::parse("http://box?my db").expect("a URL").path_and_query, "?my%20db");
        check("?my ü", "http://box:9100/a/b/metrics?my%20%C3%BC");
    }

    #[test]
    fn credentials_stay_with_their_host() {
        let check = |owner: &str, other: &str, want: bool| {
            let (owner, other) = (Url::parse(owner).expect("a URL"), Url::parse(other).expect("a URL"));
            assert_eq!(other.is_site_of(&owner), want, "{owner} {other}");
        };
        check("http://box:1/", "http://BOX:2/", true);
        check("http://box", "https://box", true);
        check("https://box", "http://box", false);
        check("http://box.lan", "http://a.box.lan", true);
        check("http://box.lan", "http://abox.lan", false);
        check("http://a.box.lan", "http://box.lan", false);
        check("http://10.0.0.1", "http://10.0.0.2", false);
        check("http://[::1]:1", "http://[::1]:2", true);
        check("http://[::1]", "http://[::2]", false);
        check("http://box", "http://user@evil/box", false);
    }
}
