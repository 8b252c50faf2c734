//! Items on their way to a shard: floats, native histograms and exemplars in the order of the log.
//!
//! Nearly all items are floats, and there may be millions of them: one takes 32 bytes. What the others have beside it
//! stands in the batch once, in its own place.

use crate::remote::settle::ledger::Kind;
use crate::remote::settle::progress::RecordSeq;
use scraped_engine::labels::Labels;
use scraped_engine::series::SeriesHandle;
use scraped_engine::wal::format::record::histograms::HistogramKind;

/// What is sent of a series at a time.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its series when it was read; stale if the log has forgotten that since.
    pub handle: SeriesHandle,
    /// The record it stands in.
    pub record: RecordSeq,
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// The rest.
    pub content: Content,
}

/// What an item is.
#[derive(Clone, Debug)]
pub enum Content {
    /// Payload bits of a NaN included.
    Float(f64),
    /// A native histogram as the log has it, which takes a fraction of what it takes unfolded.
    Histogram(HistogramKind, Box<[u8]>),
    /// The value and labels of its own.
    Exemplar(f64, Box<Labels>),
}

/// An item in a batch.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    /// Its series.
    pub handle: SeriesHandle,
    /// The record it stands in.
    pub record: RecordSeq,
    place: Place,
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    value: f64,
}

/// Where the rest of an item stands among those of its kind: 0 for a float, otherwise 1 and up, exemplars with the
/// highest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u32);

const EXEMPLAR_BIT: u32 = 1 << 31;

/// Items for one shard, in the order of the log.
#[derive(Debug, Default)]
pub struct Batch {
    /// Small, for all kinds.
    pub queued: Vec<Queued>,
    /// What is not small.
    pub rest: Rest,
}

/// What the items of a batch have beside a time and a value.
#[derive(Debug, Default)]
pub struct Rest {
    histograms: Vec<(HistogramKind, Box<[u8]>)>,
    exemplars: Vec<Labels>,
}

/// What an item is, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    /// A float.
    Float(f64),
    /// A native histogram as the log has it.
    Histogram(HistogramKind, &'a [u8]),
    /// An exemplar.
    Exemplar(f64, &'a Labels),
}

impl Batch {
    /// Adds an item behind the others.
    pub fn push(&mut self, item: Item) {
        let Item { handle, record, ts_ms, content } = item;
        let Rest { histograms, exemplars } = &mut self.rest;
        let (place, value) = match content {
            Content::Float(value) => (0, value),
            Content::Histogram(kind, encoded) => {
                histograms.push((kind, encoded));
                (histograms.len() as u32, 0.0)
            }
            Content::Exemplar(value, labels) => {
                exemplars.push(*labels);
                (exemplars.len() as u32 | EXEMPLAR_BIT, value)
            }
        };
        self.queued.push(Queued { handle, record, place: Place(place), ts_ms, value });
    }

    /// Adds items of another batch, whose `rest` is given, behind the others.
    pub fn push_from(&mut self, items: &[Queued], rest: &Rest) {
        for item in items {
            let content = match rest.view(item) {
                Some(View::Float(value)) => Content::Float(value),
                Some(View::Histogram(kind, encoded)) => Content::Histogram(kind, encoded.into()),
                Some(View::Exemplar(value, labels)) => Content::Exemplar(value, Box::new(labels.clone())),
                None => continue,
            };
            self.push(Item { handle: item.handle, record: item.record, ts_ms: item.ts_ms, content });
        }
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.queued.len()
    }

    /// True without items.
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }
}

impl Queued {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.place.0 {
            0 => Kind::Float,
            place if place & EXEMPLAR_BIT == 0 => Kind::Histogram,
            _ => Kind::Exemplar,
        }
    }
}

impl Rest {
    /// Whether there is any native histogram.
    pub fn has_histograms(&self) -> bool {
        !self.histograms.is_empty()
    }

    /// The whole of an item; `None` for one of another batch.
    pub fn view(&self, item: &Queued) -> Option<View<'_>> {
        let idx = ((item.place.0 & !EXEMPLAR_BIT) as usize).wrapping_sub(1);
        match item.kind() {
            Kind::Float => Some(View::Float(item.value)),
            Kind::Histogram => {
                self.histograms.get(idx).map(|(kind, encoded)| View::Histogram(*kind, encoded))
            }
            Kind::Exemplar => self.exemplars.get(idx).map(|it| View::Exemplar(item.value, it)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Content, Item, Queued, View};
    use crate::remote::settle::ledger::Kind;
    use scraped_engine::labels::Labels;
    use scraped_engine::series::{SeriesHandle, SeriesRef};
    use scraped_engine::wal::format::record::histograms::HistogramKind;
    use std::num::NonZeroU32;

    #[test]
    fn items_come_back_and_a_float_is_small() {
        let handle = SeriesHandle { series_ref: SeriesRef(NonZeroU32::MIN), generation: 0 };
        let mut batch = Batch::default();
        for idx in 0..9 {
            let value = f64::from(idx);
            let content = match idx % 3 {
                0 => Content::Float(value),
                1 => Content::Histogram(HistogramKind::Float, Box::new([idx as u8])),
                _ => Content::Exemplar(value, Box::new(Labels::from_pairs([("id", idx.to_string())]))),
            };
            batch.push(Item { handle, record: Default::default(), ts_ms: idx.into(), content });
        }
        assert_eq!(batch.len(), 9);
        let original = std::mem::take(&mut batch);
        batch.push_from(&original.queued[6..], &original.rest);
        batch.push_from(&original.queued[..6], &original.rest);
        batch.queued.sort_by_key(|item| item.ts_ms);
        for (queued, idx) in batch.queued.iter().zip(0..) {
            let value = match (batch.rest.view(queued), queued.kind()) {
                (Some(View::Float(value)), Kind::Float) => value,
                (Some(View::Histogram(HistogramKind::Float, encoded)), Kind::Histogram) => encoded[0].into(),
                (Some(View::Exemplar(value, labels)), Kind::Exemplar) => {
                    assert_eq!(labels.get("id"), idx.to_string());
                    value
                }
                other => panic!("{other:?}"),
            };
            assert_eq!((value, queued.ts_ms), (f64::from(idx), i64::from(idx)));
        }
        assert_eq!(size_of::<Queued>(), 32);
    }
}
