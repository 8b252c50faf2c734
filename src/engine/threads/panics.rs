//! Panics that are caught: what they said and where, and how often each kind of thread had one.

use crate::metrics::{Counter, Family};
use crate::metrics_table;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, LazyLock, Once};

/// A panic that was caught. Reads `panicked at src/web/mod.rs:12:5: what it said`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    place: String,
    sentence: String,
}

impl Panicked {
    /// File, line and column, without what it said; empty if it came from another thread.
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("panicked")?;
        if !self.place.is_empty() {
            write!(f, " at {}", self.place)?;
        }
        write!(f, ": {}", self.sentence)
    }
}

metrics_table! {
    /// What is counted of the threads of this process.
    pub struct ThreadMetrics {
        panics: Family<Counter> = Family::new(&["thread"]) => "scraped_panics_total",
            "Panics that were caught, by thread.";
        restarts: Family<Counter> = Family::new(&["thread"]) => "scraped_thread_restarts_total",
            "Threads that have died and were started again, by thread.";
    }
}

static METRICS: LazyLock<Arc<ThreadMetrics>> = LazyLock::new(Arc::default);

/// The one of this process.
pub fn metrics() -> &'static Arc<ThreadMetrics> {
    &METRICS
}

thread_local! {
    /// How deep this thread is in [`catch`].
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where it panicked last.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs what may panic.
pub(super) fn catch<R>(run: impl FnOnce() -> R) -> Result<R, Panicked> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| report(info, &before)));
    });
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    outcome.map_err(|payload| Panicked {
        place: PLACE.with(RefCell::take),
        sentence: sentence(&*payload).to_owned(),
    })
}

/// Whoever catches a panic says it, in a line of the log; the system's own report is for all others.
fn report(info: &PanicHookInfo<'_>, before: &(dyn Fn(&PanicHookInfo<'_>) + Send + Sync)) {
    let is_caught = DEPTH.with(Cell::get) > 0;
    if is_caught {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PLACE.with(|last| *last.borrow_mut() = place);
    }
    if !is_caught || !log::log_enabled!(log::Level::Error) {
        before(info);
    }
}

fn sentence(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "no message",
    }
}
