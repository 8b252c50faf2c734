//! `consul_sd_configs` (Prometheus' `discovery/consul/consul.go`).

use std::sync::Arc;
use std::time::Duration;

use crate::config::client::http_client::{Auth, HttpClientConfig, read_client};
use crate::config::client::secret::{Secret, SecretUrl, Source};
use crate::config::client::secret_names::SECRET_TOKEN;
use crate::config::discovery::refresh::refresh_interval;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, duration, texts};
use crate::config::text::fields::Field;

/// Prometheus' `consul.DefaultSDConfig`.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);
const SERVER: &str = "localhost:8500";
const SCHEME: &str = "http";
const TAG_SEPARATOR: &str = ",";

/// One entry of `consul_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConsulSdConfig {
    /// `scheme`, default http.
    pub scheme: String,
    /// Host and port, default localhost:8500.
    pub server: SecretUrl,
    /// Put before every path.
    pub path_prefix: String,
    /// `token`, sent as `X-Consul-Token`.
    pub token: Option<Secret>,
    /// Default: that of the agent.
    pub datacenter: String,
    /// Enterprise only.
    pub namespace: String,
    /// Enterprise only.
    pub partition: String,
    /// Stands around and between the tags of a service, default a comma.
    pub tag_separator: String,
    /// Default true: any server may answer.
    pub allow_stale: bool,
    /// Default 30s.
    pub refresh_interval: Duration,
    /// Services to look for; none means all.
    pub services: Vec<String>,
    /// Tags that a service must have, all of them.
    pub tags: Vec<String>,
    /// Metadata that a node must have.
    pub node_meta: Vec<(String, String)>,
    /// Filter of the catalogue.
    pub filter: String,
    /// Filter of the health of a service.
    pub health_filter: String,
    /// How the server is reached.
    pub client: Arc<HttpClientConfig>,
    /// Only printed: requests are HTTP/1.1 either way.
    pub enable_http2: bool,
}

pub(in crate::config) fn read(item: &Field<'_>) -> Option<ConsulSdConfig> {
    let mut fields = item.fields()?;
    let mut client = read_client(&mut fields);
    let enable_http2 = fields.bool("enable_http2").unwrap_or(true);
    let refresh_interval = refresh_interval(&mut fields, REFRESH_INTERVAL);
    let server = match fields.take("server") {
        None => SERVER.to_owned(),
        Some(field) => {
            let server = field.text().unwrap_or_default();
            if server.trim().is_empty() {
                field.mistake("consul SD configuration requires a server address");
            }
            server
        }
    };
    let has_basic_auth = matches!(client.auth, Some(Auth::Basic { .. }));
    let has_other_auth = client.auth.is_some() && !has_basic_auth;
    let secret = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Secret::new);
    let (username, password) = (secret(fields.text("username")), secret(fields.text("password")));
    if username.is_some() || password.is_some() {
        if has_basic_auth {
            item.mistake(
                "at most one of consul SD configuration username and password and basic auth can be configured",
            );
        }
        client.auth = Some(Auth::Basic {
            username: username.map(Source::Inline),
            password: password.map(Source::Inline),
        });
    }
    let token = secret(fields.text("token"));
    if token.is_some() && has_other_auth {
        item.mistake("at most one of consul SD token, authorization, or oauth2 can be configured");
    }
    let mut node_meta = Vec::new();
    if let Some(field) = fields.take("node_meta") {
        node_meta.extend(
            field.entries().into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.text()?))),
        );
    }
    let mut text =
        |name: &'static str, default: &str| fields.text(name).unwrap_or_else(|| default.to_owned());
    // An empty one is http as well, as in Consul's own client.
    let scheme = match text("scheme", SCHEME) {
        empty if empty.is_empty() => SCHEME.to_owned(),
        scheme => scheme,
    };
    let path_prefix = text("path_prefix", "");
    let (datacenter, namespace, partition) =
        (text("datacenter", ""), text("namespace", ""), text("partition", ""));
    let tag_separator = text("tag_separator", TAG_SEPARATOR);
    let (filter, health_filter) = (text("filter", ""), text("health_filter", ""));
    let allow_stale = fields.bool("allow_stale").unwrap_or(true);
    let services = fields.take("services").map(|field| field.texts()).unwrap_or_default();
    let tags = fields.take("tags").map(|field| field.texts()).unwrap_or_default();
    fields.finish(|_| false);
    Some(ConsulSdConfig {
        scheme,
        server: SecretUrl::new(server),
        path_prefix,
        token,
        datacenter,
        namespace,
        partition,
        tag_separator,
        allow_stale,
        refresh_interval: refresh_interval?,
        services,
        tags,
        node_meta,
        filter,
        health_filter,
        client: Arc::new(client),
        enable_http2,
    })
}

impl ConsulSdConfig {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add_text("server", &self.server.shown);
        entries.add_text("path_prefix", &self.path_prefix);
        if self.token.is_some() {
            entries.add("token", Yaml::text(SECRET_TOKEN));
        }
        entries.add_text("datacenter", &self.datacenter);
        entries.add_text("namespace", &self.namespace);
        entries.add_text("partition", &self.partition);
        // Also when it is empty, which is not its default; Prometheus leaves it out then.
        entries.add("tag_separator", Yaml::text(&self.tag_separator));
        entries.add_text("scheme", &self.scheme);
        entries.add("allow_stale", Yaml::raw(self.allow_stale));
        entries.add("refresh_interval", duration(self.refresh_interval));
        if !self.services.is_empty() {
            entries.add("services", texts(&self.services));
        }
        if !self.tags.is_empty() {
            entries.add("tags", texts(&self.tags));
        }
        if !self.node_meta.is_empty() {
            let meta = self.node_meta.iter().map(|(key, value)| (key.clone(), Yaml::text(value)));
            entries.add("node_meta", Yaml::sorted(meta.collect()));
        }
        entries.add_text("filter", &self.filter);
        entries.add_text("health_filter", &self.health_filter);
        self.client.print(&mut entries, self.enable_http2);
        entries.into_map()
    }
}
