//! One shard: takes batches in order and sees each through before the next, so that order per series holds.
//!
//! Runs on thread `remote-shard-<name>-<n>` with one request in flight, and a few more while it searches. What is refused
//! as a whole is held back, series by series, until it is known which of them the endpoint refuses, while the others go
//! on. What is held back has been sent once: when it cannot be searched in time it is dropped, as Prometheus drops it at
//! once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::remote::endpoint_state::Shared;
use crate::remote::refuse::refusals::Sifted;
use crate::remote::refuse::search::{Left, Search, give_up};
use crate::remote::send::batch::{Batch, Queued, Rest};
use crate::remote::send::client::Written;
use crate::remote::send::inbox::{Inbox, Next};
use crate::remote::send::sender::{Delivered, Sender, TOO_LARGE, is_about_content};
use crate::remote::settle::ledger::{DropReason, Fate};
use scraped_engine::series::SeriesHandle;
use scraped_engine::threads::stop::StopToken;

/// A search gives way to batches that wait after this long, and then they have twice the time that it took.
const SEARCH_SLICE: Duration = Duration::from_millis(500);
const SEARCH_REST: u32 = 2;

/// While the budget is used up the search looks again after this long.
const BUDGET_PAUSE: Duration = Duration::from_millis(100);

/// Items are held back no longer than this while a search goes on, and than this when its budget is used up.
const LONGEST_HOLD: Duration = Duration::from_secs(30);
const HOLD_WITHOUT_BUDGET: Duration = Duration::from_secs(5);

/// A shard.
pub struct Shard {
    shared: Arc<Shared>,
    sender: Sender,
    search: Search,
    trusted: Trusted,
    /// Refused as a whole; sorted by series.
    held: Batch,
    /// What the endpoint said.
    held_error: String,
    /// What came of the same series since, or came while another shard asks an endpoint that refuses everything: not sent
    /// yet.
    behind: Batch,
    /// Since when something is held back.
    held_since: Instant,
    /// Not before, while batches wait.
    next_search: Instant,
    /// Closed to end it at once.
    stop: StopToken,
}

/// The shard is to end.
struct Stopped;

impl Shard {
    /// One of about `n_shards` of an endpoint; ends at once when `stop` is closed.
    pub fn new(shared: Arc<Shared>, n_shards: usize, stop: StopToken) -> Self {
        let now = Instant::now();
        Self {
            sender: Sender::new(Arc::clone(&shared), stop.clone()),
            search: Search::new(Arc::clone(&shared), stop.clone()),
            trusted: Trusted { n_shards: n_shards.max(1), bits: Vec::new() },
            held: Batch::default(),
            held_error: String::new(),
            behind: Batch::default(),
            held_since: now,
            next_search: now,
            shared,
            stop,
        }
    }

    /// Sends until the inbox is closed and empty, or `stop` is closed.
    pub fn run(mut self, mut inbox: Inbox) {
        loop {
            let next = inbox.next(&self.stop, self.patience());
            let outcome = match next {
                Next::Batch(batch) => self.send(batch),
                Next::Nothing if self.shared.refusals.refuses_all() => match self.behind.is_empty() {
                    true => self.ask_for_proof(),
                    false => self.send_unproven(),
                },
                Next::Nothing => Ok(()),
                Next::Ended => break,
                Next::Stopped => return,
            };
            if outcome.and_then(|()| self.search(&inbox)).is_err() {
                return;
            }
            // With a number that says how bad it is.
            if self.held.is_empty() || self.held_since.elapsed() > HOLD_WITHOUT_BUDGET {
                self.shared.say_lost();
            }
        }
        // While there is a budget; after a stop the log has the rest, and otherwise the shards that come.
        while self.may_search() && !(self.held.is_empty() && self.behind.is_empty()) {
            let n_before = self.held.len() + self.behind.len();
            match self.search(&inbox) {
                Ok(()) if self.held.len() + self.behind.len() < n_before => {}
                Ok(()) => break,
                Err(Stopped) => return,
            }
        }
        self.shared.say_lost();
        if !self.shared.is_draining() {
            self.shared.park(&self.held);
            self.shared.park(&self.behind);
        }
    }

    fn may_search(&self) -> bool {
        self.shared.refusals.is_proven()
    }

    /// How long to wait for a batch; `None`: there is nothing else to do.
    fn patience(&self) -> Option<Duration> {
        let pause = match self.may_search() {
            true => BUDGET_PAUSE,
            false => self.shared.config.queue.batch_send_deadline,
        };
        (!(self.held.is_empty() && self.behind.is_empty())).then_some(pause)
    }

    fn send(&mut self, batch: Batch) -> Result<(), Stopped> {
        if !self.shared.refusals.refuses_all() {
            // What has waited since the endpoint refused everything is older.
            self.free_behind()?;
        }
        let Batch { mut queued, rest } = batch;
        queued.sort_by_key(|item| item.handle);
        let Sifted { set_aside, again, mut suspects } =
            self.shared.refusals.sift(&mut queued, Instant::now());
        if let Some(first) = set_aside.first() {
            self.shared.lost(|| self.shared.series_text(first.handle), "the endpoint has refused it before");
            self.shared.settle(&set_aside, Fate::Dropped(DropReason::Rejected));
        }
        self.hold_behind(&mut suspects, &rest);
        self.hold(&suspects, &rest);
        if self.shared.refusals.refuses_all() {
            self.behind.push_from(&queued, &rest);
            return self.send_unproven();
        }
        let mut parts = Vec::new();
        while !queued.is_empty() {
            let later = queued.split_off(self.sender.max_items().min(queued.len()));
            parts.push((std::mem::replace(&mut queued, later), false));
        }
        // The part to send next is the last.
        parts.reverse();
        while let Some((mut part, is_trusted)) = parts.pop() {
            self.hold_behind(&mut part, &rest);
            match self.sender.deliver(&mut part, &rest) {
                Delivered::Yes => self.trusted.add(&part),
                Delivered::Stopped => return Err(Stopped),
                Delivered::TooLarge => halve(&mut parts, part, is_trusted),
                // It has all that it can use: parts of it would only come twice.
                Delivered::Refused { error, written: Some(written), .. } if written != Written::default() => {
                    self.settle_written(&part, written, &error);
                }
                Delivered::Refused { status, error, .. } if !is_about_content(status) => {
                    give_up(&self.shared, &part, &error);
                }
                Delivered::Refused { status: TOO_LARGE, .. } if part.len() > 1 && self.may_search() => {
                    halve(&mut parts, part, is_trusted);
                }
                Delivered::Refused { .. } if !is_trusted && self.may_search() => {
                    let (known, new): (Vec<Queued>, Vec<Queued>) =
                        part.into_iter().partition(|item| self.trusted.has(item.handle));
                    match new.is_empty() {
                        true => self.hold(&known, &rest),
                        false => {
                            self.hold(&new, &rest);
                            parts.extend((!known.is_empty()).then_some((known, true)));
                        }
                    }
                }
                Delivered::Refused { error, .. } => {
                    self.held_error = error;
                    self.hold(&part, &rest);
                }
            }
        }
        if self.shared.refusals.refuses_all() && !self.held.is_empty() {
            self.ask_for_proof()?;
        }
        self.ask_again(again, &rest)
    }

    /// Sends what is held back and what waits behind it as a whole to an endpoint that has refused everything so far, and
    /// then one series alone. However many shards there are, one of them does that in a `batch_send_deadline`; the others
    /// wait, unless a whole request is waiting.
    fn send_unproven(&mut self) -> Result<(), Stopped> {
        if self.shared.is_draining() {
            // It would refuse this, too; the next start may find it in another mood.
            return Err(Stopped);
        }
        let is_full = self.behind.len() >= self.sender.max_items();
        let pause = self.shared.config.queue.batch_send_deadline;
        if !is_full && !self.shared.refusals.may_send_unproven(Instant::now(), pause) {
            return Ok(());
        }
        let Batch { queued: behind, rest } = std::mem::take(&mut self.behind);
        self.hold(&behind, &rest);
        let Batch { mut queued, rest } = std::mem::take(&mut self.held);
        while !queued.is_empty() {
            let later = queued.split_off(self.sender.max_items().min(queued.len()));
            let mut part = std::mem::replace(&mut queued, later);
            match self.sender.deliver(&mut part, &rest) {
                Delivered::Yes => self.trusted.add(&part),
                Delivered::Stopped => return Err(Stopped),
                Delivered::TooLarge => self.held.push_from(&part, &rest),
                Delivered::Refused { error, written: Some(written), .. } if written != Written::default() => {
                    self.settle_written(&part, written, &error);
                }
                Delivered::Refused { status, error, .. } if !is_about_content(status) => {
                    give_up(&self.shared, &part, &error);
                }
                Delivered::Refused { error, .. } => {
                    self.held_error = error;
                    self.held.push_from(&part, &rest);
                }
            }
        }
        if self.may_search() { Ok(()) } else { self.ask_for_proof() }
    }

    /// Where everything is refused, one series alone may show that it is not: another one each time. What cannot wait
    /// for that is dropped.
    fn ask_for_proof(&mut self) -> Result<(), Stopped> {
        let queue = &self.shared.config.queue;
        let refusals = &self.shared.refusals;
        let series: Vec<&[Queued]> = self.held.queued.chunk_by(|a, b| a.handle == b.handle).collect();
        let is_due = refusals.may_ask_for_proof(Instant::now(), queue.batch_send_deadline);
        let chosen = series.get(refusals.n_vain_proofs() as usize % series.len().max(1));
        if let Some(first) = chosen.and_then(|series| series.first()).filter(|_| is_due) {
            // Nothing but samples of one kind: exemplars are refused more easily.
            let is_chosen = |item: &Queued| (item.handle, item.kind()) == (first.handle, first.kind());
            let mut part: Vec<Queued> =
                self.held.queued.iter().filter(|item| is_chosen(item)).copied().collect();
            // This is all there is, and it was refused just now.
            let is_known = part.len() == self.held.len();
            let delivered = (!is_known).then(|| self.sender.deliver(&mut part, &self.held.rest));
            match delivered {
                Some(Delivered::Yes) => {
                    self.trusted.add(&part);
                    let key = (first.handle, first.kind());
                    self.held.queued.retain(|item| (item.handle, item.kind()) != key);
                    self.held_since = Instant::now();
                    return Ok(());
                }
                Some(Delivered::Stopped) => return Err(Stopped),
                Some(Delivered::TooLarge | Delivered::Refused { .. }) | None => {
                    refusals.proof_failed();
                }
            }
        }
        if refusals.is_hopeless() || self.held.len() > queue.capacity {
            let held = std::mem::take(&mut self.held);
            give_up(&self.shared, &held.queued, &format!("all that is sent is refused: {}", self.held_error));
        }
        Ok(())
    }

    /// Tries series that are set aside; what is refused again is dropped.
    fn ask_again(&mut self, again: Vec<Vec<Queued>>, rest: &Rest) -> Result<(), Stopped> {
        if again.is_empty() {
            return Ok(());
        }
        self.shared.forget_gone_series();
        let mut is_taken = true;
        for mut items in again {
            items.sort_by_key(|item| item.handle);
            match self.sender.deliver(&mut items, rest) {
                Delivered::Yes => {}
                Delivered::Stopped => return Err(Stopped),
                Delivered::TooLarge => {
                    is_taken = false;
                    give_up(&self.shared, &items, "too large");
                }
                Delivered::Refused { error, .. } => {
                    is_taken = false;
                    give_up(&self.shared, &items, &error);
                }
            }
        }
        self.shared.refusals.round_ended(is_taken, Instant::now());
        Ok(())
    }

    /// Searches in what is held back, for as long as nothing else is to be done.
    fn search(&mut self, inbox: &Inbox) -> Result<(), Stopped> {
        let start = Instant::now();
        if !self.may_search() || (inbox.has_more() && start < self.next_search) {
            return Ok(());
        }
        if self.held.is_empty() {
            // What came while the endpoint refused everything.
            return self.free_behind();
        }
        let held = std::mem::take(&mut self.held);
        let is_over = || start.elapsed() >= SEARCH_SLICE && inbox.has_more();
        let Left { items, taken } = self.search.run(&mut self.sender, held, is_over).ok_or(Stopped)?;
        taken.into_iter().for_each(|handle| self.trusted.add_series(handle));
        self.held = items;
        self.next_search = Instant::now() + start.elapsed() * SEARCH_REST;
        let longest = match self.shared.refusals.has_budget(Instant::now()) {
            true => LONGEST_HOLD,
            false => HOLD_WITHOUT_BUDGET,
        };
        let n_held = self.held.len() + self.behind.len();
        let is_late = self.held_since.elapsed() > longest || n_held > self.shared.config.queue.capacity;
        if is_late && self.may_search() {
            self.release()?;
        }
        self.free_behind()
    }

    /// What waits behind series that are not held back any more takes the way of a batch.
    fn free_behind(&mut self) -> Result<(), Stopped> {
        if self.behind.is_empty() {
            return Ok(());
        }
        let Batch { mut queued, rest } = std::mem::take(&mut self.behind);
        let waiting: Vec<Queued> = queued.extract_if(.., |item| self.is_held(item.handle)).collect();
        self.behind.push_from(&waiting, &rest);
        if queued.is_empty() { Ok(()) } else { self.send(Batch { queued, rest }) }
    }

    /// What cannot be searched in time is sent as it is, so that all was sent once, and dropped where it is refused.
    fn release(&mut self) -> Result<(), Stopped> {
        let Batch { queued, rest } = std::mem::take(&mut self.held);
        let mut parts = vec![(queued, false)];
        while let Some((mut part, _)) = parts.pop() {
            if part.len() > self.sender.max_items() {
                halve(&mut parts, part, false);
                continue;
            }
            match self.sender.deliver(&mut part, &rest) {
                Delivered::Yes => self.trusted.add(&part),
                Delivered::Stopped => return Err(Stopped),
                Delivered::TooLarge => halve(&mut parts, part, false),
                Delivered::Refused { error, .. } => give_up(&self.shared, &part, &error),
            }
        }
        Ok(())
    }

    fn settle_written(&self, part: &[Queued], written: Written, error: &str) {
        let n_lost = self.shared.settle_written(part, written);
        self.shared.lost(|| format!("{n_lost} of {} items of a request", part.len()), error);
        self.shared.say_lost();
    }

    /// Holds items back that were refused together with others.
    fn hold(&mut self, items: &[Queued], rest: &Rest) {
        if items.is_empty() {
            return;
        }
        if self.held.is_empty() {
            self.held_since = Instant::now();
        }
        self.held.push_from(items, rest);
        self.held.queued.sort_by_key(|item| item.handle);
    }

    /// Takes out of `part` what is of a series of which something is held back, to wait behind that.
    fn hold_behind(&mut self, part: &mut Vec<Queued>, rest: &Rest) {
        if self.held.is_empty() {
            return;
        }
        let waiting: Vec<Queued> = part.extract_if(.., |item| self.is_held(item.handle)).collect();
        self.behind.push_from(&waiting, rest);
    }

    fn is_held(&self, handle: SeriesHandle) -> bool {
        self.held.queued.binary_search_by_key(&handle, |item| item.handle).is_ok()
    }
}

/// Puts both halves where the next part is taken from.
fn halve(parts: &mut Vec<(Vec<Queued>, bool)>, mut part: Vec<Queued>, is_trusted: bool) {
    let later = part.split_off(part.len() / 2);
    parts.extend([(later, is_trusted), (part, is_trusted)]);
}

/// Series of which the endpoint has taken something: a bit a series. A slot that was freed since may have another series;
/// that one is found out when it is refused.
struct Trusted {
    n_shards: usize,
    bits: Vec<u64>,
}

impl Trusted {
    fn place(&self, handle: SeriesHandle) -> (usize, u64) {
        let idx = handle.series_ref.0.get() as usize / self.n_shards;
        (idx / 64, 1 << (idx % 64))
    }

    fn add(&mut self, items: &[Queued]) {
        items.iter().for_each(|item| self.add_series(item.handle));
    }

    fn add_series(&mut self, handle: SeriesHandle) {
        let (idx, bit) = self.place(handle);
        if self.bits.len() <= idx {
            self.bits.resize(idx + 1, 0);
        }
        if let Some(bits) = self.bits.get_mut(idx) {
            *bits |= bit;
        }
    }

    fn has(&self, handle: SeriesHandle) -> bool {
        let (idx, bit) = self.place(handle);
        self.bits.get(idx).is_some_and(|bits| bits & bit != 0)
    }
}
