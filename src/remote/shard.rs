//! One shard: takes batches in order and sees each through before the next, so that order per series holds.
//!
//! Runs on thread `remote-shard-<name>-<n>` with one request in flight. A failure that may pass is tried again for
//! ever; a batch that is refused is bisected, so that one bad sample costs one sample.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use crate::labels::Labels;
use crate::remote::backoff::Backoff;
use crate::remote::client::{Client, SendOutcome};
use crate::remote::encode::{RequestWriter, compress};
use crate::remote::ledger::{DropReason, Fate};
use crate::remote::shared::{QueuedSample, Shared};
use crate::series::SeriesHandle;

/// Requests that a refused batch may cost beside the first; what is left then is dropped unsplit.
const MAX_BISECTIONS: u32 = 64;

/// Failed tries of a request after which a shard gives up while the daemon stops: the log keeps the samples.
const DRAINING_TRIES: u32 = 3;

/// Samples for one shard, in the order of the log.
pub type Batch = Vec<QueuedSample>;

/// A shard.
pub struct Shard {
    shared: Arc<Shared>,
    client: Client,
    backoff: Backoff,
    writer: RequestWriter,
    encoder: snap::raw::Encoder,
    packed: Vec<u8>,
    /// Closed to end it at once.
    stop: Receiver<()>,
}

/// What became of a part of a batch.
enum Delivered {
    /// Settled.
    Yes,
    /// The endpoint does not want it as it is.
    Refused { status: u16, error: String },
    /// The shard is to end.
    Stopped,
}

impl Shard {
    /// A shard of an endpoint; ends at once when `stop` is closed.
    pub fn new(shared: Arc<Shared>, stop: Receiver<()>) -> Self {
        let client = Client::new(&shared.config);
        shared.register(client.canceller());
        let queue = &shared.config.queue;
        let backoff = Backoff::new(queue.min_backoff, queue.max_backoff);
        let writer = RequestWriter::new(shared.message());
        Self { shared, client, backoff, writer, encoder: snap::raw::Encoder::new(), packed: Vec::new(), stop }
    }

    /// Sends until the channel of batches is closed and empty, or `stop` is closed.
    pub fn run(mut self, batches: &Receiver<Batch>) {
        loop {
            let batch = select! {
                recv(self.stop) -> _ => return,
                recv(batches) -> batch => batch,
            };
            let Ok(batch) = batch else { return };
            if !self.send(batch) {
                return;
            }
        }
    }

    /// False if the shard is to end.
    fn send(&mut self, mut batch: Batch) -> bool {
        batch.sort_by_key(|sample| sample.handle);
        let mut n_bisections = 0;
        // The part to send next is the last.
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            match self.deliver(&mut part) {
                Delivered::Yes => {}
                Delivered::Stopped => return false,
                Delivered::Refused { status, .. }
                    if part.len() > 1 && is_about_content(status) && n_bisections < MAX_BISECTIONS =>
                {
                    n_bisections += 1;
                    let later = part.split_off(part.len() / 2);
                    parts.push(later);
                    parts.push(part);
                }
                Delivered::Refused { error, .. } => self.give_up(&part, &error),
            }
        }
        true
    }

    fn give_up(&self, part: &[QueuedSample], error: &str) {
        let mut series = String::new();
        if let Some(first) = part.first() {
            self.shared.wal.visit_labels(&[first.handle], |_, pairs| {
                series = Labels::from_pairs(pairs.into_iter().flatten()).to_string();
            });
        }
        self.shared.refused(part.len(), &series, error);
        self.shared.settle(part, Fate::Dropped(DropReason::Rejected));
    }

    /// Tries until the endpoint has answered for good. What is dropped meanwhile is no longer in `part`.
    fn deliver(&mut self, part: &mut Batch) -> Delivered {
        let mut attempt = 0;
        let mut is_encoded = false;
        loop {
            if self.drop_too_old(part) || !is_encoded {
                self.encode(part);
                is_encoded = true;
            }
            if part.is_empty() {
                return Delivered::Yes;
            }
            let metrics = &self.shared.metrics;
            let start = Instant::now();
            let outcome = self.client.send(self.shared.message(), &self.packed, attempt);
            let took = start.elapsed();
            metrics.sent_batch_duration.observe(took.as_secs_f64());
            metrics.bytes.add(self.packed.len() as u64);
            attempt += 1;
            match outcome {
                SendOutcome::Accepted { .. } => {
                    metrics.send_ns.add(took.as_nanos() as u64);
                    let newest_ms = part.iter().map(|sample| sample.ts_ms).max().unwrap_or_default();
                    let newest_s = newest_ms as f64 / 1000.0;
                    if newest_s > metrics.highest_sent_timestamp.get() {
                        metrics.highest_sent_timestamp.set(newest_s);
                    }
                    self.backoff.reset();
                    self.shared.worked();
                    self.shared.settle(part, Fate::Sent);
                    return Delivered::Yes;
                }
                SendOutcome::Refused { status, error, .. } => {
                    self.backoff.reset();
                    self.shared.worked();
                    return Delivered::Refused { status, error };
                }
                SendOutcome::OnlyV1 { error } => {
                    self.shared.fall_back(&error);
                    is_encoded = false;
                }
                SendOutcome::Later { error, retry_after } => {
                    metrics.samples_retried.add(part.len() as u64);
                    self.shared.failed(&error);
                    if self.shared.is_draining.load(Ordering::Relaxed) && attempt >= DRAINING_TRIES {
                        return Delivered::Stopped;
                    }
                    match self.stop.recv_timeout(self.backoff.pause(retry_after)) {
                        Err(RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => return Delivered::Stopped,
                    }
                }
                SendOutcome::Cancelled => return Delivered::Stopped,
            }
        }
    }

    /// True if something was dropped.
    fn drop_too_old(&self, part: &mut Batch) -> bool {
        let Some(oldest_ms) = self.shared.oldest_wanted_ms() else { return false };
        let old: Batch = part.extract_if(.., |sample| sample.ts_ms < oldest_ms).collect();
        self.shared.settle(&old, Fate::Dropped(DropReason::TooOld));
        !old.is_empty()
    }

    /// Makes a compressed request of `part`; samples of series that are gone are dropped from it.
    fn encode(&mut self, part: &mut Batch) {
        let handles: Vec<SeriesHandle> = runs(part).map(|run| run.0).collect();
        let ranges: Vec<(usize, usize)> = runs(part).map(|run| run.1).collect();
        let mut gone: Vec<SeriesHandle> = Vec::new();
        let Self { shared, writer, packed, encoder, .. } = self;
        writer.start(shared.message());
        shared.labels.write(
            &shared.wal,
            &handles,
            writer,
            |idx, writer| {
                let range = ranges.get(idx).copied().unwrap_or_default();
                for sample in part.get(range.0..range.1).unwrap_or_default() {
                    writer.sample(sample.ts_ms, sample.value);
                }
                writer.end_series();
            },
            |idx| gone.extend(handles.get(idx)),
        );
        if !gone.is_empty() {
            // Both are in order of handle.
            let lost: Batch =
                part.extract_if(.., |sample| gone.binary_search(&sample.handle).is_ok()).collect();
            shared.settle(&lost, Fate::Dropped(DropReason::WalTruncated));
        }
        if let Err(error) = compress(encoder, writer.bytes(), packed) {
            // A request of 4 GiB cannot be made of so few samples.
            log::error!("BUG: remote_write {}: {error}", shared.metrics.name);
        }
    }
}

/// Series of a sorted batch with the range of their samples.
fn runs(part: &[QueuedSample]) -> impl Iterator<Item = (SeriesHandle, (usize, usize))> {
    let mut start = 0;
    part.chunk_by(|a, b| a.handle == b.handle).filter_map(move |run| {
        let range = (start, start + run.len());
        start = range.1;
        Some((run.first()?.handle, range))
    })
}

/// Whether a part of the content might be taken though the whole is refused; otherwise it is about the endpoint.
fn is_about_content(status: u16) -> bool {
    matches!(status, 400 | 409 | 413 | 422)
}
