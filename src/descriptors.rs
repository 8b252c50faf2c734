//! Open files: the limit of this process, raised at the start, and what is kept free of it.
//!
//! The system gives a new descriptor the lowest free number. So nothing is counted: a connection whose number is among
//! the last ones is closed again, which leaves these numbers to what is more important. Connections to peers give way
//! first, those of the web server next; the rest is for the log, which must always be able to begin a segment.

use rustix::fd::{AsFd, AsRawFd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::OnceLock;

/// Most that is kept free.
const MAX_RESERVE: u64 = 64;
/// What the daemon itself has open, without any connection: log, segments, listeners, signals, files that are read.
const OWN: u64 = 24;

/// Descriptors that are open while a command is started, at most.
const TO_START: u64 = 7;
/// Under this limit commands that start may take the last descriptors.
const SCARCE: u64 = 4096;

/// The limit that this process was started with, if it was raised.
static FOUND: OnceLock<Rlimit> = OnceLock::new();

/// What a descriptor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A connection to a peer that is kept between two exchanges.
    Kept,
    /// A connection to a peer, for one exchange.
    Exchange,
    /// A connection of the web server.
    Web,
}

/// Raises the soft limit to the hard one, as Go's runtime does; returns both limits that are in force then.
pub fn raise() -> (u64, u64) {
    let found = getrlimit(Resource::Nofile);
    if found.current != found.maximum {
        let raised = Rlimit { current: found.maximum, ..found };
        if setrlimit(Resource::Nofile, raised).is_ok() {
            // The first one is what children get.
            let _ = FOUND.set(found);
        }
    }
    (found.current.unwrap_or(u64::MAX), limit())
}

/// The limit that commands get back: programs that use `select` cannot have more than 1024 open files.
pub fn limit_of_children() -> Option<Rlimit> {
    FOUND.get().copied()
}

/// Most open files of this process.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Whether a descriptor leaves enough for what is more important.
pub fn has_room(descriptor: &impl AsFd, purpose: Purpose) -> bool {
    let number = u64::try_from(descriptor.as_fd().as_raw_fd()).unwrap_or(0);
    number < first_refused(limit(), purpose)
}

/// Most connections of the web server under `limit`: clients that hold them must not keep targets from being scraped.
pub fn share_of_web(limit: u64) -> u64 {
    (limit / 4).max(1)
}

/// How many commands may be starting at one time: each has a few descriptors more until it runs, and these may be the
/// last ones.
pub fn max_starting() -> usize {
    let limit = limit();
    let free = first_refused(limit, Purpose::Web) - first_refused(limit, Purpose::Exchange);
    match limit < SCARCE {
        true => usize::try_from(free / TO_START).unwrap_or(usize::MAX).max(1),
        false => usize::MAX,
    }
}

/// Most targets whose connections are kept under `limit`.
fn max_kept(limit: u64) -> u64 {
    first_refused(limit, Purpose::Kept).saturating_sub(OWN)
}

fn first_refused(limit: u64, purpose: Purpose) -> u64 {
    let reserve = (limit / 4).min(MAX_RESERVE);
    let free = match purpose {
        Purpose::Kept => 2 * reserve,
        Purpose::Exchange => reserve,
        Purpose::Web => reserve / 2,
    };
    limit - free
}

/// Says when the limit is too low for the targets there are: once, and again when it was enough in between.
#[derive(Debug, Default)]
pub struct Shortage {
    is_known: bool,
}

impl Shortage {
    /// A sentence if there are more targets than connections can be kept, and this is news.
    pub fn look(&mut self, n_targets: usize) -> Option<String> {
        self.judge(n_targets, limit())
    }

    fn judge(&mut self, n_targets: usize, limit: u64) -> Option<String> {
        let n_kept = max_kept(limit);
        let is_short = n_targets as u64 > n_kept;
        let was_known = std::mem::replace(&mut self.is_known, is_short);
        (is_short && !was_known).then(|| {
            format!(
                "the limit of open files is too low for {n_targets} targets (limit: {limit}): {n_kept} connections are \
                 kept, the others are opened again for each scrape; raise the hard limit (LimitNOFILE= of the unit, ulimit \
                 -Hn) to at least {}",
                n_targets as u64 + OWN + 2 * MAX_RESERVE
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Purpose, Shortage, first_refused};

    #[test]
    fn what_is_more_important_gets_the_last_ones() {
        let order = |limit| {
            [Purpose::Kept, Purpose::Exchange, Purpose::Web].map(|purpose| first_refused(limit, purpose))
        };
        assert_eq!(order(64), [32, 48, 56]);
        assert_eq!(order(1024), [896, 960, 992]);
        assert_eq!(order(0), [0, 0, 0]);
    }

    #[test]
    fn a_shortage_is_said_once_and_again_when_it_comes_back() {
        let mut shortage = Shortage::default();
        assert_eq!(shortage.judge(8, 64), None);
        let sentence = shortage.judge(100, 64).expect("news");
        assert!(sentence.contains("100 targets (limit: 64): 8 connections"), "{sentence}");
        assert!(sentence.ends_with("to at least 252"), "{sentence}");
        assert_eq!(shortage.judge(120, 64), None);
        assert_eq!(shortage.judge(100, 20_000), None);
        assert!(shortage.judge(100, 64).is_some());
        // What it asks for is enough.
        assert_eq!(shortage.judge(100, 252), None);
    }
}
