//! `SeriesTable` against a map, and what happens at its edges.

use super::*;
use crate::series::table::compaction::{Compacted, Compaction};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

fn labels(pairs: &[(&str, &str)]) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new();
    for (name, value) in pairs {
        labels.set(name, value);
    }
    labels
}

fn numbered(number: u32) -> LabelsBuilder {
    labels(&[("__name__", "m"), ("n", &number.to_string())])
}

fn by_number(number: u32) -> SeriesRef {
    SeriesRef(NonZeroU32::new(number).unwrap())
}

/// What a table must know.
#[derive(Default)]
struct Model {
    by_labels: HashMap<Labels, SeriesHandle>,
    last_ts_ms: HashMap<SeriesHandle, i64>,
    /// Handles of removed series.
    stale: Vec<SeriesHandle>,
}

#[derive(Clone, Debug)]
enum Op {
    GetOrCreate(u32),
    Insert(u32, u32),
    Remove(usize),
    RemoveStale(usize),
    SetTimestamp(usize, i64),
    RestartOrderCheck,
    Compact,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0u32..40).prop_map(Op::GetOrCreate),
        3 => (1u32..60, 0u32..40).prop_map(|(number, labels)| Op::Insert(number, labels)),
        1 => (prop_oneof![Just(4096u32), Just(4097), Just(20_000)], 0u32..40)
            .prop_map(|(number, labels)| Op::Insert(number, labels)),
        6 => any::<usize>().prop_map(Op::Remove),
        2 => any::<usize>().prop_map(Op::RemoveStale),
        3 => (any::<usize>(), any::<i64>()).prop_map(|(which, ts_ms)| Op::SetTimestamp(which, ts_ms)),
        1 => Just(Op::RestartOrderCheck),
        1 => Just(Op::Compact),
    ]
}

/// Values are long, so that removals make most of the symbols dead.
fn model_labels(number: u32) -> LabelsBuilder {
    let value = format!("{number}-{}", "v".repeat(4000));
    labels(&[("__name__", "m"), ("shared", "x"), ("value", &value), (&format!("name_{}", number % 7), "y")])
}

impl Model {
    fn nth(&self, which: usize) -> Option<(Labels, SeriesHandle)> {
        let mut known: Vec<_> = self.by_labels.iter().collect();
        known.sort();
        let (labels, handle) = *known.get(which.checked_rem(known.len())?)?;
        Some((labels.clone(), *handle))
    }

    fn apply(&mut self, table: &mut SeriesTable, op: &Op) {
        match *op {
            Op::GetOrCreate(number) => {
                let labels = model_labels(number);
                let known = self.by_labels.get(&labels.labels()).copied();
                assert_eq!(table.get(&labels), known);
                let lookup = table.get_or_create(&labels).unwrap();
                assert_eq!(lookup.created, known.is_none());
                match known {
                    Some(handle) => assert_eq!(lookup.handle, handle),
                    None => self.learn(labels.labels(), lookup.handle),
                }
            }
            Op::Insert(number, label_number) => {
                let labels = model_labels(label_number);
                let series_ref = by_number(number);
                let owner = self.by_labels.iter().find(|(_, it)| it.series_ref == series_ref);
                let known = self.by_labels.get(&labels.labels()).copied();
                let inserted = table.insert(series_ref, &labels);
                match (owner.map(|(labels, _)| labels.clone()), known) {
                    (Some(owner), _) if owner == labels.labels() => assert_eq!(inserted, known),
                    (Some(_), _) | (None, Some(_)) => assert_eq!(inserted, None),
                    (None, None) => self.learn(labels.labels(), inserted.unwrap()),
                }
            }
            Op::Remove(which) => {
                let Some((labels, handle)) = self.nth(which) else { return };
                table.remove(handle);
                self.by_labels.remove(&labels);
                self.last_ts_ms.remove(&handle);
                self.stale.push(handle);
            }
            Op::RemoveStale(which) => {
                let Some(idx) = which.checked_rem(self.stale.len()) else { return };
                table.remove(self.stale[idx]);
            }
            Op::SetTimestamp(which, ts_ms) => {
                let Some((_, handle)) = self.nth(which) else { return };
                table.state_mut(handle).unwrap().last_ts_ms = ts_ms;
                self.last_ts_ms.insert(handle, ts_ms);
            }
            Op::RestartOrderCheck => {
                table.restart_order_check();
                self.last_ts_ms.clear();
            }
            Op::Compact => table.compact_symbols(),
        }
    }

    fn learn(&mut self, labels: Labels, handle: SeriesHandle) {
        assert!(!self.stale.contains(&handle), "{handle:?} was a series before");
        assert!(self.by_labels.values().all(|it| it.series_ref != handle.series_ref), "{handle:?} is taken");
        self.by_labels.insert(labels, handle);
    }

    fn check(&self, table: &mut SeriesTable) {
        assert_eq!(table.len(), self.by_labels.len());
        let mut out = LabelsBuilder::new();
        for (labels, handle) in &self.by_labels {
            assert_eq!(table.labels(handle.series_ref).as_ref(), Some(labels));
            assert!(table.labels_into(handle.series_ref, &mut out));
            assert_eq!(&out.labels(), labels);
            assert_eq!(table.get(&out), Some(*handle));
            assert_eq!(table.handle(handle.series_ref), Some(*handle));
            let last_ts_ms = self.last_ts_ms.get(handle).copied().unwrap_or(i64::MIN);
            assert_eq!(table.state(*handle).unwrap().last_ts_ms, last_ts_ms);
        }
        for handle in &self.stale {
            assert_eq!(table.state_mut(*handle), None);
        }
        let mut sliced = Vec::new();
        loop {
            let after = sliced.last().map(|it: &SeriesHandle| it.series_ref);
            let slice = table.slice(after, 3);
            sliced.extend(slice.iter().map(|(handle, _)| *handle));
            if slice.len() < 3 {
                break;
            }
        }
        let mut handles: Vec<SeriesHandle> = self.by_labels.values().copied().collect();
        handles.sort_by_key(|it| it.series_ref);
        assert_eq!(sliced, handles);
    }
}

proptest! {
    #![proptest_config(crate::cases::cases(64))]

    /// Whatever is done to a table, it knows what a map would know, and no stale handle opens anything.
    #[test]
    fn behaves_as_a_map(ops in proptest::collection::vec(op(), 0..120)) {
        let mut table = SeriesTable::new();
        let mut model = Model::default();
        for op in &ops {
            model.apply(&mut table, op);
        }
        model.check(&mut table);
        table.compact_symbols();
        model.check(&mut table);
    }
}

#[test]
fn a_slot_is_reused_at_once_with_another_generation() {
    let mut table = SeriesTable::new();
    let first = table.get_or_create(&numbered(1)).unwrap().handle;
    table.state_mut(first).unwrap().last_ts_ms = 7;
    table.remove(first);
    let second = table.get_or_create(&numbered(2)).unwrap().handle;
    assert_eq!(first.series_ref, second.series_ref);
    assert_ne!(first.generation, second.generation);
    assert_eq!(table.state_mut(first), None);
    assert_eq!(table.state(second).unwrap().last_ts_ms, i64::MIN);
    table.remove(first);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_slot_whose_generations_are_used_up_is_retired() {
    let mut table = SeriesTable::new();
    let mut first_refs = 0;
    for number in 0..=u32::from(u16::MAX) + 5 {
        let handle = table.get_or_create(&numbered(number % 3)).unwrap().handle;
        first_refs += u32::from(handle.series_ref == by_number(1));
        table.remove(handle);
    }
    assert_eq!(first_refs, u32::from(u16::MAX) + 1);
    assert_eq!(table.insert(by_number(1), &numbered(1)), None);
    assert_eq!(table.get_or_create(&numbered(1)).unwrap().handle.series_ref, by_number(2));
}

#[test]
fn replayed_refs_leave_gaps_that_are_filled() {
    let mut table = SeriesTable::new();
    for number in [5, 1, 4097, u32::MAX] {
        assert!(table.insert(by_number(number), &numbered(number)).is_some());
    }
    let fresh: Vec<u32> =
        (100..105).map(|it| table.get_or_create(&numbered(it)).unwrap().handle.series_ref.0.get()).collect();
    assert_eq!(fresh, [2, 3, 4, 6, 7]);
    assert_eq!(table.labels(by_number(u32::MAX)), Some(numbered(u32::MAX).labels()));
    let all: Vec<u32> = table.slice(None, 100).iter().map(|(it, _)| it.series_ref.0.get()).collect();
    assert_eq!(all, [1, 2, 3, 4, 5, 6, 7, 4097, u32::MAX]);
    assert_eq!(table.slice(Some(by_number(u32::MAX)), 100), []);
}

#[test]
fn removed_series_give_their_memory_back() {
    let mut table = SeriesTable::new();
    let fill = |table: &mut SeriesTable, first: u32| -> Vec<SeriesHandle> {
        (first..first + 20_000)
            .map(|it| {
                let pod = format!("a-rather-long-name-of-a-pod-that-lives-shortly-{it}");
                table.get_or_create(&labels(&[("__name__", "m"), ("pod", &pod)])).unwrap().handle
            })
            .collect()
    };
    let mut handles = fill(&mut table, 0);
    let once = table.memory_bytes();
    for round in 1..6 {
        for handle in handles {
            table.remove(handle);
        }
        table.compact_symbols();
        handles = fill(&mut table, round * 20_000);
    }
    assert!(table.memory_bytes() < once + once / 4, "{} after churn, {once} before", table.memory_bytes());
    assert_eq!(table.len(), 20_000);
}

#[test]
fn a_label_set_of_thousands_of_labels() {
    let mut table = SeriesTable::new();
    let mut wide = LabelsBuilder::new();
    for idx in 0..20_000 {
        wide.set(&format!("name_{idx:05}"), &format!("value_{idx}"));
    }
    let handle = table.get_or_create(&wide).unwrap().handle;
    table.get_or_create(&numbered(1)).unwrap();
    assert_eq!(table.labels(handle.series_ref), Some(wide.labels()));
    assert_eq!(table.get(&LabelsBuilder::new()), None);
}

#[test]
fn handles_of_a_provisional_table_are_stale_in_the_one_that_replaces_it() {
    let mut provisional = SeriesTable::provisional();
    let mut table = SeriesTable::new();
    for number in 1..=5000 {
        let before = provisional.get_or_create(&numbered(number)).unwrap().handle;
        assert!(provisional.state(before).is_some());
        let after = table.get_or_create(&numbered(number)).unwrap().handle;
        assert_eq!(before.series_ref, after.series_ref);
        assert!(table.state(before).is_none() && provisional.state(after).is_none());
    }
    let first = provisional.handle(by_number(1)).unwrap();
    provisional.remove(first);
    let again = provisional.get_or_create(&numbered(1)).unwrap().handle;
    assert!(table.state(again).is_none());
}

/// The labels of series `number`, of which each has a text of its own.
fn with_text(number: usize) -> LabelsBuilder {
    let mut labels = LabelsBuilder::new();
    labels.set("__name__", "text");
    labels.set("own", &format!("{number}-{}", "x".repeat(number % 50)));
    labels.set("shared", ["a", "b", "c"][number % 3]);
    labels
}

#[test]
fn a_table_is_used_between_the_slices_of_a_compaction() {
    let mut table = SeriesTable::new();
    let mut live: BTreeMap<usize, SeriesHandle> = BTreeMap::new();
    let create = |table: &mut SeriesTable, live: &mut BTreeMap<usize, SeriesHandle>, number: usize| {
        let lookup = table.get_or_create(&with_text(number)).unwrap();
        assert_eq!(lookup.created, !live.contains_key(&number), "{number}");
        live.insert(number, lookup.handle);
        table.set_metadata(lookup.handle.series_ref, MetricType::Gauge, "", &format!("help of {number}"));
    };
    (0..30_000).for_each(|number| create(&mut table, &mut live, number));
    for number in (0..30_000).filter(|number| number % 10 > 0) {
        assert!(table.remove(live.remove(&number).unwrap()));
    }
    let before = table.symbols_bytes();
    let mut compaction = Compaction::default();
    let (mut n_slices, mut n_rest) = (0, 0);
    loop {
        match table.compact_slice(&mut compaction) {
            Compacted::All => break,
            Compacted::Rest(_) => n_rest += 1,
            Compacted::Part => {}
        }
        n_slices += 1;
        // One that was there, one that was and is not, one that was never there; in all parts of the table.
        for number in [n_slices * 1010, n_slices * 997 + 1, 30_000 + n_slices] {
            create(&mut table, &mut live, number);
        }
        if let Some(handle) = live.remove(&(n_slices * 500)) {
            assert!(table.remove(handle));
        }
        for (number, handle) in live.iter().skip(n_slices % 7).step_by(7) {
            let series_ref = handle.series_ref;
            assert!(table.label_pairs(series_ref).unwrap().eq(with_text(*number).iter()), "{number}");
            assert_eq!(table.get(&with_text(*number)), Some(*handle));
            let help = format!("help of {number}");
            assert_eq!(table.metadata(series_ref), Some((MetricType::Gauge, "", help.as_str())));
        }
    }
    assert_eq!(n_rest, 1);
    // Eight chunks are looked at and moved, each for itself.
    assert!(n_slices > 16, "{n_slices}");
    assert!(table.symbols_bytes() < before / 3, "{} of {before}", table.symbols_bytes());
}

#[test]
fn a_pinned_series_is_not_removed() {
    let mut table = SeriesTable::new();
    let handle = table.get_or_create(&numbered(1)).unwrap().handle;
    assert!(table.pin(handle) && table.pin(handle));
    for _ in 0..2 {
        assert!(!table.remove(handle));
        table.unpin(handle);
    }
    assert!(table.remove(handle) && !table.pin(handle));
    table.unpin(handle);
}
