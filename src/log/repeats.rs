//! Lines that come again and again: written less and less often, with how often they came.

use crate::log::line::Line;
use std::mem;
use std::time::{Duration, Instant};

/// A line that comes again within this is counted, not written; then the next one within four times that, and so on. What
/// is repeated for an hour is written six times.
const FIRST_WINDOW: Duration = Duration::from_secs(10);
const WINDOW_GROWTH: u32 = 4;
const LONGEST_WINDOW: Duration = Duration::from_secs(60 * 60);
/// A line that did not come for this long is a new event: longer than between two scrapes of nearly all targets.
const FORGOTTEN: Duration = Duration::from_secs(10 * 60);
/// How many different lines are watched; the one that came longest ago gives way.
const LINES_WATCHED: usize = 64;

/// The lines that were written last.
#[derive(Debug, Default)]
pub(super) struct Repeats(Vec<Repeat>);

#[derive(Debug)]
struct Repeat {
    line: Line,
    written: Instant,
    last: Instant,
    window: Duration,
    n_held_back: u64,
}

/// What becomes of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// It is written; before it what is no longer watched and was held back.
    New {
        /// With their counts.
        given_way: Option<Line>,
    },
    /// It is written with how often it was held back.
    Again {
        /// So often.
        n_repeated: u64,
    },
    /// It is counted.
    HeldBack,
}

impl Repeats {
    /// `line` is said at `now`.
    pub(super) fn pass(&mut self, line: &Line, now: Instant) -> Passed {
        let Some(repeat) = self.0.iter_mut().find(|repeat| repeat.line == *line) else {
            return Passed::New { given_way: self.watch(line.clone(), now) };
        };
        let quiet = now.saturating_duration_since(mem::replace(&mut repeat.last, now));
        if quiet >= FORGOTTEN {
            repeat.window = FIRST_WINDOW;
        } else if now.saturating_duration_since(repeat.written) < repeat.window {
            repeat.n_held_back += 1;
            return Passed::HeldBack;
        } else {
            repeat.window = (repeat.window * WINDOW_GROWTH).min(LONGEST_WINDOW);
        }
        repeat.written = now;
        Passed::Again { n_repeated: mem::take(&mut repeat.n_held_back) }
    }

    /// Lines that were held back and do not come any more, with their counts.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<Line> {
        let is_over = |repeat: &Repeat| now.saturating_duration_since(repeat.last) >= FORGOTTEN;
        let (over, watched): (Vec<Repeat>, Vec<Repeat>) =
            mem::take(&mut self.0).into_iter().partition(is_over);
        self.0 = watched;
        over.into_iter().filter_map(Repeat::left).collect()
    }

    fn watch(&mut self, line: Line, now: Instant) -> Option<Line> {
        let oldest = (self.0.len() >= LINES_WATCHED)
            .then(|| (0..self.0.len()).min_by_key(|idx| self.0.get(*idx).map(|repeat| repeat.last)))
            .flatten();
        let given_way = oldest.map(|idx| self.0.remove(idx));
        self.0.push(Repeat { line, written: now, last: now, window: FIRST_WINDOW, n_held_back: 0 });
        given_way.and_then(Repeat::left)
    }
}

impl Repeat {
    /// What was not said of it.
    fn left(self) -> Option<Line> {
        (self.n_held_back > 0).then(|| self.line.repeated(self.n_held_back))
    }
}
