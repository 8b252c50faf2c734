//! glibc's malloc, told to hold less.
//!
//! With an arena a core times eight and hundreds of worker threads, memory freed by one thread is not found by
//! another. Two arenas cost nothing measurable here and, trimmed after bursts, give almost all of it back. Other libcs
//! have nothing to tune.

/// Arenas of malloc; measured against 1 and against the default.
#[cfg(target_env = "gnu")]
const MAX_ARENAS: libc::c_int = 2;

/// Call first thing in `main`, before any thread.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "mallopt has no safe wrapper")]
pub fn tune() {
    // SAFETY: mallopt only sets a number; no other thread runs yet.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, MAX_ARENAS) };
}

/// Gives freed memory back to the system; takes milliseconds, so only after bursts.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "malloc_trim has no safe wrapper")]
pub fn trim() {
    // SAFETY: malloc_trim takes malloc's own locks and moves nothing that is in use.
    unsafe { libc::malloc_trim(0) };
}

/// Nothing to tune.
#[cfg(not(target_env = "gnu"))]
pub fn tune() {}

/// Nothing to trim.
#[cfg(not(target_env = "gnu"))]
pub fn trim() {}
