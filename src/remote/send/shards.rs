//! The shards of one endpoint as their watcher sees them: threads, channels, and the batches that are being filled.
//!
//! A series goes to the shard `ref % n`. When the number of shards changes, those there are end first, with everything
//! they have: order per series holds over the change. Who deals samples out has an outbox; the shards end when every
//! outbox is gone.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};

use crate::config::remote_write::QueueConfig;
use crate::remote::endpoint_state::Shared;
use crate::remote::send::batch::{Batch, Item};
use crate::remote::send::inbox::Inbox;
use crate::remote::send::sender::THREAD;
use crate::remote::send::shard::Shard;
use scraped_engine::series::SeriesHandle;
use scraped_engine::threads::Thread;
use scraped_engine::threads::stop::StopToken;

/// A channel's memory is taken at once, whatever the configuration dreams of.
const MAX_BATCHES: usize = 16 * 1024;

/// Running shards.
#[derive(Debug)]
pub struct Shards {
    /// For outboxes of the backlog; a channel each.
    to_backlogs: Vec<Sender<Batch>>,
    threads: Vec<Thread>,
    batch_samples: usize,
}

/// Batches that one reader of the log fills, and the channels they go to.
#[derive(Debug)]
pub struct Outbox {
    slots: Vec<Slot>,
    batch_samples: usize,
}

#[derive(Debug)]
struct Slot {
    /// Full means that the reader waits: the log is the queue.
    batches: Sender<Batch>,
    open: Batch,
    opened_at: Instant,
}

impl Shards {
    /// No shards.
    pub fn none() -> Self {
        Self { to_backlogs: Vec::new(), threads: Vec::new(), batch_samples: 0 }
    }

    /// Starts `n` shards, or as many as the system allows, with the outbox for fresh samples; they end at once when
    /// `stop` is closed.
    ///
    /// # Errors
    /// Not even one thread can be started.
    pub fn spawn(n: usize, shared: &Arc<Shared>, stop: &StopToken) -> io::Result<(Self, Outbox)> {
        let queue = &shared.config.queue;
        let batch_samples = queue.max_samples_per_send;
        let n_batches = (queue.capacity / batch_samples).clamp(1, MAX_BATCHES);
        let mut shards = Self { to_backlogs: Vec::new(), threads: Vec::new(), batch_samples };
        let mut to_fresh = Vec::new();
        for idx in 0..n {
            let (fresh, from_fresh) = bounded(n_batches);
            let (backlog, from_backlog) = bounded(n_batches);
            let inbox = Inbox::new(from_fresh, from_backlog, queue.backlog_share, batch_samples);
            let shard = Shard::new(Arc::clone(shared), n, stop.clone());
            let name = format!("{}-{idx}", shared.metrics.name);
            let spawned = THREAD.spawn_owned(&name, "its watcher ends, too", move || shard.run(inbox));
            match spawned {
                Ok(thread) => shards.threads.push(thread),
                Err(error) if shards.threads.is_empty() => return Err(error),
                Err(error) => {
                    log::warn!(
                        "remote_write {}: only {idx} of {n} shards can be started: {error}",
                        shared.metrics.name
                    );
                    break;
                }
            }
            to_fresh.push(fresh);
            shards.to_backlogs.push(backlog);
        }
        shared.metrics.shards.set(shards.len() as f64);
        for (idx, fresh) in to_fresh.iter().enumerate() {
            let parked = shared.unpark(|handle| shard_of(handle, to_fresh.len()) == idx);
            if !parked.is_empty() {
                // It is empty, and has room for one batch at least.
                let _ = fresh.try_send(parked);
            }
        }
        Ok((shards, Outbox::new(to_fresh, batch_samples)))
    }

    /// Number of shards.
    pub fn len(&self) -> usize {
        self.threads.len()
    }

    /// True without shards.
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// An outbox whose batches share the shards with fresh ones.
    pub fn backlog_outbox(&self) -> Outbox {
        Outbox::new(self.to_backlogs.clone(), self.batch_samples)
    }

    /// Waits until every shard has ended: the outboxes are gone and all is sent, or `stop` was closed.
    pub fn join(self) {
        drop(self.to_backlogs);
        for thread in self.threads {
            thread.join();
        }
    }
}

/// The number of the shard, of `n`, that a series goes to.
pub fn shard_of(handle: SeriesHandle, n: usize) -> usize {
    handle.series_ref.0.get() as usize % n.max(1)
}

impl Outbox {
    fn new(channels: Vec<Sender<Batch>>, batch_samples: usize) -> Self {
        let now = Instant::now();
        let slot = |batches| Slot { batches, open: Batch::default(), opened_at: now };
        Self { slots: channels.into_iter().map(slot).collect(), batch_samples }
    }

    /// No shards: nothing can be pushed.
    pub fn closed() -> Self {
        Self { slots: Vec::new(), batch_samples: 0 }
    }

    /// Puts an item into its shard's open batch; the shard's number if that is full now.
    pub fn push(&mut self, item: Item, now: Instant) -> Option<usize> {
        let idx = shard_of(item.handle, self.slots.len());
        let batch_samples = self.batch_samples;
        let slot = self.slots.get_mut(idx)?;
        if slot.open.is_empty() {
            slot.opened_at = now;
        }
        slot.open.push(item);
        (slot.open.len() >= batch_samples).then_some(idx)
    }

    /// Takes the open batch of a shard, with the channel it goes to; `None` if it is empty.
    pub fn take(&mut self, idx: usize) -> Option<(Batch, Sender<Batch>)> {
        let slot = self.slots.get_mut(idx)?;
        let batch = std::mem::take(&mut slot.open);
        (!batch.is_empty()).then(|| (batch, slot.batches.clone()))
    }

    /// When the next open batch is to be sent though it is not full, and its shard.
    pub fn next_due(&self, patience: Patience) -> Option<(Instant, usize)> {
        let open = self.slots.iter().zip(0..).filter(|(slot, _)| !slot.open.is_empty());
        let due = |slot: &Slot| match slot.batches.is_empty() {
            true => slot.opened_at + patience.idle,
            false => slot.opened_at + patience.busy,
        };
        open.map(|(slot, idx)| (due(slot), idx)).min()
    }
}

/// How long a batch waits until it is full.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// While its shard has another one to send.
    pub busy: Duration,
    /// While its shard has none.
    pub idle: Duration,
}

impl Patience {
    /// Who looks at a dashboard waits for it.
    const IDLE: Duration = Duration::from_millis(250);

    /// As `queue_config` says; soon, where the endpoint `wants_soon` what there is.
    pub fn of(queue: &QueueConfig, wants_soon: bool) -> Self {
        let busy = queue.batch_send_deadline;
        Self { busy, idle: if wants_soon { busy.min(Self::IDLE) } else { busy } }
    }
}
