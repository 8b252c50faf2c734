//! Turns at the processor: as many as there are cores.
//!
//! Waiting for a socket needs none; decoding, parsing and appending happen while one is held. Work that takes longer than
//! a slice lets those go first who have just come, so that a page of a million series delays no other scrape by more than
//! that. Large pages are taken in one for each permit, so that memory is bounded by cores and neither by workers nor by
//! targets.

use crate::store::error::{PageError, Work};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::Instant;

/// Bodies over this size, packed or not, are large: storing one may take longer than a slice.
const LARGE_BODY_BYTES: usize = 1 << 20;

/// All turns; clones share them.
#[derive(Clone, Debug)]
pub struct Turns {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    n_turns: usize,
    /// Held for a look at short queues.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    n_free: usize,
    /// Large pages that were taken in and are not done.
    n_large: usize,
    last_ticket: u64,
    /// Those who have just come. They go before all others.
    fresh: VecDeque<Waiting>,
    /// Those who gave their turn away in the middle of their work.
    resting: VecDeque<Waiting>,
    /// Large pages that have not begun.
    large: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    thread: Thread,
}

impl Turns {
    /// This many turns at once, at least one.
    pub fn new(n_turns: usize) -> Self {
        let n_turns = n_turns.max(1);
        let state = State { n_free: n_turns, ..State::default() };
        Self { shared: Arc::new(Shared { n_turns, state: Mutex::new(state) }) }
    }

    /// How many there are.
    pub fn n_turns(&self) -> usize {
        self.shared.n_turns
    }

    /// Waits for a turn to store a body of this size. It goes back when it is dropped, also by a panic.
    ///
    /// # Errors
    /// `deadline` has passed.
    pub fn acquire(&self, body_bytes: usize, deadline: Instant) -> Result<Turn, PageError> {
        let mut turn = Turn { turns: self.clone(), is_held: false, is_large: body_bytes > LARGE_BODY_BYTES };
        let queue = if turn.is_large { Queue::Large } else { Queue::Fresh };
        turn.take(queue, deadline)?;
        Ok(turn)
    }

    /// No turn, for work that is done all the same.
    pub fn none(&self) -> Turn {
        Turn { turns: self.clone(), is_held: false, is_large: false }
    }

    /// Room for another body of this kind?
    fn admits(&self, state: &State, queue: Queue) -> bool {
        queue != Queue::Large || state.n_large < self.shared.n_turns
    }

    /// A turn has come free.
    fn pass_on(&self, state: &mut State) {
        let next = state.fresh.pop_front().or_else(|| state.resting.pop_front()).or_else(|| {
            let waiting = if self.admits(state, Queue::Large) { state.large.pop_front() } else { None };
            state.n_large += usize::from(waiting.is_some());
            waiting
        });
        match next {
            Some(waiting) => waiting.thread.unpark(),
            None => state.n_free += 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Fresh,
    Resting,
    Large,
}

impl State {
    fn queue(&mut self, queue: Queue) -> &mut VecDeque<Waiting> {
        match queue {
            Queue::Fresh => &mut self.fresh,
            Queue::Resting => &mut self.resting,
            Queue::Large => &mut self.large,
        }
    }
}

/// The right to work, which comes and goes while a page is stored.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    is_held: bool,
    /// Counts as a large page, once it was given its first permit.
    is_large: bool,
}

impl Turn {
    /// Lets others work if some wait, and waits for the next turn.
    ///
    /// # Errors
    /// `deadline` has passed; the permit is not held any more.
    pub fn rest(&mut self, deadline: Instant) -> Result<(), PageError> {
        if self.is_held {
            let mut state = self.turns.shared.state.lock();
            if state.fresh.is_empty() && state.resting.is_empty() {
                return Ok(());
            }
            self.is_held = false;
            self.turns.pass_on(&mut state);
        }
        self.take(Queue::Resting, deadline)
    }

    /// Runs what waits for something else than the processor, without the permit.
    ///
    /// # Errors
    /// That of `wait`; or `deadline` passed before there was a permit again.
    pub fn without<T>(
        &mut self,
        deadline: Instant,
        wait: impl FnOnce() -> Result<T, PageError>,
    ) -> Result<T, PageError> {
        self.give_back();
        let waited = wait()?;
        self.take(Queue::Resting, deadline)?;
        Ok(waited)
    }

    fn take(&mut self, queue: Queue, deadline: Instant) -> Result<(), PageError> {
        let ticket = {
            let mut state = self.turns.shared.state.lock();
            if state.n_free > 0 && self.turns.admits(&state, queue) {
                state.n_free -= 1;
                state.n_large += usize::from(queue == Queue::Large);
                self.is_held = true;
                return Ok(());
            }
            state.last_ticket += 1;
            let ticket = state.last_ticket;
            state.queue(queue).push_back(Waiting { ticket, thread: thread::current() });
            ticket
        };
        loop {
            // Whoever passes a permit on in between leaves a token that ends the park at once.
            let left = deadline.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                thread::park_timeout(left);
            }
            let mut state = self.turns.shared.state.lock();
            let waiting = state.queue(queue);
            let Some(place) = waiting.iter().position(|it| it.ticket == ticket) else {
                self.is_held = true;
                return Ok(());
            };
            if left.is_zero() {
                waiting.remove(place);
                drop(state);
                // It was never taken in.
                self.is_large &= queue != Queue::Large;
                return Err(PageError::WorkTimeout { work: Work::Waiting });
            }
        }
    }

    fn give_back(&mut self) {
        if std::mem::take(&mut self.is_held) {
            self.turns.pass_on(&mut self.turns.shared.state.lock());
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if std::mem::take(&mut self.is_large) {
            let mut state = self.turns.shared.state.lock();
            state.n_large -= 1;
            // One that waited for this alone.
            if !self.is_held && state.n_free > 0 && !state.large.is_empty() {
                state.n_free -= 1;
                self.turns.pass_on(&mut state);
            }
        }
        self.give_back();
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
