use super::*;
use std::sync::mpsc;
use std::time::Duration;

fn late() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

/// Waits until this many are in the queues.
fn await_waiting(turns: &Turns, n_waiting: usize) {
    let count = || {
        let state = turns.shared.state.lock();
        state.fresh.len() + state.resting.len() + state.large.len()
    };
    while count() != n_waiting {
        thread::sleep(Duration::from_millis(1));
    }
}

const LARGE: usize = LARGE_BODY_BYTES + 1;

#[test]
fn a_wait_ends_at_its_deadline_and_costs_nobody_a_permit() {
    let turns = Turns::new(1);
    for n_bytes in [0, LARGE] {
        let held = turns.acquire(n_bytes, soon()).unwrap();
        for n_bytes in [0, LARGE] {
            let error = turns.acquire(n_bytes, soon()).unwrap_err();
            assert_eq!(
                error.to_string(),
                "context deadline exceeded (while the page waited for a processor)"
            );
            assert!(turns.acquire(n_bytes, Instant::now()).is_err(), "a deadline that has passed");
        }
        drop(held);
    }
    drop(turns.acquire(0, Instant::now()).unwrap());
    let state = turns.shared.state.lock();
    assert_eq!((state.n_free, state.n_large), (1, 0));
}

/// Long pages hold all permits; each newcomer is served before any of them goes on.
#[test]
fn who_has_just_come_goes_before_those_who_rest() {
    let turns = Turns::new(1);
    let (log, events) = mpsc::channel();
    thread::scope(|scope| {
        let mut long = turns.acquire(LARGE, late()).unwrap();
        let spawn = |name: &'static str, n_bytes: usize| {
            let (turns, log) = (turns.clone(), log.clone());
            scope.spawn(move || {
                let permit = turns.acquire(n_bytes, late()).unwrap();
                log.send(name).unwrap();
                drop(permit);
            });
        };
        spawn("large", LARGE);
        await_waiting(&turns, 1);
        spawn("first", 0);
        await_waiting(&turns, 2);
        spawn("second", 0);
        await_waiting(&turns, 3);
        long.rest(late()).unwrap();
        log.send("long").unwrap();
        // Another large one has to wait until this one is done.
        assert_eq!(turns.shared.state.lock().large.len(), 1);
        drop(long);
    });
    drop(log);
    assert_eq!(events.iter().collect::<Vec<_>>(), ["first", "second", "long", "large"]);
}

#[test]
fn a_rest_may_last_until_the_deadline() {
    let turns = Turns::new(1);
    let (hold, held) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let mut long = turns.acquire(0, late()).unwrap();
        let other = turns.clone();
        scope.spawn(move || {
            let _permit = other.acquire(0, late()).unwrap();
            held.recv().unwrap_err();
        });
        await_waiting(&turns, 1);
        assert!(long.rest(soon()).is_err());
        assert!(long.rest(soon()).is_err(), "it has none to give away");
        drop(long);
        drop(hold);
    });
    assert_eq!(turns.shared.state.lock().n_free, 1);
}

/// Many threads, few permits, rests and deadlines in between: in the end all permits are there.
#[test]
fn no_permit_is_lost_or_made() {
    let turns = Turns::new(3);
    let n_working = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        for idx in 0..24_usize {
            let (turns, n_working) = (turns.clone(), &n_working);
            scope.spawn(move || {
                for round in 0..200_usize {
                    let deadline = if round % 7 == 0 { Instant::now() } else { late() };
                    let n_bytes = if (idx + round) % 3 == 0 { LARGE } else { 0 };
                    let Ok(mut permit) = turns.acquire(n_bytes, deadline) else { continue };
                    let work = || {
                        assert!(n_working.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 3);
                        thread::yield_now();
                        n_working.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    };
                    work();
                    if round % 5 == 0 {
                        let _ = permit.without(late(), || Ok(()));
                    } else if permit.rest(late()).is_ok() {
                        work();
                    }
                }
            });
        }
    });
    let state = turns.shared.state.lock();
    assert_eq!((state.n_free, state.n_large), (3, 0));
}
