//! Label sets: the owned kind for people and targets, and the scratch kind that relabelling works on.
//!
//! A leaf: it knows no configuration file, no series and no metrics.

pub mod builder;
pub(crate) mod index;
pub(crate) mod packed;
pub mod pattern;
pub mod quote;
pub(crate) mod re2;
pub mod relabel;
pub mod selector;
pub(crate) mod symbols;
pub(crate) mod template;

use crate::labels::quote::Quoted;
use std::fmt;
use xxhash_rust::xxh64::Xxh64;

/// Name of the label that holds a metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Stands behind every name and every value when a label set is hashed; no UTF-8 text contains it.
const HASH_SEPARATOR: [u8; 1] = [0xff];

/// A label set sorted by name, without empty values.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Vec<(Box<str>, Box<str>)>);

impl Labels {
    /// Sorts and keeps the last value of a repeated name; pairs with an empty value are left out.
    pub fn from_pairs<N: Into<Box<str>>, V: Into<Box<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(Box<str>, Box<str>)> =
            pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        // The sort is stable: of equal names the last one given stands last.
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let mut kept: Vec<(Box<str>, Box<str>)> = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match kept.last_mut() {
                Some(last) if last.0 == pair.0 => *last = pair,
                _ => kept.push(pair),
            }
        }
        kept.retain(|(_, value)| !value.is_empty());
        Self(kept)
    }

    /// The value of `name`, or the empty string.
    pub fn get(&self, name: &str) -> &str {
        match self.0.binary_search_by(|(it, _)| (**it).cmp(name)) {
            Ok(idx) => &self.0[idx].1,
            Err(_) => "",
        }
    }

    /// Pairs in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True without labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About what it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        let texts = self.iter().map(|(name, value)| name.len() + value.len());
        self.0.capacity() * size_of::<(Box<str>, Box<str>)>() + texts.sum::<usize>()
    }

    /// xxhash64 over name, 0xff, value, 0xff of every label, the same in every process and on every machine
    /// (Prometheus' `labels.StableHash`, `model/labels/sharding.go`).
    pub fn hash(&self) -> u64 {
        hash_pairs(self.iter())
    }
}

/// [`Labels::hash`] of pairs in order of name.
pub(crate) fn hash_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut hasher = Xxh64::new(0);
    for (name, value) in pairs {
        hasher.update(name.as_bytes());
        hasher.update(&HASH_SEPARATOR);
        hasher.update(value.as_bytes());
        hasher.update(&HASH_SEPARATOR);
    }
    hasher.digest()
}

/// As Prometheus prints a label set: `{a="b", "not.legacy"="c"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_pairs(f, self.iter())
    }
}

/// Prints pairs in order of name as [`Labels`] does.
pub(crate) fn write_pairs<'a>(
    f: &mut fmt::Formatter<'_>,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> fmt::Result {
    f.write_str("{")?;
    for (idx, (name, value)) in pairs.enumerate() {
        if idx > 0 {
            f.write_str(", ")?;
        }
        if is_legacy_label_name(name) {
            f.write_str(name)?;
        } else {
            write!(f, "{}", Quoted(name))?;
        }
        write!(f, "={}", Quoted(value))?;
    }
    f.write_str("}")
}

/// True for `[a-zA-Z_][a-zA-Z0-9_]*`, the names that are printed without quotes
/// (`model.LegacyValidation.IsValidLabelName`).
pub fn is_legacy_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|it| it.is_ascii_alphabetic() || it == b'_')
        && bytes.all(|it| it.is_ascii_alphanumeric() || it == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn hash_is_prometheus_stable_hash() {
        let check = |pairs: &[(&str, &str)], want: u64| assert_eq!(labels(pairs).hash(), want, "{pairs:?}");
        // From prometheus/prometheus model/labels/sharding_test.go.
        check(&[], 0xef46_db37_51d8_e999);
        check(&[("hello", "world")], 0x347c_8ee7_a9e2_9708);
        check(&[("__name__", "metric"), ("label", "value")], 0xcbab_4054_0f26_097d);
    }

    #[test]
    fn prints_as_prometheus() {
        let check = |pairs: &[(&str, &str)], want: &str| assert_eq!(labels(pairs).to_string(), want);
        // From prometheus/prometheus model/labels/labels_test.go.
        check(&[("t1", "t1"), ("t2", "t2")], r#"{t1="t1", t2="t2"}"#);
        check(&[], "{}");
        check(
            &[("service.name", "t1"), (r"whatever\whatever", "t2")],
            r#"{"service.name"="t1", "whatever\\whatever"="t2"}"#,
        );
        check(
            &[("__name__", "up"), (" namespace", "obs"), (" container", "prom")],
            r#"{" container"="prom", " namespace"="obs", __name__="up"}"#,
        );
        check(&[("0a", "x"), ("a:b", "y"), ("_", "z")], r#"{"0a"="x", _="z", "a:b"="y"}"#);
    }

    #[test]
    fn from_pairs_sorts_and_the_last_of_a_name_wins() {
        let set = labels(&[("b", "1"), ("a", "2"), ("b", "3"), ("c", "4"), ("c", "")]);
        assert_eq!(set, labels(&[("a", "2"), ("b", "3")]));
        assert_eq!((set.get("a"), set.get("b"), set.get("c"), set.len()), ("2", "3", "", 2));
    }
}
