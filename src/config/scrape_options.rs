//! What `global` and a job say about formats, names and histograms: typed values, their checks, who inherits what.
//!
//! After `ScrapeConfig.Validate` and `validateAcceptScrapeProtocols` of Prometheus' `config/config.go` and
//! `model/metric.go` of prometheus/common. Knows no format's syntax and no request.

use std::str::FromStr;

use crate::config::text::fields::{Field, Fields};
use scraped_engine::labels::relabel::NameScheme;

/// A format that a target may be asked for (`config.ScrapeProtocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub enum ScrapeProtocol {
    OpenMetricsText0_0_1,
    OpenMetricsText1_0_0,
    PrometheusProto,
    PrometheusText0_0_4,
    PrometheusText1_0_0,
}

impl ScrapeProtocol {
    /// In order of name, as Prometheus lists them in errors.
    const ALL: [Self; 5] = [
        Self::OpenMetricsText0_0_1,
        Self::OpenMetricsText1_0_0,
        Self::PrometheusProto,
        Self::PrometheusText0_0_4,
        Self::PrometheusText1_0_0,
    ];

    /// As the configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenMetricsText0_0_1 => "OpenMetricsText0.0.1",
            Self::OpenMetricsText1_0_0 => "OpenMetricsText1.0.0",
            Self::PrometheusProto => "PrometheusProto",
            Self::PrometheusText0_0_4 => "PrometheusText0.0.4",
            Self::PrometheusText1_0_0 => "PrometheusText1.0.0",
        }
    }
}

impl FromStr for ScrapeProtocol {
    type Err = String;

    /// The error is Prometheus' sentence.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown scrape protocol {text}, supported: {names}")
        })
    }
}

/// What a target is offered by default, most wanted first (`DefaultScrapeProtocols`).
pub const DEFAULT_SCRAPE_PROTOCOLS: [ScrapeProtocol; 4] = [
    ScrapeProtocol::OpenMetricsText1_0_0,
    ScrapeProtocol::OpenMetricsText0_0_1,
    ScrapeProtocol::PrometheusText1_0_0,
    ScrapeProtocol::PrometheusText0_0_4,
];

/// The same with `scrape_native_histograms` (`DefaultProtoFirstScrapeProtocols`).
pub const PROTO_FIRST_SCRAPE_PROTOCOLS: [ScrapeProtocol; 5] = [
    ScrapeProtocol::PrometheusProto,
    ScrapeProtocol::OpenMetricsText1_0_0,
    ScrapeProtocol::OpenMetricsText0_0_1,
    ScrapeProtocol::PrometheusText1_0_0,
    ScrapeProtocol::PrometheusText0_0_4,
];

/// How a target is asked to spell names that are not of the legacy kind (`metric_name_escaping_scheme`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Prometheus' own")]
pub enum EscapingScheme {
    #[default]
    AllowUtf8,
    Underscores,
    Dots,
    Values,
}

impl EscapingScheme {
    const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    /// As the configuration and the `Accept` header write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// For names of this kind if nothing is said.
    fn suiting(names: NameScheme) -> Self {
        match names {
            NameScheme::Utf8 => Self::AllowUtf8,
            NameScheme::Legacy => Self::Underscores,
        }
    }
}

/// `global` or a job, as typed; `None` is for what was not given.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs, reason = "fields carry Prometheus' names and meaning")]
pub struct TypedScrapeOptions {
    pub scrape_protocols: Option<Vec<ScrapeProtocol>>,
    pub scrape_native_histograms: Option<bool>,
    pub always_scrape_classic_histograms: Option<bool>,
    pub convert_classic_histograms_to_nhcb: Option<bool>,
    pub extra_scrape_metrics: Option<bool>,
    pub metric_name_validation_scheme: Option<NameScheme>,
    pub metric_name_escaping_scheme: Option<EscapingScheme>,
}

/// Limits of `global` or a job; 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields carry Prometheus' names and meaning")]
pub struct ScrapeLimits {
    pub body_size_limit_bytes: u64,
    pub sample_limit: u64,
    pub target_limit: u64,
    pub label_limit: u64,
    pub label_name_length_limit: u64,
    pub label_value_length_limit: u64,
    pub keep_dropped_targets: u64,
    /// Series that a target may have; those over it are left out and the others kept. Ours, `series_limit`.
    pub series_limit: u64,
}

/// Targets that are kept above `target_limit` so that they can be shown as Prometheus shows them.
const SHOWN_ABOVE_LIMIT: usize = 1000;

impl ScrapeLimits {
    /// How many targets are kept at most; more than `target_limit` are not scraped, and only show that they are too many.
    /// `None` without a limit.
    pub fn targets_kept(&self) -> Option<usize> {
        let limit = usize::try_from(self.target_limit).unwrap_or(usize::MAX);
        (limit > 0).then(|| limit.saturating_add(1).max(SHOWN_ABOVE_LIMIT))
    }

    /// Takes the limits of `global` or a job.
    pub(in crate::config) fn read(fields: &mut Fields<'_>) -> Self {
        let mut count = |name| fields.count(name).unwrap_or_default();
        Self {
            sample_limit: count("sample_limit"),
            target_limit: count("target_limit"),
            label_limit: count("label_limit"),
            label_name_length_limit: count("label_name_length_limit"),
            label_value_length_limit: count("label_value_length_limit"),
            keep_dropped_targets: count("keep_dropped_targets"),
            series_limit: count("series_limit"),
            body_size_limit_bytes: fields.size("body_size_limit").unwrap_or_default(),
        }
    }

    /// These limits, and those of `global` where there is none.
    pub(in crate::config) fn or(self, global: Self) -> Self {
        let or = |limit, global| if limit == 0 { global } else { limit };
        Self {
            body_size_limit_bytes: or(self.body_size_limit_bytes, global.body_size_limit_bytes),
            sample_limit: or(self.sample_limit, global.sample_limit),
            target_limit: or(self.target_limit, global.target_limit),
            label_limit: or(self.label_limit, global.label_limit),
            label_name_length_limit: or(self.label_name_length_limit, global.label_name_length_limit),
            label_value_length_limit: or(self.label_value_length_limit, global.label_value_length_limit),
            keep_dropped_targets: or(self.keep_dropped_targets, global.keep_dropped_targets),
            series_limit: or(self.series_limit, global.series_limit),
        }
    }
}

/// The same for a job, with what it inherits.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "fields carry Prometheus' names and meaning")]
pub struct ScrapeOptions {
    /// Most wanted first; not empty.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    pub scrape_native_histograms: bool,
    pub always_scrape_classic_histograms: bool,
    pub convert_classic_histograms_to_nhcb: bool,
    pub extra_scrape_metrics: bool,
    pub metric_name_validation_scheme: NameScheme,
    pub metric_name_escaping_scheme: EscapingScheme,
}

impl Default for ScrapeOptions {
    fn default() -> Self {
        TypedScrapeOptions::default().under(&TypedScrapeOptions::default())
    }
}

impl TypedScrapeOptions {
    /// Prometheus' `DefaultGlobalConfig`.
    pub(in crate::config) fn global() -> Self {
        let escaping = Some(EscapingScheme::AllowUtf8);
        Self { metric_name_escaping_scheme: escaping, ..Self::default() }.completed()
    }

    /// What was typed as `global`, in the form in which it is kept and printed: with the defaults that Prometheus fills
    /// in, without flags that it leaves out when they are false.
    pub(in crate::config) fn completed(mut self) -> Self {
        self.metric_name_validation_scheme.get_or_insert_default();
        self.scrape_native_histograms.get_or_insert(false);
        self.always_scrape_classic_histograms.take_if(|flag| !*flag);
        self.convert_classic_histograms_to_nhcb.take_if(|flag| !*flag);
        self
    }

    /// What is said here, completed by `global` and by Prometheus' defaults.
    fn under(self, global: &Self) -> ScrapeOptions {
        let native = self.scrape_native_histograms.or(global.scrape_native_histograms).unwrap_or(false);
        let default_protocols = || match native {
            true => PROTO_FIRST_SCRAPE_PROTOCOLS.to_vec(),
            false => DEFAULT_SCRAPE_PROTOCOLS.to_vec(),
        };
        let global_names = global.metric_name_validation_scheme.unwrap_or_default();
        let names = self.metric_name_validation_scheme.unwrap_or(global_names);
        // A job with a validation scheme of its own does not inherit how to escape.
        let escaping = self.metric_name_escaping_scheme.or(match self.metric_name_validation_scheme {
            None => global.metric_name_escaping_scheme,
            Some(_) => None,
        });
        ScrapeOptions {
            scrape_protocols: self
                .scrape_protocols
                .or_else(|| global.scrape_protocols.clone())
                .unwrap_or_else(default_protocols),
            scrape_native_histograms: native,
            always_scrape_classic_histograms: self
                .always_scrape_classic_histograms
                .or(global.always_scrape_classic_histograms)
                .unwrap_or(false),
            convert_classic_histograms_to_nhcb: self
                .convert_classic_histograms_to_nhcb
                .or(global.convert_classic_histograms_to_nhcb)
                .unwrap_or(false),
            extra_scrape_metrics: self.extra_scrape_metrics.or(global.extra_scrape_metrics).unwrap_or(false),
            metric_name_validation_scheme: names,
            metric_name_escaping_scheme: escaping.unwrap_or(EscapingScheme::suiting(names)),
        }
    }
}

/// Takes what `global` and a job have in common.
pub(in crate::config) fn read_typed(fields: &mut Fields<'_>) -> TypedScrapeOptions {
    TypedScrapeOptions {
        scrape_protocols: fields.take("scrape_protocols").and_then(|field| read_protocols(&field)),
        scrape_native_histograms: read_flag(fields, "scrape_native_histograms"),
        always_scrape_classic_histograms: read_flag(fields, "always_scrape_classic_histograms"),
        convert_classic_histograms_to_nhcb: read_flag(fields, "convert_classic_histograms_to_nhcb"),
        extra_scrape_metrics: read_flag(fields, "extra_scrape_metrics"),
        metric_name_validation_scheme: fields
            .take("metric_name_validation_scheme")
            .and_then(|field| read_names(&field)),
        metric_name_escaping_scheme: fields
            .take("metric_name_escaping_scheme")
            .and_then(|field| read_escaping(&field)),
    }
}

/// Takes a job's options and completes them; `job` is for mistakes about what the job inherits.
pub(in crate::config) fn read_options(fields: &mut Fields<'_>, global: &TypedScrapeOptions) -> ScrapeOptions {
    let typed = read_typed(fields);
    let is_typed = typed.metric_name_escaping_scheme.is_some();
    let options = typed.under(global);
    if options.metric_name_validation_scheme == NameScheme::Legacy
        && options.metric_name_escaping_scheme == EscapingScheme::AllowUtf8
    {
        let sentence = "utf8 metric names requested but validation scheme is not set to UTF8";
        match fields.get("metric_name_escaping_scheme").filter(|_| is_typed) {
            Some(field) => field.mistake(sentence),
            None => fields.owner().mistake_below("metric_name_escaping_scheme", sentence),
        }
    }
    options
}

/// `fallback_scrape_protocol`; the empty text is for none.
pub(in crate::config) fn read_fallback(field: &Field<'_>) -> Option<ScrapeProtocol> {
    field.text().filter(|text| !text.is_empty()).and_then(|text| read_protocol(field, &text))
}

fn read_flag(fields: &mut Fields<'_>, name: &'static str) -> Option<bool> {
    fields.take(name).filter(|field| !field.is_null())?.bool()
}

fn read_names(field: &Field<'_>) -> Option<NameScheme> {
    match field.text()?.as_str() {
        "" => None,
        "utf8" => Some(NameScheme::Utf8),
        "legacy" => Some(NameScheme::Legacy),
        other => {
            field.mistake(format!("unrecognized ValidationScheme: {other:?}, must be utf8 or legacy"));
            None
        }
    }
}

fn read_escaping(field: &Field<'_>) -> Option<EscapingScheme> {
    let text = field.text().filter(|text| !text.is_empty())?;
    let scheme = EscapingScheme::ALL.into_iter().find(|scheme| scheme.name() == text);
    if scheme.is_none() {
        let names = EscapingScheme::ALL.map(EscapingScheme::name).join(", ");
        field.mistake(format!("unknown name escaping method {text:?}, must be one of {names}"));
    }
    scheme
}

fn read_protocols(field: &Field<'_>) -> Option<Vec<ScrapeProtocol>> {
    if field.is_null() {
        return None;
    }
    let items = field.items();
    if items.is_empty() {
        field.mistake("scrape_protocols cannot be empty");
        return None;
    }
    let mut seen: Vec<String> = Vec::new();
    let mut protocols = Vec::new();
    for item in &items {
        let Some(text) = item.text() else { continue };
        if seen.iter().any(|other| other.eq_ignore_ascii_case(&text)) {
            item.mistake(format!("duplicated protocol in scrape_protocols: {text:?}"));
        } else {
            protocols.extend(read_protocol(item, &text));
        }
        seen.push(text);
    }
    Some(protocols)
}

fn read_protocol(field: &Field<'_>, text: &str) -> Option<ScrapeProtocol> {
    text.parse().map_err(|sentence: String| field.mistake(sentence)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Validation and escaping as typed globally and by the job, and what the job gets.
    fn check(
        global: (Option<NameScheme>, Option<EscapingScheme>),
        job: (Option<NameScheme>, Option<EscapingScheme>),
        want: (NameScheme, EscapingScheme),
    ) {
        let typed = |(names, escaping)| TypedScrapeOptions {
            metric_name_validation_scheme: names,
            metric_name_escaping_scheme: escaping,
            ..TypedScrapeOptions::default()
        };
        let options = typed(job).under(&typed(global));
        let got = (options.metric_name_validation_scheme, options.metric_name_escaping_scheme);
        assert_eq!(got, want, "{global:?} {job:?}");
    }

    #[test]
    fn escaping_follows_the_names() {
        use EscapingScheme::{AllowUtf8, Dots, Underscores, Values};
        use NameScheme::{Legacy, Utf8};
        check((None, None), (None, None), (Utf8, AllowUtf8));
        check((Some(Legacy), None), (None, None), (Legacy, Underscores));
        check((Some(Legacy), None), (Some(Utf8), None), (Utf8, AllowUtf8));
        check((None, Some(Dots)), (None, None), (Utf8, Dots));
        check((None, Some(Dots)), (Some(Legacy), None), (Legacy, Underscores));
        check((None, Some(Dots)), (Some(Legacy), Some(Values)), (Legacy, Values));
        check((None, Some(AllowUtf8)), (Some(Legacy), None), (Legacy, Underscores));
        check((Some(Legacy), Some(AllowUtf8)), (None, None), (Legacy, AllowUtf8));
    }

    #[test]
    fn native_histograms_put_protobuf_first_unless_protocols_are_given() {
        let native =
            || TypedScrapeOptions { scrape_native_histograms: Some(true), ..TypedScrapeOptions::default() };
        let none = TypedScrapeOptions::default;
        assert_eq!(none().under(&none()).scrape_protocols, DEFAULT_SCRAPE_PROTOCOLS);
        assert_eq!(none().under(&native()).scrape_protocols, PROTO_FIRST_SCRAPE_PROTOCOLS);
        assert_eq!(native().under(&none()).scrape_protocols, PROTO_FIRST_SCRAPE_PROTOCOLS);
        let given = TypedScrapeOptions {
            scrape_protocols: Some(vec![ScrapeProtocol::PrometheusText0_0_4]),
            ..native()
        };
        assert_eq!(none().under(&given).scrape_protocols, [ScrapeProtocol::PrometheusText0_0_4]);
    }
}
