//! The remote write page: of each endpoint how far it is behind, what it takes, what it refuses and what it said last.

use crate::remote::metrics::{EndpointMetrics, RemoteMetrics};
use crate::remote::settle::ledger::{DropReason, Kind, Ledger};
use crate::remote::traffic::Growth;
use crate::web::pages::figures::figure;
use crate::web::pages::{DAY, HOUR, ago, bytes, coarse, escape, in_window, live_page};
use crate::web::serve::http::Response;
use crate::web::state::WebState;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `/status`.
pub(in crate::web) fn status(state: &WebState) -> Response {
    let endpoints = state.remote.endpoints();
    let mut content = String::new();
    if endpoints.is_empty() {
        content.push_str(
            "<h2>Remote write</h2><p>No remote_write endpoint is configured; samples stay in the log.</p>",
        );
    }
    for endpoint in &endpoints {
        write_endpoint(&mut content, endpoint, &state.remote);
    }
    live_page(&state.site, "remote write", 5, std::iter::once(content))
}

fn write_endpoint(out: &mut String, endpoint: &EndpointMetrics, remote: &RemoteMetrics) {
    let (name, url) = (escape(&endpoint.name), escape(&endpoint.url));
    let _ = write!(out, "<section><h2>Remote write to {name} <small>{url}</small></h2>{}", trouble(endpoint));
    out.push_str("<dl class=figures>");
    let (samples, sent) = (*endpoint.sample_traffic.lock(), *endpoint.byte_traffic.lock());
    let rate = |growth: Growth| growth.per_second().unwrap_or_default();
    let last_send_ms = endpoint.last_send_ms.get() as i64;
    let figures = [
        ("Behind", behind(endpoint)),
        ("Oldest sample that waits", oldest(endpoint)),
        ("Unsent part of the log", bytes(endpoint.lag_bytes.get())),
        (
            "Until the log is full",
            until_full(
                endpoint.lag_bytes.get(),
                remote.log_limit_bytes.get(),
                remote.log_traffic.lock().hour,
            ),
        ),
        (
            "In the last minute",
            format!("{:.1} samples and {} per second", rate(samples.minute), bytes(rate(sent.minute))),
        ),
        ("Sent in the last hour", in_window(sent_in(samples.hour, sent.hour), sent.hour, HOUR)),
        ("Sent in the last day", in_window(sent_in(samples.day, sent.day), sent.day, DAY)),
        ("Last success", if last_send_ms > 0 { ago(last_send_ms) } else { "none yet".to_owned() }),
        (
            "Shards",
            format!(
                "{}{}, at least {} and at most {}",
                endpoint.shards.get(),
                wanted(endpoint.shards_desired.get()),
                endpoint.shards_min.get(),
                endpoint.shards_max.get()
            ),
        ),
        (
            "Largest request",
            match endpoint.max_request_bytes.get() {
                0.0 => "without a bound: the endpoint has not answered 413".to_owned(),
                n_bytes => format!("{}, since the endpoint answered 413", bytes(n_bytes)),
            },
        ),
        ("Refused series", refused(endpoint)),
        ("Ledger", format!("{}{}", ledger_text(&endpoint.ledger.lock()), beside(endpoint))),
    ];
    for (name, text) in figures {
        out.push_str(&figure(name, &text));
    }
    out.push_str("</dl>");
    write_answers(out, endpoint);
    out.push_str("</section>");
}

/// The number of shards that the rule asks for; it is silent as long as nothing was sent.
fn wanted(n_shards: f64) -> String {
    match n_shards {
        0.0 => String::new(),
        n_shards => format!(", wanted {n_shards:.1}"),
    }
}

/// What is wrong with the endpoint, and when it is asked again.
fn trouble(endpoint: &EndpointMetrics) -> String {
    let error = escape(&endpoint.last_error.lock());
    let pause = match endpoint.paused_until_ms.get() {
        0.0 => String::new(),
        until_ms => format!("paused, asked again in {:.0} s: ", ((until_ms - now_ms()) / 1000.0).max(0.0)),
    };
    match error.is_empty() && pause.is_empty() {
        true => String::new(),
        false => format!("<p class=down>{pause}{error}</p>"),
    }
}

fn write_answers(out: &mut String, endpoint: &EndpointMetrics) {
    let answers = endpoint.answers.newest_first();
    if answers.is_empty() {
        return;
    }
    out.push_str(
        "<h3>Last answers</h3><table><thead><tr><th>When<th>Answer<th>Took<th>Items<th>Size</tr></thead><tbody>",
    );
    for answer in answers {
        let outcome = match answer.outcome {
            Ok(status) => format!("<b class=up>{status}</b>"),
            Err(error) => format!("<span class=down>{}</span>", escape(&error)),
        };
        let _ = write!(
            out,
            "<tr><td data-label=When>{}<td data-label=Answer>{outcome}<td data-label=Took>{:.3} s\
             <td data-label=Items>{}<td data-label=Size>{}</tr>",
            ago(answer.at_ms),
            answer.took.as_secs_f64(),
            answer.size.items,
            bytes(answer.size.bytes as f64)
        );
    }
    out.push_str("</tbody></table>");
}

/// How far an endpoint is behind, in time and samples.
pub(in crate::web::pages) fn behind(endpoint: &EndpointMetrics) -> String {
    let n_waiting = endpoint.ledger.lock().pending();
    match endpoint.lag_s() {
        Some(lag_s) => format!("{lag_s:.1} s, {n_waiting} samples behind"),
        None if endpoint.highest_timestamp.get() > 0.0 => {
            format!("nothing was taken yet, {n_waiting} samples wait")
        }
        None => "nothing was sent yet".to_owned(),
    }
}

/// Since when the oldest sample waits that is read from the log.
fn oldest(endpoint: &EndpointMetrics) -> String {
    match (endpoint.oldest_pending_ms.get() as i64, endpoint.ledger.lock().pending()) {
        (0, 0) => "none waits".to_owned(),
        (0, _) => "not known".to_owned(),
        (oldest_ms, _) => format!("of {}", ago(oldest_ms)),
    }
}

/// How long the log keeps what is not sent when nothing more is: it grows as in the last hour.
fn until_full(lag_bytes: f64, limit_bytes: f64, written: Growth) -> String {
    let rate = written.per_second().filter(|rate| *rate > 0.0);
    match rate.filter(|_| limit_bytes > 0.0) {
        None => "not known yet".to_owned(),
        Some(rate) => {
            let left = Duration::from_secs_f64(((limit_bytes - lag_bytes).max(0.0) / rate).min(MOST_S));
            format!("about {} if nothing were sent: it may have {}", coarse(left), bytes(limit_bytes))
        }
    }
}

/// Ten years are for ever.
const MOST_S: f64 = 10.0 * 365.0 * 86_400.0;

fn sent_in(samples: Growth, sent: Growth) -> String {
    format!("{}, {} samples taken", bytes(sent.n as f64), samples.n)
}

/// Series that are set aside, and what the endpoint said of the last one that it refused.
fn refused(endpoint: &EndpointMetrics) -> String {
    let last = endpoint.last_refusal.lock();
    let last = if last.is_empty() { String::new() } else { format!(" <small>{}</small>", escape(&last)) };
    format!("{} set aside{last}", endpoint.set_aside.get())
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64
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
    fn the_log_is_full_some_day() {
        let check = |lag_bytes: f64, n_per_hour: u64, want: &str| {
            let written = Growth { n: n_per_hour, over: Duration::from_secs(3600) };
            let got = until_full(lag_bytes, 1e9, written);
            assert!(got.starts_with(want), "{got}");
        };
        check(0.0, 10_000_000, "about 4d4h if nothing were sent: it may have 1.0 GB");
        check(1e9 - 5e6, 10_000_000, "about 30m if");
        check(2e9, 10_000_000, "about 0s if");
        check(0.0, 1, "about 10y if");
        check(0.0, 0, "not known yet");
        let written = Growth { n: 5, over: Duration::from_secs(10) };
        assert_eq!(until_full(0.0, 0.0, written), "not known yet");
    }

    #[test]
    fn what_waits_is_as_old_as_is_known() {
        let endpoint = EndpointMetrics::new("a".to_owned(), "http://b".to_owned());
        assert_eq!(oldest(&endpoint), "none waits");
        endpoint.ledger.lock().taken = 3;
        assert_eq!(oldest(&endpoint), "not known");
        endpoint.oldest_pending_ms.set(now_ms() - 90_000.0);
        assert_eq!(oldest(&endpoint), "of 1m30s ago");
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
