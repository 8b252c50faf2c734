//! `mdns_sd_configs`: neighbours that announce themselves by DNS-SD over multicast.
//!
//! Runs on the thread `sd-mdns-<n>`. Each refresh asks the link for a moment and collects the answers; what a neighbour
//! has said stays good for as long as it said, so that one lost packet takes no target away.

mod records;

use std::io;
use std::time::{Duration, Instant};

use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, TYPE};

use crate::config::discovery::Provenance;
use crate::config::discovery::mdns::MdnsSdConfig;
use crate::discovery::lists::target_labels::{host_port, sanitized};
use crate::discovery::providers::mdns::records::{Neighbour, Records, Wanted};
use crate::discovery::refresh::Source;
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use crate::names::link::Link;
use scraped_engine::labels::Labels;
use scraped_engine::threads::stop::StopToken;

/// Questions are sent so often in one refresh: packets get lost, and the second one knows what the first one brought.
const ROUNDS: usize = 3;

/// Answers are waited for this long after each question; neighbours delay theirs by up to 120 ms.
const ROUND: Duration = Duration::from_millis(400);

/// How often a stop is looked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Names asked for in one packet; more come with the next.
const MAX_QUESTIONS: usize = 32;

/// A path that a neighbour announces is where its metrics are.
const PATH_TEXT: &str = "path";

/// One entry of `mdns_sd_configs`.
#[derive(Debug)]
pub(in crate::discovery) struct MdnsSource {
    config: MdnsSdConfig,
    records: Records,
}

impl MdnsSource {
    /// A source that has not asked yet.
    pub(in crate::discovery) fn new(config: MdnsSdConfig) -> Self {
        Self { config, records: Records::default() }
    }

    fn browse(&mut self, link: &Link, stop: &StopToken) -> io::Result<()> {
        for round in 0..ROUNDS {
            let wanted = if round == 0 { Wanted::All } else { Wanted::Missing };
            link.ask(&self.question(wanted).unwrap_or_default())?;
            let round_ends = Instant::now() + ROUND;
            while Instant::now() < round_ends {
                if stop.is_stopped() {
                    return Ok(());
                }
                link.hear(LOOK_INTERVAL, |packet| {
                    self.records.take(packet, &self.config.services, Instant::now());
                })?;
            }
        }
        Ok(())
    }

    /// Services to look for, and what is wanted of those found.
    fn question(&self, wanted: Wanted) -> Result<Vec<u8>, simple_dns::SimpleDnsError> {
        let mut packet = Packet::new_query(0);
        let mut ask = |name: &str, kind: TYPE| -> Result<(), simple_dns::SimpleDnsError> {
            let name = Name::new(name)?.into_owned();
            packet.questions.push(Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
            Ok(())
        };
        for service in &self.config.services {
            ask(&format!("{service}.local."), TYPE::PTR)?;
        }
        let (instances, hosts) = self.records.names(wanted);
        for instance in instances.into_iter().take(MAX_QUESTIONS) {
            ask(instance, TYPE::SRV)?;
            ask(instance, TYPE::TXT)?;
        }
        for host in hosts.into_iter().take(MAX_QUESTIONS) {
            ask(host, TYPE::A)?;
            ask(host, TYPE::AAAA)?;
        }
        packet.build_bytes_vec_compressed()
    }
}

impl Source for MdnsSource {
    fn kind(&self) -> &'static str {
        "mdns"
    }

    fn refresh(&mut self, stop: &StopToken) -> Result<Vec<TargetGroup>, String> {
        let link = Link::open(&self.config.interfaces);
        link.and_then(|link| self.browse(&link, stop))
            .map_err(|error| format!("cannot ask the link: {error}"))?;
        self.records.expire(Instant::now());
        let group = |service: &String| TargetGroup {
            provenance: Provenance::Network,
            source: service.clone(),
            targets: self
                .records
                .neighbours()
                .filter(|it| it.service == service)
                .map(|it| target(&it))
                .collect(),
            labels: Labels::from_pairs([("__meta_mdns_service", service.as_str())]),
        };
        Ok(self.config.services.iter().map(group).collect())
    }
}

fn target(neighbour: &Neighbour<'_>) -> Labels {
    let own = [
        (ADDRESS_LABEL, host_port(&neighbour.address.to_string(), neighbour.port)),
        ("__meta_mdns_instance", neighbour.label.to_owned()),
        ("__meta_mdns_host", neighbour.host.trim_end_matches('.').to_owned()),
        ("__meta_mdns_port", neighbour.port.to_string()),
    ];
    let path = neighbour.texts.iter().find(|(key, value)| key == PATH_TEXT && value.starts_with('/'));
    let path = path.map(|(_, path)| ("__metrics_path__".to_owned(), path.clone()));
    let text =
        |(key, value): &(String, String)| (format!("__meta_mdns_txt_{}", sanitized(key)), value.clone());
    let labels = own.map(|(name, value)| (name.to_owned(), value)).into_iter();
    let labels = labels.chain(path).chain(neighbour.texts.iter().map(text));
    Labels::from_pairs(labels.filter(|(_, value)| !value.is_empty()))
}
