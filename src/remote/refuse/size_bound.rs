//! How large a request an endpoint takes: what brought status 413 is remembered, and grows again slowly.
//!
//! Bytes are what nearly all limits are about. Samples are only held to account where bytes cannot explain a refusal.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// After so long without a 413 the bound is doubled: somebody may have raised the limit.
const GROW_AFTER: Duration = Duration::from_secs(5 * 60);

/// A bound beyond this is none.
const LARGEST_BYTES: usize = 64 << 20;

/// The size of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Bytes as they are sent.
    pub bytes: usize,
    /// Items of all kinds.
    pub items: usize,
}

/// The bound of one endpoint.
#[derive(Debug, Default)]
pub struct SizeBound(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The largest that was taken, each for itself.
    taken: Size,
    bytes: Option<usize>,
    items: Option<usize>,
    grow_at: Option<Instant>,
}

impl SizeBound {
    /// A request of this size was taken.
    pub fn taken(&self, size: Size, now: Instant) {
        let mut state = self.0.lock();
        state.taken.bytes = state.taken.bytes.max(size.bytes);
        state.taken.items = state.taken.items.max(size.items);
        if state.grow_at.is_some_and(|grow_at| grow_at <= now) {
            state.grow_at = Some(now + GROW_AFTER);
            state.bytes = state.bytes.map(|bytes| bytes * 2);
            state.items = state.items.map(|items| items * 2);
            if state.bytes.unwrap_or_default().max(state.items.unwrap_or_default()) > LARGEST_BYTES {
                *state = State { taken: state.taken, ..State::default() };
            }
        }
    }

    /// A request of this size was too large.
    pub fn refused(&self, size: Size, now: Instant) {
        let mut state = self.0.lock();
        let State { taken, bytes, items, grow_at } = &mut *state;
        *grow_at = Some(now + GROW_AFTER);
        let least = |bound: Option<usize>, new: usize| Some(bound.map_or(new, |bound| bound.min(new)).max(1));
        if size.bytes > taken.bytes {
            *bytes = least(*bytes, (size.bytes / 2).max(taken.bytes));
        } else if size.items > taken.items {
            *items = least(*items, (size.items / 2).max(taken.items));
        } else {
            // Smaller than what was once taken: the limit is a new one.
            *taken = Size::default();
            *bytes = least(*bytes, size.bytes / 2);
        }
    }

    /// Whether a request is worth a try.
    pub fn fits(&self, size: Size) -> bool {
        let state = self.0.lock();
        state.bytes.is_none_or(|bytes| size.bytes <= bytes)
            && state.items.is_none_or(|items| size.items <= items)
    }

    /// Items a request may have, when one takes this many bytes.
    pub fn items(&self, bytes_per_item: f64) -> usize {
        let state = self.0.lock();
        let by_bytes =
            state.bytes.map_or(usize::MAX, |bytes| (bytes as f64 / bytes_per_item.max(1.0)) as usize);
        by_bytes.min(state.items.unwrap_or(usize::MAX)).max(1)
    }

    /// The bound in bytes and items; 0 without one.
    pub fn shown(&self) -> Size {
        let state = self.0.lock();
        Size { bytes: state.bytes.unwrap_or_default(), items: state.items.unwrap_or_default() }
    }

    /// Nothing is known of an endpoint that refuses all sizes.
    pub fn forget(&self) {
        *self.0.lock() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{GROW_AFTER, Size, SizeBound};
    use std::time::Instant;

    fn size(bytes: usize, items: usize) -> Size {
        Size { bytes, items }
    }

    #[test]
    fn what_was_too_large_is_not_sent_again_and_the_bound_grows() {
        let (bound, now) = (SizeBound::default(), Instant::now());
        assert!(bound.fits(size(1 << 20, 2000)));
        bound.refused(size(8000, 2000), now);
        assert_eq!(bound.shown(), size(4000, 0));
        bound.taken(size(1500, 400), now);
        bound.refused(size(2600, 700), now);
        assert_eq!(bound.shown(), size(1500, 0), "not below what was taken");
        assert!(bound.fits(size(1500, 9999)) && !bound.fits(size(1501, 1)));
        assert_eq!(bound.items(4.0), 375);
        bound.taken(size(1500, 400), now + GROW_AFTER);
        assert_eq!(bound.shown(), size(3000, 0));
        bound.taken(size(3000, 800), now + GROW_AFTER);
        assert_eq!(bound.shown(), size(3000, 0), "not again at once");
    }

    #[test]
    fn one_large_sample_does_not_make_all_requests_small() {
        let (bound, now) = (SizeBound::default(), Instant::now());
        bound.taken(size(50_000, 2000), now);
        for items in [2000, 1000, 500, 1] {
            bound.refused(size(10_000_000 + items, items), now);
        }
        bound.taken(size(25_000, 1000), now);
        assert_eq!(bound.items(25.0), 200_000);
    }

    #[test]
    fn a_limit_of_samples_and_a_new_limit_are_found() {
        let (bound, now) = (SizeBound::default(), Instant::now());
        bound.taken(size(50_000, 400), now);
        bound.refused(size(40_000, 900), now);
        assert_eq!(bound.shown(), size(0, 450));
        bound.refused(size(30_000, 300), now);
        assert_eq!(bound.shown(), size(15_000, 450));
        bound.forget();
        assert!(bound.fits(size(1 << 30, 1 << 20)));
    }
}
