//! `kubelet_sd_configs`: the pods of this machine as its kubelet lists them. Ours, after `discovery.kubelet` of Grafana
//! Alloy.

use std::sync::Arc;
use std::time::Duration;

use crate::config::client::go_url;
use crate::config::client::http_client::{HttpClientConfig, read_client};
use crate::config::client::secret::{Secret, SecretUrl};
use crate::config::discovery::http::check_url;
use crate::config::discovery::refresh::refresh_interval;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, duration, texts};
use crate::config::text::fields::Field;

/// A kubelet is asked on its own machine, but its list may have a megabyte.
const REFRESH_INTERVAL: Duration = Duration::from_secs(30);

/// Where kubelets listen.
const URL: &str = "https://localhost:10250";

/// One entry of `kubelet_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct KubeletSdConfig {
    /// `url`, default <https://localhost:10250>; `/pods` is put behind it.
    pub url: SecretUrl,
    /// Default 30s; also how long a request may take.
    pub refresh_interval: Duration,
    /// Namespaces to look at; none means all.
    pub namespaces: Vec<String>,
    /// How it is reached.
    pub client: Arc<HttpClientConfig>,
    /// Only printed: requests are HTTP/1.1 either way.
    pub enable_http2: bool,
}

pub(in crate::config) fn read(item: &Field<'_>) -> Option<KubeletSdConfig> {
    let mut fields = item.fields()?;
    let client = read_client(&mut fields);
    let enable_http2 = fields.bool("enable_http2").unwrap_or(true);
    let refresh_interval = refresh_interval(&mut fields, REFRESH_INTERVAL);
    let mut url = URL.to_owned();
    if let Some(field) = fields.take("url").filter(|field| !field.is_null()) {
        url = field.text().unwrap_or_default();
        check_url(&url, &field);
    }
    let namespaces = fields.take("namespaces").map(|field| field.texts()).unwrap_or_default();
    fields.finish(|_| false);
    Some(KubeletSdConfig {
        url: SecretUrl { shown: go_url::redacted(&url), full: Secret::new(url) },
        refresh_interval: refresh_interval?,
        namespaces,
        client: Arc::new(client),
        enable_http2,
    })
}

impl KubeletSdConfig {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        self.client.print(&mut entries, self.enable_http2);
        entries.add("url", Yaml::text(&self.url.shown));
        entries.add("refresh_interval", duration(self.refresh_interval));
        if !self.namespaces.is_empty() {
            entries.add("namespaces", texts(&self.namespaces));
        }
        entries.into_map()
    }
}
