//! Where the pages are and who may ask for them: `--web.external-url`, `--web.route-prefix`, `--web.cors.origin`, and
//! what a browser says of the site that a request comes from.
//!
//! There is no password. A browser on this machine asks on behalf of any site that is open in it, so what names
//! another site gets nothing changed, and a name that is not this machine's gets nothing at all on a socket that is
//! meant for this machine alone (DNS rebinding).

use crate::web::serve::http::{Request, Response};
use scraped_engine::labels::pattern::Pattern;
use std::net::IpAddr;

/// The server as others see it.
#[derive(Clone, Debug)]
pub struct Site {
    external: ExternalUrl,
    /// Before every route: empty, or `/prefix`.
    prefix: String,
    cors: Option<Cors>,
    /// This machine's own name, in lower case.
    hostname: String,
    /// Port of the first listener.
    port: String,
    /// `--web.external-url` names its host.
    is_named: bool,
}

/// `--web.external-url`, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalUrl {
    /// `http` or `https`; empty if only a path was given.
    pub scheme: String,
    /// With a port if there is one.
    pub authority: String,
    /// Empty, or `/prefix` without a slash at its end.
    pub path: String,
}

/// `--web.cors.origin`.
#[derive(Clone, Debug)]
pub enum Cors {
    /// `.*`: every site.
    Any,
    /// Sites that match.
    Matching(Pattern),
}

impl ExternalUrl {
    /// Takes a URL apart, or a path alone.
    ///
    /// # Errors
    /// A sentence about what it should be.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with(['"', '\'']) || text.ends_with(['"', '\'']) {
            return Err("URL must not begin or end with quotes".to_owned());
        }
        let (scheme, authority, rest) = match text.split_once("://") {
            Some((scheme, rest)) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let authority = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
                if !matches!(scheme, "http" | "https") || authority.is_empty() {
                    return Err("must be http://HOST[:PORT][/PREFIX], https://… or /PREFIX".to_owned());
                }
                (scheme, authority, &rest[end..])
            }
            // Go takes the host for a scheme, and nothing for a path.
            None if is_scheme_like(text) => ("http", text.split('/').next().unwrap_or_default(), ""),
            None if text.split('/').next().is_some_and(|first| first.contains(':')) => {
                return Err(
                    "first path segment in URL cannot contain colon; write http://HOST:PORT".to_owned()
                );
            }
            None => ("", "", text),
        };
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        if path.bytes().any(|byte| byte.is_ascii_control() || b" \"<>".contains(&byte)) {
            return Err("its path holds a character that no URL may hold".to_owned());
        }
        Ok(Self { scheme: scheme.to_owned(), authority: authority.to_owned(), path: with_slash(path) })
    }
}

/// `host:port` that starts with a letter.
fn is_scheme_like(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let scheme = text.split_once(':').map_or("", |(scheme, _)| scheme);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(is_part)
}

/// `/a/b` of `a/b/`; empty of nothing and of `/`.
fn with_slash(path: &str) -> String {
    match path.trim_matches('/') {
        "" => String::new(),
        path => format!("/{path}"),
    }
}

impl Cors {
    /// Reads the pattern of sites; it is anchored.
    ///
    /// # Errors
    /// It is no pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            ".*" => Ok(Self::Any),
            text => Pattern::new(text).map(Self::Matching).map_err(|err| err.to_string()),
        }
    }
}

/// Where a path leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::web) enum Place<'a> {
    /// A path of this server, behind the prefix; starts with `/`.
    Inside(&'a str),
    /// The root, where a prefix is in force.
    BeforePrefix,
    /// The prefix without its slash.
    AtPrefix,
    /// Nowhere.
    Outside,
}

impl Site {
    /// `route_prefix` is the path of the external URL if it is not given; `port` is the first listener's. Without an
    /// external URL it is this machine's name, by `https` if `is_tls`.
    pub fn new(
        external: Option<ExternalUrl>,
        route_prefix: Option<&str>,
        cors: Option<Cors>,
        hostname: &str,
        port: u16,
        is_tls: bool,
    ) -> Self {
        let is_named = external.as_ref().is_some_and(|external| !external.authority.is_empty());
        let port = port.to_string();
        let external = external.unwrap_or_else(|| ExternalUrl {
            scheme: if is_tls { "https" } else { "http" }.to_owned(),
            authority: format!("{hostname}:{port}"),
            path: String::new(),
        });
        let prefix = with_slash(route_prefix.unwrap_or(&external.path));
        Self { external, prefix, cors, hostname: hostname.to_ascii_lowercase(), port, is_named }
    }

    /// What stands before the path of a link: empty, or `/prefix`.
    pub(in crate::web) fn base(&self) -> &str {
        &self.external.path
    }

    /// Where the first page is, for the log: under the routes, not under the external URL.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(in crate::web) fn place<'a>(&self, path: &'a str) -> Place<'a> {
        match path.strip_prefix(self.prefix.as_str()) {
            Some("") if !self.prefix.is_empty() => Place::AtPrefix,
            Some(rest) if rest.starts_with('/') => Place::Inside(rest),
            _ if path == "/" => Place::BeforePrefix,
            _ => Place::Outside,
        }
    }

    /// A loopback address as others reach it: the daemon itself by its external URL, its neighbours by the host of it
    /// (`web/api/v1/api.go: getGlobalURL`). `None` if there is nothing to replace.
    pub(in crate::web) fn global_authority(&self, port: Option<&str>) -> (Option<&str>, String) {
        match port {
            Some(port) if port == self.port => {
                (Some(self.external.scheme.as_str()), self.external.authority.clone())
            }
            port => {
                let host = host_of(&self.external.authority);
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                (None, port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
            }
        }
    }

    /// Why a request is refused for where it comes from; `changes` says whether it would change anything.
    pub(in crate::web) fn refusal(&self, request: &Request, changes: bool) -> Option<Response> {
        if request.is_loopback
            && let Some(host) = request.host.as_deref().filter(|host| !self.is_own(host))
        {
            let sentence = format!(
                "{host:?} is not a name of this server, which listens on this machine alone; ask for localhost, or name \
                 the host in --web.external-url\n"
            );
            return Some(Response::text(421, sentence));
        }
        (changes && self.is_from_elsewhere(request)).then(|| {
            let sentence = "this request comes from a page of another site and changes nothing here; send it from a page of \
                            this server, or without a browser\n";
            Response::text(403, sentence)
        })
    }

    /// Whether the host of a request means this machine, or what stands before it.
    fn is_own(&self, authority: &str) -> bool {
        let host = host_of(authority).trim_end_matches('.').to_ascii_lowercase();
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        let is_external = self.is_named && host_of(&self.external.authority).eq_ignore_ascii_case(&host);
        is_loopback
            || host == "localhost"
            || host.ends_with(".localhost")
            || host == self.hostname
            || is_external
    }

    fn is_from_elsewhere(&self, request: &Request) -> bool {
        if let Some(distance) = &request.fetch_site {
            return !matches!(distance.as_str(), "same-origin" | "none");
        }
        let Some(origin) = &request.origin else { return false };
        let is_external = self.is_named
            && origin.split_once("://").is_some_and(|(scheme, authority)| {
                scheme == self.external.scheme && authority.eq_ignore_ascii_case(&self.external.authority)
            });
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        let is_asked = request.host.as_deref().is_some_and(|host| authority.eq_ignore_ascii_case(host));
        !is_external && !is_asked
    }

    /// Headers that let other sites read the API (`util/httputil/cors.go`).
    pub(in crate::web) fn with_cors(&self, request: &Request, response: Response) -> Response {
        let Some(cors) = &self.cors else { return response };
        let response = response.header("Vary", "Origin");
        let Some(origin) = request.origin.as_deref().filter(|origin| !origin.is_empty()) else {
            return response;
        };
        let response = response
            .header("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Origin")
            .header("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
            .header("Access-Control-Expose-Headers", "Date");
        match cors {
            Cors::Any => response.header("Access-Control-Allow-Origin", "*"),
            Cors::Matching(sites) if sites.is_match(origin) => {
                response.header("Access-Control-Allow-Origin", origin)
            }
            Cors::Matching(_) => response,
        }
    }
}

/// The host of `host:port`, without brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if !host.contains(':') => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::{Cors, ExternalUrl, Place, Site};
    use crate::web::serve::http::Request;

    fn site(external: Option<&str>, route_prefix: Option<&str>) -> Site {
        let external = external.map(|text| ExternalUrl::parse(text).unwrap());
        Site::new(external, route_prefix, None, "Box", 9090, false)
    }

    #[test]
    fn external_urls() {
        let check = |text: &str, want: (&str, &str, &str)| {
            let url = ExternalUrl::parse(text).unwrap();
            assert_eq!((url.scheme.as_str(), url.authority.as_str(), url.path.as_str()), want, "{text}");
        };
        check("http://a.example:80/", ("http", "a.example:80", ""));
        check("https://u:p@a.example/x/y/?q", ("https", "a.example", "/x/y"));
        check("localhost:9090", ("http", "localhost:9090", ""));
        check("a.example:9090/x", ("http", "a.example:9090", ""));
        check("/prom", ("", "", "/prom"));
        check("prom/", ("", "", "/prom"));
        for bad in ["\"http://a\"", "http://a'", "ftp://a", "http:///x", "1.2.3.4:9090", "http://a/<b>"] {
            assert!(ExternalUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes() {
        let check = |external: Option<&str>, route: Option<&str>, want: (&str, &str)| {
            let site = site(external, route);
            assert_eq!((site.prefix(), site.base()), want, "{external:?} {route:?}");
        };
        check(None, None, ("", ""));
        check(Some("http://a/x"), None, ("/x", "/x"));
        check(Some("http://a/x"), Some("/"), ("", "/x"));
        check(Some("http://a/x"), Some("y/"), ("/y", "/x"));
        let site = site(None, Some("/prom"));
        let check = |path: &str, want| assert_eq!(site.place(path), want, "{path}");
        check("/", Place::BeforePrefix);
        check("/prom", Place::AtPrefix);
        check("/prom/", Place::Inside("/"));
        check("/prom/metrics", Place::Inside("/metrics"));
        check("/prometheus", Place::Outside);
        check("/metrics", Place::Outside);
        assert_eq!(self::site(None, None).place("/metrics"), Place::Inside("/metrics"));
        assert_eq!(self::site(None, None).place("/"), Place::Inside("/"));
    }

    #[test]
    fn without_an_external_url_it_is_this_machine_by_what_the_server_speaks() {
        for (is_tls, scheme) in [(false, "http"), (true, "https")] {
            let site = Site::new(None, None, None, "box", 9090, is_tls);
            assert_eq!(site.global_authority(Some("9090")), (Some(scheme), "box:9090".to_owned()));
        }
        let external = ExternalUrl::parse("http://proxy.example").unwrap();
        let site = Site::new(Some(external), None, None, "box", 9090, true);
        assert_eq!(site.global_authority(Some("9090")), (Some("http"), "proxy.example".to_owned()));
    }

    #[test]
    fn names_that_are_not_this_machines() {
        let site = site(Some("https://Proxy.example/x"), None);
        for own in
            ["localhost", "LOCALHOST:9090", "a.localhost.", "127.0.0.1:1", "127.9.9.9", "[::1]:80", "::1"]
                .into_iter()
                .chain(["box", "BOX:9090", "proxy.example", "proxy.EXAMPLE:443", "[::ffff:127.0.0.1]:1"])
        {
            assert!(site.is_own(own), "{own}");
        }
        for other in
            ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]:80", "127.0.0.1.evil:80"]
        {
            assert!(!site.is_own(other), "{other}");
        }
    }

    #[test]
    fn requests_of_other_sites() {
        let site = site(Some("https://proxy.example/x"), None);
        let check = |host: &str, origin: Option<&str>, fetch_site: Option<&str>, is_refused: bool| {
            let request = Request {
                host: Some(host.to_owned()),
                origin: origin.map(str::to_owned),
                fetch_site: fetch_site.map(str::to_owned),
                ..Request::default()
            };
            assert_eq!(site.refusal(&request, true).is_some(), is_refused, "{request:?}");
            assert!(site.refusal(&request, false).is_none(), "{request:?}");
        };
        check("localhost:9090", None, None, false);
        check("localhost:9090", Some("http://localhost:9090"), None, false);
        check("inner:9090", Some("https://proxy.example"), None, false);
        check("localhost:9090", Some("https://evil.example"), Some("same-origin"), false);
        check("localhost:9090", None, Some("none"), false);
        check("localhost:9090", Some("http://localhost:8080"), None, true);
        check("localhost:9090", Some("null"), None, true);
        check("localhost:9090", Some("http://localhost:9090"), Some("same-site"), true);
        check("localhost:9090", None, Some("cross-site"), true);
    }

    #[test]
    fn sites_that_may_read_the_api() {
        assert!(matches!(Cors::parse(".*"), Ok(Cors::Any)));
        assert!(Cors::parse("(").is_err());
        let Ok(Cors::Matching(sites)) = Cors::parse("https?://(a|b)\\.example") else { panic!("no pattern") };
        assert!(sites.is_match("http://a.example") && !sites.is_match("http://a.example.evil"));
    }
}
