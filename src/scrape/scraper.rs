//! One GET.

use crate::config::ScrapeConfig;
use crate::scrape::error::ScrapeError;
use crate::scrape::target::TargetUrl;
use std::time::{Duration, Instant};

/// How a body is packed: only the exact word `gzip` is decoded, as Prometheus does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentEncoding {
    /// Not at all, or by a name that is not decoded.
    #[default]
    Identity,
    /// Gzip.
    Gzip,
}

/// Head of an answer with status 200.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// `Content-Type` as sent; empty when missing.
    pub content_type: String,
    /// `Content-Encoding`.
    pub content_encoding: ContentEncoding,
    /// Bytes of the body as sent.
    pub wire_bytes: usize,
}

/// Asks one target.
#[derive(Debug)]
pub struct Scraper {}

impl Scraper {
    /// A scraper that has not connected yet.
    pub fn new(url: &TargetUrl, config: &ScrapeConfig, timeout: Duration) -> Scraper {
        let _ = (url, config, timeout);
        Scraper {}
    }

    /// One GET, one deadline over the whole exchange; body still compressed, cut at the limit.
    ///
    /// # Errors
    /// Everything between the address and the last byte of the body.
    pub fn fetch(&mut self, deadline: Instant, body: &mut Vec<u8>) -> Result<Fetched, ScrapeError> {
        let _ = (deadline, body);
        todo!("http helper")
    }

    /// Ends a fetch from another thread.
    pub fn canceller(&self) -> Canceller {
        Canceller {}
    }
}

/// Unblocks a fetch that runs in another thread.
#[derive(Clone, Debug)]
pub struct Canceller {}

impl Canceller {
    /// Ends the fetch at once with [`ScrapeError::Cancelled`]; later ones fail too.
    pub fn cancel(&self) {}
}
