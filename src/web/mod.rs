//! The web server: self-metrics, lifecycle, the API and the targets page, behind a door that may be locked.
//!
//! One thread (`web`) serves everyone from snapshots; it holds no sender but the daemon's and knows how nothing of
//! what it shows works.

mod api;
pub mod door;
pub mod metrics;
mod pages;
mod probes;
mod router;
mod routes;
pub mod serve;
pub mod site;
pub mod state;
mod walk;

use crate::web::door::Door;
use crate::web::door::terms::Terms;
use crate::web::router::Router;
use crate::web::serve::listen::listener::Listener;
use crate::web::serve::server;
use crate::web::serve::server::Limits;
use crate::web::state::WebState;
use scraped_engine::threads;
use scraped_engine::threads::{Thread, ThreadKind};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// Pages are rendered on its stack.
const THREAD: ThreadKind = ThreadKind { name: "web", stack_bytes: 256 << 10 };

/// The running server.
#[derive(Debug)]
pub struct Handle {
    stop: UnixStream,
    thread: Thread,
}

impl Handle {
    /// Starts serving on listeners, whoever may come by these terms.
    ///
    /// # Errors
    /// The system refuses the thread, a socket pair or random numbers.
    pub fn spawn(
        listeners: Vec<Listener>,
        limits: Limits,
        terms: Terms,
        state: WebState,
    ) -> io::Result<Handle> {
        let (stop, stopped) = UnixStream::pair()?;
        let thread = THREAD.spawn_essential("", move || {
            let metrics = Arc::clone(&state.metrics);
            let served = Door::new(terms, Router::new(state))
                .and_then(|mut door| server::serve(&listeners, &stopped, limits, &metrics, &mut door));
            if let Err(err) = served {
                threads::stop_daemon(&format!("the web server stopped: {err}"));
            }
        })?;
        Ok(Handle { stop, thread })
    }

    /// Closes all connections and ends the thread.
    pub fn stop(self) {
        drop(self.stop);
        self.thread.join();
    }
}
