//! The two buffers of an exchange, allocated when first used and freed when ureq hands the connection back.
//!
//! ureq's own `LazyBuffers` allocates both at once and keeps them: 24 KiB for every target that hangs or idles.

use ureq::unversioned::transport::Buffers;

use crate::http::wire::head::{Head, TooLarge, reason_of};

/// Holds what is kept of a response head; bodies pass through in pieces of this size.
pub(in crate::http) const INPUT_BYTES: usize = 16 << 10;

/// Holds the longest request line and header line that is sent.
pub(in crate::http) const OUTPUT_BYTES: usize = 8 << 10;

/// Input and output of one connection.
#[derive(Debug, Default)]
pub(in crate::http) struct ExchangeBuffers {
    input: Vec<u8>,
    /// Unconsumed bytes are `input[start..end]`.
    start: usize,
    end: usize,
    /// Whether the last look at the input took something from it; if not, more is needed.
    made_progress: bool,
    output: Vec<u8>,
    scratch: Vec<u8>,
    head: Head,
    /// The head is read: what is here is body.
    is_past_head: bool,
}

impl ExchangeBuffers {
    /// Whether the input buffer is allocated.
    pub(in crate::http) fn has_input_memory(&self) -> bool {
        !self.input.is_empty()
    }

    /// After something came: mends the lines of a head, and gives the words of a status that is not 200.
    pub(in crate::http) fn take_head(&mut self) -> Result<Option<&[u8]>, TooLarge> {
        if self.is_past_head {
            return Ok(None);
        }
        if self.start > 0 {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.end = self.head.mend(&mut self.input, self.end)?;
        Ok(reason_of(self.input()))
    }

    /// The request is sent.
    pub(in crate::http) fn free_output(&mut self) {
        self.output = Vec::new();
        self.scratch = Vec::new();
    }
}

impl Buffers for ExchangeBuffers {
    fn output(&mut self) -> &mut [u8] {
        if self.output.is_empty() {
            self.output = vec![0; OUTPUT_BYTES];
        }
        &mut self.output
    }

    fn input(&self) -> &[u8] {
        let n_bytes = self.end - self.start;
        let n_visible = if self.is_past_head { n_bytes } else { self.head.n_visible(n_bytes) };
        &self.input[self.start..self.start + n_visible]
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        if self.input.is_empty() {
            self.input = vec![0; INPUT_BYTES];
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.input.len() {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.input[self.end..]
    }

    fn input_appended(&mut self, amount: usize) {
        self.end = (self.end + amount).min(self.input.len());
    }

    fn input_consume(&mut self, amount: usize) {
        self.made_progress = amount > 0;
        self.is_past_head |= amount > 0;
        self.start = (self.start + amount).min(self.end);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        if self.scratch.is_empty() {
            self.scratch = vec![0; OUTPUT_BYTES];
        }
        if self.output.is_empty() {
            self.output = vec![0; OUTPUT_BYTES];
        }
        (&mut self.scratch, &mut self.output)
    }

    fn can_use_input(&self) -> bool {
        self.made_progress && !self.input().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(buffers: &mut ExchangeBuffers, bytes: &[u8]) {
        buffers.input_append_buf()[..bytes.len()].copy_from_slice(bytes);
        buffers.input_appended(bytes.len());
    }

    #[test]
    fn unconsumed_input_survives_until_the_buffer_is_full_of_it() {
        let mut buffers = ExchangeBuffers::default();
        assert!(!buffers.has_input_memory());
        append(&mut buffers, &[b'a'; INPUT_BYTES]);
        // Not a head, so all of it is seen.
        assert_eq!(buffers.take_head(), Ok(None));
        assert!(buffers.input_append_buf().is_empty());
        buffers.input_consume(INPUT_BYTES - 3);
        assert!(buffers.can_use_input());
        append(&mut buffers, b"bcd");
        assert_eq!(buffers.input(), b"aaabcd");
        buffers.input_consume(0);
        assert!(!buffers.can_use_input(), "whoever took nothing needs more");
        assert_eq!(buffers.input_append_buf().len(), INPUT_BYTES - 6);
    }

    #[test]
    fn output_is_freed_apart_from_input() {
        let mut buffers = ExchangeBuffers::default();
        assert_eq!(buffers.output().len(), OUTPUT_BYTES);
        buffers.free_output();
        assert_eq!((buffers.output.capacity(), buffers.input.capacity()), (0, 0));
    }
}
