//! The web server: self-metrics, lifecycle, the API and the targets page.
//!
//! One thread (`web`) serves everyone from snapshots; it holds no sender but the daemon's and knows how nothing of
//! what it shows works.

pub mod api;
mod api_metadata;
mod connection;
pub mod http;
pub mod listen;
pub mod router;
pub mod server;
pub mod site;
pub mod status_page;
pub mod ui;
mod walk;

use crate::config::Config;
use crate::discovery::complaints::Complaints;
use crate::lifecycle::{DaemonEvent, Running};
use crate::remote::metrics::RemoteMetrics;
use crate::scrape::targets::status::StatusBoard;
use crate::web::listen::Listener;
use crate::web::router::{Router, WebMetrics};
use crate::web::server::Limits;
use crate::web::site::Site;
use crossbeam_channel::Sender;
use scraped_engine::metrics::Registry;
use std::cell::RefCell;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

/// Address space of the thread's stack; pages are rendered on it.
const STACK_BYTES: usize = 256 * 1024;

/// What the pages are made from.
pub struct WebState {
    /// Where reload and quit go.
    pub daemon_events: Sender<DaemonEvent>,
    /// `--web.enable-lifecycle`.
    pub lifecycle_enabled: bool,
    /// The daemon's own state.
    pub running: Arc<Running>,
    /// All metrics.
    pub registry: Arc<Registry>,
    /// The web server's own metrics.
    pub metrics: Arc<WebMetrics>,
    /// All targets.
    pub board: Arc<StatusBoard>,
    /// What sources of targets complain of.
    pub complaints: Arc<Complaints>,
    /// All remote write endpoints.
    pub remote: Arc<RemoteMetrics>,
    /// Where the pages are and who may ask.
    pub site: Arc<Site>,
    /// Text of the configuration while somebody reads it.
    pub config_text: ConfigText,
    /// Flag name → text.
    pub flags: Vec<(&'static str, String)>,
    /// Text of the retention settings, as the API shows it.
    pub storage_retention: String,
}

/// The configuration as text, once for all clients that read it.
#[derive(Debug, Default)]
pub struct ConfigText(RefCell<Option<(Arc<Config>, Weak<str>)>>);

impl WebState {
    /// The configuration in force, as text.
    fn config_text(&self) -> Arc<str> {
        let config = self.running.config();
        let mut held = self.config_text.0.borrow_mut();
        let known = held.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &config));
        if let Some(text) = known.and_then(|(_, text)| text.upgrade()) {
            return text;
        }
        let text: Arc<str> = config.to_yaml().into();
        *held = Some((config, Arc::downgrade(&text)));
        text
    }
}

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
