//! `kubernetes_sd_configs` (Prometheus' `discovery/kubernetes/kubernetes.go`) for the roles `pod` and `node`.
//!
//! One field is ours: `own_node`, by default true, keeps to the pods of the node that this runs on. Files are only named
//! here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::client::go_url;
use crate::config::client::http_client::{HttpClientConfig, read_client};
use crate::config::client::secret::{Secret, SecretUrl};
use crate::config::discovery::bridged::BRIDGE;
use crate::config::discovery::kubernetes_selectors::{
    check_field_selector, check_label_selector, fixes_field,
};
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, path_text, texts};
use crate::config::text::fields::{Field, Fields};

/// One entry of `kubernetes_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesSdConfig {
    /// Where the API is; without it and without `kubeconfig_file` it is that of the cluster we run in.
    pub api_server: Option<SecretUrl>,
    /// What is looked for.
    pub role: Role,
    /// Says where the API is, and who we are.
    pub kubeconfig_file: Option<PathBuf>,
    /// How `api_server` is reached.
    pub client: Arc<HttpClientConfig>,
    /// Only printed: requests are HTTP/1.1 either way.
    pub enable_http2: bool,
    /// `namespaces.own_namespace`.
    pub own_namespace: bool,
    /// `namespaces.names`; none, and not the own one either, means all.
    pub namespaces: Vec<String>,
    /// Which objects of a kind.
    pub selectors: Vec<Selector>,
    /// What the labels of a pod say beside the pod itself.
    pub attach_metadata: AttachMetadata,
    /// Ours, default true: only this node, and the pods that run on it.
    pub own_node: bool,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Role {
    Node,
    Pod,
}

impl Role {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pod => "pod",
        }
    }

    /// Which field of such an object names the node.
    pub fn node_field(self) -> &'static str {
        match self {
            Self::Node => "metadata.name",
            Self::Pod => "spec.nodeName",
        }
    }
}

/// One entry of `selectors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// Objects of this kind.
    pub role: Role,
    /// `label`; empty: any.
    pub label: String,
    /// `field`; empty: any.
    pub field: String,
}

/// `attach_metadata`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachMetadata {
    /// Labels and annotations of the pod's node.
    pub node: bool,
    /// Labels and annotations of its namespace.
    pub namespace: bool,
    /// The name of its deployment.
    pub deployment: bool,
    /// The name of its job.
    pub job: bool,
    /// The name of its cron job.
    pub cronjob: bool,
}

/// Role → roles that selectors may name with it.
const SELECTORS: [(&str, &[&str]); 6] = [
    ("pod", &["pod", "node"]),
    ("service", &["service"]),
    ("endpointslice", &["pod", "service", "endpointslice"]),
    ("endpoints", &["pod", "service", "endpoints"]),
    ("node", &["node"]),
    ("ingress", &["ingress"]),
];

pub(in crate::config) fn read(item: &Field<'_>) -> Option<KubernetesSdConfig> {
    let mut fields = item.fields()?;
    let client = read_client(&mut fields);
    let enable_http2 = fields.bool("enable_http2").unwrap_or(true);
    let role = read_role(item, &mut fields);
    let api_server_field = fields.take("api_server").filter(|field| !field.is_null());
    let api_server = api_server_field.as_ref().and_then(read_api_server);
    let kubeconfig_file = fields.secret_file("kubeconfig_file");
    let (own_namespace, namespaces) = read_namespaces(fields.take("namespaces"));
    let selectors = read_selectors(&mut fields, role.unwrap_or_default());
    let attach_metadata = fields.take("attach_metadata").map(|it| read_attach_metadata(&it));
    let own_node_field = fields.take("own_node").filter(|field| !field.is_null());
    let own_node = own_node_field.as_ref().and_then(Field::bool).unwrap_or(true);
    fields.finish(|_| false);
    let has_own_client = client != HttpClientConfig::default() || !enable_http2;
    let refuse_both = |is_wrong: bool, sentence: &str| {
        if is_wrong {
            item.mistake(sentence);
        }
    };
    let (has_server, has_file) = (api_server_field.is_some(), kubeconfig_file.is_some());
    refuse_both(has_server && has_file, "cannot use 'kubeconfig_file' and 'api_server' simultaneously");
    refuse_both(
        has_file && has_own_client,
        "cannot use a custom HTTP client configuration together with 'kubeconfig_file'",
    );
    refuse_both(
        !has_server && !has_file && has_own_client,
        "to use custom HTTP client configuration please provide the 'api_server' URL explicitly",
    );
    refuse_both(
        has_server && own_namespace,
        "cannot use 'api_server' and 'namespaces.own_namespace' simultaneously",
    );
    refuse_both(
        has_file && own_namespace,
        "cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously",
    );
    let role = match role? {
        "node" => Role::Node,
        "pod" => Role::Pod,
        _ => return None,
    };
    let config = KubernetesSdConfig {
        api_server,
        role,
        kubeconfig_file,
        client: Arc::new(client),
        enable_http2,
        own_namespace,
        namespaces,
        selectors,
        attach_metadata: attach_metadata.unwrap_or_default(),
        own_node,
    };
    if own_node_field.is_none() && config.adds_own_node(role) {
        // Prometheus looks at all of them.
        item.note(format!(
            "{}: looks at the node that this runs on and nowhere else; say own_node: true, or false for all nodes",
            item.path()
        ));
    }
    Some(config)
}

/// A role that Prometheus has; `None` after a mistake.
fn read_role(item: &Field<'_>, fields: &mut Fields<'_>) -> Option<&'static str> {
    let Some(field) = fields.take("role").filter(|field| !field.is_null()) else {
        item.mistake_below(
            "role",
            "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)",
        );
        return None;
    };
    let role = known_role(&field)?;
    if !matches!(role, "node" | "pod") {
        field.mistake(format!(
            "role {role} looks beyond the own node, and scraped watches pods and nodes only; {BRIDGE}"
        ));
    }
    Some(role)
}

fn known_role(field: &Field<'_>) -> Option<&'static str> {
    let text = field.text()?;
    let role = SELECTORS.iter().map(|(role, _)| *role).find(|role| *role == text);
    if role.is_none() {
        field.mistake(format!("unknown Kubernetes SD role {text:?}"));
    }
    role
}

fn read_api_server(field: &Field<'_>) -> Option<SecretUrl> {
    let text = field.text()?;
    if text.is_empty() {
        field.mistake("api_server is empty; leave it out for the API of the cluster that this runs in");
        return None;
    }
    let shown = go_url::redacted(&text);
    if let Some(complaint) = go_url::complaint(&text) {
        field.mistake(complaint);
        return None;
    }
    Some(SecretUrl { full: Secret::new(text), shown })
}

fn read_namespaces(field: Option<Field<'_>>) -> (bool, Vec<String>) {
    let Some(mut fields) = field.and_then(|field| field.fields()) else { return (false, Vec::new()) };
    let own_namespace = fields.bool("own_namespace").unwrap_or(false);
    let names = fields.take("names").map(|field| field.texts()).unwrap_or_default();
    fields.finish(|_| false);
    (own_namespace, names)
}

fn read_selectors(fields: &mut Fields<'_>, owner: &str) -> Vec<Selector> {
    let mut selectors = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let allowed = SELECTORS.iter().find(|(role, _)| *role == owner).map(|(_, allowed)| *allowed);
    for field in fields.items("selectors") {
        let Some(mut own) = field.fields() else { continue };
        let role_field = own.take("role").filter(|field| !field.is_null());
        let (is_given, role) = (role_field.is_some(), role_field.as_ref().and_then(known_role));
        let mut text = |name: &'static str, check: fn(&str) -> Result<(), String>| {
            let text_field = own.take(name);
            let text = text_field.as_ref().and_then(Field::text).unwrap_or_default();
            if let (Some(text_field), Err(sentence)) = (text_field, check(&text)) {
                text_field.mistake(sentence);
            }
            text
        };
        let (label, field_selector) =
            (text("label", check_label_selector), text("field", check_field_selector));
        own.finish(|_| false);
        if is_given && role.is_none() {
            continue;
        }
        let role = role.unwrap_or_default();
        if !seen.insert(role) {
            field.mistake_below("role", format!("duplicated selector role: {role}"));
        }
        if let Some(allowed) = allowed
            && !allowed.contains(&role)
        {
            field.mistake(format!("{owner} role supports only {} selectors", allowed.join(", ")));
        }
        let role = match role {
            "node" => Role::Node,
            "pod" => Role::Pod,
            _ => continue,
        };
        selectors.push(Selector { role, label, field: field_selector });
    }
    selectors
}

fn read_attach_metadata(field: &Field<'_>) -> AttachMetadata {
    let Some(mut fields) = field.fields() else { return AttachMetadata::default() };
    let mut flag = |name: &'static str| fields.bool(name).unwrap_or(false);
    let attach_metadata = AttachMetadata {
        node: flag("node"),
        namespace: flag("namespace"),
        deployment: flag("deployment"),
        job: flag("job"),
        cronjob: flag("cronjob"),
    };
    fields.finish(|_| false);
    attach_metadata
}

impl KubernetesSdConfig {
    /// The selectors for objects of a kind, labels first; empty: any.
    pub fn selectors_for(&self, role: Role) -> (&str, &str) {
        let selector = self.selectors.iter().find(|selector| selector.role == role);
        selector.map(|selector| (selector.label.as_str(), selector.field.as_str())).unwrap_or_default()
    }

    /// Whether objects are limited to our node by [`KubernetesSdConfig::own_node`]; nodes of pods elsewhere are not.
    pub fn adds_own_node(&self, role: Role) -> bool {
        let is_free = |role: Role| !fixes_field(self.selectors_for(role).1, role.node_field());
        self.own_node && is_free(role) && (self.role == Role::Node || is_free(Role::Pod))
    }

    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        if let Some(api_server) = &self.api_server {
            entries.add_text("api_server", &api_server.shown);
        }
        entries.add("role", Yaml::text(self.role.name()));
        entries.add("kubeconfig_file", path_text(self.kubeconfig_file.as_deref().unwrap_or(Path::new(""))));
        self.client.print(&mut entries, self.enable_http2);
        if self.own_namespace || !self.namespaces.is_empty() {
            let mut namespaces = Entries::default();
            namespaces.add("own_namespace", Yaml::raw(self.own_namespace));
            namespaces.add("names", texts(&self.namespaces));
            entries.add("namespaces", namespaces.into_map());
        }
        entries.add_list("selectors", self.selectors.iter().map(Selector::print));
        if self.attach_metadata != AttachMetadata::default() {
            entries.add("attach_metadata", self.attach_metadata.print());
        }
        if !self.own_node {
            entries.add("own_node", Yaml::raw(false));
        }
        entries.into_map()
    }
}

impl Selector {
    fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add("role", Yaml::text(self.role.name()));
        entries.add_text("label", &self.label);
        entries.add_text("field", &self.field);
        entries.into_map()
    }
}

impl AttachMetadata {
    fn print(self) -> Yaml {
        let mut entries = Entries::default();
        entries.add("node", Yaml::raw(self.node));
        entries.add("namespace", Yaml::raw(self.namespace));
        entries.add("deployment", Yaml::raw(self.deployment));
        entries.add("job", Yaml::raw(self.job));
        entries.add("cronjob", Yaml::raw(self.cronjob));
        entries.into_map()
    }
}
