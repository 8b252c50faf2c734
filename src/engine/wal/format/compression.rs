//! Compression of whole records: snappy blocks or Zstandard frames, with reused state and bounded output.
//!
//! Knows neither pages nor what a record means.

use crate::wal::format::page::{SNAPPY_FLAG, ZSTD_FLAG};
use crate::wal::options::Compression;
use std::fmt;

/// Largest record a reader unfolds, in bytes. Our own writers cut records at a mebibyte; Prometheus puts all new
/// series of a scrape into one record, which is tens of megabytes for a page of a million series.
pub const MAX_RECORD_BYTES: usize = 256 * 1024 * 1024;

/// A snappy block cannot unfold to more than this many times its size: its densest element is 64 bytes from 3.
const SNAPPY_MAX_RATIO: usize = 22;

/// Fast and small; node_exporter's records gain little from higher levels.
const ZSTD_LEVEL: i32 = 1;

/// How much larger the buffer gets when a Zstandard frame does not say its size and did not fit.
const ZSTD_GROWTH: usize = 4;

/// Compresses records one after the other.
pub struct Compressor {
    kind: Kind,
}

enum Kind {
    None,
    Snappy(Box<snap::raw::Encoder>),
    Zstd(zstd::bulk::Compressor<'static>),
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::None => "Compressor(none)",
            Kind::Snappy(_) => "Compressor(snappy)",
            Kind::Zstd(_) => "Compressor(zstd)",
        })
    }
}

impl Compressor {
    /// State for records of this kind; without memory for Zstandard's tables it compresses nothing.
    pub fn new(compression: Compression) -> Self {
        let kind = match compression {
            Compression::None => Kind::None,
            Compression::Snappy => Kind::Snappy(Box::new(snap::raw::Encoder::new())),
            Compression::Zstd => {
                zstd::bulk::Compressor::new(ZSTD_LEVEL).map(Kind::Zstd).unwrap_or(Kind::None)
            }
        };
        Self { kind }
    }

    /// Puts the compressed record at the end of `out` and returns its flag; the record itself with flag 0 if
    /// compression does not make it smaller, as Prometheus does.
    pub fn append(&mut self, record: &[u8], scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> u8 {
        let compressed = match &mut self.kind {
            Kind::None => None,
            Kind::Snappy(encoder) => {
                scratch.resize(snap::raw::max_compress_len(record.len()).max(scratch.len()), 0);
                encoder.compress(record, scratch).ok().map(|len| (len, SNAPPY_FLAG))
            }
            Kind::Zstd(compressor) => {
                scratch.clear();
                scratch.reserve(zstd::zstd_safe::compress_bound(record.len()));
                compressor.compress_to_buffer(record, scratch).ok().map(|len| (len, ZSTD_FLAG))
            }
        };
        match compressed.and_then(|(len, flag)| scratch.get(..len).map(|bytes| (bytes, flag))) {
            Some((bytes, flag)) if bytes.len() < record.len() => {
                out.extend_from_slice(bytes);
                flag
            }
            _ => {
                out.extend_from_slice(record);
                0
            }
        }
    }
}

/// Unfolds records one after the other.
#[derive(Default)]
pub struct Decompressor {
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// Replaces the content of `out` with the unfolded record, at most `limit` bytes.
    ///
    /// # Errors
    /// A sentence: the data is not what the flag says, or it is over the limit.
    pub fn decompress(
        &mut self,
        data: &[u8],
        compression_flag: u8,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        // Prometheus' reader takes a flagged record without data for an empty record.
        if data.is_empty() {
            out.clear();
            return Ok(());
        }
        match compression_flag {
            SNAPPY_FLAG => decompress_snappy(data, limit, out),
            ZSTD_FLAG => self.decompress_zstd(data, limit, out),
            _ => {
                out.clear();
                out.extend_from_slice(data);
                Ok(())
            }
        }
    }

    fn decompress_zstd(&mut self, data: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), String> {
        let decompressor = match &mut self.zstd {
            Some(decompressor) => decompressor,
            none => none.insert(zstd::bulk::Decompressor::new().map_err(|err| err.to_string())?),
        };
        let said = zstd::bulk::Decompressor::upper_bound(data);
        if let Some(bytes) = said.filter(|bytes| *bytes > limit) {
            return Err(over_limit(bytes, limit));
        }
        // A frame may lie about its size, or not say it: then the buffer grows until it fits.
        let mut capacity = said.unwrap_or(data.len().saturating_mul(ZSTD_GROWTH)).min(limit);
        loop {
            out.clear();
            out.try_reserve_exact(capacity).map_err(|_| "no memory to unfold the record".to_owned())?;
            match decompressor.decompress_to_buffer(data, out) {
                Ok(_) if out.len() > limit => return Err(over_limit(out.len(), limit)),
                Ok(_) => return Ok(()),
                Err(err) if said.is_some() || capacity >= limit => return Err(err.to_string()),
                Err(_) => capacity = capacity.saturating_mul(ZSTD_GROWTH).min(limit),
            }
        }
    }
}

fn decompress_snappy(data: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), String> {
    let bytes = snap::raw::decompress_len(data).map_err(|err| err.to_string())?;
    if bytes > limit {
        return Err(over_limit(bytes, limit));
    }
    if bytes > data.len().saturating_mul(SNAPPY_MAX_RATIO) {
        return Err(format!("snappy block of {} bytes says it unfolds to {bytes}", data.len()));
    }
    out.resize(bytes, 0);
    snap::raw::Decoder::new().decompress(data, out).map(|_| ()).map_err(|err| err.to_string())
}

fn over_limit(bytes: usize, limit: usize) -> String {
    format!("record unfolds to {bytes} bytes (limit: {limit})")
}
