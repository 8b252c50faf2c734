//! The URLs the client asks: three parts, joined with what a redirect says.
//!
//! Only what `http` needs of RFC 3986: paths and queries are sent as they are unless they have a character that none
//! has, and nothing is normalised except the dots of a redirect.

use std::fmt;

use crate::config::client::go_url::{complaint, is_host_byte, redacted};
use crate::config::client::secret::Secret;
use crate::config::client::secret_names::without_secret_parameters;
use crate::http::address::escape::escape;
use crate::http::address::path::cleaned;
use crate::http::address::site::Site;
use crate::percent;

/// An absolute URL without fragment, of a host that Go's client would ask.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    /// In lower case; only `http` and `https` can be asked.
    pub scheme: String,
    /// `user:password` as typed.
    userinfo: Option<Secret>,
    site: Site,
    /// Already escaped; empty, or starts with `/` or `?`.
    pub path_and_query: String,
}

impl Url {
    /// An absolute URL as typed.
    ///
    /// # Errors
    /// A sentence, without a password: Go's for what is no host or no port, ours where the scheme or the host is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown = || redacted(text);
        let whole = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = whole.split_once("://").ok_or_else(|| format!("{:?} is not a URL", shown()))?;
        if scheme.is_empty() || !scheme.chars().all(is_scheme) {
            return Err(format!("{:?} is not a URL", shown()));
        }
        let url = Self::from_authority(scheme.to_ascii_lowercase(), rest)
            .map_err(|cause| format!("parse {:?}: {cause}", shown()))?;
        if url.site.is_empty() { Err(format!("{:?} names no host", shown())) } else { Ok(url) }
    }

    /// A URL of its parts, as Go prints and reads one again that it made of them: `host_and_port` is not escaped, and
    /// holds neither user nor password.
    ///
    /// # Errors
    /// Go's sentence for what is no host or no port.
    pub fn of_parts(scheme: &str, host_and_port: &str, path_and_query: &str) -> Result<Self, String> {
        let mut escaped = String::new();
        escape(&mut escaped, host_and_port.as_bytes(), |byte| byte.is_ascii() && is_host_byte(byte));
        let site = Site::parse(&escaped).map_err(|cause| {
            let colon = if scheme.is_empty() { "" } else { ":" };
            format!("parse \"{scheme}{colon}//{escaped}{path_and_query}\": {cause}")
        })?;
        let path_and_query = path_and_query.to_owned();
        Ok(Self { scheme: scheme.to_owned(), userinfo: None, site, path_and_query })
    }

    /// The same with `user:password`, which are sent as credentials and not shown.
    pub fn with_userinfo(&self, userinfo: &Secret) -> Self {
        Self { userinfo: Some(userinfo.clone()), ..self.clone() }
    }

    /// The same with the path that signatures of Amazon's cloud are over: no doubled slash, no step through directories.
    pub(in crate::http) fn with_clean_path(&self) -> Self {
        let end_idx = self.path_and_query.find('?').unwrap_or(self.path_and_query.len());
        let (path, query) = self.path_and_query.split_at(end_idx);
        Self { path_and_query: format!("{}{query}", cleaned(path)), ..self.clone() }
    }

    /// `user:password` as typed.
    pub(in crate::http) fn userinfo(&self) -> Option<&str> {
        self.userinfo.as_ref().map(Secret::expose)
    }

    /// Host and port.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// For ureq, which takes no user and fewer hosts: it connects to where its client says.
    pub(in crate::http) fn request_uri(&self) -> String {
        let slash = if self.path_and_query.starts_with('/') { "" } else { "/" };
        format!("{}://{}{slash}{}", self.scheme, self.site.key(), self.path_and_query)
    }

    /// Whether what `owner` may know is safe here: the same host or one below it (Go's `isDomainOrSubdomain`), and
    /// not without TLS where there was TLS.
    pub(in crate::http) fn is_site_of(&self, owner: &Self) -> bool {
        let (host, parent) = (self.site.host().to_ascii_lowercase(), owner.site.host().to_ascii_lowercase());
        let is_below = !parent.is_empty()
            && !host.contains([':', '%'])
            && host.strip_suffix(&parent).is_some_and(|before| before.ends_with('.'));
        (host == parent || is_below) && (owner.scheme != "https" || self.scheme == "https")
    }

    /// What a `Location` of an answer from this URL means.
    ///
    /// # Errors
    /// Go's words, without a password, for what is no URL.
    pub fn join(&self, location: &str) -> Result<Self, String> {
        if let Some(words) = complaint(location) {
            return Err(words);
        }
        let failed = |cause| format!("parse {:?}: {cause}", redacted(location));
        let location = location.split('#').next().unwrap_or_default();
        if let Some((scheme, rest)) = location.split_once("://")
            && scheme.chars().all(is_scheme)
        {
            let url = Self::from_authority(scheme.to_ascii_lowercase(), rest).map_err(failed)?;
            return Ok(url.without_dots());
        }
        if let Some(rest) = location.strip_prefix("//") {
            let url = Self::from_authority(self.scheme.clone(), rest).map_err(failed)?;
            return Ok(url.without_dots());
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
        let joined = Self { path_and_query, ..self.clone() };
        Ok(if location.is_empty() || location.starts_with('?') { joined } else { joined.without_dots() })
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

    fn from_authority(scheme: String, rest: &str) -> Result<Self, String> {
        let end_idx = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end_idx);
        let (userinfo, host_and_port) = match authority.rsplit_once('@') {
            Some((userinfo, host_and_port)) => (Some(Secret::new(userinfo)), host_and_port),
            None => (None, authority),
        };
        let site = Site::parse(host_and_port)?;
        Ok(Self { scheme, userinfo, site, path_and_query: escaped(path) })
    }
}

fn is_scheme(character: char) -> bool {
    character.is_ascii_alphanumeric() || "+-.".contains(character)
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
        // A password is no one's business.
        let path_and_query = without_secret_parameters(&self.path_and_query);
        match self.userinfo().and_then(|userinfo| userinfo.split_once(':')) {
            Some((user, _)) => write!(f, "//{user}:***@{}{path_and_query}", self.site),
            None => {
                let user = self.userinfo().map(|user| format!("{user}@")).unwrap_or_default();
                write!(f, "//{user}{}{path_and_query}", self.site)
            }
        }
    }
}

/// A URL or a part of one as somebody sent it, without a password.
pub(in crate::http) fn without_password(location: &str) -> String {
    Url::parse(location).map_or_else(|_| redacted(location), |url| url.to_string())
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
        false => escape(&mut escaped, &percent::decoded(path), |byte| b"/$&+,;=:@".contains(&byte)),
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
        let base = Url::parse("http://box:9100/a/b/metrics?x=1").expect("a URL");
        assert_eq!(base.join(location).expect("a URL").to_string(), joined, "{location}");
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
        assert_eq!(url.request_uri(), "https://box:443/?q");
        assert_eq!((url.userinfo(), url.site().host()), (Some("user:p@ss"), "box"));
        assert_eq!(format!("{url:?}"), url.to_string());
        let other = Url::parse("http://box/write").expect("a URL").with_userinfo(&Secret::new("a:p"));
        assert_eq!((other.userinfo(), other.to_string()), (Some("a:p"), "http://a:***@box/write".to_owned()));
        assert_eq!(without_password("http://a:b@c/d"), "http://a:***@c/d");
        assert_eq!(without_password("/d"), "/d");
        for text in ["", "box:9100/metrics", "://box", "http:/box"] {
            assert_eq!(Url::parse(text), Err(format!("{text:?} is not a URL")), "{text}");
        }
        assert_eq!(Url::parse("http://"), Err("\"http://\" names no host".to_owned()));
    }

    #[test]
    fn what_go_refuses_is_refused_and_no_password_is_told() {
        let base = Url::parse("http://box").expect("a URL");
        for port in [":91OO", ":-1", ":+80", ":http", ":80 "] {
            let text = format!("http://user:secret@127.0.0.1{port}/metrics");
            let want = format!(
                "parse \"http://user:xxxxx@127.0.0.1{port}/metrics\": invalid port \"{port}\" after host"
            );
            assert_eq!(Url::parse(&text), Err(want.clone()));
            assert_eq!(base.join(&text), Err(want));
            let of_parts = Url::of_parts("http", &format!("[::1]{port}"), "/m").expect_err("no port");
            let port = port.replace(' ', "%20");
            assert_eq!(
                of_parts,
                format!("parse \"http://[::1]{port}/m\": invalid port \"{port}\" after host")
            );
        }
        for (location, cause) in [
            ("://box/m", "missing protocol scheme"),
            ("1http://box/m", "first path segment in URL cannot contain colon"),
            ("/a b%", "invalid URL escape \"%\""),
            ("/a\tb", "net/url: invalid control character in URL"),
        ] {
            assert_eq!(base.join(location), Err(format!("parse {location:?}: {cause}")));
        }
        let of_parts = |host: &str| Url::of_parts("http", host, "/m").map(|url| url.to_string());
        let want = "parse \"http://user:pw%40box:1/m\": invalid URL escape \"%40\"";
        assert_eq!(of_parts("user:pw@box:1"), Err(want.to_owned()));
        assert_eq!(of_parts("[::1%lo]:1").as_deref(), Ok("http://[::1%25lo]:1/m"));
        assert_eq!(of_parts("[::1%25lo]:1").as_deref(), Ok("http://[::1%2525lo]:1/m"));
        assert_eq!(of_parts("küche:1").as_deref(), Ok("http://k%C3%BCche:1/m"));
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
            if !typed.ends_with('%') {
                check(typed, &format!("http://box:9100{sent}"));
            }
        }
        assert_eq!(Url::parse("http://box?my db").expect("a URL").path_and_query, "?my%20db");
        check("?my ü", "http://box:9100/a/b/metrics?my%20%C3%BC");
    }

    #[test]
    fn a_clean_path_keeps_the_query_and_the_slash_at_the_end() {
        for (typed, clean) in [("", "/"), ("?a=//b", "/?a=//b"), ("//a/./b/../c//?d/../e", "/a/c/?d/../e")] {
            let url = Url::parse(&format!("http://u:p@box{typed}")).expect("a URL").with_clean_path();
            assert_eq!((url.path_and_query.as_str(), url.userinfo()), (clean, Some("u:p")), "{typed}");
        }
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
