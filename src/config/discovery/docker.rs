//! `docker_sd_configs` (Prometheus' `discovery/moby/docker.go`), for Docker and, by its compatible socket, Podman.

use std::sync::Arc;
use std::time::Duration;

use crate::config::client::go_url;
use crate::config::client::http_client::{HttpClientConfig, read_client};
use crate::config::client::secret::SecretUrl;
use crate::config::discovery::refresh::refresh_interval;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, duration, texts};
use crate::config::text::fields::Field;

/// Prometheus' `DefaultDockerSDConfig`.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
const PORT: u16 = 80;
const HOST_NETWORKING_HOST: &str = "localhost";

/// How an engine may be reached.
const SCHEMES: [&str; 4] = ["unix", "tcp", "http", "https"];

/// One entry of `docker_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct DockerSdConfig {
    /// `unix://PATH`, or a URL with the scheme tcp, http or https.
    pub host: SecretUrl,
    /// Port of containers that publish none, default 80.
    pub port: u16,
    /// Name → values, as the engine's API has them; names may repeat.
    pub filters: Vec<(String, Vec<String>)>,
    /// Address of containers in the host's network, default localhost.
    pub host_networking_host: String,
    /// Default true: of several networks only the first by name.
    pub match_first_network: bool,
    /// Default 1m; also how long a request may take.
    pub refresh_interval: Duration,
    /// How the engine is reached; not by its socket.
    pub client: Arc<HttpClientConfig>,
    /// Only printed: requests are HTTP/1.1 either way.
    pub enable_http2: bool,
}

pub(in crate::config) fn read(item: &Field<'_>) -> Option<DockerSdConfig> {
    let mut fields = item.fields()?;
    let client = read_client(&mut fields);
    let enable_http2 = fields.bool("enable_http2").unwrap_or(true);
    let refresh_interval = refresh_interval(&mut fields, REFRESH_INTERVAL);
    let mut host = String::new();
    if let Some(field) = fields.take("host") {
        host = field.text().unwrap_or_default();
        let scheme = host.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
        if !host.is_empty() && !SCHEMES.contains(&scheme) {
            let shown = SecretUrl::new(host.clone()).shown;
            field.mistake(format!("host {shown:?} must start with unix://, tcp://, http:// or https://"));
        } else if let Some(complaint) = go_url::complaint(&host) {
            field.mistake(complaint);
        }
    }
    if host.is_empty() {
        item.mistake_below("host", "host missing");
    }
    let mut filters = Vec::new();
    for filter in fields.items("filters") {
        let Some(mut filter_fields) = filter.fields() else { continue };
        let name = filter_fields.text("name").unwrap_or_default();
        let values = filter_fields.take("values").map(|field| field.texts()).unwrap_or_default();
        filter_fields.finish(|_| false);
        filters.push((name, values));
    }
    let mut port = PORT;
    if let Some(field) = fields.take("port")
        && let Some(number) = field.count()
    {
        port = u16::try_from(number).unwrap_or_else(|_| {
            field.mistake(format!("port {number} is above 65535"));
            PORT
        });
    }
    let host_networking_host =
        fields.text("host_networking_host").unwrap_or_else(|| HOST_NETWORKING_HOST.to_owned());
    let match_first_network = fields.bool("match_first_network").unwrap_or(true);
    fields.finish(|_| false);
    Some(DockerSdConfig {
        host: SecretUrl::new(host),
        port,
        filters,
        host_networking_host,
        match_first_network,
        refresh_interval: refresh_interval?,
        client: Arc::new(client),
        enable_http2,
    })
}

impl DockerSdConfig {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        self.client.print(&mut entries, self.enable_http2);
        entries.add("host", Yaml::text(&self.host.shown));
        entries.add("port", Yaml::raw(self.port));
        let filters = self.filters.iter().map(|(name, values)| {
            let mut filter = Entries::default();
            filter.add("name", Yaml::text(name));
            filter.add("values", texts(values));
            filter.into_map()
        });
        entries.add("filters", Yaml::List(filters.collect()));
        entries.add("host_networking_host", Yaml::text(&self.host_networking_host));
        entries.add("refresh_interval", duration(self.refresh_interval));
        entries.add("match_first_network", Yaml::raw(self.match_first_network));
        entries.into_map()
    }
}
