//! Which targets the page shows: what its form asks for, and how far one page of them goes.

use crate::scrape::targets::status::{ActiveTarget, Health};
use crate::web::pages::escape;
use crate::web::serve::http::Request;
use std::fmt::Write as _;

/// Rows of one page: a target with all it says takes some 1.3 kB, and the whole page has to be small.
pub(super) const PAGE_ROWS: usize = 36;

/// What a form of the page holds. Whatever cannot be read asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Of this health.
    pub health: Option<Health>,
    /// Of this job; empty: of all.
    pub job: String,
    /// With this in its URL, a label or its error, in whatever case; empty: all.
    pub text: String,
    /// After so many.
    pub from: usize,
}

const HEALTHS: [Health; 3] = [Health::Up, Health::Down, Health::Unknown];

impl Filter {
    /// What `request` asks for.
    pub(super) fn of(request: &Request) -> Self {
        let value = |name: &str| request.query_values(name).into_iter().next().unwrap_or_default();
        let state = value("state");
        Self {
            health: HEALTHS.into_iter().find(|health| health.as_str() == state),
            job: value("job"),
            text: value("q").trim().to_lowercase(),
            from: value("from").parse().unwrap_or(0),
        }
    }

    /// Whether it lets all targets of a job through.
    pub(super) fn is_open(&self) -> bool {
        self.health.is_none() && self.text.is_empty()
    }

    /// Whether it lets one target of a job that is shown through.
    pub(super) fn takes(&self, active: &ActiveTarget) -> bool {
        let is_of_health = |health| active.status.health() == health;
        self.health.is_none_or(is_of_health) && (self.text.is_empty() || self.is_found_in(active))
    }

    fn is_found_in(&self, active: &ActiveTarget) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.text);
        let in_labels =
            || active.target.labels.iter().any(|(name, value)| has(&format!("{name}=\"{value}\"")));
        let in_error = || active.status.last().and_then(|last| last.error).is_some_and(|error| has(&error));
        has(&active.target.url.to_string()) || in_labels() || in_error()
    }

    /// The form, with what it holds now. Beyond `MAX_JOBS` a job is typed.
    pub(super) fn form(&self, jobs: &[String]) -> String {
        const MAX_JOBS: usize = 50;
        let mut out =
            String::from("<form class=filter><label>State <select name=state><option value=\"\">any");
        for health in HEALTHS.map(Health::as_str) {
            let is_chosen = self.health.map(Health::as_str) == Some(health);
            let _ = write!(out, "<option{}>{health}", if is_chosen { " selected" } else { "" });
        }
        out.push_str("</select></label> <label>Job ");
        if jobs.len() > MAX_JOBS {
            let _ = write!(out, "<input name=job value=\"{}\">", escape(&self.job));
        } else {
            out.push_str("<select name=job><option value=\"\">all");
            for job in jobs {
                let is_chosen = *job == self.job;
                let _ = write!(out, "<option{}>{}", if is_chosen { " selected" } else { "" }, escape(job));
            }
            out.push_str("</select>");
        }
        let _ = writeln!(
            out,
            "</label> <label>Text <input name=q type=search placeholder=\"in URL, labels or error\" value=\"{}\"></label> \
             <button>Show</button></form>",
            escape(&self.text)
        );
        out
    }

    /// A button that shows the page from `from` on, without a word of script.
    pub(super) fn step(&self, from: usize, what: &str) -> String {
        let state = self.health.map(Health::as_str).unwrap_or_default();
        format!(
            "<form class=step><input type=hidden name=state value=\"{state}\"><input type=hidden name=job value=\"{}\">\
             <input type=hidden name=q value=\"{}\"><button name=from value={from}>{what}</button></form>",
            escape(&self.job),
            escape(&self.text)
        )
    }
}
