//! What is asked of an API server: which objects, where they are, and what is kept of them.

use std::sync::Arc;

use crate::discovery::lists::tally::{Tally, memory_bytes};
use crate::discovery::providers::kubernetes::labels::{node_group, of_metadata, of_named, pod_group};
use crate::discovery::providers::kubernetes::objects::Object;
use crate::discovery::target_group::TargetGroup;
use crate::http::address::escape::{escape, escape_query};
use scraped_engine::labels::Labels;

/// Objects in a page of a list, as client-go asks for them.
const PAGE_OBJECTS: usize = 500;

/// What objects are looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::discovery::providers::kubernetes) enum Purpose {
    /// Pods are targets.
    Pods,
    /// Nodes are targets.
    Nodes,
    /// What nodes say of the pods on them.
    NodeLabels,
    /// What namespaces say of the pods in them.
    NamespaceLabels,
    /// Whose replica sets are which.
    Deployments,
    /// Whose jobs are which.
    CronJobs,
}

/// The objects of one purpose, all or some.
#[derive(Clone, Debug)]
pub(in crate::discovery::providers::kubernetes) struct Wanted {
    pub purpose: Purpose,
    /// `None`: of all namespaces, or of none.
    pub namespace: Option<String>,
    /// Empty: any.
    pub label_selector: String,
    /// Empty: any.
    pub field_selector: String,
}

/// What is kept of an object.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) enum Kept {
    /// Targets.
    Group(Arc<TargetGroup>, Whereabouts),
    /// Labels for pods.
    Labels(Labels),
    /// The name of what made it: a deployment or a cron job.
    Maker(String),
}

impl Kept {
    /// What it takes in memory, about.
    pub(in crate::discovery::providers::kubernetes) fn n_bytes(&self) -> usize {
        match self {
            Self::Group(group, _) => {
                let labels = group.targets.iter().chain([&group.labels]);
                group.source.len() + labels.map(memory_bytes).sum::<usize>()
            }
            Self::Labels(labels) => memory_bytes(labels),
            Self::Maker(name) => name.len(),
        }
    }
}

/// Where a pod is found, for what is attached to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::discovery::providers::kubernetes) struct Whereabouts {
    pub namespace: String,
    pub node: String,
    pub maker: Option<Maker>,
}

/// What made a pod, if more can be known of that.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) enum Maker {
    ReplicaSet(String),
    Job(String),
}

impl Purpose {
    /// The label `role` of what is counted; `None`: not counted.
    pub(in crate::discovery::providers::kubernetes) fn role(self) -> Option<&'static str> {
        match self {
            Self::Pods => Some("pod"),
            Self::Nodes => Some("node"),
            Self::NodeLabels | Self::NamespaceLabels | Self::Deployments | Self::CronJobs => None,
        }
    }

    /// As paths have it.
    pub(in crate::discovery::providers::kubernetes) fn resource(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Nodes | Self::NodeLabels => "nodes",
            Self::NamespaceLabels => "namespaces",
            Self::Deployments => "replicasets",
            Self::CronJobs => "jobs",
        }
    }

    /// The kind of their list.
    pub(in crate::discovery::providers::kubernetes) fn list_kind(self) -> &'static str {
        match self {
            Self::Pods => "PodList",
            Self::Nodes | Self::NodeLabels => "NodeList",
            Self::NamespaceLabels => "NamespaceList",
            Self::Deployments => "ReplicaSetList",
            Self::CronJobs => "JobList",
        }
    }

    fn api(self) -> &'static str {
        match self {
            Self::Deployments => "/apis/apps/v1",
            Self::CronJobs => "/apis/batch/v1",
            Self::Pods | Self::Nodes | Self::NodeLabels | Self::NamespaceLabels => "/api/v1",
        }
    }
}

impl Wanted {
    /// Path and query of one page of the list.
    pub(in crate::discovery::providers::kubernetes) fn list_path(
        &self,
        parameters: &[(&str, &str)],
    ) -> String {
        let limit = PAGE_OBJECTS.to_string();
        let mut path = self.path();
        push_parameters(&mut path, &[("limit", limit.as_str())]);
        push_parameters(&mut path, parameters);
        path
    }

    /// Path and query of what happens after `version`.
    pub(in crate::discovery::providers::kubernetes) fn watch_path(
        &self,
        version: &str,
        timeout_seconds: u64,
    ) -> String {
        let timeout_seconds = timeout_seconds.to_string();
        let mut path = self.path();
        push_parameters(
            &mut path,
            &[
                ("watch", "1"),
                ("allowWatchBookmarks", "true"),
                ("resourceVersion", version),
                ("timeoutSeconds", timeout_seconds.as_str()),
            ],
        );
        path
    }

    /// Ends in `?` or in a parameter.
    fn path(&self) -> String {
        let mut path = self.purpose.api().to_owned();
        if let Some(namespace) = &self.namespace {
            path.push_str("/namespaces/");
            escape(&mut path, namespace.as_bytes(), |_| false);
        }
        path.push('/');
        path.push_str(self.purpose.resource());
        path.push('?');
        let selectors = [
            ("labelSelector", self.label_selector.as_str()),
            ("fieldSelector", self.field_selector.as_str()),
        ];
        let selectors = selectors.into_iter().filter(|(_, text)| !text.is_empty());
        push_parameters(&mut path, &selectors.collect::<Vec<_>>());
        path
    }

    /// What is kept of `object`, counted; `None`: it is of no use.
    ///
    /// # Errors
    /// A sentence: it is too much.
    pub(in crate::discovery::providers::kubernetes) fn kept(
        &self,
        object: &Object,
        tally: &mut Tally,
    ) -> Result<Option<Kept>, String> {
        let maker = object.metadata.controller();
        let maker_of_kind = |kind: &str| maker.filter(|maker| maker.kind == kind).map(|it| it.name.clone());
        let kept = match self.purpose {
            Purpose::Pods => {
                let maker = maker_of_kind("ReplicaSet")
                    .map(Maker::ReplicaSet)
                    .or_else(|| maker_of_kind("Job").map(Maker::Job));
                let (namespace, node) = (object.metadata.namespace.clone(), object.spec.node_name.clone());
                let group = Arc::new(pod_group(object, tally)?);
                return Ok(Some(Kept::Group(group, Whereabouts { namespace, node, maker })));
            }
            Purpose::Nodes => {
                let group = node_group(object);
                if group.is_none() {
                    let name = &object.metadata.name;
                    log::warn!("discovery: kubernetes: node {name:?} has no address yet and is left out");
                }
                group.map(|group| Kept::Group(Arc::new(group), Whereabouts::default()))
            }
            Purpose::NodeLabels => Some(Kept::Labels(Labels::from_pairs(of_named("node", &object.metadata)))),
            Purpose::NamespaceLabels => {
                Some(Kept::Labels(Labels::from_pairs(of_metadata("namespace", &object.metadata))))
            }
            Purpose::Deployments => maker_of_kind("Deployment").map(Kept::Maker),
            Purpose::CronJobs => maker_of_kind("CronJob").map(Kept::Maker),
        };
        if let Some(kept) = &kept {
            tally.labels(0, kept.n_bytes())?;
        }
        Ok(kept)
    }
}

fn push_parameters(path: &mut String, parameters: &[(&str, &str)]) {
    for (name, value) in parameters {
        if !path.ends_with('?') {
            path.push('&');
        }
        path.push_str(name);
        path.push('=');
        escape_query(path, value);
    }
}
