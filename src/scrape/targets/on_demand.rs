//! "Scrape now": how a request for one scrape gets from the web to the scheduler, and its answer back.

use crate::scrape::targets::loop_key::LoopKey;
use crossbeam_channel::{Receiver, Sender, bounded};
use portable_atomic::{AtomicUsize, Ordering};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Requests that may wait at once, over all targets.
pub const MAX_REQUESTS: usize = 16;

/// One answer; the scheduler sends it once and goes on.
const ANSWER_CAPACITY: usize = 1;

/// Why a target is not scraped now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was there when it was asked for, and is not any more.
    Gone,
    /// A scrape of it is under way, for so long.
    Running(Duration),
    /// Its scrapes panic.
    SetAside,
    /// All workers for targets that did not answer last time are busy.
    NoWorker,
    /// [`MAX_REQUESTS`] wait.
    TooMany,
    /// Scraping has not begun.
    NotStarted,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("this target is not scraped any more"),
            Self::Running(lasts) => write!(
                f,
                "this target is being scraped already, for {:.1} s; a target is never scraped twice at once",
                lasts.as_secs_f64()
            ),
            Self::SetAside => f.write_str(
                "this target is set aside, since its last scrapes ran into a bug; it is tried again by itself",
            ),
            Self::NoWorker => f.write_str(
                "this target did not answer last time, and all workers for such targets are busy; try again later",
            ),
            Self::TooMany => {
                write!(f, "{MAX_REQUESTS} targets are being scraped on demand already; try again later")
            }
            Self::NotStarted => f.write_str("scraping has not begun yet; try again later"),
        }
    }
}

/// How a request ended: the target was scraped, be it in vain, or why it was not.
pub type Outcome = Result<(), Refusal>;

/// One target is to be scraped now. Dropped without an answer, it closes its channel.
#[derive(Debug)]
pub struct ScrapeRequest {
    /// Whose scrape it is.
    pub key: LoopKey,
    answer: Sender<Outcome>,
    _place: Place,
}

impl ScrapeRequest {
    /// Says how it ended.
    pub fn answer(self, outcome: Outcome) {
        // Closed: whoever asked has left.
        let _ = self.answer.send(outcome);
    }
}

/// One of [`MAX_REQUESTS`]; it is free again when this goes.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(n_taken: &Arc<AtomicUsize>) -> Option<Self> {
        let place = Self(Arc::clone(n_taken));
        // A place too many goes back with the drop.
        (n_taken.fetch_add(1, Ordering::Relaxed) < MAX_REQUESTS).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hands a request to the scheduler without blocking.
pub type Forward = Box<dyn Fn(ScrapeRequest) + Send + Sync>;

/// The way to the scheduler. The web server starts before scraping does, so it opens later.
#[derive(Default)]
pub struct OnDemand {
    scheduler: OnceLock<Forward>,
    n_requests: Arc<AtomicUsize>,
}

impl OnDemand {
    /// From now on requests go to `scheduler`.
    pub fn open(&self, scheduler: Forward) {
        // There is one scheduler in the life of a process.
        let _ = self.scheduler.set(scheduler);
    }

    /// Asks for one scrape; never blocks.
    ///
    /// # Errors
    /// [`Refusal::TooMany`], [`Refusal::NotStarted`].
    pub fn ask(&self, key: LoopKey) -> Result<Receiver<Outcome>, Refusal> {
        let scheduler = self.scheduler.get().ok_or(Refusal::NotStarted)?;
        let place = Place::take(&self.n_requests).ok_or(Refusal::TooMany)?;
        let (answer, outcome) = bounded(ANSWER_CAPACITY);
        scheduler(ScrapeRequest { key, answer, _place: place });
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::targets::loop_key::LoopKeys;
    use crossbeam_channel::unbounded;

    #[test]
    fn requests_are_bounded_and_each_answer_makes_room() {
        let on_demand = OnDemand::default();
        let key = LoopKeys::default().next();
        assert_eq!(on_demand.ask(key).unwrap_err(), Refusal::NotStarted);
        let (sender, requests) = unbounded();
        on_demand.open(Box::new(move |request| drop(sender.send(request))));
        let outcomes: Vec<_> = (0..MAX_REQUESTS).map(|_| on_demand.ask(key).unwrap()).collect();
        assert_eq!(on_demand.ask(key).unwrap_err(), Refusal::TooMany);
        requests.recv().unwrap().answer(Err(Refusal::Gone));
        assert_eq!(outcomes[0].recv(), Ok(Err(Refusal::Gone)));
        let next = on_demand.ask(key).unwrap();
        assert_eq!(on_demand.ask(key).unwrap_err(), Refusal::TooMany);
        // The scheduler stops: all are dropped.
        requests.try_iter().for_each(drop);
        assert!(next.recv().is_err());
        assert!(on_demand.ask(key).is_ok());
    }
}
