//! A byte budget that all bodies in flight share, and the buffers that hold them.
//!
//! Every worker thread takes its buffers here; memory is charged before it is allocated. A body waits for others to
//! give back until its deadline, but never when no one is left who could: a ring of bodies that wait for each other
//! loses one at once and the rest go on. Knows neither sockets nor gzip.

use std::mem;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::store::error::PageError;

/// Default of `--scrape.body-budget`: what all bodies in flight may hold together, in bytes; one body may hold all.
pub const DEFAULT_BODY_BUDGET_BYTES: u64 = 64 << 20;

/// Default of `--scrape.max-body-bytes`: what one body may hold where `body_size_limit` is 0; the budget binds too.
pub const DEFAULT_MAX_BODY_BYTES: u64 = 256 << 20;

/// Above the budget a reserve of one part in this many stands open to small bodies and to decoders: a few huge or
/// endless pages never make the many ordinary ones wait, and a page may unfold to the whole budget beside its packed
/// self.
const RESERVE_PART: u64 = 4;

/// Bodies up to this size draw on the reserve, and do not count where large ones are weighed against the budget.
const SMALL_BODY_BYTES: u64 = 1 << 20;

/// How long a body waits for small ones to give back.
const PATIENCE_WITH_SMALL: Duration = Duration::from_secs(1);

/// The first allocation of a body whose size is not known: a small exporter's page in one piece.
const FIRST_BUFFER_BYTES: u64 = 16 << 10;

/// Memory of given-back buffers that is kept for the next scrape; larger single buffers are freed at once.
const IDLE_BYTES_MAX: u64 = 1 << 20;

/// The budget and the idle buffers; one a process.
#[derive(Debug)]
pub struct BodyBudget {
    budget_bytes: u64,
    max_body_bytes: u64,
    state: Mutex<State>,
    given_back: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held_bytes: u64,
    /// Of these in bodies that are not small.
    large_bytes: u64,
    /// Of these in buffers of decoders.
    decoded_bytes: u64,
    /// Buffers that wait for more.
    waiting: Vec<Request>,
    idle: Vec<Vec<u8>>,
    idle_bytes: u64,
}

/// What a buffer holds and what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    kind: Kind,
    held_bytes: u64,
    more_bytes: u64,
}

impl Request {
    fn more_large_bytes(&self) -> u64 {
        large_part(self.held_bytes + self.more_bytes) - large_part(self.held_bytes)
    }
}

/// What a buffer is filled from; decides whom it may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A socket.
    Wire,
    /// A decoder that holds a permit: it may only wait for other decoders, which hold permits as well, because
    /// the socket side may in turn wait for a permit.
    Decoded,
}

impl BodyBudget {
    /// A budget of `budget_bytes`, with `max_body_bytes` as the cap of one body.
    pub fn new(budget_bytes: u64, max_body_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            budget_bytes,
            max_body_bytes: max_body_bytes.min(budget_bytes),
            state: Mutex::default(),
            given_back: Condvar::new(),
        })
    }

    /// A buffer for a body as it comes over the wire; it holds nothing until bytes come.
    pub fn wire_buffer(self: &Arc<Self>) -> BodyBuffer {
        self.buffer(Kind::Wire)
    }

    /// A buffer for an unpacked body, filled while a permit is held.
    pub fn decoded_buffer(self: &Arc<Self>) -> BodyBuffer {
        self.buffer(Kind::Decoded)
    }

    /// Bytes that bodies hold now.
    pub fn held_bytes(&self) -> u64 {
        self.state.lock().held_bytes
    }

    fn buffer(self: &Arc<Self>, kind: Kind) -> BodyBuffer {
        BodyBuffer { budget: Arc::clone(self), kind, bytes: Vec::new(), n_filled: 0 }
    }

    /// Charges what is wanted, as soon as it is free.
    fn charge(&self, request: Request, deadline: Instant) -> Result<(), PageError> {
        let patience_ends = Instant::now() + PATIENCE_WITH_SMALL;
        let mut state = self.state.lock();
        let mut is_waiting = false;
        let outcome = loop {
            let (free_bytes, free_large_bytes) = self.free(state.held_bytes, state.large_bytes, request.kind);
            if request.more_bytes <= free_bytes && request.more_large_bytes() <= free_large_bytes {
                break Ok(());
            }
            if !is_waiting {
                is_waiting = true;
                state.waiting.push(request);
            }
            let now = Instant::now();
            if now >= deadline || !self.is_worth_waiting(&state, request, now >= patience_ends) {
                let needed_bytes = request.held_bytes + request.more_bytes;
                break Err(PageError::BodyBudget { needed_bytes, budget_bytes: self.budget_bytes });
            }
            let wake_at = if now < patience_ends { patience_ends.min(deadline) } else { deadline };
            self.given_back.wait_until(&mut state, wake_at);
        };
        if is_waiting && let Some(waiting_idx) = state.waiting.iter().position(|it| *it == request) {
            state.waiting.swap_remove(waiting_idx);
        }
        if outcome.is_ok() {
            state.held_bytes += request.more_bytes;
            state.large_bytes += request.more_large_bytes();
            state.decoded_bytes += request.kind.decoded_part(request.more_bytes);
        }
        outcome
    }

    /// What is free beside this many bytes, in all and for large bodies.
    fn free(&self, held_bytes: u64, large_bytes: u64, kind: Kind) -> (u64, u64) {
        let all_bytes = self.budget_bytes + self.budget_bytes / RESERVE_PART;
        let large_limit_bytes = match kind {
            Kind::Wire => self.budget_bytes,
            Kind::Decoded => all_bytes,
        };
        (all_bytes.saturating_sub(held_bytes), large_limit_bytes.saturating_sub(large_bytes))
    }

    /// Whether `request`, or another that has to end first, can be met once all who do not wait have given back.
    /// If not, a ring of buffers waits for each other, and the first to see that leaves it. Without patience small
    /// bodies are taken to stay: what they hold may be just what is missing, and a target may dribble for ever.
    fn is_worth_waiting(&self, state: &State, request: Request, is_patience_over: bool) -> bool {
        let waiting = |kind: Kind| state.waiting.iter().filter(move |it| it.kind == kind);
        if request.kind == Kind::Decoded {
            let waiting_bytes: u64 = waiting(Kind::Decoded).map(|it| it.held_bytes).sum();
            let staying_bytes = state.held_bytes - (state.decoded_bytes - waiting_bytes);
            return request.more_bytes <= self.free(staying_bytes, staying_bytes, Kind::Decoded).0;
        }
        if request.held_bytes == 0 {
            return true;
        }
        let staying_large_bytes: u64 = state.waiting.iter().map(|it| large_part(it.held_bytes)).sum();
        let staying_bytes = if is_patience_over {
            state.held_bytes - state.large_bytes + staying_large_bytes
        } else {
            state.waiting.iter().map(|it| it.held_bytes).sum()
        };
        let (free_bytes, free_large_bytes) = self.free(staying_bytes, staying_large_bytes, Kind::Wire);
        waiting(Kind::Wire)
            .filter(|it| it.held_bytes > 0)
            .any(|it| it.more_bytes <= free_bytes && it.more_large_bytes() <= free_large_bytes)
    }

    /// Takes back a charge that memory could not follow.
    fn uncharge(&self, request: Request) {
        let mut state = self.state.lock();
        state.held_bytes -= request.more_bytes;
        state.large_bytes -= request.more_large_bytes();
        state.decoded_bytes -= request.kind.decoded_part(request.more_bytes);
        drop(state);
        self.given_back.notify_all();
    }

    fn give_back(&self, kind: Kind, bytes: Vec<u8>) {
        let n_bytes = bytes.len() as u64;
        let mut state = self.state.lock();
        state.held_bytes -= n_bytes;
        state.large_bytes -= large_part(n_bytes);
        state.decoded_bytes -= kind.decoded_part(n_bytes);
        if state.idle_bytes + n_bytes <= IDLE_BYTES_MAX {
            state.idle_bytes += n_bytes;
            state.idle.push(bytes);
        }
        drop(state);
        self.given_back.notify_all();
    }

    /// An idle buffer of at least `wanted_bytes` that is not much larger and at most `cap_bytes`.
    fn take_idle(&self, wanted_bytes: u64, cap_bytes: u64) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let most_bytes = cap_bytes.min(4 * wanted_bytes);
        let fits = |bytes: &Vec<u8>| (wanted_bytes..=most_bytes).contains(&(bytes.len() as u64));
        // From the end: the one used last is still in the processor's cache.
        let idle_idx = state.idle.iter().rposition(fits)?;
        let bytes = state.idle.swap_remove(idle_idx);
        state.idle_bytes -= bytes.len() as u64;
        Some(bytes)
    }
}

impl Kind {
    fn decoded_part(self, n_bytes: u64) -> u64 {
        if self == Self::Decoded { n_bytes } else { 0 }
    }
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self {
            budget_bytes: DEFAULT_BODY_BUDGET_BYTES,
            max_body_bytes: DEFAULT_MAX_BODY_BYTES.min(DEFAULT_BODY_BUDGET_BYTES),
            state: Mutex::default(),
            given_back: Condvar::new(),
        }
    }
}

/// What a body of this size counts as a large one.
fn large_part(body_bytes: u64) -> u64 {
    if body_bytes > SMALL_BODY_BYTES { body_bytes } else { 0 }
}

/// A body; reads like `&[u8]`. Dropping it gives its bytes back to the budget and its memory to the next scrape.
#[derive(Debug)]
pub struct BodyBuffer {
    budget: Arc<BodyBudget>,
    kind: Kind,
    /// All of it is charged and initialised; only the first `n_filled` bytes are the body.
    bytes: Vec<u8>,
    n_filled: usize,
}

impl BodyBuffer {
    /// Makes room for at least one more byte, at first for `hint_bytes` (0: not known). The body never holds more
    /// than `limit_bytes` (0: none) or the cap of one body.
    ///
    /// # Errors
    /// Limit or cap are reached, or the budget has nothing left until `deadline`.
    pub fn grow(&mut self, hint_bytes: u64, limit_bytes: u64, deadline: Instant) -> Result<(), PageError> {
        if self.n_filled < self.bytes.len() {
            return Ok(());
        }
        let have_bytes = self.bytes.len() as u64;
        if limit_bytes > 0 && have_bytes >= limit_bytes {
            return Err(PageError::BodySizeLimit { limit_bytes });
        }
        let cap_bytes = self.budget.max_body_bytes;
        if have_bytes >= cap_bytes {
            return Err(PageError::BodySizeCap { cap_bytes });
        }
        let cap_bytes = if limit_bytes > 0 { cap_bytes.min(limit_bytes) } else { cap_bytes };
        let wanted_bytes =
            if have_bytes < SMALL_BODY_BYTES { 2 * have_bytes } else { have_bytes + have_bytes / 2 };
        let wanted_bytes = wanted_bytes.max(hint_bytes).max(FIRST_BUFFER_BYTES).min(cap_bytes);
        if have_bytes == 0
            && let Some(idle) = self.budget.take_idle(wanted_bytes, cap_bytes)
        {
            let more_bytes = idle.len() as u64;
            self.budget.charge(Request { kind: self.kind, held_bytes: 0, more_bytes }, deadline)?;
            self.bytes = idle;
            return Ok(());
        }
        let more_bytes = wanted_bytes - have_bytes;
        let request = Request { kind: self.kind, held_bytes: have_bytes, more_bytes };
        self.budget.charge(request, deadline)?;
        // Fits: a Vec cannot be larger than memory, and the flags are checked against it.
        let wanted = usize::try_from(wanted_bytes).unwrap_or(usize::MAX);
        if self.bytes.try_reserve_exact(wanted - self.bytes.len()).is_err() {
            self.budget.uncharge(request);
            return Err(PageError::BodyBudget {
                needed_bytes: wanted_bytes,
                budget_bytes: self.budget.budget_bytes,
            });
        }
        self.bytes.resize(wanted, 0);
        Ok(())
    }

    /// The room behind the body.
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.n_filled..]
    }

    /// The first `n_bytes` of the room have become body.
    pub fn filled(&mut self, n_bytes: usize) {
        self.n_filled = (self.n_filled + n_bytes).min(self.bytes.len());
    }

    /// The body ends after `n_bytes`; what it held stays charged.
    pub fn truncate(&mut self, n_bytes: usize) {
        self.n_filled = self.n_filled.min(n_bytes);
    }

    /// Gives everything back at once.
    pub fn release(&mut self) {
        self.n_filled = 0;
        let bytes = mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            self.budget.give_back(self.kind, bytes);
        }
    }
}

impl Deref for BodyBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.n_filled]
    }
}

impl Drop for BodyBuffer {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    const MIB: u64 = 1 << 20;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    fn late() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    /// Fills `buffer` until it holds `n_bytes`.
    fn fill(buffer: &mut BodyBuffer, n_bytes: u64, deadline: Instant) -> Result<(), PageError> {
        while (buffer.len() as u64) < n_bytes {
            buffer.grow(0, 0, deadline)?;
            let left = (n_bytes - buffer.len() as u64) as usize;
            let n_room = buffer.room().len().min(left);
            buffer.room()[..n_room].fill(b'x');
            buffer.filled(n_room);
        }
        Ok(())
    }

    #[test]
    fn one_body_may_hold_the_whole_budget_and_not_a_byte_more() {
        let budget = BodyBudget::new(4 * MIB, u64::MAX);
        let mut buffer = budget.wire_buffer();
        fill(&mut buffer, 4 * MIB, soon()).expect("fits");
        assert_eq!(budget.held_bytes(), 4 * MIB);
        assert_eq!(buffer.grow(0, 0, soon()), Err(PageError::BodySizeCap { cap_bytes: 4 * MIB }));
        drop(buffer);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn a_body_is_capped_below_the_budget() {
        let budget = BodyBudget::new(64 * MIB, 2 * MIB);
        let mut buffer = budget.wire_buffer();
        assert_eq!(fill(&mut buffer, 3 * MIB, soon()), Err(PageError::BodySizeCap { cap_bytes: 2 * MIB }));
        assert_eq!(buffer.len() as u64, 2 * MIB);
    }

    #[test]
    fn small_bodies_and_a_huge_one_go_on_beside_each_other() {
        let budget = BodyBudget::new(4 * MIB, u64::MAX);
        let mut first = budget.wire_buffer();
        fill(&mut first, 100_000, soon()).expect("fits");
        let mut huge = budget.wire_buffer();
        fill(&mut huge, 4 * MIB, soon()).expect("fits");
        drop(first);
        let mut small = budget.wire_buffer();
        fill(&mut small, MIB, soon()).expect("the reserve has room");
        assert!(matches!(small.grow(0, 0, soon()), Err(PageError::BodyBudget { budget_bytes, .. })
            if budget_bytes == 4 * MIB));
    }

    #[test]
    fn a_body_waits_until_another_gives_back() {
        let budget = BodyBudget::new(4 * MIB, u64::MAX);
        let mut first = budget.wire_buffer();
        fill(&mut first, 4 * MIB, soon()).expect("fits");
        let waiter = thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let mut second = budget.wire_buffer();
                fill(&mut second, 3 * MIB, late())
            });
            thread::sleep(Duration::from_millis(20));
            drop(first);
            waiter.join().expect("no panic")
        });
        assert_eq!(waiter, Ok(()));
    }

    #[test]
    fn bodies_that_wait_for_each_other_lose_one_at_once() {
        let budget = BodyBudget::new(4 * MIB, u64::MAX);
        // One that dribbles all the while, and that no one should wait for.
        let mut small = budget.wire_buffer();
        fill(&mut small, 1000, soon()).expect("fits");
        let start = Instant::now();
        let outcomes: Vec<_> = thread::scope(|scope| {
            let scrape = || {
                let mut body = budget.wire_buffer();
                fill(&mut body, 3 * MIB, late())
            };
            let scrapes: Vec<_> = (0..8).map(|_| scope.spawn(scrape)).collect();
            scrapes.into_iter().map(|scrape| scrape.join().expect("no panic")).collect()
        });
        assert!(start.elapsed() < Duration::from_secs(30), "nobody may wait until the deadline");
        assert!(outcomes.iter().any(Result::is_ok), "somebody gets through: {outcomes:?}");
        drop(small);
        let state = budget.state.lock();
        assert_eq!((state.held_bytes, state.large_bytes, state.waiting.len()), (0, 0, 0));
    }

    #[test]
    fn a_decoder_never_waits_for_a_socket() {
        let budget = BodyBudget::new(4 * MIB, u64::MAX);
        let mut wire = budget.wire_buffer();
        fill(&mut wire, 4 * MIB, soon()).expect("fits");
        let mut decoded = budget.decoded_buffer();
        let start = Instant::now();
        assert!(matches!(fill(&mut decoded, 2 * MIB, late()), Err(PageError::BodyBudget { .. })));
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn memory_of_large_bodies_is_not_kept() {
        let budget = BodyBudget::new(64 * MIB, u64::MAX);
        let mut large = budget.wire_buffer();
        fill(&mut large, 20 * MIB, soon()).expect("fits");
        drop(large);
        let mut ordinary: Vec<_> = (0..200).map(|_| budget.wire_buffer()).collect();
        for buffer in &mut ordinary {
            fill(buffer, 100_000, soon()).expect("fits");
        }
        drop(ordinary);
        let state = budget.state.lock();
        assert!(state.idle_bytes > 0 && state.idle_bytes <= IDLE_BYTES_MAX);
        assert_eq!(state.idle.iter().map(|bytes| bytes.capacity() as u64).sum::<u64>(), state.idle_bytes);
    }

    #[test]
    fn a_known_size_takes_one_allocation() {
        let budget = Arc::new(BodyBudget::default());
        let mut buffer = budget.wire_buffer();
        buffer.grow(300_000, 0, soon()).expect("fits");
        assert_eq!(buffer.room().len(), 300_000);
    }
}
