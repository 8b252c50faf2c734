//! Panics on demand, for tests; nothing that is shipped is built with it.
//!
//! The variable `SCRAPED_FAULT_PANIC` of the environment lists points: a kind of thread (`web`), which panics when it
//! starts, the same with `end=` in front, which panics when it has ended, or a place and a text (`page=poison`), which
//! panics when it works on bytes that hold the text. A kind strikes as often as it is listed; a text always.

use std::sync::{LazyLock, Mutex, PoisonError};

static KINDS: LazyLock<Mutex<Vec<String>>> = LazyLock::new(|| {
    let kinds = points().into_iter().filter(|point| !point.contains('='));
    Mutex::new(kinds.collect())
});

static TEXTS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let points = points().into_iter();
    points
        .filter_map(|point| point.split_once('=').map(|(at, text)| (at.to_owned(), text.to_owned())))
        .collect()
});

fn points() -> Vec<String> {
    let list = std::env::var("SCRAPED_FAULT_PANIC").unwrap_or_default();
    list.split(',').filter(|point| !point.is_empty()).map(str::to_owned).collect()
}

/// What a thread of this kind runs, with what may strike before and behind it.
pub(super) fn around<R>(kind: &'static str, run: impl FnOnce() -> R) -> impl FnOnce() -> R {
    move || {
        strike(kind);
        let done = run();
        strike_at("end", kind.as_bytes());
        done
    }
}

fn strike(kind: &str) {
    let mut kinds = KINDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(idx) = kinds.iter().position(|listed| listed == kind) {
        kinds.remove(idx);
        drop(kinds);
        panic!("a fault that was asked for");
    }
}

/// Something works on `bytes`.
pub fn strike_at(point: &str, bytes: &[u8]) {
    for (_, text) in TEXTS.iter().filter(|(at, _)| at == point) {
        assert!(memchr::memmem::find(bytes, text.as_bytes()).is_none(), "a fault that was asked for: {text}");
    }
}
