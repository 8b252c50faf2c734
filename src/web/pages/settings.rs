//! What the daemon was started with: the configuration in force, and the flags.

use crate::web::pages::{ago, escape, ms, page};
use crate::web::serve::http::Response;
use crate::web::state::WebState;
use std::fmt::Write as _;
use std::iter::once;

/// `/config`: as `/api/v1/status/config` has it, secrets hidden. A line a piece: it may be long.
pub(in crate::web) fn config(state: &WebState) -> Response {
    let text = state.config_text();
    let mut start = 0;
    let lines = std::iter::from_fn(move || {
        let line = text.get(start..)?.split_inclusive('\n').next()?;
        start += line.len();
        Some(escape(line))
    });
    let start = format!("{}<pre>", refusal(state));
    page(&state.site, "config", once(start).chain(lines).chain(once("</pre>".to_owned())))
}

/// Why the file on disk is not what is in force, if a reload was refused.
fn refusal(state: &WebState) -> String {
    let last_reload = state.running.last_reload();
    let Some(since) = last_reload.failed_since else { return String::new() };
    format!(
        "<p class=down>This is not what is on disk: the reload {} was refused.</p><pre class=down>{}</pre>",
        ago(ms(since)),
        escape(&last_reload.refusal)
    )
}

/// `/flags`.
pub(in crate::web) fn flags(state: &WebState) -> Response {
    let mut content = String::from("<table><thead><tr><th>Flag<th>Value</tr></thead><tbody>");
    for (name, value) in &state.flags {
        let _ =
            write!(content, "<tr><td data-label=Flag>--{name}<td data-label=Value>{}</tr>", escape(value));
    }
    content.push_str("</tbody></table>");
    page(&state.site, "flags", once(content))
}
