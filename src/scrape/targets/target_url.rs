//! A target's URL: put together and printed as Go's `net/url` does it, since `scrapeUrl` of the API and the text of
//! errors show it.
//!
//! Made during a pool's sync; opens nothing and resolves no name.

use crate::http::address::escape::{escape, escape_query};
use std::collections::BTreeMap;
use std::fmt;

/// Labels that start like this are query parameters.
pub const PARAM_LABEL_PREFIX: &str = "__param_";

/// Address of a target's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    /// What relabelling left in `__scheme__`.
    pub scheme: UrlScheme,
    /// Host and port as in `__address__`; no default port is added.
    pub authority: String,
    /// Escaped path and query; empty, or starts with `/` or `?`.
    pub path_and_query: String,
}

/// Scheme of a target's URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum UrlScheme {
    Http,
    Https,
    /// `file:` in front of an address: a path.
    File,
    /// `exec:` in front of an address: a command.
    Exec,
    /// HTTP over the socket at this path.
    HttpOverSocket(Box<str>),
    /// HTTP over TLS, over the socket at this path.
    HttpsOverSocket(Box<str>),
    /// Anything else; each scrape fails with `unsupported protocol scheme "ftp"`.
    Unsupported(Box<str>),
}

impl UrlScheme {
    /// As it stands in a URL.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::File => "file",
            Self::Exec => "exec",
            Self::HttpOverSocket(_) => "http+unix",
            Self::HttpsOverSocket(_) => "https+unix",
            Self::Unsupported(scheme) => scheme,
        }
    }

    /// What is spoken, wherever the connection leads.
    pub fn spoken(&self) -> &str {
        match self {
            Self::HttpOverSocket(_) => "http",
            Self::HttpsOverSocket(_) => "https",
            scheme => scheme.as_str(),
        }
    }

    /// Whether a file or a command of this machine gives the page.
    pub fn is_local_page(&self) -> bool {
        matches!(self, Self::File | Self::Exec)
    }

    /// The socket of this machine that a connection leads to.
    pub fn socket(&self) -> Option<&str> {
        match self {
            Self::HttpOverSocket(path) | Self::HttpsOverSocket(path) => Some(path),
            _ => None,
        }
    }
}

impl TargetUrl {
    /// `configured` are the job's `params`. Of a name that also stands in `labels` (without `__param_`) the label
    /// replaces the first value; without the label the configured value holds.
    pub fn build<'a>(
        scheme: &str,
        address: &str,
        metrics_path: &str,
        configured: &'a [(String, Vec<String>)],
        labels: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let (local, address, metrics_path) = match local_part(address) {
            Some((local, rest)) => (Some(local), rest, ""),
            None => (None, address, metrics_path),
        };
        let scheme = local.unwrap_or_else(|| match scheme {
            http if http.eq_ignore_ascii_case("http") => UrlScheme::Http,
            https if https.eq_ignore_ascii_case("https") => UrlScheme::Https,
            other => UrlScheme::Unsupported(other.into()),
        });
        let mut params: BTreeMap<&str, Vec<&str>> = configured
            .iter()
            .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
            .collect();
        for (name, value) in labels {
            let values = params.entry(name).or_default();
            match values.first_mut() {
                Some(first) => *first = value,
                None => values.push(value),
            }
        }
        let mut path_and_query = String::new();
        if !metrics_path.is_empty() && !metrics_path.starts_with('/') {
            path_and_query.push('/');
        }
        escape(&mut path_and_query, metrics_path.as_bytes(), |byte| b"$&+,/:;=@".contains(&byte));
        let mut separator = '?';
        for (name, values) in &params {
            for value in values {
                path_and_query.push(separator);
                separator = '&';
                escape_query(&mut path_and_query, name);
                path_and_query.push('=');
                escape_query(&mut path_and_query, value);
            }
        }
        Self { scheme, authority: address.to_owned(), path_and_query }
    }

    /// The same, asked over the socket at `path`; the host is only said in the header `Host`. Files and commands have
    /// no use for one.
    pub fn over_socket(self, path: &str) -> Self {
        let scheme = match self.scheme {
            UrlScheme::Http => UrlScheme::HttpOverSocket(path.into()),
            UrlScheme::Https => UrlScheme::HttpsOverSocket(path.into()),
            other => other,
        };
        Self { scheme, ..self }
    }

    /// Path and query for a request line: starts with `/`.
    pub fn request_target(&self) -> String {
        if self.path_and_query.starts_with('/') {
            self.path_and_query.clone()
        } else {
            format!("/{}", self.path_and_query)
        }
    }
}

/// What an address that starts with `file:/` or `exec:/` names on this machine; without the slash it is a port of a host
/// of that name.
pub fn local_part(address: &str) -> Option<(UrlScheme, &str)> {
    let file = address.strip_prefix("file:").map(|path| (UrlScheme::File, path));
    let local = file.or_else(|| address.strip_prefix("exec:").map(|command| (UrlScheme::Exec, command)));
    local.filter(|(_, path)| path.starts_with('/'))
}

/// As `scrapeUrl` of the API shows it.
impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme.is_local_page() {
            return write!(f, "{}:{}{}", self.scheme.as_str(), self.authority, self.path_and_query);
        }
        if !self.scheme.as_str().is_empty() {
            write!(f, "{}:", self.scheme.as_str())?;
        }
        let mut host = String::new();
        if let Some(path) = self.scheme.socket() {
            escape(&mut host, path.as_bytes(), |_| false);
            return write!(f, "//{host}{}", self.path_and_query);
        }
        escape(&mut host, self.authority.as_bytes(), |byte| b"!$&'()*+,;=:[]<>\"".contains(&byte));
        write!(f, "//{host}{}", self.path_and_query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        (scheme, address, path): (&str, &str, &str),
        configured: &[(&str, &[&str])],
        labels: &[(&str, &str)],
        want: &str,
    ) {
        let configured: Vec<(String, Vec<String>)> = configured
            .iter()
            .map(|(name, values)| ((*name).to_owned(), values.iter().map(|it| (*it).to_owned()).collect()))
            .collect();
        let url = TargetUrl::build(scheme, address, path, &configured, labels.iter().copied());
        assert_eq!(url.to_string(), want);
    }

    #[test]
    fn a_socket_takes_the_place_of_the_host() {
        let url = |scheme| TargetUrl::build(scheme, "box:80", "/metrics", &[], [("x", "1")].into_iter());
        assert_eq!((url("HTTP").scheme, url("hTTps").scheme), (UrlScheme::Http, UrlScheme::Https));
        let over = |scheme| url(scheme).over_socket("/run/x y.sock");
        assert_eq!(over("http").to_string(), "http+unix://%2Frun%2Fx%20y.sock/metrics?x=1");
        assert_eq!(over("https").to_string(), "https+unix://%2Frun%2Fx%20y.sock/metrics?x=1");
        assert_eq!((over("https").scheme.spoken(), over("https").authority.as_str()), ("https", "box:80"));
        assert_eq!(over("ftp").to_string(), url("ftp").to_string());
    }

    #[test]
    fn prints_as_go_prints_it() {
        check(("http", "a:80", "/metrics"), &[], &[], "http://a:80/metrics");
        check(("https", "a", "/metrics"), &[], &[], "https://a/metrics");
        check(("http", "[::1]:9100", "/metrics"), &[], &[], "http://[::1]:9100/metrics");
        check(("http", "a", "metrics"), &[], &[], "http://a/metrics");
        check(("http", "a", ""), &[], &[], "http://a");
        check(("", "a", "/m"), &[], &[], "//a/m");
        check(("ftp", "a", "/m"), &[], &[], "ftp://a/m");
        check(("http", "a", "/m?x=1&y"), &[], &[], "http://a/m%3Fx=1&y");
        check(("http", "a", "/a b/ü%2f!*"), &[], &[], "http://a/a%20b/%C3%BC%252f%21%2A");
        check(("http", "a b", "/m"), &[], &[], "http://a%20b/m");
    }

    #[test]
    fn a_param_label_replaces_only_the_first_value() {
        let params: &[(&str, &[&str])] = &[("module", &["a", "b"]), ("none", &[])];
        check(("http", "h", "/p"), params, &[], "http://h/p?module=a&module=b");
        check(("http", "h", "/p"), params, &[("module", "x y")], "http://h/p?module=x+y&module=b");
        check(
            ("http", "h", "/p"),
            params,
            &[("a/b", "&"), ("none", "1")],
            "http://h/p?a%2Fb=%26&module=a&module=b&none=1",
        );
        check(("http", "h", ""), params, &[], "http://h?module=a&module=b");
    }

    #[test]
    fn a_request_line_has_a_path() {
        let url = TargetUrl::build("http", "h", "", &[], [("a", "1")].into_iter());
        assert_eq!((url.to_string().as_str(), url.request_target().as_str()), ("http://h?a=1", "/?a=1"));
    }
}
