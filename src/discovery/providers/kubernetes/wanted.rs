//! What is asked of an API server: which objects, where they are, and what is kept of them.

use std::sync::Arc;

use crate::discovery::lists::tally::{Tally, memory_bytes};
use crate::discovery::providers::kubernetes::objects::Object;
use crate::discovery::providers::kubernetes::roles::endpoints::EndpointSet;
use crate::discovery::providers::kubernetes::roles::ingress::ingress_group;
use crate::discovery::providers::kubernetes::roles::node::node_group;
use crate::discovery::providers::kubernetes::roles::pod::{KnownPod, pod_group};
use crate::discovery::providers::kubernetes::roles::service::{KnownService, service_group};
use crate::discovery::providers::kubernetes::roles::{of_metadata, of_named};
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
    /// Services are targets.
    Services,
    /// Ingresses are targets.
    Ingresses,
    /// Addresses behind services are targets.
    Endpoints,
    /// The same in slices.
    EndpointSlices,
    /// What services say of the addresses behind them.
    ServiceLabels,
    /// What pods say of their addresses.
    PodLabels,
    /// What nodes say of what runs on them.
    NodeLabels,
    /// What namespaces say of what is in them.
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
    /// Addresses that are known to be on another node are left out.
    pub only_node: Option<String>,
}

/// What is kept of an object.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) enum Kept {
    /// Targets.
    Group(Arc<TargetGroup>, Whereabouts),
    /// Targets, to which services, pods and nodes add labels.
    Endpoints(Box<EndpointSet>),
    /// Labels for what is behind it.
    Service(Box<KnownService>),
    /// Labels for its addresses.
    Pod(Box<KnownPod>, Whereabouts),
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
            Self::Endpoints(set) => set.n_bytes(),
            Self::Service(service) => memory_bytes(&service.labels),
            Self::Pod(pod, _) => pod.n_bytes(),
            Self::Labels(labels) => memory_bytes(labels),
            Self::Maker(name) => name.len(),
        }
    }
}

/// Where an object is found, for what is attached to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::discovery::providers::kubernetes) struct Whereabouts {
    pub namespace: String,
    /// Of a pod.
    pub node: Option<String>,
    pub maker: Option<Maker>,
}

impl Whereabouts {
    fn of_pod(pod: &Object) -> Self {
        let owner = pod.metadata.controller();
        let maker = owner.and_then(|owner| match owner.kind.as_str() {
            "ReplicaSet" => Some(Maker::ReplicaSet(owner.name.clone())),
            "Job" => Some(Maker::Job(owner.name.clone())),
            _ => None,
        });
        Self { namespace: pod.metadata.namespace.clone(), node: Some(pod.spec.node_name.clone()), maker }
    }

    fn in_namespace(object: &Object) -> Self {
        Self { namespace: object.metadata.namespace.clone(), ..Self::default() }
    }
}

/// What made a pod, if more can be known of that.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery::providers::kubernetes) enum Maker {
    ReplicaSet(String),
    Job(String),
}

impl Purpose {
    /// The label `role` of what is counted, if `event` is.
    pub(in crate::discovery::providers::kubernetes) fn counted_role(
        self,
        event: &str,
    ) -> Option<&'static str> {
        match self {
            Self::Pods => Some("pod"),
            Self::PodLabels => Some("pod").filter(|_| event == "update"),
            Self::Nodes => Some("node"),
            Self::Services | Self::ServiceLabels => Some("service"),
            Self::Ingresses => Some("ingress"),
            Self::Endpoints => Some("endpoints"),
            Self::EndpointSlices => Some("endpointslice"),
            Self::NodeLabels | Self::NamespaceLabels | Self::Deployments | Self::CronJobs => None,
        }
    }

    /// As paths have it.
    pub(in crate::discovery::providers::kubernetes) fn resource(self) -> &'static str {
        self.api().1
    }

    /// The kind of their list.
    pub(in crate::discovery::providers::kubernetes) fn list_kind(self) -> &'static str {
        self.api().2
    }

    /// Where they are, what they are called there, and the kind of their list.
    fn api(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Pods | Self::PodLabels => ("/api/v1", "pods", "PodList"),
            Self::Nodes | Self::NodeLabels => ("/api/v1", "nodes", "NodeList"),
            Self::Services | Self::ServiceLabels => ("/api/v1", "services", "ServiceList"),
            Self::Ingresses => ("/apis/networking.k8s.io/v1", "ingresses", "IngressList"),
            Self::Endpoints => ("/api/v1", "endpoints", "EndpointsList"),
            Self::EndpointSlices => ("/apis/discovery.k8s.io/v1", "endpointslices", "EndpointSliceList"),
            Self::NamespaceLabels => ("/api/v1", "namespaces", "NamespaceList"),
            Self::Deployments => ("/apis/apps/v1", "replicasets", "ReplicaSetList"),
            Self::CronJobs => ("/apis/batch/v1", "jobs", "JobList"),
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
        let mut path = self.purpose.api().0.to_owned();
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
        let of_group = |group: TargetGroup, at: Whereabouts| Ok(Some(Kept::Group(Arc::new(group), at)));
        let of_set = |set: EndpointSet| Ok(Some(Kept::Endpoints(Box::new(set))));
        let only_node = self.only_node.as_deref();
        let kept = match self.purpose {
            // These count as they are made.
            Purpose::Pods => return of_group(pod_group(object, tally)?, Whereabouts::of_pod(object)),
            Purpose::Services => {
                return of_group(service_group(object, tally)?, Whereabouts::in_namespace(object));
            }
            Purpose::Ingresses => {
                return of_group(ingress_group(object, tally)?, Whereabouts::in_namespace(object));
            }
            Purpose::Endpoints => return of_set(EndpointSet::of_endpoints(object, only_node, tally)?),
            Purpose::EndpointSlices => return of_set(EndpointSet::of_slice(object, only_node, tally)?),
            Purpose::ServiceLabels => Some(Kept::Service(Box::new(KnownService::new(object)))),
            Purpose::PodLabels => {
                Some(Kept::Pod(Box::new(KnownPod::new(object)), Whereabouts::of_pod(object)))
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
