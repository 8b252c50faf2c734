//! `Config` → YAML: defaults filled in, in the order and style of Prometheus' `/api/v1/status/config`.
//!
//! Field order is that of the structs in Prometheus' `config/config.go`. Sections that mean nothing in an agent
//! (`runtime`, `storage`, `otlp`) are left out.

pub(crate) mod client;
pub(crate) mod emit;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::config::client::secret::{SECRET_TOKEN, Source, shown_value};
use crate::config::print::emit::{Yaml, emit};
use crate::config::scrape_options::{EscapingScheme, ScrapeLimits, ScrapeProtocol};
use crate::config::{Config, GlobalConfig, Scheme, ScrapeConfig};
use crate::duration::{format_duration, format_size};
use scraped_engine::labels::Labels;
use scraped_engine::labels::relabel::RelabelRule;

impl Config {
    /// The configuration as it is in force. Jobs of `scrape_config_files` are not in it, as in Prometheus.
    pub fn to_yaml(&self) -> String {
        let mut entries = Entries::default();
        entries.add("global", global(&self.global));
        entries.add_list("scrape_config_files", self.scrape_config_files.iter().map(|path| path_text(path)));
        let jobs = self.scrape_configs.iter().take(self.n_main_file_jobs);
        entries.add_list("scrape_configs", jobs.map(|job| job.to_tree()));
        entries.add_list("remote_write", self.remote_write.iter().map(|section| section.to_tree()));
        emit(&entries.into_map())
    }
}

impl ScrapeConfig {
    /// One entry of `scrape_configs`, as [`Config::to_yaml`] prints it.
    pub fn to_yaml(&self) -> String {
        emit(&self.to_tree())
    }

    fn to_tree(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add("job_name", Yaml::text(&self.job_name));
        entries.add_flag("honor_labels", self.honor_labels);
        entries.add("honor_timestamps", Yaml::raw(self.honor_timestamps));
        entries.add("track_timestamps_staleness", Yaml::raw(self.track_timestamps_staleness));
        if !self.params.is_empty() {
            let params = self.params.iter().map(|(name, values)| {
                let values = values.iter().map(|value| Yaml::text(shown_value(name, value)));
                (name.clone(), Yaml::List(values.collect()))
            });
            entries.add("params", Yaml::sorted(params.collect()));
        }
        entries.add("scrape_interval", duration(self.scrape_interval));
        entries.add("scrape_timeout", duration(self.scrape_timeout));
        let options = &self.options;
        entries.add_list("scrape_protocols", protocols(&options.scrape_protocols));
        entries.add_text(
            "fallback_scrape_protocol",
            self.fallback_scrape_protocol.map_or("", ScrapeProtocol::name),
        );
        entries.add("scrape_native_histograms", Yaml::raw(options.scrape_native_histograms));
        entries.add("always_scrape_classic_histograms", Yaml::raw(options.always_scrape_classic_histograms));
        entries
            .add("convert_classic_histograms_to_nhcb", Yaml::raw(options.convert_classic_histograms_to_nhcb));
        entries.add_text("scrape_failure_log_file", &self.scrape_failure_log_file.to_string_lossy());
        // Also when it is empty, which is not its default; Prometheus leaves it out then.
        entries.add("metrics_path", Yaml::text(&self.metrics_path));
        entries.add(
            "scheme",
            Yaml::text(match self.scheme {
                Scheme::Http => "http",
                Scheme::Https => "https",
            }),
        );
        entries.add("enable_compression", Yaml::raw(self.enable_compression));
        add_limits(&mut entries, self.limits);
        entries.add_count("native_histogram_bucket_limit", self.native_histogram_bucket_limit);
        if self.native_histogram_min_bucket_factor != 0.0 {
            let factor = Yaml::raw(self.native_histogram_min_bucket_factor);
            entries.add("native_histogram_min_bucket_factor", factor);
        }
        entries.add_count("keep_dropped_targets", self.limits.keep_dropped_targets);
        let names = options.metric_name_validation_scheme;
        entries.add("metric_name_validation_scheme", Yaml::text(names.name()));
        let escaping = options.metric_name_escaping_scheme;
        entries.add("metric_name_escaping_scheme", Yaml::text(escaping.name()));
        entries.add("extra_scrape_metrics", Yaml::raw(options.extra_scrape_metrics));
        self.http_client.print(&mut entries, self.enable_http2);
        entries.add_list("relabel_configs", self.relabel_configs.iter().map(rule));
        entries.add_list("metric_relabel_configs", self.metric_relabel_configs.iter().map(rule));
        // Prometheus has them sorted by name.
        let mut lists: BTreeMap<&str, Vec<Yaml>> = BTreeMap::new();
        for provider in &self.discovery {
            lists.entry(provider.key()).or_default().extend(provider.print());
        }
        for (key, items) in lists {
            entries.add_list(key, items.into_iter());
        }
        entries.into_map()
    }
}

fn global(global: &GlobalConfig) -> Yaml {
    let mut entries = Entries::default();
    let options = &global.options;
    entries.add("scrape_interval", duration(global.scrape_interval));
    entries.add("scrape_timeout", duration(global.scrape_timeout));
    if let Some(list) = &options.scrape_protocols {
        entries.add_list("scrape_protocols", protocols(list));
    }
    entries.add("evaluation_interval", duration(global.evaluation_interval));
    if !global.rule_query_offset.is_zero() {
        entries.add("rule_query_offset", duration(global.rule_query_offset));
    }
    entries.add_text("query_log_file", &global.query_log_file.to_string_lossy());
    entries.add_text("scrape_failure_log_file", &global.scrape_failure_log_file.to_string_lossy());
    if !global.external_labels.is_empty() {
        entries.add("external_labels", labels(&global.external_labels));
    }
    add_limits(&mut entries, global.limits);
    entries.add_count("keep_dropped_targets", global.limits.keep_dropped_targets);
    let names = options.metric_name_validation_scheme.unwrap_or_default();
    entries.add("metric_name_validation_scheme", Yaml::text(names.name()));
    let escaping = options.metric_name_escaping_scheme.map_or("", EscapingScheme::name);
    entries.add_text("metric_name_escaping_scheme", escaping);
    let flag = |flag: Option<bool>| flag.unwrap_or(false);
    entries.add("scrape_native_histograms", Yaml::raw(flag(options.scrape_native_histograms)));
    entries.add_flag("convert_classic_histograms_to_nhcb", flag(options.convert_classic_histograms_to_nhcb));
    entries.add_flag("always_scrape_classic_histograms", flag(options.always_scrape_classic_histograms));
    entries.add("extra_scrape_metrics", Yaml::raw(flag(options.extra_scrape_metrics)));
    entries.into_map()
}

fn protocols(protocols: &[ScrapeProtocol]) -> impl Iterator<Item = Yaml> {
    protocols.iter().map(|protocol| Yaml::text(protocol.name()))
}

/// All but `keep_dropped_targets`, which Prometheus has further down.
fn add_limits(entries: &mut Entries, limits: ScrapeLimits) {
    entries.add_size("body_size_limit", limits.body_size_limit_bytes);
    entries.add_count("sample_limit", limits.sample_limit);
    entries.add_count("target_limit", limits.target_limit);
    entries.add_count("label_limit", limits.label_limit);
    entries.add_count("label_name_length_limit", limits.label_name_length_limit);
    entries.add_count("label_value_length_limit", limits.label_value_length_limit);
    entries.add_count("series_limit", limits.series_limit);
}

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
