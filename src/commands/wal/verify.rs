//! `scraped wal verify`: every checksum and every entry of a log.

use std::collections::HashSet;
use std::io::Write;

use serde::Serialize;

use crate::commands::wal::log::Log;
use crate::flags::{Arguments, Done, Outcome};
use crate::terminal::{Colour, Terminal};
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;

/// What was found.
#[derive(Default, Serialize)]
struct Verdict {
    files: usize,
    records: u64,
    bytes: u64,
    /// A daemon writes it meanwhile.
    in_use: bool,
    /// Sentences.
    damages: Vec<String>,
    /// Samples of series that no record names.
    samples_without_series: u64,
}

pub(in crate::commands) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Done {
    let log = Log::open(arguments)?;
    let mut verdict = Verdict {
        files: log.files.len(),
        bytes: log.files.iter().map(|file| file.bytes).sum(),
        in_use: log.is_in_use,
        ..Verdict::default()
    };
    let segments: Vec<u32> =
        log.files.iter().filter(|file| !file.is_of_checkpoint).map(|file| file.number).collect();
    for pair in segments.windows(2).filter(|pair| pair[0] + 1 != pair[1]) {
        verdict.damages.push(format!("segments between {:08} and {:08} are missing", pair[0], pair[1]));
    }
    let mut refs = HashSet::new();
    log.walk(&mut |file, record| {
        match record {
            Ok(record) => {
                verdict.records += 1;
                let n_bad =
                    look_at(record::decode(record.bytes), &mut refs, &mut verdict.samples_without_series);
                if n_bad > 0 {
                    let name = file.name();
                    let sentence = format!("{name} at {}: {n_bad} entries cannot be read", record.start);
                    verdict.damages.push(sentence);
                }
            }
            Err(error) => {
                verdict.damages.push(format!("{} at {}: {}", file.name(), error.offset, error.cause))
            }
        }
        Ok(())
    })?;
    let is_good = verdict.damages.is_empty() && verdict.samples_without_series == 0;
    if arguments.is_json() {
        writeln!(terminal, "{}", serde_json::to_string(&verdict)?)?;
    } else {
        let path = log.path.display();
        for damage in &verdict.damages {
            writeln!(terminal, "{path}: {damage}")?;
        }
        if verdict.samples_without_series > 0 {
            writeln!(
                terminal,
                "{path}: {} samples of series that no record names",
                verdict.samples_without_series
            )?;
        }
        let (colour, word) = if is_good { (Colour::Green, "good") } else { (Colour::Red, "damaged") };
        let word = terminal.coloured(colour, word);
        let Verdict { files, records, bytes, .. } = verdict;
        let while_used = if log.is_in_use { ", while a daemon writes it" } else { "" };
        writeln!(terminal, "{path}: {word}: {files} files, {records} records, {bytes} bytes{while_used}")?;
    }
    Ok(if is_good { Outcome::Good } else { Outcome::Bad })
}

/// How many entries of the record cannot be read.
fn look_at(record: Record<'_>, refs: &mut HashSet<u64>, n_lost: &mut u64) -> u64 {
    let mut n_bad = 0;
    let mut of = |series_ref: Option<u64>| match series_ref {
        Some(series_ref) if refs.contains(&series_ref) => {}
        Some(_) => *n_lost += 1,
        None => n_bad += 1,
    };
    match record {
        Record::Series(entries) => {
            let mut n_bad = 0;
            for entry in entries {
                match entry {
                    Ok(entry) => drop(refs.insert(entry.series_ref)),
                    Err(_) => n_bad += 1,
                }
            }
            return n_bad;
        }
        Record::Samples(entries) => entries.for_each(|it| of(it.ok().map(|it| it.series_ref))),
        Record::Histograms(entries) => entries.for_each(|it| of(it.ok().map(|it| it.series_ref))),
        Record::Exemplars(entries) => n_bad += entries.filter(Result::is_err).count() as u64,
        Record::Metadata(entries) => n_bad += entries.filter(Result::is_err).count() as u64,
        Record::Other(_) => {}
    }
    n_bad
}
