//! The search for the series that an endpoint refuses, among those of refused requests.
//!
//! Series are sent in groups, each group a request with all that waits of its series: a group that is taken is delivered,
//! one that is refused is halved. Groups grow while they are taken, so that one bad series of a thousand costs some twenty
//! requests. Where many are bad, several requests are under way at once, each of other series: order per series holds.
//! Runs on a shard's thread, and on short-lived ones beside it.

use scraped_engine::sorting::sort_by_key;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::remote::endpoint_state::Shared;
use crate::remote::send::batch::{Batch, Queued, Rest};
use crate::remote::send::sender::{Delivered, Sender};
use crate::remote::settle::ledger::{DropReason, Fate, Kind};
use scraped_engine::series::SeriesHandle;
use scraped_engine::threads;
use scraped_engine::threads::stop::StopToken;

/// Requests of a search under way at once.
const MAX_SENDERS: usize = 12;

/// Beside the shard's, `remote-search-<remote>`.
const THREAD: threads::ThreadKind = threads::ThreadKind { name: "remote-search", stack_bytes: 256 << 10 };

/// Single items of a series that were refused one after the other; then the newest is tried, and stands for the rest.
const MAX_SINGLES: usize = 2;

/// All that waits of a series, in the order of the log.
type Unit = Vec<Queued>;

/// What a search keeps from one slice to the next.
pub struct Search {
    shared: Arc<Shared>,
    stop: StopToken,
    /// Connections beside the shard's own.
    senders: Vec<Sender>,
    /// Series that the next group has.
    group: usize,
    /// Something was refused: one request after the other takes too long.
    is_wide: bool,
}

/// What became of a group.
enum Tested {
    /// Delivered.
    Taken,
    /// Back, to be halved.
    Refused(Vec<Unit>),
    /// A single series: every item has met its fate.
    Settled,
    /// The shard is to end.
    Stopped,
}

/// What a slice of a search leaves.
pub struct Left {
    /// What is not known yet.
    pub items: Batch,
    /// Series that were delivered.
    pub taken: Vec<SeriesHandle>,
}

impl Search {
    /// Nothing to search yet; ends at once when `stop` is closed.
    pub fn new(shared: Arc<Shared>, stop: StopToken) -> Self {
        Self { shared, stop, senders: Vec::new(), group: 1, is_wide: false }
    }

    /// Searches among `held` until nothing is left, the budget is used up, the endpoint is not proven any more, or
    /// `is_over`. `None` if the shard is to end.
    pub fn run(&mut self, own: &mut Sender, held: Batch, is_over: impl Fn() -> bool) -> Option<Left> {
        let Batch { queued, rest } = held;
        let mut fresh = units(queued);
        let mut halves: Vec<Vec<Unit>> = Vec::new();
        let mut taken = Vec::new();
        while !(fresh.is_empty() && halves.is_empty()) && self.shared.refusals.is_proven() && !is_over() {
            let n_series = fresh.len() + halves.iter().map(Vec::len).sum::<usize>();
            let n_wanted = match self.is_wide {
                true => n_series.div_ceil(2 * self.group).clamp(1, MAX_SENDERS),
                false => 1,
            };
            let n_requests = self.shared.refusals.take_budget(n_wanted, Instant::now());
            if n_requests == 0 {
                break;
            }
            let max_items = own.max_items();
            let mut groups = Vec::new();
            while groups.len() < n_requests {
                let Some(group) = halves.pop().or_else(|| next_group(&mut fresh, self.group, max_items))
                else {
                    break;
                };
                groups.push(group);
            }
            let sizes: Vec<(usize, Vec<SeriesHandle>)> = groups
                .iter()
                .map(|group| (group.len(), group.iter().filter_map(handle_of).collect()))
                .collect();
            let tested = self.test_all(own, groups, &rest);
            for (tested, (n, handles)) in tested.into_iter().zip(sizes) {
                match tested {
                    Tested::Taken => {
                        if n >= self.group {
                            self.group *= 2;
                        }
                        taken.extend(handles);
                    }
                    Tested::Refused(mut group) => {
                        self.is_wide = true;
                        self.group = self.group.min(n / 2).max(1);
                        let later = group.split_off(group.len() / 2);
                        halves.extend([later, group].into_iter().filter(|half| !half.is_empty()));
                    }
                    Tested::Settled => {
                        self.is_wide = true;
                        self.group = (self.group / 2).max(1);
                    }
                    Tested::Stopped => return None,
                }
            }
        }
        let mut items = Batch::default();
        for unit in halves.iter().flatten().chain(&fresh) {
            items.push_from(unit, &rest);
        }
        sort_by_key(&mut items.queued, |item| item.handle);
        if items.is_empty() {
            // Connections are not kept for a search that may never come.
            self.senders.clear();
            (self.group, self.is_wide) = (1, false);
        }
        Some(Left { items, taken })
    }

    fn test_all(&mut self, own: &mut Sender, mut groups: Vec<Vec<Unit>>, rest: &Rest) -> Vec<Tested> {
        while self.senders.len() + 1 < groups.len() {
            self.senders.push(Sender::beside(Arc::clone(&self.shared), self.stop.clone()));
        }
        let Some(first) = (!groups.is_empty()).then(|| groups.remove(0)) else { return Vec::new() };
        let shared = &self.shared;
        thread::scope(|scope| {
            let others: Vec<_> = groups
                .into_iter()
                .zip(&mut self.senders)
                .map(|(group, sender)| {
                    let test = move || test(shared, sender, group, rest);
                    THREAD.spawn_scoped(scope, &shared.metrics.name, "its shard ends", test)
                })
                .collect();
            let mut tested = vec![test(shared, own, first, rest)];
            tested.extend(others.into_iter().map(|other| match other.map(|thread| thread.join()) {
                Ok(Ok(Some(tested))) => tested,
                // After a panic, or without a thread, its samples are read again.
                Ok(Ok(None) | Err(_)) | Err(_) => Tested::Stopped,
            }));
            tested
        })
    }
}

/// Series by series, in an order that has nothing to do with where they come from: bad ones come in droves.
fn units(queued: Vec<Queued>) -> Vec<Unit> {
    let mut units: Vec<Unit> = queued.chunk_by(|a, b| a.handle == b.handle).map(<[Queued]>::to_vec).collect();
    let hasher = foldhash::fast::FixedState::default();
    units.sort_by_cached_key(|unit| handle_of(unit).map(|handle| hasher.hash_one(handle)));
    units
}

fn handle_of(unit: &Unit) -> Option<SeriesHandle> {
    unit.first().map(|item| item.handle)
}

/// The next `n` series, or as many as fit into a request.
fn next_group(fresh: &mut Vec<Unit>, n: usize, max_items: usize) -> Option<Vec<Unit>> {
    let mut group = vec![fresh.pop()?];
    let mut n_items = group.first().map_or(0, Vec::len);
    while group.len() < n {
        match fresh.pop() {
            Some(unit) if n_items + unit.len() <= max_items => {
                n_items += unit.len();
                group.push(unit);
            }
            Some(unit) => {
                fresh.push(unit);
                break;
            }
            None => break,
        }
    }
    Some(group)
}

/// Sends a group; a series that is refused alone is looked at item by item.
fn test(shared: &Shared, sender: &mut Sender, group: Vec<Unit>, rest: &Rest) -> Tested {
    let mut items: Vec<Queued> = group.iter().flatten().copied().collect();
    sort_by_key(&mut items, |item| item.handle);
    let is_one = group.len() == 1;
    match sender.deliver(&mut items, rest) {
        Delivered::Yes => Tested::Taken,
        Delivered::Stopped => Tested::Stopped,
        Delivered::TooLarge if is_one => settle_series(shared, sender, items, None, rest),
        Delivered::Refused { error, .. } if is_one => settle_series(shared, sender, items, Some(error), rest),
        Delivered::TooLarge | Delivered::Refused { .. } => {
            Tested::Refused(items.chunk_by(|a, b| a.handle == b.handle).map(<[Queued]>::to_vec).collect())
        }
    }
}

/// Finds the items of a series that are refused, kind by kind; `error` if the whole was refused already.
fn settle_series(
    shared: &Shared,
    sender: &mut Sender,
    unit: Unit,
    error: Option<String>,
    rest: &Rest,
) -> Tested {
    let mut kinds: Vec<Unit> =
        Kind::ALL.map(|kind| unit.iter().filter(|item| item.kind() == kind).copied().collect()).into();
    kinds.retain(|items| !items.is_empty());
    let error = error.filter(|_| kinds.len() == 1);
    for items in kinds {
        if !settle_items(shared, sender, items, error.clone(), rest) {
            return Tested::Stopped;
        }
    }
    Tested::Settled
}

/// The same for items of one kind, in their order. False if the shard is to end.
fn settle_items(
    shared: &Shared,
    sender: &mut Sender,
    items: Unit,
    error: Option<String>,
    rest: &Rest,
) -> bool {
    let Some(key) = items.last().map(|newest| (newest.handle, newest.kind())) else { return true };
    let (mut n_singles, mut is_newest_refused) = (0, false);
    if items.len() > 1 && error.is_some() && shared.refusals.are_many_set_aside() {
        // Where many series are refused it is about series, and there is no time to look at each sample.
        return settle_by_newest(shared, sender, items, &error.unwrap_or_default(), rest);
    }
    // The part to send next is the last.
    let mut parts = vec![(items, error)];
    while let Some((mut part, error)) = parts.pop() {
        let error = match error {
            Some(error) => error,
            None => {
                shared.refusals.overdraw_budget();
                match sender.deliver(&mut part, rest) {
                    Delivered::Yes => {
                        n_singles = 0;
                        continue;
                    }
                    Delivered::Stopped => return false,
                    Delivered::TooLarge => String::new(),
                    Delivered::Refused { error, .. } => error,
                }
            }
        };
        if part.len() > 1 {
            let later = part.split_off(part.len() / 2);
            parts.extend([(later, None), (part, None)]);
            continue;
        }
        give_up(shared, &part, &error);
        n_singles += 1;
        is_newest_refused = parts.is_empty();
        if n_singles == MAX_SINGLES && !parts.is_empty() {
            let others: Unit = parts.drain(..).rev().flat_map(|(part, _)| part).collect();
            return settle_by_newest(shared, sender, others, &error, rest);
        }
    }
    if is_newest_refused {
        shared.refusals.refused_alone(key, Instant::now());
    }
    true
}

/// The newest item stands for all of them, which are refused together. False if the shard is to end.
fn settle_by_newest(shared: &Shared, sender: &mut Sender, mut items: Unit, error: &str, rest: &Rest) -> bool {
    let Some(newest) = items.pop() else { return true };
    shared.refusals.overdraw_budget();
    match sender.deliver(&mut vec![newest], rest) {
        Delivered::Yes => {}
        Delivered::Stopped => return false,
        Delivered::TooLarge | Delivered::Refused { .. } => {
            items.push(newest);
            shared.refusals.refused_alone((newest.handle, newest.kind()), Instant::now());
        }
    }
    give_up(shared, &items, error);
    true
}

/// Drops what the endpoint refuses.
pub fn give_up(shared: &Shared, items: &[Queued], error: &str) {
    let Some(first) = items.first() else { return };
    shared.lost(|| shared.series_text(first.handle), error);
    shared.metrics.items_refused.add(items.len() as u64);
    shared.settle(items, Fate::Dropped(DropReason::Rejected));
}
