//! Flags of those that stand where this program comes to stand: vmagent, and Prometheus 1.
//!
//! A name that ends in `*` is the beginning of many. Each has whose it is and which of ours does it.

use crate::flags::nearest::nearest;

/// Of vmagent (`app/vmagent`, `lib/promscrape`, `lib/httpserver`, `lib/logger`), 1.90 to 1.130.
const VMAGENT: &[(&str, &str)] = &[
    ("httpListenAddr", "use --web.listen-address"),
    ("httpListenAddr.useProxyProtocol", "there is no PROXY protocol here; leave it out"),
    ("promscrape.config", "use --config.file"),
    ("promscrape.config.dryRun", "use 'scraped check config FILE'"),
    ("promscrape.config.strictParse", "unknown keys are always refused; leave it out"),
    ("promscrape.configCheckInterval", "use --config.auto-reload with --config.auto-reload-interval"),
    ("promscrape.cluster.*", "share targets by a hashmod rule in relabel_configs"),
    ("promscrape.consul.waitTime", "consul_sd_configs waits as long as Prometheus'; leave it out"),
    ("promscrape.maxScrapeSize", "use --scrape.max-body-bytes, or body_size_limit of a job"),
    ("promscrape.seriesLimitPerTarget", "use series_limit in the configuration"),
    ("promscrape.discovery.*", "discovery has no such limits; leave it out"),
    ("promscrape.noStaleMarkers", "staleness markers are always written, as in Prometheus; leave it out"),
    ("promscrape.streamParse", "pages are always read piece by piece; leave it out"),
    ("promscrape.*SDCheckInterval", "use refresh_interval of the provider in the configuration"),
    ("promscrape.*", "look for a key of scrape_configs in the configuration"),
    ("remoteWrite.url", "use remote_write: [{url: …}] in the configuration"),
    ("remoteWrite.tmpDataPath", "use --storage.agent.path"),
    ("remoteWrite.maxDiskUsagePerURL", "use --storage.agent.retention.max-bytes"),
    ("remoteWrite.keepDanglingQueues", "the log is shared and kept; leave it out"),
    ("remoteWrite.queues", "use queue_config: {max_shards: …} of remote_write"),
    ("remoteWrite.label", "use global: {external_labels: …} in the configuration"),
    ("remoteWrite.basicAuth.*", "use basic_auth of remote_write"),
    ("remoteWrite.bearerToken*", "use authorization of remote_write"),
    ("remoteWrite.oauth2.*", "use oauth2 of remote_write"),
    ("remoteWrite.tls*", "use tls_config of remote_write"),
    ("remoteWrite.headers", "use headers of remote_write"),
    ("remoteWrite.proxyURL", "use proxy_url of remote_write"),
    ("remoteWrite.sendTimeout", "use remote_timeout of remote_write"),
    ("remoteWrite.flushInterval", "use queue_config: {batch_send_deadline: …} of remote_write"),
    ("remoteWrite.maxRowsPerBlock", "use queue_config: {max_samples_per_send: …} of remote_write"),
    ("remoteWrite.relabelConfig", "use write_relabel_configs of remote_write"),
    ("remoteWrite.urlRelabelConfig", "use write_relabel_configs of remote_write"),
    ("remoteWrite.*", "look for a key of remote_write in the configuration"),
    ("loggerLevel", "use --log.level"),
    ("loggerFormat", "use --log.format"),
    ("logger*", "the log goes to the error output as it is; leave it out"),
    ("envflag.*", "use @FILE, a file of arguments, one a line"),
    ("dryRun", "use 'scraped check config FILE'"),
    ("httpAuth.*", "use --web.config.file with basic_auth_users"),
    ("reloadAuthKey", "use --web.enable-lifecycle, and --web.config.file to lock the door"),
    ("configAuthKey", "use --web.config.file to lock the door"),
    ("metricsAuthKey", "use --web.config.file to lock the door"),
    ("flagsAuthKey", "use --web.config.file to lock the door"),
    ("pprofAuthKey", "there is no Go runtime here; leave it out"),
    ("tls", "use --web.config.file with tls_server_config"),
    ("tlsCertFile", "use --web.config.file with tls_server_config"),
    ("tlsKeyFile", "use --web.config.file with tls_server_config"),
    ("mtls*", "use --web.config.file with tls_server_config"),
    ("http.pathPrefix", "use --web.route-prefix or --web.external-url"),
    ("http.*", "look for a flag that begins with --web."),
    (
        "memory.allowed*",
        "memory follows the control group; see --storage.agent.max-series and --scrape.body-budget",
    ),
    ("enableTCP6", "both families are always used; leave it out"),
    ("influxListenAddr*", "no receiver is built; leave it out"),
    ("graphiteListenAddr*", "no receiver is built; leave it out"),
    ("opentsdb*", "no receiver is built; leave it out"),
    ("maxInsertRequestSize", "no receiver is built; leave it out"),
    ("streamAggr.*", "samples are not aggregated here; leave it out"),
];

/// Of Prometheus before 2.0, with one dash.
const PROMETHEUS_1: &[(&str, &str)] = &[
    ("storage.local.path", "use --storage.agent.path"),
    ("storage.local.retention", "use --storage.agent.retention.min-time"),
    ("storage.local.*", "the log has other bounds; see --storage.agent.retention.max-bytes"),
    ("storage.remote.timeout", "use remote_timeout of remote_write"),
    ("alertmanager.url", "rules are evaluated where remote_write sends the samples; leave it out"),
];

/// Whose flag this is and what does it here; capital letters do not matter.
pub(in crate::flags) fn find(name: &str) -> Option<String> {
    for (whose, table) in [("vmagent", VMAGENT), ("Prometheus 1", PROMETHEUS_1)] {
        if let Some((_, instead)) = table.iter().find(|(pattern, _)| fits(pattern, name)) {
            return Some(format!("a flag of {whose}: {instead}"));
        }
    }
    // A slip in a long name; short ones are a slip of ours as well.
    let names =
        VMAGENT.iter().map(|(pattern, _)| *pattern).filter(|name| name.len() > 8 && !name.contains('*'));
    let near = nearest(name, names)?;
    let (_, instead) = VMAGENT.iter().find(|(pattern, _)| *pattern == near)?;
    Some(format!("nearly -{near} of vmagent: {instead}"))
}

fn fits(pattern: &str, name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let pattern = pattern.to_ascii_lowercase();
    match pattern.split_once('*') {
        Some((start, end)) => {
            name.len() > start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
        None => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn names_and_beginnings() {
        let check = |name: &str, want: Option<&str>| assert_eq!(find(name).as_deref(), want, "{name}");
        check("httpListenAddr", Some("a flag of vmagent: use --web.listen-address"));
        check("httplistenaddr", Some("a flag of vmagent: use --web.listen-address"));
        check("remoteWrite.tlsCAFile", Some("a flag of vmagent: use tls_config of remote_write"));
        check(
            "promscrape.kubernetesSDCheckInterval",
            Some("a flag of vmagent: use refresh_interval of the provider in the configuration"),
        );
        check("storage.local.path", Some("a flag of Prometheus 1: use --storage.agent.path"));
        check(
            "promscrape.confg",
            Some("a flag of vmagent: look for a key of scrape_configs in the configuration"),
        );
        check("httpListnAddr", Some("nearly -httpListenAddr of vmagent: use --web.listen-address"));
        check("config.file", None);
        check("nonsense", None);
    }
}
