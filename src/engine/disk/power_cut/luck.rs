//! How much of what was not synced survives.

use crate::disk::draw::Draw;

/// What survives a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// Everything in its order up to a moment.
    Ordered,
    /// What was synced, and any part of the rest.
    Any,
}

/// How much survives. If each part were drawn by itself, all or none of many would hardly ever come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Luck {
    Everything,
    Nothing,
    /// Each by itself, so many times in five.
    Fifths(u64),
}

impl Luck {
    pub(super) fn drawn(survival: Survival, draw: &mut Draw) -> Luck {
        match (survival, draw.below(6)) {
            (Survival::Ordered, _) | (_, 0) => Luck::Everything,
            (_, 5) => Luck::Nothing,
            (_, fifths) => Luck::Fifths(fifths),
        }
    }

    /// Whether the next part survives.
    pub(super) fn has(self, draw: &mut Draw) -> bool {
        match self {
            Luck::Everything => true,
            Luck::Nothing => false,
            Luck::Fifths(fifths) => draw.below(5) < fifths,
        }
    }
}
