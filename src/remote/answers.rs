//! The last answers of an endpoint, for its page.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

use crate::remote::refuse::size_bound::Size;

/// Answers that are kept.
const MAX_ANSWERS: usize = 8;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Wall-clock milliseconds.
    pub at_ms: i64,
    /// From the request to the answer, or to the failure.
    pub took: Duration,
    /// Of the request.
    pub size: Size,
    /// The status of a request that was taken, or what happened.
    pub outcome: Result<u16, String>,
}

/// The last answers.
#[derive(Debug, Default)]
pub struct Answers(Mutex<VecDeque<Answer>>);

impl Answers {
    /// The oldest one goes.
    pub fn push(&self, answer: Answer) {
        let mut answers = self.0.lock();
        if answers.len() == MAX_ANSWERS {
            answers.pop_back();
        }
        answers.push_front(answer);
    }

    /// The newest one first.
    pub fn newest_first(&self) -> Vec<Answer> {
        self.0.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept() {
        let answers = Answers::default();
        for at_ms in 1..=20 {
            let outcome = Ok(200);
            answers.push(Answer { at_ms, took: Duration::ZERO, size: Size::default(), outcome });
        }
        let kept: Vec<i64> = answers.newest_first().iter().map(|answer| answer.at_ms).collect();
        assert_eq!(kept, [20, 19, 18, 17, 16, 15, 14, 13]);
    }
}
