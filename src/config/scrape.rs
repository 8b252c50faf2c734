//! `global` and the entries of `scrape_configs`: fields read, defaults of `global` handed down, limits compared.
//!
//! After `GlobalConfig.UnmarshalYAML` and `ScrapeConfig.Validate` of Prometheus' `config/config.go`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::discovery::{self, TargetSpelling, is_other_provider, read_labels};
use crate::config::duration::format_duration;
use crate::config::fields::{Field, Fields};
use crate::config::paths::join_dir;
use crate::config::relabel::read_rules;
use crate::config::schema::{SCRAPE_COMMON, SCRAPE_OWN, refuse, refuse_set};
use crate::config::{GlobalConfig, Scheme, ScrapeConfig, http_client};
use crate::labels::Labels;

const DEFAULT_SCRAPE_INTERVAL: Duration = Duration::from_secs(60);
const DEFAULT_SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_EVALUATION_INTERVAL: Duration = Duration::from_secs(60);

/// What Prometheus offers a target unless told otherwise, most wanted first.
pub(in crate::config) const DEFAULT_SCRAPE_PROTOCOLS: [&str; 4] =
    ["OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"];

const SCRAPE_PROTOCOLS: [&str; 5] = [
    "OpenMetricsText0.0.1",
    "OpenMetricsText1.0.0",
    "PrometheusProto",
    "PrometheusText0.0.4",
    "PrometheusText1.0.0",
];

const ESCAPING_SCHEMES: [&str; 4] = ["allow-utf-8", "underscores", "dots", "values"];

impl Default for GlobalConfig {
    /// Prometheus' `DefaultGlobalConfig`.
    fn default() -> Self {
        Self {
            scrape_interval: DEFAULT_SCRAPE_INTERVAL,
            scrape_timeout: DEFAULT_SCRAPE_TIMEOUT,
            evaluation_interval: DEFAULT_EVALUATION_INTERVAL,
            rule_query_offset: Duration::ZERO,
            query_log_file: PathBuf::new(),
            external_labels: Labels::default(),
            body_size_limit_bytes: 0,
            sample_limit: 0,
            keep_dropped_targets: 0,
        }
    }
}

/// `global`, external labels as typed; paths are taken from `dir`.
pub(in crate::config) fn read_global(field: &Field<'_>, dir: &Path) -> GlobalConfig {
    let mut global = GlobalConfig::default();
    let Some(mut fields) = field.fields() else { return global };
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
        global.query_log_file = join_dir(dir, &file.text().unwrap_or_default());
        note_no_effect(&file);
    }
    if let Some(labels) = fields.take("external_labels") {
        global.external_labels = read_labels(&labels);
    }
    global.body_size_limit_bytes = fields.size("body_size_limit").unwrap_or_default();
    global.sample_limit = fields.count("sample_limit").unwrap_or_default();
    global.keep_dropped_targets = fields.count("keep_dropped_targets").unwrap_or_default();
    read_unbuilt_common(&mut fields);
    fields.finish(|_| false);
    global
}

/// For what Prometheus reads and an agent has no use for.
pub(in crate::config) fn note_no_effect(field: &Field<'_>) {
    if !field.is_null() {
        field.mistakes().note(format!("{} has no effect in an agent", field.path()));
    }
}

/// One entry of `scrape_configs`; a mistake anywhere in it is reported, and what could be read goes on to further checks.
pub(in crate::config) fn read_job(
    item: &Field<'_>,
    global: &GlobalConfig,
    dir: &Path,
) -> Option<ScrapeConfig> {
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
    let or_global = |limit: Option<u64>, global: u64| limit.filter(|limit| *limit != 0).unwrap_or(global);
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
        enable_http2: fields.bool("enable_http2").unwrap_or(true),
        body_size_limit_bytes: or_global(fields.size("body_size_limit"), global.body_size_limit_bytes),
        sample_limit: or_global(fields.count("sample_limit"), global.sample_limit),
        keep_dropped_targets: or_global(fields.count("keep_dropped_targets"), global.keep_dropped_targets),
        relabel_configs: relabel
            .map(|field| read_rules(&field, "target relabeling rule in scrape config"))
            .unwrap_or_default(),
        metric_relabel_configs: metric_relabel
            .map(|field| read_rules(&field, "metric relabeling rule in scrape config"))
            .unwrap_or_default(),
        discovery: discovery::read(&mut fields, spelling, dir),
        http_client: Arc::new(http_client::read_client(&mut fields, dir)),
        job_name,
    };
    if let Some(protocol) = fields.take("fallback_scrape_protocol") {
        let text = protocol.text().unwrap_or_default();
        if !text.is_empty() && check_protocol(&protocol, &text) {
            refuse(&protocol);
        }
    }
    read_unbuilt_common(&mut fields);
    refuse_set(&mut fields, &SCRAPE_OWN);
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
    params.sort();
    params
}

/// What `global` and a job have in common and is not built yet.
fn read_unbuilt_common(fields: &mut Fields<'_>) {
    refuse_set(fields, &SCRAPE_COMMON);
    if let Some(protocols) = fields.take("scrape_protocols") {
        check_protocols(&protocols);
    }
    let mut validation = String::new();
    if let Some(field) = fields.take("metric_name_validation_scheme") {
        validation = field.text().unwrap_or_default();
        match validation.as_str() {
            "" | "utf8" => {}
            "legacy" => refuse(&field),
            other => {
                field.mistake(format!("unrecognized ValidationScheme: {other:?}, must be utf8 or legacy"))
            }
        }
    }
    if let Some(field) = fields.take("metric_name_escaping_scheme") {
        match field.text().as_deref() {
            None | Some("") => {}
            Some("allow-utf-8") if validation == "legacy" => {
                field.mistake("utf8 metric names requested but validation scheme is not set to UTF8");
            }
            Some("allow-utf-8") => {}
            Some(other) if ESCAPING_SCHEMES.contains(&other) => refuse(&field),
            Some(other) => {
                field.mistake(format!(
                    "unknown name escaping method {other:?}, must be one of {}",
                    ESCAPING_SCHEMES.join(", ")
                ));
            }
        }
    }
}

fn check_protocols(field: &Field<'_>) {
    if field.is_null() {
        return;
    }
    let items = field.items();
    if items.is_empty() {
        field.mistake("scrape_protocols cannot be empty");
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    let mut all_good = true;
    for item in &items {
        let Some(protocol) = item.text() else {
            all_good = false;
            continue;
        };
        if seen.iter().any(|other| other.eq_ignore_ascii_case(&protocol)) {
            item.mistake(format!("duplicated protocol in scrape_protocols: {protocol:?}"));
            all_good = false;
        } else {
            all_good &= check_protocol(item, &protocol);
        }
        seen.push(protocol);
    }
    if all_good && seen != DEFAULT_SCRAPE_PROTOCOLS {
        refuse(field);
    }
}

fn check_protocol(field: &Field<'_>, protocol: &str) -> bool {
    let known = SCRAPE_PROTOCOLS.contains(&protocol);
    if !known {
        field.mistake(format!(
            "unknown scrape protocol {protocol}, supported: {}",
            SCRAPE_PROTOCOLS.join(", ")
        ));
    }
    known
}
