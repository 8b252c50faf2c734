//! What a provider of targets is, and its way to the manager.

use crate::discovery::keeper::Keeper;
use crate::discovery::target_group::TargetGroup;
use crate::http::Canceller;
use crossbeam_channel::Sender;
use crossbeam_channel::select;
use scraped_engine::threads::stop::StopToken;
use scraped_engine::threads::{STACK_BYTES, ThreadKind};
use std::sync::Arc;

/// Each provider has one, `sd-<kind>-<n>`.
pub(in crate::discovery) const THREAD: ThreadKind = ThreadKind { name: "sd", stack_bytes: STACK_BYTES };

/// A source of target groups with a thread of its own.
pub(crate) trait Discoverer: Send {
    /// `static`, `file`: the middle of the thread's name.
    fn kind(&self) -> &'static str;

    /// What ends a question that is under way when the provider is stopped, if anything does.
    fn canceller(&self) -> Option<Canceller> {
        None
    }

    /// Sends all groups, and again when they change, until `stop` or until nothing can change any more.
    fn run(self: Box<Self>, groups: &mut GroupSender, stop: &StopToken);
}

/// One provider's way to the manager.
#[derive(Debug)]
pub(crate) struct GroupSender {
    pub(in crate::discovery) provider: u64,
    pub(in crate::discovery) updates: Sender<Update>,
    pub(in crate::discovery) stop: StopToken,
    /// Remembers what is sent.
    pub(in crate::discovery) keeper: Option<Keeper>,
}

/// Everything that one provider knows.
#[derive(Debug)]
pub(crate) struct Update {
    pub(in crate::discovery) provider: u64,
    pub(in crate::discovery) groups: Vec<Arc<TargetGroup>>,
}

impl GroupSender {
    /// What was sent in an earlier life, each group marked.
    pub(in crate::discovery) fn remembered(&self) -> Vec<Arc<TargetGroup>> {
        self.keeper.as_ref().and_then(Keeper::load).unwrap_or_default()
    }

    /// For who sends only when something changes: what was sent last is remembered too, once the disk may be written
    /// again.
    pub(in crate::discovery) fn settle(&mut self) {
        if let Some(keeper) = &mut self.keeper {
            keeper.keep_waiting();
        }
    }

    /// Hands all groups on. Waits while the manager is busy, but not past a stop.
    pub(in crate::discovery) fn send(&mut self, groups: Vec<Arc<TargetGroup>>) {
        // After a stop the file may be another provider's.
        let is_stopped = self.stop.is_stopped();
        let update = Update { provider: self.provider, groups: groups.clone() };
        select! {
            // No one to send to is the same as a stop, and that is seen next.
            send(self.updates, update) -> _ => {}
            recv(self.stop.receiver()) -> _ => {}
        }
        // Last, since disks may be slow.
        if let Some(keeper) = self.keeper.as_mut().filter(|_| !is_stopped) {
            keeper.keep(&groups);
        }
    }
}
