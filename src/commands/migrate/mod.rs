//! `scraped migrate vmagent|alloy|telegraf|grafana-agent FILE…`: another tool's configuration as a `prometheus.yml`.

mod alloy;
mod cursor;
mod draft;
mod grafana_agent;
mod river;
mod site;
mod telegraf;
mod toml;
mod tree;
mod vmagent;

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::commands::migrate::draft::Draft;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::Terminal;

/// Why nothing was made of the files.
#[derive(Debug)]
enum MigrateError {
    /// It cannot be read.
    Unreadable { path: PathBuf, cause: std::io::Error },
    /// It is not what the tool takes.
    NotTheirs { path: PathBuf, cause: String },
    /// Nothing of it can be kept.
    Nothing { cause: String },
}

impl fmt::Display for MigrateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, cause } => write!(f, "cannot read {}: {cause}", path.display()),
            Self::NotTheirs { path, cause } => write!(f, "{}: {cause}", path.display()),
            Self::Nothing { cause } => write!(f, "nothing of it can be kept: {cause}"),
        }
    }
}

impl std::error::Error for MigrateError {}

/// A file of another tool.
struct Source<'a> {
    path: &'a Path,
    text: String,
}

impl Source<'_> {
    fn not_theirs(&self, cause: impl ToString) -> MigrateError {
        MigrateError::NotTheirs { path: self.path.to_owned(), cause: cause.to_string() }
    }

    /// A file that it names, from its own directory.
    fn beside(&self, name: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(name)
    }
}

fn read(path: &Path) -> Result<Source<'_>, MigrateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Source { path, text }),
        Err(cause) => Err(MigrateError::Unreadable { path: path.to_owned(), cause }),
    }
}

type Add = fn(&Source<'_>, &mut Draft) -> Result<(), MigrateError>;

fn migrate(tool: &str, add: Add, arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let mut draft = Draft::new();
    let files = arguments.files();
    for path in &files {
        add(&read(path)?, &mut draft)?;
    }
    if draft.n_jobs() == 0 {
        draft.remark("no targets were found: nothing will be scraped");
    }
    let names: Vec<String> =
        files.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    let title = format!("{tool}: {}", names.join(", "));
    let text = draft.into_text(&title).map_err(|cause| MigrateError::Nothing { cause })?;
    terminal.write_all(text.as_bytes())?;
    Ok(Outcome::Good)
}

/// `scraped migrate vmagent`.
pub(in crate::commands) fn from_vmagent(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    migrate("vmagent", vmagent::add, arguments, terminal)
}

/// `scraped migrate alloy`.
pub(in crate::commands) fn from_alloy(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    migrate("Alloy", alloy::add, arguments, terminal)
}

/// `scraped migrate telegraf`.
pub(in crate::commands) fn from_telegraf(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    migrate("Telegraf", telegraf::add, arguments, terminal)
}

/// `scraped migrate grafana-agent`.
pub(in crate::commands) fn from_grafana_agent(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    migrate("Grafana Agent", grafana_agent::add, arguments, terminal)
}
