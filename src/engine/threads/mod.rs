//! The one way to run a thread: a name, a stack, a stop token, and what its death means.
//!
//! A thread that panics is caught where it began, counted by its kind, and named in one line of the log. What follows is
//! part of its start: the daemon stops in order, the thread runs again after a pause, or its owner sees to it. Threads
//! and their panics belong to the process, so what is counted here does too.

#[cfg(any(test, feature = "faults"))]
pub mod fault;
mod panics;
pub mod restarts;
pub mod stop;

pub use crate::threads::panics::{Panicked, ThreadMetrics, metrics};
use crate::threads::restarts::Restarts;
use crate::threads::stop::StopToken;
use std::io;
use std::sync::OnceLock;
use std::thread::{Builder, JoinHandle, Scope, ScopedJoinHandle};

/// Stack of a thread without a reason for less: address space, of which only what is touched costs anything.
pub const STACK_BYTES: usize = 2 << 20;

/// What threads with the same work have in common.
#[derive(Clone, Copy, Debug)]
pub struct ThreadKind {
    /// What their names begin with, and the label `thread` of the metrics: `web`, `remote-shard`.
    pub name: &'static str,
    /// Address space of the stack in bytes.
    pub stack_bytes: usize,
}

/// A running thread. Dropping it leaves the thread alone.
#[derive(Debug)]
pub struct Thread(JoinHandle<bool>);

impl Thread {
    /// Waits for its end; false if that was a panic, which has been reported by then.
    pub fn join(self) -> bool {
        self.0.join().unwrap_or(false)
    }

    /// Whether it has ended, by itself or by a panic.
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }

    /// What wakes it while it is parked.
    pub fn unparker(&self) -> std::thread::Thread {
        self.0.thread().clone()
    }
}

/// What stops the daemon in order.
type Stop = Box<dyn Fn() + Send + Sync>;

static STOP: OnceLock<Stop> = OnceLock::new();

/// From now on `stop` is called when a thread dies without which the daemon cannot go on. The first call counts.
pub fn stop_by(stop: impl Fn() + Send + Sync + 'static) {
    let _ = STOP.set(Box::new(stop));
}

/// Something has ended without which the daemon cannot go on: says so, and asks the daemon to stop with the exit status
/// of a bug. A process without a daemon, such as a test, ends at once.
pub fn stop_daemon(why: &str) {
    log::error!("{why}; the daemon stops and exits with status 2, a service manager may start it again");
    match STOP.get() {
        Some(stop) => stop(),
        None => std::process::abort(),
    }
}

impl ThreadKind {
    /// Starts a thread that ends by its own decision or by a bug; a panic stops the daemon. `instance` tells it from
    /// others of its kind; empty if there is only one.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn_essential(self, instance: &str, run: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
        let name = self.thread_name(instance);
        self.spawn(instance, run, move |outcome| {
            if let Err(panicked) = outcome {
                stop_daemon(&format!("BUG: thread {name} {panicked}"));
            }
        })
    }

    /// Starts a thread that runs again after a panic and a pause, unless `stop` comes first.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn_restarting(
        self,
        instance: &str,
        stop: StopToken,
        mut run: impl FnMut() + Send + 'static,
    ) -> io::Result<Thread> {
        let name = self.thread_name(instance);
        let mut restarts = Restarts::of(self.name);
        let thread = self.builder(instance).spawn(move || {
            while let Err(panicked) = self.run(&mut run) {
                let pause = restarts.next_pause();
                log::error!("BUG: thread {name} {panicked}; it starts again in {} s", pause.as_secs());
                if stop.wait(pause) {
                    return false;
                }
                restarts.count();
            }
            true
        });
        thread.map(Thread)
    }

    /// Starts a thread whose owner sees that it has ended, and does what that asks for: `consequence` says what, for the
    /// log.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn_owned(
        self,
        instance: &str,
        consequence: &'static str,
        run: impl FnOnce() + Send + 'static,
    ) -> io::Result<Thread> {
        let name = self.thread_name(instance);
        self.spawn(instance, run, move |outcome| {
            if let Err(panicked) = outcome {
                log::error!("BUG: thread {name} {panicked}; {consequence}");
            }
        })
    }

    /// Starts a thread that gives `owner` what came of it. If that is a panic, saying so is the owner's.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn<R>(
        self,
        instance: &str,
        run: impl FnOnce() -> R + Send + 'static,
        owner: impl FnOnce(Result<R, Panicked>) + Send + 'static,
    ) -> io::Result<Thread> {
        let thread = self.builder(instance).spawn(move || {
            let outcome = self.run(run);
            let has_ended_well = outcome.is_ok();
            owner(outcome);
            has_ended_well
        });
        thread.map(Thread)
    }

    /// The same within `scope`; its result is `None` after a panic.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn_scoped<'scope, R: Send + 'scope>(
        self,
        scope: &'scope Scope<'scope, '_>,
        instance: &str,
        consequence: &'static str,
        run: impl FnOnce() -> R + Send + 'scope,
    ) -> io::Result<ScopedJoinHandle<'scope, Option<R>>> {
        let name = self.thread_name(instance);
        self.builder(instance).spawn_scoped(scope, move || {
            self.run(run)
                .inspect_err(|panicked| log::error!("BUG: thread {name} {panicked}; {consequence}"))
                .ok()
        })
    }

    /// Runs a part of a thread of this kind that may panic without taking the thread along. What `run` has borrowed may
    /// be left half-done: who calls this puts it right or drops it.
    ///
    /// # Errors
    /// It has panicked, which is counted; saying so is the caller's.
    pub fn catch<R>(self, run: impl FnOnce() -> R) -> Result<R, Panicked> {
        panics::catch(run).inspect_err(|_| metrics().panics.with(&[self.name]).inc())
    }

    fn builder(self, instance: &str) -> Builder {
        // A rate needs the zero before the first event.
        metrics().panics.with(&[self.name]);
        Builder::new().name(self.thread_name(instance)).stack_size(self.stack_bytes)
    }

    fn thread_name(self, instance: &str) -> String {
        match instance {
            "" => self.name.to_owned(),
            instance => format!("{}-{instance}", self.name),
        }
    }

    fn run<R>(self, run: impl FnOnce() -> R) -> Result<R, Panicked> {
        #[cfg(any(test, feature = "faults"))]
        let run = fault::around(self.name, run);
        self.catch(run)
    }
}

#[cfg(test)]
#[path = "threads_tests.rs"]
mod tests;
