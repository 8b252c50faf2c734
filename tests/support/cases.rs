//! Where random cases come from: a fixed seed in the run that everyone runs, a new one with `SCRAPED_LONG`.
//!
//! `SCRAPED_SEED=N` repeats the run that printed that seed. A case that fails becomes a test of its own, so nothing is
//! written beside the sources.

#![allow(dead_code, reason = "each test that includes this draws either cases or plain numbers")]
#![allow(clippy::print_stdout, reason = "shown with a test that fails")]

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::test_runner::{Config, RngSeed};

/// The seed of a normal run; any number would do.
const FIXED_SEED: u64 = 1;

/// A long run draws this many times the cases.
const LONG_FACTOR: u32 = 16;

/// True for `scripts/test --long`.
pub(crate) fn is_long() -> bool {
    std::env::var_os("SCRAPED_LONG").is_some()
}

/// The seed of this run. A new one is printed once, and so shows up with the output of a test that fails.
pub(crate) fn seed() -> u64 {
    static NEW: OnceLock<u64> = OnceLock::new();
    if let Some(typed) = std::env::var_os("SCRAPED_SEED") {
        let typed = typed.to_str().and_then(|typed| typed.parse().ok());
        return typed.unwrap_or_else(|| panic!("SCRAPED_SEED is a whole number"));
    }
    if !is_long() {
        return FIXED_SEED;
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(FIXED_SEED, |time| time.as_secs());
    let seed = *NEW.get_or_init(now);
    println!("new random cases; repeat them with SCRAPED_LONG=1 SCRAPED_SEED={seed}");
    seed
}

/// The configuration of every `proptest!`: so many cases, from the seed of this run.
pub(crate) fn cases(n: u32) -> Config {
    let cases = if is_long() { n * LONG_FACTOR } else { n };
    Config { cases, rng_seed: RngSeed::Fixed(seed()), failure_persistence: None, ..Config::default() }
}
