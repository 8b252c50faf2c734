//! A file while a recording is played.

use std::collections::BTreeMap;

use crate::disk::draw::Draw;
use crate::disk::power_cut::luck::{Luck, Survival};

/// What reaches the disk in one piece, in bytes.
const BLOCK_BYTES: u64 = 4096;

/// A file: what of it is durable, and what was done since.
#[derive(Debug, Default)]
pub(super) struct File {
    /// Its length as whoever is running sees it.
    pub(super) bytes: u64,
    durable: Vec<u8>,
    /// What was written or cut since, in its order.
    pending: Vec<Piece>,
    /// The lengths that it had since.
    lengths: Vec<u64>,
}

/// Bytes within one block.
#[derive(Debug)]
struct Piece {
    at: u64,
    data: Vec<u8>,
}

impl File {
    /// All of it is durable.
    pub(super) fn holding(durable: Vec<u8>) -> File {
        File { bytes: durable.len() as u64, durable, ..File::default() }
    }

    /// Writes `data` from offset `at` on.
    pub(super) fn write(&mut self, at: u64, data: &[u8]) {
        let mut at = at;
        let mut rest = data;
        while !rest.is_empty() {
            let to_next_block = (BLOCK_BYTES - at % BLOCK_BYTES) as usize;
            let (piece, behind) = rest.split_at(to_next_block.min(rest.len()));
            self.pending.push(Piece { at, data: piece.to_owned() });
            at += piece.len() as u64;
            rest = behind;
            self.bytes = self.bytes.max(at);
            self.lengths.push(self.bytes);
        }
    }

    /// Cuts it or makes it longer by zeros.
    pub(super) fn set_len(&mut self, bytes: u64) {
        let cut_bytes = self.bytes.saturating_sub(bytes) as usize;
        if cut_bytes > 0 {
            self.write(bytes, &vec![0; cut_bytes]);
        }
        self.bytes = bytes;
        self.lengths.push(bytes);
    }

    /// Makes what it holds durable.
    pub(super) fn sync(&mut self) {
        for Piece { at, data } in self.pending.drain(..) {
            place(&mut self.durable, at, &data);
        }
        self.durable.resize(self.bytes as usize, 0);
        self.lengths.clear();
    }

    /// What is left of it if the power is cut now.
    pub(super) fn image(&self, survival: Survival, draw: &mut Draw) -> Vec<u8> {
        let mut content = self.durable.clone();
        let mut blocks: BTreeMap<u64, Vec<&Piece>> = BTreeMap::new();
        for piece in &self.pending {
            blocks.entry(piece.at / BLOCK_BYTES).or_default().push(piece);
        }
        let luck = Luck::drawn(survival, draw);
        for pieces in blocks.values() {
            // The block was written to the disk after so many of them.
            let n_pieces = pieces.iter().rposition(|_| luck.has(draw)).map_or(0, |last| last + 1);
            pieces[..n_pieces].iter().for_each(|piece| place(&mut content, piece.at, &piece.data));
        }
        let had = |draw: &mut Draw| {
            let idx = draw.below(self.lengths.len() as u64 + 1) as usize;
            self.lengths.get(idx).copied().unwrap_or(self.durable.len() as u64)
        };
        let bytes = if luck == Luck::Everything { self.bytes } else { had(draw) };
        content.resize(bytes as usize, 0);
        content
    }
}

fn place(content: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (start, end) = (at as usize, at as usize + data.len());
    content.resize(content.len().max(end), 0);
    content[start..end].copy_from_slice(data);
}
