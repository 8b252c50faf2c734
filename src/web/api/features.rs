//! `/api/v1/features`: what is built and switched on, under the names of Prometheus' registry (`util/features`). Groups that
//! only a server has (queries, rules, templates) are left out.

use crate::web::api::json::success;
use crate::web::serve::http::Response;
use crate::web::state::WebState;
use std::collections::BTreeMap;

/// Sources of targets: each `<name>_sd_configs`, and `static_configs`.
const PROVIDERS: [&str; 10] =
    ["consul", "dns", "docker", "exec", "file", "http", "kubelet", "kubernetes", "mdns", "static"];

/// Answers `/api/v1/features`.
pub(in crate::web) fn features(state: &WebState) -> Response {
    let on = &state.switches;
    success(&BTreeMap::from([
        (
            "api",
            BTreeMap::from([
                ("admin", false),
                ("lifecycle", on.lifecycle),
                ("otlp_write_receiver", false),
                ("remote_write_receiver", false),
                ("search", false),
            ]),
        ),
        (
            "prometheus",
            BTreeMap::from([
                ("agent_mode", true),
                ("auto_reload_config", on.auto_reload),
                ("server_mode", false),
            ]),
        ),
        (
            "scrape",
            BTreeMap::from([
                ("exec_targets", on.exec_targets),
                ("extra_scrape_metrics", on.extra_scrape_metrics),
                ("start_timestamp_zero_ingestion", false),
                ("type_and_unit_labels", false),
            ]),
        ),
        ("service_discovery_providers", PROVIDERS.into_iter().map(|name| (name, true)).collect()),
        (
            "tsdb",
            BTreeMap::from([
                ("exemplar_storage", true),
                ("metadata_wal_records", on.metadata_wal_records),
                ("native_histograms", true),
                ("st_storage", false),
            ]),
        ),
    ]))
}
