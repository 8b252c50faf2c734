//! All objects that are known, as the watches report them, and the target groups made of them.
//!
//! Runs on the provider's thread. Knows no connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::discovery::kubernetes::AttachMetadata;
use crate::discovery::complaints::Complaint;
use crate::discovery::lists::tally::MAX_KEPT_BYTES;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::providers::kubernetes::labels::Pairs;
use crate::discovery::providers::kubernetes::wanted::{Kept, Maker, Purpose, Whereabouts};
use crate::discovery::target_group::TargetGroup;
use scraped_engine::labels::Labels;

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
            self.complain(now_bytes);
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
    fn complain(&mut self, n_bytes: usize) {
        let sentence = format!(
            "its objects would take {n_bytes} bytes (limit: {MAX_STORE_BYTES}); new ones are left out until some go or \
             all are listed again; selectors make them fewer"
        );
        // One sentence for all that follow.
        if self.complaint.is_none() {
            log::warn!("discovery: kubernetes: {sentence}");
            self.complaint = self.metrics.complaints.raise(None, || "kubernetes".to_owned(), &sentence);
        }
    }

    fn count_event(&self, purpose: Purpose, event: &str) {
        if let Some(role) = purpose.role() {
            self.metrics.kubernetes_events.with(&[role, event]).inc();
        }
    }

    /// All groups that have targets.
    pub(in crate::discovery::providers::kubernetes) fn groups(&self) -> Vec<Arc<TargetGroup>> {
        let objects = self.shelves.iter().flat_map(|shelf| shelf.objects.iter().flatten());
        let groups = objects.filter_map(|(_, kept)| match kept {
            Kept::Group(group, whereabouts) if !group.targets.is_empty() => self.attached(group, whereabouts),
            _ => None,
        });
        groups.collect()
    }

    /// A group with the labels of its surroundings; `None`: it is on a node that no one asked for.
    fn attached(&self, group: &Arc<TargetGroup>, at: &Whereabouts) -> Option<Arc<TargetGroup>> {
        let attach = self.attach;
        if attach == AttachMetadata::default() {
            return Some(Arc::clone(group));
        }
        let mut more = Pairs::new();
        let pairs = |labels: &Labels| {
            labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Pairs>()
        };
        if attach.node {
            match self.find(Purpose::NodeLabels, &at.node) {
                Some(Kept::Labels(labels)) => more.extend(pairs(labels)),
                _ => return None,
            }
        }
        if attach.namespace
            && let Some(Kept::Labels(labels)) = self.find(Purpose::NamespaceLabels, &at.namespace)
        {
            more.extend(pairs(labels));
        }
        let mut add = |name: &str, value: &str| {
            more.push((format!("__meta_kubernetes_pod_{name}_name"), value.to_owned()));
        };
        match &at.maker {
            Some(Maker::ReplicaSet(name)) => {
                let key = format!("{}/{name}", at.namespace);
                if let Some(Kept::Maker(deployment)) = self.find(Purpose::Deployments, &key) {
                    add("deployment", deployment);
                }
            }
            Some(Maker::Job(name)) => {
                if attach.job {
                    add("job", name);
                }
                let key = format!("{}/{name}", at.namespace);
                if let Some(Kept::Maker(cron_job)) = self.find(Purpose::CronJobs, &key) {
                    add("cronjob", cron_job);
                }
            }
            None => {}
        }
        let labels = Labels::from_pairs(pairs(&group.labels).into_iter().chain(more));
        let (source, targets) = (group.source.clone(), group.targets.clone());
        Some(Arc::new(TargetGroup { provenance: group.provenance, source, targets, labels }))
    }

    fn find(&self, purpose: Purpose, key: &str) -> Option<&Kept> {
        let shelves = self.shelves.iter().filter(|shelf| shelf.purpose == purpose);
        shelves.filter_map(|shelf| shelf.objects.as_ref()).find_map(|objects| objects.get(key))
    }
}

fn n_bytes((key, kept): (&String, &Kept)) -> usize {
    key.len() + kept.n_bytes()
}
