//! `--enable-feature`: Prometheus' names, each with what it changes here.
//!
//! A name that changes nothing is no mistake, since a command line is moved over as it is; it is said once at the
//! start.

/// What `--enable-feature` switches on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `extra-scrape-metrics`: the default of the setting `extra_scrape_metrics` is true.
    pub extra_scrape_metrics: bool,
    /// `exec-targets`: targets may be commands.
    pub exec_targets: bool,
    /// `auto-reload-config`: as `--config.auto-reload`.
    pub auto_reload_config: bool,
    /// `metadata-wal-records`: metadata goes into the log.
    pub metadata_wal_records: bool,
    /// Sentences about names without effect.
    pub notes: Vec<String>,
}

/// Names that changed what Prometheus now always does.
const ALWAYS_ON: [&str; 4] =
    ["native-histograms", "ooo-native-histograms", "promql-duration-expr", "exemplar-storage"];

/// Names of an agent's features that are not built.
const NOT_BUILT: [&str; 7] = [
    "created-timestamp-zero-ingestion",
    "histograms-st-encoding",
    "otlp-deltatocumulative",
    "otlp-native-delta-ingestion",
    "st-storage",
    "st-synthesis",
    "type-and-unit-labels",
];

/// Names of what only a server has.
const OF_A_SERVER: [&str; 15] = [
    "concurrent-rule-eval",
    "delayed-compaction",
    "fast-startup",
    "memory-snapshot-on-shutdown",
    "old-ui",
    "promql-at-modifier",
    "promql-binop-fill-modifiers",
    "promql-delayed-name-removal",
    "promql-experimental-functions",
    "promql-extended-range-selectors",
    "promql-per-step-stats",
    "search-api",
    "use-start-timestamps",
    "use-uncached-io",
    "xor2-encoding",
];

impl Features {
    /// Reads a list with commas between.
    pub(in crate::flags) fn read(text: &str) -> Self {
        let mut features = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let note = match name {
                "extra-scrape-metrics" => {
                    features.extra_scrape_metrics = true;
                    continue;
                }
                "exec-targets" => {
                    features.exec_targets = true;
                    continue;
                }
                "auto-reload-config" => {
                    features.auto_reload_config = true;
                    continue;
                }
                "metadata-wal-records" => {
                    features.metadata_wal_records = true;
                    continue;
                }
                name if ALWAYS_ON.contains(&name) => "is always on; leave it out",
                name if NOT_BUILT.contains(&name) => "is not built yet and has no effect; leave it out",
                name if OF_A_SERVER.contains(&name) => "has no effect in an agent; leave it out",
                _ => "is unknown and has no effect; leave it out",
            };
            features.notes.push(format!("--enable-feature={name} {note}"));
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_those_without_effect_are_said() {
        let check = |text: &str, want: (bool, bool), want_notes: &[&str]| {
            let features = Features::read(text);
            assert_eq!((features.extra_scrape_metrics, features.metadata_wal_records), want, "{text}");
            assert_eq!(features.notes, want_notes, "{text}");
        };
        check("", (false, false), &[]);
        check("extra-scrape-metrics", (true, false), &[]);
        check("metadata-wal-records, extra-scrape-metrics,", (true, true), &[]);
        check(
            "native-histograms,old-ui,st-storage,no-such",
            (false, false),
            &[
                "--enable-feature=native-histograms is always on; leave it out",
                "--enable-feature=old-ui has no effect in an agent; leave it out",
                "--enable-feature=st-storage is not built yet and has no effect; leave it out",
                "--enable-feature=no-such is unknown and has no effect; leave it out",
            ],
        );
    }
}
