//! `static_configs`: targets that stand in the configuration.

use crate::config::discovery::target_labels::{TargetSpelling, read_labels};
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, labels, texts};
use crate::config::text::fields::Field;
use scraped_engine::labels::Labels;

/// One entry of `static_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticConfig {
    /// Addresses.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: Labels,
}

const EXEC_NOTE: &str =
    "targets exec:... are run where --enable-feature=exec-targets allows it, and are down elsewhere";

pub(in crate::config) fn read(item: &Field<'_>, spelling: TargetSpelling) -> Option<StaticConfig> {
    let mut fields = item.fields()?;
    let mut targets = Vec::new();
    for target in fields.items("targets") {
        let Some(address) = target.text() else { continue };
        if spelling == TargetSpelling::Address && address.contains('/') && !is_local(&address) {
            target.mistake(format!(
                "{address:?} is not a valid hostname; give host:port, and scheme and metrics_path as fields of the job"
            ));
        }
        if spelling == TargetSpelling::Address && address.is_empty() {
            target.mistake("no address: an empty target needs a relabel rule that gives it one");
        }
        if address.starts_with("exec:/") {
            target.note(EXEC_NOTE);
        }
        targets.push(address);
    }
    let labels = fields.take("labels").map(|field| read_labels(&field)).unwrap_or_default();
    fields.finish(|_| false);
    Some(StaticConfig { targets, labels })
}

/// Targets that are files and commands of this machine.
fn is_local(address: &str) -> bool {
    ["file:/", "exec:/"].iter().any(|prefix| address.starts_with(prefix))
}

impl StaticConfig {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add("targets", texts(&self.targets));
        if !self.labels.is_empty() {
            entries.add("labels", labels(&self.labels));
        }
        entries.into_map()
    }
}
