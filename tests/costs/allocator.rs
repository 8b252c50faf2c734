//! The allocator of this binary: the system's, with counters.

#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, Ordering};

thread_local! {
    /// Calls that allocate, of this thread.
    pub(crate) static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// What this thread asked for and has not given back, in bytes; below zero where another thread asked.
    pub(crate) static ASKED_BYTES: Cell<isize> = const { Cell::new(0) };
    /// What that takes from the heap, in bytes.
    pub(crate) static HEAP_BYTES: Cell<usize> = const { Cell::new(0) };
    /// The most that it took since somebody set it.
    pub(crate) static PEAK_HEAP_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// What the whole process asked for and has not given back, in bytes.
static PROCESS_BYTES: AtomicIsize = AtomicIsize::new(0);

/// The whole process' share, in bytes.
pub(crate) fn process_bytes() -> isize {
    PROCESS_BYTES.load(Ordering::SeqCst)
}

/// What an allocation takes from the heap: 8 bytes in front, rounded to 16, at least 32, as glibc's malloc does it.
fn heap_bytes(len: usize) -> usize {
    if len == 0 { 0 } else { (len + 8).next_multiple_of(16).max(32) }
}

fn count(new_len: usize, old_len: usize) {
    let grown_bytes = new_len as isize - old_len as isize;
    PROCESS_BYTES.fetch_add(grown_bytes, Ordering::Relaxed);
    // Nothing is counted while the thread ends.
    let _ = ALLOCATIONS.try_with(|it| it.set(it.get() + usize::from(new_len > 0)));
    let _ = ASKED_BYTES.try_with(|it| it.set(it.get() + grown_bytes));
    let _ = HEAP_BYTES.try_with(|live| {
        live.set((live.get() + heap_bytes(new_len)).saturating_sub(heap_bytes(old_len)));
        let _ = PEAK_HEAP_BYTES.try_with(|peak| peak.set(peak.get().max(live.get())));
    });
}

struct Counting;

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
