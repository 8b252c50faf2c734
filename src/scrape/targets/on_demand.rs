//! How requests for one loop get from the web to the scheduler, and the answers back: "scrape now", and where it stands.

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
                write!(f, "{MAX_REQUESTS} requests for targets wait already; try again later")
            }
            Self::NotStarted => f.write_str("scraping has not begun yet; try again later"),
        }
    }
}

/// How a request ended: the target was scraped, be it in vain, or why it was not.
pub type Outcome = Result<(), Refusal>;

/// Where a loop stands with the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueuePlace {
    /// Its next slot has not come.
    Scheduled {
        /// Until it comes.
        due_in: Duration,
        /// Loops that are due before it.
        n_before: usize,
        /// All that are scheduled.
        n_scheduled: usize,
    },
    /// It is due, and all workers are busy.
    Due {
        /// Since its slot came.
        lasts: Duration,
        /// Loops that get a worker before it.
        n_before: usize,
    },
    /// It did not answer last time, and all workers for such loops are busy.
    Waiting {
        /// Loops that wait longer.
        n_before: usize,
    },
    /// It is being scraped.
    Running {
        /// Since its slot came.
        lasts: Duration,
    },
}

/// The answer to the question where a loop stands.
pub type Located = Result<QueuePlace, Refusal>;

/// Somebody asks something of one loop. Dropped without an answer, it closes its channel.
#[derive(Debug)]
pub struct Request<T> {
    /// Which loop it is.
    pub key: LoopKey,
    answer: Sender<T>,
    _place: Place,
}

impl<T> Request<T> {
    /// Answers it.
    pub fn answer(self, answer: T) {
        // Closed: whoever asked has left.
        let _ = self.answer.send(answer);
    }
}

/// One target is to be scraped now.
pub type ScrapeRequest = Request<Outcome>;

/// What can be asked.
#[derive(Debug)]
pub enum Order {
    /// Scrape it now.
    Scrape(ScrapeRequest),
    /// Say where it stands.
    Locate(Request<Located>),
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

/// Hands an order to the scheduler without blocking.
pub type Forward = Box<dyn Fn(Order) + Send + Sync>;

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
        self.send(key, Order::Scrape)
    }

    /// Asks where a loop stands; never blocks.
    ///
    /// # Errors
    /// [`Refusal::TooMany`], [`Refusal::NotStarted`].
    pub fn locate(&self, key: LoopKey) -> Result<Receiver<Located>, Refusal> {
        self.send(key, Order::Locate)
    }

    fn send<T>(&self, key: LoopKey, order: fn(Request<T>) -> Order) -> Result<Receiver<T>, Refusal> {
        let scheduler = self.scheduler.get().ok_or(Refusal::NotStarted)?;
        let place = Place::take(&self.n_requests).ok_or(Refusal::TooMany)?;
        let (answer, outcome) = bounded(ANSWER_CAPACITY);
        scheduler(order(Request { key, answer, _place: place }));
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
        let Order::Scrape(first) = requests.recv().unwrap() else { panic!("another order") };
        first.answer(Err(Refusal::Gone));
        assert_eq!(outcomes[0].recv(), Ok(Err(Refusal::Gone)));
        let next = on_demand.locate(key).unwrap();
        assert_eq!(on_demand.ask(key).unwrap_err(), Refusal::TooMany);
        // The scheduler stops: all are dropped.
        requests.try_iter().for_each(drop);
        assert!(next.recv().is_err());
        assert!(on_demand.ask(key).is_ok());
    }
}
