//! Paths of `file_sd_configs`: directories as they are, in the last element a pattern as Go's `filepath.Match` has it.
//!
//! Lists and matches names; opens no file.

use scraped_engine::sorting::sort;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::text::paths::matches_element;

/// Files that `pattern` names now, in order. A directory that is not there has none.
///
/// # Errors
/// The directory is there and cannot be listed.
pub(in crate::discovery) fn matching_files(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(name_pattern) = pattern.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let is_missing =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    if !is_pattern(pattern) {
        return match fs::symlink_metadata(pattern) {
            Ok(_) => Ok(vec![pattern.to_owned()]),
            Err(error) if is_missing(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
    }
    let directory = match pattern.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if matches_element(name_pattern, name) == Ok(true) {
            // Not joined with the directory as listed: the path is shown as it is written.
            files.push(pattern.with_file_name(name));
        }
    }
    sort(&mut files);
    Ok(files)
}

/// Whether the last element may name several files.
pub(in crate::discovery) fn is_pattern(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(['*', '?', '[', '\\']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn listing() {
        let dir = TempDir::new().expect("a directory");
        for name in ["b.yml", "a.yml", "c.json"] {
            fs::write(dir.path().join(name), "").expect("writable");
        }
        let list = |name: &str| matching_files(&dir.path().join(name)).expect("listed");
        assert_eq!(list("*.yml"), [dir.path().join("a.yml"), dir.path().join("b.yml")]);
        assert_eq!(list("c.json"), [dir.path().join("c.json")]);
        assert!(list("d.json").is_empty());
        assert!(list("missing/*.yml").is_empty());
    }
}
