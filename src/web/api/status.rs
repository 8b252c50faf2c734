//! `/api/v1/status/*`: what the daemon says of itself, field for field as Prometheus (`web/api/v1/api.go: serve…`).

use crate::log::rfc3339_ms;
use crate::web::api::json::{failure, json_bytes, json_in_pieces, no_such_pool, success};
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;
use serde::Serialize;
use std::collections::BTreeMap;
use std::iter::once;
use std::sync::Arc;
use std::time::SystemTime;

/// Text of the configuration that is escaped at once.
const CONFIG_PIECE_BYTES: usize = 8 * 1024;

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

/// Answers `/api/v1/status/config`.
pub(in crate::web) fn config(state: &WebState) -> Response {
    yaml(state.config_text())
}

/// Answers `/api/v1/scrape_pools/config`.
pub(in crate::web) fn scrape_pool_config(state: &WebState, request: &Request) -> Response {
    let job_name = request.form_value("scrapePool");
    if job_name.is_empty() {
        return failure(400, "bad_data", "no scrapePool parameter provided");
    }
    let config = state.running.config();
    match config.scrape_configs.iter().find(|job| job.job_name == job_name) {
        Some(job) => yaml(job.to_yaml().into()),
        None => no_such_pool(&job_name),
    }
}

/// The text of a configuration, escaped as it is sent.
fn yaml(text: Arc<str>) -> Response {
    let mut rest = (text, 0);
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

/// Answers `/api/v1/status/flags`.
pub(in crate::web) fn flags(state: &WebState) -> Response {
    let flags: BTreeMap<&str, &str> = state.flags.iter().map(|(name, text)| (*name, text.as_str())).collect();
    success(&flags)
}

/// What the program was built from.
const BUILD_INFO: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    revision: "",
    branch: "",
    build_user: "",
    build_date: "",
    go_version: "",
};

/// Answers `/api/v1/status/buildinfo`.
pub(in crate::web) fn build_info() -> Response {
    success(&BUILD_INFO)
}

/// Answers `/version`: the same without an envelope, and as text.
pub(in crate::web) fn version() -> Response {
    let mut line = json_bytes(&BUILD_INFO);
    line.push(b'\n');
    Response::new(200, "text/plain; charset=utf-8", line)
}

/// Answers `/api/v1/status/walreplay`.
pub(in crate::web) fn wal_replay(state: &WebState) -> Response {
    let replay = state.running.replay();
    success(&WalReplay { min: 0, max: replay.max, current: replay.current })
}

/// Answers `/api/v1/status/runtimeinfo`.
pub(in crate::web) fn runtime_info(state: &WebState) -> Response {
    let last_reload = state.running.last_reload();
    let cwd = std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default();
    success(&RuntimeInfo {
        start_time: rfc3339_ms(state.running.started()),
        cwd,
        hostname: hostname(),
        server_time: rfc3339_ms(SystemTime::now()),
        reload_config_success: last_reload.failed_since.is_none(),
        last_config_time: rfc3339_ms(last_reload.last_success),
        corruption_count: state.running.corruptions.get(),
        goroutine_count: std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count),
        gomaxprocs: std::thread::available_parallelism().map_or(1, usize::from),
        // Go's "no limit".
        gomemlimit: i64::MAX,
        gogc: "",
        godebug: "",
        storage_retention: state.storage_retention.clone(),
    })
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
