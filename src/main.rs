//! The `scraped` command: flags, then the daemon or a sub-command, then an exit status.

use scraped::commands::check;
use scraped::commands::check::{Depth, Outcome};
use scraped::commands::metrics;
use scraped::commands::query;
use scraped::commands::query::QueryOptions;
use scraped::commands::scrape;
use scraped::commands::scrape::ScrapeOptions;
use scraped::commands::web_config;
use scraped::daemon::Daemon;
use scraped::flags;
use scraped::flags::{Command, FlagError, Flags};
use scraped::log;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The daemon cannot start, or a sub-command found a mistake.
const EXIT_FAILED: u8 = 1;
/// Flags of a server, as in Prometheus.
const EXIT_SERVER_ONLY: u8 = 3;
/// A thread of the daemon died: a bug.
const EXIT_BUG: u8 = 2;

fn main() -> ExitCode {
    scraped::allocator::tune();
    match flags::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(flags)) => run(*flags),
        Ok(Command::CheckConfig { file, is_syntax_only }) => check_config(&file, is_syntax_only),
        Ok(Command::CheckWebConfig { files }) => check_web_config(&files),
        Ok(Command::CheckMetrics) => check_metrics(),
        Ok(Command::Scrape(options)) => scrape(&options),
        Ok(Command::Query(options)) => query(options),
        Ok(Command::Help(text) | Command::Version(text)) => print(text.as_bytes()),
        Err(why @ FlagError::ServerOnly(_)) => {
            fail(&why);
            ExitCode::from(EXIT_SERVER_ONLY)
        }
        Err(why) => fail(&why),
    }
}

fn run(flags: Flags) -> ExitCode {
    log::init(flags.log_level, flags.log_format);
    let mut daemon = match Daemon::start(flags) {
        Ok(daemon) => daemon,
        Err(why) => return fail(&why),
    };
    let asked_for = daemon.run();
    let is_whole = daemon.shutdown();
    if asked_for && is_whole { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BUG) }
}

fn check_config(file: &Path, is_syntax_only: bool) -> ExitCode {
    let depth = if is_syntax_only { Depth::Syntax } else { Depth::Files };
    match check::check_config(file, depth, &mut io::stdout().lock()) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(EXIT_FAILED),
        // A closed pipe is the reader's wish.
        Err(_) => ExitCode::from(EXIT_FAILED),
    }
}

fn check_web_config(files: &[PathBuf]) -> ExitCode {
    match web_config::check_web_config(files, &mut io::stdout().lock()) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(EXIT_FAILED),
        // A closed pipe is the reader's wish.
        Err(_) => ExitCode::from(EXIT_FAILED),
    }
}

fn check_metrics() -> ExitCode {
    match metrics::check_metrics(&mut io::stdin().lock(), &mut io::stdout().lock()) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Bad) => ExitCode::from(EXIT_FAILED),
        Err(why) => fail(&why),
    }
}

fn scrape(options: &ScrapeOptions) -> ExitCode {
    match scrape::run(options, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(why) => fail(&why),
    }
}

fn query(options: QueryOptions) -> ExitCode {
    match query::run(options, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(&why),
    }
}

fn print(text: &[u8]) -> ExitCode {
    // A closed pipe is the reader's wish.
    let _ = io::stdout().lock().write_all(text);
    ExitCode::SUCCESS
}

fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr().lock(), "scraped: {why}");
    ExitCode::from(EXIT_FAILED)
}
