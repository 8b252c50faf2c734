//! `/api/v1`: Prometheus' JSON, field for field (`web/api/v1/api.go`), from the agent's part of the API.

use crate::duration::format_duration;
use crate::log::rfc3339_ms;
use crate::scrape::targets::status::ActiveTarget;
use crate::scrape::targets::target_url::TargetUrl;
use crate::web::http::{Request, Response};
use crate::web::site::Site;
use crate::web::state::WebState;
use crate::web::{api_metadata, walk};
use scraped_engine::labels::Labels;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::iter::once;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Go's zero time: a target that was never scraped.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// Text of the configuration that is escaped at once.
const CONFIG_PIECE_BYTES: usize = 8 * 1024;
/// Names of this machine that mean nothing to others (`scrape/target.go`, `web/api/v1`).
const LOCALHOSTS: [&str; 3] = ["127.0.0.1", "localhost", "::1"];

#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
}

#[derive(Serialize)]
struct Failure<'a> {
    status: &'static str,
    #[serde(rename = "errorType")]
    error_type: &'a str,
    error: &'a str,
}

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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildInfo {
    version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
}

#[derive(Serialize)]
struct RuntimeInfo {
    #[serde(rename = "startTime")]
    start_time: String,
    #[serde(rename = "CWD")]
    cwd: String,
    hostname: String,
    #[serde(rename = "serverTime")]
    server_time: String,
    #[serde(rename = "reloadConfigSuccess")]
    reload_config_success: bool,
    #[serde(rename = "lastConfigTime")]
    last_config_time: String,
    #[serde(rename = "corruptionCount")]
    corruption_count: u64,
    #[serde(rename = "goroutineCount")]
    goroutine_count: usize,
    #[serde(rename = "GOMAXPROCS")]
    gomaxprocs: usize,
    #[serde(rename = "GOMEMLIMIT")]
    gomemlimit: i64,
    #[serde(rename = "GOGC")]
    gogc: &'static str,
    #[serde(rename = "GODEBUG")]
    godebug: &'static str,
    #[serde(rename = "storageRetention")]
    storage_retention: String,
}

#[derive(Serialize)]
struct WalReplay {
    min: u64,
    max: u64,
    current: u64,
}

/// Answers a request under `/api/v1/`.
pub(in crate::web) fn respond(state: &WebState, request: &Request, endpoint: &str) -> Response {
    match endpoint {
        "targets" => targets(state, request),
        "targets/metadata" => api_metadata::of_targets(&state.board, request),
        "metadata" => api_metadata::of_metrics(&state.board, request),
        "scrape_pools" => success(&ScrapePools { scrape_pools: state.board.jobs() }),
        "status/config" => config(&state.config_text()),
        "status/flags" => {
            let flags: BTreeMap<&str, &str> =
                state.flags.iter().map(|(name, text)| (*name, text.as_str())).collect();
            success(&flags)
        }
        "status/buildinfo" => success(&BuildInfo {
            version: env!("CARGO_PKG_VERSION"),
            revision: "",
            branch: "",
            build_user: "",
            build_date: "",
            go_version: "",
        }),
        "status/runtimeinfo" => success(&runtime_info(state)),
        "status/walreplay" => {
            let replay = state.running.replay();
            success(&WalReplay { min: 0, max: replay.max, current: replay.current })
        }
        endpoint if needs_a_server(endpoint) => {
            failure(422, "execution", "unavailable with Prometheus Agent")
        }
        _ => Response::text(404, "404 page not found\n"),
    }
}

/// Endpoints that Prometheus has and its agent refuses.
fn needs_a_server(endpoint: &str) -> bool {
    let exact = [
        "alertmanagers",
        "alerts",
        "rules",
        "query",
        "query_range",
        "query_exemplars",
        "series",
        "labels",
        "format_query",
        "parse_query",
        "status/tsdb",
    ];
    exact.contains(&endpoint) || endpoint.starts_with("label/") || endpoint.starts_with("admin/")
}

/// One target a piece.
fn targets(state: &WebState, request: &Request) -> Response {
    let wanted_state = request.query_values("state").into_iter().next().unwrap_or_default().to_lowercase();
    let wanted_pool = request.query_values("scrapePool").into_iter().next().unwrap_or_default();
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

/// The text of the configuration, escaped as it is sent.
fn config(text: &Arc<str>) -> Response {
    let mut rest = (Arc::clone(text), 0);
    let pieces = std::iter::from_fn(move || {
        let (text, start) = &mut rest;
        let left = text.get(*start..).filter(|left| !left.is_empty())?;
        let mut end = left.len().min(CONFIG_PIECE_BYTES);
        while !left.is_char_boundary(end) {
            end += 1;
        }
        *start += end;
        let quoted = json_bytes(&left.get(..end).unwrap_or_default());
        Some(quoted.get(1..quoted.len() - 1).unwrap_or_default().to_vec())
    });
    let pieces = once(br#"{"status":"success","data":{"yaml":""#.to_vec()).chain(pieces);
    json_in_pieces(pieces.chain(once(br#""}}"#.to_vec())))
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

fn runtime_info(state: &WebState) -> RuntimeInfo {
    let last_reload = state.running.last_reload();
    let cwd = std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default();
    RuntimeInfo {
        start_time: rfc3339_ms(state.running.started()),
        cwd,
        hostname: hostname(),
        server_time: rfc3339_ms(SystemTime::now()),
        reload_config_success: last_reload.successful,
        last_config_time: rfc3339_ms(last_reload.last_success),
        corruption_count: state.running.corruptions.get(),
        goroutine_count: std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
        gomaxprocs: std::thread::available_parallelism().map_or(1, usize::from),
        // Go's "no limit".
        gomemlimit: i64::MAX,
        gogc: "",
        godebug: "",
        storage_retention: state.storage_retention.clone(),
    }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn rfc3339_of_ms(ts_ms: i64) -> String {
    rfc3339_ms(UNIX_EPOCH + Duration::from_millis(u64::try_from(ts_ms).unwrap_or(0)))
}

pub(in crate::web) fn success<T: Serialize>(data: &T) -> Response {
    json(200, &Success { status: "success", data })
}

pub(in crate::web) fn failure(status: u16, error_type: &str, error: &str) -> Response {
    json(status, &Failure { status: "error", error_type, error })
}

fn json<T: Serialize>(status: u16, value: &T) -> Response {
    Response::new(status, "application/json", json_bytes(value))
}

/// A part of an answer. Keys are texts and writing to memory does not fail.
pub(in crate::web) fn json_bytes<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|err| panic!("BUG: cannot write JSON: {err}"))
}

/// An answer whose pieces make one JSON text.
pub(in crate::web) fn json_in_pieces(pieces: impl Iterator<Item = Vec<u8>> + 'static) -> Response {
    Response::in_pieces("application/json", pieces)
}

/// Members of a list or a map, with commas between.
pub(in crate::web) fn with_commas(members: impl Iterator<Item = Vec<u8>>) -> impl Iterator<Item = Vec<u8>> {
    members.enumerate().map(|(idx, mut member)| {
        if idx > 0 {
            member.insert(0, b',');
        }
        member
    })
}

pub(in crate::web) fn as_map<S: Serializer>(labels: &Labels, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(labels.iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::targets::target_url::UrlScheme;
    use crate::web::site::ExternalUrl;

    #[test]
    fn loopback_addresses_get_the_hosts_name() {
        let site =
            Site::new(Some(ExternalUrl::parse("https://proxy:81/x").unwrap()), None, None, "box", 9090);
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
