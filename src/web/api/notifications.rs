//! `/api/v1/notifications` and `/api/v1/notifications/live`: what whoever looks should know, now and as it changes
//! (`util/notifications`).

use crate::lifecycle::Running;
use crate::log::rfc3339_ms;
use crate::web::api::json::{json_bytes, success};
use crate::web::metrics::WebMetrics;
use crate::web::serve::http::Response;
use crate::web::state::WebState;
use serde::Serialize;
use std::sync::Arc;
use std::time::SystemTime;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Notification {
    text: &'static str,
    date: String,
    active: bool,
}

/// Answers `/api/v1/notifications`.
pub(in crate::web) fn list(running: &Running) -> Response {
    success(&active(running))
}

/// Answers `/api/v1/notifications/live`: an event for each that comes, and one that is not active for each that goes.
pub(in crate::web) fn live(state: &WebState) -> Response {
    if state.metrics.subscribers.get() >= state.max_subscribers as f64 {
        return Response::new(204, "text/event-stream", Vec::new()).header("Cache-Control", "no-cache");
    }
    let subscriber = Subscriber::new(&state.metrics);
    let running = Arc::clone(&state.running);
    let mut known: Vec<Notification> = Vec::new();
    let news = move || {
        let now = active(&running);
        let gone = known.iter().filter(|it| now.iter().all(|other| other.text != it.text));
        let gone = gone.map(|it| Notification { active: false, ..it.clone() });
        let come = now.iter().filter(|it| !known.contains(it)).cloned();
        let events: Vec<Notification> = gone.chain(come).collect();
        known = now;
        subscriber.metrics.notifications_sent.add(events.len() as u64);
        let texts = events.iter().map(|event| [b"data: ", &*json_bytes(event), b"\n\n"].concat());
        (!events.is_empty()).then(|| texts.collect::<Vec<_>>().concat())
    };
    Response::live("text/event-stream", news).header("Cache-Control", "no-cache")
}

/// What is to be known now.
fn active(running: &Running) -> Vec<Notification> {
    let stopping = running.stopping_since();
    let starting = (!running.is_ready() && stopping.is_none()).then(|| running.started());
    let all: [(&'static str, Option<SystemTime>); 3] = [
        ("scraped is starting and replaying the write-ahead log (WAL).", starting),
        ("Configuration reload has failed.", running.last_reload().failed_since),
        ("scraped is shutting down and gracefully stopping all operations.", stopping),
    ];
    let active = all
        .into_iter()
        .filter_map(|(text, since)| Some(Notification { text, date: rfc3339_ms(since?), active: true }));
    active.collect()
}

/// A client that listens, as long as it does.
struct Subscriber {
    metrics: Arc<WebMetrics>,
}

impl Subscriber {
    fn new(metrics: &Arc<WebMetrics>) -> Self {
        metrics.subscribers.add(1.0);
        Self { metrics: Arc::clone(metrics) }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.metrics.subscribers.add(-1.0);
    }
}
