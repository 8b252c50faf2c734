//! The first page: one screen that says that all is well, or what is not and where to look.

use crate::remote::metrics::EndpointMetrics;
use crate::remote::traffic::Growth;
use crate::scrape::targets::status::Health;
use crate::web::pages::figures::{Figures, figure};
use crate::web::pages::status::behind;
use crate::web::pages::{ago, bytes, escape, live_page, ms, today, utc};
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;
use std::iter::once;
use std::time::{Instant, SystemTime};

/// An endpoint that is further behind is a finding.
const MAX_LAG_S: f64 = 120.0;

/// How many targets there are of each health.
#[derive(Clone, Copy, Debug, Default)]
struct Targets {
    n_up: usize,
    n_down: usize,
    n_unknown: usize,
}

/// `/`.
pub(in crate::web) fn overview(state: &WebState, _: &Request) -> Response {
    let figures = Figures::read(state);
    let targets = targets(state);
    let endpoints = state.remote.endpoints();
    let mut content = String::new();
    let findings = findings(state, targets, &endpoints, &figures);
    if findings.is_empty() {
        content.push_str("<p class=verdict><b class=up>All is well.</b></p>");
    } else {
        content.push_str("<ul class=findings>");
        findings.iter().for_each(|finding| content.push_str(finding));
        content.push_str("</ul>");
    }
    content.push_str("<dl class=figures>");
    let mut show = |name: &str, text: String| {
        content.push_str(&figure(name, &text));
    };
    let base = escape(state.site.base());
    show(
        "Targets",
        format!(
            "<a href=\"{base}/targets\">{} up, {} down{}</a>",
            targets.n_up,
            targets.n_down,
            match targets.n_unknown {
                0 => String::new(),
                n => format!(", {n} not scraped yet"),
            }
        ),
    );
    for endpoint in &endpoints {
        let name = format!("Remote write to {}", escape(&endpoint.name));
        show(&name, format!("<a href=\"{base}/status\">{}</a>", behind(endpoint)));
    }
    if endpoints.is_empty() {
        show("Remote write", "none is configured; samples stay in the log".to_owned());
    }
    let n_taken = figures.of("prometheus_agent_samples_appended_total");
    show("Samples", format!("{n_taken} taken since the start, {} lost", figures.n_lost()));
    show("Series", format!("{}", figures.of("prometheus_agent_active_series")));
    let log_bytes = figures.of("prometheus_tsdb_wal_storage_size_bytes");
    show("Log on disk", format!("<a href=\"{base}/storage\">{}</a>", bytes(log_bytes)));
    show("Memory", bytes(figures.of("process_resident_memory_bytes")));
    let sent = endpoints.iter().map(|endpoint| endpoint.byte_traffic.lock().today);
    let sent = sent.reduce(|a, b| Growth { n: a.n + b.n, over: a.over.max(b.over) }).unwrap_or_default();
    if !endpoints.is_empty() {
        show("Uplink today", today(format!("{}, repetitions included", bytes(sent.n as f64)), sent));
    }
    let fds = (figures.of("process_open_fds"), figures.of("process_max_fds"));
    show("Open files", format!("{} of {}", fds.0, fds.1));
    let now_ms = ms(SystemTime::now());
    let steps = match figures.of("scraped_clock_steps_total") {
        0.0 => String::new(),
        n => format!(", stepped {n} times since the start"),
    };
    let doubt = state.clock.doubt().map(|doubt| format!("; {doubt}")).unwrap_or_default();
    show("Clock", format!("{}{steps}{doubt}", utc(now_ms)));
    show("Started", ago(ms(state.running.started())));
    show("Configuration", format!("loaded {}", ago(ms(state.running.last_reload().last_success))));
    content.push_str("</dl>");
    live_page(&state.site, "overview", 5, once(content))
}

/// What is not well, the worst first: items of a list, each with the way to more.
fn findings(
    state: &WebState,
    targets: Targets,
    endpoints: &[std::sync::Arc<EndpointMetrics>],
    figures: &Figures,
) -> Vec<String> {
    let mut found = Vec::new();
    let base = escape(state.site.base());
    let mut find = |place: &str, sentence: &str| {
        let sentence = escape(sentence);
        found.push(match place {
            "" => format!("<li class=down>{sentence}"),
            place => format!("<li class=down><a href=\"{base}{place}\">{sentence}</a>"),
        });
    };
    if let Err(why) = state.running.readiness() {
        find("", &format!("Not ready: {}", why.trim_end().trim_start_matches("Service Unavailable: ")));
    }
    if let Some(stall) = state.board.stall(Instant::now(), state.running.loaded()) {
        find("", &format!("Scraping stands still: {stall}."));
    }
    let n_lost = figures.n_lost();
    if n_lost > 0.0 {
        find("/status", &format!("{n_lost} samples were lost since the start."));
    }
    for endpoint in endpoints {
        let error = endpoint.last_error.lock().clone();
        if !error.is_empty() {
            find("/status", &format!("Remote write to {}: {error}", endpoint.name));
        } else if let Some(lag_s) = endpoint.lag_s().filter(|lag_s| *lag_s > MAX_LAG_S) {
            find("/status", &format!("Remote write to {} is {lag_s:.0} s behind.", endpoint.name));
        }
    }
    let n_targets = targets.n_up + targets.n_down + targets.n_unknown;
    if targets.n_down > 0 {
        let are = if targets.n_down == 1 { "is" } else { "are" };
        find("/targets?state=down", &format!("{} of {n_targets} targets {are} down.", targets.n_down));
    }
    let (_, n_complaints) = state.complaints.oldest(0);
    match n_complaints {
        0 => {}
        1 => find("/targets#failing", "1 source of targets fails."),
        n => find("/targets#failing", &format!("{n} sources of targets fail.")),
    }
    if let Some(bound) = state.board.series_bound().filter(|bound| bound.is_reached()) {
        find("/storage", &bound.to_string());
    }
    let last_reload = state.running.last_reload();
    if last_reload.failed_since.is_some() {
        let first = last_reload.refusal.lines().next().unwrap_or_default();
        let more = match last_reload.refusal.lines().count() {
            0 | 1 => String::new(),
            n => format!(" And {} more.", n - 1),
        };
        find(
            "/config",
            &format!("The last reload failed; the configuration before it is in force. {first}{more}"),
        );
    }
    for (family, what) in [
        ("scraped_wal_fsyncs_failed_total", "times the disk did not take the log (fsync failed)."),
        ("scraped_panics_total", "times a thread ran into a bug. The log says where."),
    ] {
        match figures.of(family) {
            0.0 => {}
            n => find("/metrics", &format!("{n} {what}")),
        }
    }
    found
}

fn targets(state: &WebState) -> Targets {
    let mut targets = Targets::default();
    for (_, pool) in state.board.pools() {
        for active in &pool.active {
            *match active.status.health() {
                Health::Up => &mut targets.n_up,
                Health::Down => &mut targets.n_down,
                Health::Unknown => &mut targets.n_unknown,
            } += 1;
        }
    }
    targets
}
