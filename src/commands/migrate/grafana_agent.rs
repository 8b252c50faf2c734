//! Grafana Agent in static mode: `metrics` (older: `prometheus`) with its instances; jobs and endpoints are Prometheus'.

use crate::commands::migrate::draft::Draft;
use crate::commands::migrate::tree::{as_text, entries, get, into_items, is_true, map, put, take, text_at};
use crate::commands::migrate::{MigrateError, Source};
use crate::config::text::node::Node;
use crate::config::text::yaml;

/// Sections that do something else than metrics.
const OTHER_SECTIONS: [(&str, &str); 3] = [
    ("logs", "logs are not collected here; keep an agent for them"),
    ("loki", "logs are not collected here; keep an agent for them"),
    ("traces", "traces are not collected here; keep an agent for them"),
];

/// Adds one file.
pub(in crate::commands::migrate) fn add(source: &Source<'_>, draft: &mut Draft) -> Result<(), MigrateError> {
    let mut root = yaml::parse(&source.text).map_err(|cause| source.not_theirs(cause))?;
    let metrics = take(&mut root, "metrics").or_else(|| take(&mut root, "prometheus"));
    let integrations = take(&mut root, "integrations");
    if metrics.is_none() && integrations.is_none() {
        return Err(source.not_theirs("neither metrics nor integrations stand there, as in static mode"));
    }
    let mut metrics = metrics.unwrap_or_else(|| map([]));
    let mut global = take(&mut metrics, "global").unwrap_or_else(|| map([]));
    let common = take(&mut global, "remote_write").map(into_items).unwrap_or_default();
    for (key, value) in entries(&global) {
        put(&mut draft.global, key, value.clone());
    }
    let instances = take(&mut metrics, "configs").map(into_items).unwrap_or_default();
    let n_instances = instances.len();
    for mut instance in instances {
        let name = text_at(&instance, "name").unwrap_or("default").to_owned();
        let own = take(&mut instance, "remote_write").map(into_items).unwrap_or_default();
        if n_instances > 1 && !own.is_empty() {
            draft.remark(format!(
                "instance {name} has endpoints of its own: here each endpoint gets all jobs, unless its \
                 write_relabel_configs keep some"
            ));
        }
        let all = if own.is_empty() { common.clone() } else { own };
        all.into_iter().for_each(|endpoint| draft.add_endpoint(endpoint));
        if is_true(&instance, "host_filter") {
            draft.remark(format!(
                "instance {name}: host_filter: each job says by its own rules what runs on this host"
            ));
        }
        for job in take(&mut instance, "scrape_configs").map(into_items).unwrap_or_default() {
            draft.add_job(job);
        }
    }
    if n_instances == 0 {
        common.into_iter().for_each(|endpoint| draft.add_endpoint(endpoint));
    }
    if get(&metrics, "wal_directory").is_some() {
        draft.remark("metrics.wal_directory: use --storage.agent.path; the old log is not read");
    }
    if let Some(integrations) = &integrations {
        add_integrations(integrations, draft);
    }
    for (section, sentence) in OTHER_SECTIONS {
        if get(&root, section).is_some() {
            draft.remark(format!("{section}: {sentence}"));
        }
    }
    if get(&root, "server").is_some() {
        draft.remark("server: use --web.listen-address, --web.config.file and --log.level");
    }
    if source.text.contains("${") {
        draft.remark("${VARIABLE}: only values of external_labels are filled in from the environment; secrets may stand in files");
    }
    Ok(())
}

fn add_integrations(integrations: &Node, draft: &mut Draft) {
    for endpoint in get(integrations, "prometheus_remote_write").cloned().map(into_items).unwrap_or_default()
    {
        draft.add_endpoint(endpoint);
    }
    for (name, settings) in entries(integrations) {
        let is_off = text_at(settings, "enabled") == Some("false");
        if is_off
            || ["prometheus_remote_write", "metrics", "agent"].contains(&name)
            || as_text(settings).is_some()
        {
            continue;
        }
        let exporter = match name {
            "node_exporter" | "unix" => "run node_exporter and scrape 127.0.0.1:9100".to_owned(),
            "cadvisor" => "run cadvisor and scrape 127.0.0.1:8080".to_owned(),
            _ => format!(
                "run its exporter ({}) beside scraped and scrape it",
                name.trim_end_matches("_configs")
            ),
        };
        draft.remark(format!("integrations.{name}: no exporter is built in; {exporter}"));
    }
}
