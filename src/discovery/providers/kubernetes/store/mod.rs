//! All objects that are known, as the watches report them, and the target groups made of them.
//!
//! Runs on the provider's thread. Knows no connection.

mod attach;
mod endpoints;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::discovery::Provenance;
use crate::config::discovery::kubernetes::AttachMetadata;
use crate::discovery::complaints::Complaint;
use crate::discovery::lists::tally::{MAX_KEPT_BYTES, Tally, Wanted};
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::providers::kubernetes::wanted::{Kept, Purpose};
use crate::discovery::target_group::TargetGroup;

/// What all objects of a provider may take; one list may take half of it.
const MAX_STORE_BYTES: usize = 2 * MAX_KEPT_BYTES;

/// The objects of all watches.
#[derive(Debug)]
pub(in crate::discovery::providers::kubernetes) struct Store {
    /// One a watch.
    shelves: Vec<Shelf>,
    attach: AttachMetadata,
    metrics: Arc<DiscoveryMetrics>,
    /// Of all objects.
    n_bytes: usize,
    /// While objects are left out because there is no room for them.
    complaint: Option<Complaint>,
}

/// The objects of one watch.
#[derive(Debug)]
struct Shelf {
    purpose: Purpose,
    /// `None` until the first list.
    objects: Option<BTreeMap<String, Kept>>,
}

/// Whether anything is different from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::discovery::providers::kubernetes) enum Change {
    Nothing,
    Something,
}

impl Store {
    pub(in crate::discovery::providers::kubernetes) fn new(
        purposes: impl Iterator<Item = Purpose>,
        attach: AttachMetadata,
        metrics: Arc<DiscoveryMetrics>,
    ) -> Self {
        let shelves = purposes.map(|purpose| Shelf { purpose, objects: None }).collect();
        Self { shelves, attach, metrics, n_bytes: 0, complaint: None }
    }

    /// Whether every watch has had its first list.
    pub(in crate::discovery::providers::kubernetes) fn is_complete(&self) -> bool {
        self.shelves.iter().all(|shelf| shelf.objects.is_some())
    }

    /// How many objects of a purpose there are; `None`: no one looks at them.
    pub(in crate::discovery::providers::kubernetes) fn count(&self, purpose: Purpose) -> Option<usize> {
        let shelves = self.shelves.iter().filter(|shelf| shelf.purpose == purpose);
        shelves.map(|shelf| shelf.objects.as_ref().map_or(0, BTreeMap::len)).reduce(|a, b| a + b)
    }

    /// A whole list takes the place of what was known.
    pub(in crate::discovery::providers::kubernetes) fn replace(
        &mut self,
        watch_idx: usize,
        objects: BTreeMap<String, Kept>,
    ) -> Change {
        let Some(shelf) = self.shelves.get_mut(watch_idx) else { return Change::Nothing };
        let before = shelf.objects.replace(objects);
        let purpose = shelf.purpose;
        let (is_first, before) = (before.is_none(), before.unwrap_or_default());
        // Each list was counted when it was read.
        self.n_bytes = self.shelves.iter().flat_map(|it| it.objects.iter().flatten()).map(n_bytes).sum();
        self.complaint = None;
        let mut change = if is_first { Change::Something } else { Change::Nothing };
        let mut events = Vec::new();
        let now = self.shelves.get(watch_idx).and_then(|shelf| shelf.objects.as_ref());
        for (key, kept) in now.into_iter().flatten() {
            match before.get(key) {
                Some(old) if old == kept => {}
                Some(_) => events.push("update"),
                None => events.push("add"),
            }
        }
        let is_gone = |key: &&String| now.is_none_or(|now| !now.contains_key(*key));
        events.extend(before.keys().filter(is_gone).map(|_| "delete"));
        for event in events {
            change = Change::Something;
            self.count_event(purpose, event);
        }
        change
    }

    /// One object is there, as it is now.
    pub(in crate::discovery::providers::kubernetes) fn put(
        &mut self,
        watch_idx: usize,
        key: String,
        kept: Kept,
    ) -> Change {
        let Some(shelf) = self.shelves.get_mut(watch_idx) else { return Change::Nothing };
        let purpose = shelf.purpose;
        let before = shelf.objects.as_ref().and_then(|objects| objects.get(&key));
        let before_bytes = before.map_or(0, |kept| n_bytes((&key, kept)));
        let now_bytes = self.n_bytes - before_bytes + n_bytes((&key, &kept));
        if now_bytes > MAX_STORE_BYTES {
            self.complain(&format!(
                "its objects would take {now_bytes} bytes (limit: {MAX_STORE_BYTES}); new ones are left out until some \
                 go or all are listed again; selectors make them fewer"
            ));
            return Change::Nothing;
        }
        self.n_bytes = now_bytes;
        let Some(shelf) = self.shelves.get_mut(watch_idx) else { return Change::Nothing };
        let is_same = shelf.objects.as_ref().and_then(|objects| objects.get(&key)) == Some(&kept);
        let before = shelf.objects.get_or_insert_default().insert(key, kept);
        self.count_event(purpose, if before.is_some() { "update" } else { "add" });
        // Nodes report every few minutes that they are alive.
        if is_same { Change::Nothing } else { Change::Something }
    }

    /// One object is gone.
    pub(in crate::discovery::providers::kubernetes) fn remove(
        &mut self,
        watch_idx: usize,
        key: &str,
    ) -> Change {
        let Some(shelf) = self.shelves.get_mut(watch_idx) else { return Change::Nothing };
        let purpose = shelf.purpose;
        let Some((key, kept)) = shelf.objects.as_mut().and_then(|objects| objects.remove_entry(key)) else {
            return Change::Nothing;
        };
        self.n_bytes -= n_bytes((&key, &kept));
        self.count_event(purpose, "delete");
        Change::Something
    }

    /// A server that sends objects without an end.
    fn complain(&mut self, sentence: &str) {
        // One sentence for all that follow.
        if self.complaint.is_none() {
            log::warn!("discovery: kubernetes: {sentence}");
            self.complaint = self.metrics.complaints.raise(None, || "kubernetes".to_owned(), sentence);
        }
    }

    fn count_event(&self, purpose: Purpose, event: &str) {
        if let Some(role) = purpose.counted_role(event) {
            self.metrics.kubernetes_events.with(&[role, event]).inc();
        }
    }

    /// All groups that have targets.
    pub(in crate::discovery::providers::kubernetes) fn groups(&mut self) -> Vec<Arc<TargetGroup>> {
        let mut tally = Tally::new(Provenance::Network, Wanted::default());
        let (mut groups, mut complaint) = (Vec::new(), None);
        for kept in self.shelves.iter().flat_map(|shelf| shelf.objects.iter().flatten()).map(|(_, it)| it) {
            match kept {
                Kept::Group(group, whereabouts) if !group.targets.is_empty() => {
                    groups.extend(self.attached(group, whereabouts));
                }
                Kept::Endpoints(set) => {
                    let mut group = self.endpoints_group(set);
                    match tally.whole(&mut group) {
                        Ok(()) if group.targets.is_empty() => {}
                        Ok(()) => groups.push(Arc::new(group)),
                        Err(sentence) => {
                            complaint = Some(sentence);
                            break;
                        }
                    }
                }
                _ => {}
            }
        }
        if let Some(sentence) = complaint {
            self.complain(&format!("{sentence}; endpoints behind these are left out"));
        }
        groups
    }

    fn find(&self, purpose: Purpose, key: &str) -> Option<&Kept> {
        let shelves = self.shelves.iter().filter(|shelf| shelf.purpose == purpose);
        shelves.filter_map(|shelf| shelf.objects.as_ref()).find_map(|objects| objects.get(key))
    }
}

fn n_bytes((key, kept): (&String, &Kept)) -> usize {
    key.len() + kept.n_bytes()
}
