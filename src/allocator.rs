//! glibc's malloc, set to hold less.
//!
//! With an arena a core times eight and hundreds of worker threads, memory freed by one thread is not found by
//! another. Two arenas cost nothing measurable here and, trimmed after bursts, give almost all of it back. Other libcs
//! have nothing to tune.

/// Arenas of malloc; measured against 1 and against the default.
#[cfg(target_env = "gnu")]
const MAX_ARENAS: libc::c_int = 2;

/// Larger blocks are mapped by themselves and go back when they are freed. malloc's own threshold starts here as well,
/// but rises to the size of the largest block that was ever freed.
#[cfg(target_env = "gnu")]
const MAPPED_BLOCK_BYTES: libc::c_int = 128 << 10;

/// Call first thing in `main`, before any thread.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "mallopt has no safe wrapper")]
pub fn tune() {
    // SAFETY: mallopt only sets a number; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, MAX_ARENAS);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BLOCK_BYTES);
    }
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

/// Trims when the process has grown: what malloc holds free and resident cannot be asked for, but only growth can
/// have left more of it behind.
#[derive(Debug, Default)]
pub struct Trimmer {
    /// Resident pages after the last trim.
    trimmed_pages: u64,
}

/// Growth by one part in this many asks for a trim …
const GROWTH_PART: u64 = 8;

/// … if it is at least this many pages: below, there is nothing to gain.
const GROWTH_MIN_PAGES: u64 = 64;

impl Trimmer {
    /// Trims if it is time; true if it did. Where `/proc` is not there it never is.
    pub fn trim_after_growth(&mut self) -> bool {
        let Some(pages) = resident_pages() else { return false };
        let grown_pages = pages.saturating_sub(self.trimmed_pages);
        if grown_pages < (self.trimmed_pages / GROWTH_PART).max(GROWTH_MIN_PAGES) {
            // What shrinks by itself may grow again.
            self.trimmed_pages = self.trimmed_pages.min(pages);
            return false;
        }
        trim();
        self.trimmed_pages = resident_pages().unwrap_or(pages);
        true
    }
}

fn resident_pages() -> Option<u64> {
    std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_growth_is_trimmed() {
        let mut trimmer = Trimmer::default();
        assert!(trimmer.trim_after_growth(), "everything is growth at first");
        // Another test of this process may grow just now, but not ten times in a row.
        assert!((0..10).any(|_| !trimmer.trim_after_growth()));
        let grown = vec![1u8; 64 << 20];
        assert!(trimmer.trim_after_growth(), "{} MiB more", grown.len() >> 20);
    }
}
