//! The manager: one queue a section of `remote_write`; starts, replaces, stops them and remembers their positions.
//!
//! Runs on thread `remote-manager`. Endpoints are distinguished by their name, or by their URL without one: whatever else
//! changes in a section, its queue goes on where it is.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::clock::Clock;
use crate::config::Config;
use crate::remote::endpoint_name;
use crate::remote::metrics::RemoteMetrics;
use crate::remote::queue::{Endpoint, Queue};
use crate::remote::read::claims::{Claim, Claims};
use crate::remote::send::shard_count::UPDATE_SECONDS;
use crate::remote::settle::position::Remembered;
use crate::remote::traffic::TrafficMeter;
use scraped_engine::disk::FileId;
use scraped_engine::families::MetadataStore;
use scraped_engine::threads::{Thread, ThreadKind};
use scraped_engine::wal::head::LogReader;
use scraped_engine::wal::keep::flush;

const THREAD: ThreadKind = ThreadKind { name: "remote-manager", stack_bytes: 256 << 10 };

/// Time between two looks at the queues.
const TICK: Duration = Duration::from_secs(1);

/// Time between two saves of the positions.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);

/// What the manager starts with.
pub struct ManagerOptions {
    /// The log.
    pub log: LogReader,
    /// For ages.
    pub clock: Clock,
    /// The sections to start with.
    pub config: Arc<Config>,
    /// What the sections need of the log.
    pub claims: Claims,
    /// `--storage.remote.flush-deadline`.
    pub flush_deadline: Duration,
    /// Families of all targets, for `metadata_config`.
    pub families: Arc<MetadataStore>,
    /// Memory there may be; `None`: nothing says how much.
    pub memory_bytes: Option<u64>,
    /// What is shown.
    pub metrics: Arc<RemoteMetrics>,
}

/// The running manager.
#[derive(Debug)]
pub struct Handle {
    /// Holds no message: an order is taken or the thread has ended. Closed to stop.
    control: Sender<Order>,
    thread: Thread,
}

struct Order {
    config: Arc<Config>,
    /// Dropped when it is done.
    _reply: Sender<()>,
}

impl Handle {
    /// Starts the manager and its queues. Their places in the log are fixed when it returns: what is written from then
    /// on is sent.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub fn spawn(options: ManagerOptions) -> io::Result<Handle> {
        let ManagerOptions { log, clock, config, claims, flush_deadline, families, memory_bytes, metrics } =
            options;
        let now = Instant::now();
        let mut manager = Manager {
            claims,
            log,
            clock,
            families,
            memory_bytes,
            metrics,
            queues: Vec::new(),
            waiting: Vec::new(),
            last_save: None,
            positions_place: None,
            last_reshard: now,
            log_meter: TrafficMeter::new(now),
        };
        // Here and not on the thread: a new endpoint's present is before the first scrape.
        manager.apply(&config);
        let (control, orders) = bounded(0);
        let thread = THREAD.spawn_essential("", move || {
            manager.run(&orders);
            manager.stop(flush_deadline);
        })?;
        Ok(Handle { control, thread })
    }

    /// Applies a new configuration and waits until that is done.
    pub fn apply(&self, config: Arc<Config>) {
        let (reply, done) = bounded(0);
        if self.control.send(Order { config, _reply: reply }).is_ok() {
            let _: Result<(), _> = done.recv();
        }
    }

    /// Sends what there is within the flush deadline, remembers the positions and ends.
    pub fn stop(self) {
        drop(self.control);
        self.thread.join();
    }
}

struct Manager {
    log: LogReader,
    clock: Clock,
    claims: Claims,
    families: Arc<MetadataStore>,
    memory_bytes: Option<u64>,
    metrics: Arc<RemoteMetrics>,
    /// In the order of the configuration.
    queues: Vec<Queue>,
    /// Endpoints whose place in the log cannot be found yet; what they need of it stays.
    waiting: Vec<(Endpoint, Claim)>,
    /// `None` before the first one, which comes with the first tick: a box that is killed again and again moves on.
    last_save: Option<Instant>,
    /// The directory of positions when it was last written.
    positions_place: Option<FileId>,
    last_reshard: Instant,
    log_meter: TrafficMeter,
}

impl Manager {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            select! {
                recv(orders) -> order => match order {
                    Ok(order) => self.apply(&order.config),
                    Err(_) => return,
                },
                default(TICK) => {}
            }
            self.tick(Instant::now());
        }
    }

    fn tick(&mut self, now: Instant) {
        for queue in &mut self.queues {
            queue.revive();
            queue.measure(now);
            // At every tick: what an fsync made durable is saved at the next save, not at the one after it.
            queue.count_gone();
            queue.note_settled();
        }
        if self.last_save.is_none() {
            // What is settled by now is made durable, so that it can be saved.
            if let Err(error) = self.log.sync() {
                log::error!("{error}");
            }
        }
        for (n_in, n) in self.metrics.kinds_in.iter().zip(self.log.appended()) {
            n_in.set(n as f64);
        }
        let log_traffic = self.log_meter.read(now, self.clock.wall_ms(), self.log.bytes_written());
        *self.metrics.log_traffic.lock() = log_traffic;
        self.metrics.log_limit_bytes.set(self.log.limit_bytes());
        if self.last_save.is_none_or(|last| now.duration_since(last) >= SAVE_INTERVAL) {
            self.last_save = Some(now);
            self.start_waiting();
            self.save();
        }
        if now.duration_since(self.last_reshard).as_secs_f64() >= UPDATE_SECONDS {
            self.last_reshard = now;
            self.queues.iter_mut().for_each(Queue::reshard);
        }
    }

    fn apply(&mut self, config: &Config) {
        let mut before = std::mem::take(&mut self.queues);
        // Dropped at the end: until then they hold the log for those that come after them.
        let mut waiting = std::mem::take(&mut self.waiting);
        let is_configured =
            |identity: &str| config.remote_write.iter().any(|section| section.identity() == identity);
        for section in &config.remote_write {
            let endpoint = Endpoint {
                config: Arc::clone(section),
                external_labels: config.global.external_labels.clone(),
            };
            let identity = section.identity();
            let is_it = |queue: &Queue| queue.endpoint().config.identity() == identity;
            // The same as typed comes first: one more of its URL gives it another identity.
            let is_typed_by_another = |queue: &Queue| {
                let mut others = config.remote_write.iter().filter(|other| !Arc::ptr_eq(other, section));
                others.any(|other| other.has_settings_of(&queue.endpoint().config))
            };
            let was_it = |queue: &Queue| {
                let config = &queue.endpoint().config;
                config.url == section.url && !is_configured(config.identity()) && !is_typed_by_another(queue)
            };
            let is_typed_the_same =
                |queue: &Queue| section.has_settings_of(&queue.endpoint().config) && was_it(queue);
            let find = |wanted: &dyn Fn(&Queue) -> bool| before.iter().position(wanted);
            let known = find(&is_it).or_else(|| find(&is_typed_the_same)).or_else(|| find(&was_it));
            if let Some(mut queue) = known.map(|idx| before.remove(idx)) {
                let known_as = queue.endpoint().config.identity();
                if known_as != identity {
                    self.claims.renamed.push((known_as.to_owned(), identity.to_owned()));
                }
                if queue.endpoint() != &endpoint {
                    queue.replace(endpoint);
                } else {
                    queue.ask_again();
                }
                self.queues.push(queue);
                continue;
            }
            let is_claimed = |claim: &Claim| claim.identity == identity;
            let open = &mut self.claims.open;
            let claim = if let Some(idx) = open.iter().position(is_claimed) {
                open.remove(idx)
            } else if let Some(idx) = waiting.iter().position(|(_, claim)| is_claimed(claim)) {
                waiting.remove(idx).1
            } else {
                self.claims.claim(&self.log, config, section)
            };
            self.start(endpoint, claim);
        }
        for mut queue in before {
            log::info!("remote_write {}: ends, its section is gone", queue.metrics().name);
            queue.halt(Instant::now());
            queue.count_gone();
            queue.save(&self.claims.positions);
        }
        self.remember();
    }

    /// Remembers the queues there are and shows them.
    fn remember(&mut self) {
        // After the positions: an endpoint that is listed without one is sent everything.
        self.save();
        self.enlist();
        let positions = &self.claims.positions;
        let has_data = self.claims.has_data;
        self.claims.renamed.retain(|(known_as, identity)| {
            let is_saved = matches!(positions.recall(identity, has_data), Remembered::At(_));
            // What is left of it would only be taken for a position one day.
            if is_saved && let Err(error) = positions.forget(known_as) {
                log::warn!("cannot forget the endpoint {known_as:?} of remote_write: {error}");
            }
            !is_saved
        });
        self.metrics.show(self.queues.iter().map(|queue| Arc::clone(queue.metrics())).collect());
    }

    /// Starts a queue at the place of its claim, which is kept if that cannot be found yet.
    fn start(&mut self, endpoint: Endpoint, mut claim: Claim) {
        let identity = endpoint.config.identity();
        let found = claim.find_place(&self.log, &endpoint_name::name_of(&endpoint.config));
        match claim.take() {
            Ok(place) => {
                let whence = if place.0.is_new { ", from now on" } else { "" };
                let url = endpoint.config.shown_url();
                let (clock, families) = (self.clock.clone(), Arc::clone(&self.families));
                let mut queue =
                    Queue::new(endpoint, self.log.clone(), clock, families, self.memory_bytes, place);
                log::info!("remote_write {}: sends to {url}{whence}", queue.metrics().name);
                queue.revive();
                self.queues.push(queue);
            }
            Err(claim) => {
                if let Err(error) = found {
                    log::error!(
                        "remote_write {identity}: {error}; nothing is sent to it until that works, it is tried again; \
                         the log keeps what it has not had"
                    );
                }
                self.waiting.push((endpoint, *claim));
            }
        }
    }

    /// Tries those again whose place could not be found.
    fn start_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        for (endpoint, mut claim) in std::mem::take(&mut self.waiting) {
            match claim.find_place(&self.log, &endpoint_name::name_of(&endpoint.config)) {
                Ok(()) => self.start(endpoint, claim),
                // Said when it was first tried.
                Err(_) => self.waiting.push((endpoint, claim)),
            }
        }
        self.remember();
    }

    fn save(&mut self) {
        // Each queue says what an error means for it.
        let is_made = self.claims.positions.restore().unwrap_or_else(|error| {
            log::debug!("cannot make the directory of remote_write positions: {error}");
            false
        });
        let place = self.claims.positions.place();
        let is_another = place.is_some() && self.positions_place.is_some_and(|before| Some(before) != place);
        self.positions_place = place.or(self.positions_place);
        if is_made || is_another {
            log::warn!(
                "the directory of remote_write positions {}; they are written again",
                if is_made { "was missing" } else { "is another one: its disk went away or came back" }
            );
            self.queues.iter_mut().for_each(Queue::forget_saved);
            self.save_all();
            self.enlist();
        } else {
            self.save_all();
        }
    }

    fn enlist(&self) {
        let identities = self.queues.iter().map(|queue| queue.endpoint().config.identity());
        if let Err(error) = self.claims.positions.enlist(identities) {
            log::error!("cannot remember the endpoints of remote_write: {error}");
        }
    }

    fn save_all(&mut self) {
        for queue in &mut self.queues {
            queue.count_gone();
            queue.save(&self.claims.positions);
        }
    }

    /// Scraping has ended: what is in the log now is all there will be.
    fn stop(mut self, flush_deadline: Duration) {
        let deadline = Instant::now() + flush_deadline;
        self.queues.iter().for_each(Queue::drain);
        for queue in &self.queues {
            queue.await_drained(deadline);
        }
        for queue in &mut self.queues {
            queue.halt(deadline);
            queue.note_settled();
        }
        if let Err(error) = flush::finish(&self.log) {
            log::error!("{error}");
        }
        self.save();
        for queue in &self.queues {
            let pending = queue.ledger().pending();
            if pending > 0 || !queue.last_error().is_empty() {
                log::warn!(
                    "remote_write {}: not everything could be sent before the stop; the rest stays in the log",
                    queue.metrics().name
                );
            }
        }
    }
}
