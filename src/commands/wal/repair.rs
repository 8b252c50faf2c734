//! `scraped wal repair`: what the start of the daemon does to a damaged log, without the daemon.

use std::io::Write;

use crate::commands::data_dir;
use crate::commands::wal::log::{LOCK_FILE, data_dir_of, is_locked};
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::{Progress, Terminal};
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::head::Wal;
use scraped_engine::wal::options::WalOptions;

pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let path = data_dir_of(arguments);
    data_dir::wal_dir(&path)?;
    let lock_file = path.join(LOCK_FILE);
    if is_locked(&lock_file) {
        // The lock itself says the same; this leaves the directory as it is.
        return Err(WalError::Locked { path: lock_file }.into());
    }
    let mut progress = None;
    let (wal, summary) = Wal::open(WalOptions::at(&path), &mut |done, total| {
        progress.get_or_insert_with(|| Progress::new("reading the log", total)).at(done);
    })?;
    drop(progress);
    wal.close()?;
    let losses = &summary.losses;
    if arguments.is_json() {
        let said =
            serde_json::json!({"losses": losses, "series": summary.series, "samples": summary.samples});
        writeln!(terminal, "{said}")?;
        return Ok(Outcome::Good);
    }
    for loss in losses {
        writeln!(terminal, "{loss}")?;
    }
    let (path, series, samples) = (path.display(), summary.series, summary.samples);
    let verdict = if losses.is_empty() { "nothing was damaged" } else { "repaired" };
    writeln!(terminal, "{path}: {verdict}: {series} series, {samples} samples")?;
    Ok(Outcome::Good)
}
