//! What series cost, added up by job, by metric, by label and by its value; of the largest ones the names.
//!
//! Labels are known by a hash while they are counted, so that 40 bytes are kept of each, however long it is.

use foldhash::quality::RandomState;
use scraped_engine::labels::METRIC_NAME;
use scraped_engine::sorting::{sort_by, sort_by_key};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// Rows of each table.
pub(super) const MAX_ROWS: usize = 20;
/// Labels that are counted. What comes behind them is counted by job and metric alone.
const MAX_TALLIES: usize = 200_000;

/// What a table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Job,
    Metric,
    LabelValue,
    /// Whatever its value.
    Label,
}

/// What some series cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// Those that are there now.
    pub(super) n_series: usize,
    /// Those that came in the last hour.
    pub(super) n_new: usize,
    /// Samples, native histograms by their size.
    pub(super) weight: u64,
}

impl Sum {
    pub(super) fn add(&mut self, other: Self) {
        self.n_series += other.n_series;
        self.n_new += other.n_new;
        self.weight += other.weight;
    }
}

/// What all series with a label cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Empty for [`Kind::Label`].
    pub(super) value: String,
    /// How many values a [`Kind::Label`] has.
    pub(super) n_values: usize,
    pub(super) sum: Sum,
}

struct Tally {
    kind: Kind,
    n_values: usize,
    sum: Sum,
}

/// Sums by label. First every series is added, then the largest are named.
#[derive(Default)]
pub(super) struct Tallies {
    hasher: RandomState,
    by_label: HashMap<u64, Tally, RandomState>,
    /// Labels that found no room.
    pub(super) n_uncounted: usize,
}

impl Tallies {
    /// Adds one of a series' labels, and what the series costs.
    pub(super) fn add(&mut self, name: &str, value: &str, sum: Sum) {
        let (of_value, kind) = (self.hasher.hash_one((name, value)), kind_of(name));
        let is_first = !self.by_label.contains_key(&of_value);
        if is_first && kind == Kind::LabelValue && self.by_label.len() >= MAX_TALLIES {
            self.n_uncounted += 1;
            return;
        }
        self.add_to(of_value, kind, 0, sum);
        if kind == Kind::LabelValue {
            self.add_to(self.hasher.hash_one(name), Kind::Label, usize::from(is_first), sum);
        }
    }

    fn add_to(&mut self, key: u64, kind: Kind, n_values: usize, sum: Sum) {
        let tally = self.by_label.entry(key).or_insert(Tally { kind, n_values: 0, sum: Sum::default() });
        tally.n_values += n_values;
        tally.sum.add(sum);
    }

    /// The largest of each kind, to be named.
    pub(super) fn largest(&self) -> Largest<'_> {
        let mut unnamed = HashMap::default();
        for kind in [Kind::Job, Kind::Metric, Kind::LabelValue, Kind::Label] {
            let of_kind = self.by_label.iter().filter(|(_, tally)| tally.kind == kind);
            let mut keys: Vec<(u64, usize, u64)> =
                of_kind.map(|(key, tally)| (tally.sum.weight, tally.n_values, *key)).collect();
            sort_by_key(&mut keys, |(weight, n_values, _)| Reverse((*n_values, *weight)));
            unnamed.extend(keys.iter().take(MAX_ROWS).map(|(.., key)| (*key, ())));
        }
        Largest { tallies: self, unnamed, costs: Vec::new() }
    }
}

/// The largest of each kind, while their names are looked for.
pub(super) struct Largest<'a> {
    tallies: &'a Tallies,
    unnamed: HashMap<u64, (), RandomState>,
    costs: Vec<Cost>,
}

impl Largest<'_> {
    /// Takes the names of a label that is one of them.
    pub(super) fn name(&mut self, name: &str, value: &str) {
        let hasher = &self.tallies.hasher;
        for (key, value) in [(hasher.hash_one((name, value)), value), (hasher.hash_one(name), "")] {
            if let Some(((), tally)) = self.unnamed.remove(&key).zip(self.tallies.by_label.get(&key)) {
                let Tally { kind, n_values, sum } = *tally;
                self.costs.push(Cost { kind, name: name.to_owned(), value: value.to_owned(), n_values, sum });
            }
        }
    }

    /// The costs, the largest of each kind first; labels by the number of their values.
    pub(super) fn costs(mut self) -> Vec<Cost> {
        sort_by(&mut self.costs, |a, b| {
            let key = |it: &Cost| Reverse((it.n_values, it.sum.weight));
            key(a).cmp(&key(b)).then_with(|| (&a.name, &a.value).cmp(&(&b.name, &b.value)))
        });
        self.costs
    }
}

fn kind_of(name: &str) -> Kind {
    match name {
        "job" => Kind::Job,
        METRIC_NAME => Kind::Metric,
        _ => Kind::LabelValue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_of_each_kind_are_named() {
        let series: Vec<[(&str, String); 4]> = (0..100)
            .map(|idx| {
                let (metric, job) = (if idx < 30 { "small" } else { "large" }, format!("j{}", idx % 2));
                [
                    ("__name__", metric.to_owned()),
                    ("job", job),
                    ("id", idx.to_string()),
                    ("zone", "a".to_owned()),
                ]
            })
            .collect();
        let mut tallies = Tallies::default();
        for (name, value) in series.iter().flatten() {
            tallies.add(name, value, Sum { n_series: 1, n_new: 0, weight: 10 });
        }
        let mut largest = tallies.largest();
        series.iter().flatten().for_each(|(name, value)| largest.name(name, value));
        let costs = largest.costs();
        let of = |kind: Kind| -> Vec<String> {
            let of_kind = costs.iter().filter(|cost| cost.kind == kind);
            of_kind.map(|it| format!("{}={} {} {}", it.name, it.value, it.n_values, it.sum.weight)).collect()
        };
        assert_eq!(of(Kind::Metric), ["__name__=large 0 700", "__name__=small 0 300"]);
        assert_eq!(of(Kind::Job), ["job=j0 0 500", "job=j1 0 500"]);
        assert_eq!(of(Kind::Label), ["id= 100 1000", "zone= 1 1000"]);
        let values = of(Kind::LabelValue);
        assert_eq!((values.len(), values[0].as_str()), (MAX_ROWS, "zone=a 0 1000"));
    }

    #[test]
    fn memory_is_bounded_whatever_labels_there_are() {
        let mut tallies = Tallies::default();
        let sum = Sum { n_series: 1, n_new: 0, weight: 1 };
        for idx in 0..MAX_TALLIES + 5 {
            tallies.add("id", &idx.to_string(), sum);
            tallies.add("job", "a", sum);
        }
        assert!(tallies.by_label.len() <= MAX_TALLIES + 2, "{}", tallies.by_label.len());
        assert!(tallies.n_uncounted > 0);
        let mut largest = tallies.largest();
        largest.name("job", "a");
        assert_eq!(largest.costs()[0].sum.n_series, MAX_TALLIES + 5);
    }
}
