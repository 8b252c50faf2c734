//! Deliberate mistakes in the program (`scraped_engine::mutant`): the simulation finds each of them, or the power cuts do.
//!
//! Built with `--features mutants` alone: nothing else has them. Says after how many lives each was found, and how.
//! `SCRAPED_MUTANT=NAME` looks for one alone.

use std::any::Any;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use scraped_engine::disk::draw::Draw;
use scraped_engine::mutant;
use scraped_engine::mutant::Mutant;

use crate::simulation;
use crate::wal::power_cuts;

/// A mistake that is not found in so many simulated lives is looked for by power cuts.
const MAX_LIVES: u64 = 150;

/// One that is not found in as many lives of those either is not found.
const MAX_CUT_LIVES: u64 = 60;

/// How a mistake was found.
struct Found {
    by: &'static str,
    n_lives: u64,
    n_events: u64,
    why: String,
}

#[test]
fn all_are_found() {
    assert!(find_in_lives().is_none(), "a life without a mistake of ours failed");
    let only = env::var("SCRAPED_MUTANT").ok();
    let is_asked_for = |mutant: &Mutant| only.as_ref().is_none_or(|name| *name == format!("{mutant:?}"));
    let mutants: Vec<Mutant> = Mutant::ALL.iter().copied().filter(is_asked_for).collect();
    assert!(!mutants.is_empty(), "no mutant is called {only:?}");
    let missed: Vec<Mutant> = mutants.into_iter().filter(|mutant| !is_found(*mutant)).collect();
    assert_eq!(missed, [], "not found");
}

fn is_found(mutant: Mutant) -> bool {
    mutant::turn_on(Some(mutant));
    let found = find_in_lives().or_else(find_by_power_cuts);
    mutant::turn_on(None);
    match &found {
        Some(Found { by, n_lives, n_events, why }) => {
            println!(
                "FOUND {mutant:?}: {by} {n_lives}, event {n_events}: {}",
                why.lines().next().unwrap_or_default()
            );
        }
        None => println!("MISSED {mutant:?}"),
    }
    found.is_some()
}

fn find_in_lives() -> Option<Found> {
    let mut draw = Draw::new(1);
    (1..=MAX_LIVES).find_map(|n_lives| {
        let (seed, mut n_events) = (draw.below(u64::MAX), 0);
        let life = || simulation::live(seed, n_lives.is_multiple_of(2), simulation::LIFE, &mut n_events);
        let panicked = catch_unwind(AssertUnwindSafe(life)).err()?;
        Some(Found { by: "life", n_lives, n_events, why: sentence(&*panicked) })
    })
}

fn find_by_power_cuts() -> Option<Found> {
    let mut draw = Draw::new(1);
    (1..=MAX_CUT_LIVES).find_map(|n_lives| {
        let seed = draw.below(u64::MAX);
        let panicked = catch_unwind(|| power_cuts::cut_any(n_lives, seed)).err()?;
        Some(Found { by: "power cuts of life", n_lives, n_events: 0, why: sentence(&*panicked) })
    })
}

fn sentence(panicked: &dyn Any) -> String {
    let text = panicked.downcast_ref::<String>().cloned();
    text.or_else(|| panicked.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
