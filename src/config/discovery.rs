//! `static_configs`, `file_sd_configs`, and what is said about the other `*_sd_configs`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::fields::{Field, Fields};
use crate::config::paths::join_dir;
use crate::config::schema::refuse;
use crate::config::{DiscoveryConfig, FileSdConfig, StaticConfig};
use crate::labels::Labels;

/// Prometheus' `file.DefaultSDConfig`.
const FILE_SD_REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);

const FILE_SD_EXTENSIONS: [&str; 6] = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];

/// Providers that an edge host has a use for; they come with later releases.
const TO_COME: [&str; 7] = [
    "consul_sd_configs",
    "dns_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "http_sd_configs",
    "kubernetes_sd_configs",
    "nomad_sd_configs",
];

/// Providers of Prometheus 3.14 that need a cloud's own API and will not come.
const BRIDGED: [&str; 28] = [
    "aws_sd_configs",
    "azure_sd_configs",
    "digitalocean_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "elasticache_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "ionos_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "rds_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
    "vultr_sd_configs",
];

/// True for the key of a provider that [`read`] has something to say about.
pub(in crate::config) fn is_other_provider(key: &str) -> bool {
    TO_COME.contains(&key) || BRIDGED.contains(&key)
}

/// Whether targets of `static_configs` may be anything, since relabelling makes addresses of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum TargetSpelling {
    /// No relabel rules: a target must be an address.
    Address,
    /// Rules will see to it.
    Anything,
}

/// All providers of one scrape configuration; paths are taken from `dir`.
pub(in crate::config) fn read(
    fields: &mut Fields<'_>,
    spelling: TargetSpelling,
    dir: &Path,
) -> Vec<DiscoveryConfig> {
    let mut providers = Vec::new();
    for item in fields.items("file_sd_configs") {
        providers.extend(read_file_sd(&item, dir).map(DiscoveryConfig::File));
    }
    let mut groups = Vec::new();
    for item in fields.items("static_configs") {
        groups.extend(read_static(&item, spelling));
    }
    if !groups.is_empty() {
        providers.push(DiscoveryConfig::Static(groups));
    }
    for (key, field) in fields.ending_in("_sd_configs") {
        if field.is_empty() {
            continue;
        }
        if TO_COME.contains(&key) {
            refuse(&field);
        } else if BRIDGED.contains(&key) {
            field.mistake(format!("{key} is not supported; bridge with http_sd_configs or file_sd_configs"));
        }
    }
    providers
}

fn read_static(item: &Field<'_>, spelling: TargetSpelling) -> Option<StaticConfig> {
    if item.is_null() {
        item.mistake("empty or null section in static_configs");
        return None;
    }
    let mut fields = item.fields()?;
    let mut targets = Vec::new();
    for target in fields.items("targets") {
        let Some(address) = target.text() else { continue };
        if spelling == TargetSpelling::Address && address.contains('/') {
            target.mistake(format!(
                "{address:?} is not a valid hostname; give host:port, and scheme and metrics_path as fields of the job"
            ));
        }
        targets.push(address);
    }
    let labels = fields.take("labels").map(|field| read_labels(&field)).unwrap_or_default();
    fields.finish(|_| false);
    Some(StaticConfig { targets, labels })
}

/// A mapping of label names to texts; every UTF-8 name but the empty one is good.
pub(in crate::config) fn read_labels(field: &Field<'_>) -> Labels {
    let mut pairs = Vec::new();
    for (name, value) in field.entries() {
        if name.is_empty() {
            value.mistake(format!("{name:?} is not a valid label name"));
        }
        if let Some(text) = value.text() {
            pairs.push((name, text));
        }
    }
    Labels::from_pairs(pairs)
}

fn read_file_sd(item: &Field<'_>, dir: &Path) -> Option<FileSdConfig> {
    if item.is_null() {
        item.mistake("empty or null section in file_sd_configs");
        return None;
    }
    let mut fields = item.fields()?;
    let mut files: Vec<PathBuf> = Vec::new();
    let list = fields.take("files");
    let names = list.as_ref().map(Field::items).unwrap_or_default();
    for name in &names {
        let Some(text) = name.text() else { continue };
        if is_file_sd_path(&text) {
            files.push(join_dir(dir, &text));
        } else {
            name.mistake(format!(
                "path name {text:?} is not valid for file discovery; it must end in .json, .yml or .yaml, and only its last \
                 element may hold a *"
            ));
        }
    }
    if list.is_none_or(|list| list.is_empty()) {
        item.mistake_below("files", "file service discovery config must contain at least one path name");
    }
    let refresh_interval = fields.take("refresh_interval").map_or(Some(FILE_SD_REFRESH_INTERVAL), |field| {
        let interval = field.duration()?;
        if interval.is_zero() {
            field.mistake("refresh_interval must be longer than 0");
            return None;
        }
        Some(interval)
    });
    fields.finish(|_| false);
    Some(FileSdConfig { files, refresh_interval: refresh_interval? })
}

/// Prometheus' `patFileSDName`: one `*`, in the last element, and an extension that tells the format.
fn is_file_sd_path(path: &str) -> bool {
    let Some(extension) = FILE_SD_EXTENSIONS.iter().find(|extension| path.ends_with(**extension)) else {
        return false;
    };
    let stem = &path[..path.len() - extension.len()];
    match stem.split_once('*') {
        None => true,
        Some((_, after)) => !after.contains('/'),
    }
}

#[cfg(test)]
mod tests {
    use super::is_file_sd_path;

    #[test]
    fn file_sd_paths() {
        for path in ["a.json", "/x/*.yml", "foo/bar*baz.yaml", "*.*.JSON", "..json", "**.yml"] {
            assert!(is_file_sd_path(path), "{path}");
        }
        for path in ["a", "a.txt", "a*/b.yml", "", "*", "a.Json"] {
            assert!(!is_file_sd_path(path), "{path}");
        }
    }
}
