//! What pages are made of.

use crate::clock::metrics::ClockMetrics;
use crate::config::Config;
use crate::discovery::complaints::Complaints;
use crate::lifecycle::DaemonEvent;
use crate::lifecycle::Running;
use crate::query::Queries;
use crate::remote::metrics::RemoteMetrics;
use crate::scrape::targets::on_demand::OnDemand;
use crate::scrape::targets::status::StatusBoard;
use crate::web::metrics::WebMetrics;
use crate::web::pages::cost::latest::LatestCosts;
use crate::web::site::Site;
use crossbeam_channel::Sender;
use scraped_engine::disk::written::Written;
use scraped_engine::metrics::Registry;
use scraped_engine::wal::head::LogReader;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::Weak;

/// What the pages are made from.
pub struct WebState {
    /// Where reload and quit go.
    pub daemon_events: Sender<DaemonEvent>,
    /// What is switched on.
    pub switches: Switches,
    /// `--web.max-notifications-subscribers`.
    pub max_subscribers: usize,
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
    /// Which clock is believed.
    pub clock: Arc<ClockMetrics>,
    /// To the data directory.
    pub written: Arc<Written>,
    /// The log, for what is to be written of it.
    pub log: LogReader,
    /// Where requests for a scrape at once go.
    pub on_demand: Arc<OnDemand>,
    /// Where questions to the log go.
    pub queries: Queries,
    /// What series cost, as measured last.
    pub costs: LatestCosts,
    /// Where the pages are and who may ask.
    pub site: Arc<Site>,
    /// Text of the configuration while somebody reads it.
    pub config_text: ConfigText,
    /// Flag name → text.
    pub flags: Vec<(&'static str, String)>,
    /// Text of the retention settings, as the API shows it.
    pub storage_retention: String,
}

/// What the command line switches on, as far as pages show it or depend on it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches {
    /// `--web.enable-lifecycle`.
    pub lifecycle: bool,
    /// `--config.auto-reload`.
    pub auto_reload: bool,
    /// `--enable-feature=extra-scrape-metrics`.
    pub extra_scrape_metrics: bool,
    /// `--enable-feature=exec-targets`.
    pub exec_targets: bool,
    /// `--enable-feature=metadata-wal-records`.
    pub metadata_wal_records: bool,
}

/// The configuration as text, once for all clients that read it.
#[derive(Debug, Default)]
pub struct ConfigText(RefCell<Option<(Arc<Config>, Weak<str>)>>);

impl WebState {
    /// The configuration in force, as text.
    pub(in crate::web) fn config_text(&self) -> Arc<str> {
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
