//! The pace of CPU work: looks at the deadline, at cancellation and at who else waits, every few thousand steps.
//!
//! A step is about what one ordinary sample costs. Between two looks nothing is read but a counter.

use crate::store::body_budget::BodyBuffer;
use crate::store::error::{PageError, Work};
use crate::store::turns::Turn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Others who wait for a permit wait no longer than this, and what lies between two looks.
const SLICE: Duration = Duration::from_millis(10);

/// Steps between two looks: well below a millisecond of samples that are known, a few of new ones.
const STEPS_A_LOOK: usize = 1024;

/// Text that costs as much as a step, in bytes.
const STEP_BYTES: usize = 128;

/// How work goes on; one a page.
#[derive(Debug)]
pub struct Pace<'a> {
    turn: Option<&'a mut Turn>,
    is_cancelled: Option<&'a AtomicBool>,
    deadline: Instant,
    slice_end: Instant,
    steps_left: usize,
    work: Work,
}

impl<'a> Pace<'a> {
    /// Work with a permit, which it lends to others in between.
    pub fn new(turn: &'a mut Turn, is_cancelled: &'a AtomicBool, deadline: Instant) -> Self {
        Self { turn: Some(turn), is_cancelled: Some(is_cancelled), ..Self::alone(deadline) }
    }

    /// Work that has no one beside it.
    pub fn alone(deadline: Instant) -> Self {
        Self {
            turn: None,
            is_cancelled: None,
            deadline,
            slice_end: Instant::now() + SLICE,
            // The first step looks.
            steps_left: 0,
            work: Work::Storing,
        }
    }

    /// What is being done, for the error.
    pub fn begin(&mut self, work: Work) {
        self.work = work;
    }

    /// A step was made, over this many bytes of text.
    ///
    /// # Errors
    /// [`PageError::WorkTimeout`], [`PageError::Cancelled`].
    #[inline]
    pub fn step(&mut self, n_bytes: usize) -> Result<(), PageError> {
        match self.steps_left.checked_sub(1 + n_bytes / STEP_BYTES) {
            Some(steps_left) => {
                self.steps_left = steps_left;
                Ok(())
            }
            None => self.look(),
        }
    }

    #[cold]
    fn look(&mut self) -> Result<(), PageError> {
        self.steps_left = STEPS_A_LOOK;
        if self.is_cancelled.is_some_and(|it| it.load(Ordering::Relaxed)) {
            return Err(PageError::Cancelled);
        }
        let now = Instant::now();
        if now >= self.deadline {
            return Err(PageError::WorkTimeout { work: self.work });
        }
        if now >= self.slice_end
            && let Some(turn) = &mut self.turn
        {
            turn.rest(self.deadline)?;
            self.slice_end = Instant::now() + SLICE;
        }
        Ok(())
    }

    /// Between two slices of work that goes on whatever happens: lets others work if some wait. Once the deadline has
    /// passed it goes on without a permit.
    pub fn give_way(&mut self) {
        if Instant::now() >= self.slice_end
            && let Some(turn) = &mut self.turn
        {
            // In time or not, what became of the scrape is written.
            let _ = turn.rest(self.deadline);
            self.slice_end = Instant::now() + SLICE;
        }
    }

    /// [`BodyBuffer::grow`]; where that has to wait for others, they get the permit.
    ///
    /// # Errors
    /// As there, and as [`Pace::step`].
    pub fn grow(
        &mut self,
        buffer: &mut BodyBuffer,
        hint_bytes: u64,
        limit_bytes: u64,
    ) -> Result<(), PageError> {
        let deadline = self.deadline;
        let Some(turn) = &mut self.turn else { return buffer.grow(hint_bytes, limit_bytes, deadline) };
        match buffer.grow(hint_bytes, limit_bytes, Instant::now()) {
            Err(PageError::BodyBudget { .. }) => {
                turn.without(deadline, || buffer.grow(hint_bytes, limit_bytes, deadline))
            }
            grown => grown,
        }
    }
}
