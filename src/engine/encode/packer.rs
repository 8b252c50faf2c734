//! Requests as snappy blocks.

use std::fmt;

/// Compresses one request after the other in the same memory.
pub struct Packer {
    encoder: snap::raw::Encoder,
    /// Longer than what is packed: what stands behind that is room for the next one, which need not be zeroed again.
    buffer: Vec<u8>,
    len: usize,
}

impl Default for Packer {
    fn default() -> Self {
        Self { encoder: snap::raw::Encoder::new(), buffer: Vec::new(), len: 0 }
    }
}

impl fmt::Debug for Packer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer").field("len", &self.len).finish_non_exhaustive()
    }
}

impl Packer {
    /// Compresses `message`; what was packed before is gone.
    ///
    /// # Errors
    /// A message of 4 GiB; then nothing is packed.
    pub fn pack(&mut self, message: &[u8]) -> Result<&[u8], snap::Error> {
        self.len = 0;
        let max_len = snap::raw::max_compress_len(message.len());
        if self.buffer.len() < max_len {
            self.buffer.resize(max_len, 0);
        }
        self.len = self.encoder.compress(message, &mut self.buffer)?;
        Ok(self.bytes())
    }

    /// What was packed last.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }
}
