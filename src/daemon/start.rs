//! The steps of a start, in their order, and what they share.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::clock::Clock;
use crate::clock::metrics::ClockMetrics;
use crate::config::Config;
use crate::config::web::WebConfig;
use crate::config::web::server_tls::ClientAuth;
use crate::daemon::start_error::StartError;
use crate::descriptors;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::flags::Flags;
use crate::lifecycle::{DaemonEvent, Running};
use crate::process_metrics::ProcessMetrics;
use crate::query::Queries;
use crate::query::metrics::QueryMetrics;
use crate::remote::metrics::RemoteMetrics;
use crate::scrape::manager::ManagerOptions;
use crate::scrape::metrics::ScrapeMetrics;
use crate::scrape::schedule::scheduler::FirstScrape;
use crate::scrape::targets::on_demand::OnDemand;
use crate::scrape::targets::status::StatusBoard;
use crate::web;
use crate::web::door::terms::Terms;
use crate::web::metrics::WebMetrics;
use crate::web::serve::listen;
use crate::web::serve::listen::listener::{Address, Listener};
use crate::web::serve::server::Limits;
use crate::web::site::Site;
use crate::web::state::{ConfigText, Switches, WebState};
use scraped_engine::disk::written::Written;
use scraped_engine::families::MetadataStore;
use scraped_engine::metrics::Registry;
use scraped_engine::store::body_budget::BodyBudget;
use scraped_engine::store::rules::MetadataRecords;
use scraped_engine::threads;
use scraped_engine::wal::head::Wal;

/// What one room writes and another shows.
pub(super) struct Shown {
    pub(super) running: Arc<Running>,
    pub(super) registry: Arc<Registry>,
    pub(super) board: Arc<StatusBoard>,
    pub(super) scrape: Arc<ScrapeMetrics>,
    pub(super) discovery: Arc<DiscoveryMetrics>,
    pub(super) remote: Arc<RemoteMetrics>,
    pub(super) clock: Arc<ClockMetrics>,
    /// The way of the web to the scheduler.
    pub(super) on_demand: Arc<OnDemand>,
    /// Of all targets, for remote write.
    pub(super) families: Arc<MetadataStore>,
    /// To the data directory.
    pub(super) written: Arc<Written>,
}

impl Shown {
    /// Nothing is written yet; all that counts is registered.
    pub(super) fn of(config: &Arc<Config>, clock: &Clock) -> Self {
        let clock = clock.clone();
        let shown = Self {
            running: Arc::new(Running::new(Arc::clone(config))),
            registry: Arc::default(),
            board: Arc::default(),
            scrape: Arc::default(),
            discovery: Arc::default(),
            remote: Arc::default(),
            clock: Arc::default(),
            on_demand: Arc::default(),
            families: Arc::new(MetadataStore::new()),
            written: Arc::new(Written::by_clock(move || clock.wall_ms())),
        };
        shown.registry.register(Arc::clone(&shown.running) as _);
        shown.registry.register(Arc::new(ProcessMetrics::default()));
        shown.registry.register(Arc::clone(threads::metrics()) as _);
        shown.registry.register(Arc::clone(&shown.remote) as _);
        shown.registry.register(Arc::clone(&shown.scrape) as _);
        shown.registry.register(Arc::clone(&shown.board) as _);
        shown.registry.register(Arc::clone(&shown.discovery) as _);
        shown.registry.register(Arc::clone(&shown.clock) as _);
        shown.registry.register(Arc::clone(&shown.written) as _);
        shown
    }
}

/// Says what starts, and takes as many open files as the system gives.
pub(super) fn announce_start(flags: &Flags) {
    let file = flags.config_file.display();
    log::info!("scraped {} starts, configuration {file}", env!("CARGO_PKG_VERSION"));
    for note in &flags.features.notes {
        log::warn!("{note}");
    }
    for note in &flags.notes {
        log::info!("{note}");
    }
    let (found, limit) = descriptors::raise();
    if !Path::new("/proc/self/stat").exists() {
        log::info!("no /proc is mounted here: /metrics has no process_* and memory has no known bound");
    }
    log::debug!("limit of open files: {limit}, {found} at the start");
}

/// From now on the death of a thread that must not die ends the daemon.
pub(super) fn stop_when_a_thread_dies(daemon_events: Sender<DaemonEvent>) {
    // Closed: the daemon has stopped.
    threads::stop_by(move || drop(daemon_events.send(DaemonEvent::ThreadDied)));
}

/// Where the pages can be asked for, and by whom.
pub(super) struct Entrance {
    terms: Terms,
    pub(super) listeners: Vec<Listener>,
}

impl Entrance {
    /// Reads the terms and binds the addresses.
    pub(super) fn open(flags: &Flags) -> Result<Self, StartError> {
        let terms = match &flags.web_config_file {
            Some(file) => Terms::of_file(file).map_err(StartError::WebConfig)?,
            None => Terms::open(),
        };
        let listeners = match flags.systemd_socket {
            true => listen::handed_over(),
            false => listen::all(&flags.listen_addresses),
        };
        Ok(Self { terms, listeners: listeners.map_err(StartError::Listen)? })
    }
}

/// Starts the pages.
pub(super) fn start_web(
    flags: &Flags,
    entrance: Entrance,
    shown: &Shown,
    wal: &Wal,
    daemon_events: Sender<DaemonEvent>,
) -> Result<web::Handle, StartError> {
    let Entrance { terms, listeners } = entrance;
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let port =
        listeners.iter().find_map(|listener| listener.address().tcp()).map_or(0, |address| address.port());
    let prefix = flags.route_prefix.as_deref();
    let site = Site::new(
        flags.external_url.clone(),
        prefix,
        flags.cors.clone(),
        &hostname,
        port,
        terms.config().tls.is_some(),
    );
    announce_pages(&listeners, &site, terms.config());
    let metrics = Arc::new(WebMetrics::default());
    shown.registry.register(Arc::clone(&metrics) as _);
    let queries = Arc::new(QueryMetrics::default());
    shown.registry.register(Arc::clone(&queries) as _);
    let text_of = |wanted: &str| {
        let text = flags.texts.iter().find(|(name, _)| *name == wanted);
        text.map_or("", |(_, text)| text.as_str())
    };
    let state = WebState {
        daemon_events,
        switches: Switches {
            lifecycle: flags.enable_lifecycle,
            auto_reload: flags.auto_reload || flags.features.auto_reload_config,
            extra_scrape_metrics: flags.features.extra_scrape_metrics,
            exec_targets: flags.features.exec_targets,
            metadata_wal_records: flags.features.metadata_wal_records,
        },
        max_subscribers: flags.max_subscribers,
        running: Arc::clone(&shown.running),
        registry: Arc::clone(&shown.registry),
        metrics,
        board: Arc::clone(&shown.board),
        complaints: Arc::clone(&shown.discovery.complaints),
        remote: Arc::clone(&shown.remote),
        clock: Arc::clone(&shown.clock),
        on_demand: Arc::clone(&shown.on_demand),
        written: Arc::clone(&shown.written),
        log: wal.reader(),
        queries: Queries::new(wal.reader(), queries),
        costs: Default::default(),
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
    web::Handle::spawn(listeners, limits, terms, state).map_err(StartError::Thread)
}

fn announce_pages(listeners: &[Listener], site: &Site, config: &WebConfig) {
    for note in &config.notes {
        log::info!("{note}");
    }
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    for listener in listeners {
        match listener.address() {
            Address::Tcp(address) => log::info!("pages at {scheme}://{address}{}/targets", site.prefix()),
            address @ Address::Unix(_) => log::info!("pages at {address}, path {}/targets", site.prefix()),
        }
    }
    let open = listeners.iter().filter(|listener| listener.is_open());
    let Some(open) = open.filter_map(|listener| listener.address().tcp()).next() else { return };
    let asks_for_certificates =
        config.tls.as_ref().is_some_and(|tls| tls.client_auth != ClientAuth::NoClientCert);
    if config.users.is_empty() && !asks_for_certificates {
        log::warn!(
            "everyone who reaches {open} may read targets, labels and configuration: the web server has no password; users \
             in --web.config.file, a firewall, a proxy or --web.listen-address=127.0.0.1:{} keep others out",
            open.port()
        );
    } else if config.tls.is_none() {
        log::warn!(
            "whoever listens between a client and {open} reads its password and all answers: there are users and no TLS; \
             tls_server_config in --web.config.file encrypts them"
        );
    }
}

/// What scraping starts with.
pub(super) fn scrape_options(
    flags: &Flags,
    clock: Clock,
    wal: &Wal,
    config: Arc<Config>,
    shown: &Shown,
) -> ManagerOptions {
    let timestamp_tolerance =
        if flags.adjust_timestamps { flags.timestamp_tolerance } else { Duration::ZERO };
    let first_scrape = if flags.scrape_on_start { FirstScrape::AtOnce } else { FirstScrape::OnGrid };
    ManagerOptions {
        wal: wal.clone(),
        clock,
        board: Arc::clone(&shown.board),
        metrics: Arc::clone(&shown.scrape),
        budget: BodyBudget::new(flags.body_budget_bytes, flags.max_body_bytes),
        config,
        discovery_reload_interval: flags.discovery_reload_interval,
        first_scrape,
        timestamp_tolerance,
        max_workers: flags.max_workers,
        metadata: Arc::clone(&shown.families),
        metadata_records: match flags.features.metadata_wal_records {
            true => MetadataRecords::Written,
            false => MetadataRecords::NotWritten,
        },
        on_demand: Arc::clone(&shown.on_demand),
    }
}
