//! What the manager wants of a reader, which obeys between two records, while it rests, and while a shard is full.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, select};

use crate::remote::send::batch::Batch;
use scraped_engine::threads::stop::StopToken;

/// An order; a closed channel means: end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// From the next record on there are this many shards.
    Reshard(usize),
    /// Read what there is, send everything, end.
    Drain,
    /// End after the record that is being read, with all that was read given to the shards.
    Leave,
}

/// How a reader goes on; what comes later ends it sooner and is never taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// It reads and waits for more.
    #[default]
    Reading,
    /// It ends at the end of the log.
    Draining,
    /// It ends after the record in hand.
    Leaving,
    /// It ends at once.
    Stopped,
}

/// The orders of one reader.
#[derive(Debug)]
pub struct Orders {
    control: Receiver<Control>,
    stop: StopToken,
    mode: Mode,
    /// How many shards there should be, if another number than now.
    pub wanted_shards: Option<usize>,
}

impl Orders {
    /// Orders come by `control`; that it is closed ends the reader at once, as `stop` does.
    pub fn new(control: Receiver<Control>, stop: StopToken) -> Self {
        Self { control, stop, mode: Mode::default(), wanted_shards: None }
    }

    /// How the reader goes on.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Stops everything of the endpoint.
    pub fn stop_token(&self) -> &StopToken {
        &self.stop
    }

    /// From now on the reader ends at once.
    pub fn stop(&mut self) {
        self.mode = Mode::Stopped;
    }

    /// Does nothing for a while, unless there is an order.
    pub fn rest(&mut self, pause: Duration) {
        select! {
            recv(self.control) -> order => self.obey(order.ok()),
            recv(self.stop.receiver()) -> _ => self.stop(),
            default(pause) => {}
        }
    }

    /// The same, and a commit ends the pause as well. False once there are no commits any more.
    pub fn rest_until_commit(&mut self, commits: &Receiver<()>, pause: Duration) -> bool {
        select! {
            recv(commits) -> commit => return commit.is_ok(),
            recv(self.control) -> order => self.obey(order.ok()),
            recv(self.stop.receiver()) -> _ => self.stop(),
            default(pause) => {}
        }
        true
    }

    /// Obeys what has been ordered by now.
    pub fn obey_all(&mut self) {
        loop {
            match self.control.try_recv() {
                Ok(order) => self.obey(Some(order)),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => return self.stop(),
            }
        }
    }

    /// Gives a shard a batch as soon as it has room; gives it back if an order came first.
    pub fn offer(&mut self, sender: &Sender<Batch>, batch: Batch) -> Result<(), Batch> {
        let mut batch = Some(batch);
        select! {
            // The message is only made when there is room.
            send(sender, batch.take().unwrap_or_default()) -> sent => return sent.map_err(|back| {
                // A shard ends only when its endpoint does.
                self.stop();
                back.into_inner()
            }),
            recv(self.control) -> order => self.obey(order.ok()),
            recv(self.stop.receiver()) -> _ => self.stop(),
        }
        Err(batch.unwrap_or_default())
    }

    fn obey(&mut self, order: Option<Control>) {
        let mode = match order {
            Some(Control::Reshard(n)) => {
                self.wanted_shards = Some(n);
                return;
            }
            Some(Control::Drain) => Mode::Draining,
            Some(Control::Leave) => Mode::Leaving,
            None => Mode::Stopped,
        };
        self.mode = self.mode.max(mode);
    }
}
