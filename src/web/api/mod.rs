//! `/api/v1`: Prometheus' JSON, field for field (`web/api/v1/api.go`), from the agent's part of the API.

pub(in crate::web) mod attempts;
pub(in crate::web) mod features;
mod json;
pub(in crate::web) mod metadata;
pub(in crate::web) mod notifications;
pub(in crate::web) mod query;
pub(in crate::web) mod queue_place;
pub(in crate::web) mod relabel;
pub(in crate::web) mod self_metrics;
pub(in crate::web) mod status;
pub(in crate::web) mod targets;

use crate::web::api::json::failure;
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;

/// What Prometheus has and its agent refuses.
pub(in crate::web) fn needs_a_server(_: &WebState, _: &Request) -> Response {
    failure(422, "execution", "unavailable with Prometheus Agent")
}

/// What Prometheus answers as long as `--enable-feature=search-api` is not given.
pub(in crate::web) fn no_search(_: &WebState, _: &Request) -> Response {
    failure(503, "unavailable", "search API disabled")
}

/// Where others would send samples to.
pub(in crate::web) fn no_receiver() -> Response {
    Response::text(404, "there is no receiver here; send to the endpoint of remote_write instead\n")
}
