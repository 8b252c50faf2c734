//! Records of float samples, those of version 2 read only: start times are left out.

use crate::wal::format::record::bytes::Bytes;
use crate::wal::format::record::deltas::{DeltaEncoder, Deltas};
use crate::wal::format::record::entries::{Entries, ReadEntry};
use crate::wal::format::record::record_type::{DecodeError, SAMPLES};

/// One float sample.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Ref of a series record that stands before it.
    pub series_ref: u64,
    /// Milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// The value, payload bits of a NaN included.
    pub value: f64,
}

/// Samples of a samples record.
pub type Samples<'a> = Entries<'a, SampleReader>;

/// Reads them.
#[derive(Clone, Debug)]
pub struct SampleReader {
    pub(super) deltas: Deltas,
}

impl<'a> ReadEntry<'a> for SampleReader {
    type Entry = Sample;

    fn read(&mut self, body: &mut Bytes<'a>) -> Result<Sample, DecodeError> {
        let (series_ref, ts_ms) = self.deltas.next(body)?;
        Ok(Sample { series_ref, ts_ms, value: body.float()? })
    }
}

/// Writes a samples record sample by sample at the end of a buffer.
#[derive(Debug)]
pub struct SamplesEncoder {
    deltas: DeltaEncoder,
}

impl SamplesEncoder {
    /// Starts a record in `out`, which must be empty.
    pub fn start(out: &mut Vec<u8>) -> Self {
        out.push(SAMPLES);
        Self { deltas: DeltaEncoder::default() }
    }

    /// Adds one sample.
    #[inline]
    pub fn push(&mut self, out: &mut Vec<u8>, sample: Sample) {
        self.deltas.put(out, sample.series_ref, sample.ts_ms);
        out.extend_from_slice(&sample.value.to_bits().to_be_bytes());
    }
}
