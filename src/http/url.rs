//! The URLs the client asks: three parts, joined with what a redirect says.
//!
//! Only what `http` needs of RFC 3986; paths and queries are sent as they are, nothing is escaped or normalised
//! except the dots of a relative redirect.

use std::fmt;

/// An absolute URL without user and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// In lower case; only `http` can be asked.
    pub scheme: String,
    /// Host and port as written; the port may be missing.
    pub authority: String,
    /// Already escaped; empty, or starts with `/` or `?`.
    pub path_and_query: String,
}

impl Url {
    /// What a `Location` of an answer from this URL means.
    pub fn join(&self, location: &str) -> Self {
        let location = location.split('#').next().unwrap_or_default();
        if let Some((scheme, rest)) = location.split_once("://")
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        {
            return Self::from_authority(scheme.to_ascii_lowercase(), rest);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::from_authority(self.scheme.clone(), rest);
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
            let (relative, query) = match location.split_once('?') {
                Some((relative, query)) => (relative, format!("?{query}")),
                None => (location, String::new()),
            };
            format!("{}{query}", without_dots(&format!("{directory}/{relative}")))
        };
        Self { scheme: self.scheme.clone(), authority: self.authority.clone(), path_and_query }
    }

    fn from_authority(scheme: String, rest: &str) -> Self {
        let end_idx = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end_idx);
        Self { scheme, authority: authority.to_owned(), path_and_query: path.to_owned() }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As Go prints a URL without a scheme.
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        write!(f, "//{}{}", self.authority, self.path_and_query)
    }
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
        check("?y=2", "http://box:9100/a/b/metrics?y=2");
        check("", "http://box:9100/a/b/metrics?x=1");
        check("#top", "http://box:9100/a/b/metrics?x=1");
        check("ftp://other/m", "ftp://other/m");
    }
}
