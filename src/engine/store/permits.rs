//! Permits to store a page: a turn at the processor, and the memory that this takes. The memory of ordinary pages is kept
//! and used again.

use crate::store::append::PageScratch;
use crate::store::cache::Cursor;
use crate::store::decode::Decoder;
use crate::store::error::PageError;
use crate::store::turns::{Turn, Turns};
use crate::wal::appender::Appender;
use crate::wal::head::Wal;
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// The permits; clones share them.
#[derive(Clone, Debug)]
pub struct Permits {
    turns: Turns,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    wal: Wal,
    /// Held for a push or a pop.
    #[allow(clippy::vec_box, reason = "it is moved in and out, and it is large")]
    idle: Mutex<Vec<Box<Scratch>>>,
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
        let shared = Shared { wal: wal.clone(), idle: Mutex::default() };
        Self { turns: Turns::new(n_permits), shared: Arc::new(shared) }
    }

    /// Waits for a permit to store a body of this size. It goes back when it is dropped, also by a panic.
    ///
    /// # Errors
    /// `deadline` has passed.
    pub fn acquire(&self, body_bytes: usize, deadline: Instant) -> Result<Permit, PageError> {
        let turn = self.turns.acquire(body_bytes, deadline)?;
        Ok(self.permit(turn))
    }

    /// Scratch space without a turn: for what has to be written although there was none in time.
    pub fn without(&self) -> Permit {
        self.permit(self.turns.none())
    }

    fn permit(&self, turn: Turn) -> Permit {
        let idle = self.shared.idle.lock().pop();
        let scratch = idle.unwrap_or_else(|| Box::new(Scratch::new(&self.shared.wal)));
        Permit { scratch: Some(scratch), turn, permits: self.clone() }
    }
}

/// Scratch space and a turn to use it.
#[derive(Debug)]
pub struct Permit {
    scratch: Option<Box<Scratch>>,
    turn: Turn,
    permits: Permits,
}

impl Permit {
    /// The scratch space that comes with the permit, and the turn itself.
    pub fn parts(&mut self) -> (&mut Scratch, &mut Turn) {
        let Self { scratch, turn, permits } = self;
        (scratch.get_or_insert_with(|| Box::new(Scratch::new(&permits.shared.wal))), turn)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // A panic may have left anything in there: the appender's drop rolls back, and a new one takes its place.
        let Some(scratch) = self.scratch.take().filter(|_| !thread::panicking()) else { return };
        let mut idle = self.permits.shared.idle.lock();
        if idle.len() < self.permits.turns.n_turns() {
            idle.push(scratch);
        }
    }
}
