//! The parts of a printed configuration: mappings whose entries may be missing, and typed values as text.

use crate::config::client::secret::Source;
use crate::config::client::secret_names::SECRET_TOKEN;
use crate::config::print::emit::Yaml;
use crate::duration::format_duration;
use crate::duration::format_size;
use scraped_engine::labels::Labels;
use scraped_engine::labels::relabel::RelabelRule;
use std::path::Path;
use std::time::Duration;

pub(in crate::config) fn rule(rule: &RelabelRule) -> Yaml {
    let config = rule.config();
    let mut entries = Entries::default();
    if !config.source_labels.is_empty() {
        entries.add("source_labels", Yaml::Flow(config.source_labels.clone()));
    }
    entries.add("separator", Yaml::text(&config.separator));
    if config.regex != "(.*)" {
        entries.add("regex", Yaml::text(&config.regex));
    }
    entries.add_count("modulus", config.modulus);
    entries.add_text("target_label", &config.target_label);
    entries.add("replacement", Yaml::text(&config.replacement));
    entries.add("action", Yaml::text(config.action.to_string()));
    entries.into_map()
}

pub(in crate::config) fn labels(labels: &Labels) -> Yaml {
    Yaml::sorted(labels.iter().map(|(name, value)| (name.to_owned(), Yaml::text(value))).collect())
}

pub(in crate::config) fn texts(values: &[String]) -> Yaml {
    Yaml::List(values.iter().map(Yaml::text).collect())
}

pub(in crate::config) fn duration(duration: Duration) -> Yaml {
    Yaml::text(format_duration(duration))
}

pub(in crate::config) fn path_text(path: &Path) -> Yaml {
    Yaml::text(path.to_string_lossy())
}

/// A mapping in the making; what Prometheus marks `omitempty` is left out when it is empty.
#[derive(Default)]
pub(in crate::config) struct Entries {
    list: Vec<(String, Yaml)>,
}

impl Entries {
    pub(in crate::config) fn add(&mut self, name: &str, value: Yaml) {
        self.list.push((name.to_owned(), value));
    }

    pub(in crate::config) fn add_flag(&mut self, name: &str, flag: bool) {
        if flag {
            self.add(name, Yaml::raw(flag));
        }
    }

    pub(in crate::config) fn add_count(&mut self, name: &str, count: u64) {
        if count != 0 {
            self.add(name, Yaml::raw(count));
        }
    }

    pub(in crate::config) fn add_size(&mut self, name: &str, bytes: u64) {
        if bytes != 0 {
            self.add(name, Yaml::text(format_size(bytes)));
        }
    }

    pub(in crate::config) fn add_text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.add(name, Yaml::text(text));
        }
    }

    /// A secret, or the file it is in.
    pub(in crate::config) fn add_source(&mut self, [inline, file]: [&str; 2], source: Option<&Source>) {
        match source {
            None => {}
            Some(Source::Inline(_)) => self.add(inline, Yaml::text(SECRET_TOKEN)),
            Some(Source::File(path)) => self.add(file, path_text(path)),
        }
    }

    /// The same for what is read like a secret and is none: names and certificates.
    pub(in crate::config) fn add_public(&mut self, names: [&str; 2], source: Option<&Source>) {
        match source {
            Some(Source::Inline(text)) => self.add(names[0], Yaml::text(text.expose())),
            source => self.add_source(names, source),
        }
    }

    pub(in crate::config) fn add_list(&mut self, name: &str, items: impl Iterator<Item = Yaml>) {
        let items: Vec<Yaml> = items.collect();
        if !items.is_empty() {
            self.add(name, Yaml::List(items));
        }
    }

    pub(in crate::config) fn into_map(self) -> Yaml {
        Yaml::Map(self.list)
    }
}
