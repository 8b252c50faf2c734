//! `scraped check config FILE`: every mistake with file, line, key and a sentence, or a short summary.

use std::io::{self, Write};
use std::path::Path;

use crate::commands::check::files;
use crate::commands::check::files::Findings;
use crate::commands::check::{lint, summary};
use crate::config::load;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::Terminal;
use serde::Serialize;

/// How far a check goes.
#[derive(Clone, Debug, Default)]
struct Depth {
    /// `--syntax-only`: the configuration and its `scrape_config_files`, and not whether the files that it names are there.
    is_syntax_only: bool,
    /// `--lint`, by what it looks for.
    lint: Option<String>,
}

/// What there is to say, each in a sentence.
#[derive(Default, Serialize)]
struct Verdict {
    /// The configuration would be refused.
    mistakes: Vec<String>,
    /// It may be.
    warnings: Vec<String>,
    /// It is allowed and seldom meant.
    lint: Vec<String>,
    /// Taken without effect.
    notes: Vec<String>,
    /// Of a good one.
    summary: String,
}

pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let depth = Depth {
        is_syntax_only: arguments.is_on("syntax-only"),
        lint: arguments.flag("lint").filter(|lint| lint != "none"),
    };
    let path = arguments.file(0);
    let verdict = check(path, &depth);
    match arguments.is_json() {
        true => writeln!(terminal, "{}", serde_json::to_string(&verdict)?)?,
        false => verdict.print(path, terminal)?,
    }
    Ok(match (verdict.mistakes.is_empty(), verdict.lint.is_empty()) {
        (false, _) => Outcome::Bad,
        (true, false) if arguments.is_on("lint-fatal") => Outcome::Dubious,
        (true, _) => Outcome::Good,
    })
}

/// Checks the configuration in `path`.
fn check(path: &Path, depth: &Depth) -> Verdict {
    let config = match load(path) {
        Ok(config) => config,
        // These begin with the file that they are in, which may be another one.
        Err(errors) => {
            let mistakes = errors.to_string().lines().map(str::to_owned).collect();
            return Verdict { mistakes, ..Verdict::default() };
        }
    };
    let found = if depth.is_syntax_only { Findings::default() } else { files::look(&config) };
    let in_file = |sentence: String| format!("{}: {sentence}", path.display());
    let lint = depth.lint.iter().flat_map(|wanted| lint::look(&config, wanted));
    Verdict {
        mistakes: found.mistakes.into_iter().map(in_file).collect(),
        warnings: found.warnings,
        lint: lint.map(|(name, sentence)| format!("{sentence} ({name})")).collect(),
        summary: summary(&config),
        notes: config.notes,
    }
}

impl Verdict {
    fn print(&self, path: &Path, out: &mut dyn Write) -> io::Result<()> {
        let path = path.display();
        self.warnings.iter().try_for_each(|warning| writeln!(out, "{path}: warning: {warning}"))?;
        self.lint.iter().try_for_each(|finding| writeln!(out, "{path}: lint: {finding}"))?;
        self.mistakes.iter().try_for_each(|mistake| writeln!(out, "{mistake}"))?;
        if self.mistakes.is_empty() {
            writeln!(out, "{path}: good: {}", self.summary)?;
            self.notes.iter().try_for_each(|note| writeln!(out, "{path}: note: {note}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Depth;
    use crate::flags::Outcome;

    fn check_with(text: &str, depth: &Depth, outcome: Outcome, want: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.yml");
        std::fs::write(&path, text).unwrap();
        let mut out = Vec::new();
        let verdict = super::check(&path, depth);
        assert_eq!(verdict.mistakes.is_empty(), outcome == Outcome::Good);
        verdict.print(&path, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap().replace(&path.display().to_string(), "c.yml");
        assert_eq!(out.lines().collect::<Vec<_>>(), want, "{text}");
    }

    fn check(text: &str, outcome: Outcome, want: &[&str]) {
        check_with(text, &Depth { is_syntax_only: true, lint: None }, outcome, want);
    }

    #[test]
    fn good_and_bad() {
        check("", Outcome::Good, &["c.yml: good: 0 jobs, 0 static targets"]);
        check(
            "global: {evaluation_interval: 1m}\n\
             scrape_configs:\n\
             - job_name: a\n  static_configs: [{targets: [a, b]}]\n  file_sd_configs: [{files: [x.yml]}]\n",
            Outcome::Good,
            &[
                "c.yml: good: 1 job, 2 static targets, 1 target file pattern",
                "c.yml: note: global.evaluation_interval has no effect in an agent",
            ],
        );
        check(
            "scrape_configs:\n- job_name: a\n  scrape_interval: 1\n- scheme: x\n",
            Outcome::Bad,
            &[
                "c.yml:3: scrape_configs[0].scrape_interval: not a valid duration string: \"1\"; it needs a unit, as in 1s",
                "c.yml:4: scrape_configs[1].job_name: job_name is empty",
                "c.yml:4: scrape_configs[1].scheme: scheme \"x\" is neither http nor https",
            ],
        );
    }

    #[test]
    fn a_file_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut out = Vec::new();
        let verdict = super::check(&dir.path().join("no.yml"), &Depth::default());
        assert_eq!(verdict.mistakes.len(), 1);
        verdict.print(&dir.path().join("no.yml"), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.ends_with("no.yml: cannot read it: No such file or directory (os error 2)\n"), "{out}");
    }

    #[test]
    fn what_is_seldom_meant() {
        let check = |text: &str, lint: &str, want: &[&str]| {
            let depth = Depth { is_syntax_only: true, lint: Some(lint.to_owned()) };
            check_with(text, &depth, Outcome::Good, want);
        };
        let long = "global: {scrape_interval: 10m}\nscrape_configs:\n- job_name: a\n  static_configs: [{targets: [x]}]\n";
        let said = "c.yml: lint: job \"a\": scrape_interval 10m is 5m or more: queries see gaps between its samples \
                    (too-long-scrape-interval)";
        check(long, "", &[said, "c.yml: good: 1 job, 1 static target"]);
        check(long, "too-long-scrape-interval", &[said, "c.yml: good: 1 job, 1 static target"]);
        check(long, "duplicate-rules", &["c.yml: good: 1 job, 1 static target"]);
        check(
            "scrape_configs:\n- job_name: a\n  scrape_interval: 500ms\n  scrape_timeout: 400ms\n  static_configs: [{targets: [x]}]\n\
             - job_name: b\n  basic_auth: {username: u, password: p}\n  static_configs: [{targets: [x]}]\n\
             - job_name: c\n  scheme: https\n  tls_config: {insecure_skip_verify: true}\n\
             remote_write: [{url: 'http://x/', authorization: {credentials: s}}]\n",
            "all",
            &[
                "c.yml: lint: job \"a\": scrape_interval 500ms is less than 1s: costs power, disk and bytes \
                 (too-short-scrape-interval)",
                "c.yml: lint: job \"b\": its secret goes over plain HTTP, for everyone on the way to read (plain-text-secret)",
                "c.yml: lint: job \"c\": it names no targets and no source of them (no-targets)",
                "c.yml: lint: job \"c\": insecure_skip_verify: anyone on the way can take the server's place \
                 (no-verification)",
                "c.yml: lint: job \"b\": x is a target of job \"a\" already (duplicate-targets)",
                "c.yml: lint: remote_write http://x/: its secret goes over plain HTTP, for everyone on the way to read \
                 (plain-text-secret)",
                "c.yml: lint: remote_write without global.external_labels: samples of two boxes cannot be told apart \
                 (no-external-labels)",
                "c.yml: good: 3 jobs, 2 static targets",
            ],
        );
    }
}
