//! What was measured last, for those who ask soon after: a page that refreshes itself does not read the log each time.

use crate::web::pages::cost::measure::Costs;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// A measurement is shown for so many times as long as it took: measuring takes a hundredth of a core at most.
const TIMES_AS_LONG: u32 = 100;

/// The newest measurement.
#[derive(Clone, Debug, Default)]
pub struct LatestCosts(Arc<Mutex<Option<Arc<Costs>>>>);

impl LatestCosts {
    /// The newest measurement, unless it is too old.
    pub(super) fn fresh(&self) -> Option<Arc<Costs>> {
        let kept = self.0.lock();
        kept.as_ref().filter(|costs| costs.at.elapsed() < kept_for(costs.took)).map(Arc::clone)
    }

    /// Keeps what was measured just now.
    pub(super) fn keep(&self, costs: &Arc<Costs>) {
        *self.0.lock() = Some(Arc::clone(costs));
    }
}

/// How long what took this long is shown.
fn kept_for(took: Duration) -> Duration {
    took * TIMES_AS_LONG
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::pages::cost::tally::Sum;
    use std::time::Instant;

    #[test]
    fn what_took_long_is_shown_for_long() {
        let latest = LatestCosts::default();
        assert!(latest.fresh().is_none());
        for (took, is_shown) in [(Duration::ZERO, false), (Duration::from_secs(3), true)] {
            let costs = Costs {
                at: Instant::now(),
                took,
                span: Duration::ZERO,
                is_cut: false,
                n_samples: 0,
                sum: Sum::default(),
                knows_new: false,
                costs: Vec::new(),
                n_uncounted: 0,
            };
            latest.keep(&Arc::new(costs));
            assert_eq!(latest.fresh().is_some(), is_shown, "{took:?}");
        }
    }
}
