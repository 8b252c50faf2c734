//! Method and path → page. Runs on the `web` thread and never waits.

use crate::lifecycle::DaemonEvent;
use crate::metrics::{Counter, Family, Summary};
use crate::web::http::{Request, Response};
use crate::web::server::{Reply, Responder};
use crate::web::{WebState, api, status_page, ui};
use crossbeam_channel::bounded;
use std::time::Instant;

/// One answer; the daemon sends it once and goes on.
const RELOAD_REPLY_CAPACITY: usize = 1;

/// Answers requests from snapshots of the daemon's state.
pub(in crate::web) struct Router {
    state: WebState,
}

enum Page {
    Healthy,
    Ready,
    Reload,
    Quit,
    Metrics,
    Targets,
    Status,
    Root,
    Style,
    Api,
    Missing,
}

/// What `/metrics` says of the web server itself.
#[derive(Debug)]
pub struct WebMetrics {
    requests: Family<Counter>,
    durations: Family<Summary>,
}

impl Default for WebMetrics {
    fn default() -> Self {
        Self { requests: Family::new(&["handler", "code"]), durations: Family::new(&["handler"]) }
    }
}

impl crate::metrics::Collect for WebMetrics {
    fn collect(&self, page: &mut crate::metrics::page::Page) {
        page.counters("prometheus_http_requests_total", "Counter of HTTP requests.", &self.requests);
        let help = "Time to make an answer; quantiles over the newest.";
        page.summaries("scraped_http_request_duration_seconds", help, &self.durations);
    }
}

impl Router {
    pub(in crate::web) fn new(state: WebState) -> Self {
        Self { state }
    }

    fn page(&self, page: &Page, request: &Request) -> Reply {
        let response = match page {
            Page::Healthy => Response::text(200, "scraped is Healthy.\n"),
            Page::Ready if self.state.running.is_ready() => Response::text(200, "scraped is Ready.\n"),
            Page::Ready => Response::text(503, "Service Unavailable"),
            Page::Reload => return self.reload(),
            Page::Quit => return self.quit(),
            Page::Metrics => {
                let text = self.state.registry.page();
                Response::new(200, "text/plain; version=0.0.4; charset=utf-8", text.into_bytes())
            }
            Page::Targets => ui::targets(&self.state),
            Page::Status => status_page::status(&self.state),
            Page::Style => Response::new(200, "text/css; charset=utf-8", ui::STYLE.as_bytes().to_vec()),
            Page::Root => Response::text(302, "see /targets\n").header("Location", "/targets"),
            Page::Api => api::respond(&self.state, request),
            Page::Missing => Response::text(404, "404 page not found\n"),
        };
        Reply::Now(response)
    }

    fn reload(&self) -> Reply {
        let (reply, outcome) = bounded(RELOAD_REPLY_CAPACITY);
        let _ = self.state.daemon_events.send(DaemonEvent::Reload { reply: Some(reply) });
        let render = |outcome: Result<(), String>| match outcome {
            Ok(()) => Response::text(200, ""),
            Err(why) => Response::text(500, format!("failed to reload config: {why}\n")),
        };
        Reply::Later { outcome, render }
    }

    fn quit(&self) -> Reply {
        let _ = self.state.daemon_events.send(DaemonEvent::Terminate);
        Reply::Now(Response::text(200, "Requesting termination... Goodbye!"))
    }
}

impl Responder for Router {
    fn respond(&mut self, request: &Request) -> Reply {
        let started = Instant::now();
        let (handler, page) = route(&request.path);
        let reply = match refusal(&page, request, self.state.lifecycle_enabled) {
            Some(refusal) => Reply::Now(refusal),
            None => self.page(&page, request),
        };
        let code = match &reply {
            Reply::Now(response) => response.status,
            Reply::Later { .. } => 200,
        };
        self.state.metrics.requests.with(&[handler, &code.to_string()]).inc();
        self.state.metrics.durations.with(&[handler]).observe_duration(started.elapsed());
        reply
    }
}

/// The page of a path, and the `handler` label it is counted under: a fixed set, whatever clients ask for.
fn route(path: &str) -> (&'static str, Page) {
    match path {
        "/" => ("/", Page::Root),
        "/targets" => ("/targets", Page::Targets),
        "/status" => ("/status", Page::Status),
        "/style.css" => ("/style.css", Page::Style),
        "/metrics" => ("/metrics", Page::Metrics),
        "/-/healthy" => ("/-/healthy", Page::Healthy),
        "/-/ready" => ("/-/ready", Page::Ready),
        "/-/reload" => ("/-/reload", Page::Reload),
        "/-/quit" => ("/-/quit", Page::Quit),
        path if path.starts_with("/api/v1/") => ("/api/v1/*path", Page::Api),
        _ => ("/*filepath", Page::Missing),
    }
}

/// Why a request does not get its page: Prometheus' status codes and words (`web/web.go`).
fn refusal(page: &Page, request: &Request, lifecycle_enabled: bool) -> Option<Response> {
    let method = request.method.as_str();
    match page {
        Page::Reload | Page::Quit => match method {
            "POST" | "PUT" if lifecycle_enabled => None,
            "POST" | "PUT" => Some(Response::text(
                403,
                "Lifecycle API is not enabled. Start with --web.enable-lifecycle.\n",
            )),
            _ => Some(Response::text(405, "Only POST or PUT requests allowed")),
        },
        _ if matches!(method, "GET" | "HEAD") => None,
        _ => Some(Response::text(405, "Method Not Allowed\n").header("Allow", "GET, HEAD")),
    }
}
