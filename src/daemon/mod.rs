//! The daemon: owns every handle, starts them in order, reloads, and stops them in order.
//!
//! Runs on the main thread, which waits for [`DaemonEvent`]s. Everything may be imported here and no one imports this.

use crate::allocator::Trimmer;
use crate::clock::Clock;
use crate::commands::check;
use crate::config;
use crate::config::text::changes::ConfigChanges;
use crate::config::{Config, FeatureDefaults};
use crate::descriptors;
use crate::descriptors::Shortage;
use crate::discovery;
use crate::discovery::complaints::Complaints;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::flags::Flags;
use crate::lifecycle::{DaemonEvent, Running};
use crate::process_metrics::ProcessMetrics;
use crate::remote::metrics::RemoteMetrics;
use crate::scrape::manager;
use crate::scrape::manager::ManagerOptions;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::schedule::scheduler::FirstScrape;
use crate::scrape::targets::status::StatusBoard;
use crate::signals;
use crate::web;
use crate::web::listen::{ListenError, Listener};
use crate::web::metrics::WebMetrics;
use crate::web::server::Limits;
use crate::web::site::Site;
use crate::web::state::{ConfigText, WebState};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use scraped_engine::families::MetadataStore;
use scraped_engine::metrics::Registry;
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::rules::MetadataRecords;
use scraped_engine::threads;
use scraped_engine::wal::error::WalError;
use scraped_engine::wal::head::Wal;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::{Storage, StorageOptions};

mod storage;

/// Target sets on their way to the scrape manager. Full: the discovery manager keeps the newest and offers it again.
const TARGET_SETS_CAPACITY: usize = 1;
/// First and longest pause between two looks for the first samples; the pauses double.
const FIRST_SAMPLES_PAUSE: Duration = Duration::from_millis(20);
const FIRST_SAMPLES_LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Pause between two looks at the process' own memory.
const MEMORY_CHECK_PAUSE: Duration = Duration::from_secs(10);

/// Why the daemon did not start: one sentence with the way out.
#[derive(Debug)]
pub enum StartError {
    /// The configuration file is missing or wrong.
    Config {
        /// `--config.file`.
        file: PathBuf,
        /// Every mistake, a line each.
        mistakes: String,
    },
    /// A web address cannot be bound.
    Listen(ListenError),
    /// The data directory cannot be used.
    Wal(WalError),
    /// The system refuses a thread.
    Thread(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config { file, .. } if !file.exists() => write!(
                f,
                "no configuration file at {}; name one with --config.file=FILE, etc/scraped.yml is one to start from",
                file.display()
            ),
            StartError::Config { mistakes, .. } => f.write_str(mistakes),
            StartError::Listen(err) => err.fmt(f),
            StartError::Wal(err) => err.fmt(f),
            StartError::Thread(err) => {
                write!(
                    f,
                    "cannot start a thread: {err}; raise the limit of processes or memory of this service"
                )
            }
        }
    }
}

impl std::error::Error for StartError {}

impl From<WalError> for StartError {
    fn from(err: WalError) -> Self {
        StartError::Wal(err)
    }
}

/// The running daemon. Fields stand in the order of their start.
pub struct Daemon {
    config_file: PathBuf,
    defaults: FeatureDefaults,
    auto_reload: Option<AutoReload>,
    board: Arc<StatusBoard>,
    shortage: Shortage,
    running: Arc<Running>,
    events: Receiver<DaemonEvent>,
    signals: signals::Handle,
    web: web::Handle,
    storage: Storage,
    scrape: manager::Handle,
    discovery: discovery::Handle,
}

impl Daemon {
    /// Starts everything; scrapes run when it returns.
    ///
    /// # Errors
    /// See [`StartError`]; what was started is stopped again by the end of the process.
    pub fn start(flags: Flags) -> Result<Daemon, StartError> {
        log::info!(
            "scraped {} starts, configuration {}",
            env!("CARGO_PKG_VERSION"),
            flags.config_file.display()
        );
        for note in &flags.features.notes {
            log::warn!("{note}");
        }
        for note in &flags.notes {
            log::info!("{note}");
        }
        let (found, limit) = descriptors::raise();
        log::debug!("limit of open files: {limit}, {found} at the start");
        let auto_reload = AutoReload::new(&flags);
        let defaults = FeatureDefaults {
            extra_scrape_metrics: flags.features.extra_scrape_metrics,
            exec_targets: flags.features.exec_targets,
            local_target_dirs: flags.local_target_dirs.clone().into(),
        };
        let config = Arc::new(load(&flags.config_file, defaults.clone())?);
        announce(&config);
        let (daemon_events, events) = unbounded();
        stop_when_a_thread_dies(&daemon_events);
        let signals = signals::Handle::spawn(daemon_events.clone()).map_err(StartError::Thread)?;
        let running = Arc::new(Running::new(Arc::clone(&config)));
        let registry = Arc::new(Registry::default());
        let board = Arc::new(StatusBoard::default());
        let remote_metrics = Arc::new(RemoteMetrics::default());
        let discovery_metrics = Arc::new(DiscoveryMetrics::default());
        let complaints = &discovery_metrics.complaints;
        let web = start_web(&flags, &running, &registry, &board, complaints, &remote_metrics, daemon_events)?;

        let clock = Clock::system();
        let metadata = Arc::new(MetadataStore::new());
        let storage = Storage::start(
            StorageOptions {
                metadata_records: flags.features.metadata_wal_records,
                flush_deadline: flags.flush_deadline,
                max_series: flags.max_series,
                clock: clock.clone(),
                families: Arc::clone(&metadata),
                metrics: remote_metrics,
            },
            flags.wal.clone(),
            &running,
            &registry,
            &board,
        )?;
        let wal = storage.wal();

        let scrape_metrics = Arc::new(ScrapeMetrics::default());
        registry.register(Arc::clone(&scrape_metrics) as _);
        registry.register(Arc::clone(&board) as _);
        registry.register(Arc::clone(&discovery_metrics) as _);
        let (target_sets_sender, target_sets) = bounded(TARGET_SETS_CAPACITY);
        let options = ManagerOptions {
            metadata,
            ..manager_options(&flags, wal, clock, &board, scrape_metrics, &config)
        };
        let scrape = manager::Handle::spawn(options, target_sets).map_err(StartError::Thread)?;
        let data_dir = &flags.wal.path;
        let discovery = discovery::Handle::spawn(config, data_dir, target_sets_sender, discovery_metrics)
            .map_err(StartError::Thread)?;
        running.announce_ready(true);
        Ok(Daemon {
            config_file: flags.config_file,
            defaults,
            auto_reload,
            board,
            shortage: Shortage::default(),
            running,
            events,
            signals,
            web,
            storage,
            scrape,
            discovery,
        })
    }

    /// Waits for events until one of them ends the daemon; true if that was asked for.
    pub fn run(&mut self) -> bool {
        let mut trimmer = Trimmer::default();
        let mut event = self.await_first_samples(&mut trimmer);
        loop {
            match event {
                DaemonEvent::Reload { reply } => {
                    if let Some(next) = self.reload_for_all(reply) {
                        event = next;
                        continue;
                    }
                }
                DaemonEvent::Terminate => return true,
                // Which one, and why, was said by itself.
                DaemonEvent::ThreadDied => return false,
            }
            event = self.next_event(&mut trimmer);
        }
    }

    /// Gives memory of bursts (the first scrapes, a reload, a huge page) back while it waits.
    fn next_event(&mut self, trimmer: &mut Trimmer) -> DaemonEvent {
        loop {
            let pause = self.pause();
            match self.events.recv_timeout(pause) {
                Ok(event) => return event,
                Err(RecvTimeoutError::Disconnected) => return DaemonEvent::Terminate,
                Err(RecvTimeoutError::Timeout) => {
                    self.look_around();
                    trimmer.trim_after_growth();
                }
            }
        }
    }

    /// Until something is to be looked at.
    fn pause(&self) -> Duration {
        let reload = self.auto_reload.as_ref().map_or(MEMORY_CHECK_PAUSE, AutoReload::pause);
        self.storage.pause().map_or(reload, |storage| storage.min(reload))
    }

    /// What is looked at now and then.
    fn look_around(&mut self) {
        self.storage.look(&self.running);
        if let Some(sentence) = self.shortage.look(self.board.n_active()) {
            log::warn!("{sentence}");
        }
        if self.auto_reload.as_mut().is_some_and(AutoReload::is_due) {
            log::info!("the configuration has changed, loading it again");
            // What is wrong with it was said; it is not tried again before it changes.
            let _ = self.reload();
        }
    }

    /// Says once that samples are being written; looks less and less often for them.
    fn await_first_samples(&mut self, trimmer: &mut Trimmer) -> DaemonEvent {
        let mut pause = FIRST_SAMPLES_PAUSE;
        loop {
            if self.storage.wal().samples_appended() > 0 {
                log::info!("first samples written");
                return self.next_event(trimmer);
            }
            match self.events.recv_timeout(pause.min(self.pause())) {
                Ok(event) => return event,
                Err(RecvTimeoutError::Disconnected) => return DaemonEvent::Terminate,
                Err(RecvTimeoutError::Timeout) => {
                    self.look_around();
                    pause = (pause * 2).min(FIRST_SAMPLES_LONGEST_PAUSE);
                }
            }
        }
    }

    /// One reload answers all requests that wait by now; returns the event behind them.
    fn reload_for_all(&mut self, reply: Option<Sender<Result<(), String>>>) -> Option<DaemonEvent> {
        let mut replies = vec![reply];
        let mut next = None;
        while let Ok(event) = self.events.try_recv() {
            match event {
                DaemonEvent::Reload { reply } => replies.push(reply),
                other => {
                    next = Some(other);
                    break;
                }
            }
        }
        if let Some(auto_reload) = &mut self.auto_reload {
            auto_reload.remember();
        }
        let outcome = self.reload();
        for reply in replies.into_iter().flatten() {
            let _ = reply.send(outcome.clone());
        }
        next
    }

    fn reload(&self) -> Result<(), String> {
        let started = Instant::now();
        match load(&self.config_file, self.defaults.clone()) {
            Ok(config) => {
                let config = Arc::new(config);
                announce(&config);
                self.storage.apply(Arc::clone(&config));
                // Pools know a job before its targets arrive.
                self.scrape.apply(Arc::clone(&config));
                self.discovery.apply(Arc::clone(&config));
                self.running.applied(config);
                log::info!("configuration loaded in {} ms", started.elapsed().as_millis());
                Ok(())
            }
            Err(err) => {
                self.running.refused();
                let why = format!(
                    "cannot load {}: {err}; continuing with the previous configuration",
                    self.config_file.display()
                );
                log::error!("{why}");
                Err(why)
            }
        }
    }

    /// Stops everything, the last started first; what is on disk is complete when it returns.
    pub fn shutdown(self) {
        let started = Instant::now();
        self.running.announce_ready(false);
        let step = |name: &str| log::debug!("stopped {name} after {:.3} s", started.elapsed().as_secs_f64());
        self.discovery.stop();
        step("discovery");
        self.scrape.stop();
        step("scraping");
        self.storage.stop(step);
        self.web.stop();
        self.signals.stop();
        log::info!("stopped in {:.3} s", started.elapsed().as_secs_f64());
    }
}

/// `--config.auto-reload`: looks at the files of the configuration now and then.
struct AutoReload {
    changes: ConfigChanges,
    interval: Duration,
    next_at: Instant,
}

impl AutoReload {
    fn new(flags: &Flags) -> Option<Self> {
        if !flags.auto_reload && !flags.features.auto_reload_config {
            return None;
        }
        let interval = flags.auto_reload_interval;
        let changes = ConfigChanges::new(&flags.config_file);
        Some(Self { changes, interval, next_at: Instant::now() + interval })
    }

    /// Until the next look, at most as long as other things may wait.
    fn pause(&self) -> Duration {
        self.next_at.saturating_duration_since(Instant::now()).min(MEMORY_CHECK_PAUSE)
    }

    /// Whether it is time and the files have changed.
    fn is_due(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next_at {
            return false;
        }
        self.next_at = now + self.interval;
        self.changes.look()
    }

    /// The files are loaded now for another reason.
    fn remember(&mut self) {
        self.changes.look();
    }
}

fn load(file: &Path, defaults: FeatureDefaults) -> Result<Config, StartError> {
    config::load_with(file, defaults)
        .map_err(|err| StartError::Config { file: file.to_owned(), mistakes: err.to_string() })
}

fn announce(config: &Config) {
    log::info!("{}", check::summary(config));
    for note in &config.notes {
        log::info!("{note}");
    }
}

fn stop_when_a_thread_dies(daemon_events: &Sender<DaemonEvent>) {
    let daemon_events = daemon_events.clone();
    // Closed: the daemon has stopped.
    threads::stop_by(move || drop(daemon_events.send(DaemonEvent::ThreadDied)));
}

fn start_web(
    flags: &Flags,
    running: &Arc<Running>,
    registry: &Arc<Registry>,
    board: &Arc<StatusBoard>,
    complaints: &Arc<Complaints>,
    remote_metrics: &Arc<RemoteMetrics>,
    daemon_events: Sender<DaemonEvent>,
) -> Result<web::Handle, StartError> {
    let listeners = Listener::all(&flags.listen_addresses).map_err(StartError::Listen)?;
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let port = listeners.first().map_or(0, |listener| listener.address().port());
    let prefix = flags.route_prefix.as_deref();
    let site = Site::new(flags.external_url.clone(), prefix, flags.cors.clone(), &hostname, port);
    announce_pages(&listeners, &site);
    let metrics = Arc::new(WebMetrics::default());
    registry.register(Arc::clone(running) as _);
    registry.register(Arc::new(ProcessMetrics::default()));
    registry.register(Arc::clone(threads::metrics()) as _);
    registry.register(Arc::clone(&metrics) as _);
    registry.register(Arc::clone(remote_metrics) as _);
    let text_of = |wanted: &str| {
        let text = flags.texts.iter().find(|(name, _)| *name == wanted);
        text.map_or("", |(_, text)| text.as_str())
    };
    let state = WebState {
        daemon_events,
        lifecycle_enabled: flags.enable_lifecycle,
        running: Arc::clone(running),
        registry: Arc::clone(registry),
        metrics,
        board: Arc::clone(board),
        complaints: Arc::clone(complaints),
        remote: Arc::clone(remote_metrics),
        site: Arc::new(site),
        config_text: ConfigText::default(),
        storage_retention: format!(
            "{} or {}",
            text_of("storage.agent.retention.max-time"),
            text_of("storage.agent.retention.max-bytes")
        ),
        flags: flags.texts.clone(),
    };
    let limits = Limits { max_connections: flags.max_connections, idle: flags.read_timeout };
    web::Handle::spawn(listeners, limits, state).map_err(StartError::Thread)
}

fn announce_pages(listeners: &[Listener], site: &Site) {
    for listener in listeners {
        log::info!("pages at http://{}{}/targets", listener.address(), site.prefix());
    }
    if let Some(open) = listeners.iter().find(|listener| !listener.is_local()) {
        log::warn!(
            "everyone who reaches {} may read targets, labels and configuration: the web server has no password; a \
             firewall, a proxy or --web.listen-address=127.0.0.1:{} keeps others out",
            open.address(),
            open.address().port()
        );
    }
}

fn manager_options(
    flags: &Flags,
    wal: &Wal,
    clock: Clock,
    board: &Arc<StatusBoard>,
    metrics: Arc<ScrapeMetrics>,
    config: &Arc<Config>,
) -> ManagerOptions {
    let timestamp_tolerance =
        if flags.adjust_timestamps { flags.timestamp_tolerance } else { Duration::ZERO };
    let first_scrape = if flags.scrape_on_start { FirstScrape::AtOnce } else { FirstScrape::OnGrid };
    ManagerOptions {
        wal: wal.clone(),
        clock,
        board: Arc::clone(board),
        metrics,
        budget: BodyBudget::new(flags.body_budget_bytes, flags.max_body_bytes),
        config: Arc::clone(config),
        discovery_reload_interval: flags.discovery_reload_interval,
        first_scrape,
        timestamp_tolerance,
        max_workers: flags.max_workers,
        metadata: Arc::default(),
        metadata_records: match flags.features.metadata_wal_records {
            true => MetadataRecords::Written,
            false => MetadataRecords::NotWritten,
        },
    }
}
