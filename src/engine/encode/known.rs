//! Labels that a request holds already, found by the numbers of their texts in the series table.
//!
//! A label stands in many series of a request. The first time it is encoded from its texts; from then on its bytes are
//! copied: no text is looked up, hashed or compared. A label that finds no slot is encoded again, and nothing else.

use std::ops::Range;

/// Slots: 32 KiB, some times the labels of an ordinary request.
const SLOTS: usize = 2048;

/// A label has its place in one of this many slots.
const WAYS: usize = 2;

/// What a label is known by: its numbers in a series table, of whose numbers only one edition is in use at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelKey {
    /// Number of the name.
    pub name: u32,
    /// Number of the value.
    pub value: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: LabelKey,
    /// Place in `encoded`; empty if the slot is.
    start: u32,
    end: u32,
}

/// Encoded labels by key.
#[derive(Debug, Default)]
pub(in crate::encode) struct KnownLabels {
    /// Allocated at first use.
    slots: Vec<Slot>,
    encoded: Vec<u8>,
    edition: u32,
}

impl KnownLabels {
    /// Forgets everything.
    pub(in crate::encode) fn clear(&mut self) {
        self.slots.fill(Slot::default());
        self.encoded.clear();
    }

    /// From now on keys have the numbers of this edition.
    #[inline]
    pub(in crate::encode) fn set_edition(&mut self, edition: u32) {
        if self.edition != edition {
            self.edition = edition;
            self.clear();
        }
    }

    /// A label's bytes.
    #[inline]
    pub(in crate::encode) fn get(&self, key: LabelKey) -> Option<&[u8]> {
        let slots = self.slots.get(ways(key))?;
        let slot = slots.iter().find(|slot| slot.key == key && slot.end > slot.start)?;
        self.encoded.get(slot.start as usize..slot.end as usize)
    }

    /// Remembers a label's bytes; another label may be forgotten for it.
    pub(in crate::encode) fn insert(&mut self, key: LabelKey, label: &[u8]) {
        self.slots.resize(SLOTS, Slot::default());
        let start = self.encoded.len();
        let Ok(end) = u32::try_from(start + label.len()) else { return };
        self.encoded.extend_from_slice(label);
        let Some(slots) = self.slots.get_mut(ways(key)) else { return };
        // The one used first goes first.
        slots.rotate_right(1);
        if let Some(slot) = slots.first_mut() {
            *slot = Slot { key, start: start as u32, end };
        }
    }
}

/// The slots a label may be in. Numbers are given in order of appearance, no one chooses them.
fn ways(key: LabelKey) -> Range<usize> {
    let mixed = (key.value ^ key.name.rotate_left(16)).wrapping_mul(0x9e37_79b9);
    let first = (mixed >> (u32::BITS - (SLOTS / WAYS).trailing_zeros())) as usize * WAYS;
    first..first + WAYS
}

#[cfg(test)]
mod tests {
    use super::{KnownLabels, LabelKey, SLOTS};

    #[test]
    fn a_label_is_found_as_it_was_or_not_at_all() {
        let mut known = KnownLabels::default();
        let key = |idx: u32| LabelKey { name: idx % 7, value: idx };
        let bytes = |idx: u32| idx.to_be_bytes();
        assert_eq!(known.get(key(0)), None);
        for idx in 0..4 * SLOTS as u32 {
            known.insert(key(idx), &bytes(idx));
            assert_eq!(known.get(key(idx)), Some(bytes(idx).as_slice()));
        }
        let found: Vec<u32> = (0..4 * SLOTS as u32).filter(|idx| known.get(key(*idx)).is_some()).collect();
        assert!(found.len() > SLOTS / 2 && found.len() <= SLOTS, "{}", found.len());
        assert!(found.iter().all(|idx| known.get(key(*idx)) == Some(bytes(*idx).as_slice())));
        known.set_edition(1);
        assert!(found.iter().all(|idx| known.get(key(*idx)).is_none()));
    }
}
