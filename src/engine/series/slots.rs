//! Where series live: slots in chunks of 4096, each chunk with one buffer for the packed labels of its series.
//!
//! A slot's number never moves, so a ref needs no map. One buffer a chunk instead of one allocation a series saves
//! its pointer and the allocator's header and rounding, a third of a series; a buffer that is more than half dead is
//! written again, which costs at most 4096 series. Knows bytes, not what they mean.

use crate::labels::packed;
use crate::labels::packed::Pairs;
use crate::series::table::SeriesState;
use std::ops::Range;

/// Slots in a chunk: 128 KiB, of which only touched pages are resident.
const CHUNK_SLOTS: usize = 1 << CHUNK_SHIFT;
const CHUNK_SHIFT: u32 = 12;

/// First generation of slots that another table will replace.
const PROVISIONAL_GENERATION: u16 = 1 << 15;

/// A buffer grows by a sixteenth, at least this many bytes: the part that is not used yet is a cost of every series.
const PACKED_GROWTH: usize = 16;
const PACKED_GROWTH_MIN_BYTES: usize = 1024;

/// All slots; a slot's index is its series' ref minus one.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// `None` where a sparse ref skipped a whole chunk. Chunks are kept for ever: the generations live in them.
    chunks: Vec<Option<Box<Chunk>>>,
    /// Slots below `fresh` that were freed. May name a slot that [`Slots::fill`] took since; it is skipped then.
    freed: Vec<u32>,
    /// Every slot from here on that is not live was not offered yet.
    fresh: u32,
    n_live: usize,
    /// Of a slot that was never filled.
    first_generation: u16,
}

#[derive(Debug, Default)]
struct Chunk {
    slots: Vec<Slot>,
    packed: Vec<u8>,
    /// Bytes of `packed` that no live slot names.
    dead_bytes: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    state: SeriesState,
    /// Of the labels, as the index of the table has it.
    hash: u32,
    packed_start: u32,
    /// How often [`Slots::pin`] was called without [`Slots::unpin`].
    n_pins: u32,
    generation: u16,
    status: Status,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Free,
    Live,
    /// Its next generation would be one that an old handle may still carry.
    Retired,
}

impl Slot {
    const EMPTY: Slot = Slot {
        state: SeriesState { last_ts_ms: i64::MIN, last_segment: 0, logged: 0 },
        hash: 0,
        packed_start: 0,
        n_pins: 0,
        generation: 0,
        status: Status::Free,
    };
}

impl Slots {
    /// No slots; handles of their series are none of [`Slots::default`], unless a slot there is freed 32768 times.
    pub(super) fn provisional() -> Self {
        Self { first_generation: PROVISIONAL_GENERATION, ..Self::default() }
    }

    /// A slot that can be filled; `None` when all 2³²−1 are taken. Not filling it keeps it free.
    pub(super) fn free_slot(&mut self) -> Option<u32> {
        while let Some(slot_idx) = self.freed.last().copied() {
            if self.is_free(slot_idx) {
                return Some(slot_idx);
            }
            self.freed.pop();
        }
        while self.fresh < u32::MAX {
            if self.is_free(self.fresh) {
                return Some(self.fresh);
            }
            self.fresh += 1;
        }
        None
    }

    /// True if the slot can be filled.
    pub(super) fn is_free(&self, slot_idx: u32) -> bool {
        self.slot(slot_idx).is_none_or(|slot| slot.status == Status::Free)
    }

    /// Puts a series into a free slot and returns its generation; `None` when the chunk's 4 GiB of labels are full.
    pub(super) fn fill(&mut self, slot_idx: u32, hash: u32, packed_pairs: &[u8]) -> Option<u16> {
        debug_assert!(self.is_free(slot_idx), "BUG: slot {slot_idx} is taken");
        let (chunk_idx, in_chunk) = split(slot_idx);
        if chunk_idx >= self.chunks.len() {
            self.chunks.resize_with(chunk_idx + 1, || None);
        }
        let chunk = self.chunks[chunk_idx].get_or_insert_with(Box::default);
        let packed_start = u32::try_from(chunk.packed.len()).ok()?;
        if chunk.slots.capacity() == 0 {
            chunk.slots.reserve_exact(CHUNK_SLOTS);
        }
        if chunk.slots.len() <= in_chunk {
            chunk.slots.resize(in_chunk + 1, Slot { generation: self.first_generation, ..Slot::EMPTY });
        }
        chunk.push_packed(packed_pairs);

        let slot = &mut chunk.slots[in_chunk];
        let generation = slot.generation;
        *slot = Slot { hash, packed_start, generation, status: Status::Live, ..Slot::EMPTY };
        self.n_live += 1;
        Some(generation)
    }

    /// Frees a live slot; its generation is another one from now on.
    pub(super) fn free(&mut self, slot_idx: u32) {
        let (chunk_idx, in_chunk) = split(slot_idx);
        let Some(chunk) = self.chunks.get_mut(chunk_idx).and_then(Option::as_deref_mut) else { return };
        let Some(slot) = chunk.slots.get_mut(in_chunk).filter(|slot| slot.status == Status::Live) else {
            return;
        };
        let start = slot.packed_start as usize;
        match slot.generation.checked_add(1) {
            Some(generation) => {
                slot.generation = generation;
                slot.status = Status::Free;
                if slot_idx < self.fresh {
                    self.freed.push(slot_idx);
                }
            }
            None => slot.status = Status::Retired,
        }
        self.n_live -= 1;
        let (_, end) = packed::at(&chunk.packed, start);
        chunk.dead_bytes += end - start;
        if chunk.dead_bytes > chunk.packed.len() / 2 {
            chunk.rewrite_packed(|pairs, out| {
                out.extend_from_slice(pairs.bytes());
                true
            });
        }
    }

    /// Writes the labels of the live series of one chunk again, as `repack` does it for one. False if that says so, or if
    /// there is no room: then nothing has changed.
    pub(super) fn repack(
        &mut self,
        chunk_idx: usize,
        repack: impl FnMut(Pairs<'_>, &mut Vec<u8>) -> bool,
    ) -> bool {
        let chunk = self.chunks.get_mut(chunk_idx).and_then(Option::as_deref_mut);
        chunk.is_none_or(|chunk| chunk.rewrite_packed(repack))
    }

    /// Number of chunks; slots are offered chunk by chunk.
    pub(super) fn n_chunks(&self) -> usize {
        self.chunks.len()
    }

    /// The live slots of a chunk.
    pub(super) fn live_in(&self, chunk_idx: usize) -> impl Iterator<Item = u32> {
        let first = u32::try_from(chunk_idx << CHUNK_SHIFT).unwrap_or(u32::MAX);
        self.live_from(first)
            .map(|(slot_idx, _, _)| slot_idx)
            .take_while(move |slot_idx| chunk_of(*slot_idx) == chunk_idx)
    }

    /// Number of live slots.
    pub(super) fn len(&self) -> usize {
        self.n_live
    }

    /// Generation of a live slot.
    pub(super) fn generation(&self, slot_idx: u32) -> Option<u16> {
        self.live(slot_idx).map(|slot| slot.generation)
    }

    /// Hash of a live slot's labels.
    pub(super) fn hash(&self, slot_idx: u32) -> Option<u32> {
        self.live(slot_idx).map(|slot| slot.hash)
    }

    /// State of a live slot of this generation.
    #[inline]
    pub(super) fn state(&self, slot_idx: u32, generation: u16) -> Option<&SeriesState> {
        self.live(slot_idx).filter(|slot| slot.generation == generation).map(|slot| &slot.state)
    }

    /// State of a live slot of this generation.
    #[inline]
    pub(super) fn state_mut(&mut self, slot_idx: u32, generation: u16) -> Option<&mut SeriesState> {
        self.live_mut(slot_idx, generation).map(|slot| &mut slot.state)
    }

    /// Pins a live slot of this generation once more; false if there is none.
    pub(super) fn pin(&mut self, slot_idx: u32, generation: u16) -> bool {
        let slot = self.live_mut(slot_idx, generation);
        slot.map(|slot| slot.n_pins = slot.n_pins.saturating_add(1)).is_some()
    }

    /// Takes back one [`Slots::pin`].
    pub(super) fn unpin(&mut self, slot_idx: u32, generation: u16) {
        if let Some(slot) = self.live_mut(slot_idx, generation) {
            slot.n_pins = slot.n_pins.saturating_sub(1);
        }
    }

    /// Whether a slot is pinned.
    pub(super) fn is_pinned(&self, slot_idx: u32) -> bool {
        self.live(slot_idx).is_some_and(|slot| slot.n_pins > 0)
    }

    /// Labels of a live slot.
    #[inline]
    pub(super) fn pairs(&self, slot_idx: u32) -> Option<Pairs<'_>> {
        self.pairs_where(slot_idx, |_| true)
    }

    /// Labels of a live slot of this generation.
    #[inline]
    pub(super) fn pairs_of(&self, slot_idx: u32, generation: u16) -> Option<Pairs<'_>> {
        self.pairs_where(slot_idx, |slot| slot.generation == generation)
    }

    #[inline(always)]
    fn pairs_where(&self, slot_idx: u32, is_meant: impl Fn(&Slot) -> bool) -> Option<Pairs<'_>> {
        let (chunk_idx, in_chunk) = split(slot_idx);
        let chunk = self.chunks.get(chunk_idx)?.as_deref()?;
        let slot = chunk.slots.get(in_chunk).filter(|slot| slot.status == Status::Live && is_meant(slot))?;
        Some(packed::at(&chunk.packed, slot.packed_start as usize).0)
    }

    /// Live slots from `first` on: index, generation and state.
    pub(super) fn live_from(&self, first: u32) -> impl Iterator<Item = (u32, u16, SeriesState)> {
        let (first_chunk, first_in_chunk) = split(first);
        self.chunks.iter().enumerate().skip(first_chunk).flat_map(move |(chunk_idx, chunk)| {
            let skip = if chunk_idx == first_chunk { first_in_chunk } else { 0 };
            let slots = chunk.as_deref().map_or(&[][..], |chunk| &chunk.slots);
            slots.iter().enumerate().skip(skip).filter(|(_, slot)| slot.status == Status::Live).map(
                move |(in_chunk, slot)| {
                    #[allow(clippy::cast_possible_truncation, reason = "slots are found by a u32")]
                    let slot_idx = ((chunk_idx << CHUNK_SHIFT) | in_chunk) as u32;
                    (slot_idx, slot.generation, slot.state)
                },
            )
        })
    }

    /// Slots side by side, the first that were ever used from `first` on, at most `limit` of them; `None` behind the last.
    pub(super) fn run_from(&self, first: u32, limit: usize) -> Option<Range<u32>> {
        let (mut chunk_idx, mut in_chunk) = split(first);
        loop {
            let n_slots = self.chunks.get(chunk_idx)?.as_ref().map_or(0, |chunk| chunk.slots.len());
            if in_chunk < n_slots {
                let start = (chunk_idx << CHUNK_SHIFT) | in_chunk;
                let end = start + limit.min(n_slots - in_chunk);
                return Some(u32::try_from(start).ok()?..u32::try_from(end).ok()?);
            }
            chunk_idx += 1;
            in_chunk = 0;
        }
    }

    /// States of all live slots.
    pub(super) fn states_mut(&mut self) -> impl Iterator<Item = &mut SeriesState> {
        self.chunks
            .iter_mut()
            .flatten()
            .flat_map(|chunk| &mut chunk.slots)
            .filter(|slot| slot.status == Status::Live)
            .map(|slot| &mut slot.state)
    }

    /// Bytes held.
    pub(super) fn memory_bytes(&self) -> usize {
        let chunks = self.chunks.iter().flatten().map(|chunk| {
            size_of::<Chunk>() + chunk.slots.capacity() * size_of::<Slot>() + chunk.packed.capacity()
        });
        chunks.sum::<usize>()
            + self.chunks.capacity() * size_of::<Option<Box<Chunk>>>()
            + self.freed.capacity() * size_of::<u32>()
    }

    fn slot(&self, slot_idx: u32) -> Option<&Slot> {
        let (chunk_idx, in_chunk) = split(slot_idx);
        self.chunks.get(chunk_idx)?.as_deref()?.slots.get(in_chunk)
    }

    #[inline]
    fn live_mut(&mut self, slot_idx: u32, generation: u16) -> Option<&mut Slot> {
        let (chunk_idx, in_chunk) = split(slot_idx);
        let slot = self.chunks.get_mut(chunk_idx)?.as_deref_mut()?.slots.get_mut(in_chunk)?;
        (slot.status == Status::Live && slot.generation == generation).then_some(slot)
    }

    fn live(&self, slot_idx: u32) -> Option<&Slot> {
        self.slot(slot_idx).filter(|slot| slot.status == Status::Live)
    }
}

impl Chunk {
    fn push_packed(&mut self, packed_pairs: &[u8]) {
        let needed = packed::packed_len(packed_pairs.len());
        if needed > self.packed.capacity() - self.packed.len() {
            let growth = (self.packed.len() / PACKED_GROWTH).max(PACKED_GROWTH_MIN_BYTES).max(needed);
            self.packed.reserve_exact(growth);
        }
        packed::push(&mut self.packed, packed_pairs);
    }

    fn rewrite_packed(&mut self, mut rewrite: impl FnMut(Pairs<'_>, &mut Vec<u8>) -> bool) -> bool {
        let mut pairs = Vec::new();
        let mut fresh = Chunk::default();
        fresh.packed.reserve_exact(self.packed.len() - self.dead_bytes);
        let mut starts = Vec::with_capacity(self.slots.len());
        for slot in self.slots.iter().filter(|slot| slot.status == Status::Live) {
            pairs.clear();
            let Ok(start) = u32::try_from(fresh.packed.len()) else { return false };
            if !rewrite(packed::at(&self.packed, slot.packed_start as usize).0, &mut pairs) {
                return false;
            }
            starts.push(start);
            fresh.push_packed(&pairs);
        }
        let live = self.slots.iter_mut().filter(|slot| slot.status == Status::Live);
        live.zip(starts).for_each(|(slot, start)| slot.packed_start = start);
        fresh.packed.shrink_to_fit();
        self.packed = fresh.packed;
        self.dead_bytes = 0;
        true
    }
}

/// The chunk of a slot.
pub(super) fn chunk_of(slot_idx: u32) -> usize {
    split(slot_idx).0
}

fn split(slot_idx: u32) -> (usize, usize) {
    ((slot_idx >> CHUNK_SHIFT) as usize, slot_idx as usize & (CHUNK_SLOTS - 1))
}
