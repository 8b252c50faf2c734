//! Memory that one answer may take while it is read into the few fields that matter.
//!
//! `{}` is two bytes in JSON and hundreds in memory. Lists and maps of answers are read with [`list`] and [`map`], which
//! charge every element, as it comes, to what [`within`] has given; the first that is too much ends the reading. The
//! count is the thread's own: one answer is read at a time, and the readers that serde makes carry nothing along.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// For one answer, its texts apart, which are no longer than the answer.
pub(in crate::discovery) const ANSWER_BYTES: usize = 32 << 20;

/// For one event of a watch.
pub(in crate::discovery) const EVENT_BYTES: usize = 8 << 20;

/// What an entry of a map takes beside its key and value, and what the allocator adds to a text.
const ENTRY_BYTES: usize = 64;

thread_local! {
    static LEFT_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Runs `read`, in which lists and maps may take so much.
pub(in crate::discovery) fn within<T>(n_bytes: usize, read: impl FnOnce() -> T) -> T {
    LEFT_BYTES.set(n_bytes);
    let out = read();
    LEFT_BYTES.set(0);
    out
}

fn charge<E: Error>(n_bytes: usize) -> Result<(), E> {
    match LEFT_BYTES.get().checked_sub(n_bytes) {
        Some(left) => {
            LEFT_BYTES.set(left);
            Ok(())
        }
        None => Err(E::custom(format_args!(
            "the answer has too many values: they would take more than {ANSWER_BYTES} bytes, the most of one answer"
        ))),
    }
}

/// For `deserialize_with`: a list; empty in place of `null`, as Go has it.
pub(in crate::discovery) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(ListVisitor(PhantomData))
}

/// For `deserialize_with`: a map; empty in place of `null`.
pub(in crate::discovery) fn map<'de, T, D>(deserializer: D) -> Result<BTreeMap<String, T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(MapVisitor(PhantomData))
}

/// A list that is the whole answer, or a value of a map.
#[derive(Debug)]
pub(in crate::discovery) struct List<T>(pub(in crate::discovery) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        list(deserializer).map(Self)
    }
}

/// A map that is the whole answer.
#[derive(Debug)]
pub(in crate::discovery) struct Map<T>(pub(in crate::discovery) BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        map(deserializer).map(Self)
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            // A list that grows has room for as many again.
            charge(2 * size_of::<T>() + ENTRY_BYTES)?;
            list.push(item);
        }
        Ok(list)
    }
}

struct MapVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for MapVisitor<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_unit<E>(self) -> Result<BTreeMap<String, T>, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<BTreeMap<String, T>, A::Error> {
        let mut map = BTreeMap::new();
        while let Some((key, value)) = entries.next_entry::<String, T>()? {
            charge(2 * size_of::<(String, T)>() + 2 * ENTRY_BYTES)?;
            map.insert(key, value);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::{List, Map, within};

    #[test]
    fn what_is_too_much_ends_the_reading() {
        let numbers = |text: &str| within(1000, || serde_json::from_str::<List<[u64; 4]>>(text));
        assert!(numbers("null").is_ok_and(|list| list.0.is_empty()));
        let some = |n: usize| format!("[{}]", vec!["[1,2,3,4]"; n].join(","));
        assert!(numbers(&some(7)).is_ok_and(|list| list.0.len() == 7));
        let error = numbers(&some(8)).expect_err("too many").to_string();
        assert!(error.starts_with("the answer has too many values"), "{error}");
        let texts = |text: &str| within(300, || serde_json::from_str::<Map<String>>(text));
        assert!(texts(r#"{"a": "1"}"#).is_ok() && texts(r#"{"a": "1", "b": "2"}"#).is_err());
    }
}
