//! Refs and timestamps of an entry, as records of samples, histograms and exemplars share them: differences to the
//! record's first entry, in version 2 of a ref to the entry before.

use crate::wal::format::record::bytes::{Bytes, put_uvarint, put_varint, zigzag};
use crate::wal::format::record::record_type::DecodeError;

/// Marker of version 2 that an explicit start time follows; lower values need no further byte.
const EXPLICIT_START_TIME: u8 = 2;

/// How a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    /// With start times, which are left out.
    V2,
}

/// Reads refs and timestamps of one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deltas {
    version: Version,
    /// V1: the record's base. V2: the newest ref, and the first entry's timestamp.
    base: Option<(u64, i64)>,
}

impl Deltas {
    pub(super) fn new(version: Version) -> Self {
        Self { version, base: None }
    }

    /// Ref and timestamp of the entry that `body` starts with.
    pub(super) fn next(&mut self, body: &mut Bytes<'_>) -> Result<(u64, i64), DecodeError> {
        match self.version {
            Version::V1 => self.next_v1(body),
            Version::V2 => self.next_v2(body),
        }
    }

    fn next_v1(&mut self, body: &mut Bytes<'_>) -> Result<(u64, i64), DecodeError> {
        let (base_ref, base_ts_ms) = match self.base {
            Some(base) => base,
            None => (body.be_u64()?, body.be_u64()? as i64),
        };
        self.base = Some((base_ref, base_ts_ms));
        let series_ref = base_ref.wrapping_add_signed(body.varint()?);
        Ok((series_ref, base_ts_ms.wrapping_add(body.varint()?)))
    }

    fn next_v2(&mut self, body: &mut Bytes<'_>) -> Result<(u64, i64), DecodeError> {
        let delta_ref = body.varint()?;
        let delta_ts_ms = body.varint()?;
        let (series_ref, ts_ms, first_ts_ms) = match self.base {
            None => {
                body.varint()?;
                (delta_ref as u64, delta_ts_ms, delta_ts_ms)
            }
            Some((previous_ref, first_ts_ms)) => {
                // Go writes the explicit start time for every marker it does not know, so do we read it.
                if body.byte()? >= EXPLICIT_START_TIME {
                    body.varint()?;
                }
                (
                    previous_ref.wrapping_add_signed(delta_ref),
                    first_ts_ms.wrapping_add(delta_ts_ms),
                    first_ts_ms,
                )
            }
        };
        self.base = Some((series_ref, first_ts_ms));
        Ok((series_ref, ts_ms))
    }
}

/// Writes refs and timestamps of one record, version 1.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeltaEncoder {
    base: Option<(u64, i64)>,
}

impl DeltaEncoder {
    #[inline]
    pub(super) fn put(&mut self, out: &mut Vec<u8>, series_ref: u64, ts_ms: i64) {
        let (base_ref, base_ts_ms) = *self.base.get_or_insert_with(|| {
            out.extend_from_slice(&series_ref.to_be_bytes());
            out.extend_from_slice(&ts_ms.to_be_bytes());
            (series_ref, ts_ms)
        });
        let delta_ref = series_ref.wrapping_sub(base_ref) as i64;
        if ts_ms != base_ts_ms {
            put_varint(out, delta_ref);
            return put_varint(out, ts_ms.wrapping_sub(base_ts_ms));
        }
        // Entries of a scrape mostly share their timestamp, and their refs are near each other.
        match zigzag(delta_ref) {
            delta @ 0..0x80 => out.extend_from_slice(&[delta as u8, 0]),
            delta @ 0x80..0x4000 => {
                out.extend_from_slice(&[delta as u8 | 0x80, (delta >> 7) as u8, 0]);
            }
            delta => {
                put_uvarint(out, delta);
                out.push(0);
            }
        }
    }
}
