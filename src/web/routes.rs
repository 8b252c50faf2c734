//! The routes: which paths there are, which methods each takes, and what answers it. Paths and methods are those of
//! Prometheus' router in agent mode (`web/web.go`, `web/api/v1/api.go`).

use crate::http::address::path as url_path;
use crate::web::api::{
    attempts, features, metadata, notifications, query, queue_place, relabel, self_metrics, status, targets,
};
use crate::web::serve::http::{Request, Response};
use crate::web::serve::reply::Reply;
use crate::web::state::WebState;
use crate::web::{api, pages, probes};
use scraped_engine::sorting::sort;

const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];
const GET_POST: &[&str] = &["GET", "POST"];
const POST_PUT: &[&str] = &["POST", "PUT"];
const GET_POST_PUT: &[&str] = &["GET", "POST", "PUT"];

/// Before the paths of the API.
const API: &str = "/api/v1/";

/// What is made from snapshots of the daemon's state.
type Handler = fn(&WebState, &Request) -> Response;

/// What another thread works for.
type Asking = fn(&WebState, &Request) -> Reply;

/// One route.
pub(in crate::web) struct Route {
    /// `:name` stands for a part between slashes, `*name` for all that follows. It is the label `handler` too.
    pub(in crate::web) path: &'static str,
    /// Whatever takes `GET` takes `HEAD`, and all take `OPTIONS`.
    methods: &'static [&'static str],
    pub(in crate::web) page: Page,
}

/// What answers.
pub(in crate::web) enum Page {
    Shown(Handler),
    /// The same; other sites may read it if they are allowed to.
    Api(Handler),
    /// The same of what another thread answers.
    Query(Asking),
    /// What the query thread looks for, and no other site may read.
    Found(Asking),
    /// What changes something, for pages of this server alone.
    Change(Asking),
    Reload,
    Quit,
    Flush,
}

/// Where a request leads.
pub(in crate::web) enum Found {
    Page(&'static Route),
    /// A browser asks what it may send to the API.
    Preflight,
    /// The path is there and takes only these methods.
    WrongMethod(&'static Route, String),
    /// Somebody asks which methods there are.
    Methods(&'static Route, String),
    /// There is another spelling of the path.
    Elsewhere(&'static str),
    Nowhere,
}

const fn page(path: &'static str, handler: Handler) -> Route {
    Route { path, methods: GET, page: Page::Shown(handler) }
}

const fn api(path: &'static str, methods: &'static [&'static str], handler: Handler) -> Route {
    Route { path, methods, page: Page::Api(handler) }
}

const fn found(path: &'static str, handler: Asking) -> Route {
    Route { path, methods: GET, page: Page::Found(handler) }
}

const fn asked(path: &'static str, methods: &'static [&'static str], handler: Asking) -> Route {
    Route { path, methods, page: Page::Query(handler) }
}

const ROUTES: &[Route] = &[
    page("/", pages::overview::overview),
    page("/agent", pages::overview::overview),
    page("/targets", pages::targets::targets),
    Route {
        path: "/targets/scrape",
        methods: POST,
        page: Page::Change(pages::targets::scrape_now::scrape_now),
    },
    found("/graph", pages::explore::explore),
    found("/cost", pages::cost::cost),
    page("/query", pages::explore::elsewhere),
    page("/status", |state, _| pages::status::status(state)),
    page("/storage", |state, _| pages::storage::storage(state)),
    page("/service-discovery", pages::discovery::discovery),
    page("/config", |state, _| pages::settings::config(state)),
    page("/flags", |state, _| pages::settings::flags(state)),
    page("/style.css", |_, _| pages::style()),
    page("/script.js", |_, _| pages::script()),
    page("/metrics", |state, _| probes::metrics(state)),
    page("/version", |_, _| status::version()),
    found("/federate", query::federate::federate),
    page("/-/healthy", |state, _| probes::healthy(state)),
    page("/-/ready", |state, _| probes::ready(state)),
    Route { path: "/-/reload", methods: GET_POST_PUT, page: Page::Reload },
    Route { path: "/-/quit", methods: GET_POST_PUT, page: Page::Quit },
    Route { path: "/-/flush", methods: GET_POST_PUT, page: Page::Flush },
    Route { path: "/debug/*subpath", methods: GET_POST, page: Page::Shown(pages::debug::answer) },
    asked("/api/v1/query", GET_POST, query::expressions::query),
    asked("/api/v1/query_range", GET_POST, query::expressions::query_range),
    api("/api/v1/query_exemplars", GET_POST, api::needs_a_server),
    api("/api/v1/format_query", GET_POST, api::needs_a_server),
    api("/api/v1/parse_query", GET_POST, api::needs_a_server),
    asked("/api/v1/labels", GET_POST, query::series::label_names),
    asked("/api/v1/label/:name/values", GET, query::series::label_values),
    asked("/api/v1/series", GET_POST, query::series::series),
    api("/api/v1/scrape_pools", GET, |state, _| targets::scrape_pools(&state.board)),
    api("/api/v1/scrape_pools/config", GET, status::scrape_pool_config),
    api("/api/v1/targets", GET, targets::targets),
    api("/api/v1/targets/attempts", GET, attempts::attempts),
    asked("/api/v1/targets/queue", GET, queue_place::queue_place),
    api("/api/v1/targets/metadata", GET, |state, request| metadata::of_targets(&state.board, request)),
    api("/api/v1/targets/relabel_steps", GET, relabel::steps),
    api("/api/v1/alertmanagers", GET, api::needs_a_server),
    api("/api/v1/metadata", GET, |state, request| metadata::of_metrics(&state.board, request)),
    api("/api/v1/status/config", GET, |state, _| status::config(state)),
    api("/api/v1/status/runtimeinfo", GET, |state, _| status::runtime_info(state)),
    api("/api/v1/status/buildinfo", GET, |_, _| status::build_info()),
    api("/api/v1/status/flags", GET, |state, _| status::flags(state)),
    api("/api/v1/status/tsdb", GET, api::needs_a_server),
    api("/api/v1/status/tsdb/blocks", GET, api::needs_a_server),
    api("/api/v1/status/self_metrics", GET, self_metrics::families),
    api("/api/v1/status/walreplay", GET, |state, _| status::wal_replay(state)),
    api("/api/v1/features", GET, |state, _| features::features(state)),
    api("/api/v1/notifications", GET, |state, _| notifications::list(&state.running)),
    api("/api/v1/notifications/live", GET, |state, _| notifications::live(state)),
    // What no page of another site asks for.
    Route { path: "/api/v1/read", methods: POST, page: Page::Found(query::read::read) },
    Route { path: "/api/v1/write", methods: POST, page: Page::Shown(|_, _| api::no_receiver()) },
    Route { path: "/api/v1/otlp/v1/metrics", methods: POST, page: Page::Shown(|_, _| api::no_receiver()) },
    api("/api/v1/search/metric_names", GET_POST, api::no_search),
    api("/api/v1/search/label_names", GET_POST, api::no_search),
    api("/api/v1/search/label_values", GET_POST, api::no_search),
    api("/api/v1/alerts", GET, api::needs_a_server),
    api("/api/v1/rules", GET, api::needs_a_server),
    api("/api/v1/admin/tsdb/delete_series", POST_PUT, api::needs_a_server),
    api("/api/v1/admin/tsdb/clean_tombstones", POST_PUT, api::needs_a_server),
    api("/api/v1/admin/tsdb/snapshot", POST_PUT, api::needs_a_server),
];

impl Route {
    fn takes(&self, method: &str) -> bool {
        self.methods.contains(&if method == "HEAD" { "GET" } else { method })
    }

    /// What stands in `Allow`.
    fn allowed(&self) -> String {
        let mut methods = [self.methods, &["OPTIONS"]].concat();
        if self.takes("HEAD") {
            methods.push("HEAD");
        }
        sort(&mut methods);
        methods.join(", ")
    }

    fn matches(&self, path: &str) -> bool {
        let mut left = path;
        for part in self.path.split_inclusive('/') {
            match part.as_bytes().first() {
                Some(b'*') => return true,
                Some(b':') => {
                    let end = left.find('/').unwrap_or(left.len());
                    left = left.get(end + 1..).filter(|_| end > 0).unwrap_or_default();
                }
                _ => match left.strip_prefix(part) {
                    Some(rest) => left = rest,
                    None => return false,
                },
            }
        }
        left.is_empty()
    }

    /// Whether it is what a client meant: upper case, or a slash more at the end.
    fn is_meant_by(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        self.path.eq_ignore_ascii_case(path) && !self.path.contains([':', '*'])
    }
}

/// Finds what answers a request for a path, the prefix left out.
pub(in crate::web) fn find(path: &str, method: &str) -> Found {
    if method == "OPTIONS" && path.starts_with(API) {
        return Found::Preflight;
    }
    if let Some(route) = ROUTES.iter().find(|route| route.matches(path)) {
        return match method {
            method if route.takes(method) => Found::Page(route),
            "OPTIONS" => Found::Methods(route, route.allowed()),
            _ => Found::WrongMethod(route, route.allowed()),
        };
    }
    let meant = ROUTES.iter().find(|route| route.takes(method) && route.is_meant_by(path));
    meant.map_or(Found::Nowhere, |route| Found::Elsewhere(route.path))
}

/// A path without doubled slashes and steps through directories, if it has any (Go's `cleanPath`).
pub(in crate::web) fn cleaned(path: &str) -> Option<String> {
    let cleaned = url_path::cleaned(path);
    (path.starts_with('/') && cleaned != path).then_some(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_routes() {
        let check = |method: &str, path: &str, want: &str| {
            let found = match find(path, method) {
                Found::Page(route) => route.path.to_owned(),
                Found::Preflight => "preflight".to_owned(),
                Found::WrongMethod(_, allowed) => format!("405 {allowed}"),
                Found::Methods(_, allowed) => format!("200 {allowed}"),
                Found::Elsewhere(path) => format!("301 {path}"),
                Found::Nowhere => "404".to_owned(),
            };
            assert_eq!(found, want, "{method} {path}");
        };
        check("GET", "/", "/");
        check("HEAD", "/metrics", "/metrics");
        check("GET", "/api/v1/label/a/values", "/api/v1/label/:name/values");
        check("GET", "/api/v1/label//values", "404");
        check("GET", "/api/v1/label/a", "404");
        check("GET", "/api/v1/label/a/values/b", "404");
        check("POST", "/debug/pprof/symbol", "/debug/*subpath");
        check("GET", "/targets/scrape", "405 OPTIONS, POST");
        check("POST", "/api/v1/targets", "405 GET, HEAD, OPTIONS");
        check("GET", "/api/v1/read", "405 OPTIONS, POST");
        check("OPTIONS", "/-/reload", "200 GET, HEAD, OPTIONS, POST, PUT");
        check("OPTIONS", "/api/v1/nothing", "preflight");
        check("OPTIONS", "/nothing", "404");
        check("GET", "/api/v1/Targets/", "301 /api/v1/targets");
        check("POST", "/api/v1/targets/", "404");
    }

    #[test]
    fn paths_are_cleaned() {
        let check = |path: &str, want: Option<&str>| assert_eq!(cleaned(path).as_deref(), want, "{path}");
        check("/", None);
        check("/a/b/", None);
        check("//", Some("/"));
        check("//evil.example//a/", Some("/evil.example/a/"));
        check("/a/./../../b", Some("/b"));
        check("*", None);
    }
}
