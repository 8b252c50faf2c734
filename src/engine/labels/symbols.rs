//! One table of all label names and values: text stands once, labels are numbers.
//!
//! Text lies in chunks of an arena, one symbol behind the other in order of number, so a symbol costs its text, four
//! bytes for where it starts and its place in the index. Symbols are never removed one by one: who owns the table
//! builds a new one when too much of it is dead. Owned by the series table.

use crate::labels::index::NumberIndex;
use foldhash::quality::RandomState;
use std::hash::BuildHasher;

/// Text of one chunk in bytes. Where a symbol starts is a `u32`: 16 bits of chunk, 16 bits inside it.
const CHUNK_BYTES: usize = 1 << OFFSET_BITS;
const OFFSET_BITS: u32 = 16;
const MAX_CHUNKS: usize = 1 << (u32::BITS - OFFSET_BITS);

/// The first chunk starts this small and doubles: a daemon with one target should not pay for a full one.
const FIRST_CHUNK_BYTES: usize = 4096;

/// The list of starts grows by an eighth, not by doubling: at a million symbols a doubling is 4 MiB of nothing.
const STARTS_GROWTH: usize = 8;
const STARTS_GROWTH_MIN: usize = 256;

/// Number of a symbol: its place in order of interning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Symbol(pub(crate) u32);

/// Texts, each once.
#[derive(Debug, Default)]
pub(crate) struct SymbolTable {
    texts: Texts,
    index: NumberIndex,
    /// Seeded per process: targets choose the texts.
    hash_state: RandomState,
}

/// The arena.
#[derive(Debug, Default)]
struct Texts {
    /// Symbols do not cross chunks; a text longer than a chunk has a longer chunk of its own.
    chunks: Vec<String>,
    /// By number: chunk in the upper bits, offset in the lower. A symbol ends where the next one of its chunk starts.
    starts: Vec<u32>,
}

impl SymbolTable {
    /// The symbol of `text`, which is added if it is new. `None` when 4 GiB of text or 2³²−1 symbols are full.
    pub(crate) fn intern(&mut self, text: &str) -> Option<Symbol> {
        let Self { texts, index, hash_state } = self;
        let hash = fold(hash_state.hash_one(text));
        if let Some(number) = index.find(hash, |number| texts.get(number) == text) {
            return Some(Symbol(number));
        }
        let number = texts.push(text)?;
        index.insert(hash, number, |it| fold(hash_state.hash_one(texts.get(it))));
        Some(Symbol(number))
    }

    /// The text of a symbol of this table.
    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        self.texts.get(symbol.0)
    }

    /// Number of symbols.
    pub(crate) fn len(&self) -> usize {
        self.texts.starts.len()
    }

    /// Bytes of text, dead ones included.
    pub(crate) fn text_bytes(&self) -> usize {
        self.texts.chunks.iter().map(String::len).sum()
    }

    /// Bytes held.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.texts.chunks.iter().map(|it| size_of_val(it) + it.capacity()).sum::<usize>()
            + self.texts.starts.capacity() * size_of::<u32>()
            + self.index.memory_bytes()
    }
}

impl Texts {
    fn get(&self, number: u32) -> &str {
        let idx = number as usize;
        let (chunk_idx, start) = split(self.starts[idx]);
        let chunk = &self.chunks[chunk_idx];
        match self.starts.get(idx + 1).map(|next| split(*next)) {
            Some((next_chunk_idx, end)) if next_chunk_idx == chunk_idx => &chunk[start..end],
            _ => &chunk[start..],
        }
    }

    fn push(&mut self, text: &str) -> Option<u32> {
        let number = u32::try_from(self.starts.len()).ok().filter(|it| *it < u32::MAX)?;
        let chunk_idx = self.chunk_with_room(text.len())?;
        let chunk = &mut self.chunks[chunk_idx];
        let start = (u32::try_from(chunk_idx).ok()? << OFFSET_BITS) | u32::try_from(chunk.len()).ok()?;
        chunk.push_str(text);
        if self.starts.len() == self.starts.capacity() {
            self.starts.reserve_exact((self.starts.len() / STARTS_GROWTH).max(STARTS_GROWTH_MIN));
        }
        self.starts.push(start);
        Some(number)
    }

    /// The last chunk if it has room for `len` bytes, else a new one.
    fn chunk_with_room(&mut self, len: usize) -> Option<usize> {
        if let Some(last) = self.chunks.last_mut()
            && last.len() < CHUNK_BYTES
            && len <= CHUNK_BYTES - last.len()
        {
            if len > last.capacity() - last.len() {
                let capacity = (last.capacity() * 2).max(last.len() + len).min(CHUNK_BYTES);
                last.reserve_exact(capacity - last.len());
            }
            return Some(self.chunks.len() - 1);
        }
        if self.chunks.len() == MAX_CHUNKS {
            return None;
        }
        let capacity = if self.chunks.is_empty() { FIRST_CHUNK_BYTES } else { CHUNK_BYTES };
        self.chunks.push(String::with_capacity(capacity.max(len)));
        Some(self.chunks.len() - 1)
    }
}

/// 32 bits of a hash that depend on all 64.
pub(crate) fn fold(hash: u64) -> u32 {
    #[allow(clippy::cast_possible_truncation, reason = "the upper half was folded in")]
    let folded = (hash ^ (hash >> 32)) as u32;
    folded
}

fn split(start: u32) -> (usize, usize) {
    ((start >> OFFSET_BITS) as usize, start as usize & (CHUNK_BYTES - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_stands_once_and_comes_back() {
        let mut table = SymbolTable::default();
        let texts: Vec<String> =
            (0..30_000).map(|it| format!("{it}-{}", "ü".repeat(it % 40))).chain([String::new()]).collect();
        let symbols: Vec<Symbol> = texts.iter().map(|it| table.intern(it).unwrap()).collect();
        let text_bytes = table.text_bytes();
        for (text, symbol) in texts.iter().zip(&symbols) {
            assert_eq!(table.intern(text), Some(*symbol));
            assert_eq!(table.text(*symbol), text);
        }
        assert_eq!((table.len(), table.text_bytes()), (texts.len(), text_bytes));
        assert_eq!(text_bytes, texts.iter().map(String::len).sum::<usize>());
    }

    #[test]
    fn texts_at_and_over_the_size_of_a_chunk() {
        let mut table = SymbolTable::default();
        let texts: Vec<String> =
            [1, CHUNK_BYTES, 2, CHUNK_BYTES - 1, 1, 1, 3 * CHUNK_BYTES, 5, CHUNK_BYTES + 1]
                .iter()
                .enumerate()
                .map(|(idx, len)| char::from(b'a' + u8::try_from(idx).unwrap()).to_string().repeat(*len))
                .collect();
        let symbols: Vec<Symbol> = texts.iter().map(|it| table.intern(it).unwrap()).collect();
        for (text, symbol) in texts.iter().zip(symbols) {
            assert!(table.text(symbol) == text, "text of {} bytes", text.len());
        }
    }

    #[test]
    fn a_small_table_is_small() {
        let mut table = SymbolTable::default();
        for idx in 0..100 {
            table.intern(&format!("name_{idx}")).unwrap();
        }
        assert!(table.memory_bytes() < 12 * 1024, "{}", table.memory_bytes());
    }
}
