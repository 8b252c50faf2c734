//! Questions to the log of this box, and the thread that answers them.
//!
//! One thread, of less priority than those that scrape, works on one question after the other. Few of them wait, each has
//! a deadline, and answers that were not read yet have a bound in memory. The log itself is read by the engine.

pub mod error;
pub mod evaluate;
pub mod expression;
pub mod metrics;

use crate::query::error::QueryError;
use crate::query::metrics::QueryMetrics;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use scraped_engine::history::{Bounds, History, SelectedSeries};
use scraped_engine::labels::Labels;
use scraped_engine::threads::ThreadKind;
use scraped_engine::threads::stop::{Stopper, stop_pair};
use scraped_engine::wal::head::LogReader;
use std::cell::OnceCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Reads the log; holds one record and its answer.
const THREAD: ThreadKind = ThreadKind { name: "query", stack_bytes: 512 << 10 };

/// Scraping goes first.
const NICENESS: i32 = 10;

/// Questions that may wait; whoever comes then is to come again. As many as Prometheus works on at once.
pub const MAX_WAITING: usize = 20;

/// There is one thread.
const CONCURRENT_MAX: f64 = 1.0;

/// Series that a selector may match: 2.4 MB before the first sample.
pub const MAX_SERIES: usize = 100_000;

/// Samples of one answer: 24 MB. A chart of 10 series over a day of a sample each 15 s has 58 000.
pub const MAX_SAMPLES: usize = 1_000_000;

/// Time for an answer, from the request on.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of answers that clients have not read yet; beyond them nothing more is begun until one is read.
const MAX_UNREAD_BYTES: usize = 32 << 20;

/// One answer; whoever asked may be gone.
const ANSWER_CAPACITY: usize = 1;

/// A question, ready to be worked on.
type Job = Box<dyn FnOnce(&History) + Send>;

/// Where questions go. Belongs to one thread, the one that asks; the thread that answers starts with the first question.
pub struct Queries {
    history: History,
    metrics: Arc<QueryMetrics>,
    unread_bytes: Arc<AtomicUsize>,
    thread: OnceCell<Asked>,
}

/// The thread that answers. When this is dropped, it ends behind the question that it is at.
struct Asked {
    jobs: Sender<Job>,
    _stopper: Stopper,
}

/// An answer that is counted until it is dropped.
#[derive(Debug)]
pub struct Answer<T> {
    /// What was found.
    pub found: T,
    /// To be kept as long as what was found.
    pub counted: Counted,
}

/// What can be an answer.
pub trait Found: Send + 'static {
    /// About what it takes in memory.
    fn memory_bytes(&self) -> usize;
}

/// What comes of a question, over a channel with room for it.
pub type Outcome<T> = Receiver<Result<Answer<T>, QueryError>>;

impl Queries {
    /// To a log, which may not be open yet.
    pub fn new(log: LogReader, metrics: Arc<QueryMetrics>) -> Self {
        metrics.concurrent_max.set(CONCURRENT_MAX);
        let history = History::new(log);
        Self { history, metrics, unread_bytes: Arc::default(), thread: OnceCell::new() }
    }

    /// Has `work` done on the query thread until `deadline`.
    pub fn ask<T: Found>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&History, &Bounds) -> Result<T, QueryError> + Send + 'static,
    ) -> Outcome<T> {
        let (answer, outcome) = bounded(ANSWER_CAPACITY);
        let unread_bytes = Arc::clone(&self.unread_bytes);
        let refusal = answer.clone();
        let waiting = Waiting::new(&self.metrics);
        let job = move |history: &History| {
            let _timed = waiting.begin();
            let bounds = Bounds { max_series: MAX_SERIES, max_samples: MAX_SAMPLES, deadline };
            let found = Counted::begin(unread_bytes, deadline).and_then(|mut counted| {
                let found = work(history, &bounds)?;
                counted.add(found.memory_bytes());
                Ok(Answer { found, counted })
            });
            let _ = answer.send(found);
        };
        let refused = match self.jobs() {
            Ok(jobs) => match jobs.try_send(Box::new(job)) {
                Ok(()) => return outcome,
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                    QueryError::QueueFull { limit: MAX_WAITING }
                }
            },
            Err(error) => QueryError::NoThread(error),
        };
        let _ = refusal.send(Err(refused));
        outcome
    }

    fn jobs(&self) -> io::Result<&Sender<Job>> {
        let asked = match self.thread.get() {
            Some(asked) => asked,
            None => {
                let asked = start(self.history.clone())?;
                self.thread.get_or_init(|| asked)
            }
        };
        Ok(&asked.jobs)
    }
}

fn start(history: History) -> io::Result<Asked> {
    let (jobs, to_do) = bounded::<Job>(MAX_WAITING);
    let (stopper, stop) = stop_pair();
    THREAD.spawn_restarting("", stop, move || {
        let _ = rustix::process::nice(NICENESS);
        for job in &to_do {
            // One question that cannot be answered is no reason to let the others wait.
            if let Err(panicked) = THREAD.catch(|| job(&history)) {
                log::error!("BUG: a query {panicked}; it is answered with an error");
            }
        }
    })?;
    Ok(Asked { jobs, _stopper: stopper })
}

/// A question that waits or is worked on.
struct Waiting(Arc<QueryMetrics>);

impl Waiting {
    fn new(metrics: &Arc<QueryMetrics>) -> Self {
        metrics.queries.add(1.0);
        Self(Arc::clone(metrics))
    }

    /// Its turn has come.
    fn begin(self) -> Timed {
        Timed { waiting: self, began_at: Instant::now() }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.queries.add(-1.0);
    }
}

/// A question that is worked on.
struct Timed {
    waiting: Waiting,
    began_at: Instant,
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.waiting.0.durations.observe(self.began_at.elapsed().as_secs_f64());
    }
}

/// Bytes of an answer among all that are not read yet.
#[derive(Debug)]
pub struct Counted {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Counted {
    fn begin(all: Arc<AtomicUsize>, deadline: Instant) -> Result<Self, QueryError> {
        if Instant::now() > deadline {
            return Err(QueryError::TimedOutInQueue);
        }
        let unread_bytes = all.load(Ordering::Relaxed);
        if unread_bytes > MAX_UNREAD_BYTES {
            return Err(QueryError::AnswersUnread { unread_bytes, limit: MAX_UNREAD_BYTES });
        }
        Ok(Self { all, bytes: 0 })
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Found for Vec<SelectedSeries> {
    fn memory_bytes(&self) -> usize {
        self.iter().map(|series| series.memory_bytes()).sum()
    }
}

impl Found for Vec<Labels> {
    fn memory_bytes(&self) -> usize {
        self.iter().map(|labels| labels.memory_bytes()).sum()
    }
}

impl Found for Vec<String> {
    fn memory_bytes(&self) -> usize {
        self.iter().map(|text| size_of::<String>() + text.capacity()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_UNREAD_BYTES, MAX_WAITING, Outcome, Queries};
    use crate::query::error::QueryError;
    use crossbeam_channel::bounded;
    use scraped_engine::wal::head::Wal;
    use scraped_engine::wal::options::WalOptions;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn queries() -> Queries {
        let dir = tempfile::tempdir().unwrap();
        Queries::new(Wal::unopened(WalOptions::at(dir.path())).reader(), Arc::default())
    }

    fn sentence<T: std::fmt::Debug>(outcome: &Outcome<T>) -> String {
        outcome.recv_timeout(PATIENCE).unwrap().unwrap_err().to_string()
    }

    #[test]
    fn a_few_wait_and_who_comes_then_is_refused() {
        let queries = queries();
        let (go_on, wait) = bounded::<()>(0);
        let (begin, has_begun) = bounded(1);
        let deadline = Instant::now() + PATIENCE;
        let first = queries.ask(deadline, move |_, _| {
            begin.send(()).unwrap();
            let _ = wait.recv();
            Ok(vec!["first".to_owned()])
        });
        has_begun.recv_timeout(PATIENCE).unwrap();
        let ask = |deadline| queries.ask(deadline, |_, _| Ok(vec!["next".to_owned()]));
        let mut waiting: Vec<_> = (1..MAX_WAITING).map(|_| ask(deadline)).collect();
        let late = ask(Instant::now() - PATIENCE);
        assert!(sentence(&ask(deadline)).starts_with("20 queries wait"));
        drop(go_on);
        waiting.push(first);
        for outcome in waiting {
            assert_eq!(outcome.recv_timeout(PATIENCE).unwrap().unwrap().found.len(), 1);
        }
        assert_eq!(sentence(&late), "query timed out in query queue");
        assert_eq!(queries.metrics.queries.get(), 0.0);
    }

    #[test]
    fn a_question_that_panics_is_lost_alone() {
        let queries = queries();
        let deadline = Instant::now() + PATIENCE;
        let lost: Outcome<Vec<String>> = queries.ask(deadline, |_, _| panic!("on purpose"));
        assert!(lost.recv_timeout(PATIENCE).is_err());
        let next = queries.ask(deadline, |_, _| Ok(vec![String::new()]));
        assert!(next.recv_timeout(PATIENCE).unwrap().is_ok());
    }

    #[test]
    fn nothing_is_begun_while_too_much_is_not_read() {
        let queries = queries();
        let deadline = Instant::now() + PATIENCE;
        let ask = |bytes| queries.ask(deadline, move |_, _| Ok(vec![String::with_capacity(bytes)]));
        let unread = ask(MAX_UNREAD_BYTES + 1).recv_timeout(PATIENCE).unwrap().unwrap();
        let refused = ask(1).recv_timeout(PATIENCE).unwrap();
        assert!(matches!(refused, Err(QueryError::AnswersUnread { .. })), "{refused:?}");
        drop(unread);
        assert!(ask(1).recv_timeout(PATIENCE).unwrap().is_ok());
    }
}
