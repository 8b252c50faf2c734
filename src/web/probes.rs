//! What machines ask at fixed places: whether it lives, whether it is ready, what it has counted.

use crate::web::metrics::Scrape;
use crate::web::serve::http::Response;
use crate::web::state::WebState;
use std::time::Instant;

/// Answers `/-/healthy`.
pub(in crate::web) fn healthy(state: &WebState) -> Response {
    match state.board.stall(Instant::now(), state.running.loaded()) {
        None => Response::text(200, "scraped is Healthy.\n"),
        Some(stall) => Response::text(503, format!("scraped is not healthy: {stall}\n")),
    }
}

/// Answers `/-/ready`.
pub(in crate::web) fn ready(state: &WebState) -> Response {
    match state.running.readiness() {
        Ok(()) => Response::text(200, "scraped is Ready.\n"),
        Err(why) => Response::text(503, why)
            .header("X-Prometheus-Stopping", state.running.stopping_since().is_some().to_string()),
    }
}

/// Answers `/metrics`, a module's metrics a piece.
pub(in crate::web) fn metrics(state: &WebState) -> Response {
    let scrape = Scrape::new(&state.metrics);
    let pieces = state.registry.pieces().map(move |piece| {
        // Lives as long as pieces are made.
        let _ = &scrape;
        piece.into_bytes()
    });
    Response::in_pieces("text/plain; version=0.0.4; charset=utf-8", pieces)
}
