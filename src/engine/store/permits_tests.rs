use super::*;
use crate::wal::options::{Compression, WalOptions};
use std::sync::mpsc;
use std::time::Duration;

struct Bench {
    permits: Permits,
    _dir: tempfile::TempDir,
}

fn bench(n_permits: usize) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let options = WalOptions {
        path: dir.path().to_owned(),
        segment_size_bytes: Some(1 << 20),
        compression: Compression::None,
        retention_min_time: Duration::ZERO,
        retention_max_time: Duration::ZERO,
        retention_max_bytes: None,
        fsync_interval: Duration::from_secs(15),
        lock_file: false,
    };
    let (wal, _) = Wal::open(options, &mut |_, _| {}).unwrap();
    Bench { permits: Permits::new(n_permits, &wal), _dir: dir }
}

fn late() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

/// Waits until this many are in the queues.
fn await_waiting(permits: &Permits, n_waiting: usize) {
    let count = || {
        let state = permits.shared.state.lock();
        state.fresh.len() + state.resting.len() + state.large.len()
    };
    while count() != n_waiting {
        thread::sleep(Duration::from_millis(1));
    }
}

const LARGE: usize = LARGE_BODY_BYTES + 1;

#[test]
fn a_wait_ends_at_its_deadline_and_costs_nobody_a_permit() {
    let Bench { permits, _dir } = bench(1);
    for n_bytes in [0, LARGE] {
        let held = permits.acquire(n_bytes, soon()).unwrap();
        for n_bytes in [0, LARGE] {
            let error = permits.acquire(n_bytes, soon()).unwrap_err();
            assert_eq!(
                error.to_string(),
                "context deadline exceeded (while the page waited for a processor)"
            );
            assert!(permits.acquire(n_bytes, Instant::now()).is_err(), "a deadline that has passed");
        }
        drop(held);
    }
    drop(permits.acquire(0, Instant::now()).unwrap());
    let state = permits.shared.state.lock();
    assert_eq!((state.n_free, state.n_large, state.idle.len()), (1, 0, 1));
}

/// Long pages hold all permits; whoever comes is served before any of them goes on.
#[test]
fn who_has_just_come_goes_before_those_who_rest() {
    let Bench { permits, _dir } = bench(1);
    let (log, events) = mpsc::channel();
    thread::scope(|scope| {
        let mut long = permits.acquire(LARGE, late()).unwrap();
        let spawn = |name: &'static str, n_bytes: usize| {
            let (permits, log) = (permits.clone(), log.clone());
            scope.spawn(move || {
                let permit = permits.acquire(n_bytes, late()).unwrap();
                log.send(name).unwrap();
                drop(permit);
            });
        };
        spawn("large", LARGE);
        await_waiting(&permits, 1);
        spawn("first", 0);
        await_waiting(&permits, 2);
        spawn("second", 0);
        await_waiting(&permits, 3);
        long.parts().1.rest(late()).unwrap();
        log.send("long").unwrap();
        // Another large one has to wait until this one is done.
        assert_eq!(permits.shared.state.lock().large.len(), 1);
        drop(long);
    });
    drop(log);
    assert_eq!(events.iter().collect::<Vec<_>>(), ["first", "second", "long", "large"]);
}

#[test]
fn a_rest_may_last_until_the_deadline() {
    let Bench { permits, _dir } = bench(1);
    let (hold, held) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let mut long = permits.acquire(0, late()).unwrap();
        let other = permits.clone();
        scope.spawn(move || {
            let _permit = other.acquire(0, late()).unwrap();
            held.recv().unwrap_err();
        });
        await_waiting(&permits, 1);
        assert!(long.parts().1.rest(soon()).is_err());
        assert!(long.parts().1.rest(soon()).is_err(), "it has none to give away");
        drop(long);
        drop(hold);
    });
    assert_eq!(permits.shared.state.lock().n_free, 1);
}

/// Many threads, few permits, rests and deadlines in between: in the end all permits are there.
#[test]
fn no_permit_is_lost_or_made() {
    let Bench { permits, _dir } = bench(3);
    let n_working = std::sync::atomic::AtomicUsize::new(0);
    thread::scope(|scope| {
        for idx in 0..24_usize {
            let (permits, n_working) = (permits.clone(), &n_working);
            scope.spawn(move || {
                for round in 0..200_usize {
                    let deadline = if round % 7 == 0 { Instant::now() } else { late() };
                    let n_bytes = if (idx + round) % 3 == 0 { LARGE } else { 0 };
                    let Ok(mut permit) = permits.acquire(n_bytes, deadline) else { continue };
                    let work = || {
                        assert!(n_working.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < 3);
                        thread::yield_now();
                        n_working.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    };
                    work();
                    if round % 5 == 0 {
                        let _ = permit.parts().1.without(late(), || Ok(()));
                    } else if permit.parts().1.rest(late()).is_ok() {
                        work();
                    }
                }
            });
        }
    });
    let state = permits.shared.state.lock();
    assert_eq!((state.n_free, state.n_large), (3, 0));
}
