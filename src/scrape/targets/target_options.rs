//! What a target's own `__…__` labels say about its scrape, beside address, path and times: histograms and its series
//! budget.
//!
//! Follows Prometheus' `scrape/target.go` (3.13). Relabelling may set each of these labels; what cannot be read makes
//! the target drop out.

use crate::config::ScrapeConfig;
use scraped_engine::labels::builder::LabelsBuilder;
use scraped_engine::labels::quote::Quoted;
use std::fmt;

const CONVERT_LABEL: &str = "__convert_classic_histograms_to_nhcb__";
const ALWAYS_LABEL: &str = "__always_scrape_classic_histograms__";
const NATIVE_LABEL: &str = "__scrape_native_histograms__";
const SERIES_LIMIT_LABEL: &str = "__series_limit__";

/// Settings that targets of one job may differ in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "fields carry the names of the settings they override")]
pub struct TargetOptions {
    pub convert_classic_histograms_to_nhcb: bool,
    pub always_scrape_classic_histograms: bool,
    pub scrape_native_histograms: bool,
    /// 0 for none.
    pub series_limit: u64,
}

/// A label that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError {
    what: &'static str,
    /// The function of Go that Prometheus reads it with.
    read_by: &'static str,
    value: String,
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, read_by, value } = self;
        write!(f, "error parsing {what}: strconv.{read_by}: parsing {}: invalid syntax", Quoted(value))
    }
}

impl TargetOptions {
    /// What a job says, for targets that do not say otherwise.
    pub fn of_job(config: &ScrapeConfig) -> Self {
        Self {
            convert_classic_histograms_to_nhcb: config.options.convert_classic_histograms_to_nhcb,
            always_scrape_classic_histograms: config.options.always_scrape_classic_histograms,
            scrape_native_histograms: config.options.scrape_native_histograms,
            series_limit: config.limits.series_limit,
        }
    }

    /// Sets the labels that discovery did not.
    pub fn populate(self, builder: &mut LabelsBuilder) {
        for (name, flag) in [
            (CONVERT_LABEL, self.convert_classic_histograms_to_nhcb),
            (ALWAYS_LABEL, self.always_scrape_classic_histograms),
            (NATIVE_LABEL, self.scrape_native_histograms),
        ] {
            if builder.get(name).is_empty() {
                builder.set(name, if flag { "true" } else { "false" });
            }
        }
        if self.series_limit > 0 && builder.get(SERIES_LIMIT_LABEL).is_empty() {
            builder.set(SERIES_LIMIT_LABEL, &self.series_limit.to_string());
        }
    }

    /// What the labels say after relabelling, and the job where there are none.
    ///
    /// # Errors
    /// One of them cannot be read, in Prometheus' words.
    pub fn read(builder: &LabelsBuilder, config: &ScrapeConfig) -> Result<Self, OptionError> {
        let of_job = Self::of_job(config);
        let flag = |name, what, default| match builder.get(name) {
            "" => Ok(default),
            value => parse_bool(value).ok_or_else(|| OptionError {
                what,
                read_by: "ParseBool",
                value: value.to_owned(),
            }),
        };
        Ok(Self {
            convert_classic_histograms_to_nhcb: flag(
                CONVERT_LABEL,
                "convert classic histograms to nhcb",
                of_job.convert_classic_histograms_to_nhcb,
            )?,
            always_scrape_classic_histograms: flag(
                ALWAYS_LABEL,
                "always scrape classic histograms",
                of_job.always_scrape_classic_histograms,
            )?,
            scrape_native_histograms: flag(
                NATIVE_LABEL,
                "scrape native histograms",
                of_job.scrape_native_histograms,
            )?,
            series_limit: match builder.get(SERIES_LIMIT_LABEL) {
                "" => of_job.series_limit,
                value => value.parse().map_err(|_| OptionError {
                    what: "series limit",
                    read_by: "ParseUint",
                    value: value.to_owned(),
                })?,
            },
        })
    }
}

/// Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
