use super::*;
use crate::threads::stop::stop_pair;
use crossbeam_channel::{bounded, unbounded};
use std::time::Instant;

const fn kind(name: &'static str) -> ThreadKind {
    ThreadKind { name, stack_bytes: 256 << 10 }
}

fn n_panics(kind: &str) -> u64 {
    metrics().panics.with(&[kind]).get()
}

#[test]
fn only_a_panic_of_an_essential_thread_stops_the_daemon() {
    let (stopped, stops) = unbounded();
    stop_by(move || stopped.send(()).unwrap());
    kind("ends").spawn_essential("", || ()).unwrap().join();
    kind("owned").spawn_owned("1", "it is over", || panic!("a bug")).unwrap().join();
    assert!(stops.try_recv().is_err());
    kind("panics").spawn_essential("7", || panic!("a bug")).unwrap().join();
    assert!(stops.try_recv().is_ok());
    assert_eq!(["ends", "owned", "panics"].map(n_panics), [0, 1, 1]);
}

#[test]
fn a_thread_that_restarts_rests_and_runs_again() {
    let (_stopper, stop) = stop_pair();
    let (ran, runs) = bounded(0);
    let mut n_runs = 0;
    let thread = kind("restarts").spawn_restarting("", stop, move || {
        n_runs += 1;
        ran.send(n_runs).unwrap();
        assert_eq!(n_runs, 3, "a bug");
    });
    assert_eq!(runs.iter().collect::<Vec<_>>(), [1, 2, 3]);
    thread.unwrap().join();
    assert_eq!((n_panics("restarts"), metrics().restarts.with(&["restarts"]).get()), (2, 2));
}

#[test]
fn a_thread_that_is_to_end_does_not_run_again() {
    let began_at = Instant::now();
    let (stopper, stop) = stop_pair();
    drop(stopper);
    kind("ends-resting").spawn_restarting("", stop, || panic!("a bug")).unwrap().join();
    assert_eq!(metrics().restarts.with(&["ends-resting"]).get(), 0);
    assert!(began_at.elapsed().as_secs() < 60);
}

#[test]
fn what_is_caught_says_what_and_where() {
    let panicked = kind("says").catch(|| panic!("number {}", 7)).map(|()| String::new());
    let text = panicked.unwrap_err().to_string();
    assert!(text.starts_with("panicked at ") && text.ends_with(": number 7"), "{text}");
    assert!(text.contains("threads_tests.rs:"), "{text}");
}

#[test]
fn a_scoped_thread_gives_its_result_unless_it_panics() {
    std::thread::scope(|scope| {
        let good = kind("scoped").spawn_scoped(scope, "a", "", || 7).unwrap();
        let bad = kind("scoped").spawn_scoped(scope, "b", "", || -> i32 { panic!("a bug") }).unwrap();
        assert_eq!((good.join().unwrap(), bad.join().unwrap()), (Some(7), None));
    });
}
