//! One GET a scrape: the request of a target, its connection, and the body as it came over the wire.

use std::time::{Duration, Instant};

use crate::config::ScrapeConfig;
use crate::scrape::buffers::BodyBuffer;
use crate::scrape::error::ScrapeError;
use crate::scrape::target_url::TargetUrl;

/// Fetches one target; owns its connection.
#[derive(Debug)]
pub struct Scraper {}

/// What came back with the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// `Content-Type` as sent; empty when it was not.
    pub content_type: String,
    /// How the body is packed.
    pub content_encoding: ContentEncoding,
    /// Size of the body as received.
    pub wire_bytes: usize,
}

/// How a body is packed; only exactly `gzip` is unpacked, anything else is taken as it is (as Prometheus does).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentEncoding {
    /// As it is.
    #[default]
    Identity,
    /// `Content-Encoding: gzip`.
    Gzip,
}

/// Ends a fetch that runs in another thread; clones cancel the same scraper, which stays cancelled.
#[derive(Clone, Debug)]
pub struct Canceller {}

impl Scraper {
    /// A scraper of `url`; nothing is opened yet. `timeout` is what the target is told it has.
    pub fn new(url: &TargetUrl, config: &ScrapeConfig, timeout: Duration) -> Self {
        let _ = (url, config, timeout);
        todo!("http helper")
    }

    /// One GET with one deadline over the whole exchange. `body` (of `BodyBudget::wire_buffer`, empty) gets the
    /// body still compressed, never more than the limit.
    pub fn fetch(&mut self, deadline: Instant, body: &mut BodyBuffer) -> Result<Fetched, ScrapeError> {
        let _ = (deadline, body);
        todo!("http helper")
    }

    /// A handle that ends a running fetch at once.
    pub fn canceller(&self) -> Canceller {
        Canceller {}
    }
}

impl Canceller {
    /// The running fetch returns an error at once, later ones do as well.
    pub fn cancel(&self) {
        todo!("http helper")
    }
}
