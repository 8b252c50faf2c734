//! One target: its labels, its URL and its place on the time grid.

use crate::config::Scheme;
use crate::labels::Labels;
use std::fmt;
use std::time::Duration;

/// What is scraped; never changes, a reload makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Labels of every sample; none starts with `__`.
    pub labels: Labels,
    /// Labels before `relabel_configs`.
    pub discovered_labels: Labels,
    /// Where to ask.
    pub url: TargetUrl,
    /// Time between two scrapes.
    pub scrape_interval: Duration,
    /// Time for one scrape.
    pub scrape_timeout: Duration,
}

/// Address of a target's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetUrl {
    /// `http` or `https`.
    pub scheme: Scheme,
    /// Host and port as in `__address__`.
    pub authority: String,
    /// Path and query, starting with `/`.
    pub path_and_query: String,
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority, self.path_and_query)
    }
}
