//! What a process writes to a pipe: kept up to date in the background, so that the pipe never fills, and complete whenever
//! it is looked at.

use std::io::{ErrorKind, Read};
use std::process::ChildStderr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// A pipe holds 64 KiB; the daemon writes some lines a second.
const PAUSE: Duration = Duration::from_millis(20);

/// All that a process has written by now.
#[derive(Clone, Debug)]
pub(crate) struct ProcessOutput(Arc<Mutex<Collected>>);

#[derive(Debug)]
struct Collected {
    /// None once it is closed.
    pipe: Option<ChildStderr>,
    bytes: Vec<u8>,
}

impl ProcessOutput {
    /// Of a process that has just been started.
    pub(crate) fn of(pipe: ChildStderr) -> Self {
        let flags = fcntl_getfl(&pipe).expect("a pipe");
        fcntl_setfl(&pipe, flags | OFlags::NONBLOCK).expect("a pipe");
        let output = Self(Arc::new(Mutex::new(Collected { pipe: Some(pipe), bytes: Vec::new() })));
        let background = output.clone();
        let thread = thread::Builder::new().name("stderr".to_owned());
        let drain = move || {
            while background.drain(|it| it.pipe.is_some()) {
                thread::sleep(PAUSE);
            }
        };
        thread.spawn(drain).expect("a thread");
        output
    }

    /// Everything that was written before this call.
    pub(crate) fn text(&self) -> String {
        self.drain(|it| String::from_utf8_lossy(&it.bytes).into_owned())
    }

    fn drain<T>(&self, look: impl FnOnce(&Collected) -> T) -> T {
        let mut collected = self.0.lock().expect("not poisoned");
        let Collected { pipe, bytes } = &mut *collected;
        // A pipe that is empty for now is an error, of which what was read before stays.
        let is_open = pipe.as_mut().is_some_and(|pipe| {
            pipe.read_to_end(bytes).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        });
        if !is_open {
            *pipe = None;
        }
        look(&collected)
    }
}
