//! A request → its answer. Runs on the `web` thread and never waits.

use crate::lifecycle::DaemonEvent;
use crate::web::metrics::Account;
use crate::web::routes::{Found, Page, cleaned, find};
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::site::Place;
use crate::web::state::WebState;
use crossbeam_channel::bounded;
use scraped_engine::wal::keep::flush;
use std::sync::Arc;

/// One answer; the daemon sends it once and goes on.
const RELOAD_REPLY_CAPACITY: usize = 1;
/// What paths without a route are counted under, whatever clients ask for.
const NO_ROUTE: &str = "/*filepath";

/// Answers requests from snapshots of the daemon's state.
pub(in crate::web) struct Router {
    state: WebState,
}

impl Router {
    pub(in crate::web) fn new(state: WebState) -> Self {
        Self { state }
    }

    /// The answer, and the label `handler` it is counted under.
    fn answer(&self, request: &Request) -> (&'static str, Reply) {
        let site = &self.state.site;
        if let Some(refusal) = site.refusal(request, false) {
            return (NO_ROUTE, Reply::Now(refusal));
        }
        if let Some(path) = cleaned(&request.path) {
            return (NO_ROUTE, Reply::Now(moved(301, &path, request)));
        }
        let path = match site.place(&request.path) {
            Place::Inside(path) => path,
            Place::BeforePrefix => return ("/", Reply::Now(Response::moved(302, site.prefix()))),
            Place::AtPrefix => {
                return ("/", Reply::Now(Response::moved(301, &format!("{}/", site.prefix()))));
            }
            Place::Outside => return (NO_ROUTE, Reply::Now(missing())),
        };
        let wrong_method = |allowed| Response::text(405, "Method Not Allowed\n").header("Allow", allowed);
        match find(path, &request.method) {
            Found::Page(route) => (route.path, self.page(&route.page, request)),
            Found::Preflight => {
                let answer = site.with_cors(request, Response::text(204, ""));
                ("/api/v1/*path", Reply::Now(answer))
            }
            Found::Methods(route, allowed) => {
                (route.path, Reply::Now(Response::text(200, "").header("Allow", allowed)))
            }
            Found::WrongMethod(route, allowed) => (route.path, Reply::Now(wrong_method(allowed))),
            Found::Elsewhere(path) => {
                let status = if request.method == "GET" { 301 } else { 307 };
                (NO_ROUTE, Reply::Now(moved(status, &format!("{}{path}", site.prefix()), request)))
            }
            Found::Nowhere => (NO_ROUTE, Reply::Now(missing())),
        }
    }

    fn page(&self, page: &Page, request: &Request) -> Reply {
        match page {
            Page::Shown(handler) => Reply::Now(handler(&self.state, request)),
            Page::Api(handler) => {
                Reply::Now(self.state.site.with_cors(request, handler(&self.state, request)))
            }
            Page::Found(handler) => handler(&self.state, request),
            Page::Query(handler) => {
                let (site, asked) = (Arc::clone(&self.state.site), request.clone());
                handler(&self.state, request).map(move |response| site.with_cors(&asked, response))
            }
            Page::Change(handler) => match self.state.site.refusal(request, true) {
                Some(refusal) => Reply::Now(refusal),
                None => handler(&self.state, request),
            },
            Page::Reload => self.if_allowed(request, Self::reload),
            Page::Quit => self.if_allowed(request, Self::quit),
            Page::Flush => self.if_allowed(request, Self::flush),
        }
    }

    /// What changes something, if this request may (`web/web.go`).
    fn if_allowed(&self, request: &Request, change: fn(&Self) -> Reply) -> Reply {
        let refusal = match request.method.as_str() {
            "POST" | "PUT" if self.state.switches.lifecycle => self.state.site.refusal(request, true),
            "POST" | "PUT" => Some(Response::text(
                403,
                "Lifecycle API is not enabled. Start with --web.enable-lifecycle.\n",
            )),
            _ => Some(Response::text(405, "Only POST or PUT requests allowed")),
        };
        refusal.map_or_else(|| change(self), Reply::Now)
    }

    fn reload(&self) -> Reply {
        let (reply, outcome) = bounded(RELOAD_REPLY_CAPACITY);
        let _ = self.state.daemon_events.send(DaemonEvent::Reload { reply: Some(reply) });
        Reply::later(outcome, |outcome: Result<(), String>| match outcome {
            Ok(()) => Response::text(200, ""),
            Err(why) => Response::text(500, format!("failed to reload config: {why}\n")),
        })
    }

    /// What is in memory and not acknowledged goes to the disk.
    fn flush(&self) -> Reply {
        let Some(outcome) = flush::request(&self.state.log) else {
            return Reply::Now(Response::text(503, "The write-ahead log is not open, or is busy.\n"));
        };
        Reply::later(outcome, |outcome| match outcome {
            Ok(()) => Response::text(200, ""),
            Err(error) => Response::text(500, format!("failed to flush: {error}\n")),
        })
    }

    fn quit(&self) -> Reply {
        let _ = self.state.daemon_events.send(DaemonEvent::Terminate);
        Reply::Now(Response::text(200, "Requesting termination... Goodbye!"))
    }
}

impl Router {
    /// Answers a request that may be answered.
    pub(in crate::web) fn respond(&self, request: &Request) -> Reply {
        let mut opened = Account::open(Arc::clone(&self.state.metrics));
        let (handler, mut reply) = self.answer(request);
        opened.handler = handler;
        match &mut reply {
            Reply::Now(Response { account, .. }) | Reply::Later { account, .. } => *account = Some(opened),
            Reply::Checking(_) => {}
        }
        reply
    }
}

fn missing() -> Response {
    Response::text(404, "404 page not found\n")
}

/// Another path with the same query.
fn moved(status: u16, path: &str, request: &Request) -> Response {
    match request.query.as_str() {
        "" => Response::moved(status, path),
        query => Response::moved(status, &format!("{path}?{query}")),
    }
}
