//! One connection to an endpoint: makes requests of items, sends them until there is an answer for good, and settles what
//! was taken.
//!
//! A failure that may pass is tried again for ever, and so is a request to an endpoint that is wrong, after a pause that
//! all share. What is refused is handed back.

use scraped_engine::sorting::sort;
use std::sync::Arc;
use std::time::Instant;

use crate::remote::answers::Answer;
use crate::remote::endpoint_state::Shared;
use crate::remote::refuse::pause::Pass;
use crate::remote::refuse::size_bound::Size;
use crate::remote::send::backoff::Backoff;
use crate::remote::send::batch::{Queued, Rest, View};
use crate::remote::send::client::{Client, SendOutcome, Written};
use crate::remote::send::failed_request;
use crate::remote::settle::ledger::{DropReason, Fate, Kind};
use scraped_engine::encode::packer::Packer;
use scraped_engine::encode::{Message, RequestWriter};
use scraped_engine::histogram::Histogram;
use scraped_engine::metrics::Gauge;
use scraped_engine::series::SeriesHandle;
use scraped_engine::threads::ThreadKind;
use scraped_engine::threads::stop::StopToken;

/// Each shard has one, `remote-shard-<remote>-<n>`.
pub const THREAD: ThreadKind = ThreadKind { name: "remote-shard", stack_bytes: 256 << 10 };

/// Status of a request that is too large.
pub const TOO_LARGE: u16 = 413;

/// Bytes of an item before the first request.
const GUESSED_ITEM_BYTES: f64 = 16.0;

/// Smaller requests say little about the size of others.
const TYPICAL_ITEMS: usize = 16;

/// A connection with what requests are made with.
pub struct Sender {
    shared: Arc<Shared>,
    client: Client,
    backoff: Backoff,
    writer: RequestWriter,
    /// The histogram being written.
    histogram: Histogram,
    packer: Packer,
    /// Of the last typical request that was taken.
    bytes_per_item: f64,
    /// Its time is that of another one, too.
    is_beside: bool,
    /// Under this number its requests can be ended.
    cancel_id: u64,
    /// Closed to end it at once.
    stop: StopToken,
}

/// What became of a request.
pub enum Delivered {
    /// Taken, and settled.
    Yes,
    /// Larger than what the endpoint takes, as is known: not sent.
    TooLarge,
    /// The endpoint does not want it as it is; what it has written of it, if it says so.
    Refused {
        /// The status code.
        status: u16,
        /// What it said.
        error: String,
        /// How much of it was written all the same.
        written: Option<Written>,
    },
    /// The shard is to end.
    Stopped,
}

impl Sender {
    /// A connection to an endpoint; nothing is opened yet. Ends at once when `stop` is closed.
    pub fn new(shared: Arc<Shared>, stop: StopToken) -> Self {
        let client = Client::new(&shared.config, &shared.turn, &shared.clock);
        let cancel_id = shared.register(client.canceller());
        let queue = &shared.config.queue;
        let backoff = Backoff::new(queue.min_backoff, queue.max_backoff);
        let writer = RequestWriter::new(shared.message());
        Self {
            shared,
            client,
            backoff,
            writer,
            histogram: Histogram::default(),
            packer: Packer::default(),
            bytes_per_item: GUESSED_ITEM_BYTES,
            is_beside: false,
            cancel_id,
            stop,
        }
    }

    /// The same for requests that are under way beside those of another one.
    pub fn beside(shared: Arc<Shared>, stop: StopToken) -> Self {
        let mut sender = Self::new(shared, stop);
        sender.is_beside = true;
        sender
    }

    /// Items that a request may have, by what is known of the endpoint.
    pub fn max_items(&self) -> usize {
        let n = if self.shared.refusals.is_proven() {
            self.shared.size_bound.items(self.bytes_per_item)
        } else {
            usize::MAX
        };
        n.min(self.shared.config.queue.max_samples_per_send)
    }

    /// Settles what the endpoint has taken: all of it, unless it says otherwise.
    fn accept(&self, part: &[Queued], written: Option<Written>) {
        self.shared.refusals.taken(part);
        let Some(written) = written else { return self.shared.settle(part, Fate::Sent) };
        let n_lost = self.shared.settle_written(part, written);
        if n_lost > 0 {
            let Written { samples, histograms, exemplars } = written;
            self.shared.lost(
                || format!("{n_lost} of {} items of a request", part.len()),
                &format!(
                    "the endpoint took the request and says that it has written {samples} samples, {histograms} \
                     histograms and {exemplars} exemplars of it"
                ),
            );
            self.shared.say_lost();
        }
    }

    /// Tries until the endpoint has answered for good. What is dropped meanwhile is no longer in `part`.
    pub fn deliver(&mut self, part: &mut Vec<Queued>, rest: &Rest) -> Delivered {
        let mut attempt = 0;
        let mut is_encoded = false;
        loop {
            let Some(pass) = self.shared.pause.pass(&self.stop) else { return Delivered::Stopped };
            if self.drop_too_old(part) || !is_encoded {
                self.drop_unsupported(part, rest);
                self.encode(part, rest);
                is_encoded = true;
            }
            if part.is_empty() {
                if pass == Pass::Asks {
                    // Somebody else may ask.
                    self.shared.pause.end(false);
                }
                return Delivered::Yes;
            }
            let size = Size { bytes: self.packer.bytes().len(), items: part.len() };
            let is_proven = self.shared.refusals.is_proven();
            if is_proven && size.items > 1 && pass == Pass::Free && !self.shared.size_bound.fits(size) {
                return Delivered::TooLarge;
            }
            let metrics = &self.shared.metrics;
            let start = Instant::now();
            let outcome = self.client.send(self.shared.message(), self.packer.bytes(), attempt);
            let took = start.elapsed();
            metrics.sent_batch_duration.observe(took.as_secs_f64());
            metrics.bytes.add(size.bytes as u64);
            if let Some(outcome) = outcome.answer() {
                let outcome = outcome.map_err(str::to_owned);
                let at_ms = self.shared.clock.wall_ms();
                metrics.answers.push(Answer { at_ms, took, size, outcome });
            }
            attempt += 1;
            let is_answered = matches!(outcome, SendOutcome::Accepted { .. } | SendOutcome::Refused { .. });
            let newest_ms = part.iter().map(|item| item.ts_ms).max().unwrap_or_default();
            let newest_s = newest_ms as f64 / 1000.0;
            if is_answered {
                raise(&metrics.highest_answered_timestamp, newest_s);
                // Who sends beside another one takes no time of its own.
                metrics.send_ns.add(if self.is_beside { 0 } else { took.as_nanos() as u64 });
            }
            match outcome {
                SendOutcome::Accepted { written, .. } => {
                    raise(&metrics.highest_sent_timestamp, newest_s);
                    self.backoff.reset();
                    self.shared.size_bound.taken(size, Instant::now());
                    if size.items >= TYPICAL_ITEMS {
                        self.bytes_per_item = size.bytes as f64 / size.items as f64;
                    }
                    self.shared.worked();
                    metrics.metadata.sent.add(self.writer.n_metadata());
                    self.accept(part, written);
                    return Delivered::Yes;
                }
                SendOutcome::Refused { status, error, written } => {
                    self.log_failed(part, rest, &error);
                    self.backoff.reset();
                    self.shared.worked();
                    self.note_refusal(status, written, size, is_proven);
                    return Delivered::Refused { status, error, written };
                }
                SendOutcome::OnlyV1 { error } => {
                    self.log_failed(part, rest, &error);
                    self.shared.away();
                    self.shared.fall_back(&error);
                    is_encoded = false;
                }
                SendOutcome::WrongEndpoint { error, retry_after } => {
                    self.log_failed(part, rest, &error);
                    self.shared.count_retry(part);
                    self.shared.wrong(pass, &error, retry_after);
                }
                SendOutcome::Later { error, retry_after } => {
                    self.log_failed(part, rest, &error);
                    self.shared.away();
                    self.shared.count_retry(part);
                    self.shared.failed(&error);
                    if self.stop.wait(self.backoff.pause(retry_after)) {
                        return Delivered::Stopped;
                    }
                }
                SendOutcome::Cancelled => return Delivered::Stopped,
            }
        }
    }

    fn note_refusal(&self, status: u16, written: Option<Written>, size: Size, is_proven: bool) {
        if written.is_some_and(|written| written != Written::default()) {
            return self.shared.refusals.taken(&[]);
        }
        if !is_about_content(status) {
            return;
        }
        if status == TOO_LARGE && is_proven {
            self.shared.size_bound.refused(size, Instant::now());
        }
        if self.shared.refusals.refused() {
            self.shared.size_bound.forget();
        }
    }

    /// As in Prometheus, of requests of 2.0 alone.
    fn log_failed(&self, part: &[Queued], rest: &Rest, error: &str) {
        let is_wanted = self.shared.config.failed_request_logging && self.shared.message() == Message::V2;
        if is_wanted && log::log_enabled!(log::Level::Debug) {
            let request = failed_request::text(&self.shared.log, part, rest);
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

    /// Makes a compressed request of `part`; items of series that are gone, or that make this panic, are dropped from it.
    fn encode(&mut self, part: &mut Vec<Queued>, rest: &Rest) {
        let panicking = &self.shared.panicking;
        let set_aside: Vec<Queued> =
            part.extract_if(.., |item| panicking.is_set_aside(item.handle)).collect();
        self.shared.settle(&set_aside, Fate::Dropped(DropReason::Panicked));
        if THREAD.catch(|| self.write(part, rest)).is_ok() {
            return;
        }
        // Which of them it was is found out series by series.
        let series: Vec<Vec<Queued>> =
            part.chunk_by(|a, b| a.handle == b.handle).map(<[Queued]>::to_vec).collect();
        part.clear();
        for mut items in series {
            let handle = items.first().map(|item| item.handle);
            self.writer = RequestWriter::new(self.shared.message());
            match THREAD.catch(|| self.write(&mut items, rest)) {
                Ok(()) => part.extend(items),
                Err(panicked) => {
                    self.shared.settle(&items, Fate::Dropped(DropReason::Panicked));
                    handle.into_iter().for_each(|handle| self.shared.note_panic(handle, &panicked));
                }
            }
        }
        self.writer = RequestWriter::new(self.shared.message());
        self.write(part, rest);
    }

    /// The same; what is left of the writer after a panic is of no use.
    fn write(&mut self, part: &mut Vec<Queued>, rest: &Rest) {
        let handles: Vec<SeriesHandle> = runs(part).map(|run| run.0).collect();
        let ranges: Vec<(usize, usize)> = runs(part).map(|run| run.1).collect();
        let mut gone: Vec<SeriesHandle> = Vec::new();
        let Self { shared, writer, histogram, packer, .. } = self;
        writer.start(shared.message());
        shared.labels.write(
            &shared.log,
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
            sort(&mut gone);
            let lost: Vec<Queued> =
                part.extract_if(.., |item| gone.binary_search(&item.handle).is_ok()).collect();
            shared.settle(&lost, Fate::Dropped(DropReason::WalTruncated));
        }
        if let Err(error) = packer.pack(writer.bytes()) {
            // A request of 4 GiB cannot be made of so few samples.
            log::error!("BUG: remote_write {}: {error}", shared.metrics.name);
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.unregister(self.cancel_id);
    }
}

fn raise(gauge: &Gauge, value: f64) {
    if value > gauge.get() {
        gauge.set(value);
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

/// Whether a part of the content might be taken though the whole is refused.
pub fn is_about_content(status: u16) -> bool {
    matches!(status, 400 | 409 | 413 | 422)
}
