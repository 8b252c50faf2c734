//! What the supervisor (systemd) hears: that we are ready, reload and stop, how things are, and that they go on.
//!
//! The watchdog is fed by the main thread, and only while scrapes end and requests of remote write are answered or fail. An
//! outage is progress: its requests fail.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::lifecycle::Running;
use crate::remote::metrics::{EndpointMetrics, RemoteMetrics};
use crate::scrape::targets::status::{Health, StatusBoard};
use crate::sd_notify::Notifier;

/// Between two looks at the state, for the line that shows it.
const STATUS_PAUSE: Duration = Duration::from_secs(10);

/// The supervisor hears of us this often within the time that it waits.
const FEEDS: u32 = 3;

/// Samples wait and no request has ended for this long: longer than an endpoint may ask for a pause.
const SENDS_STALLED: Duration = Duration::from_secs(75 * 60);

/// More time for a start that reads a long log; asked for again and again while it is read.
const REPLAY_EXTENSION: Duration = Duration::from_secs(60);

/// The supervisor, and what it was told.
pub(super) struct Supervisor {
    notifier: Notifier,
    status: String,
    next_at: Instant,
    sends: HashMap<String, Send>,
    /// Why the watchdog goes hungry; empty while it is fed.
    stall: String,
}

/// The last sign of life of an endpoint's shards.
struct Send {
    /// Changes whenever a request ends.
    sign: (i64, u64),
    since: Instant,
}

impl Supervisor {
    pub(super) fn new() -> Self {
        let notifier = Notifier::from_env().unwrap_or_else(|error| {
            log::warn!("the supervisor that NOTIFY_SOCKET names cannot be reached: {error}");
            Notifier::default()
        });
        Self {
            notifier,
            status: String::new(),
            next_at: Instant::now(),
            sends: HashMap::new(),
            stall: String::new(),
        }
    }

    /// The start reads the log, segment `current` of `max`.
    pub(super) fn replaying(&self, current: u64, max: u64) {
        self.notifier.extend(REPLAY_EXTENSION);
        self.notifier.status(&format!("reading the log: segment {current} of {max}"));
    }

    pub(super) fn ready(&self) {
        self.notifier.ready();
    }

    pub(super) fn reloading(&self) {
        self.notifier.reloading();
    }

    pub(super) fn stopping(&self) {
        self.notifier.stopping();
    }

    /// Until the next [`Supervisor::look`]; `None`: nobody listens.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.notifier.is_heard().then(|| self.next_at.saturating_duration_since(Instant::now()))
    }

    /// Says how things are and feeds the watchdog, if that is due.
    pub(super) fn look(&mut self, board: &StatusBoard, remote: &RemoteMetrics, running: &Running) {
        let now = Instant::now();
        if !self.notifier.is_heard() || now < self.next_at {
            return;
        }
        let watchdog = self.notifier.watchdog();
        self.next_at = now + watchdog.map_or(STATUS_PAUSE, |time| (time / FEEDS).min(STATUS_PAUSE));
        let endpoints = remote.endpoints();
        let status = status(board, &endpoints);
        if status != self.status {
            self.notifier.status(&status);
            self.status = status;
        }
        let stall = match board.stall(now, running.loaded()) {
            Some(stall) => format!("scraping stands still: {stall}"),
            None => self.stalled_sends(&endpoints, now).unwrap_or_default(),
        };
        if stall.is_empty() {
            self.notifier.alive();
        } else if self.stall.is_empty() && watchdog.is_some() {
            log::error!("{stall}; the supervisor's watchdog is not fed until it goes on");
        }
        self.stall = stall;
    }

    fn stalled_sends(&mut self, endpoints: &[Arc<EndpointMetrics>], now: Instant) -> Option<String> {
        self.sends.retain(|name, _| endpoints.iter().any(|endpoint| endpoint.name == *name));
        let mut stalled = None;
        for endpoint in endpoints {
            let pending = endpoint.ledger.lock().pending();
            let last_answer_ms = endpoint.answers.newest_first().first().map_or(0, |answer| answer.at_ms);
            // A pause of an endpoint that is wrong is no standstill.
            let paused_until_ms = endpoint.paused_until_ms.get();
            let sign = (last_answer_ms, paused_until_ms.to_bits());
            let send = self.sends.entry(endpoint.name.clone()).or_insert_with(|| Send { sign, since: now });
            if send.sign != sign || pending == 0 {
                *send = Send { sign, since: now };
            } else if now.duration_since(send.since) > SENDS_STALLED {
                let minutes = now.duration_since(send.since).as_secs() / 60;
                stalled = Some(format!(
                    "remote write to {} stands still: {pending} samples wait and no request has ended for {minutes} min",
                    endpoint.name
                ));
            }
        }
        stalled
    }
}

/// `12 of 14 targets up; backup 3 s behind`.
fn status(board: &StatusBoard, endpoints: &[Arc<EndpointMetrics>]) -> String {
    let pools = board.pools();
    let healths: Vec<Health> =
        pools.iter().flat_map(|(_, pool)| &pool.active).map(|target| target.status.health()).collect();
    let n_up = healths.iter().filter(|health| **health == Health::Up).count();
    let mut status = format!("{n_up} of {} targets up", healths.len());
    for endpoint in endpoints {
        status.push_str("; ");
        status.push_str(&endpoint.name);
        match endpoint.lag_s() {
            Some(lag_s) => status.push_str(&format!(" {lag_s:.0} s behind")),
            None => status.push_str(" has taken nothing yet"),
        }
    }
    status
}
