//! The daemon: owns every handle, starts them in order, reloads, and stops them in order.
//!
//! Runs on the main thread, which waits for [`DaemonEvent`]s. Everything may be imported here and no one imports this.

mod auto_reload;
mod first_run;
mod start;
pub mod start_error;
mod storage;
mod supervisor;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::allocator::Trimmer;
use crate::clock::Clock;
use crate::commands::check;
use crate::config;
use crate::config::{Config, FeatureDefaults};
use crate::daemon::auto_reload::AutoReload;
use crate::daemon::start::{
    Entrance, Shown, announce_start, scrape_options, start_web, stop_when_a_thread_dies,
};
use crate::daemon::start_error::StartError;
use crate::daemon::storage::Storage;
use crate::daemon::supervisor::Supervisor;
use crate::descriptors::Shortage;
use crate::discovery;
use crate::flags::Flags;
use crate::lifecycle::{DaemonEvent, Running};
use crate::memory_limit::memory_limit;
use crate::remote::metrics::RemoteMetrics;
use crate::scrape::manager;
use crate::scrape::targets::status::StatusBoard;
use crate::signals;
use crate::web;
use scraped_engine::disk::metered::MeteredDisk;
use scraped_engine::disk::{Disk, RealDisk};
use scraped_engine::wal::head::Wal;

/// Target sets on their way to the scrape manager. Full: the discovery manager keeps the newest and offers it again.
const TARGET_SETS_CAPACITY: usize = 1;
/// First and longest pause between two looks for the first samples; the pauses double.
const FIRST_SAMPLES_PAUSE: Duration = Duration::from_millis(20);
const FIRST_SAMPLES_LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Pause between two looks at the process' own memory.
const MEMORY_CHECK_PAUSE: Duration = Duration::from_secs(10);

/// The running daemon. Fields stand in the order of their start.
pub struct Daemon {
    config_file: PathBuf,
    defaults: FeatureDefaults,
    auto_reload: Option<AutoReload>,
    board: Arc<StatusBoard>,
    remote: Arc<RemoteMetrics>,
    shortage: Shortage,
    supervisor: Supervisor,
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
        announce_start(&flags);
        let supervisor = Supervisor::new();
        let defaults = FeatureDefaults {
            extra_scrape_metrics: flags.features.extra_scrape_metrics,
            exec_targets: flags.features.exec_targets,
            local_target_dirs: flags.local_target_dirs.clone().into(),
        };
        let mut entrance = None;
        if !flags.is_config_file_given && !flags.config_file.exists() {
            // What cannot show its pages leaves no file behind.
            let open = entrance.insert(Entrance::open(&flags)?);
            first_run::write_config(&flags, &open.listeners)?;
        }
        let auto_reload = AutoReload::new(&flags);
        let config = Arc::new(load(&flags.config_file, defaults.clone())?);
        announce(&config);
        let clock = Clock::system();
        let shown = Shown::of(&config, &clock);
        let (sender, events) = unbounded();
        stop_when_a_thread_dies(sender.clone());
        let signals = signals::Handle::spawn(sender.clone()).map_err(StartError::Thread)?;
        let memory = memory_limit();
        let disk: Arc<dyn Disk> = Arc::new(MeteredDisk::new(Arc::new(RealDisk), Arc::clone(&shown.written)));
        let wal = Wal::unopened(storage::log_options(&flags, memory.as_ref(), Arc::clone(&disk)));
        let entrance = entrance.map_or_else(|| Entrance::open(&flags), Ok)?;
        let web = start_web(&flags, entrance, &shown, &wal, sender)?;
        let storage = Storage::start(&flags, wal, clock.clone(), memory, &shown, &supervisor)?;
        let (target_sets_sender, target_sets) = bounded(TARGET_SETS_CAPACITY);
        let options = scrape_options(&flags, clock, storage.wal(), Arc::clone(&config), &shown);
        let scrape = manager::Handle::spawn(options, target_sets).map_err(StartError::Thread)?;
        let data_dir = &flags.wal.path;
        let discovery = discovery::Handle::spawn(
            config,
            (data_dir, disk),
            target_sets_sender,
            Arc::clone(&shown.discovery),
        )
        .map_err(StartError::Thread)?;
        shown.running.announce_ready();
        supervisor.ready();
        Ok(Daemon {
            config_file: flags.config_file,
            defaults,
            auto_reload,
            board: shown.board,
            remote: shown.remote,
            shortage: Shortage::default(),
            supervisor,
            running: shown.running,
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
        let pauses =
            [self.auto_reload.as_ref().map(AutoReload::pause), self.storage.pause(), self.supervisor.pause()];
        pauses.into_iter().flatten().fold(MEMORY_CHECK_PAUSE, Duration::min)
    }

    /// What is looked at now and then.
    fn look_around(&mut self) {
        log::logger().flush();
        self.storage.look(&self.running, &self.supervisor);
        self.supervisor.look(&self.board, &self.remote, &self.running);
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
        self.supervisor.reloading();
        let outcome = self.load_and_apply(started);
        // Also after one that was refused: the old configuration goes on.
        self.supervisor.ready();
        outcome
    }

    fn load_and_apply(&self, started: Instant) -> Result<(), String> {
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
                self.running.refused(&err.to_string());
                let why = format!(
                    "cannot load {}: {err}; continuing with the previous configuration",
                    self.config_file.display()
                );
                log::error!("{why}");
                Err(why)
            }
        }
    }

    /// Stops everything, the last started first; what is on disk is complete when it returns. False if a thread died
    /// meanwhile.
    pub fn shutdown(self) -> bool {
        let started = Instant::now();
        self.running.announce_stop();
        self.supervisor.stopping();
        let step = |name: &str| log::debug!("stopped {name} after {:.3} s", started.elapsed().as_secs_f64());
        self.discovery.stop();
        step("discovery");
        self.scrape.stop();
        step("scraping");
        self.storage.stop(step);
        self.web.stop();
        self.signals.stop();
        log::info!("stopped in {:.3} s", started.elapsed().as_secs_f64());
        !self.events.try_iter().any(|event| matches!(event, DaemonEvent::ThreadDied))
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
