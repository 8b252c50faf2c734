//! What a target exposed before: series text → series, in the order of its page, 24 bytes each.
//!
//! A field of its `ScrapeLoop`, so one thread has it at a time. A page mostly repeats the last one, so the entry that
//! is due next is tried first and no text is kept, only its hash. The index that finds entries out of order is built
//! when a page first needs it and belongs to the permit, not to the target.
//!
//! A scrape is a transaction here too: `begin`, hits and inserts, then one of `finish_page`, `finish_without_page`
//! and `rewind`. Follows Prometheus' `scrapeCache` (`scrape/scrape.go`) in what is stale, new and forgotten.

use crate::series::{SeriesHandle, SeriesRef};
use foldhash::quality::RandomState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};
use std::num::NonZeroU32;
use std::sync::LazyLock;

/// More entries than twice the last good page's and these are too many: a target whose series change and whose
/// scrapes fail would grow without end (`scrapeCache.iterDone`).
const FORCED_FLUSH_SLACK_ENTRIES: usize = 1000;

/// Vanished series in a row that are skipped without an index.
const LOOK_AHEAD_ENTRIES: usize = 8;

/// Texts that are longer are not guessed a second time.
const LONG_TEXT_BYTES: usize = 512;

/// Entries that the index of an idle permit keeps room for.
const KEPT_INDEX_ENTRIES: usize = 64 * 1024;

/// One seed a process: targets choose the texts, so they must not be able to choose the hashes.
static TEXT_HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// `metric_relabel_configs` drop it; it has no series.
const DROPPED: u16 = 1 << 0;
/// Its end is to be marked: seen in the last scrape that reached it, and without a timestamp of its own.
const TRACKED: u16 = 1 << 1;
/// In the running scrape: was `TRACKED` before it.
const WAS_TRACKED: u16 = 1 << 2;
/// Its series was looked up in the running scrape, so it goes if that is not committed.
const FRESH: u16 = 1 << 3;

/// New to a target that has as many series as it may; it has none until there is room.
const OVER_BUDGET: u16 = 1 << 4;
/// What an entry is, whatever a scrape does with it.
const LASTING: u16 = DROPPED | OVER_BUDGET;

/// The texts of one target.
#[derive(Clone, Debug, Default)]
pub struct ScrapeCache {
    entries: Vec<Entry>,
    /// Number of the running or next scrape.
    iter: u32,
    /// Entries before the running scrape; those behind are new in it.
    n_settled: usize,
    /// Entries after the last good page.
    n_last_successful: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    /// 0: dropped, or the series is to be looked up again.
    series_ref: u32,
    text_len: u32,
    /// The last scrape whose page had it.
    last_iter: u32,
    generation: u16,
    flags: u16,
}

const _: () = assert!(size_of::<Entry>() == 24, "a series costs this much in every target's cache");

/// Where a page is in a cache, and the way back for what is out of order. Kept by the permit and reused.
#[derive(Debug, Default)]
pub struct Cursor {
    hasher: Option<RandomState>,
    /// The entry that is due next.
    next_idx: usize,
    /// One more than the entry whose text was guessed and was not there.
    missed: usize,
    index: HashTable<u32>,
    has_index: bool,
    n_seen: usize,
    /// The entry seen last, while the page has entries in order.
    last_idx: Option<usize>,
    /// Entries in the order of the page, once that is not their own.
    order: Vec<u32>,
    is_in_order: bool,
}

/// A text that the cache does not know.
#[derive(Clone, Copy, Debug)]
pub struct NewText {
    hash: u64,
    text_len: u32,
}

/// What the cache knows of a text in the running page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The entry.
    pub entry_idx: usize,
    /// The same spelling stood in this page before.
    pub is_repeated: bool,
    /// Its series.
    pub known: Known,
}

/// The series of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// This one.
    Series(SeriesHandle),
    /// None: relabelling drops it.
    Dropped,
    /// To be looked up by its labels.
    Forgotten,
    /// None yet: its target had as many series as it may.
    OverBudget,
}

/// Whether a page was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageFate {
    /// It was, or is about to be.
    Stored,
    /// It was not: everything that was tracked before is stale.
    Failed,
}

impl Cursor {
    #[inline]
    fn hash(&mut self, text: &[u8]) -> u64 {
        let hasher = self.hasher.get_or_insert_with(|| TEXT_HASHER.clone());
        hash_text(hasher, text)
    }

    /// True if the entries of the page are in order as far as this one.
    fn goes_on_with(&mut self, entry_idx: usize) -> bool {
        let goes_on = self.is_in_order && self.last_idx.is_none_or(|last_idx| last_idx < entry_idx);
        if goes_on {
            self.last_idx = Some(entry_idx);
        }
        goes_on
    }

    fn reset(&mut self) {
        self.next_idx = 0;
        self.missed = 0;
        self.n_seen = 0;
        self.last_idx = None;
        self.is_in_order = true;
        self.has_index = false;
        self.order.clear();
        self.order.shrink_to(KEPT_INDEX_ENTRIES);
        self.index.clear();
        if self.index.capacity() > 2 * KEPT_INDEX_ENTRIES {
            self.index = HashTable::new();
        }
    }
}

fn hash_text(hasher: &RandomState, text: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(text);
    hasher.finish()
}

impl Entry {
    fn matches(&self, text: NewText) -> bool {
        self.hash == text.hash && self.text_len == text.text_len
    }

    fn handle(&self) -> Option<SeriesHandle> {
        let series_ref = SeriesRef(NonZeroU32::new(self.series_ref)?);
        Some(SeriesHandle { series_ref, generation: self.generation })
    }

    fn known(&self) -> Known {
        match self.handle() {
            _ if self.flags & DROPPED != 0 => Known::Dropped,
            _ if self.flags & OVER_BUDGET != 0 => Known::OverBudget,
            Some(handle) => Known::Series(handle),
            None => Known::Forgotten,
        }
    }
}

impl ScrapeCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of texts known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Starts a scrape.
    pub fn begin(&mut self, cursor: &mut Cursor) {
        cursor.reset();
        self.n_settled = self.entries.len();
    }

    /// Length of the series text at the start of `rest` if it is the one that is due: a guess to be checked against
    /// what may follow a series.
    #[inline(always)]
    pub fn guess(&self, cursor: &mut Cursor, rest: &[u8]) -> Option<usize> {
        let entry = self.entries.get(cursor.next_idx)?;
        let text_len = entry.text_len as usize;
        if text_len > LONG_TEXT_BYTES && cursor.missed == cursor.next_idx + 1 {
            // A text of megabytes that is gone is looked for once, and not at each of a million lines.
            return None;
        }
        let text = rest.get(..text_len)?;
        if cursor.hash(text) == entry.hash {
            return Some(text_len);
        }
        cursor.missed = cursor.next_idx + 1;
        None
    }

    /// The entry whose text was guessed right.
    #[inline]
    pub fn hit_guessed(&mut self, cursor: &mut Cursor) -> Option<Hit> {
        self.hit(cursor, cursor.next_idx)
    }

    /// Looks `text` up.
    ///
    /// # Errors
    /// The text is new; [`ScrapeCache::insert`] takes it in.
    pub fn find(&mut self, cursor: &mut Cursor, text: &[u8]) -> Result<Hit, NewText> {
        let text =
            NewText { hash: cursor.hash(text), text_len: u32::try_from(text.len()).unwrap_or(u32::MAX) };
        let near = self.entries.iter().skip(cursor.next_idx).take(LOOK_AHEAD_ENTRIES);
        let found = match near.enumerate().find(|(_, entry)| entry.matches(text)) {
            Some((ahead, _)) => Some(cursor.next_idx + ahead),
            None => self.find_in_index(cursor, text),
        };
        found.and_then(|entry_idx| self.hit(cursor, entry_idx)).ok_or(text)
    }

    fn find_in_index(&self, cursor: &mut Cursor, text: NewText) -> Option<usize> {
        if !cursor.has_index {
            cursor.has_index = true;
            let hash_of = |entry_idx: &u32| self.hash_at(*entry_idx);
            cursor.index.reserve(self.entries.len(), hash_of);
            for (entry_idx, entry) in (0u32..).zip(&self.entries) {
                cursor.index.insert_unique(entry.hash, entry_idx, hash_of);
            }
        }
        let is_it =
            |entry_idx: &u32| self.entries.get(*entry_idx as usize).is_some_and(|it| it.matches(text));
        cursor.index.find(text.hash, is_it).map(|entry_idx| *entry_idx as usize)
    }

    fn hash_at(&self, entry_idx: u32) -> u64 {
        self.entries.get(entry_idx as usize).map_or(0, |entry| entry.hash)
    }

    #[inline]
    fn hit(&mut self, cursor: &mut Cursor, entry_idx: usize) -> Option<Hit> {
        let is_repeated = self.entries.get(entry_idx)?.last_iter == self.iter;
        if !is_repeated {
            cursor.n_seen += 1;
            if !cursor.goes_on_with(entry_idx) {
                self.note_order(cursor, entry_idx);
            }
        }
        let entry = self.entries.get_mut(entry_idx)?;
        let known = entry.known();
        if !is_repeated {
            let was_tracked = if entry.flags & TRACKED != 0 { WAS_TRACKED } else { 0 };
            entry.flags = (entry.flags & LASTING) | was_tracked;
            entry.last_iter = self.iter;
            cursor.next_idx = entry_idx + 1;
        }
        Some(Hit { entry_idx, is_repeated, known })
    }

    /// Remembers where the page has its first sight of this entry, which is out of order or behind one that was, and
    /// does not yet count as seen.
    #[inline(never)]
    fn note_order(&self, cursor: &mut Cursor, entry_idx: usize) {
        if cursor.is_in_order {
            cursor.is_in_order = false;
            let seen = (0u32..).zip(&self.entries).filter(|(_, entry)| entry.last_iter == self.iter);
            cursor.order.extend(seen.map(|(entry_idx, _)| entry_idx));
        }
        // More than 2^32 texts would not fit a page.
        cursor.order.push(entry_idx as u32);
    }

    /// Number of series, those included that the running page did not have yet.
    pub fn n_series(&self) -> u64 {
        self.entries.iter().filter(|entry| entry.flags & LASTING == 0).count() as u64
    }

    /// Takes a new text in, with what is known of its series. Gives its entry.
    pub fn insert(&mut self, cursor: &mut Cursor, text: NewText, known: Known) -> usize {
        let entry_idx = self.entries.len();
        let mut entry = Entry {
            hash: text.hash,
            series_ref: 0,
            text_len: text.text_len,
            // Not seen yet.
            last_iter: self.iter.wrapping_sub(1),
            generation: 0,
            flags: 0,
        };
        match known {
            Known::Series(handle) => {
                entry.series_ref = handle.series_ref.0.get();
                entry.generation = handle.generation;
                entry.flags = FRESH;
            }
            Known::Dropped => entry.flags = DROPPED,
            Known::OverBudget => entry.flags = OVER_BUDGET,
            Known::Forgotten => {}
        }
        self.entries.push(entry);
        cursor.n_seen += 1;
        if !cursor.goes_on_with(entry_idx) {
            self.note_order(cursor, entry_idx);
        }
        if let Some(entry) = self.entries.last_mut() {
            entry.last_iter = self.iter;
        }
        if cursor.has_index {
            cursor.index.insert_unique(text.hash, entry_idx as u32, |entry_idx| self.hash_at(*entry_idx));
        }
        entry_idx
    }

    /// Gives an entry its series that was forgotten or over the budget.
    pub fn remember(&mut self, entry_idx: usize, handle: SeriesHandle) {
        if let Some(entry) = self.entries.get_mut(entry_idx) {
            entry.series_ref = handle.series_ref.0.get();
            entry.generation = handle.generation;
            entry.flags = (entry.flags & !OVER_BUDGET) | FRESH;
        }
    }

    /// The entry has a sample at the time of the scrape: when it is gone, its end is marked.
    pub fn track(&mut self, entry_idx: usize) {
        if let Some(entry) = self.entries.get_mut(entry_idx) {
            entry.flags |= TRACKED;
        }
    }

    /// Calls `mark` for every series whose end the running scrape has to mark.
    pub fn for_each_stale(&self, fate: PageFate, mut mark: impl FnMut(SeriesHandle)) {
        for entry in &self.entries {
            let is_stale = match fate {
                _ if entry.last_iter != self.iter => entry.flags & TRACKED != 0,
                PageFate::Stored => entry.flags & (TRACKED | WAS_TRACKED) == WAS_TRACKED,
                // A series that the page made the log look up went with the page's transaction.
                PageFate::Failed => entry.flags & (WAS_TRACKED | FRESH) == WAS_TRACKED,
            };
            if is_stale && let Some(handle) = entry.handle() {
                mark(handle);
            }
        }
    }

    /// The page is stored: what it did not have is forgotten, and entries take the order of the page.
    pub fn finish_page(&mut self, cursor: &mut Cursor) {
        if !cursor.is_in_order {
            let in_order = cursor.order.iter().filter_map(|entry_idx| self.entries.get(*entry_idx as usize));
            let mut entries = Vec::with_capacity(cursor.order.len());
            entries.extend(in_order.copied());
            self.entries = entries;
        } else if cursor.n_seen < self.entries.len() {
            self.flush();
        }
        self.n_last_successful = self.entries.len();
        self.shrink();
        self.end_scrape();
        cursor.reset();
    }

    /// There was no page, an empty one, or one that was not stored: everything that was tracked is marked now. What
    /// is known stays known. Gives true if there was too much of it.
    pub fn finish_without_page(&mut self) -> bool {
        for entry in &mut self.entries {
            if entry.flags & FRESH != 0 && entry.last_iter == self.iter {
                entry.series_ref = 0;
            }
            entry.flags &= LASTING;
        }
        let is_too_much = self.entries.len() > 2 * self.n_last_successful + FORCED_FLUSH_SLACK_ENTRIES;
        if is_too_much {
            self.flush();
            self.shrink();
        }
        self.end_scrape();
        is_too_much
    }

    /// The running scrape leaves no trace: nothing of it was written.
    pub fn rewind(&mut self) {
        self.entries.truncate(self.n_settled);
        let iter = self.iter;
        for entry in self.entries.iter_mut().filter(|entry| entry.last_iter == iter) {
            if entry.flags & FRESH != 0 {
                entry.series_ref = 0;
            }
            let tracked = if entry.flags & WAS_TRACKED != 0 { TRACKED } else { 0 };
            entry.flags = (entry.flags & LASTING) | tracked;
            entry.last_iter = iter.wrapping_sub(1);
        }
    }

    /// Forgets the handles that the log no longer knows: those series are looked up when they are seen again. Their
    /// texts stay known, so that they do not count as added again.
    pub fn forget_stale(&mut self, is_live: impl Fn(SeriesHandle) -> bool) {
        for entry in &mut self.entries {
            if entry.handle().is_some_and(|handle| !is_live(handle)) {
                entry.series_ref = 0;
            }
        }
    }

    fn flush(&mut self) {
        let iter = self.iter;
        self.entries.retain(|entry| entry.last_iter == iter);
    }

    fn end_scrape(&mut self) {
        self.n_settled = self.entries.len();
        self.iter = self.iter.wrapping_add(1);
    }

    fn shrink(&mut self) {
        // Growth by doubling leaves up to half of the memory unused; a page mostly keeps its size.
        if self.entries.capacity() > self.entries.len() + self.entries.len() / 8 {
            self.entries.shrink_to_fit();
        }
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
