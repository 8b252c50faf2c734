//! `kubelet_sd_configs`: the pods of this machine as its kubelet lists them, without an API server. Ours, after
//! `discovery.kubelet` of Grafana Alloy; the labels are those of the role `pod`.
//!
//! Runs on the thread `sd-kubelet-<n>`.

use std::time::{Duration, Instant};

use crate::config::discovery::Provenance;
use crate::config::discovery::kubelet::KubeletSdConfig;
use crate::discovery::lists::tally::{Tally, Wanted};
use crate::discovery::providers::kubernetes::api_server::server_url;
use crate::discovery::providers::kubernetes::connection::{FIXED_HEADERS, Trouble, open};
use crate::discovery::providers::kubernetes::roles::pod::pod_group;
use crate::discovery::refresh::Source;
use crate::discovery::target_group::TargetGroup;
use crate::http::{Canceller, Headers, HttpClient};
use scraped_engine::threads::stop::StopToken;

/// One entry of `kubelet_sd_configs`.
#[derive(Debug)]
pub(in crate::discovery) struct KubeletSource {
    wanted: Wanted,
    namespaces: Vec<String>,
    timeout: Duration,
    shown_url: String,
    /// Or why its URL is none.
    client: Result<HttpClient, String>,
}

impl KubeletSource {
    /// A source that has not asked yet.
    pub(in crate::discovery) fn new(config: KubeletSdConfig, wanted: Wanted) -> Self {
        let headers = Headers { fixed: &FIXED_HEADERS, ..Headers::default() };
        let url = server_url(config.url.full.expose(), "https");
        Self {
            wanted,
            namespaces: config.namespaces,
            timeout: config.refresh_interval.max(Duration::from_secs(1)),
            shown_url: config.url.shown,
            client: url.map(|url| HttpClient::new(url, headers, &config.client)),
        }
    }

    fn ask(&mut self) -> Result<Vec<TargetGroup>, Trouble> {
        let client = self.client.as_mut().map_err(|sentence| Trouble::failed(sentence.clone()))?;
        let list = open(client, "/pods", Instant::now() + self.timeout)?.into_list("PodList")?;
        let is_wanted =
            |namespace: &String| self.namespaces.is_empty() || self.namespaces.contains(namespace);
        let mut tally = Tally::new(Provenance::Network, self.wanted);
        let mut groups = Vec::new();
        for pod in list.items.iter().filter(|pod| is_wanted(&pod.metadata.namespace)) {
            let group = pod_group(pod, &mut tally)
                .map_err(|sentence| Trouble::failed(format!("{}: {sentence}", self.shown_url)))?;
            if !group.targets.is_empty() {
                groups.push(group);
            }
        }
        Ok(groups)
    }
}

impl Source for KubeletSource {
    fn kind(&self) -> &'static str {
        "kubelet"
    }

    fn canceller(&self) -> Option<Canceller> {
        self.client.as_ref().ok().map(HttpClient::canceller)
    }

    fn refresh(&mut self, _: &StopToken) -> Result<Vec<TargetGroup>, String> {
        self.ask().map_err(|trouble| match trouble {
            Trouble::Failed(failure) => failure.sentence,
            Trouble::Expired => format!("{}: server returned HTTP status 410", self.shown_url),
            Trouble::Stopped => format!("{}: cancelled", self.shown_url),
        })
    }
}
