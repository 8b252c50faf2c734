//! `ReadResponse`: all samples of all queries in one message, as a snappy block.

use crate::chunk::Value;
use crate::encode::histogram;
use crate::encode::types::{push_label, push_sample};
use crate::protobuf::BYTES;
use crate::protobuf::write::{push_bytes, tag};

const RESPONSE_RESULT: u8 = tag(1, BYTES);
const RESULT_TIMESERIES: u8 = tag(1, BYTES);
const TIMESERIES_LABELS: u8 = tag(1, BYTES);
const TIMESERIES_SAMPLES: u8 = tag(2, BYTES);
const TIMESERIES_HISTOGRAMS: u8 = tag(4, BYTES);

/// An answer being written, query by query.
#[derive(Debug, Default)]
pub struct ResponseWriter {
    message: Vec<u8>,
    /// Of the query that is being answered.
    result: Vec<u8>,
    series: Vec<u8>,
    item: Vec<u8>,
    packed: Vec<u8>,
}

impl ResponseWriter {
    /// A series of the query that is being answered: labels in order of name, samples (timestamp in milliseconds and
    /// value) in order of time.
    pub fn series<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        samples: impl Iterator<Item = (i64, Value<'a>)>,
    ) {
        let Self { result, series, item, packed, .. } = self;
        series.clear();
        labels.for_each(|(name, value)| push_label(series, TIMESERIES_LABELS, name, value));
        for (ts_ms, value) in samples {
            match value {
                Value::Float(value) => push_sample(series, TIMESERIES_SAMPLES, ts_ms, value),
                Value::Histogram(histogram) => {
                    item.clear();
                    histogram::write(item, packed, ts_ms, histogram);
                    push_bytes(series, TIMESERIES_HISTOGRAMS, item);
                }
            }
        }
        push_bytes(result, RESULT_TIMESERIES, series);
    }

    /// All series of a query are written; the next ones are of the next query.
    pub fn end_query(&mut self) {
        // Given back: an answer may be long, and most requests have one query.
        let result = std::mem::take(&mut self.result);
        push_bytes(&mut self.message, RESPONSE_RESULT, &result);
    }

    /// The whole message, packed.
    ///
    /// # Errors
    /// It has 4 GiB.
    pub fn into_block(self) -> Result<Vec<u8>, snap::Error> {
        snap::raw::Encoder::new().compress_vec(&self.message)
    }
}
