//! What can happen to the daemon from outside: the events its main thread waits for.
//!
//! Signals and the web server send them; only `daemon` receives them.

use crossbeam_channel::Sender;

/// One event for the main thread.
#[derive(Debug)]
pub enum DaemonEvent {
    /// Load the configuration file again (`SIGHUP`, `POST /-/reload`).
    Reload {
        /// Gets `Ok` once the new configuration is applied, or the sentence why the old one goes on. A signal
        /// sends no reply channel.
        reply: Option<Sender<Result<(), String>>>,
    },
    /// Stop cleanly (`SIGTERM`, `SIGINT`, `POST /-/quit`).
    Terminate,
    /// A thread that never ends by itself has ended: a bug; the daemon shuts down.
    ThreadEnded(String),
}
