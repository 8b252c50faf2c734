//! Discovery: one thread a provider (`sd-static-0`, `sd-file-1`), and `sd-manager`, which merges what they find.
//!
//! Providers send all groups they know, each time; the manager keeps the last of each provider and sends the sets of
//! all jobs. A provider that fails keeps quiet, and what it sent last stays. Knows nothing of scraping: target sets go
//! into a channel.

pub mod complaints;
mod directory_watch;
pub mod keeper;
pub mod lists;
mod manager;
pub mod metrics;
mod outbox;
mod providers;
mod refresh;

pub use crate::discovery::providers::file::read_list;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};

use crate::config::Config;
use crate::config::discovery::Provenance;
use crate::discovery::keeper::{Keeper, KeptDir};
use crate::discovery::manager::Manager;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::outbox::Outbox;
use crate::http::Canceller;
use scraped_engine::labels::Labels;

/// Targets that came together from one source, with the labels they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Whose word it is; given by the kind of the provider, never by what the provider was told.
    pub provenance: Provenance,
    /// Tells groups of one provider apart: an index, or a file name and an index.
    pub source: String,
    /// Labels of each target; `__address__` at least.
    pub targets: Vec<Labels>,
    /// Labels that all of them share; a target's own win.
    pub labels: Labels,
}

/// Job name → its groups; jobs without targets are there with an empty list.
pub type TargetSets = BTreeMap<String, Vec<Arc<TargetGroup>>>;

/// Called with the name of a thread that ended by a panic.
pub type ThreadEnded = Arc<dyn Fn(&str) + Send + Sync>;

/// The address of a target before relabelling.
const ADDRESS_LABEL: &str = "__address__";

/// Updates of providers that wait for the manager; a provider waits when it is full.
const UPDATES_CAPACITY: usize = 16;

/// Only the daemon's main thread sends, and waits for the reply. With room for one, an order sent while the manager ends
/// would lie there unread and its sender wait for ever.
const CONTROL_CAPACITY: usize = 0;

/// How long a stop waits for threads that hang in the system, as on a dead network file system.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// A source of target groups with a thread of its own.
trait Discoverer: Send {
    /// `static`, `file`: the middle of the thread's name.
    fn kind(&self) -> &'static str;

    /// What ends a question that is under way when the provider is stopped, if anything does.
    fn canceller(&self) -> Option<Canceller> {
        None
    }

    /// Sends all groups, and again when they change, until `stop` is closed or nothing can change any more.
    fn run(self: Box<Self>, groups: &mut GroupSender, stop: &Stop);
}

/// Never carries anything; that it is closed means stop, and waiting for that is the only way to sleep.
type Stop = Receiver<Infallible>;

/// One provider's way to the manager.
#[derive(Debug)]
struct GroupSender {
    provider: u64,
    updates: Sender<Update>,
    stop: Stop,
    /// Remembers what is sent.
    keeper: Option<Keeper>,
}

/// Everything that one provider knows.
#[derive(Debug)]
struct Update {
    provider: u64,
    groups: Vec<Arc<TargetGroup>>,
}

impl GroupSender {
    /// What was sent in an earlier life, each group marked.
    fn remembered(&self) -> Vec<Arc<TargetGroup>> {
        self.keeper.as_ref().and_then(Keeper::load).unwrap_or_default()
    }

    /// For who sends only when something changes: what was sent last is remembered too, once the disk may be written
    /// again.
    fn settle(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.keep_waiting();
        }
    }

    /// Hands all groups on. Waits while the manager is busy, but not past a stop.
    fn send(&mut self, groups: Vec<Arc<TargetGroup>>) {
        // After a stop the file may be another provider's.
        let is_stopped = self.stop.try_recv() == Err(TryRecvError::Disconnected);
        let update = Update { provider: self.provider, groups: groups.clone() };
        select! {
            // Nobody to send to is the same as a stop, and that is seen next.
            send(self.updates, update) -> _ => {}
            recv(self.stop) -> _ => {}
        }
        // Last, since disks may be slow.
        if let Some(keeper) = self.keeper.as_mut().filter(|_| !is_stopped) {
            keeper.keep(&groups);
        }
    }
}

/// The main thread's word to the manager.
#[derive(Debug)]
struct Apply {
    config: Arc<Config>,
    applied: Sender<()>,
}

/// The discovery threads: the manager and one a provider. Dropping it stops them without waiting.
#[derive(Debug)]
pub struct Handle {
    control: Sender<Apply>,
    /// Closed when the last thread has ended.
    alive: Receiver<Infallible>,
}

impl Handle {
    /// Starts the manager and the providers of `config`. `target_sets` has capacity 1: while it is full the
    /// manager keeps the newest sets and offers them again. What providers find is remembered under `data_dir`.
    ///
    /// # Errors
    /// The system refuses a thread for the manager.
    pub fn spawn(
        config: Arc<Config>,
        data_dir: &Path,
        target_sets: Sender<TargetSets>,
        metrics: Arc<DiscoveryMetrics>,
        thread_ended: ThreadEnded,
    ) -> io::Result<Self> {
        let (control, orders) = bounded(CONTROL_CAPACITY);
        let (updates, received) = bounded(UPDATES_CAPACITY);
        let (alive_token, alive) = bounded(0);
        let outbox = Outbox::new(target_sets, Arc::clone(&metrics));
        let manager = Manager::new(
            updates,
            alive_token,
            outbox,
            metrics,
            Arc::clone(&thread_ended),
            config,
            KeptDir::new(data_dir),
        );
        manager::spawn(manager, orders, received, thread_ended)?;
        Ok(Self { control, alive })
    }

    /// Takes over a new configuration; providers with equal settings go on. All sets are sent again.
    pub fn apply(&self, config: Arc<Config>) {
        let (applied, reply) = bounded(1);
        // A manager that is gone has been told of by `thread_ended`.
        if self.control.send(Apply { config, applied }).is_ok() {
            let _ = reply.recv();
        }
    }

    /// Stops every thread and waits for them, a second at most: what hangs in the system is left behind.
    pub fn stop(self) {
        drop(self.control);
        let _ = self.alive.recv_timeout(STOP_PATIENCE);
    }
}
