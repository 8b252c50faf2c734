//! Discovery: one thread a provider (`sd-static-0`, `sd-file-1`), and `sd-manager`, which merges what they find.
//!
//! Providers send all groups they know, each time; the manager keeps the last of each provider and sends the sets of
//! all jobs. A provider that fails keeps quiet, and what it sent last stays. Knows nothing of scraping: target sets go
//! into a channel.

pub mod complaints;
mod directory_watch;
pub mod discoverer;
pub mod keeper;
pub mod lists;
mod manager;
pub mod metrics;
mod outbox;
mod providers;
mod refresh;
pub mod target_group;

use crate::discovery::manager::Apply;
pub use crate::discovery::providers::file::read_list;
use crate::discovery::target_group::TargetSets;

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use scraped_engine::disk::Disk;
use scraped_engine::threads::Thread;

use crate::config::Config;
use crate::discovery::keeper::KeptDir;
use crate::discovery::manager::Manager;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::outbox::Outbox;

/// Updates of providers that wait for the manager; a provider waits when it is full.
const UPDATES_CAPACITY: usize = 16;

/// Only the daemon's main thread sends, and waits for the reply. With room for one, an order sent while the manager ends
/// would lie there unread and its sender wait for ever.
const CONTROL_CAPACITY: usize = 0;

/// How long a stop waits for threads that hang in the system, as on a dead network file system.
const STOP_PATIENCE: Duration = Duration::from_secs(1);

/// The discovery threads: the manager and one a provider. Dropping it stops them without waiting.
#[derive(Debug)]
pub struct Handle {
    control: Sender<Apply>,
    manager: Thread,
    /// Closed when the last thread has ended.
    alive: Receiver<Infallible>,
}

impl Handle {
    /// Starts the manager and the providers of `config`. `target_sets` has capacity 1: while it is full the
    /// manager keeps the newest sets and offers them again. What providers find is remembered under
    /// `data_dir` on `disk`.
    ///
    /// # Errors
    /// The system refuses a thread for the manager.
    pub fn spawn(
        config: Arc<Config>,
        (data_dir, disk): (&Path, Arc<dyn Disk>),
        target_sets: Sender<TargetSets>,
        metrics: Arc<DiscoveryMetrics>,
    ) -> io::Result<Self> {
        let (control, orders) = bounded(CONTROL_CAPACITY);
        let (updates, received) = bounded(UPDATES_CAPACITY);
        let (alive_token, alive) = bounded(0);
        let outbox = Outbox::new(target_sets, Arc::clone(&metrics));
        let manager =
            Manager::new(updates, alive_token, outbox, metrics, config, KeptDir::new(data_dir, disk));
        let manager = manager::spawn(manager, orders, received)?;
        Ok(Self { control, manager, alive })
    }

    /// Takes over a new configuration; providers with equal settings go on. All sets are sent again.
    pub fn apply(&self, config: Arc<Config>) {
        let (applied, reply) = bounded(1);
        // A manager that has died stops the daemon.
        if self.control.send(Apply { config, applied }).is_ok() {
            let _ = reply.recv();
        }
    }

    /// Stops every thread and waits for them, a second at most: what hangs in the system is left behind.
    pub fn stop(self) {
        drop(self.control);
        if self.alive.recv_timeout(STOP_PATIENCE).is_err_and(|error| error.is_disconnected()) {
            // What it died of, if it did, is known when this returns.
            self.manager.join();
        }
    }
}
