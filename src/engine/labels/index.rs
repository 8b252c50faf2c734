//! A hash index of numbers whose keys live elsewhere: symbols by their text, series by their labels.
//!
//! The numbers are spread over shards, so that growing moves a small part of them at a time: neither the memory nor
//! the time of one insertion doubles with the table. Owned by a table and used by the holder of that table.

use hashbrown::HashTable;

/// Enough that growing one shard of a million numbers moves 16 thousand of them, not all; few enough that empty
/// shards weigh nothing.
const N_SHARDS: usize = 64;

/// The shard is chosen by the top bits of the hash, the place in it by the lower ones.
const SHARD_SHIFT: u32 = u32::BITS - N_SHARDS.ilog2();

/// Numbers found by a 32-bit hash and a comparison.
#[derive(Debug)]
pub(crate) struct NumberIndex {
    shards: Box<[HashTable<u32>]>,
}

impl Default for NumberIndex {
    fn default() -> Self {
        Self { shards: (0..N_SHARDS).map(|_| HashTable::new()).collect() }
    }
}

impl NumberIndex {
    /// The number with this hash for which `is_equal` holds.
    pub(crate) fn find(&self, hash: u32, mut is_equal: impl FnMut(u32) -> bool) -> Option<u32> {
        self.shards[shard_idx(hash)].find(spread(hash), |it| is_equal(*it)).copied()
    }

    /// Adds a number that is not there yet; `hash_of` is asked for the hashes of others when the shard grows.
    pub(crate) fn insert(&mut self, hash: u32, number: u32, hash_of: impl Fn(u32) -> u32) {
        self.shards[shard_idx(hash)].insert_unique(spread(hash), number, |it| spread(hash_of(*it)));
    }

    /// Removes a number.
    pub(crate) fn remove(&mut self, hash: u32, number: u32) {
        if let Ok(entry) = self.shards[shard_idx(hash)].find_entry(spread(hash), |it| *it == number) {
            entry.remove();
        }
    }

    /// Gives memory of one shard back after many removals; false behind the last one.
    pub(crate) fn shrink(&mut self, shard_idx: usize, hash_of: impl Fn(u32) -> u32) -> bool {
        let Some(shard) = self.shards.get_mut(shard_idx) else { return false };
        if shard.len() < shard.capacity() / 4 {
            shard.shrink_to_fit(|it| spread(hash_of(*it)));
        }
        true
    }

    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.shards.iter().map(|it| size_of_val(it) + it.allocation_size()).sum()
    }
}

fn shard_idx(hash: u32) -> usize {
    (hash >> SHARD_SHIFT) as usize
}

/// The map takes a tag from the top bits and a place from the low ones; both have to depend on a 32-bit hash whose
/// top bits are the same in a whole shard.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
