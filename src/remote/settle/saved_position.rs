//! The place that an endpoint goes on from after a restart: the newest settled one that survives a loss of power.
//!
//! Owned by the endpoint's queue. What is settled waits here until the log is durable up to there; then it is saved, and the
//! log may let go what stands before it.

use std::collections::VecDeque;
use std::io;

use crate::remote::settle::mark::Mark;
use crate::remote::settle::position::{Known, Positions};
use crate::remote::settle::progress::Saved;
use scraped_engine::mutant::{self, Mutant};
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::head::{LogReader, ReaderMark};

/// Places that wait to be durable; one every few seconds.
const MAX_SETTLED: usize = 64;

/// A position that follows what is settled.
#[derive(Debug)]
pub struct SavedPosition {
    log: LogReader,
    mark: ReaderMark,
    /// What its file says; `None` while it has none under its identity.
    saved: Option<Saved>,
    /// The newest settled place that survives a loss of power; `None` before one does.
    durable: Option<Saved>,
    /// Settled places behind that one, oldest first.
    settled: VecDeque<Saved>,
}

impl SavedPosition {
    /// Begins at the place of a claim, which may be in memory only; `mark` is its hold on the log.
    pub fn new(log: LogReader, mark: ReaderMark, place: Saved) -> Self {
        let is_in_memory = place.marks().any(|mark| log.is_only_in_memory(mark.position));
        let (durable, settled) = match is_in_memory {
            true => (None, VecDeque::from([place])),
            false => (Some(place), VecDeque::new()),
        };
        Self { log, mark, saved: None, durable, settled }
    }

    /// Where a restart goes on from, once that is saved.
    pub fn position(&self) -> Position {
        self.durable.as_ref().or(self.settled.front()).map(|place| place.mark.position).unwrap_or_default()
    }

    /// What is settled now may be saved once it is durable.
    pub fn note_settled(&mut self, now: Saved) {
        self.mark.settle(now.mark.position);
        if self.settled.back().or(self.durable.as_ref()) != Some(&now) {
            self.settled.push_back(now);
        }
        if self.settled.len() > MAX_SETTLED {
            // Nothing becomes durable; the oldest place will be the first.
            self.settled.remove(1);
        }
    }

    /// What was saved has vanished, or stands under another identity.
    pub fn forget_saved(&mut self) {
        self.saved = None;
    }

    /// Saves the newest settled place that is durable, and lets the log go up to there.
    ///
    /// # Errors
    /// The file cannot be written; the old one is still there.
    pub fn save(&mut self, positions: &Positions, identity: &str, url: &str) -> io::Result<()> {
        let is_early = mutant::is_on(Mutant::PositionBeforeLog);
        let is_durable =
            |saved: &Saved| is_early || saved.marks().all(|mark| self.log.is_durable(mark.position));
        // Those before it may never be: their segment could not be fsynced.
        if let Some(newest) = self.settled.iter().rposition(is_durable) {
            self.durable = self.settled.drain(..=newest).next_back();
        }
        self.note_settled_in_memory();
        let Some(saved) = self.durable.clone().filter(|durable| self.saved.as_ref() != Some(durable)) else {
            return Ok(());
        };
        let known = Known { identity: identity.to_owned(), url: url.to_owned(), saved };
        positions.save(&known)?;
        self.mark.keep_from(known.saved.mark.position);
        self.saved = Some(known.saved);
        Ok(())
    }

    /// What is settled behind the end of the log on the disk is never written, so that is the place to go on from.
    fn note_settled_in_memory(&mut self) {
        let Some((end, fingerprint)) = self.log.last_durable() else { return };
        let Some(now) = self.settled.back().filter(|now| now.ahead.is_empty()) else { return };
        let is_newer = self.durable.as_ref().is_none_or(|durable| durable.mark.position < end);
        if now.mark.position > end && is_newer {
            let mark = Mark { position: end, fingerprint };
            self.durable = Some(Saved { mark, ledger: now.ledger, ahead: Vec::new() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::SavedPosition;
    use crate::remote::settle::mark::Mark;
    use crate::remote::settle::position::{Positions, Remembered};
    use crate::remote::settle::progress::Saved;
    use scraped_engine::disk::RealDisk;
    use scraped_engine::labels::builder::LabelsBuilder;
    use scraped_engine::wal::head::Wal;
    use scraped_engine::wal::keep::maintenance::Maintenance;
    use scraped_engine::wal::options::WalOptions;
    use std::sync::Arc;

    const URL: &str = "http://127.0.0.1:9090/api/v1/write";

    /// As of an endpoint that a reload brings.
    #[test]
    fn a_place_that_is_in_memory_is_saved_when_it_is_durable() {
        let dir = tempfile::tempdir().unwrap();
        let options =
            WalOptions { memory_bytes: Some(1 << 20), lock_file: false, ..WalOptions::at(dir.path()) };
        let wal = Wal::open(options, &mut |_, _| {}).unwrap().0;
        let log = wal.reader();
        let _other = log.claim(log.committed_end().unwrap());
        let mut maintenance = Maintenance::new(wal.clone(), log.are_all_known());
        let mut appender = wal.appender();
        let mut labels = LabelsBuilder::new();
        labels.set("__name__", "a");
        let handle = appender.series(&labels).unwrap().handle;
        appender.append(handle, 1000, 1.0);
        appender.commit().unwrap();

        let end = log.committed_end().unwrap();
        let place = Saved { mark: Mark { position: end, fingerprint: 0 }, ..Saved::default() };
        let positions = Positions::open(Arc::new(RealDisk), dir.path()).unwrap();
        let mut position = SavedPosition::new(log.clone(), log.claim(end), place.clone());
        position.save(&positions, URL, URL).unwrap();
        assert!(!matches!(positions.recall(URL, true), Remembered::At(_)));
        maintenance.write_memory().unwrap();
        position.save(&positions, URL, URL).unwrap();
        assert_eq!(positions.recall(URL, true), Remembered::At(place));
    }
}
