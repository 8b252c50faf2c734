//! File paths in a configuration are relative to the file they stand in; patterns match as Go's `filepath.Glob` does.

use scraped_engine::sorting::sort;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// Joins and cleans as Go's `filepath.Join` does; an empty or absolute path stays as it is (prometheus/common `JoinDir`).
pub(in crate::config::text) fn join_dir(dir: &Path, path: &str) -> PathBuf {
    if path.is_empty() || path.starts_with('/') {
        return PathBuf::from(path);
    }
    clean(&dir.join(path))
}

/// How the directory of a unit's credentials is written; systemd says where it is.
const CREDENTIALS: [&str; 2] = ["$CREDENTIALS_DIRECTORY/", "${CREDENTIALS_DIRECTORY}/"];

/// The path of a file with a secret: it may be one of the unit's credentials. No other variable is looked at. The error
/// is a sentence.
pub(in crate::config::text) fn secret_path(dir: &Path, path: &str) -> Result<PathBuf, String> {
    let directory = env::var("CREDENTIALS_DIRECTORY").unwrap_or_default();
    credential_path(dir, path, &directory)
}

fn credential_path(dir: &Path, path: &str, directory: &str) -> Result<PathBuf, String> {
    match CREDENTIALS.iter().find_map(|start| path.strip_prefix(start)) {
        None => Ok(join_dir(dir, path)),
        Some(_) if directory.is_empty() => Err(format!(
            "{path:?} cannot be found: the environment has no CREDENTIALS_DIRECTORY, which systemd sets for a unit with \
             LoadCredential=; add that to the unit, or name the file itself"
        )),
        Some(name) => Ok(join_dir(Path::new(directory), name)),
    }
}

/// Without `.`, doubled slashes and what `..` takes back; `.` if nothing is left.
fn clean(path: &Path) -> PathBuf {
    let text = path.to_string_lossy();
    let rooted = text.starts_with('/');
    let mut elements: Vec<&str> = Vec::new();
    for element in text.split('/') {
        match element {
            "" | "." => {}
            ".." if elements.last().is_some_and(|last| *last != "..") => {
                elements.pop();
            }
            ".." if rooted => {}
            _ => elements.push(element),
        }
    }
    let joined = elements.join("/");
    PathBuf::from(match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    })
}

/// The directory of a file as its text says it: `.` for a bare name.
pub(in crate::config::text) fn dir_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// A pattern that can match nothing: an open bracket or a backslash at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPattern;

/// Paths that match `pattern` (`*`, `?`, `[a-z]`, `\` before any of these), by name in each directory.
///
/// What cannot be listed matches nothing; a path without any of these characters is itself, if it exists.
///
/// # Errors
///
/// A pattern that is wrong in itself.
pub fn glob(pattern: &Path) -> Result<Vec<PathBuf>, BadPattern> {
    let text = pattern.to_string_lossy();
    matches_element(&text, "")?;
    if !has_pattern(&text) {
        return Ok(if pattern.symlink_metadata().is_ok() { vec![pattern.to_owned()] } else { Vec::new() });
    }
    let (dir, name) = match text.rsplit_once('/') {
        None => (String::new(), &*text),
        Some(("", name)) => ("/".to_owned(), name),
        Some((dir, name)) => (dir.to_owned(), name),
    };
    let dirs = if has_pattern(&dir) { glob(Path::new(&dir))? } else { vec![PathBuf::from(&dir)] };
    let mut paths = Vec::new();
    for dir in dirs {
        let listed = if dir.as_os_str().is_empty() { Path::new(".") } else { &dir };
        let Ok(entries) = fs::read_dir(listed) else { continue };
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        sort(&mut names);
        for candidate in names {
            if matches_element(name, &candidate)? {
                paths.push(dir.join(candidate));
            }
        }
    }
    Ok(paths)
}

fn has_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether the name of a file matches one element of a pattern, as Go's `filepath.Match` has it.
///
/// # Errors
///
/// A pattern that is wrong in itself, whether or not the name would have matched up to there.
pub fn matches_element(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let tokens = tokens(pattern)?;
    let name: Vec<char> = name.chars().collect();
    // Where to go on after a mismatch: the last star, and how much of the name it swallowed.
    let (mut token_idx, mut char_idx) = (0, 0);
    let mut resume: Option<(usize, usize)> = None;
    while char_idx < name.len() || token_idx < tokens.len() {
        match (tokens.get(token_idx), name.get(char_idx)) {
            (Some(Token::Star), _) => {
                resume = Some((token_idx, char_idx));
                token_idx += 1;
                continue;
            }
            (Some(Token::One(set)), Some(character)) if set.contains(*character) => {
                token_idx += 1;
                char_idx += 1;
                continue;
            }
            _ => {}
        }
        let Some((star_idx, swallowed)) = resume else { return Ok(false) };
        if swallowed >= name.len() {
            return Ok(false);
        }
        resume = Some((star_idx, swallowed + 1));
        token_idx = star_idx + 1;
        char_idx = swallowed + 1;
    }
    Ok(true)
}

enum Token {
    Star,
    One(Set),
}

enum Set {
    Any,
    Ranges { negated: bool, ranges: Vec<(char, char)> },
}

impl Set {
    fn contains(&self, character: char) -> bool {
        match self {
            Self::Any => true,
            Self::Ranges { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
            }
        }
    }
}

fn tokens(pattern: &str) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        tokens.push(match character {
            '*' => Token::Star,
            '?' => Token::One(Set::Any),
            '[' => {
                let negated = rest.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                while ranges.is_empty() || rest.next_if_eq(&']').is_none() {
                    let low = range_end(&mut rest)?;
                    let high = if rest.next_if_eq(&'-').is_some() { range_end(&mut rest)? } else { low };
                    ranges.push((low, high));
                }
                Token::One(Set::Ranges { negated, ranges })
            }
            '\\' => literal(rest.next().ok_or(BadPattern)?),
            other => literal(other),
        });
    }
    Ok(tokens)
}

fn literal(character: char) -> Token {
    Token::One(Set::Ranges { negated: false, ranges: vec![(character, character)] })
}

fn range_end(rest: &mut impl Iterator<Item = char>) -> Result<char, BadPattern> {
    match rest.next() {
        None | Some('-' | ']') => Err(BadPattern),
        Some('\\') => rest.next().ok_or(BadPattern),
        Some(character) => Ok(character),
    }
}

#[cfg(test)]
mod tests {
    use super::{BadPattern, credential_path, dir_of, glob, join_dir, matches_element};
    use std::path::{Path, PathBuf};

    #[test]
    fn paths_are_joined_as_go_joins_them() {
        let check =
            |dir: &str, path: &str, want: &str| assert_eq!(join_dir(Path::new(dir), path), Path::new(want));
        check("etc", "targets.d/*.yml", "etc/targets.d/*.yml");
        check(".", "a.yml", "a.yml");
        check("etc", "./../x//y.yml", "x/y.yml");
        check("etc", "../../x", "../x");
        check("/", "../x", "/x");
        check("etc", "/abs/../x", "/abs/../x");
        check("etc", "", "");
        check("a", "..", ".");
        assert_eq!(dir_of(Path::new("a.yml")), Path::new("."));
        assert_eq!(dir_of(Path::new("etc/a.yml")), Path::new("etc"));
        assert_eq!(dir_of(Path::new("/a.yml")), Path::new("/"));
    }

    #[test]
    fn credentials_of_the_unit_are_found() {
        let path = |path: &str, directory: &str| credential_path(Path::new("etc"), path, directory);
        for typed in ["$CREDENTIALS_DIRECTORY/token", "${CREDENTIALS_DIRECTORY}/token"] {
            assert_eq!(path(typed, "/run/c"), Ok(PathBuf::from("/run/c/token")));
            let error = path(typed, "").expect_err("not set");
            assert!(error.contains("LoadCredential="), "{error}");
        }
        // Nothing else is a variable.
        for typed in
            ["$HOME/x", "a/$CREDENTIALS_DIRECTORY/x", "$CREDENTIALS_DIRECTORYS/x", "${CREDENTIALS_DIRECTORY"]
        {
            assert_eq!(path(typed, "/run/c"), Ok(Path::new("etc").join(typed)));
        }
    }

    #[test]
    fn elements() {
        let check = |pattern: &str, name: &str, want| {
            assert_eq!(matches_element(pattern, name), want, "{pattern} {name}")
        };
        check("*.yml", "a.yml", Ok(true));
        check("*.yml", ".yml", Ok(true));
        check("*.yml", "a.yaml", Ok(false));
        check("a*b*c", "aXbYbZc", Ok(true));
        check("a*b*c", "aXbYbZ", Ok(false));
        check("a?c", "abc", Ok(true));
        check("?.yml", "é.yml", Ok(true));
        check("?.yml", ".yml", Ok(false));
        check("*.yml", "a.yml.bak", Ok(false));
        check("*a*a*a*a*a*a*a*a*a*b", &"a".repeat(200), Ok(false));
        check("[a-c]x", "bx", Ok(true));
        check("[^a-c]x", "bx", Ok(false));
        check("\\*", "*", Ok(true));
        check("\\*", "a", Ok(false));
        check("*", "", Ok(true));
        check("[", "a", Err(BadPattern));
        check("[]a]", "a", Err(BadPattern));
        check("[a-]", "a", Err(BadPattern));
        check("a\\", "a", Err(BadPattern));
    }

    #[test]
    fn files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", "c.json", "sub/d.yml"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let check = |pattern: &str, want: &[&str]| {
            let want: Vec<PathBuf> = want.iter().map(|name| dir.path().join(name)).collect();
            assert_eq!(glob(&dir.path().join(pattern)), Ok(want), "{pattern}");
        };
        check("*.yml", &["a.yml", "b.yml"]);
        check("c.json", &["c.json"]);
        check("missing.json", &[]);
        check("s*/*.yml", &["sub/d.yml"]);
        check("missing/*.yml", &[]);
        assert_eq!(glob(Path::new("[")), Err(BadPattern));
    }
}
