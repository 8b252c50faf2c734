//! `scraped check config [--syntax-only] FILE`: every mistake with file, line, key and a sentence, or a short summary.

use std::io::{self, Write};
use std::path::Path;

use crate::commands::check::files;
use crate::commands::check::files::Findings;
use crate::commands::check::summary;
use crate::config::load;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::Terminal;

/// How far a check goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// `--syntax-only`: the configuration and its `scrape_config_files`.
    Syntax,
    /// Also whether the files that it names are there, and what lists of targets say.
    Files,
}

pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let depth = if arguments.is_on("syntax-only") { Depth::Syntax } else { Depth::Files };
    Ok(check_config(arguments.file(0), depth, terminal)?)
}

/// Checks the configuration in `path` and writes what it found.
///
/// # Errors
///
/// Those of `out`.
fn check_config(path: &Path, depth: Depth, out: &mut dyn Write) -> io::Result<Outcome> {
    match load(path) {
        Ok(config) => {
            let found = match depth {
                Depth::Syntax => Findings::default(),
                Depth::Files => files::look(&config),
            };
            for warning in &found.warnings {
                writeln!(out, "{}: warning: {warning}", path.display())?;
            }
            for mistake in &found.mistakes {
                writeln!(out, "{}: {mistake}", path.display())?;
            }
            if !found.mistakes.is_empty() {
                return Ok(Outcome::Bad);
            }
            writeln!(out, "{}: good: {}", path.display(), summary(&config))?;
            for note in &config.notes {
                writeln!(out, "{}: note: {note}", path.display())?;
            }
            Ok(Outcome::Good)
        }
        Err(errors) => {
            writeln!(out, "{errors}")?;
            Ok(Outcome::Bad)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Depth, check_config};
    use crate::flags::Outcome;

    fn check(text: &str, outcome: Outcome, want: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.yml");
        std::fs::write(&path, text).unwrap();
        let mut out = Vec::new();
        assert_eq!(check_config(&path, Depth::Syntax, &mut out).unwrap(), outcome);
        let out = String::from_utf8(out).unwrap().replace(&path.display().to_string(), "c.yml");
        assert_eq!(out.lines().collect::<Vec<_>>(), want, "{text}");
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
        assert_eq!(check_config(&dir.path().join("no.yml"), Depth::Files, &mut out).unwrap(), Outcome::Bad);
        let out = String::from_utf8(out).unwrap();
        assert!(out.ends_with("no.yml: cannot read it: No such file or directory (os error 2)\n"), "{out}");
    }
}
