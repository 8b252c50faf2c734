//! `http_sd_configs`: a list of target groups behind a URL (Prometheus' `discovery/http/http.go`).
//!
//! Runs on the thread `sd-http-<n>`. A request may take as long as the refresh interval.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::discovery::Provenance;
use crate::config::discovery::http::HttpSdConfig;
use crate::config::text::yaml::MAX_TEXT_BYTES;
use crate::discovery::lists::group_list::{Format, parse};
use crate::discovery::lists::raw_group::Origin;
use crate::discovery::lists::tally::Wanted;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::refresh::Source;
use crate::discovery::target_group::TargetGroup;
use crate::http::address::url::Url;
use crate::http::{Canceller, Headers, HttpClient, Question, USER_AGENT};
use scraped_engine::threads::stop::StopToken;

/// Label with the URL of the list, without a password.
const URL_LABEL: &str = "__meta_url";

const FIXED_HEADERS: [(&str, &str); 2] = [USER_AGENT, ("Accept", "application/json")];

/// One entry of `http_sd_configs`.
#[derive(Debug)]
pub(in crate::discovery) struct HttpSource {
    wanted: Wanted,
    /// Without its password.
    shown_url: String,
    timeout: Duration,
    /// Or why its URL is none.
    client: Result<HttpClient, String>,
    metrics: Arc<DiscoveryMetrics>,
}

impl HttpSource {
    /// A source that has not asked yet.
    pub(in crate::discovery) fn new(
        config: &HttpSdConfig,
        wanted: Wanted,
        metrics: Arc<DiscoveryMetrics>,
    ) -> Self {
        let interval = config.refresh_interval.as_secs_f64().to_string();
        let others = vec![("X-Prometheus-Refresh-Interval-Seconds".into(), interval.into())];
        let headers = Headers { fixed: &FIXED_HEADERS, others, private: Vec::new() };
        let url = Url::parse(config.url.full.expose());
        // As it is typed; Prometheus' label has the password too.
        let shown_url = config.url.shown.clone();
        let client = url.map(|url| HttpClient::new(url, headers, &config.client));
        Self { wanted, shown_url, timeout: config.refresh_interval, client, metrics }
    }

    fn ask(&mut self) -> Result<Vec<TargetGroup>, String> {
        let question = Question { path_and_query: None, headers: &[], limit_bytes: MAX_TEXT_BYTES };
        let url = &self.shown_url;
        let client = self.client.as_mut().map_err(|sentence| sentence.clone())?;
        let answer =
            client.fetch(&question, Instant::now() + self.timeout).map_err(|error| error.to_string())?;
        if answer.status() != 200 {
            return Err(format!(
                "{url}: server returned HTTP status {} {}",
                answer.status(),
                answer.reason()
            ));
        }
        let content_type = answer.header("Content-Type").unwrap_or_default();
        if !is_json(content_type) {
            return Err(format!("{url}: unsupported content type {content_type:?}"));
        }
        let origin =
            Origin { provenance: Provenance::Network, label: URL_LABEL, name: url, wanted: self.wanted };
        parse(&answer.body, Format::Json, origin).map_err(|sentence| format!("{url}: {sentence}"))
    }
}

impl Source for HttpSource {
    fn kind(&self) -> &'static str {
        "http"
    }

    fn canceller(&self) -> Option<Canceller> {
        self.client.as_ref().ok().map(HttpClient::canceller)
    }

    fn refresh(&mut self, _: &StopToken) -> Result<Vec<TargetGroup>, String> {
        let found = self.ask();
        if found.is_err() {
            self.metrics.http_failures.inc();
        }
        found
    }
}

/// Prometheus' `matchContentType`: JSON in UTF-8, with nothing else said of it.
fn is_json(content_type: &str) -> bool {
    let content_type = content_type.to_ascii_lowercase();
    let Some(parameters) = content_type.strip_prefix("application/json") else { return false };
    let is_blank = |c: char| matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' ');
    match parameters.strip_prefix(';') {
        None => parameters.is_empty(),
        Some(parameter) => {
            matches!(parameter.trim_start_matches(is_blank), "charset=utf-8" | "charset=\"utf-8\"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn content_types() {
        for good in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json;  charset=\"UTF-8\"",
        ] {
            assert!(is_json(good), "{good}");
        }
        for bad in
            ["", "text/json", "application/json;", "application/json; charset=latin1", "application/jsonx"]
        {
            assert!(!is_json(bad), "{bad}");
        }
    }
}
