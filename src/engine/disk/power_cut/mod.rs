//! What a loss of power leaves of what was written, for tests; nothing that is shipped is built with it.
//!
//! A [`Recording`] is played up to some step; then the power is cut. By [`Survival::Any`] what was not synced survives in
//! any part, as the authors of ALICE found file systems to do it ("All File Systems Are Not Created Equal", OSDI 2014):
//!
//! - What a file held when it was synced is there. Of what was written since, each block of 4 KiB is as it was after any of
//!   the writes to it, or before all of them; its length is any that the file had since. What was never written is zeros.
//! - What was done to names survives when the directory of the new name was synced. Of what was done since, any subset
//!   survives, in its order. An fsync of a file says nothing of its name.
//! - A rename is one operation: both names change or none does.
//!
//! By [`Survival::Ordered`] all that was done before the cut survives, and of a write that was the last step a front part.

use crate::disk::draw::Draw;
use crate::disk::image::Image;
use crate::disk::power_cut::tree::Tree;
use crate::disk::recorder::{Recording, Step};

mod file;
mod luck;
mod tree;

pub use luck::Survival;

#[cfg(test)]
mod power_cut_tests;

/// What is found after the power was cut when the first `n_steps` steps of a recording were done. The same seed gives the
/// same image.
///
/// # Panics
/// The recording is none: it names what is not there.
pub fn image(recording: &Recording, n_steps: usize, survival: Survival, seed: u64) -> Image {
    let mut draw = Draw::new(seed);
    let mut tree = Tree::of(&recording.base);
    let steps = &recording.steps[..n_steps.min(recording.steps.len())];
    match (survival, steps.split_last()) {
        (Survival::Ordered, Some((Step::Write { handle, data }, before))) => {
            before.iter().for_each(|step| tree.play(step));
            let n_bytes = draw.below(data.len() as u64 + 1) as usize;
            tree.play(&Step::Write { handle: *handle, data: data[..n_bytes].to_owned() });
        }
        _ => steps.iter().for_each(|step| tree.play(step)),
    }
    tree.image(survival, &mut draw)
}
