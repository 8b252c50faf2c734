//! How much a provider keeps: counted target by target while its answer is read, so that what is too much is never held.
//!
//! Knows no format. What is counted is about what it takes in memory.

use crate::config::discovery::Provenance;
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use scraped_engine::labels::Labels;

/// What a provider keeps of one answer. The last answer and the next are there at the same time, and the shipped unit
/// has 256 MiB for all.
pub(in crate::discovery) const MAX_KEPT_BYTES: usize = 32 << 20;

/// Targets of one provider on the network. Each that is scraped takes some 2.5 KiB more.
const MAX_NETWORK_TARGETS: usize = 50_000;

/// Labels of groups, once for each of their targets: what is scraped has a copy of them.
const MAX_COPIED_BYTES: usize = 32 << 20;

/// What a label takes beside its text: two boxes, and what the allocator adds.
const LABEL_BYTES: usize = 64;

/// What a target or a group takes beside its labels.
const ITEM_BYTES: usize = 64;

/// What `target_limit` makes of a provider's targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::discovery) struct Wanted {
    /// More of them make no difference: more than the highest `target_limit` of the provider's jobs. `None`: one of the
    /// jobs has no limit, or has `relabel_configs`, which may drop any number of them before the limit counts.
    pub n_targets: Option<usize>,
}

/// The count of one answer.
#[derive(Clone, Debug)]
pub(in crate::discovery) struct Tally {
    wanted: Wanted,
    max_targets: usize,
    n_targets: usize,
    n_kept_bytes: usize,
    n_copied_bytes: usize,
}

/// What becomes of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Fate {
    Kept,
    /// `target_limit` is exceeded with those that are kept.
    Counted,
}

impl Tally {
    /// Of an answer that is yet to be read.
    pub(in crate::discovery) fn new(provenance: Provenance, wanted: Wanted) -> Self {
        let max_targets = match provenance {
            Provenance::Operator => usize::MAX,
            Provenance::Network => MAX_NETWORK_TARGETS,
        };
        Self { wanted, max_targets, n_targets: 0, n_kept_bytes: 0, n_copied_bytes: 0 }
    }

    /// One target more, with this much text in this many labels.
    ///
    /// # Errors
    /// A sentence: it is one too many.
    pub(in crate::discovery) fn target(&mut self, n_labels: usize, n_bytes: usize) -> Result<Fate, String> {
        if self.wanted.n_targets.is_some_and(|wanted| self.n_targets >= wanted) {
            return Ok(Fate::Counted);
        }
        if self.n_targets >= self.max_targets {
            return Err(format!(
                "it has more than {} targets, the most of one source; give them out in several",
                self.max_targets
            ));
        }
        self.n_targets += 1;
        self.labels(n_labels, n_bytes)?;
        Ok(Fate::Kept)
    }

    /// The same of a target that is made already.
    ///
    /// # Errors
    /// A sentence: it is one too many.
    pub(in crate::discovery) fn made(&mut self, labels: &Labels) -> Result<Fate, String> {
        self.target(labels.iter().count(), text_bytes(labels))
    }

    /// One group more, with its own labels.
    ///
    /// # Errors
    /// A sentence: it is too much.
    pub(in crate::discovery) fn labels(&mut self, n_labels: usize, n_bytes: usize) -> Result<(), String> {
        self.n_kept_bytes =
            self.n_kept_bytes.saturating_add(ITEM_BYTES + n_labels.saturating_mul(LABEL_BYTES) + n_bytes);
        if self.n_kept_bytes > MAX_KEPT_BYTES {
            return Err(format!(
                "its targets and their labels take more than {MAX_KEPT_BYTES} bytes, the most of one source; give them \
                 out in several"
            ));
        }
        Ok(())
    }

    /// A group whose targets were counted: they share its labels.
    ///
    /// # Errors
    /// A sentence: it is too much.
    pub(in crate::discovery) fn group(&mut self, group: &TargetGroup) -> Result<(), String> {
        let n_bytes = text_bytes(&group.labels);
        self.n_copied_bytes = self.n_copied_bytes.saturating_add(n_bytes.saturating_mul(group.targets.len()));
        if self.n_copied_bytes > MAX_COPIED_BYTES {
            return Err(format!(
                "with group {:?} the labels of all targets have {} bytes (limit: {MAX_COPIED_BYTES})",
                group.source, self.n_copied_bytes
            ));
        }
        self.labels(group.labels.iter().count(), n_bytes + group.source.len())
    }

    /// A group with its targets; those that are not wanted any more are cut off.
    ///
    /// # Errors
    /// A sentence: it is too much.
    pub(in crate::discovery) fn whole(&mut self, group: &mut TargetGroup) -> Result<(), String> {
        let mut n_kept = 0;
        for target in &group.targets {
            if self.made(target)? == Fate::Counted {
                break;
            }
            n_kept += 1;
        }
        group.targets.truncate(n_kept);
        self.group(group)
    }

    /// What it was before a part of the answer that does not count any more.
    pub(in crate::discovery) fn forget_since(&mut self, before: &Self) {
        self.n_targets = before.n_targets;
        self.n_kept_bytes = before.n_kept_bytes;
    }
}

/// Bytes of names and values.
fn text_bytes(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// What a label set takes in memory, about.
pub(in crate::discovery) fn memory_bytes(labels: &Labels) -> usize {
    ITEM_BYTES + labels.iter().count() * LABEL_BYTES + text_bytes(labels)
}

/// Bytes of a target that is an address and nothing else.
pub(in crate::discovery) fn address_bytes(address: &str) -> usize {
    ADDRESS_LABEL.len() + address.len()
}
