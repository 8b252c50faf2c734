//! What a record of the log holds for an endpoint: floats, native histograms or exemplars, by ref.
//!
//! Part of the watcher, on its thread; one is used for all records. Knows no series and no endpoint.

use crate::remote::send::batch::Content;
use crate::remote::settle::ledger::Kind;
use scraped_engine::labels::Labels;
use scraped_engine::wal::format::record;
use scraped_engine::wal::format::record::Record;
use scraped_engine::wal::format::record::record_type::DecodeError;

/// The items of a record, in its order.
#[derive(Debug, Default)]
pub struct RecordItems {
    /// Of all of them.
    pub kind: Kind,
    /// Whose each one is.
    pub refs: Vec<u64>,
    /// Milliseconds since the Unix epoch, and the rest.
    pub items: Vec<(i64, Content)>,
    /// The least timestamp in `items`; `None` of exemplars, whose times are those of their page.
    pub oldest_ms: Option<i64>,
    /// The record ends inside an item; those before it are there.
    pub is_damaged: bool,
}

impl RecordItems {
    /// Reads a record; false if it holds nothing that `is_sent`.
    pub fn read(&mut self, bytes: &[u8], is_sent: impl Fn(Kind) -> bool) -> bool {
        self.refs.clear();
        self.items.clear();
        self.oldest_ms = None;
        self.is_damaged = false;
        let record = record::decode(bytes);
        self.kind = match &record {
            Record::Samples(_) => Kind::Float,
            Record::Histograms(_) => Kind::Histogram,
            Record::Exemplars(_) => Kind::Exemplar,
            Record::Series(_) | Record::Metadata(_) | Record::Other(_) => return false,
        };
        if !is_sent(self.kind) {
            return false;
        }
        match record {
            Record::Samples(samples) => {
                samples.for_each(|it| {
                    self.push(it.map(|it| (it.series_ref, it.ts_ms, Content::Float(it.value))));
                });
            }
            Record::Histograms(histograms) => histograms.for_each(|it| {
                self.push(it.map(|it| {
                    let content = Content::Histogram(it.histogram.kind(), it.histogram.bytes().into());
                    (it.series_ref, it.ts_ms, content)
                }));
            }),
            Record::Exemplars(exemplars) => exemplars.for_each(|it| {
                self.push(it.map(|it| {
                    let labels = Box::new(Labels::from_pairs(it.labels));
                    (it.series_ref, it.ts_ms, Content::Exemplar(it.value, labels))
                }));
            }),
            Record::Series(_) | Record::Metadata(_) | Record::Other(_) => {}
        }
        true
    }

    fn push(&mut self, item: Result<(u64, i64, Content), DecodeError>) {
        match item {
            Ok((series_ref, ts_ms, content)) => {
                if self.kind != Kind::Exemplar {
                    self.oldest_ms = Some(self.oldest_ms.map_or(ts_ms, |oldest_ms| oldest_ms.min(ts_ms)));
                }
                self.refs.push(series_ref);
                self.items.push((ts_ms, content));
            }
            Err(_) => self.is_damaged = true,
        }
    }
}
