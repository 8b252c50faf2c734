//! Method and path → page. Runs on the `web` thread and never waits.

use crate::lifecycle::DaemonEvent;
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::{Reply, Responder};
use crate::web::site::Place;
use crate::web::state::WebState;
use crate::web::{api, pages};
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
    /// Somewhere else.
    Moved(u16, String),
    Style,
    /// An endpoint under `/api/v1/`.
    Api(String),
    /// A browser asks what it may send.
    Preflight,
    Missing,
}

/// Where nothing is.
const MISSING: (&str, Page) = ("/*filepath", Page::Missing);

impl Router {
    pub(in crate::web) fn new(state: WebState) -> Self {
        Self { state }
    }

    /// The page of a path, and the `handler` label it is counted under: a fixed set, whatever clients ask for.
    fn route(&self, path: &str, method: &str) -> (&'static str, Page) {
        match path {
            "/" => ("/", Page::Moved(302, format!("{}/targets", self.state.site.base()))),
            "/targets" => ("/targets", Page::Targets),
            "/status" => ("/status", Page::Status),
            "/style.css" => ("/style.css", Page::Style),
            "/metrics" => ("/metrics", Page::Metrics),
            "/-/healthy" => ("/-/healthy", Page::Healthy),
            "/-/ready" => ("/-/ready", Page::Ready),
            "/-/reload" => ("/-/reload", Page::Reload),
            "/-/quit" => ("/-/quit", Page::Quit),
            path => match (path.strip_prefix("/api/v1/"), method) {
                (Some(_), "OPTIONS") => ("/api/v1/*path", Page::Preflight),
                (Some(endpoint), _) => ("/api/v1/*path", Page::Api(endpoint.to_owned())),
                (None, _) => MISSING,
            },
        }
    }

    fn page(&self, page: &Page, request: &Request) -> Reply {
        let response = match page {
            Page::Healthy => match self.state.board.stall(Instant::now(), self.state.running.loaded()) {
                None => Response::text(200, "scraped is Healthy.\n"),
                Some(stall) => Response::text(503, format!("scraped is not healthy: {stall}\n")),
            },
            Page::Ready => match self.state.running.readiness() {
                Ok(()) => Response::text(200, "scraped is Ready.\n"),
                Err(why) => Response::text(503, why),
            },
            Page::Reload => return self.reload(),
            Page::Quit => return self.quit(),
            Page::Metrics => {
                let pieces = self.state.registry.pieces().map(String::into_bytes);
                Response::in_pieces("text/plain; version=0.0.4; charset=utf-8", pieces)
            }
            Page::Targets => pages::targets::targets(&self.state),
            Page::Status => pages::status::status(&self.state),
            Page::Style => Response::new(200, "text/css; charset=utf-8", pages::STYLE.as_bytes().to_vec()),
            Page::Moved(status, to) => Response::text(*status, format!("see {to}\n")).header("Location", to),
            Page::Api(endpoint) => {
                self.state.site.with_cors(request, api::respond(&self.state, request, endpoint))
            }
            Page::Preflight => self.state.site.with_cors(request, Response::text(204, "")),
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
        let site = &self.state.site;
        let (handler, page) = match site.place(&request.path) {
            Place::Inside(path) => self.route(path, &request.method),
            Place::BeforePrefix => ("/", Page::Moved(302, site.prefix().to_owned())),
            Place::AtPrefix => ("/", Page::Moved(301, format!("{}/", site.prefix()))),
            Place::Outside => MISSING,
        };
        let changes =
            matches!(page, Page::Reload | Page::Quit) && !matches!(&*request.method, "GET" | "HEAD");
        let refusal = site.refusal(request, changes);
        let reply = match refusal.or_else(|| refusal_of(&page, request, self.state.lifecycle_enabled)) {
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

/// Why a request does not get its page: Prometheus' status codes and words (`web/web.go`).
fn refusal_of(page: &Page, request: &Request, lifecycle_enabled: bool) -> Option<Response> {
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
        Page::Preflight => None,
        _ if matches!(method, "GET" | "HEAD") => None,
        _ => Some(Response::text(405, "Method Not Allowed\n").header("Allow", "GET, HEAD")),
    }
}
