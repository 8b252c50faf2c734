//! What nodes, namespaces and makers say of objects, as `attach_metadata` asks for it.

use std::sync::Arc;

use crate::config::discovery::kubernetes::AttachMetadata;
use crate::discovery::providers::kubernetes::roles::Pairs;
use crate::discovery::providers::kubernetes::store::Store;
use crate::discovery::providers::kubernetes::wanted::{Kept, Maker, Purpose, Whereabouts};
use crate::discovery::target_group::TargetGroup;
use scraped_engine::labels::Labels;

impl Store {
    /// A group with the labels of its surroundings; `None`: it is on a node that no one asked for.
    pub(super) fn attached(&self, group: &Arc<TargetGroup>, at: &Whereabouts) -> Option<Arc<TargetGroup>> {
        if self.attach == AttachMetadata::default() {
            return Some(Arc::clone(group));
        }
        let mut all = pairs(&group.labels);
        if let (true, Some(node)) = (self.attach.node, &at.node) {
            all.extend(self.of_node(node)?);
        }
        all.extend(self.of_namespace(&at.namespace));
        all.extend(self.of_maker(at));
        let (source, targets) = (group.source.clone(), group.targets.clone());
        let labels = Labels::from_pairs(all);
        Some(Arc::new(TargetGroup { provenance: group.provenance, source, targets, labels }))
    }

    /// `None`: it is not among those that are looked at.
    pub(super) fn of_node(&self, name: &str) -> Option<Pairs> {
        match self.find(Purpose::NodeLabels, name) {
            Some(Kept::Labels(labels)) => Some(pairs(labels)),
            _ => None,
        }
    }

    pub(super) fn of_namespace(&self, name: &str) -> Pairs {
        match self.find(Purpose::NamespaceLabels, name) {
            Some(Kept::Labels(labels)) => pairs(labels),
            _ => Pairs::new(),
        }
    }

    pub(super) fn of_maker(&self, at: &Whereabouts) -> Pairs {
        let mut all = Pairs::new();
        let mut add = |name: &str, value: &str| {
            all.push((format!("__meta_kubernetes_pod_{name}_name"), value.to_owned()));
        };
        match &at.maker {
            Some(Maker::ReplicaSet(name)) => {
                let key = format!("{}/{name}", at.namespace);
                if let Some(Kept::Maker(deployment)) = self.find(Purpose::Deployments, &key) {
                    add("deployment", deployment);
                }
            }
            Some(Maker::Job(name)) => {
                if self.attach.job {
                    add("job", name);
                }
                let key = format!("{}/{name}", at.namespace);
                if let Some(Kept::Maker(cron_job)) = self.find(Purpose::CronJobs, &key) {
                    add("cronjob", cron_job);
                }
            }
            None => {}
        }
        all
    }
}

/// A label set, to be taken apart and put together again.
pub(super) fn pairs(labels: &Labels) -> Pairs {
    labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
