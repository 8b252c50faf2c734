//! How many bytes an endpoint would be sent for what one scrape has stored.

use std::sync::Arc;

use crate::config::remote_write::{ProtobufMessage, RemoteWriteConfig};
use scraped_engine::encode::packer::Packer;
use scraped_engine::encode::{Message, RequestWriter};
use scraped_engine::histogram::Histogram;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::relabel::{Verdict, relabel};
use scraped_engine::labels::{Labels, METRIC_NAME};
use scraped_engine::sorting::sort_by;

/// A sample with the labels of its series.
pub(in crate::commands::cost) struct Sample {
    pub(in crate::commands::cost) labels: Labels,
    pub(in crate::commands::cost) ts_ms: i64,
    pub(in crate::commands::cost) value: Value,
}

/// What it says.
pub(in crate::commands::cost) enum Value {
    Float(f64),
    Histogram(Box<Histogram>),
}

/// Bodies of requests, as they would be sent: like names beside each other, as many samples as `max_samples_per_send`
/// allows, packed.
pub(in crate::commands::cost) fn request_bytes(
    samples: &mut [Sample],
    endpoint: &Arc<RemoteWriteConfig>,
    external_labels: &Labels,
) -> u64 {
    sort_by(samples, |left, right| left.labels.get(METRIC_NAME).cmp(right.labels.get(METRIC_NAME)));
    let message = match endpoint.protobuf_message {
        ProtobufMessage::V1 => Message::V1,
        ProtobufMessage::V2 => Message::V2,
    };
    let takes_histograms = endpoint.send_native_histograms || message == Message::V2;
    let (mut writer, mut packer, mut labels) =
        (RequestWriter::new(message), Packer::default(), LabelsBuilder::new());
    let (mut n_bytes, mut n_samples) = (0, 0);
    for sample in samples {
        labels.reset(&sample.labels);
        for (name, value) in external_labels.iter() {
            if labels.get(name).is_empty() {
                labels.set(name, value);
            }
        }
        let is_histogram = matches!(sample.value, Value::Histogram(_));
        if relabel(&mut labels, &endpoint.write_relabel_configs) != Verdict::Keep
            || (is_histogram && !takes_histograms)
        {
            continue;
        }
        labels.labels().iter().for_each(|(name, value)| writer.label(name, value));
        match &sample.value {
            Value::Float(value) => writer.sample(sample.ts_ms, *value),
            Value::Histogram(histogram) => writer.histogram(sample.ts_ms, histogram),
        }
        writer.end_series();
        n_samples += 1;
        if n_samples >= endpoint.queue.max_samples_per_send {
            n_bytes += packed(&mut writer, &mut packer, message);
            n_samples = 0;
        }
    }
    if n_samples > 0 {
        n_bytes += packed(&mut writer, &mut packer, message);
    }
    n_bytes
}

fn packed(writer: &mut RequestWriter, packer: &mut Packer, message: Message) -> u64 {
    let n_bytes = packer.pack(writer.bytes()).map_or(0, <[u8]>::len);
    writer.start(message);
    n_bytes as u64
}
