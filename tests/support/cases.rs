//! Where random cases come from: a fixed seed in the run that everyone runs, a new one with `SCRAPED_LONG`.
//!
//! `SCRAPED_SEED=N` repeats the run that printed that seed. A case that fails is kept in `tests/data/found_cases`, a line
//! each, and is drawn first by every run from then on.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};

/// The seed of a normal run; any number would do.
const FIXED_SEED: u64 = 1;

/// Where finds are kept; both crates that include this file are two levels deep.
const FOUND_CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/found_cases");

/// A long run draws this many times the cases.
const LONG_FACTOR: u32 = 16;

/// True for `scripts/test --long`.
pub fn is_long() -> bool {
    std::env::var_os("SCRAPED_LONG").is_some()
}

/// The seed of this run. A new one is printed once, and so shows up with the output of a test that fails.
pub fn seed() -> u64 {
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
pub fn cases(n: u32) -> Config {
    config(if is_long() { n * LONG_FACTOR } else { n })
}

/// The same for cases that are seeds: so many of them in a normal run and in a long one. A smaller seed is no smaller case, so
/// none is looked for.
pub fn seeds(n: u32, n_long: u32) -> Config {
    Config { max_shrink_iters: 0, ..config(if is_long() { n_long } else { n }) }
}

fn config(cases: u32) -> Config {
    let found = FileFailurePersistence::Direct(FOUND_CASES);
    let failure_persistence = Some(Box::new(found) as _);
    Config { cases, rng_seed: RngSeed::Fixed(seed()), failure_persistence, ..Config::default() }
}
