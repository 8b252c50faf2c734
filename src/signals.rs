//! The `signals` thread: SIGHUP, SIGTERM and SIGINT become [`DaemonEvent`]s.
//!
//! A second SIGTERM or SIGINT ends the process at once: the WAL makes that safe.

use crate::lifecycle::DaemonEvent;
use crossbeam_channel::Sender;
use scraped_engine::threads::{Thread, ThreadKind};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle as SignalsHandle, Signals};
use std::io;

/// It formats one log line.
const THREAD: ThreadKind = ThreadKind { name: "signals", stack_bytes: 64 << 10 };
/// Exit status of a stop that was not waited for.
const IMPATIENT_EXIT_STATUS: i32 = 1;

/// The running thread.
#[derive(Debug)]
pub struct Handle {
    signals: SignalsHandle,
    thread: Thread,
}

impl Handle {
    /// Registers the signals and starts the thread.
    ///
    /// # Errors
    /// The system refuses the handlers or the thread.
    pub fn spawn(daemon_events: Sender<DaemonEvent>) -> io::Result<Handle> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let thread = THREAD.spawn_essential("", move || forward(&mut signals, &daemon_events))?;
        Ok(Handle { signals: handle, thread })
    }

    /// Gives the signals back and ends the thread.
    pub fn stop(self) {
        self.signals.close();
        self.thread.join();
    }
}

fn forward(signals: &mut Signals, daemon_events: &Sender<DaemonEvent>) {
    let mut stopping = false;
    for signal in signals.forever() {
        let event = match signal {
            SIGHUP => DaemonEvent::Reload { reply: None },
            _ if stopping => {
                log::warn!("second signal: stopping at once, what is on disk stays there");
                std::process::exit(IMPATIENT_EXIT_STATUS);
            }
            _ => {
                stopping = true;
                DaemonEvent::Terminate
            }
        };
        if daemon_events.send(event).is_err() {
            return;
        }
    }
}
