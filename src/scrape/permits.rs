//! Permits for the CPU: as many in a channel as there are cores.
//!
//! Waiting for a socket needs none; decoding, parsing and appending happen while one is held. A permit carries the
//! scratch space for that work, so that memory is bounded by cores and neither by workers nor by targets.

use crate::scrape::append::PageScratch;
use crate::scrape::cache::Cursor;
use crate::scrape::decode::Decoder;
use crate::wal::appender::Appender;
use crate::wal::head::Wal;
use crossbeam_channel::{Receiver, Sender, bounded};

/// The permits; clones share them.
#[derive(Clone, Debug)]
pub struct Permits {
    wal: Wal,
    give: Sender<Box<Scratch>>,
    take: Receiver<Box<Scratch>>,
}

/// What unpacking, parsing and appending one page need.
#[derive(Debug)]
pub struct Scratch {
    /// The transaction.
    pub appender: Appender,
    /// For the samples of the page.
    pub page: PageScratch,
    /// Where the page is in the target's cache.
    pub cursor: Cursor,
    /// Inflate state.
    pub decoder: Decoder,
}

impl Scratch {
    fn new(wal: &Wal) -> Self {
        Self {
            appender: wal.appender(),
            page: PageScratch::default(),
            cursor: Cursor::default(),
            decoder: Decoder::default(),
        }
    }
}

impl Permits {
    /// `n_permits` permits, at least one, whose transactions go to `wal`.
    pub fn new(n_permits: usize, wal: &Wal) -> Self {
        let (give, take) = bounded(n_permits.max(1));
        while give.try_send(Box::new(Scratch::new(wal))).is_ok() {}
        Self { wal: wal.clone(), give, take }
    }

    /// Waits for a permit. It goes back when it is dropped, also by a panic.
    pub fn acquire(&self) -> Permit<'_> {
        // Both ends live in `self`, so the channel is never closed.
        let scratch = self.take.recv().unwrap_or_else(|_| Box::new(Scratch::new(&self.wal)));
        Permit { permits: self, scratch: Some(scratch) }
    }
}

/// One permit, held.
#[derive(Debug)]
pub struct Permit<'a> {
    permits: &'a Permits,
    scratch: Option<Box<Scratch>>,
}

impl Permit<'_> {
    /// The scratch space that comes with the permit.
    pub fn scratch(&mut self) -> &mut Scratch {
        self.scratch.get_or_insert_with(|| Box::new(Scratch::new(&self.permits.wal)))
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        // A panic may have left anything in there: the appender's drop rolls back, and a new one takes its place.
        let scratch = match self.scratch.take() {
            Some(scratch) if !std::thread::panicking() => scratch,
            _ => Box::new(Scratch::new(&self.permits.wal)),
        };
        // Never full: this permit came out of it.
        let _ = self.permits.give.try_send(scratch);
    }
}
