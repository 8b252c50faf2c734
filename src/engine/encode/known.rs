//! Where labels stand in a request, by the numbers of their texts in the series table or by the texts themselves.
//!
//! A label stands in many series of a request. The first time it is encoded from its texts; from then on it is repeated from
//! where it stood last: no text is looked up, hashed or compared. A label that finds no slot is encoded again, and nothing
//! else.

use std::ops::Range;

/// Slots: 32 KiB, some times the labels of an ordinary request.
const SLOTS: usize = 2048;

/// A label has its place in one of this many slots.
const WAYS: usize = 2;

/// What a label is known by: two numbers of texts, or a hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelKey(u64);

impl LabelKey {
    /// By the numbers of name and value in a series table, of whose numbers only one edition is in use at a time.
    pub fn numbered(name: u32, value: u32) -> Self {
        Self(u64::from(name) << u32::BITS | u64::from(value))
    }

    /// By a hash of its texts: another label may have the same.
    pub(in crate::encode) fn hashed(hash: u64) -> Self {
        Self(hash)
    }
}

/// A place in a request, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::encode) struct Place {
    pub(in crate::encode) start: u32,
    pub(in crate::encode) len: u32,
}

impl Place {
    /// Of so many bytes at `start`; `None` behind 4 GiB.
    pub(in crate::encode) fn new(start: usize, len: usize) -> Option<Self> {
        Some(Self { start: u32::try_from(start).ok()?, len: u32::try_from(len).ok()? })
    }

    /// As a range of the bytes.
    pub(in crate::encode) fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: LabelKey,
    /// Without a length the slot is empty.
    place: Place,
}

/// Places of labels by key.
#[derive(Debug, Default)]
pub(in crate::encode) struct KnownLabels {
    /// Allocated at first use.
    slots: Vec<Slot>,
    edition: u32,
}

impl KnownLabels {
    /// Forgets everything.
    pub(in crate::encode) fn clear(&mut self) {
        self.slots.fill(Slot::default());
    }

    /// From now on keys have the numbers of this edition; true if they had others.
    #[inline]
    pub(in crate::encode) fn set_edition(&mut self, edition: u32) -> bool {
        let is_new = self.edition != edition;
        if is_new {
            self.edition = edition;
            self.clear();
        }
        is_new
    }

    /// Where a label stood last.
    #[inline]
    pub(in crate::encode) fn get(&self, key: LabelKey) -> Option<Place> {
        let slots = self.slots.get(ways(key))?;
        slots.iter().find(|slot| slot.key == key && slot.place.len > 0).map(|slot| slot.place)
    }

    /// Remembers where a label stands; another one may be forgotten for it.
    #[inline]
    pub(in crate::encode) fn set(&mut self, key: LabelKey, place: Place) {
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, Slot::default());
        }
        let Some(slots) = self.slots.get_mut(ways(key)) else { return };
        if let Some(slot) = slots.iter_mut().find(|slot| slot.key == key) {
            slot.place = place;
            return;
        }
        // The one used first goes first.
        slots.rotate_right(1);
        if let Some(slot) = slots.first_mut() {
            *slot = Slot { key, place };
        }
    }
}

/// The slots a label may be in. Numbers are given in order of appearance, and hashes are seeded: no one chooses them.
#[inline]
fn ways(LabelKey(key): LabelKey) -> Range<usize> {
    let mixed = (key ^ key >> 16).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let first = (mixed >> (u64::BITS - (SLOTS / WAYS).trailing_zeros())) as usize * WAYS;
    first..first + WAYS
}

#[cfg(test)]
mod tests {
    use super::{KnownLabels, LabelKey, Place, SLOTS};

    #[test]
    fn a_label_is_found_where_it_stood_last_or_not_at_all() {
        let mut known = KnownLabels::default();
        let key = |idx: u32| LabelKey::numbered(idx % 7, idx);
        let place = |idx: u32| Place { start: idx * 10, len: 1 + idx % 5 };
        assert_eq!(known.get(key(0)), None);
        for idx in 0..4 * SLOTS as u32 {
            known.set(key(idx), Place { start: 0, len: 1 });
            known.set(key(idx), place(idx));
            assert_eq!(known.get(key(idx)), Some(place(idx)));
        }
        let found: Vec<u32> = (0..4 * SLOTS as u32).filter(|idx| known.get(key(*idx)).is_some()).collect();
        assert!(found.len() > SLOTS / 2 && found.len() <= SLOTS, "{}", found.len());
        assert!(found.iter().all(|idx| known.get(key(*idx)) == Some(place(*idx))));
        assert!(known.set_edition(1) && !known.set_edition(1));
        assert!(found.iter().all(|idx| known.get(key(*idx)).is_none()));
    }
}
