//! Paths of `file_sd_configs`: directories as they are, in the last element a pattern as Go's `filepath.Match` has it.
//!
//! Lists and matches names; opens no file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
    if !name_pattern.contains(['*', '?', '[', '\\']) {
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
        if matches(&characters(name_pattern), &characters(name)) {
            // Not joined with the directory as listed: the path is shown as it is written.
            files.push(pattern.with_file_name(name));
        }
    }
    files.sort();
    Ok(files)
}

fn characters(text: &str) -> Vec<char> {
    text.chars().collect()
}

/// `*` any text, `?` one character, `[a-z]` and `[^a-z]` one of a class, `\` takes the next character as it is.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*', rest @ ..] => (0..=name.len()).any(|n_taken| matches(rest, &name[n_taken..])),
        ['?', rest @ ..] => !name.is_empty() && matches(rest, &name[1..]),
        ['[', rest @ ..] => match (class(rest), name) {
            (Some((class, negated, rest)), [c, name @ ..]) => {
                class.iter().any(|(first, last)| (first..=last).contains(&c)) != negated
                    && matches(rest, name)
            }
            _ => false,
        },
        ['\\', literal, rest @ ..] | [literal, rest @ ..] => {
            name.first() == Some(literal) && matches(rest, &name[1..])
        }
    }
}

/// Ranges of a class, whether it is negated, and what follows it; `None` when it is not closed.
#[allow(clippy::type_complexity, reason = "named where it is taken apart")]
fn class(mut rest: &[char]) -> Option<(Vec<(char, char)>, bool, &[char])> {
    let mut negated = false;
    if let ['^', after @ ..] = rest {
        (negated, rest) = (true, after);
    }
    let mut ranges = Vec::new();
    loop {
        match rest {
            [']', after @ ..] if !ranges.is_empty() => return Some((ranges, negated, after)),
            [first, '-', last, after @ ..] if *last != ']' => {
                ranges.push((*first, *last));
                rest = after;
            }
            [single, after @ ..] => {
                ranges.push((*single, *single));
                rest = after;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn check(pattern: &str, name: &str, want: bool) {
        assert_eq!(matches(&characters(pattern), &characters(name)), want, "{pattern} {name}");
    }

    #[test]
    fn names_match_as_in_go() {
        check("*.yml", "a.yml", true);
        check("*.yml", ".yml", true);
        check("*.yml", "a.yml.bak", false);
        check("a*b.yml", "ab.yml", true);
        check("a*b.yml", "a-b-b.yml", true);
        check("?.yml", "é.yml", true);
        check("?.yml", ".yml", false);
        check("[a-c1].yml", "b.yml", true);
        check("[a-c1].yml", "d.yml", false);
        check("[^a-c].yml", "d.yml", true);
        check("[a-c.yml", "b.yml", false);
        check("a\\*.yml", "a*.yml", true);
        check("a\\*.yml", "ab.yml", false);
    }

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
