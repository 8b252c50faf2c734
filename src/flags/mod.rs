//! Command lines.
//!
//! Read once in `main`; what a flag says goes to its module as a typed value and nothing reads a flag after that. The
//! daemon has Prometheus' flags, sub-commands have the rows of a table.

mod daemon;
mod error;
mod features;
mod foreign;
mod nearest;
mod neighbours;
mod subcommand;
mod table;
mod word;

pub use crate::flags::daemon::{Flags, MemoryFirst};
pub use crate::flags::error::FlagError;
pub(crate) use crate::flags::foreign::{FOREIGN, Verdict};
pub use crate::flags::subcommand::{Arguments, CommandFlag, Done, Outcome, Subcommand};
pub(crate) use crate::flags::table::FLAGS;
use std::ffi::OsString;

/// What one of ours does for a flag of vmagent or of Prometheus 1, without its dashes.
pub fn foreign_sentence(name: &str) -> Option<String> {
    neighbours::find(name)
}

/// What a command line asks for.
pub enum Command {
    /// Run the daemon.
    Run(Box<Flags>),
    /// Run a sub-command.
    Sub(&'static Subcommand, Arguments),
    /// Print what the program does, or one of its sub-commands.
    Help(Option<&'static Subcommand>),
    /// Print the version.
    Version,
}

/// Reads a command line, the program's name left out; `table` has the sub-commands.
///
/// # Errors
/// See [`FlagError`].
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    table: &'static [Subcommand],
) -> Result<Command, FlagError> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let is_word = |arg: &OsString| {
        !arg.as_encoded_bytes().starts_with(b"-") && !arg.as_encoded_bytes().starts_with(b"@")
    };
    if args.first().is_some_and(|arg| arg == "run") {
        args.remove(0);
    } else if args.first().is_some_and(is_word) {
        let (row, n_words) = subcommand::find(table, &args)?;
        return Ok(match subcommand::read(table, row, args[n_words..].to_vec())? {
            subcommand::Read::Run(arguments) => Command::Sub(row, arguments),
            subcommand::Read::Help => Command::Help(Some(row)),
        });
    }
    let is_command = |word: &str| table.iter().any(|row| row.name.split(' ').next() == Some(word));
    Ok(match daemon::read(args, &is_command)? {
        daemon::Read::Run(flags) => Command::Run(flags),
        daemon::Read::Help => Command::Help(None),
        daemon::Read::Version => Command::Version,
    })
}

/// The text of `--version`.
pub fn version() -> String {
    format!("scraped, version {} ({})\n", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)
}
