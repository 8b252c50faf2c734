//! Symbols without the texts of series that are gone, made slice by slice while the table is used.
//!
//! First it is looked how much is dead. If that is more than half, labels move chunk by chunk into a new table of symbols;
//! until all have moved there are two, and a slot's chunk says which one its numbers are of.

use crate::labels::packed;
use crate::labels::symbols::{Symbol, SymbolTable};
use crate::series::slots::chunk_of;
use crate::series::table::{SeriesTable, hash_at, series_ref};
use std::ops::Range;

/// Below this much text symbols never move: there is nothing to gain.
const MIN_TEXT_BYTES: usize = 64 * 1024;

/// No new number yet.
const NOT_MOVED: Symbol = Symbol(u32::MAX);

/// How far a compaction is; see [`SeriesTable::compact_slice`].
#[derive(Debug, Default)]
pub struct Compaction {
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Begin,
    /// Counts the text that chunks before this one use.
    Look {
        chunk_idx: usize,
        is_live: Vec<bool>,
        live_bytes: usize,
        text_bytes: usize,
    },
    Move,
    /// Shards of the index before this one have given memory back.
    Shrink {
        shard_idx: usize,
    },
}

/// What came of a slice.
#[derive(Debug)]
pub enum Compacted {
    /// There is more to do.
    Part,
    /// There is more to do, and this is of no use any more. Giving back that much memory takes its time: drop it without
    /// the lock.
    Rest(Moving),
    /// That was all.
    All,
}

/// Labels on their way to new symbols.
#[derive(Debug)]
pub struct Moving {
    /// Those before.
    symbols: SymbolTable,
    edition: u32,
    /// New numbers by old ones, as far as they are known.
    renumbered: Vec<Symbol>,
    /// Chunks whose labels have the old numbers.
    ahead: Range<usize>,
}

impl Moving {
    pub(super) fn is_ahead(&self, slot_idx: u32) -> bool {
        self.ahead.contains(&chunk_of(slot_idx))
    }

    pub(super) fn symbols(&self) -> &SymbolTable {
        &self.symbols
    }

    pub(super) fn symbols_mut(&mut self) -> &mut SymbolTable {
        &mut self.symbols
    }

    pub(super) fn edition(&self) -> u32 {
        self.edition
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.symbols.memory_bytes() + self.renumbered.capacity() * size_of::<Symbol>()
    }
}

impl SeriesTable {
    /// One slice of making the symbols again without dead text, if more than half is dead: some thousand series. Between
    /// two slices the table may be used.
    pub fn compact_slice(&mut self, compaction: &mut Compaction) -> Compacted {
        match &mut compaction.stage {
            // The one before could not go on.
            Stage::Begin if self.moving.is_some() => compaction.stage = Stage::Move,
            Stage::Begin => {
                self.count_bytes();
                let text_bytes = self.symbols.text_bytes();
                // Looking is only worth it when enough series were removed for the answer to be open.
                if text_bytes < MIN_TEXT_BYTES || self.maybe_dead_bytes <= text_bytes / 2 {
                    return Compacted::All;
                }
                self.maybe_dead_bytes = 0;
                let is_live = vec![false; self.symbols.len()];
                compaction.stage = Stage::Look { chunk_idx: 0, is_live, live_bytes: 0, text_bytes };
            }
            Stage::Look { chunk_idx, is_live, live_bytes, .. } if *chunk_idx < self.slots.n_chunks() => {
                *live_bytes += self.find_live(*chunk_idx, is_live);
                *chunk_idx += 1;
            }
            Stage::Look { live_bytes, text_bytes, .. } => {
                let dead_bytes = *text_bytes - *live_bytes;
                if dead_bytes <= *text_bytes / 2 {
                    self.maybe_dead_bytes = self.maybe_dead_bytes.saturating_add(dead_bytes);
                    return Compacted::All;
                }
                let symbols = std::mem::take(&mut self.symbols);
                let renumbered = vec![NOT_MOVED; symbols.len()];
                let ahead = 0..self.slots.n_chunks();
                self.moving = Some(Moving { symbols, edition: self.edition, renumbered, ahead });
                self.edition = self.edition.wrapping_add(1);
                compaction.stage = Stage::Move;
            }
            Stage::Move => match self.moving.take_if(|moving| moving.ahead.is_empty()) {
                Some(moving) => {
                    compaction.stage = Stage::Shrink { shard_idx: 0 };
                    return Compacted::Rest(moving);
                }
                None if self.move_chunk() => {}
                None => return Compacted::All,
            },
            Stage::Shrink { shard_idx } => {
                let Self { index, slots, .. } = self;
                if !index.shrink(*shard_idx, |slot_idx| hash_at(slots, slot_idx)) {
                    self.count_bytes();
                    return Compacted::All;
                }
                *shard_idx += 1;
            }
        }
        Compacted::Part
    }

    /// All of a compaction.
    #[cfg(test)]
    pub(crate) fn compact_symbols(&mut self) {
        let mut compaction = Compaction::default();
        while !matches!(self.compact_slice(&mut compaction), Compacted::All) {}
    }

    /// Bytes of text that a chunk is the first to use.
    fn find_live(&self, chunk_idx: usize, is_live: &mut [bool]) -> usize {
        let mut n_bytes = 0;
        let mut find = |symbol: Symbol| {
            // What has come since the first look is not dead.
            if let Some(is_live @ false) = is_live.get_mut(symbol.0 as usize) {
                *is_live = true;
                n_bytes += self.symbols.text(symbol).len();
            }
        };
        for slot_idx in self.slots.live_in(chunk_idx) {
            for (name, value) in self.slots.pairs(slot_idx).into_iter().flatten() {
                find(name);
                find(value);
            }
            if let Some(metadata) = series_ref(slot_idx).and_then(|it| self.annotations.metadata.get(&it)) {
                find(metadata.unit);
                find(metadata.help);
            }
        }
        n_bytes
    }

    /// Moves one chunk; false if there is no room, which the next compaction tries again.
    fn move_chunk(&mut self) -> bool {
        let Self { slots, symbols: new, moving, annotations, .. } = self;
        let Some(Moving { symbols: old, renumbered, ahead, .. }) = moving else { return true };
        let mut renumber = |symbol: Symbol| {
            let known = renumbered.get_mut(symbol.0 as usize);
            if let Some(known) = known.as_deref().filter(|known| **known != NOT_MOVED) {
                return Some(*known);
            }
            let moved = new.intern(old.text(symbol))?;
            if let Some(known) = known {
                *known = moved;
            }
            Some(moved)
        };
        // Metadata needs its numbers before anything has changed.
        let mut metadata = Vec::new();
        for slot_idx in slots.live_in(ahead.start) {
            let Some(series_ref) = series_ref(slot_idx) else { continue };
            let Some(before) = annotations.metadata.get(&series_ref) else { continue };
            let (Some(unit), Some(help)) = (renumber(before.unit), renumber(before.help)) else {
                return false;
            };
            metadata.push((series_ref, unit, help));
        }
        let is_moved = slots.repack(ahead.start, |pairs, out| {
            pairs
                .map(|(name, value)| Some((renumber(name)?, renumber(value)?)))
                .all(|pair| pair.map(|(name, value)| packed::push_pair(out, name, value)).is_some())
        });
        if is_moved {
            for (series_ref, unit, help) in metadata {
                if let Some(metadata) = annotations.metadata.get_mut(&series_ref) {
                    (metadata.unit, metadata.help) = (unit, help);
                }
            }
            ahead.start += 1;
        }
        is_moved
    }
}
