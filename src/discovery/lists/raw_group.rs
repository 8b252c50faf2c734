//! Target groups while they are read: counted and checked, whatever the format is.

use crate::config::discovery::Provenance;
use crate::discovery::lists::tally::Fate;
use crate::discovery::lists::tally::Tally;
use crate::discovery::lists::tally::Wanted;
use crate::discovery::lists::tally::address_bytes;
use crate::discovery::target_group::ADDRESS_LABEL;
use crate::discovery::target_group::TargetGroup;
use scraped_engine::labels::Labels;
use std::collections::HashSet;
use std::hash::BuildHasher;
use std::hash::RandomState;

/// Targets of a group that are kept though they stand there already.
pub(crate) const MAX_REPEATED: usize = 1000;

/// Where a list comes from.
#[derive(Clone, Copy, Debug)]
pub(in crate::discovery) struct Origin<'a> {
    pub provenance: Provenance,
    /// The label that each group gets.
    pub label: &'static str,
    /// Its value: a path, a URL, a program.
    pub name: &'a str,
    /// How many targets matter.
    pub wanted: Wanted,
}

/// A group while it is read.
#[derive(Debug, Default)]
pub(in crate::discovery) struct RawGroup {
    pub targets: Vec<Labels>,
    pub labels: Vec<(String, String)>,
    /// Hashes of the addresses of `targets`: the same one twice is one target.
    seen: HashSet<u64>,
    n_repeated: usize,
}

/// The groups that are read, and what they take.
#[derive(Debug)]
pub(in crate::discovery) struct Groups<'a> {
    pub(in crate::discovery::lists) origin: Origin<'a>,
    pub tally: Tally,
    pub(in crate::discovery::lists) hasher: RandomState,
    pub done: Vec<TargetGroup>,
}

impl Groups<'_> {
    /// Takes a target into the group.
    pub(in crate::discovery) fn add_target(
        &mut self,
        group: &mut RawGroup,
        address: &str,
    ) -> Result<(), String> {
        if !group.seen.insert(self.hasher.hash_one(address)) {
            // Prometheus shows each that is dropped; for that it is enough to keep some.
            if group.n_repeated < MAX_REPEATED {
                group.n_repeated += 1;
                self.tally.labels(1, address_bytes(address))?;
                group.targets.push(Labels::from_pairs([(ADDRESS_LABEL, address)]));
            }
            return Ok(());
        }
        match self.tally.target(1, address_bytes(address))? {
            Fate::Kept => group.targets.push(Labels::from_pairs([(ADDRESS_LABEL, address)])),
            Fate::Counted => {}
        }
        Ok(())
    }

    /// Takes a whole group.
    pub(in crate::discovery) fn add(&mut self, raw: RawGroup) -> Result<(), String> {
        let Origin { provenance, label, name, .. } = self.origin;
        let labels = raw.labels.into_iter().chain([(label.to_owned(), name.to_owned())]);
        let group = TargetGroup {
            provenance,
            source: format!("{name}:{}", self.done.len()),
            targets: raw.targets,
            labels: Labels::from_pairs(labels),
        };
        self.tally.group(&group)?;
        self.done.push(group);
        Ok(())
    }
}

impl RawGroup {
    /// Without the targets that it had.
    pub(in crate::discovery) fn forget_targets(&mut self) {
        self.targets.clear();
        self.seen.clear();
        self.n_repeated = 0;
    }
}

/// About a key of a group.
pub(in crate::discovery) const UNKNOWN_FIELD: &str = "unknown field; a group has \"targets\" and \"labels\"";

/// About a label.
pub(in crate::discovery) const NO_LABEL_NAME: &str = "\"\" is not a valid label name";
