//! `Config` → YAML: defaults filled in, in the order and style of Prometheus' `/api/v1/status/config`.
//!
//! Field order is that of the structs in Prometheus' `config/config.go`. Sections that mean nothing in an agent
//! (`runtime`, `storage`, `otlp`) are left out.

pub(crate) mod client;
pub(crate) mod emit;
pub(super) mod entries;

use crate::config::print::entries::{Entries, duration, labels, path_text, rule};
use std::collections::BTreeMap;

use crate::config::client::secret_names::shown_value;
use crate::config::print::emit::{Yaml, emit};
use crate::config::scrape_options::{EscapingScheme, ScrapeLimits, ScrapeProtocol};
use crate::config::{Config, GlobalConfig, Scheme, ScrapeConfig};

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
