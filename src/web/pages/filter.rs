//! What is asked for on a page that lists targets: the form, what it lets through, and the way from one page to the next.

use crate::web::pages::escape;
use crate::web::serve::http::Request;
use scraped_engine::labels::Labels;
use std::fmt::Write as _;

/// Jobs that a form offers; of more than these one is typed.
const MAX_JOBS: usize = 50;

/// What a form holds. Whatever cannot be read asks for nothing.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// The states that there are on this page.
    states: &'static [&'static str],
    /// One of them; empty: any.
    pub state: &'static str,
    /// Of this job; empty: of all.
    pub job: String,
    /// In lower case; empty: whatever there is.
    pub text: String,
    /// This target alone, by its hash: the one that was just scraped on demand.
    pub target: Option<u64>,
    /// After so many.
    pub from: usize,
}

impl Filter {
    /// What `request` asks of a page whose targets have these `states`.
    pub(super) fn of(request: &Request, states: &'static [&'static str]) -> Self {
        let state = request.query_value("state");
        Self {
            states,
            state: states.iter().find(|known| **known == state).copied().unwrap_or_default(),
            job: request.query_value("job"),
            text: request.query_value("q").trim().to_lowercase(),
            target: request.query_value("target").parse().ok(),
            from: request.query_value("from").parse().unwrap_or(0),
        }
    }

    /// Whether it lets all targets of a job through.
    pub(super) fn is_open(&self) -> bool {
        self.state.is_empty() && self.text.is_empty() && self.target.is_none()
    }

    /// Of all jobs those that are shown.
    pub(super) fn jobs(&self, mut jobs: Vec<String>) -> Vec<String> {
        jobs.retain(|job| self.job.is_empty() || *job == self.job);
        jobs
    }

    /// Whether a target of this state is shown.
    pub(super) fn takes_state(&self, state: &str) -> bool {
        self.state.is_empty() || self.state == state
    }

    /// Whether the text stands in another one, in whatever case.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.text.is_empty() || text.to_lowercase().contains(&self.text)
    }

    /// Whether the text stands in `name="value"` of a label.
    pub(super) fn is_in_labels(&self, labels: &Labels) -> bool {
        self.text.is_empty() || labels.iter().any(|(name, value)| self.is_in(&format!("{name}=\"{value}\"")))
    }

    /// The form, with what it holds now. `hint` says where the text is looked for.
    pub(super) fn form(&self, jobs: &[String], hint: &str) -> String {
        let selected = |is_chosen: bool| if is_chosen { " selected" } else { "" };
        let mut out =
            String::from("<form class=filter><label>State <select name=state><option value=\"\">any");
        for state in self.states {
            let _ = write!(out, "<option{}>{state}", selected(self.state == *state));
        }
        out.push_str("</select></label> <label>Job ");
        if jobs.len() > MAX_JOBS {
            let _ = write!(out, "<input name=job value=\"{}\">", escape(&self.job));
        } else {
            out.push_str("<select name=job><option value=\"\">all");
            for job in jobs {
                let _ = write!(out, "<option{}>{}", selected(*job == self.job), escape(job));
            }
            out.push_str("</select>");
        }
        let _ = writeln!(
            out,
            "</label> <label>Text <input name=q type=search placeholder=\"{hint}\" value=\"{}\"></label> \
             <button>Show</button></form>",
            escape(&self.text)
        );
        out
    }

    /// How many targets of `n_rows` lines there are, which lines this page has, and the way to the others.
    pub(super) fn steps(&self, n_rows: usize, n_targets: usize, page_rows: usize) -> String {
        let mut out = match n_targets {
            0 if n_rows == 0 => "<p>No target is like that.".to_owned(),
            1 => "<p>1 target".to_owned(),
            n => format!("<p>{n} targets"),
        };
        let to = self.from.saturating_add(page_rows).min(n_rows);
        if n_rows > page_rows {
            let _ = write!(out, ", here {} to {to} ", (self.from + 1).min(n_rows));
            if self.from > 0 {
                out.push_str(&self.step(self.from.saturating_sub(page_rows), "previous"));
            }
            if to < n_rows {
                out.push_str(&self.step(to, "next"));
            }
        }
        out.push_str("</p>\n");
        out
    }

    /// A button that shows the page from `from` on, without a word of script.
    fn step(&self, from: usize, what: &str) -> String {
        format!(
            "<form class=step><input type=hidden name=state value=\"{}\"><input type=hidden name=job value=\"{}\">\
             <input type=hidden name=q value=\"{}\"><button name=from value={from}>{what}</button></form>",
            self.state,
            escape(&self.job),
            escape(&self.text)
        )
    }
}
