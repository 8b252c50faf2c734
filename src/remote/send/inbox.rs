//! What waits for a shard: fresh batches and, beside them, those of a backlog that has a share of the link.
//!
//! Each shard has one and takes the next batch from it, on its own thread. While only one of both queues has something,
//! that one is served alone; while both have, they share the shard by samples.

use std::time::Duration;

use crossbeam_channel::{Receiver, TryRecvError, never, select};

use crate::remote::send::batch::Batch;
use scraped_engine::threads::stop::StopToken;

/// The two queues of a shard.
#[derive(Debug)]
pub struct Inbox {
    fresh: Option<Receiver<Batch>>,
    backlog: Option<Receiver<Batch>>,
    /// Of the samples, this part comes from the backlog while both have something.
    backlog_share: f64,
    /// Samples that are due to the backlog; negative: it was served before its turn.
    due: f64,
    /// Nothing more than a batch is ever due: idle times are not made up for.
    max_due: f64,
}

/// What there is for a shard to do.
#[derive(Debug)]
pub enum Next {
    /// A batch.
    Batch(Batch),
    /// Nothing yet.
    Nothing,
    /// There will be no more.
    Ended,
    /// The shard is to end at once.
    Stopped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Fresh,
    Backlog,
}

impl Inbox {
    /// Both queues; `batch_samples` is the size of a full batch.
    pub fn new(
        fresh: Receiver<Batch>,
        backlog: Receiver<Batch>,
        backlog_share: f64,
        batch_samples: usize,
    ) -> Self {
        let max_due = batch_samples as f64;
        Self { fresh: Some(fresh), backlog: Some(backlog), backlog_share, due: 0.0, max_due }
    }

    /// The next batch, waiting for it for as long as `patience`, for ever without.
    pub fn next(&mut self, stop: &StopToken, patience: Option<Duration>) -> Next {
        loop {
            if stop.is_stopped() {
                return Next::Stopped;
            }
            let order =
                if self.due > 0.0 { [Side::Backlog, Side::Fresh] } else { [Side::Fresh, Side::Backlog] };
            for side in order {
                match self.queue(side).as_ref().map(Receiver::try_recv) {
                    Some(Ok(batch)) => return Next::Batch(self.count(side, batch)),
                    Some(Err(TryRecvError::Disconnected)) => *self.queue(side) = None,
                    Some(Err(TryRecvError::Empty)) | None => {}
                }
            }
            if self.fresh.is_none() && self.backlog.is_none() {
                return Next::Ended;
            }
            let (no_fresh, no_backlog) = (never(), never());
            let timeout = patience.map_or(never(), crossbeam_channel::after);
            let (side, batch) = select! {
                recv(stop.receiver()) -> _ => return Next::Stopped,
                recv(self.fresh.as_ref().unwrap_or(&no_fresh)) -> batch => (Side::Fresh, batch),
                recv(self.backlog.as_ref().unwrap_or(&no_backlog)) -> batch => (Side::Backlog, batch),
                recv(timeout) -> _ => return Next::Nothing,
            };
            if let Ok(batch) = batch {
                return Next::Batch(self.count(side, batch));
            }
        }
    }

    /// Whether a batch waits.
    pub fn has_more(&self) -> bool {
        [&self.fresh, &self.backlog].into_iter().flatten().any(|queue| !queue.is_empty())
    }

    fn queue(&mut self, side: Side) -> &mut Option<Receiver<Batch>> {
        match side {
            Side::Fresh => &mut self.fresh,
            Side::Backlog => &mut self.backlog,
        }
    }

    fn count(&mut self, side: Side, batch: Batch) -> Batch {
        let n_samples = batch.len() as f64;
        let change = match side {
            Side::Fresh => n_samples * self.backlog_share,
            Side::Backlog => -n_samples * (1.0 - self.backlog_share),
        };
        self.due = (self.due + change).clamp(-self.max_due, self.max_due);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::{Inbox, Next};
    use crate::remote::send::batch::{Batch, Content, Item};
    use crossbeam_channel::unbounded;
    use scraped_engine::series::{SeriesHandle, SeriesRef};
    use scraped_engine::threads::stop::{StopToken, stop_pair};
    use std::num::NonZeroU32;

    /// A batch of `n` samples with this timestamp.
    fn batch(n: usize, ts_ms: i64) -> Batch {
        let handle = SeriesHandle { series_ref: SeriesRef(NonZeroU32::MIN), generation: 0 };
        let mut batch = Batch::default();
        for _ in 0..n {
            batch.push(Item { handle, record: Default::default(), ts_ms, content: Content::Float(0.0) });
        }
        batch
    }

    fn next_ts_ms(inbox: &mut Inbox, stop: &StopToken) -> i64 {
        match inbox.next(stop, None) {
            Next::Batch(batch) => batch.queued[0].ts_ms,
            other => panic!("{other:?}"),
        }
    }

    /// Which queue each of the first `n` batches came from, `b` for the backlog.
    fn order(share: f64, fresh: &[usize], backlog: &[usize]) -> String {
        let ((to_fresh, from_fresh), (to_backlog, from_backlog)) = (unbounded(), unbounded());
        fresh.iter().for_each(|n| to_fresh.send(batch(*n, 1)).unwrap());
        backlog.iter().for_each(|n| to_backlog.send(batch(*n, 0)).unwrap());
        drop((to_fresh, to_backlog));
        let (_stopper, stop) = stop_pair();
        let mut inbox = Inbox::new(from_fresh, from_backlog, share, 100);
        let mut order = String::new();
        while let Next::Batch(batch) = inbox.next(&stop, None) {
            order.push(if batch.queued[0].ts_ms == 0 { 'b' } else { 'f' });
        }
        order
    }

    #[test]
    fn both_sides_share_by_samples() {
        assert_eq!(order(0.5, &[100; 4], &[100; 4]), "fbfbfbfb");
        assert_eq!(order(0.25, &[100; 6], &[100; 2]), "fbfffbff");
        assert_eq!(order(0.75, &[100; 2], &[100; 6]), "fbbbfbbb");
        // Small fresh batches leave more turns to themselves.
        assert_eq!(order(0.5, &[50; 4], &[100; 2]), "fbffbf");
        assert_eq!(order(0.0, &[100; 3], &[100; 2]), "fffbb");
        assert_eq!(order(1.0, &[100; 3], &[100; 2]), "fbbff");
        assert_eq!(order(0.5, &[], &[100; 2]), "bb");
        assert_eq!(order(0.5, &[100; 2], &[]), "ff");
    }

    #[test]
    fn what_one_side_sent_alone_is_not_held_against_it_for_long() {
        let ((to_fresh, from_fresh), (to_backlog, from_backlog)) = (unbounded(), unbounded());
        let (stopper, stop) = stop_pair();
        let mut inbox = Inbox::new(from_fresh, from_backlog, 0.5, 100);
        for _ in 0..50 {
            to_backlog.send(batch(100, 0)).unwrap();
            assert_eq!(next_ts_ms(&mut inbox, &stop), 0);
        }
        let mut n_fresh = 0;
        for _ in 0..10 {
            to_backlog.send(batch(100, 0)).unwrap();
            to_fresh.send(batch(100, 1)).unwrap();
            n_fresh += next_ts_ms(&mut inbox, &stop);
        }
        assert!((5..=7).contains(&n_fresh), "{n_fresh}");
        drop(stopper);
        assert!(matches!(inbox.next(&stop, None), Next::Stopped));
    }
}
