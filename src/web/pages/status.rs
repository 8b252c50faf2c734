//! The status page: each remote write endpoint's lag, last error and ledger, and what it gets beside floats.

use crate::remote::metrics::EndpointMetrics;
use crate::remote::settle::ledger::{DropReason, Kind, Ledger};
use crate::web::pages::{ago, escape, page};
use crate::web::serve::http::Response;
use crate::web::state::WebState;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// `/status`.
pub(in crate::web) fn status(state: &WebState) -> Response {
    let endpoints = state.remote.endpoints();
    let mut content = String::from("<section><h2>Remote write</h2>");
    if endpoints.is_empty() {
        content.push_str("<p>No remote_write endpoint is configured; samples stay in the log.</p>");
    } else {
        content.push_str(
            "<table><thead><tr><th>Endpoint<th>Behind<th>Shards<th>Last answer<th>Ledger<th>Error</tr></thead><tbody>",
        );
        for endpoint in &endpoints {
            write_endpoint(&mut content, endpoint);
        }
        content.push_str("</tbody></table>");
    }
    content.push_str("</section>");
    if let Some(bound) = state.board.series_bound() {
        let _ = write!(content, "<section><h2>Series</h2><p>{}</p></section>", escape(&bound.to_string()));
    }
    page(&state.site, "status", std::iter::once(content))
}

fn write_endpoint(out: &mut String, endpoint: &EndpointMetrics) {
    let ledger = *endpoint.ledger.lock();
    let error = endpoint.last_error.lock().clone();
    let last_send_ms = endpoint.last_send_ms.get() as i64;
    let last_answer = if last_send_ms > 0 { ago(last_send_ms) } else { "never".to_owned() };
    let paused = match endpoint.paused_until_ms.get() {
        0.0 => String::new(),
        until_ms => {
            let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64;
            format!("paused, asked again in {:.0} s: ", ((until_ms - now_ms) / 1000.0).max(0.0))
        }
    };
    let class = if error.is_empty() { "up" } else { "down" };
    let _ = write!(
        out,
        "<tr><td data-label=Endpoint class={class}>{} <small>{}</small>\
         <td data-label=Behind>{}, {} bytes of the log<td data-label=Shards>{}\
         <td data-label=\"Last answer\">{last_answer}<td data-label=Ledger>{}{}<td data-label=Error>{paused}{}</tr>",
        escape(&endpoint.name),
        escape(&endpoint.url),
        behind(endpoint),
        endpoint.lag_bytes.get(),
        endpoint.shards.get(),
        ledger_text(&ledger),
        beside(endpoint),
        escape(&error)
    );
}

/// How far an endpoint is behind, in time and samples.
pub(in crate::web::pages) fn behind(endpoint: &EndpointMetrics) -> String {
    let n_waiting = endpoint.ledger.lock().pending();
    // Both are the newest sample's time in seconds; 0 while nothing was read or sent.
    let (newest, sent) = (endpoint.highest_timestamp.get(), endpoint.highest_sent_timestamp.get());
    match (newest > 0.0, sent > 0.0) {
        (false, false) => "nothing was sent yet".to_owned(),
        (_, false) => format!("nothing was taken yet, {n_waiting} samples wait"),
        _ => format!("{:.1} s, {n_waiting} samples behind", (newest - sent).max(0.0)),
    }
}

/// `taken 12 = sent 9 + pending 2 + dropped 1 (rejected 1)`.
fn ledger_text(ledger: &Ledger) -> String {
    let n_dropped: u64 = ledger.dropped.iter().sum();
    let mut text = format!(
        "taken {} = sent {} + pending {} + dropped {n_dropped}",
        ledger.taken,
        ledger.sent,
        ledger.pending()
    );
    let reasons = DropReason::ALL.iter().zip(ledger.dropped).filter(|(_, n)| *n > 0);
    let reasons: Vec<String> = reasons.map(|(reason, n)| format!("{} {n}", reason.name())).collect();
    if !reasons.is_empty() {
        let _ = write!(text, " ({})", reasons.join(", "));
    }
    text
}

/// Histograms, exemplars and metadata since the start, as far as there are any.
fn beside(endpoint: &EndpointMetrics) -> String {
    let mut text = String::new();
    for kind in [Kind::Histogram, Kind::Exemplar] {
        let metrics = endpoint.kind(kind);
        let n_dropped: u64 = metrics.dropped.iter().map(|counter| counter.get()).sum();
        let (n_sent, n_pending) = (metrics.sent.get(), metrics.pending.get());
        if n_sent + n_dropped > 0 || n_pending > 0.0 {
            let name = kind.plural();
            let _ = write!(
                text,
                " <small>{name}: {n_sent} sent, {n_pending} pending, {n_dropped} dropped</small>"
            );
        }
    }
    let (n_sent, n_failed) = (endpoint.metadata.sent.get(), endpoint.metadata.failed.get());
    if n_sent + n_failed > 0 {
        let _ = write!(text, " <small>metadata: {n_sent} sent, {n_failed} failed</small>");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::settle::ledger::Fate;

    #[test]
    fn a_ledger_says_where_samples_are() {
        let mut ledger = Ledger { taken: 12, ..Ledger::default() };
        ledger.settle(Fate::Sent, 9);
        ledger.settle(Fate::Dropped(DropReason::Rejected), 1);
        assert_eq!(ledger_text(&ledger), "taken 12 = sent 9 + pending 2 + dropped 1 (rejected 1)");
    }

    #[test]
    fn what_there_is_beside_floats_is_shown() {
        let endpoint = EndpointMetrics::new("a".to_owned(), "http://b".to_owned());
        endpoint.kind(Kind::Float).sent.add(7);
        assert_eq!(beside(&endpoint), "");
        endpoint.kind(Kind::Histogram).sent.add(3);
        endpoint.kind(Kind::Histogram).dropped[0].add(1);
        endpoint.kind(Kind::Exemplar).pending.set(2.0);
        endpoint.metadata.failed.add(5);
        assert_eq!(
            beside(&endpoint),
            " <small>histograms: 3 sent, 0 pending, 1 dropped</small> <small>exemplars: 0 sent, 2 pending, 0 \
             dropped</small> <small>metadata: 0 sent, 5 failed</small>"
        );
    }
}
