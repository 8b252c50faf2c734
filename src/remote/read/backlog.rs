//! The backlog of an endpoint that takes samples out of order: reads the gaps that the watcher left behind, oldest
//! first, while the watcher reads the newest samples.
//!
//! Runs on thread `wal-backlog-<name>` and ends when no gap is left to read. Its batches share the shards with the fresh
//! ones. What it may take of the link is decided in `inbox`, what is done in `progress`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

use crate::remote::endpoint_state::Shared;
use crate::remote::read::dealer::Reader;
use crate::remote::read::orders::{Control, Mode, Orders};
use crate::remote::send::shards::Outbox;
use crate::remote::settle::progress::Gap;
use scraped_engine::threads::stop::StopToken;
use scraped_engine::threads::{Thread, ThreadKind};
use scraped_engine::wal::follow::Ended;

/// Each endpoint has at most one, `wal-backlog-<remote>`.
const THREAD: ThreadKind = ThreadKind { name: "wal-backlog", stack_bytes: 256 << 10 };

/// After a failure to read the log.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// Orders that are not read yet: there is only one, to leave.
const ORDERS: usize = 1;

/// The running reader.
#[derive(Debug)]
pub struct Backlog {
    control: Sender<Control>,
    thread: Thread,
}

impl Backlog {
    /// Starts to read the gaps of `shared`; ends at once when `stop` comes.
    ///
    /// # Errors
    /// The system refuses the thread.
    pub fn spawn(shared: Arc<Shared>, outbox: Outbox, stop: StopToken) -> io::Result<Self> {
        let (control, orders) = bounded(ORDERS);
        let name = shared.metrics.name.clone();
        let thread = THREAD.spawn_owned(&name, "its watcher ends, too", move || {
            let place = shared.progress.newest_lane();
            let reader = Reader::new(Arc::clone(&shared), place, outbox, Orders::new(orders, stop));
            read_gaps(&shared, reader);
        })?;
        Ok(Self { control, thread })
    }

    /// Whether every gap is read, or it was ordered to end.
    pub fn has_ended(&self) -> bool {
        self.thread.has_ended()
    }

    /// Waits until every gap is read; false if a panic ended it before.
    pub fn join(self) -> bool {
        // The channel is closed afterwards: that would end it at once.
        self.thread.join()
    }

    /// Ends it at once.
    pub fn stop(self) {
        drop(self.control);
        self.thread.join();
    }

    /// Ends it between two records, with all that it has read given to the shards.
    pub fn leave(self) {
        // Full or closed: it ends anyway.
        let _ = self.control.try_send(Control::Leave);
        self.join();
    }
}

fn read_gaps(shared: &Shared, mut reader: Reader) {
    while let Some(gap) = shared.progress.gap() {
        reader.move_to(gap.lane, gap.from, Some(gap.until));
        if !read_gap(&mut reader, gap) {
            break;
        }
        shared.progress.finish(gap);
    }
    if reader.dealer.orders.mode() < Mode::Stopped {
        reader.dealer.flush_all();
    }
}

/// False if it is to end before the gap is read.
fn read_gap(reader: &mut Reader, gap: Gap) -> bool {
    let mut is_said = false;
    while !reader.is_done() {
        let ended = reader.read();
        if reader.dealer.orders.mode() >= Mode::Leaving {
            return false;
        }
        match ended {
            // The visitor saw the first record of the next lane.
            Ok(Ended::Paused) => return true,
            Ok(Ended::Truncated) => continue,
            // Not before the end of the gap, unless the log is closed and has lost a part of it.
            Ok(Ended::CaughtUp) => {}
            Err(error) if !is_said => {
                is_said = true;
                log::error!(
                    "remote_write: the backlog in front of segment {:08}: {error}; it is tried again",
                    gap.until
                );
            }
            Err(_) => {}
        }
        reader.dealer.orders.rest(FAILURE_PAUSE);
        if reader.dealer.orders.mode() >= Mode::Leaving {
            return false;
        }
    }
    true
}
