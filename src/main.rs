//! The `scraped` command: flags, then the daemon or a sub-command, then an exit status.

use scraped::commands::{COMMANDS, help};
use scraped::daemon::Daemon;
use scraped::flags;
use scraped::flags::{Arguments, Command, FlagError, Flags, Outcome, Subcommand};
use scraped::log;
use scraped::stdio;
use scraped::terminal::Terminal;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// The daemon cannot start, or a sub-command found a mistake.
const EXIT_FAILED: u8 = 1;
/// A thread of the daemon died: a bug.
const EXIT_BUG: u8 = 2;
/// Flags of a server, as in Prometheus.
const EXIT_SERVER_ONLY: u8 = 3;
/// Nothing is wrong, but not all is well; promtool's.
const EXIT_DUBIOUS: u8 = 3;

/// Before the standard library starts.
#[used]
#[unsafe(link_section = ".init_array")]
#[allow(unsafe_code, reason = "there is no other place before main")]
static TAKE_CLOSED: extern "C" fn() = stdio::take_closed;

fn main() -> ExitCode {
    scraped::allocator::tune();
    match flags::parse(std::env::args_os().skip(1), COMMANDS) {
        Ok(Command::Run(flags)) => run(*flags),
        Ok(Command::Sub(row, arguments)) => sub_command(row, &arguments),
        Ok(Command::Help(None)) => print(&help::of_program(COMMANDS)),
        Ok(Command::Help(Some(row))) => print(&help::of_command(row)),
        Ok(Command::Version) => print(&flags::version()),
        Err(why) => {
            why.sentences().iter().for_each(|sentence| complain(sentence));
            ExitCode::from(match why {
                FlagError::ServerOnly { .. } => EXIT_SERVER_ONLY,
                FlagError::Mistakes(_) => EXIT_FAILED,
            })
        }
    }
}

fn run(flags: Flags) -> ExitCode {
    if let Err(why) = log::init(flags.log_level, flags.log_format, &flags.log_output()) {
        complain(&format!("the file of --log.file cannot be written: {why}"));
        return ExitCode::from(EXIT_FAILED);
    }
    let mut daemon = match Daemon::start(flags) {
        Ok(daemon) => daemon,
        Err(why) => {
            complain(&why);
            return ExitCode::from(EXIT_FAILED);
        }
    };
    let asked_for = daemon.run();
    let is_whole = daemon.shutdown();
    if asked_for && is_whole { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BUG) }
}

fn sub_command(row: &Subcommand, arguments: &Arguments) -> ExitCode {
    let mut terminal = Terminal::stdout();
    let outcome = (row.run)(arguments, &mut terminal).and_then(|outcome| {
        terminal.flush()?;
        Ok(outcome)
    });
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(EXIT_FAILED),
        Ok(Outcome::Dubious) => ExitCode::from(EXIT_DUBIOUS),
        Err(why) => {
            if !is_closed_pipe(why.as_ref()) {
                complain(&why);
            }
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Which is the reader's wish.
fn is_closed_pipe(why: &(dyn Error + 'static)) -> bool {
    why.downcast_ref::<io::Error>().is_some_and(|why| why.kind() == io::ErrorKind::BrokenPipe)
}

fn print(text: &str) -> ExitCode {
    // A closed pipe is the reader's wish.
    let _ = io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(why: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "scraped: {why}");
}
