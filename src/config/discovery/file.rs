//! `file_sd_configs` (Prometheus' `discovery/file/file.go`).

use std::path::PathBuf;
use std::time::Duration;

use crate::config::discovery::refresh::refresh_interval;
use crate::config::print::emit::Yaml;
use crate::config::print::entries::{Entries, duration, path_text};
use crate::config::text::fields::Field;

/// Prometheus' `file.DefaultSDConfig`.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5 * 60);

const EXTENSIONS: [&str; 6] = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];

/// One entry of `file_sd_configs`.
#[derive(Clone, Debug, PartialEq)]
pub struct FileSdConfig {
    /// Paths, joined with the configuration file's directory unless absolute; the last element may hold one `*` pattern.
    pub files: Vec<PathBuf>,
    /// Default 5m.
    pub refresh_interval: Duration,
}

pub(in crate::config) fn read(item: &Field<'_>) -> Option<FileSdConfig> {
    let mut fields = item.fields()?;
    let mut files: Vec<PathBuf> = Vec::new();
    let list = fields.take("files");
    let names = list.as_ref().map(Field::items).unwrap_or_default();
    for name in &names {
        let Some(text) = name.text() else { continue };
        if is_file_sd_path(&text) {
            files.push(name.beside(&text));
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
    let refresh_interval = refresh_interval(&mut fields, REFRESH_INTERVAL);
    fields.finish(|_| false);
    Some(FileSdConfig { files, refresh_interval: refresh_interval? })
}

/// Prometheus' `patFileSDName`: one `*`, in the last element, and an extension that says the format.
fn is_file_sd_path(path: &str) -> bool {
    let Some(extension) = EXTENSIONS.iter().find(|extension| path.ends_with(**extension)) else {
        return false;
    };
    let stem = &path[..path.len() - extension.len()];
    match stem.split_once('*') {
        None => true,
        Some((_, after)) => !after.contains('/'),
    }
}

impl FileSdConfig {
    pub(in crate::config) fn print(&self) -> Yaml {
        let mut entries = Entries::default();
        entries.add("files", Yaml::List(self.files.iter().map(|path| path_text(path)).collect()));
        entries.add("refresh_interval", duration(self.refresh_interval));
        entries.into_map()
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
