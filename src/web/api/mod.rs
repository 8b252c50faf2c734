//! `/api/v1`: Prometheus' JSON, field for field (`web/api/v1/api.go`), from the agent's part of the API.

mod json;
mod metadata;
mod status;
mod targets;

use crate::web::api::json::failure;
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;

/// Answers a request under `/api/v1/`.
pub(in crate::web) fn respond(state: &WebState, request: &Request, endpoint: &str) -> Response {
    match endpoint {
        "targets" => targets::targets(state, request),
        "targets/metadata" => metadata::of_targets(&state.board, request),
        "metadata" => metadata::of_metrics(&state.board, request),
        "scrape_pools" => targets::scrape_pools(&state.board),
        "status/config" => status::config(state),
        "status/flags" => status::flags(state),
        "status/buildinfo" => status::build_info(),
        "status/runtimeinfo" => status::runtime_info(state),
        "status/walreplay" => status::wal_replay(state),
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
