//! The shards of one endpoint as the watcher sees them: open batches, channels and threads.
//!
//! A series goes to the shard `ref % n`. When the number of shards changes, those there are end first, with everything
//! they have: order per series holds over the change.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::remote::batch::{Batch, Item};
use crate::remote::shard::Shard;
use crate::remote::shared::Shared;

/// Stack of a shard's thread in bytes.
const STACK_BYTES: usize = 256 * 1024;

/// A channel's memory is taken at once, whatever the configuration dreams of.
const MAX_BATCHES: usize = 16 * 1024;

/// Running shards.
#[derive(Debug)]
pub struct Shards {
    slots: Vec<Slot>,
    threads: Vec<JoinHandle<()>>,
    batch_samples: usize,
}

#[derive(Debug)]
struct Slot {
    /// Full means that the watcher waits: the log is the queue.
    batches: Sender<Batch>,
    open: Batch,
    opened_at: Instant,
}

impl Shards {
    /// No shards: nothing can be pushed.
    pub fn none() -> Self {
        Self { slots: Vec::new(), threads: Vec::new(), batch_samples: 0 }
    }

    /// Starts `n` shards, or as many as the system allows; they end at once when `stop` is closed.
    ///
    /// # Errors
    /// Not even one thread can be started.
    pub fn spawn(n: usize, shared: &Arc<Shared>, stop: &Receiver<()>) -> io::Result<Self> {
        let queue = &shared.config.queue;
        let n_batches = (queue.capacity / queue.max_samples_per_send).clamp(1, MAX_BATCHES);
        let mut shards =
            Self { slots: Vec::new(), threads: Vec::new(), batch_samples: queue.max_samples_per_send };
        for idx in 0..n {
            let (batches, inbox) = bounded(n_batches);
            let shard = Shard::new(Arc::clone(shared), stop.clone());
            let spawned = thread::Builder::new()
                .name(format!("remote-shard-{}-{idx}", shared.metrics.name))
                .stack_size(STACK_BYTES)
                .spawn(move || shard.run(&inbox));
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
            shards.slots.push(Slot { batches, open: Batch::default(), opened_at: Instant::now() });
        }
        shared.metrics.shards.set(shards.len() as f64);
        Ok(shards)
    }

    /// Number of shards.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True without shards.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Puts an item into its shard's open batch; the shard's number if that is full now.
    pub fn push(&mut self, item: Item, now: Instant) -> Option<usize> {
        let idx = item.handle.series_ref.0.get() as usize % self.slots.len().max(1);
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

    /// When the oldest open batch was opened, and its shard.
    pub fn oldest_open(&self) -> Option<(Instant, usize)> {
        let open = self.slots.iter().zip(0..).filter(|(slot, _)| !slot.open.is_empty());
        open.map(|(slot, idx)| (slot.opened_at, idx)).min()
    }

    /// Closes the channels and waits until every shard has ended. Open batches are forgotten.
    pub fn join(self) {
        drop(self.slots);
        for thread in self.threads {
            // Its panic was told to the daemon by the hook of its thread.
            let _ = thread.join();
        }
    }
}
