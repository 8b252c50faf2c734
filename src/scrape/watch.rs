//! Threads that are named and whose death is told.
//!
//! A thread of the scraping side ends by its own decision or by a bug; a bug is reported so that the daemon can end in
//! order instead of going on without scrapes.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Called with the name of a thread that died by a panic.
pub type ThreadEnded = Arc<dyn Fn(&str) + Send + Sync>;

struct Watch {
    name: &'static str,
    thread_ended: ThreadEnded,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.thread_ended)(self.name);
        }
    }
}

/// Starts a thread whose panic is told.
///
/// # Errors
/// The system refuses a thread.
pub fn spawn_watched(
    name: &'static str,
    thread_ended: ThreadEnded,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _watch = Watch { name, thread_ended };
        run();
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[test]
    fn only_a_panic_is_told() {
        let told: Arc<Mutex<Vec<String>>> = Arc::default();
        let thread_ended: ThreadEnded = {
            let told = Arc::clone(&told);
            Arc::new(move |name| told.lock().push(name.to_owned()))
        };
        spawn_watched("ends", Arc::clone(&thread_ended), || ()).unwrap().join().unwrap();
        spawn_watched("panics", thread_ended, || panic!("a bug")).unwrap().join().unwrap_err();
        assert_eq!(*told.lock(), ["panics"]);
    }
}
