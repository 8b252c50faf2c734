//! One shard: takes batches in order and sees each through before the next, so that order per series holds.
//!
//! Runs on thread `remote-shard-<name>-<n>` with one request in flight. A failure that may pass is tried again for
//! ever; a batch that is refused is bisected, so that one bad sample costs one sample.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::remote::backoff::Backoff;
use crate::remote::batch::{Batch, Queued, Rest, View};
use crate::remote::client::{Client, SendOutcome, Written};
use crate::remote::encode::{Message, RequestWriter, compress};
use crate::remote::failed_request;
use crate::remote::inbox::Inbox;
use crate::remote::ledger::{DropReason, Fate, Kind};
use crate::remote::shared::Shared;
use crate::series::SeriesHandle;

/// Requests that a refused batch may cost beside the first; what is left then is dropped unsplit.
const MAX_BISECTIONS: u32 = 64;

/// A shard.
pub struct Shard {
    shared: Arc<Shared>,
    client: Client,
    backoff: Backoff,
    writer: RequestWriter,
    /// The histogram being written.
    histogram: Histogram,
    encoder: snap::raw::Encoder,
    packed: Vec<u8>,
    /// Closed to end it at once.
    stop: Receiver<()>,
}

/// What became of a part of a batch.
enum Delivered {
    /// Settled.
    Yes,
    /// The endpoint does not want it as it is; what it has written of it, if it says so.
    Refused { status: u16, error: String, written: Option<Written> },
    /// The shard is to end.
    Stopped,
}

impl Shard {
    /// A shard of an endpoint; ends at once when `stop` is closed.
    pub fn new(shared: Arc<Shared>, stop: Receiver<()>) -> Self {
        let client = Client::new(&shared.config, &shared.turn);
        shared.register(client.canceller());
        let queue = &shared.config.queue;
        let backoff = Backoff::new(queue.min_backoff, queue.max_backoff);
        let writer = RequestWriter::new(shared.message());
        Self {
            shared,
            client,
            backoff,
            writer,
            histogram: Histogram::default(),
            encoder: snap::raw::Encoder::new(),
            packed: Vec::new(),
            stop,
        }
    }

    /// Sends until the inbox is closed and empty, or `stop` is closed.
    pub fn run(mut self, mut inbox: Inbox) {
        while let Some(batch) = inbox.next(&self.stop) {
            if !self.send(batch) {
                return;
            }
        }
    }

    /// False if the shard is to end.
    fn send(&mut self, batch: Batch) -> bool {
        let Batch { mut queued, rest } = batch;
        queued.sort_by_key(|item| item.handle);
        let mut n_bisections = 0;
        // The part to send next is the last.
        let mut parts = vec![queued];
        while let Some(mut part) = parts.pop() {
            match self.deliver(&mut part, &rest) {
                Delivered::Yes => {}
                Delivered::Stopped => return false,
                // It has all that it can use: parts of it would only come twice.
                Delivered::Refused { error, written: Some(written), .. } if written != Written::default() => {
                    let n_lost = self.shared.settle_written(&part, written);
                    self.shared.refused(&format!("{n_lost} of {} items of a request", part.len()), &error);
                }
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

    fn give_up(&self, part: &[Queued], error: &str) {
        let mut what = String::new();
        if let Some(first) = part.first() {
            self.shared.wal.visit_labels(&[first.handle], |_, pairs| {
                let series = Labels::from_pairs(pairs.into_iter().flatten());
                what = format!("{} {} of {series}", part.len(), first.kind().plural());
            });
        }
        self.shared.refused(&what, error);
        self.shared.settle(part, Fate::Dropped(DropReason::Rejected));
    }

    /// Settles what the endpoint has taken: all of it, unless it says otherwise.
    fn accept(&self, part: &[Queued], written: Option<Written>) {
        let Some(written) = written else { return self.shared.settle(part, Fate::Sent) };
        let n_lost = self.shared.settle_written(part, written);
        if n_lost > 0 {
            let Written { samples, histograms, exemplars } = written;
            self.shared.refused(
                &format!("{n_lost} of {} items of a request", part.len()),
                &format!(
                    "the endpoint took the request and says that it has written {samples} samples, {histograms} \
                     histograms and {exemplars} exemplars of it"
                ),
            );
        }
    }

    /// Tries until the endpoint has answered for good. What is dropped meanwhile is no longer in `part`.
    fn deliver(&mut self, part: &mut Vec<Queued>, rest: &Rest) -> Delivered {
        let mut attempt = 0;
        let mut is_encoded = false;
        loop {
            if self.drop_too_old(part) || !is_encoded {
                self.drop_unsupported(part, rest);
                self.encode(part, rest);
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
                SendOutcome::Accepted { written } => {
                    metrics.send_ns.add(took.as_nanos() as u64);
                    let newest_ms = part.iter().map(|item| item.ts_ms).max().unwrap_or_default();
                    let newest_s = newest_ms as f64 / 1000.0;
                    if newest_s > metrics.highest_sent_timestamp.get() {
                        metrics.highest_sent_timestamp.set(newest_s);
                    }
                    self.backoff.reset();
                    self.shared.worked();
                    metrics.metadata.sent.add(self.writer.n_metadata());
                    self.accept(part, written);
                    return Delivered::Yes;
                }
                SendOutcome::Refused { status, error, written } => {
                    self.log_failed(part, rest, &error);
                    self.backoff.reset();
                    self.shared.worked();
                    return Delivered::Refused { status, error, written };
                }
                SendOutcome::OnlyV1 { error } => {
                    self.log_failed(part, rest, &error);
                    self.shared.fall_back(&error);
                    is_encoded = false;
                }
                SendOutcome::Later { error, retry_after } => {
                    self.log_failed(part, rest, &error);
                    self.shared.count_retry(part);
                    self.shared.failed(&error);
                    match self.stop.recv_timeout(self.backoff.pause(retry_after)) {
                        Err(RecvTimeoutError::Timeout) => {}
                        Ok(()) | Err(RecvTimeoutError::Disconnected) => return Delivered::Stopped,
                    }
                }
                SendOutcome::Cancelled => return Delivered::Stopped,
            }
        }
    }

    /// As in Prometheus, of requests of 2.0 alone.
    fn log_failed(&self, part: &[Queued], rest: &Rest, error: &str) {
        let is_wanted = self.shared.config.failed_request_logging && self.shared.message() == Message::V2;
        if is_wanted && log::log_enabled!(log::Level::Debug) {
            let request = failed_request::text(&self.shared.wal, part, rest);
            let name = &self.shared.metrics.name;
            log::debug!("remote_write {name}: failed to send a remote write 2.0 request: {error}: {request}");
        }
    }

    /// True if something was dropped.
    fn drop_too_old(&self, part: &mut Vec<Queued>) -> bool {
        let Some(oldest_ms) = self.shared.oldest_wanted_ms() else { return false };
        let old: Vec<Queued> = part.extract_if(.., |item| item.ts_ms < oldest_ms).collect();
        self.shared.settle(&old, Fate::Dropped(DropReason::TooOld));
        !old.is_empty()
    }

    /// Drops what 1.0 has no place for, and histograms that were meant for 2.0 alone.
    fn drop_unsupported(&self, part: &mut Vec<Queued>, rest: &Rest) {
        if self.shared.message() != Message::V1 || !rest.has_histograms() {
            return;
        }
        let is_nhcb = |item: &mut Queued| match rest.view(item) {
            Some(View::Histogram(kind, _)) => kind.has_custom_buckets(),
            _ => false,
        };
        let nhcb: Vec<Queued> = part.extract_if(.., is_nhcb).collect();
        if !nhcb.is_empty() {
            self.shared.unsupported(nhcb.len());
            self.shared.settle(&nhcb, Fate::Dropped(DropReason::NhcbInV1));
        }
        if !self.shared.sends(Kind::Histogram) {
            let unwanted: Vec<Queued> = part.extract_if(.., |item| item.kind() == Kind::Histogram).collect();
            self.shared.settle(&unwanted, Fate::Dropped(DropReason::Rejected));
        }
    }

    /// Makes a compressed request of `part`; items of series that are gone are dropped from it.
    fn encode(&mut self, part: &mut Vec<Queued>, rest: &Rest) {
        let handles: Vec<SeriesHandle> = runs(part).map(|run| run.0).collect();
        let ranges: Vec<(usize, usize)> = runs(part).map(|run| run.1).collect();
        let mut gone: Vec<SeriesHandle> = Vec::new();
        let Self { shared, writer, histogram, packed, encoder, .. } = self;
        writer.start(shared.message());
        shared.labels.write(
            &shared.wal,
            &handles,
            writer,
            |idx, writer| {
                let range = ranges.get(idx).copied().unwrap_or_default();
                for item in part.get(range.0..range.1).unwrap_or_default() {
                    write_item(writer, histogram, item, rest);
                }
                writer.end_series();
            },
            |idx| gone.extend(handles.get(idx)),
        );
        if !gone.is_empty() {
            gone.sort_unstable();
            let lost: Vec<Queued> =
                part.extract_if(.., |item| gone.binary_search(&item.handle).is_ok()).collect();
            shared.settle(&lost, Fate::Dropped(DropReason::WalTruncated));
        }
        if let Err(error) = compress(encoder, writer.bytes(), packed) {
            // A request of 4 GiB cannot be made of so few samples.
            log::error!("BUG: remote_write {}: {error}", shared.metrics.name);
        }
    }
}

/// Writes an item of the series being written; `histogram` is overwritten.
fn write_item(writer: &mut RequestWriter, histogram: &mut Histogram, item: &Queued, rest: &Rest) {
    match rest.view(item) {
        Some(View::Float(value)) => writer.sample(item.ts_ms, value),
        Some(View::Histogram(kind, encoded)) => {
            // It was checked when it was read: there is no error to be had.
            let _ = kind.decode_into(encoded, histogram);
            writer.histogram(item.ts_ms, histogram);
        }
        Some(View::Exemplar(value, labels)) => writer.exemplar(item.ts_ms, value, labels.iter()),
        None => {}
    }
}

/// Series of a sorted batch with the range of their samples.
fn runs(part: &[Queued]) -> impl Iterator<Item = (SeriesHandle, (usize, usize))> {
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
