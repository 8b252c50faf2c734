//! The shared files of Amazon's tools, `~/.aws/config` and `~/.aws/credentials`: profiles with their settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// Settings of a profile by name, in lower case.
pub(in crate::http::auth::aws) type Profile = BTreeMap<String, String>;

/// The profile `name` of both files; that of the credentials goes before. `None`: no file has it.
///
/// # Errors
/// A sentence: a file that is there cannot be read.
pub(in crate::http::auth::aws) fn profile(
    name: &str,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Option<Profile>, String> {
    let mut found: Option<Profile> = None;
    let files = [("AWS_CONFIG_FILE", "config", true), ("AWS_SHARED_CREDENTIALS_FILE", "credentials", false)];
    for (variable, file, has_prefix) in files {
        let home = || env("HOME").map(|home| PathBuf::from(home).join(".aws").join(file));
        let Some(path) = env(variable).map(PathBuf::from).or_else(home) else { continue };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("unable to read {}: {error}", path.display())),
        };
        if let Some(section) = section_of(&text, name, has_prefix) {
            found.get_or_insert_default().extend(section);
        }
    }
    Ok(found)
}

/// Sections of a `config` begin with `profile `, but for the default one.
fn section_of(text: &str, name: &str, has_prefix: bool) -> Option<Profile> {
    let mut section: Option<Profile> = None;
    let mut is_in = false;
    for line in text.lines() {
        // What is indented belongs to the setting before.
        let is_plain = !line.starts_with([' ', '\t', '#', ';']);
        let line = line.trim();
        if let Some(title) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let title = title.trim();
            let bare = title.strip_prefix("profile ").map(str::trim).filter(|_| has_prefix);
            is_in = bare.unwrap_or(title) == name && (!has_prefix || bare.is_some() || name == "default");
            if is_in {
                section.get_or_insert_default();
            }
        } else if let (true, true, Some((key, value))) = (is_in, is_plain, line.split_once('=')) {
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().to_owned());
            section.get_or_insert_default().insert(key, value);
        }
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_of_both_files() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join(".aws")).expect("writable");
        let write =
            |name: &str, text: &str| fs::write(dir.path().join(".aws").join(name), text).expect("writable");
        write(
            "config",
            "[default]\nregion = eu-west-1\n# no\n[profile edge]\nRegion=eu-north-1\ns3 =\n  region = x\n\
             role_arn = arn\n[edge]\nregion = wrong\n",
        );
        write(
            "credentials",
            "[default]\naws_access_key_id = a\naws_secret_access_key = b=/+\n[edge]\nrole_arn=other\n[only]\nx=y",
        );
        let home = dir.path().display().to_string();
        let env = |name: &str| (name == "HOME").then(|| home.clone());
        let get = |name: &str| profile(name, env).expect("readable");
        let default = get("default").expect("a profile");
        assert_eq!(
            (default["region"].as_str(), default["aws_secret_access_key"].as_str()),
            ("eu-west-1", "b=/+")
        );
        let edge = get("edge").expect("a profile");
        assert_eq!((edge["region"].as_str(), edge["role_arn"].as_str()), ("eu-north-1", "other"));
        assert_eq!(get("only").expect("a profile").len(), 1);
        assert_eq!(get("none"), None);
        let error = profile("x", |name| (name == "AWS_CONFIG_FILE").then(|| "/".to_owned()))
            .expect_err("a directory");
        assert!(error.starts_with("unable to read /: "), "{error}");
    }
}
