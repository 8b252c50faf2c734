//! `kubernetes_sd_configs` (Prometheus' `discovery/kubernetes/kubernetes.go`).
//!
//! One field is ours: `own_node`, by default true, keeps to the node that this runs on, as far as objects name a node.
//! Files are only named here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::client::go_url;
use crate::config::client::http_client::{HttpClientConfig, read_client};
use crate::config::client::secret::{Secret, SecretUrl};
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
    /// What the labels of a target say beside the object itself.
    pub attach_metadata: AttachMetadata,
    /// Ours: only this node, and what runs on it. By default true where objects name their node.
    pub own_node: bool,
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Role {
    Node,
    Pod,
    Service,
    Endpoints,
    EndpointSlice,
    Ingress,
}

impl Role {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Pod => "pod",
            Self::Service => "service",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslice",
            Self::Ingress => "ingress",
        }
    }

    /// Which field of such an object names the node, for selectors.
    pub fn node_field(self) -> Option<&'static str> {
        match self {
            Self::Node => Some("metadata.name"),
            Self::Pod => Some("spec.nodeName"),
            Self::Service | Self::Endpoints | Self::EndpointSlice | Self::Ingress => None,
        }
    }

    /// Whether what is found by such objects may name its node.
    fn knows_nodes(self) -> bool {
        !matches!(self, Self::Service | Self::Ingress)
    }

    /// Kinds of objects that selectors may name with this role.
    fn selectable(self) -> &'static [Self] {
        match self {
            Self::Node => &[Self::Node],
            Self::Pod => &[Self::Pod, Self::Node],
            Self::Service => &[Self::Service],
            Self::Endpoints => &[Self::Pod, Self::Service, Self::Endpoints],
            Self::EndpointSlice => &[Self::Pod, Self::Service, Self::EndpointSlice],
            Self::Ingress => &[Self::Ingress],
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

const ROLES: [Role; 6] =
    [Role::Pod, Role::Service, Role::Endpoints, Role::EndpointSlice, Role::Node, Role::Ingress];

pub(in crate::config) fn read(item: &Field<'_>) -> Option<KubernetesSdConfig> {
    let mut fields = item.fields()?;
    let client = read_client(&mut fields);
    let enable_http2 = fields.bool("enable_http2").unwrap_or(true);
    let role = read_role(item, &mut fields);
    let api_server_field = fields.take("api_server").filter(|field| !field.is_null());
    let api_server = api_server_field.as_ref().and_then(read_api_server);
    let kubeconfig_file = fields.secret_file("kubeconfig_file");
    let (own_namespace, namespaces) = read_namespaces(fields.take("namespaces"));
    let selectors = read_selectors(&mut fields, role);
    let attach_metadata = fields.take("attach_metadata").map(|it| read_attach_metadata(&it));
    let own_node_field = fields.take("own_node").filter(|field| !field.is_null());
    let own_node = own_node_field.as_ref().and_then(Field::bool);
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
    let role = role?;
    if let (false, Some(true), Some(field)) = (role.knows_nodes(), own_node, &own_node_field) {
        field.mistake(format!("an object of role {} belongs to no node; leave own_node out", role.name()));
    }
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
        own_node: own_node.unwrap_or(role.knows_nodes()),
    };
    // Prometheus looks at all of them.
    if own_node.is_none() {
        let sentence = match (config.is_limited(), role) {
            (true, Role::Node | Role::Pod) => {
                "looks at the node that this runs on and nowhere else; say own_node: true, or false for all nodes"
            }
            (true, _) => {
                "looks at addresses on the node that this runs on and at those without a node; say own_node: true, or \
                 false for all nodes"
            }
            (false, Role::Service | Role::Ingress) => {
                "such objects belong to no node, so every box with this configuration scrapes all of them; say \
                 own_node: false if that is meant"
            }
            (false, _) => return Some(config),
        };
        item.note(format!("{}: {sentence}", item.path()));
    }
    Some(config)
}

/// `None` after a mistake.
fn read_role(item: &Field<'_>, fields: &mut Fields<'_>) -> Option<Role> {
    let Some(field) = fields.take("role").filter(|field| !field.is_null()) else {
        item.mistake_below(
            "role",
            "role missing (one of: pod, service, endpoints, endpointslice, node, ingress)",
        );
        return None;
    };
    known_role(&field)
}

fn known_role(field: &Field<'_>) -> Option<Role> {
    let text = field.text()?;
    let role = ROLES.into_iter().find(|role| role.name() == text);
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

fn read_selectors(fields: &mut Fields<'_>, owner: Option<Role>) -> Vec<Selector> {
    let mut selectors = Vec::new();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
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
        let name = role.map(Role::name).unwrap_or_default();
        if !seen.insert(name) {
            field.mistake_below("role", format!("duplicated selector role: {name}"));
        }
        if let Some(owner) = owner
            && role.is_none_or(|role| !owner.selectable().contains(&role))
        {
            let names: Vec<&str> = owner.selectable().iter().map(|role| role.name()).collect();
            field.mistake(format!("{} role supports only {} selectors", owner.name(), names.join(", ")));
        }
        let Some(role) = role else { continue };
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

    /// Whether targets are limited to our node by [`KubernetesSdConfig::own_node`]: no selector fixes another one.
    pub fn is_limited(&self) -> bool {
        let deciding = if self.role == Role::Node { Role::Node } else { Role::Pod };
        self.own_node && self.role.knows_nodes() && self.is_free(deciding)
    }

    /// Whether objects of this kind are limited to our node by a field selector of ours.
    pub fn adds_own_node(&self, role: Role) -> bool {
        self.is_limited() && self.is_free(role)
    }

    /// Whether selectors say nothing of the node of such objects, though they could.
    fn is_free(&self, role: Role) -> bool {
        role.node_field().is_some_and(|field| !fixes_field(self.selectors_for(role).1, field))
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
        if !self.own_node && self.role.knows_nodes() {
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
