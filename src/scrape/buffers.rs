//! A byte budget that all bodies in flight share, and the buffers that hold them.

use std::ops::Deref;
use std::sync::Arc;

/// Default of `--scrape.body-budget`: what all bodies in flight may hold together.
pub const DEFAULT_BODY_BUDGET_BYTES: u64 = 64 << 20;

/// Default of `--scrape.max-body-bytes`: what one body may hold where `body_size_limit` is 0.
pub const DEFAULT_MAX_BODY_BYTES: u64 = 256 << 20;

/// The budget and the idle buffers; one a process.
#[derive(Debug)]
pub struct BodyBudget {}

impl BodyBudget {
    /// A budget of `budget_bytes`, with `max_body_bytes` as the cap of one body.
    pub fn new(budget_bytes: u64, max_body_bytes: u64) -> Arc<Self> {
        let _ = (budget_bytes, max_body_bytes);
        Arc::new(Self {})
    }

    /// A buffer for a body as it comes over the wire; it holds nothing until bytes come.
    pub fn wire_buffer(self: &Arc<Self>) -> BodyBuffer {
        BodyBuffer { budget: Arc::clone(self), bytes: Vec::new() }
    }

    /// A buffer for an unpacked body, filled while a permit is held.
    pub fn decoded_buffer(self: &Arc<Self>) -> BodyBuffer {
        BodyBuffer { budget: Arc::clone(self), bytes: Vec::new() }
    }
}

/// A body; reads like `&[u8]`. Dropping it gives its bytes back to the budget and its memory to the next scrape.
#[derive(Debug)]
pub struct BodyBuffer {
    #[allow(dead_code, reason = "used once the budget counts")]
    budget: Arc<BodyBudget>,
    bytes: Vec<u8>,
}

impl Deref for BodyBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Default for BodyBudget {
    fn default() -> Self {
        Self {}
    }
}
