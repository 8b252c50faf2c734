//! `kubernetes_sd_configs` (Prometheus' `discovery/kubernetes`).
//!
//! Runs on the thread `sd-kubernetes-<n>`, which owns one watch for each kind of object and namespace; these are threads
//! of their own that report over one channel. That it is closed, and that what they ask is cancelled, is how they end.
//! Nothing is sent before every watch has had its first list, and what was sent stays while a server is away.

mod access;
pub(crate) mod api_server;
mod connection;
mod kubeconfig;
pub(in crate::discovery) mod kubelet;
mod objects;
mod own_node;
pub(crate) mod report;
mod roles;
mod store;
mod wanted;
mod watch;

use crate::discovery::providers::kubernetes::report::{Report, ReportKind};
use scraped_engine::sorting::sort;
use std::env;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, at, bounded, never, select};

use crate::config::discovery::kubernetes::{KubernetesSdConfig, Role};
use crate::discovery::complaints::Complaint;
use crate::discovery::discoverer::{Discoverer, GroupSender};
use crate::discovery::keeper::MIN_PAUSE;
use crate::discovery::metrics::DiscoveryMetrics;
use crate::discovery::providers::kubernetes::access::Access;
use crate::discovery::providers::kubernetes::connection::{Connection, Reporter};
use crate::discovery::providers::kubernetes::own_node::own_node;
use crate::discovery::providers::kubernetes::store::{Change, Store};
use crate::discovery::providers::kubernetes::wanted::{Purpose, Wanted};
use crate::discovery::providers::kubernetes::watch::{Patience, State, Watch};
use crate::http::Canceller;
use scraped_engine::threads::stop::StopToken;
use scraped_engine::threads::{STACK_BYTES, Thread, ThreadKind};

/// Each watch has one, `watch-<resource>-<n>`.
const WATCH_THREAD: ThreadKind = ThreadKind { name: "watch", stack_bytes: STACK_BYTES };

/// Reports that wait for the provider. With room for one, a watch could begin to ask after the provider has looked
/// whom to cancel for the last time.
const REPORTS_CAPACITY: usize = 0;

/// Events that come together are sent together.
const COLLECTING: Duration = Duration::from_millis(100);

/// Where the file with our own namespace is looked for again.
const NAMESPACE_RETRY: Duration = Duration::from_secs(30);

/// For those whose node is called otherwise.
const WAY_OUT: &str = "set NODE_NAME to the node's name, give a field selector, or own_node: false";

/// One entry of `kubernetes_sd_configs`.
#[derive(Debug)]
pub(in crate::discovery) struct KubernetesDiscoverer {
    config: Box<KubernetesSdConfig>,
    /// Job that it was started for.
    job: String,
    metrics: Arc<DiscoveryMetrics>,
}

/// The watches of a provider.
struct Watches {
    reports: Receiver<Report>,
    cancellers: Vec<Option<Canceller>>,
    threads: Vec<Thread>,
}

impl KubernetesDiscoverer {
    /// A provider that has not asked yet.
    pub(in crate::discovery) fn new(
        config: Box<KubernetesSdConfig>,
        job: &str,
        metrics: Arc<DiscoveryMetrics>,
    ) -> Self {
        Self { config, job: job.to_owned(), metrics }
    }

    /// Namespaces to look at, `None` for all of them; nothing when it is to stop.
    fn namespaces(&self, stop: &StopToken) -> Option<Vec<Option<String>>> {
        let mut names = self.config.namespaces.clone();
        if self.config.own_namespace {
            names.push(self.own_namespace(stop)?);
        }
        sort(&mut names);
        names.dedup();
        // An empty name is all of them, too.
        let is_all = names.is_empty() || names.iter().any(String::is_empty);
        Some(if is_all { vec![None] } else { names.into_iter().map(Some).collect() })
    }

    /// Waits for the file that says it.
    fn own_namespace(&self, stop: &StopToken) -> Option<String> {
        let mut complaint: Option<Complaint> = None;
        loop {
            let sentence = match Access::own_namespace() {
                Ok(name) => return Some(name),
                Err(sentence) => sentence,
            };
            complaint = self.complain(complaint, &sentence);
            if stop.wait(NAMESPACE_RETRY) {
                return None;
            }
        }
    }

    fn wanted(&self, namespaces: &[Option<String>], own_node: &str) -> Vec<Wanted> {
        let config = &self.config;
        let of = |purpose, namespace: &Option<String>| Wanted {
            purpose,
            namespace: namespace.clone(),
            label_selector: String::new(),
            field_selector: String::new(),
            only_node: config.is_limited().then(|| own_node.to_owned()),
        };
        let selected = |purpose, namespace: &Option<String>, role: Role| {
            let (label_selector, given) = config.selectors_for(role);
            let own = role.node_field().filter(|_| config.adds_own_node(role));
            let own = own.map(|field| format!("{field}={}", escaped_value(own_node)));
            let field_selector = match (own, given) {
                (None, given) => given.to_owned(),
                (Some(own), "") => own,
                (Some(own), given) => format!("{given},{own}"),
            };
            Wanted { label_selector: label_selector.to_owned(), field_selector, ..of(purpose, namespace) }
        };
        let nodes = |purpose| selected(purpose, &None, Role::Node);
        let (targets, are_pods_behind) = match config.role {
            Role::Node => return vec![nodes(Purpose::Nodes)],
            Role::Pod => (Purpose::Pods, false),
            Role::Service => (Purpose::Services, false),
            Role::Ingress => (Purpose::Ingresses, false),
            Role::Endpoints => (Purpose::Endpoints, true),
            Role::EndpointSlice => (Purpose::EndpointSlices, true),
        };
        let attach = config.attach_metadata;
        let has_pods = are_pods_behind || config.role == Role::Pod;
        let mut wanted = Vec::new();
        for namespace in namespaces {
            wanted.push(selected(targets, namespace, config.role));
            if are_pods_behind {
                wanted.push(selected(Purpose::ServiceLabels, namespace, Role::Service));
                wanted.push(selected(Purpose::PodLabels, namespace, Role::Pod));
            }
            if attach.deployment && has_pods {
                wanted.push(of(Purpose::Deployments, namespace));
            }
            if attach.cronjob && has_pods {
                wanted.push(of(Purpose::CronJobs, namespace));
            }
        }
        if attach.node && has_pods {
            wanted.push(nodes(Purpose::NodeLabels));
        }
        if attach.namespace {
            wanted.push(of(Purpose::NamespaceLabels, &None));
        }
        wanted
    }

    fn start(&self, wanted: Vec<Wanted>, stop: &StopToken) -> io::Result<Watches> {
        let (sender, reports) = bounded(REPORTS_CAPACITY);
        let mut watches =
            Watches { reports, cancellers: wanted.iter().map(|_| None).collect(), threads: Vec::new() };
        for (watch_idx, wanted) in wanted.into_iter().enumerate() {
            let reporter = Reporter { watch_idx, reports: sender.clone() };
            let resource = wanted.purpose.resource();
            let mut watch = Watch {
                title: format!("kubernetes of job {:?}: {resource}", self.job),
                wanted,
                connection: Connection::new(Access::of(&self.config), reporter.clone()),
                reporter,
                stop: stop.clone(),
                patience: Patience::default(),
                metrics: Arc::clone(&self.metrics),
                state: State::default(),
            };
            let instance = format!("{resource}-{watch_idx}");
            let spawned = WATCH_THREAD.spawn_restarting(&instance, stop.clone(), move || {
                // What a panic has left of it is not to be trusted: everything is listed again.
                watch.state = State::default();
                watch.run();
            });
            match spawned {
                Ok(thread) => watches.threads.push(thread),
                Err(error) => {
                    watches.stop();
                    return Err(error);
                }
            }
        }
        Ok(watches)
    }
}

impl Watches {
    /// Ends them, and waits until they have.
    fn stop(self) {
        for canceller in self.cancellers.into_iter().flatten() {
            canceller.cancel();
        }
        drop::<Receiver<Report>>(self.reports);
        for thread in self.threads {
            thread.join();
        }
    }
}

impl Discoverer for KubernetesDiscoverer {
    fn kind(&self) -> &'static str {
        "kubernetes"
    }

    fn run(self: Box<Self>, groups: &mut GroupSender, stop: &StopToken) {
        let (node, node_source) = own_node(|name| env::var(name).ok());
        let Some(namespaces) = self.namespaces(stop) else { return };
        let wanted = self.wanted(&namespaces, &node);
        let purposes = wanted.iter().map(|wanted| wanted.purpose);
        let store = Store::new(purposes, self.config.attach_metadata, Arc::clone(&self.metrics));
        let watches = match self.start(wanted, stop) {
            Ok(watches) => watches,
            Err(error) => {
                log::error!(
                    "discovery: kubernetes of job {:?}: cannot start a watch: {error}; its targets stay as they are \
                     until the next reload",
                    self.job
                );
                return;
            }
        };
        let mut session = Session {
            provider: &self,
            store,
            watches,
            node,
            node_source,
            due: None,
            was_sent: false,
            missing: None,
        };
        loop {
            match session.next_event(stop) {
                Event::Stop => break,
                Event::Report(report) => session.take(report),
                Event::SendDue => session.send(groups),
                Event::Settle => groups.settle(),
            }
        }
        session.watches.stop();
    }
}

/// What wakes the provider.
enum Event {
    Stop,
    Report(Report),
    /// What is known is to be sent.
    SendDue,
    /// Nothing has happened for a while.
    Settle,
}

/// The watches, and what is known from them.
struct Session<'provider> {
    provider: &'provider KubernetesDiscoverer,
    store: Store,
    watches: Watches,
    node: String,
    node_source: &'static str,
    /// When it is sent; none while nothing is new.
    due: Option<Instant>,
    was_sent: bool,
    missing: Option<Complaint>,
}

impl Session<'_> {
    fn next_event(&self, stop: &StopToken) -> Event {
        let timer = self.due.map_or_else(never, at);
        select! {
            recv(stop.receiver()) -> _ => Event::Stop,
            recv(timer) -> _ => Event::SendDue,
            // The watches hold the other end until they are stopped.
            recv(self.watches.reports) -> report => report.map_or(Event::Stop, Event::Report),
            default(MIN_PAUSE) => Event::Settle,
        }
    }

    fn take(&mut self, Report { watch_idx, kind }: Report) {
        let change = match kind {
            ReportKind::Asks(canceller) => {
                if let Some(slot) = self.watches.cancellers.get_mut(watch_idx) {
                    *slot = Some(canceller);
                }
                Change::Nothing
            }
            ReportKind::Listed(objects) => self.store.replace(watch_idx, objects),
            ReportKind::There(key, kept) => self.store.put(watch_idx, key, kept),
            ReportKind::Gone(key) => self.store.remove(watch_idx, &key),
        };
        if change == Change::Something && self.store.is_complete() {
            let wait = if self.was_sent { COLLECTING } else { Duration::ZERO };
            self.due.get_or_insert_with(|| Instant::now() + wait);
        }
    }

    fn send(&mut self, groups: &mut GroupSender) {
        self.look_for_own_node();
        if !self.was_sent {
            self.mention_no_pods();
        }
        groups.send(self.store.groups());
        (self.due, self.was_sent) = (None, true);
    }

    /// Without our node there are no targets: its name may be wrong.
    fn look_for_own_node(&mut self) {
        let Self { provider, store, node, node_source, .. } = self;
        let is_missing = |purpose| store.count(purpose) == Some(0);
        let is_missing = is_missing(Purpose::Nodes) || is_missing(Purpose::NodeLabels);
        let before = self.missing.take();
        if is_missing && provider.config.adds_own_node(Role::Node) {
            let sentence = format!(
                "no node is called {node:?} (that is {node_source}), so there are no targets; {WAY_OUT}"
            );
            self.missing = provider.complain(before, &sentence);
        }
    }

    /// There may be none, but its name may also be wrong.
    fn mention_no_pods(&self) {
        let Self { provider, store, node, node_source, .. } = self;
        let is_missing = |purpose| store.count(purpose) == Some(0);
        let is_missing = is_missing(Purpose::Pods) || is_missing(Purpose::PodLabels);
        if is_missing && provider.config.adds_own_node(Role::Pod) {
            log::info!(
                "discovery: kubernetes of job {:?}: no such pod runs on node {node:?} yet (that is {node_source}); if \
                 the node is called otherwise, {WAY_OUT}",
                provider.job
            );
        }
    }
}

impl KubernetesDiscoverer {
    /// Says it, unless that is what was said before.
    fn complain(&self, before: Option<Complaint>, sentence: &str) -> Option<Complaint> {
        let source = || format!("kubernetes of job {:?}", self.job);
        let new = self.metrics.complaints.raise(before.as_ref(), source, sentence);
        if new.is_some() {
            log::warn!("discovery: kubernetes of job {:?}: {sentence}", self.job);
        }
        new.or(before)
    }
}

/// As field selectors want it.
fn escaped_value(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}
