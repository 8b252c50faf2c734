//! URLs of targets as jobs have them: scheme, address, path and parameters.

use crate::commands::migrate::tree::{list, map, push, put, text, texts};
use crate::config::text::node::Node;

/// What is asked, apart from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands::migrate) struct Way {
    pub(in crate::commands::migrate) scheme: String,
    path: String,
    query: String,
}

/// A URL as its way and its `host:port`.
pub(in crate::commands::migrate) fn split(url: &str) -> (Way, String) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (address, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = if path.is_empty() { "/metrics" } else { path };
    (Way { scheme: scheme.to_owned(), path: path.to_owned(), query: query.to_owned() }, address.to_owned())
}

impl Way {
    /// A job that asks these addresses in this way.
    pub(in crate::commands::migrate) fn job(&self, name: &str, addresses: &[String]) -> Node {
        let mut job = map([("job_name", text(name))]);
        if self.scheme != "http" {
            put(&mut job, "scheme", text(&self.scheme));
        }
        if self.path != "/metrics" {
            put(&mut job, "metrics_path", text(&self.path));
        }
        let mut params = map([]);
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            push(&mut params, name, text(value));
        }
        if !self.query.is_empty() {
            put(&mut job, "params", params);
        }
        put(&mut job, "static_configs", list([map([("targets", texts(addresses))])]));
        job
    }
}
