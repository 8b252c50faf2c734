//! `static_configs`: groups that stand in the configuration file.
//!
//! The thread sends them once and ends; a reload with other groups starts another.

use std::sync::Arc;

use crate::config::discovery::Provenance;
use crate::config::discovery::statics::StaticConfig;
use crate::discovery::discoverer::{Discoverer, GroupSender};
use crate::discovery::target_group::{ADDRESS_LABEL, TargetGroup};
use scraped_engine::labels::Labels;
use scraped_engine::threads::stop::StopToken;

/// All `static_configs` of a job.
#[derive(Debug)]
pub(in crate::discovery) struct StaticDiscoverer(pub(in crate::discovery) Vec<StaticConfig>);

impl Discoverer for StaticDiscoverer {
    fn kind(&self) -> &'static str {
        "static"
    }

    fn run(self: Box<Self>, groups: &mut GroupSender, _: &StopToken) {
        let group = |(group_idx, config): (usize, &StaticConfig)| {
            let targets =
                config.targets.iter().map(|target| Labels::from_pairs([(ADDRESS_LABEL, &**target)]));
            // Prometheus numbers them too.
            let source = group_idx.to_string();
            let provenance = Provenance::Operator;
            Arc::new(TargetGroup {
                provenance,
                source,
                targets: targets.collect(),
                labels: config.labels.clone(),
            })
        };
        groups.send(self.0.iter().enumerate().map(group).collect());
    }
}
