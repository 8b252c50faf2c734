//! Permits for the CPU: as many tokens in a channel as there are cores.
//!
//! Waiting for a socket needs none; decoding, parsing and appending happen while one is held. So the memory for
//! unpacked pages is bounded by cores and not by targets.

use crossbeam_channel::{Receiver, Sender, bounded};

/// The tokens; clones share them.
#[derive(Clone, Debug)]
pub struct Permits {
    give: Sender<()>,
    take: Receiver<()>,
}

impl Permits {
    /// `n_permits` tokens, at least one.
    pub fn new(n_permits: usize) -> Self {
        let (give, take) = bounded(n_permits.max(1));
        while give.try_send(()).is_ok() {}
        Self { give, take }
    }

    /// Waits for a token. It goes back when the permit is dropped, also by a panic.
    pub fn acquire(&self) -> Permit {
        // Both ends live in `self`, so the channel cannot be closed.
        let _ = self.take.recv();
        Permit { give: self.give.clone() }
    }
}

/// One token, held.
#[derive(Debug)]
pub struct Permit {
    give: Sender<()>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Never full: this token came out of it.
        let _ = self.give.try_send(());
    }
}

#[cfg(test)]
mod tests {
    use super::Permits;

    #[test]
    fn a_permit_goes_back_after_a_panic() {
        let permits = Permits::new(1);
        for _ in 0..3 {
            let permits = permits.clone();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _permit = permits.acquire();
                panic!("a scrape went wrong");
            }));
            assert!(outcome.is_err());
        }
        assert_eq!(permits.take.len(), 1);
        let held = permits.acquire();
        assert_eq!(permits.take.len(), 0);
        drop(held);
        assert_eq!(permits.take.len(), 1);
    }
}
