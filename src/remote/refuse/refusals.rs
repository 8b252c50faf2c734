//! What is remembered of an endpoint that refuses samples, so that a refusal costs requests once and not with each batch.
//!
//! A series whose newest sample was refused alone is *set aside*: its samples are dropped unsent, and now and then one of
//! them is tried again. One refusal may be the sample's fault and not the series', so the first few series get a second
//! chance. An endpoint is *proven* while it takes something; one that is not proven is not searched for good samples.
//! Shared by the shards of an endpoint; gone with a change of its section.

use scraped_engine::sorting::sort_by_key;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::remote::metrics::EndpointMetrics;
use crate::remote::send::batch::Queued;
use crate::remote::settle::ledger::Kind;
use scraped_engine::series::SeriesHandle;

/// Series that can be set aside; of more, each batch is searched again, within the budget.
const MAX_SET_ASIDE: usize = 16 * 1024;

/// Series that can have a second chance at a time, and how long it is kept for a series that sends nothing.
const SECOND_CHANCES: usize = 8;
const SECOND_CHANCE_AGE: Duration = Duration::from_secs(10 * 60);

/// After this many refusals without anything taken in between, an endpoint is not proven any more.
const MAX_REFUSALS_IN_ROW: u32 = 32;

/// After this many series that were refused alone, what waits for a proof is dropped.
const MAX_VAIN_PROOFS: u32 = 5;

/// Requests of a search: this many at once, and then this many per second.
const BUDGET: f64 = 512.0;
const BUDGET_PER_SECOND: f64 = 20.0;

/// Time between two rounds that ask for what is set aside again: doubled up to the longest while all is refused.
const SHORTEST_ROUND: Duration = Duration::from_secs(30);
const LONGEST_ROUND: Duration = Duration::from_secs(5 * 60);

/// A round asks for this part of what is set aside, a request a series, and at most this many.
const ROUND_PART: usize = 16;
const MAX_ROUND: usize = 16;

/// While all is taken that a round asks for, the next one asks for twice as many series, up to this.
const MAX_ROUND_GROUP: usize = 256;

/// What is refused or taken: samples and exemplars of a series may differ.
pub type Key = (SeriesHandle, Kind);

/// The memory of one endpoint.
#[derive(Debug)]
pub struct Refusals {
    /// Nothing is remembered and the endpoint takes all: no one needs the lock.
    is_plain: AtomicBool,
    is_proven: AtomicBool,
    state: Mutex<State>,
    metrics: Arc<EndpointMetrics>,
}

#[derive(Debug)]
struct State {
    /// With the time when it was last asked for.
    set_aside: HashMap<Key, Instant, foldhash::fast::FixedState>,
    second_chances: Vec<(Key, Instant)>,
    /// Refusals since something was taken, and what they have set aside.
    n_in_row: u32,
    in_row: Vec<Key>,
    n_vain_proofs: u32,
    next_proof: Instant,
    next_unproven: Instant,
    budget: f64,
    budget_at: Instant,
    round_pause: Duration,
    next_round: Instant,
    /// Series that the next round asks for in one request; 1: each alone.
    round_group: usize,
}

/// A batch as it is to be sent.
#[derive(Debug, Default)]
pub struct Sifted {
    /// Set aside: not sent.
    pub set_aside: Vec<Queued>,
    /// Set aside, and to be tried again: each a request.
    pub again: Vec<Vec<Queued>>,
    /// Of series that have a second chance: not to be sent together with others.
    pub suspects: Vec<Queued>,
}

impl Refusals {
    /// Nothing is known yet.
    pub fn new(metrics: Arc<EndpointMetrics>, now: Instant) -> Self {
        let state = State {
            set_aside: HashMap::default(),
            second_chances: Vec::new(),
            n_in_row: 0,
            in_row: Vec::new(),
            n_vain_proofs: 0,
            next_proof: now,
            next_unproven: now,
            budget: BUDGET,
            budget_at: now,
            round_pause: SHORTEST_ROUND,
            next_round: now,
            round_group: 1,
        };
        metrics.set_aside.set(0.0);
        Self {
            is_plain: AtomicBool::new(false),
            is_proven: AtomicBool::new(false),
            state: Mutex::new(state),
            metrics,
        }
    }

    /// Whether the endpoint has taken something, and has not refused all for a while.
    pub fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    /// Whether it has refused all that it was sent.
    pub fn refuses_all(&self) -> bool {
        !self.is_proven() && self.state.lock().n_in_row > 0
    }

    /// A request with these items was taken.
    pub fn taken(&self, items: &[Queued]) {
        if self.is_plain.load(Ordering::Relaxed) {
            return;
        }
        self.is_proven.store(true, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.n_in_row = 0;
        state.n_vain_proofs = 0;
        state.in_row.clear();
        if !state.remembers_nothing() {
            for item in items {
                let key = (item.handle, item.kind());
                state.set_aside.remove(&key);
                state.second_chances.retain(|(known, _)| *known != key);
            }
            self.metrics.set_aside.set(state.set_aside.len() as f64);
        }
        self.is_plain.store(state.remembers_nothing(), Ordering::Relaxed);
    }

    /// A request was refused for what is in it. True if the endpoint is not proven any more.
    pub fn refused(&self) -> bool {
        self.is_plain.store(false, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.n_in_row = state.n_in_row.saturating_add(1);
        let is_lost = state.n_in_row == MAX_REFUSALS_IN_ROW && self.is_proven();
        if is_lost {
            self.is_proven.store(false, Ordering::Relaxed);
            state.n_vain_proofs = 0;
            // It was not about them.
            for key in std::mem::take(&mut state.in_row) {
                state.set_aside.remove(&key);
            }
            state.second_chances.clear();
            self.metrics.set_aside.set(state.set_aside.len() as f64);
        }
        is_lost
    }

    /// Takes the right to send a request to an endpoint that is not proven, for one of its shards: once in `pause`.
    pub fn may_send_unproven(&self, now: Instant, pause: Duration) -> bool {
        let mut state = self.state.lock();
        let is_due = state.next_unproven <= now;
        if is_due {
            state.next_unproven = now + pause;
        }
        is_due
    }

    /// Takes the right to send one series alone to an endpoint that is not proven: once in `pause`.
    pub fn may_ask_for_proof(&self, now: Instant, pause: Duration) -> bool {
        let mut state = self.state.lock();
        let is_due = state.next_proof <= now;
        if is_due {
            state.next_proof = now + pause;
        }
        is_due
    }

    /// One series alone was refused, too; how many by now.
    pub fn proof_failed(&self) -> u32 {
        let mut state = self.state.lock();
        state.n_vain_proofs = state.n_vain_proofs.saturating_add(1);
        state.n_vain_proofs
    }

    /// Series that were refused alone while the endpoint was not proven.
    pub fn n_vain_proofs(&self) -> u32 {
        self.state.lock().n_vain_proofs
    }

    /// Whether what waits for a proof is to be dropped.
    pub fn is_hopeless(&self) -> bool {
        !self.is_proven() && self.state.lock().n_vain_proofs >= MAX_VAIN_PROOFS
    }

    /// Takes requests for a search from the budget: `n`, or as many as there are.
    pub fn take_budget(&self, n: usize, now: Instant) -> usize {
        let mut state = self.state.lock();
        let passed = now.saturating_duration_since(state.budget_at).as_secs_f64();
        state.budget = (state.budget + passed * BUDGET_PER_SECOND).min(BUDGET);
        state.budget_at = now;
        let n = n.min(state.budget.max(0.0) as usize);
        state.budget -= n as f64;
        self.metrics.search_requests.add(n as u64);
        n
    }

    /// Whether a search may go on.
    pub fn has_budget(&self, now: Instant) -> bool {
        let state = self.state.lock();
        let passed = now.saturating_duration_since(state.budget_at).as_secs_f64();
        state.budget + passed * BUDGET_PER_SECOND >= 1.0
    }

    /// A request that a search needs in any case; the budget goes below zero for it.
    pub fn overdraw_budget(&self) {
        self.state.lock().budget -= 1.0;
        self.metrics.search_requests.inc();
    }

    /// Takes out of `items`, sorted by series, what is not to be sent with the others.
    pub fn sift(&self, items: &mut Vec<Queued>, now: Instant) -> Sifted {
        let mut sifted = Sifted::default();
        if self.is_plain.load(Ordering::Relaxed) {
            return sifted;
        }
        let mut state = self.state.lock();
        if state.remembers_nothing() {
            return sifted;
        }
        items.retain(|item| {
            let key = (item.handle, item.kind());
            if state.set_aside.contains_key(&key) {
                sifted.set_aside.push(*item);
                return false;
            }
            let is_suspect = state.second_chances.iter().any(|(known, _)| *known == key);
            if is_suspect {
                sifted.suspects.push(*item);
            }
            !is_suspect
        });
        sifted.again = state.round(&mut sifted.set_aside, now);
        sifted
    }

    /// What a round asked for was taken, all of it, or not.
    pub fn round_ended(&self, is_taken: bool, now: Instant) {
        let mut state = self.state.lock();
        if is_taken {
            // Perhaps all are welcome again.
            state.round_group = (state.round_group * 2).min(MAX_ROUND_GROUP);
            state.round_pause = SHORTEST_ROUND;
            state.next_round = now;
        } else if state.round_group > 1 {
            state.round_group = 1;
            state.next_round = now;
        } else {
            state.round_pause = (state.round_pause * 2).min(LONGEST_ROUND);
        }
    }

    /// The newest item of a series was refused alone.
    pub fn refused_alone(&self, key: Key, now: Instant) {
        self.is_plain.store(false, Ordering::Relaxed);
        let mut state = self.state.lock();
        // Requests of a search run side by side: others may just have shown that it is not about the series.
        if !self.is_proven() {
            return;
        }
        state.second_chances.retain(|(_, since)| now.duration_since(*since) < SECOND_CHANCE_AGE);
        let n_before = state.second_chances.len();
        state.second_chances.retain(|(known, _)| *known != key);
        if state.second_chances.len() == n_before && n_before < SECOND_CHANCES {
            state.second_chances.push((key, now));
            return;
        }
        if state.set_aside.len() >= MAX_SET_ASIDE {
            return;
        }
        state.set_aside.insert(key, now);
        state.in_row.push(key);
        let soon = now + SHORTEST_ROUND;
        if state.set_aside.len() == 1 || state.next_round > soon {
            state.round_pause = SHORTEST_ROUND;
            state.round_group = 1;
            state.next_round = soon;
        }
        self.metrics.set_aside.set(state.set_aside.len() as f64);
    }

    /// Whether more series are set aside than single bad samples could explain.
    pub fn are_many_set_aside(&self) -> bool {
        self.metrics.set_aside.get() >= SECOND_CHANCES as f64
    }

    /// Everything that is set aside.
    pub fn set_aside(&self) -> Vec<Key> {
        self.state.lock().set_aside.keys().copied().collect()
    }

    /// The log has forgotten these series.
    pub fn forget(&self, gone: &[Key]) {
        let mut state = self.state.lock();
        for key in gone {
            state.set_aside.remove(key);
        }
        self.metrics.set_aside.set(state.set_aside.len() as f64);
    }
}

impl State {
    fn remembers_nothing(&self) -> bool {
        self.set_aside.is_empty() && self.second_chances.is_empty()
    }

    /// Takes the items of a round out of those that are set aside: the series that were asked for the longest time ago.
    fn round(&mut self, items: &mut Vec<Queued>, now: Instant) -> Vec<Vec<Queued>> {
        if items.is_empty() || self.next_round > now {
            return Vec::new();
        }
        self.next_round = now + self.round_pause;
        let is_alone = self.round_group == 1;
        let n_wanted = match is_alone {
            true => (self.set_aside.len() / ROUND_PART).clamp(1, MAX_ROUND),
            false => self.round_group,
        };
        let mut keys: Vec<(Instant, Key)> = Vec::new();
        for item in items.iter() {
            let key = (item.handle, item.kind());
            if keys.last().is_none_or(|(_, last)| *last != key)
                && let Some(asked) = self.set_aside.get(&key)
            {
                keys.push((*asked, key));
            }
        }
        sort_by_key(&mut keys, |(asked, (handle, kind))| (*asked, *handle, *kind as usize));
        keys.dedup();
        keys.truncate(n_wanted);
        let mut requests: Vec<Vec<Queued>> = Vec::new();
        for (_, key) in keys {
            self.set_aside.insert(key, now);
            let taken = items.extract_if(.., |item| (item.handle, item.kind()) == key);
            match requests.last_mut().filter(|_| !is_alone) {
                Some(request) => request.extend(taken),
                None => requests.push(taken.collect()),
            }
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::send::batch::{Batch, Content, Item};
    use scraped_engine::series::SeriesRef;
    use std::num::NonZeroU32;

    fn refusals(now: Instant) -> Refusals {
        Refusals::new(Arc::new(EndpointMetrics::new(String::new(), String::new())), now)
    }

    fn handle(idx: u32) -> SeriesHandle {
        SeriesHandle { series_ref: SeriesRef(NonZeroU32::new(idx + 1).unwrap()), generation: 0 }
    }

    /// A sample of each series.
    fn samples(series: std::ops::Range<u32>) -> Vec<Queued> {
        let mut batch = Batch::default();
        for idx in series {
            let content = Content::Float(0.0);
            batch.push(Item { handle: handle(idx), record: Default::default(), ts_ms: 0, content });
        }
        batch.queued
    }

    /// Which of them would be sent, are dropped, tried again (series in each request), and suspects.
    fn sift(refusals: &Refusals, n: u32, now: Instant) -> (usize, usize, Vec<usize>, usize) {
        let mut items = samples(0..n);
        let sifted = refusals.sift(&mut items, now);
        let again = sifted.again.iter().map(Vec::len).collect();
        (items.len(), sifted.set_aside.len(), again, sifted.suspects.len())
    }

    #[test]
    fn a_series_has_a_second_chance_and_is_set_aside_then() {
        let now = Instant::now();
        let refusals = refusals(now);
        refusals.taken(&samples(0..5));
        let key = (handle(3), Kind::Float);
        refusals.refused_alone(key, now);
        assert_eq!(sift(&refusals, 5, now), (4, 0, vec![], 1));
        refusals.refused_alone(key, now);
        assert_eq!(sift(&refusals, 5, now), (4, 1, vec![], 0));
        assert_eq!(refusals.metrics.set_aside.get(), 1.0);
        // Its exemplars are another matter.
        refusals.refused_alone((handle(4), Kind::Exemplar), now);
        assert_eq!(sift(&refusals, 5, now), (4, 1, vec![], 0));
        refusals.taken(&samples(3..4));
        assert_eq!(sift(&refusals, 5, now), (5, 0, vec![], 0));
    }

    #[test]
    fn beyond_the_second_chances_and_up_to_the_bound_series_are_set_aside_at_once() {
        let now = Instant::now();
        let refusals = refusals(now);
        refusals.taken(&[]);
        refusals.refused();
        for idx in 0..MAX_SET_ASIDE as u32 + 100 {
            refusals.refused_alone((handle(idx), Kind::Float), now);
        }
        assert_eq!(refusals.set_aside().len(), MAX_SET_ASIDE);
        refusals.forget(&refusals.set_aside());
        assert_eq!(sift(&refusals, 20, now).1, 0);
    }

    #[test]
    fn rounds_ask_for_a_few_and_then_for_all() {
        let now = Instant::now();
        let refusals = refusals(now);
        refusals.taken(&[]);
        refusals.refused();
        for idx in 0..108 {
            refusals.refused_alone((handle(idx), Kind::Float), now);
        }
        let after = |seconds: u64| now + Duration::from_secs(seconds);
        assert_eq!(sift(&refusals, 108, after(29)).2, Vec::<usize>::new());
        assert_eq!(sift(&refusals, 108, after(30)), (0, 94, vec![1; 6], 8));
        assert_eq!(sift(&refusals, 108, after(31)).2, Vec::<usize>::new());
        refusals.round_ended(false, after(31));
        assert_eq!(sift(&refusals, 108, after(60)).2, vec![1; 6], "others than before");
        refusals.round_ended(false, after(60));
        assert_eq!(sift(&refusals, 108, after(119)).2, Vec::<usize>::new());
        assert_eq!(sift(&refusals, 108, after(120)).2, vec![1; 6]);
        refusals.round_ended(true, after(120));
        for group in [2, 4, 8] {
            assert_eq!(sift(&refusals, 108, after(120)).2, vec![group]);
            refusals.round_ended(true, after(120));
        }
        refusals.round_ended(false, after(120));
        assert_eq!(sift(&refusals, 108, after(120)).2, vec![1; 6]);
    }

    #[test]
    fn an_endpoint_that_refuses_all_is_not_proven_and_its_series_are_not_to_blame() {
        let now = Instant::now();
        let refusals = refusals(now);
        assert!(!refusals.is_proven() && !refusals.refuses_all());
        refusals.refused();
        assert!(refusals.refuses_all());
        refusals.taken(&[]);
        for idx in 1..=MAX_REFUSALS_IN_ROW {
            assert!(refusals.is_proven());
            refusals.refused_alone((handle(idx), Kind::Float), now);
            assert_eq!(refusals.refused(), idx == MAX_REFUSALS_IN_ROW);
        }
        assert!(refusals.refuses_all() && refusals.set_aside().is_empty());
        // Nor are those that were asked for beside the last one.
        for idx in 0..2 * SECOND_CHANCES as u32 {
            refusals.refused_alone((handle(idx), Kind::Float), now);
        }
        assert_eq!(sift(&refusals, 20, now), (20, 0, vec![], 0));
        assert!(refusals.may_ask_for_proof(now, Duration::from_secs(5)));
        assert!(!refusals.may_ask_for_proof(now + Duration::from_secs(4), Duration::from_secs(5)));
        for _ in 0..MAX_VAIN_PROOFS {
            assert!(!refusals.is_hopeless());
            refusals.proof_failed();
        }
        assert!(refusals.is_hopeless());
        refusals.taken(&[]);
        assert!(refusals.is_proven() && !refusals.is_hopeless());
    }

    #[test]
    fn the_budget_is_used_up_and_comes_back() {
        let now = Instant::now();
        let refusals = refusals(now);
        assert_eq!(refusals.take_budget(500, now), 500);
        assert_eq!(refusals.take_budget(500, now), 12);
        assert_eq!(refusals.take_budget(1, now), 0);
        let later = now + Duration::from_secs(2);
        assert_eq!(refusals.take_budget(100, later), 40);
        refusals.overdraw_budget();
        assert_eq!(refusals.take_budget(1, later), 0);
    }
}
