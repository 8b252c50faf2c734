//! The place that an endpoint goes on from after a restart: the newest settled one that survives a loss of power.
//!
//! Owned by the endpoint's queue. What is settled waits here until the log is durable up to there; then it is saved, and the
//! log may let go what stands before it.

use std::collections::VecDeque;
use std::io;

use crate::remote::settle::mark::Mark;
use crate::remote::settle::position::{Known, Positions};
use crate::remote::settle::progress::Saved;
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
    /// The newest settled place that survives a loss of power.
    durable: Saved,
    /// Settled places behind that one, oldest first.
    settled: VecDeque<Saved>,
}

impl SavedPosition {
    /// Begins at the place of a claim; `mark` is its hold on the log.
    pub fn new(log: LogReader, mark: ReaderMark, durable: Saved) -> Self {
        Self { log, mark, saved: None, durable, settled: VecDeque::new() }
    }

    /// Where a restart goes on from, once that is saved.
    pub fn position(&self) -> Position {
        self.durable.mark.position
    }

    /// What is settled now may be saved once it is durable.
    pub fn note_settled(&mut self, now: Saved) {
        self.mark.settle(now.mark.position);
        if self.settled.back().unwrap_or(&self.durable) != &now {
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
        let is_durable = |saved: &Saved| saved.marks().all(|mark| self.log.is_durable(mark.position));
        // Those before it may never be: their segment could not be fsynced.
        if let Some(newest) = self.settled.iter().rposition(is_durable) {
            self.durable = self.settled.drain(..=newest).next_back().unwrap_or_default();
        }
        self.note_settled_in_memory();
        if self.saved.as_ref() == Some(&self.durable) {
            return Ok(());
        }
        let saved = self.durable.clone();
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
        if now.mark.position > end && self.durable.mark.position < end {
            let mark = Mark { position: end, fingerprint };
            self.durable = Saved { mark, ledger: now.ledger, ahead: Vec::new() };
        }
    }
}
