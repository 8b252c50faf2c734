//! Whether the files of a configuration have changed: the main one and those of `scrape_config_files`
//! (`config/reload.go`). Reads them whole; a time stamp says little on a box without a clock.

use crate::config::text::document::{Document, read_bounded};
use crate::config::text::node::Value;
use crate::config::text::paths::glob;
use crate::config::text::yaml;
use std::hash::Hasher;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh64::Xxh64;

/// The files as they were when they were last looked at.
#[derive(Debug)]
pub struct ConfigChanges {
    file: PathBuf,
    seen: u64,
}

impl ConfigChanges {
    /// The files as they are now.
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), seen: fingerprint(file) }
    }

    /// Looks at the files: whether they are others than the last time. Called before they are loaded, so that what
    /// changes meanwhile is seen the next time.
    pub fn look(&mut self) -> bool {
        let now = fingerprint(&self.file);
        std::mem::replace(&mut self.seen, now) != now
    }
}

/// Of names and contents. A file that cannot be read is one without content.
fn fingerprint(file: &Path) -> u64 {
    let mut hash = Xxh64::new(0);
    let main = read_bounded(file).unwrap_or_default();
    add(&mut hash, &main);
    for path in more_files(file, &main) {
        add(&mut hash, path.as_os_str().as_encoded_bytes());
        add(&mut hash, &read_bounded(&path).unwrap_or_default());
    }
    hash.finish()
}

fn add(hash: &mut Xxh64, bytes: &[u8]) {
    hash.write_usize(bytes.len());
    hash.write(bytes);
}

/// What the patterns of `scrape_config_files` match now; nothing of a text that is no YAML.
fn more_files(file: &Path, main: &[u8]) -> Vec<PathBuf> {
    let Ok(root) = yaml::text_of(main).and_then(yaml::parse) else { return Vec::new() };
    let Value::Map(entries) = &root.value else { return Vec::new() };
    let patterns = entries.iter().filter(|entry| entry.key == "scrape_config_files");
    let patterns = patterns.filter_map(|entry| match &entry.node.value {
        Value::List(items) => Some(items),
        _ => None,
    });
    let texts = patterns.flatten().filter_map(|item| match &item.value {
        Value::Scalar(scalar) => Some(scalar.text.as_str()),
        _ => None,
    });
    let document = Document::new(file);
    texts.flat_map(|text| glob(&document.join(text)).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::ConfigChanges;
    use std::fs;

    #[test]
    fn each_file_that_a_configuration_names_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
        write("main.yml", "scrape_config_files: ['jobs*.yml']\n");
        let mut changes = ConfigChanges::new(&path("main.yml"));
        assert!(!changes.look());
        write("jobs1.yml", "scrape_configs: []\n");
        assert!(changes.look() && !changes.look());
        write("jobs1.yml", "scrape_configs: [ ]\n");
        assert!(changes.look() && !changes.look());
        fs::rename(path("jobs1.yml"), path("jobs2.yml")).unwrap();
        assert!(changes.look() && !changes.look());
        write("other.yml", "");
        assert!(!changes.look());
        // Broken, and mended: both are news.
        write("main.yml", "scrape_config_files: ['jobs*.yml'\n");
        assert!(changes.look() && !changes.look());
        fs::remove_file(path("main.yml")).unwrap();
        assert!(changes.look() && !changes.look());
    }
}
