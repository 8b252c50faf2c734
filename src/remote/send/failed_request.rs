//! A request that failed, in words, for `failed_request_logging`: its series as the log has them, each with its items.
//!
//! Made on a shard, only at level debug.

use std::fmt::Write as _;

use crate::remote::send::batch::{Queued, Rest, View};
use scraped_engine::labels::Labels;
use scraped_engine::wal::head::LogReader;

/// Longer texts are cut, in bytes: a line of the log has to be read by somebody.
const MAX_BYTES: usize = 256 << 10;

/// `{job="a"} 1 @1700000000000, 2 @1700000015000; …`, where `items` are sorted by series.
pub fn text(log: &LogReader, items: &[Queued], rest: &Rest) -> String {
    let mut text = String::new();
    for series in items.chunk_by(|a, b| a.handle == b.handle) {
        let Some(first) = series.first() else { continue };
        log.visit_labels(&[first.handle], |_, pairs| {
            let labels = Labels::from_pairs(pairs.into_iter().flatten());
            // Nothing can fail that is written into a text.
            let _ = write!(text, "{labels}");
        });
        for (item, separator) in series.iter().zip([" "].into_iter().chain(std::iter::repeat(", "))) {
            let _ = match rest.view(item) {
                Some(View::Float(value)) => write!(text, "{separator}{value}"),
                Some(View::Histogram(kind, _)) => write!(text, "{separator}histogram ({kind:?})"),
                Some(View::Exemplar(value, labels)) => write!(text, "{separator}exemplar {labels} {value}"),
                None => Ok(()),
            };
            let _ = write!(text, " @{}", item.ts_ms);
        }
        text.push_str("; ");
        if text.len() > MAX_BYTES {
            let end = (0..=MAX_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            text.truncate(end);
            text.push('…');
            break;
        }
    }
    text
}
