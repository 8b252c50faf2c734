//! `/debug/pprof`: Go's profiles, of which there is only the command line here.

use crate::web::pages::page;
use crate::web::serve::http::{Request, Response};
use crate::web::state::WebState;
use std::iter::once;

const INDEX: &str = "<section><h2>Profiles</h2><p>There is no Go runtime here, and so none of its profiles. \
                     <a href=\"cmdline\">cmdline</a> is the command line; threads, memory and processor time are in \
                     the metrics <code>process_*</code> and <code>scraped_*</code>.</p></section>";

/// Answers `/debug/*subpath`.
pub(in crate::web) fn answer(state: &WebState, request: &Request) -> Response {
    let site = &state.site;
    let subpath = request.path.strip_prefix(site.prefix()).and_then(|path| path.strip_prefix("/debug/"));
    match subpath.unwrap_or_default() {
        "pprof" => Response::moved(301, &format!("{}/debug/pprof/", site.prefix())),
        "pprof/" => page(site, "debug", once(INDEX.to_owned())),
        "pprof/cmdline" => command_line(),
        subpath if subpath.starts_with("pprof/") => {
            Response::text(404, "Unknown profile: there is no Go runtime here\n")
        }
        _ => Response::text(404, "404 page not found\n"),
    }
}

/// Arguments with NUL between, as Go has them.
fn command_line() -> Response {
    match std::fs::read("/proc/self/cmdline") {
        Ok(mut arguments) => {
            arguments.truncate(arguments.strip_suffix(b"\0").unwrap_or(&arguments).len());
            Response::new(200, "text/plain; charset=utf-8", arguments)
        }
        Err(why) => Response::text(500, format!("/proc/self/cmdline: {why}\n")),
    }
}
