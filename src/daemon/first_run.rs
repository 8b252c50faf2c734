//! A start without a configuration: exporters that answer on this machine are its first targets, and the file that says so
//! is the owner's to keep.
//!
//! Asks nothing but loopback, port by port: one that no one listens on costs nothing.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::client::http_client::HttpClientConfig;
use crate::daemon::start_error::StartError;
use crate::flags::Flags;
use crate::http::address::url::Url;
use crate::http::{Headers, HttpClient, USER_AGENT};
use crate::web::serve::listen::listener::Listener;

/// Who usually listens where (the list of Prometheus' wiki, and agents that show themselves).
const KNOWN_PORTS: [(u16, &str); 34] = [
    (9100, "node"),
    (8080, "cadvisor"),
    (9323, "docker"),
    (9090, "prometheus"),
    (9091, "pushgateway"),
    (9093, "alertmanager"),
    (9104, "mysqld"),
    (9113, "nginx"),
    (9115, "blackbox"),
    (9116, "snmp"),
    (9117, "apache"),
    (9121, "redis"),
    (9150, "memcached"),
    (9153, "coredns"),
    (9187, "postgres"),
    (9216, "mongodb"),
    (9256, "process"),
    (9273, "telegraf"),
    (9290, "ipmi"),
    (9308, "kafka"),
    (9400, "dcgm"),
    (9558, "systemd"),
    (9598, "vector"),
    (9633, "smartctl"),
    (9835, "nvidia"),
    (10249, "kube-proxy"),
    (10255, "kubelet"),
    (2019, "caddy"),
    (2112, "app"),
    (3000, "grafana"),
    (3100, "loki"),
    (8428, "victoria-metrics"),
    (12345, "alloy"),
    (15692, "rabbitmq"),
];

/// For one that listens and says nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// Of a page, so much is looked at.
const LOOKED_AT_BYTES: usize = 16 << 10;

/// Looks for exporters, and writes the configuration that scrapes them. Those who listen for this process answer nothing
/// yet, and are not asked.
///
/// # Errors
/// The file cannot be written.
pub(super) fn write_config(flags: &Flags, listeners: &[Listener]) -> Result<(), StartError> {
    let file = &flags.config_file;
    let own = own_address(flags);
    log::info!(
        "no configuration file at {}: looking for exporters on {} well-known ports of 127.0.0.1",
        file.display(),
        KNOWN_PORTS.len()
    );
    let others = KNOWN_PORTS.iter().filter(|(port, _)| !listeners.iter().any(|it| has_loopback(it, *port)));
    let others = others.map(|(port, name)| (*name, format!("127.0.0.1:{port}")));
    let found: Vec<(&str, String)> = others.filter(|(_, address)| is_exporter(address)).collect();
    let shown: Vec<String> = found.iter().map(|(name, address)| format!("{name} ({address})")).collect();
    match shown.as_slice() {
        [] => log::info!("no exporter answers; node_exporter is the one that measures a host"),
        shown => log::info!("exporters that answer: {}", shown.join(", ")),
    }
    if let Some(own) = &own {
        log::info!("beside these the daemon scrapes itself ({own})");
    }
    let failed = |cause| StartError::FirstConfig { file: file.clone(), cause };
    // Who has made one meanwhile keeps it.
    let mut new = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    let own = own.map(|address| ("scraped", address));
    new.write_all(text_of(own.into_iter().chain(found)).as_bytes()).map_err(failed)?;
    log::info!("{} is written and yours to keep; add remote_write there to send samples on", file.display());
    Ok(())
}

/// Where its own page is, if loopback leads there and no one is asked for a password.
fn own_address(flags: &Flags) -> Option<String> {
    let (host, port) = flags.listen_addresses.first()?.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let host = match host {
        "" | "0.0.0.0" | "[::]" | "localhost" => "127.0.0.1",
        host if host.starts_with("127.") || host == "[::1]" => host,
        _ => return None,
    };
    (flags.web_config_file.is_none() && !flags.systemd_socket).then(|| format!("{host}:{port}"))
}

/// Whether it listens at this port of 127.0.0.1.
fn has_loopback(listener: &Listener, port: u16) -> bool {
    let at = listener.address().tcp();
    at.is_some_and(|at| at.port() == port && (at.ip().is_unspecified() || at.ip() == Ipv4Addr::LOCALHOST))
}

/// Whether a page of metrics is there.
fn is_exporter(address: &str) -> bool {
    let Ok(url) = Url::parse(&format!("http://{address}/metrics")) else { return false };
    let config = HttpClientConfig { follow_redirects: false, ..HttpClientConfig::default() };
    let headers = Headers { fixed: &[USER_AGENT], ..Headers::default() };
    let mut client = HttpClient::new(url, headers, &Arc::new(config));
    let Ok(mut response) = client.get(Instant::now() + PATIENCE) else { return false };
    if response.status() != 200 {
        return false;
    }
    let (mut page, mut piece) = (Vec::new(), [0; 4096]);
    while page.len() < LOOKED_AT_BYTES {
        match response.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(n_read) => page.extend_from_slice(&piece[..n_read]),
        }
    }
    page.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"# TYPE ") || line.starts_with(b"# HELP "))
}

fn text_of<'a>(jobs: impl Iterator<Item = (&'a str, String)>) -> String {
    let mut text = concat!(
        "# Written by scraped ",
        env!("CARGO_PKG_VERSION"),
        " at a start without a configuration: what answered on this machine.\n\
         # It is yours to change; it is not written again while it is there.\n\
         global:\n  scrape_interval: 15s\n\nscrape_configs:\n"
    )
    .to_owned();
    for (name, address) in jobs {
        // Writing to a string cannot fail.
        let _ = write!(text, "  - job_name: {name}\n    static_configs:\n      - targets: ['{address}']\n");
    }
    text.push_str(
        "\n# To send samples on:\n# remote_write:\n#   - url: https://metrics.example.com/api/v1/write\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::text_of;
    use crate::config::mistakes_of;

    #[test]
    fn what_is_written_is_good() {
        assert_eq!(mistakes_of(&text_of([("node", "127.0.0.1:9100".to_owned())].into_iter())), []);
        assert_eq!(mistakes_of(&text_of(std::iter::empty())), []);
    }
}
