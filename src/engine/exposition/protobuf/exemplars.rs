//! Which exemplars belong to a sample, and what is in them.
//!
//! A sample of its own has the one beside it. A native histogram has those of its own list, or of its classic buckets
//! if the list is empty; there, one without a timestamp does not count.

use crate::exposition::exemplar::Exemplar;
use crate::exposition::protobuf::histogram::{bucket, exact_timestamp_ms};
use crate::exposition::protobuf::metric::{LabelPair, Metric, Parts};
use crate::exposition::protobuf::place::{Message, Result};

/// Number of the exemplars of a `Histogram`.
const EXEMPLARS: i32 = 16;

/// Exemplars of one sample that were not given yet.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exemplars<'page> {
    None,
    One(Message<'page>),
    Listed(Parts<'page>),
    OfBuckets(Parts<'page>),
}

impl<'page> Exemplars<'page> {
    /// Of a counter or a classic bucket.
    pub(super) fn of_sample(exemplar: Option<Message<'page>>) -> Self {
        exemplar.map_or(Self::None, Self::One)
    }

    /// Of a native histogram.
    pub(super) fn of_native(metric: &Metric<'page>) -> Self {
        match metric.head.has_exemplars {
            true => Self::Listed(metric.histogram_parts()),
            false => Self::OfBuckets(metric.histogram_parts()),
        }
    }

    /// Puts the next one in `exemplar`; false when there is none left.
    pub(super) fn next(&mut self, exemplar: &mut Exemplar) -> Result<bool> {
        loop {
            let message = match self {
                Self::None => return Ok(false),
                Self::One(message) => {
                    let message = *message;
                    *self = Self::None;
                    return read(message, exemplar);
                }
                Self::Listed(parts) => parts.next_message(EXEMPLARS, "Exemplars", "Exemplar")?,
                Self::OfBuckets(parts) => match parts.next_item()? {
                    None => None,
                    Some(message) => match bucket(message)?.exemplar {
                        Some(message) => Some(message),
                        None => continue,
                    },
                },
            };
            let Some(message) = message else {
                *self = Self::None;
                return Ok(false);
            };
            if read(message, exemplar)? && exemplar.timestamp_ms.is_some() {
                return Ok(true);
            }
        }
    }
}

/// Reads an `Exemplar` message; false if a label is not UTF-8, since no one could store it.
fn read(mut message: Message<'_>, exemplar: &mut Exemplar) -> Result<bool> {
    exemplar.clear();
    let mut is_utf8 = true;
    while let Some(field) = message.field()? {
        match field.number {
            1 => {
                let LabelPair { name, value, .. } = LabelPair::read(field.message("Label", "LabelPair")?)?;
                match (std::str::from_utf8(name.unwrap_or_default()), std::str::from_utf8(value)) {
                    (Ok(name), Ok(value)) => exemplar.push_label(name, value),
                    _ => is_utf8 = false,
                }
            }
            2 => exemplar.value = field.double("Value")?,
            3 => exemplar.timestamp_ms = exact_timestamp_ms(field.message("Timestamp", "Timestamp")?)?,
            _ => {}
        }
    }
    exemplar.sort_labels();
    Ok(is_utf8)
}
