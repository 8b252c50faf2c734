//! `/api/v1/targets` and `/api/v1/scrape_pools`, field for field as Prometheus (`web/api/v1/api.go: targets`).

use crate::duration::format_duration;
use crate::log::rfc3339_ms;
use crate::scrape::targets::status::{ActiveTarget, StatusBoard};
use crate::scrape::targets::target_url::TargetUrl;
use crate::web::api::json::{as_map, json_bytes, json_in_pieces, success, with_commas};
use crate::web::serve::http::{Request, Response};
use crate::web::site::Site;
use crate::web::state::WebState;
use crate::web::walk;
use scraped_engine::labels::Labels;
use serde::Serialize;
use std::collections::BTreeMap;
use std::iter::once;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Go's zero time: a target that was never scraped.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Names of this machine that mean nothing to others (`scrape/target.go`, `web/api/v1`).
const LOCALHOSTS: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Active<'a> {
    #[serde(serialize_with = "as_map")]
    discovered_labels: Labels,
    #[serde(serialize_with = "as_map")]
    labels: Labels,
    scrape_pool: &'a str,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
    /// With `series_limit`, which Prometheus has not.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    series_use: Option<SeriesBudget>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SeriesBudget {
    series_limit: u64,
    series_current: u64,
    series_limit_samples_dropped: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dropped<'a> {
    #[serde(serialize_with = "as_map")]
    discovered_labels: Labels,
    scrape_pool: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScrapePools {
    scrape_pools: Vec<String>,
}

/// Answers `/api/v1/scrape_pools`.
pub(in crate::web) fn scrape_pools(board: &StatusBoard) -> Response {
    success(&ScrapePools { scrape_pools: board.jobs() })
}

/// Answers `/api/v1/targets`, one target a piece.
pub(in crate::web) fn targets(state: &WebState, request: &Request) -> Response {
    let wanted_state = request.query_value("state").to_lowercase();
    let wanted_pool = request.query_value("scrapePool");
    let shows = |which: &str| wanted_state.is_empty() || wanted_state == "any" || wanted_state == which;
    let jobs_if = |is_shown: bool| match is_shown {
        true => {
            let mut jobs = state.board.jobs();
            jobs.retain(|job| wanted_pool.is_empty() || *job == wanted_pool);
            jobs
        }
        false => Vec::new(),
    };
    let site = Arc::clone(&state.site);
    let active = walk::active(&state.board, jobs_if(shows("active")))
        .map(move |(job, target)| json_bytes(&active(&job, &target, &site)));
    let dropped = walk::dropped(&state.board, jobs_if(shows("dropped")))
        .map(|(job, target)| json_bytes(&Dropped { discovered_labels: target.labels(), scrape_pool: &job }));
    // As Prometheus: the counts are of all pools, whichever is asked for.
    let counts: Option<BTreeMap<String, usize>> = shows("dropped").then(|| {
        let pools = state.board.pools();
        pools.into_iter().map(|(job, pool)| (job, pool.dropped_count)).collect()
    });
    let pieces = once(br#"{"status":"success","data":{"activeTargets":["#.to_vec())
        .chain(with_commas(active))
        .chain(once(br#"],"droppedTargets":["#.to_vec()))
        .chain(with_commas(dropped))
        .chain(once(br#"],"droppedTargetCounts":"#.to_vec()))
        .chain(once(json_bytes(&counts)))
        .chain(once(b"}}".to_vec()));
    json_in_pieces(pieces)
}

fn active<'a>(job: &'a str, active: &ActiveTarget, site: &Site) -> Active<'a> {
    let target = &active.target;
    let last = active.status.last();
    let series_use = last.as_ref().and_then(|last| last.series_use);
    Active {
        discovered_labels: active.discovered.labels(),
        labels: target.labels.clone(),
        scrape_pool: job,
        scrape_url: target.url.to_string(),
        global_url: global_url(&target.url, site),
        health: active.status.health().as_str(),
        last_scrape: last.as_ref().map_or_else(|| NEVER.to_owned(), |last| rfc3339_of_ms(last.ts_ms)),
        last_scrape_duration: last.as_ref().map_or(0.0, |last| last.duration.as_secs_f64()),
        last_error: last.and_then(|last| last.error).unwrap_or_default(),
        scrape_interval: format_duration(target.scrape_interval),
        scrape_timeout: format_duration(target.scrape_timeout),
        series_use: series_use.map(|series_use| SeriesBudget {
            series_limit: series_use.limit,
            series_current: series_use.current,
            series_limit_samples_dropped: series_use.samples_dropped,
        }),
    }
}

/// The URL as others reach it: the host of the external URL in the place of a loopback address.
fn global_url(url: &TargetUrl, site: &Site) -> String {
    let (name, port) = match url.authority.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (url.authority.as_str(), None),
    };
    if !LOCALHOSTS.contains(&name.trim_matches(['[', ']'])) || url.scheme.socket().is_some() {
        return url.to_string();
    }
    let (scheme, authority) = site.global_authority(port);
    format!("{}://{authority}{}", scheme.unwrap_or(url.scheme.as_str()), url.path_and_query)
}

fn rfc3339_of_ms(ts_ms: i64) -> String {
    rfc3339_ms(UNIX_EPOCH + Duration::from_millis(u64::try_from(ts_ms).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::targets::target_url::UrlScheme;
    use crate::web::site::ExternalUrl;

    #[test]
    fn loopback_addresses_get_the_hosts_name() {
        let site = Site::new(
            Some(ExternalUrl::parse("https://proxy:81/x").unwrap()),
            None,
            None,
            "box",
            9090,
            false,
        );
        let check = |authority: &str, expected: &str| {
            let path_and_query = "/metrics".to_owned();
            let url = TargetUrl { scheme: UrlScheme::Http, authority: authority.to_owned(), path_and_query };
            assert_eq!(global_url(&url, &site), expected);
        };
        check("127.0.0.1:9100", "http://proxy:9100/metrics");
        check("localhost", "http://proxy/metrics");
        check("[::1]:80", "http://proxy:80/metrics");
        // The daemon itself.
        check("localhost:9090", "https://proxy:81/metrics");
        check("10.0.0.1:9100", "http://10.0.0.1:9100/metrics");
    }
}
