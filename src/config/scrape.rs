//! `global` and the entries of `scrape_configs`: fields read, defaults of `global` handed down, limits compared.
//!
//! After `GlobalConfig.UnmarshalYAML` and `ScrapeConfig.Validate` of Prometheus' `config/config.go`.

use crate::config::text::fields::note_no_effect;
use scraped_engine::sorting::sort;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::client::http_client;
use crate::config::discovery;
use crate::config::discovery::bridged::is_other_provider;
use crate::config::discovery::target_labels::{TargetSpelling, read_labels};
use crate::config::relabel::read_rules;
use crate::config::scrape_options::{
    ScrapeLimits, TypedScrapeOptions, read_fallback, read_options, read_typed,
};
use crate::config::text::fields::{Field, Fields};
use crate::config::{GlobalConfig, Scheme, ScrapeConfig};
use crate::duration::format_duration;
use scraped_engine::labels::relabel::NameScheme;
use scraped_engine::labels::{Labels, is_legacy_label_name};

const DEFAULT_SCRAPE_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_EVALUATION_INTERVAL: Duration = Duration::from_secs(60);

impl Default for GlobalConfig {
    /// Prometheus' `DefaultGlobalConfig`.
    fn default() -> Self {
        Self {
            scrape_interval: DEFAULT_SCRAPE_INTERVAL,
            scrape_timeout: DEFAULT_SCRAPE_TIMEOUT,
            exec_targets: false,
            local_target_dirs: Arc::default(),
            evaluation_interval: DEFAULT_EVALUATION_INTERVAL,
            rule_query_offset: Duration::ZERO,
            query_log_file: PathBuf::new(),
            external_labels: Labels::default(),
            limits: ScrapeLimits::default(),
            options: TypedScrapeOptions::global(),
            scrape_failure_log_file: PathBuf::new(),
        }
    }
}

/// `global`, external labels as typed.
pub(in crate::config) fn read_global(field: &Field<'_>) -> GlobalConfig {
    let mut global = GlobalConfig::default();
    let Some(mut fields) = field.fields() else { return global };
    let mut external_labels = None;
    let (interval, timeout) = read_interval_and_timeout(
        &mut fields,
        (DEFAULT_SCRAPE_INTERVAL, DEFAULT_SCRAPE_TIMEOUT),
        "global scrape timeout greater than scrape interval",
    );
    global.scrape_interval = interval;
    global.scrape_timeout = timeout;
    if let Some(evaluation) = fields.take("evaluation_interval") {
        let interval = evaluation.duration().unwrap_or_default();
        note_no_effect(&evaluation);
        if !interval.is_zero() {
            global.evaluation_interval = interval;
        }
    }
    if let Some(offset) = fields.take("rule_query_offset") {
        global.rule_query_offset = offset.duration().unwrap_or_default();
        note_no_effect(&offset);
    }
    if let Some(file) = fields.take("query_log_file") {
        global.query_log_file = file.file().unwrap_or_default();
        note_no_effect(&file);
    }
    if let Some(labels) = fields.take("external_labels") {
        global.external_labels = read_labels(&labels);
        external_labels = Some(labels);
    }
    global.limits = ScrapeLimits::read(&mut fields);
    global.options = read_typed(&mut fields).completed();
    global.scrape_failure_log_file = fields.file("scrape_failure_log_file").unwrap_or_default();
    fields.finish(|_| false);
    if let Some(labels) = external_labels
        && global.options.metric_name_validation_scheme == Some(NameScheme::Legacy)
    {
        for (name, field) in
            labels.children().filter(|(name, _)| !name.is_empty() && !is_legacy_label_name(name))
        {
            field.mistake(format!("{name:?} is not a valid label name"));
        }
    }
    global
}

/// One entry of `scrape_configs`; a mistake anywhere in it is reported, and what could be read goes on to further checks.
pub(in crate::config) fn read_job(item: &Field<'_>, global: &GlobalConfig) -> Option<ScrapeConfig> {
    if item.is_null() {
        item.mistake("empty or null scrape config section");
        return None;
    }
    let mut fields = item.fields()?;
    let job_name = match fields.take("job_name") {
        Some(field) if !field.is_null() => field.text()?,
        _ => String::new(),
    };
    if job_name.is_empty() {
        item.mistake_below("job_name", "job_name is empty");
    }
    let (scrape_interval, scrape_timeout) = read_interval_and_timeout(
        &mut fields,
        (global.scrape_interval, global.scrape_timeout),
        &format!("scrape timeout greater than scrape interval for scrape config with job name {job_name:?}"),
    );
    let relabel = fields.take("relabel_configs");
    let metric_relabel = fields.take("metric_relabel_configs");
    let spelling = match relabel.as_ref().is_some_and(|field| !field.items().is_empty()) {
        true => TargetSpelling::Anything,
        false => TargetSpelling::Address,
    };
    let options = read_options(&mut fields, &global.options);
    let names = options.metric_name_validation_scheme;
    let log_file = fields.file("scrape_failure_log_file").filter(|file| !file.as_os_str().is_empty());
    let config = ScrapeConfig {
        scrape_interval,
        scrape_timeout,
        metrics_path: fields.text("metrics_path").unwrap_or_else(|| "/metrics".to_owned()),
        scheme: fields.take("scheme").map_or(Scheme::Http, |field| read_scheme(&field)),
        params: fields.take("params").map(|field| read_params(&field)).unwrap_or_default(),
        honor_labels: fields.bool("honor_labels").unwrap_or(false),
        honor_timestamps: fields.bool("honor_timestamps").unwrap_or(true),
        track_timestamps_staleness: fields.bool("track_timestamps_staleness").unwrap_or(false),
        enable_compression: fields.bool("enable_compression").unwrap_or(true),
        exec_targets: global.exec_targets,
        local_target_dirs: Arc::clone(&global.local_target_dirs),
        enable_http2: fields.bool("enable_http2").unwrap_or(true),
        limits: ScrapeLimits::read(&mut fields).or(global.limits),
        options,
        fallback_scrape_protocol: fields
            .take("fallback_scrape_protocol")
            .and_then(|field| read_fallback(&field)),
        native_histogram_bucket_limit: fields.count("native_histogram_bucket_limit").unwrap_or_default(),
        native_histogram_min_bucket_factor: fields
            .take("native_histogram_min_bucket_factor")
            .and_then(|field| field.float())
            .unwrap_or_default(),
        scrape_failure_log_file: log_file.unwrap_or_else(|| global.scrape_failure_log_file.clone()),
        relabel_configs: relabel
            .map(|field| read_rules(&field, "target relabeling rule in scrape config", names))
            .unwrap_or_default(),
        metric_relabel_configs: metric_relabel
            .map(|field| read_rules(&field, "metric relabeling rule in scrape config", names))
            .unwrap_or_default(),
        discovery: discovery::read(&mut fields, spelling),
        http_client: Arc::new(http_client::read_client(&mut fields)),
        job_name,
    };
    fields.finish(is_other_provider);
    Some(config)
}

/// The pair, where 0 means not given: an interval shorter than the inherited timeout shortens that.
fn read_interval_and_timeout(
    fields: &mut Fields<'_>,
    inherited: (Duration, Duration),
    too_long: &str,
) -> (Duration, Duration) {
    let interval_field = fields.take("scrape_interval");
    let timeout_field = fields.take("scrape_timeout");
    let read = |field: &Option<Field<'_>>| field.as_ref().and_then(Field::duration).unwrap_or_default();
    let typed_interval = read(&interval_field);
    let timeout = read(&timeout_field);
    let interval = if typed_interval.is_zero() { inherited.0 } else { typed_interval };
    if let Some(field) = timeout_field.filter(|_| timeout > interval) {
        field.mistake(format!(
            "{too_long} (scrape_timeout: {}, scrape_interval: {})",
            format_duration(timeout),
            format_duration(interval)
        ));
    }
    (interval, if timeout.is_zero() { inherited.1.min(interval) } else { timeout })
}

fn read_scheme(field: &Field<'_>) -> Scheme {
    match field.text().as_deref() {
        Some("http") | None => Scheme::Http,
        Some("https") => Scheme::Https,
        Some(other) => {
            field.mistake(format!("scheme {other:?} is neither http nor https"));
            Scheme::Http
        }
    }
}

fn read_params(field: &Field<'_>) -> Vec<(String, Vec<String>)> {
    let mut params: Vec<(String, Vec<String>)> =
        field.entries().into_iter().map(|(name, values)| (name.to_owned(), values.texts())).collect();
    sort(&mut params);
    params
}
