//! Word of changes in directories, by inotify, as a channel.
//!
//! The thread `sd-file-watch` sleeps in a read that only an event can end; taking a watch away is such an event, and so
//! the thread ends when its owner does. Some file systems report nothing, so each listener looks for itself now and
//! then.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use scraped_engine::threads::ThreadKind;
use scraped_engine::threads::stop::{Stopper, stop_pair};

/// Full: a wake-up is already on its way.
const CHANGED_CAPACITY: usize = 1;

/// Events read at once, names included.
const BUFFER_BYTES: usize = 4096;

const THREAD: ThreadKind = ThreadKind { name: "sd-file-watch", stack_bytes: 64 << 10 };

/// A directory that is always there: without any watch the thread could not be woken.
const ALWAYS_THERE: &str = "/";

/// Directories under watch.
#[derive(Debug)]
pub(in crate::discovery) struct DirectoryWatch {
    inotify: Arc<OwnedFd>,
    /// Of [`ALWAYS_THERE`].
    wake: i32,
    changed: Option<Receiver<()>>,
    /// Ends the thread while it rests after a panic.
    _stopper: Stopper,
}

impl DirectoryWatch {
    /// Starts the thread; nothing is watched yet.
    ///
    /// # Errors
    /// The system has no inotify left, or no thread.
    pub(in crate::discovery) fn start() -> io::Result<Self> {
        let inotify = Arc::new(init(CreateFlags::CLOEXEC)?);
        let wake = add_watch(&*inotify, ALWAYS_THERE, WatchFlags::DELETE_SELF)?;
        let (sender, changed) = bounded(CHANGED_CAPACITY);
        let read_from = Arc::clone(&inotify);
        let (stopper, stop) = stop_pair();
        THREAD.spawn_restarting("", stop, move || report(&read_from, &sender))?;
        Ok(Self { inotify, wake, changed: Some(changed), _stopper: stopper })
    }

    /// Watches `directory` too; again is no harm.
    ///
    /// # Errors
    /// It is not there, or the system has no watches left.
    pub(in crate::discovery) fn cover(&self, directory: &Path) -> io::Result<()> {
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::ONLYDIR;
        add_watch(&*self.inotify, directory, flags)?;
        Ok(())
    }

    /// Has something when anything in a directory has changed.
    pub(in crate::discovery) fn changed(&self) -> Option<&Receiver<()>> {
        self.changed.as_ref()
    }
}

impl Drop for DirectoryWatch {
    fn drop(&mut self) {
        // First no one listens any more, then the thread wakes and finds that.
        self.changed = None;
        let _ = remove_watch(&*self.inotify, self.wake);
    }
}

fn report(inotify: &OwnedFd, sender: &Sender<()>) {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = Reader::new(inotify, &mut buffer);
    loop {
        match reader.next() {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        if let Err(TrySendError::Disconnected(())) = sender.try_send(()) {
            return;
        }
    }
}
