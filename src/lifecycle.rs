//! What can happen to the daemon from outside, and what it says about itself.
//!
//! [`DaemonEvent`]s go to the main thread from signals and the web server; [`Running`] is what the main thread lets
//! others read. Only `daemon` writes it.

use crate::config::Config;
use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};
use portable_atomic::{AtomicBool, Ordering};
use scraped_engine::metrics::page::Page;
use scraped_engine::metrics::{Collect, Counter};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Of the reasons for a refusal, which pages show; the log has all of them.
const MAX_REFUSAL_CHARS: usize = 4000;

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
    /// A thread has died without which the daemon cannot go on: it shuts down, as after a bug.
    ThreadDied,
}

/// The daemon's state for readers: the web server's pages and metrics.
#[derive(Debug)]
pub struct Running {
    started: SystemTime,
    ready: AtomicBool,
    /// When the stop began.
    stopping: OnceLock<SystemTime>,
    config: RwLock<Arc<Config>>,
    last_reload: Mutex<LastReload>,
    loaded: Mutex<Instant>,
    replay: Mutex<ReplayProgress>,
    /// What keeps the log from being written; empty while nothing does.
    log_trouble: OnceLock<Arc<Mutex<String>>>,
    /// Places where the log was damaged at start.
    pub corruptions: Counter,
}

/// How the newest reload went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// Since when an older configuration goes on.
    pub failed_since: Option<SystemTime>,
    /// Why it does: what is wrong with the newer one, a line a mistake.
    pub refusal: Arc<str>,
    /// When a configuration was last applied.
    pub last_success: SystemTime,
}

impl LastReload {
    fn good(last_success: SystemTime) -> Self {
        Self { failed_since: None, refusal: Arc::default(), last_success }
    }
}

/// How far replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Segments read.
    pub current: u64,
    /// Segments to read.
    pub max: u64,
}

impl Running {
    /// State at start: the first configuration is applied, nothing is ready.
    pub fn new(config: Arc<Config>) -> Self {
        let now = SystemTime::now();
        Self {
            started: now,
            ready: AtomicBool::new(false),
            stopping: OnceLock::new(),
            config: RwLock::new(config),
            last_reload: Mutex::new(LastReload::good(now)),
            loaded: Mutex::new(Instant::now()),
            replay: Mutex::default(),
            log_trouble: OnceLock::new(),
            corruptions: Counter::default(),
        }
    }

    /// When the process started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// Whether the start is complete.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// From now on the log says here what keeps it from being written.
    pub fn watch_log(&self, trouble: Arc<Mutex<String>>) {
        // There is one log in the life of a process.
        let _ = self.log_trouble.set(trouble);
    }

    /// What `/-/ready` says.
    ///
    /// # Errors
    /// Why samples are not taken, or not kept.
    pub fn readiness(&self) -> Result<(), String> {
        if !self.is_ready() {
            return Err("Service Unavailable".to_owned());
        }
        let trouble = self.log_trouble.get().map(|trouble| trouble.lock().clone()).unwrap_or_default();
        if trouble.is_empty() { Ok(()) } else { Err(format!("Service Unavailable: {trouble}\n")) }
    }

    /// From now on samples are taken.
    pub fn announce_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// From now on no samples are taken.
    pub fn announce_stop(&self) {
        let _ = self.stopping.set(SystemTime::now());
        self.ready.store(false, Ordering::Release);
    }

    /// When the stop began.
    pub fn stopping_since(&self) -> Option<SystemTime> {
        self.stopping.get().copied()
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read())
    }

    /// A new configuration is in force.
    pub fn applied(&self, config: Arc<Config>) {
        *self.config.write() = config;
        *self.last_reload.lock() = LastReload::good(SystemTime::now());
        *self.loaded.lock() = Instant::now();
    }

    /// A new configuration was refused, for these reasons.
    pub fn refused(&self, reasons: &str) {
        let refusal: String = reasons.chars().take(MAX_REFUSAL_CHARS).collect();
        let mut last_reload = self.last_reload.lock();
        last_reload.failed_since = Some(SystemTime::now());
        last_reload.refusal = refusal.into();
    }

    /// When the configuration in force was applied.
    pub fn loaded(&self) -> Instant {
        *self.loaded.lock()
    }

    /// How the newest reload went.
    pub fn last_reload(&self) -> LastReload {
        self.last_reload.lock().clone()
    }

    /// Replay got this far.
    pub fn replayed(&self, progress: ReplayProgress) {
        *self.replay.lock() = progress;
    }

    /// How far replay is.
    pub fn replay(&self) -> ReplayProgress {
        *self.replay.lock()
    }
}

impl Collect for Running {
    fn collect(&self, page: &mut Page) {
        let name = "prometheus_build_info";
        page.header(
            name,
            "A metric with a constant '1' value labeled by version from which scraped was built.",
            "gauge",
        );
        page.sample(name, &[("version", env!("CARGO_PKG_VERSION")), ("goarch", std::env::consts::ARCH)], 1.0);
        let ready = f64::from(u8::from(self.is_ready()));
        page.gauge("prometheus_ready", "Whether scraped startup was fully completed.", ready);
        let last_reload = self.last_reload();
        page.gauge(
            "prometheus_config_last_reload_successful",
            "Whether the last configuration reload attempt was successful.",
            f64::from(u8::from(last_reload.failed_since.is_none())),
        );
        let since_epoch = last_reload.last_success.duration_since(UNIX_EPOCH).unwrap_or_default();
        page.gauge(
            "prometheus_config_last_reload_success_timestamp_seconds",
            "Timestamp of the last successful configuration reload.",
            since_epoch.as_secs_f64(),
        );
    }
}
