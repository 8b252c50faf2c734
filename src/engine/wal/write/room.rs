//! How a commit that finds the disk full asks wal-maintenance for room, and waits for the answer.
//!
//! The oldest segments go before new samples do, so a commit is refused only after maintenance has tried. Waits are
//! bounded, and once nothing could be gained no one waits again for a while. Knows no file.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Longest wait for room. A truncation takes some milliseconds, on a slow card a few seconds; a scrape has the whole
/// of its interval.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// After an answer that nothing was gained, or none in time, commits fail at once for this long.
const HOPELESS_FOR: Duration = Duration::from_secs(10);

/// The question and its answer.
#[derive(Debug, Default)]
pub struct Room {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_served: bool,
    n_asked: u64,
    /// All questions up to this one are answered.
    n_answered: u64,
    has_gained: bool,
    hopeless_until: Option<Instant>,
}

impl Room {
    /// Asks for room and waits; `wake` wakes maintenance. True if it is worth trying to write again.
    pub fn ask(&self, wake: impl FnOnce()) -> bool {
        let mut state = self.state.lock();
        let is_hopeless = state.hopeless_until.is_some_and(|until| Instant::now() < until);
        if !state.is_served || is_hopeless {
            return false;
        }
        state.n_asked += 1;
        let question = state.n_asked;
        drop(state);
        wake();
        let mut state = self.state.lock();
        let deadline = Instant::now() + MAX_WAIT;
        while state.is_served && state.n_answered < question {
            if self.answered.wait_until(&mut state, deadline).timed_out() {
                state.hopeless_until = Some(Instant::now() + HOPELESS_FOR);
                return false;
            }
        }
        state.n_answered >= question && state.has_gained
    }

    /// From now on questions are answered.
    pub fn serve(&self) {
        self.state.lock().is_served = true;
    }

    /// No one answers any more; who waits gives up.
    pub fn close(&self) {
        self.state.lock().is_served = false;
        self.answered.notify_all();
    }

    /// Whether somebody waits; answer with the number that this returns.
    pub fn asked(&self) -> Option<u64> {
        let state = self.state.lock();
        (state.n_asked > state.n_answered).then_some(state.n_asked)
    }

    /// Answers all questions up to `question`.
    pub fn answer(&self, question: u64, has_gained: bool) {
        let mut state = self.state.lock();
        state.n_answered = question;
        state.has_gained = has_gained;
        state.hopeless_until = if has_gained { None } else { Some(Instant::now() + HOPELESS_FOR) };
        self.answered.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;
    use std::thread;

    fn ask_with_answer(room: &Room, has_gained: bool) -> bool {
        let (sender, receiver) = bounded(1);
        thread::scope(|scope| {
            scope.spawn(move || {
                receiver.recv().unwrap();
                let question = loop {
                    if let Some(question) = room.asked() {
                        break question;
                    }
                };
                room.answer(question, has_gained);
            });
            room.ask(|| sender.send(()).unwrap())
        })
    }

    #[test]
    fn the_answer_reaches_who_asked() {
        let room = Room::default();
        room.serve();
        assert!(ask_with_answer(&room, true));
        assert!(!ask_with_answer(&room, false));
        assert_eq!(room.asked(), None);
    }

    #[test]
    fn nobody_waits_where_there_is_no_hope() {
        let room = Room::default();
        assert!(!room.ask(|| panic!("nobody serves")));
        room.serve();
        assert!(!ask_with_answer(&room, false));
        assert!(!room.ask(|| panic!("nothing was gained just now")));
    }

    #[test]
    fn closing_ends_the_wait() {
        let room = Room::default();
        room.serve();
        let (sender, receiver) = bounded(1);
        thread::scope(|scope| {
            scope.spawn(|| {
                receiver.recv().unwrap();
                room.close();
            });
            assert!(!room.ask(|| sender.send(()).unwrap()));
        });
    }
}
