//! The body of a target's answer, as it comes over the wire, into the buffer of its scrape.
//!
//! Knows the limits of the job and what the head promises; memory is charged when bytes are there.

use std::time::Instant;

use crate::http::wire::response::Response;
use crate::scrape::error::ScrapeError;
use crate::scrape::targets::bad_answer::START_BYTES;
use scraped_engine::store::body_budget::BodyBuffer;
use scraped_engine::store::decode::ContentEncoding;
use scraped_engine::store::error::PageError;

/// Of a promised `Content-Length` so much is believed before bytes come: a peer that promises and does not send
/// must not hold the budget of others.
const BELIEVED_BYTES: u64 = 1 << 20;

/// Bodies of error answers up to this size are read, to keep the connection.
const ERROR_BODY_BYTES: usize = 16 << 10;

/// On the stack, for the first bytes of a body and for those after a buffer that is full.
const PROBE_BYTES: usize = 1024;

/// What is known of a body before it comes.
#[derive(Debug)]
pub(super) struct PageBody {
    /// How it is packed.
    pub content_encoding: ContentEncoding,
    promised_bytes: Option<u64>,
    /// `body_size_limit`, of the unpacked size; 0 without one.
    limit_bytes: u64,
    /// Size of the last body of the target; this one is taken to be alike.
    last_wire_bytes: u64,
}

impl PageBody {
    /// Of an answer whose head has come.
    ///
    /// # Errors
    /// A status other than 200; a promised size over the limit.
    pub(super) fn of(
        response: &mut Response<'_>,
        limit_bytes: u64,
        last_wire_bytes: u64,
    ) -> Result<Self, ScrapeError> {
        if response.status() != 200 {
            let start = discard(response);
            let start = response.content_encoding().is_empty().then_some(start);
            let reason = response.reason().to_owned();
            return Err(ScrapeError::Status { code: response.status(), reason, start });
        }
        let content_encoding = match response.content_encoding() {
            b"gzip" => ContentEncoding::Gzip,
            _ => ContentEncoding::Identity,
        };
        let promised_bytes = response.content_length();
        let body = Self { content_encoding, promised_bytes, limit_bytes, last_wire_bytes };
        let wire_limit_bytes = body.wire_limit_bytes();
        if wire_limit_bytes > 0 && promised_bytes.is_some_and(|promised| promised >= wire_limit_bytes) {
            return Err(body.over_limit());
        }
        Ok(body)
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// What the connection says; a body over the limit; no memory for it before the deadline.
    pub(super) fn read(
        &self,
        response: &mut Response<'_>,
        deadline: Instant,
        body: &mut BodyBuffer,
    ) -> Result<(), ScrapeError> {
        while self.read_some(response, deadline, body)? > 0 {}
        let is_plain = self.content_encoding == ContentEncoding::Identity;
        if is_plain && self.limit_bytes > 0 && body.len() as u64 >= self.limit_bytes {
            return Err(self.over_limit());
        }
        Ok(())
    }

    /// One read; 0 at the end.
    fn read_some(
        &self,
        response: &mut Response<'_>,
        deadline: Instant,
        body: &mut BodyBuffer,
    ) -> Result<usize, ScrapeError> {
        if !body.room().is_empty() {
            let n_read = response.read(body.room())?;
            body.filled(n_read);
            return Ok(n_read);
        }
        // A target that hangs after its head holds no memory.
        let mut probe = [0; PROBE_BYTES];
        let n_probed = response.read(&mut probe)?;
        let mut probed = &probe[..n_probed];
        while !probed.is_empty() {
            let hint_bytes = self.expected_bytes(body.len() as u64);
            body.grow(hint_bytes, self.wire_limit_bytes(), deadline).map_err(|error| match error {
                PageError::BodySizeLimit { .. } => self.over_limit(),
                error => ScrapeError::Page(error),
            })?;
            let n_fits = probed.len().min(body.room().len());
            body.room()[..n_fits].copy_from_slice(&probed[..n_fits]);
            body.filled(n_fits);
            probed = &probed[n_fits..];
        }
        Ok(n_probed)
    }

    /// Packing makes a page larger by this at most, names of files in the header aside.
    fn wire_limit_bytes(&self) -> u64 {
        match self.content_encoding {
            ContentEncoding::Gzip if self.limit_bytes > 0 => {
                self.limit_bytes.saturating_add(self.limit_bytes / 100 + 1024)
            }
            ContentEncoding::Gzip => 0,
            ContentEncoding::Identity => self.limit_bytes,
        }
    }

    /// The size to expect once so much has come: one byte more, so that the end shows without another buffer.
    fn expected_bytes(&self, received_bytes: u64) -> u64 {
        let last_wire_bytes = self.last_wire_bytes;
        let expected_bytes = match self.promised_bytes {
            // Who has sent that much means it. To ask for all at once beats waiting for the rest while holding a part.
            Some(promised_bytes) if received_bytes >= BELIEVED_BYTES => promised_bytes,
            Some(promised_bytes) => promised_bytes.min(BELIEVED_BYTES.max(2 * last_wire_bytes)),
            None => last_wire_bytes + last_wire_bytes / 8,
        };
        expected_bytes.saturating_add(1)
    }

    fn over_limit(&self) -> ScrapeError {
        ScrapeError::Page(PageError::BodySizeLimit { limit_bytes: self.limit_bytes })
    }
}

/// Reads the body of an answer that is of no use, if it is short. Gives how it begins.
fn discard(response: &mut Response<'_>) -> Box<[u8]> {
    let mut start = Vec::new();
    let mut n_left = ERROR_BODY_BYTES;
    let mut scratch = [0; PROBE_BYTES];
    while n_left > 0 {
        let Ok(n_read @ 1..) = response.read(&mut scratch) else { break };
        let read = &scratch[..n_read];
        start.extend_from_slice(read.get(..START_BYTES - start.len()).unwrap_or(read));
        n_left = n_left.saturating_sub(n_read);
    }
    start.into()
}
