//! The web server: self-metrics, lifecycle, the API and the targets page.
//!
//! One thread (`web`) serves everyone from snapshots; it holds no sender but the daemon's and knows how nothing of
//! what it shows works.

pub mod api;
mod api_metadata;
mod connection;
pub mod http;
pub mod listen;
pub mod metrics;
pub mod reply;
pub mod router;
pub mod server;
pub mod site;
pub mod state;
pub mod status_page;
pub mod ui;
mod walk;

use crate::lifecycle::DaemonEvent;
use crate::web::listen::Listener;
use crate::web::router::Router;
use crate::web::server::Limits;
use crate::web::state::WebState;
use std::io;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

/// Address space of the thread's stack; pages are rendered on it.
const STACK_BYTES: usize = 256 * 1024;

/// The running server.
#[derive(Debug)]
pub struct Handle {
    stop: UnixStream,
    thread: JoinHandle<()>,
}

impl Handle {
    /// Starts serving on listeners.
    ///
    /// # Errors
    /// The system refuses the thread or a socket pair.
    pub fn spawn(listeners: Vec<Listener>, limits: Limits, state: WebState) -> io::Result<Handle> {
        let (stop, stopped) = UnixStream::pair()?;
        let daemon_events = state.daemon_events.clone();
        let thread =
            std::thread::Builder::new().name("web".to_owned()).stack_size(STACK_BYTES).spawn(move || {
                if let Err(err) = server::serve(&listeners, &stopped, limits, &mut Router::new(state)) {
                    log::error!("the web server stopped: {err}");
                    let _ = daemon_events.send(DaemonEvent::ThreadEnded("web".to_owned()));
                }
            })?;
        Ok(Handle { stop, thread })
    }

    /// Closes all connections and ends the thread.
    pub fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            log::error!("BUG: the web thread panicked");
        }
    }
}
