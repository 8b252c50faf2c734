//! Whole files: the main one with its sections, those of `scrape_config_files`, and the environment in external labels.
//!
//! After `Load`, `LoadFile` (agent mode) and `GetScrapeConfigs` of Prometheus' `config/config.go`.

use scraped_engine::sorting::sort_by_key;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::client::http_client::{HttpClientConfig, read_client};
use crate::config::error::{ConfigError, ConfigErrors};
use crate::config::relabel::read_rules;
use crate::config::remote_write;
use crate::config::remote_write::RemoteWriteConfig;
use crate::config::scrape::{read_global, read_job};
use crate::config::sections::read_other_sections;
use crate::config::text::document::{Document, read_bounded};
use crate::config::text::fields::{Field, Fields};
use crate::config::text::locate::line_of;
use crate::config::text::node::YamlError;
use crate::config::text::paths::glob;
use crate::config::text::yaml;
use crate::config::{Config, FeatureDefaults, GlobalConfig, ScrapeConfig};
use scraped_engine::labels::Labels;
use scraped_engine::labels::relabel::{NameScheme, RelabelRule};

/// Finding the line of a value that the parser keeps none of reads the file once more; after this many we stop looking.
const MAX_LOCATED: usize = 50;

/// Reads, checks and completes the configuration in `path`; `env` answers for `${VAR}`.
pub(in crate::config) fn load(
    path: &Path,
    defaults: FeatureDefaults,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let mut mistakes = Vec::new();
    let mut notes = Vec::new();
    let main = read_document(path, &mut mistakes, &mut notes, |root| read_main(root, defaults, env))
        .unwrap_or_default();
    let mut jobs = Vec::new();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for (job, _) in main.jobs {
        found.insert(job.job_name.clone(), "main config file".to_owned());
        jobs.push(Arc::new(job));
    }
    let n_main_file_jobs = jobs.len();
    for file in &main.more_files {
        let global = &main.global;
        let more = read_document(file, &mut mistakes, &mut notes, |root| read_more(root, global, &found));
        for (job, _) in more.unwrap_or_default() {
            found.insert(job.job_name.clone(), format!("{:?}", file.display().to_string()));
            jobs.push(Arc::new(job));
        }
    }
    if !mistakes.is_empty() {
        return Err(ConfigErrors { mistakes });
    }
    Ok(Config {
        global: main.global,
        scrape_configs: jobs,
        n_main_file_jobs,
        remote_write: main.remote_write,
        scrape_config_files: main.scrape_config_files,
        notes,
    })
}

/// What is wrong with the text of a main file, without a look at the files that it names.
pub(in crate::config) fn mistakes_of(text: &str) -> Vec<ConfigError> {
    let (mut mistakes, mut notes) = (Vec::new(), Vec::new());
    let read = |root: &Field<'_>| read_main(root, FeatureDefaults::default(), &|_| None);
    parse_document(Path::new(""), text.as_bytes(), &mut mistakes, &mut notes, read);
    mistakes
}

/// Reads a file that is a list of relabel rules and nothing else.
pub(in crate::config) fn load_rules(path: &Path) -> Result<Vec<RelabelRule>, ConfigErrors> {
    let (mut mistakes, mut notes) = (Vec::new(), Vec::new());
    let read = |root: &Field<'_>| read_rules(root, "relabel config", NameScheme::default());
    let rules = read_document(path, &mut mistakes, &mut notes, read).unwrap_or_default();
    if mistakes.is_empty() { Ok(rules) } else { Err(ConfigErrors { mistakes }) }
}

/// Reads a file with the settings of one client and nothing else.
pub(in crate::config) fn load_http_client(path: &Path) -> Result<HttpClientConfig, ConfigErrors> {
    let (mut mistakes, mut notes) = (Vec::new(), Vec::new());
    let read = |root: &Field<'_>| {
        let Some(mut fields) = root.fields() else { return HttpClientConfig::default() };
        let client = read_client(&mut fields);
        // Requests are HTTP/1.1 either way.
        let _ = fields.bool("enable_http2");
        fields.finish(|_| false);
        client
    };
    let client = read_document(path, &mut mistakes, &mut notes, read).unwrap_or_default();
    if mistakes.is_empty() { Ok(client) } else { Err(ConfigErrors { mistakes }) }
}

/// What the main file says.
#[derive(Default)]
struct Main {
    global: GlobalConfig,
    /// With the lines of their names.
    jobs: Vec<(ScrapeConfig, u32)>,
    remote_write: Vec<Arc<RemoteWriteConfig>>,
    scrape_config_files: Vec<PathBuf>,
    /// What these patterns match.
    more_files: Vec<PathBuf>,
}

/// Reads one file; every mistake gets its line and is added to `mistakes`.
fn read_document<T>(
    path: &Path,
    mistakes: &mut Vec<ConfigError>,
    notes: &mut Vec<String>,
    read: impl FnOnce(&Field<'_>) -> T,
) -> Option<T> {
    match read_bounded(path) {
        Ok(bytes) => parse_document(path, &bytes, mistakes, notes, read),
        Err(error) => {
            let document = Document::new(path);
            document.mistakes().add(0, "", format!("cannot read it: {error}"));
            mistakes.extend(document.into_parts().0);
            None
        }
    }
}

/// Reads the content of one file, as [`read_document`].
pub(in crate::config) fn parse_document<T>(
    path: &Path,
    bytes: &[u8],
    mistakes: &mut Vec<ConfigError>,
    notes: &mut Vec<String>,
    read: impl FnOnce(&Field<'_>) -> T,
) -> Option<T> {
    let document = Document::new(path);
    let parsed: Result<_, YamlError> = yaml::text_of(bytes).and_then(|text| Ok((text, yaml::parse(text)?)));
    match parsed {
        Err(error) => {
            document.mistakes().add(error.line, "", error.sentence);
            mistakes.extend(document.into_parts().0);
            None
        }
        Ok((text, node)) => {
            let value = read(&Field::root(&node, &document));
            let (mut list, mut new_notes) = document.into_parts();
            for mistake in list.iter_mut().filter(|mistake| mistake.line == 0).take(MAX_LOCATED) {
                mistake.line = locate(text, &mistake.key);
            }
            sort_by_key(&mut list, |mistake| mistake.line);
            mistakes.extend(list);
            new_notes.retain(|note| !notes.contains(note));
            notes.extend(new_notes);
            Some(value)
        }
    }
}

/// The line of `key`, or of the nearest thing around it.
fn locate(text: &str, key: &str) -> u32 {
    let mut key = key;
    loop {
        if let Some(line) = line_of(text, key) {
            return line;
        }
        match key.rfind(['.', '[']) {
            Some(end) => key = &key[..end],
            None => return 0,
        }
    }
}

fn read_main(root: &Field<'_>, defaults: FeatureDefaults, env: &dyn Fn(&str) -> Option<String>) -> Main {
    let Some(mut fields) = root.fields() else { return Main::default() };
    let mut main = Main::default();
    let global = fields.take("global");
    if let Some(field) = &global {
        main.global = read_global(field);
        main.global.external_labels = expand_labels(&main.global.external_labels, env, field);
    }
    main.global.exec_targets = defaults.exec_targets;
    main.global.local_target_dirs = Arc::clone(&defaults.local_target_dirs);
    main.global.options.extra_scrape_metrics.get_or_insert(defaults.extra_scrape_metrics);
    main.jobs = read_jobs(&mut fields, &main.global, &BTreeMap::new());
    for item in fields.items("scrape_config_files") {
        let Some(text) = item.text() else { continue };
        if text.split_once('*').is_some_and(|(_, after)| after.contains('/')) {
            item.mistake(format!(
                "invalid scrape config file path {text:?}; only its last element may hold a *"
            ));
            continue;
        }
        let pattern = item.beside(&text);
        match glob(&pattern) {
            Err(_) => item.mistake(format!(
                "error retrieving scrape config files for {text:?}: syntax error in pattern"
            )),
            Ok(files) => {
                if files.is_empty() {
                    item.note(format!("scrape_config_files: no file matches {}", pattern.display()));
                }
                main.more_files.extend(files);
            }
        }
        main.scrape_config_files.push(pattern);
    }
    if let Some(field) = fields.take("remote_write") {
        let names = main.global.options.metric_name_validation_scheme.unwrap_or_default();
        main.remote_write = remote_write::read(&field, names).into_iter().map(Arc::new).collect();
    }
    let names = main.global.options.metric_name_validation_scheme.unwrap_or_default();
    read_other_sections(&mut fields, names);
    fields.finish(|_| false);
    main
}

/// A file that only holds `scrape_configs`; `found` says where the jobs so far are from.
fn read_more(
    root: &Field<'_>,
    global: &GlobalConfig,
    found: &BTreeMap<String, String>,
) -> Vec<(ScrapeConfig, u32)> {
    let Some(mut fields) = root.fields() else { return Vec::new() };
    let jobs = read_jobs(&mut fields, global, found);
    fields.finish(|_| false);
    jobs
}

fn read_jobs(
    fields: &mut Fields<'_>,
    global: &GlobalConfig,
    found: &BTreeMap<String, String>,
) -> Vec<(ScrapeConfig, u32)> {
    let mut jobs: Vec<(ScrapeConfig, u32)> = Vec::new();
    for item in fields.items("scrape_configs") {
        let Some(job) = read_job(&item, global) else { continue };
        let name = &job.job_name;
        let name_field = item.get("job_name");
        let line = name_field.as_ref().map_or(item.line(), Field::line);
        let first = match found.get(name) {
            Some(place) => Some(format!("first found in {place}")),
            None => {
                let same = jobs.iter().find(|(other, _)| other.job_name == *name);
                same.map(|(_, line)| format!("first found on line {line}"))
            }
        };
        if let (Some(first), Some(name_field)) = (first, name_field.filter(Field::is_given)) {
            name_field.mistake(format!("found multiple scrape configs with job name {name:?}, {first}"));
        }
        jobs.push((job, line));
    }
    jobs
}

fn expand_labels(labels: &Labels, env: &dyn Fn(&str) -> Option<String>, field: &Field<'_>) -> Labels {
    let expand = |(name, value): (&str, &str)| {
        let lookup = |variable: &str| {
            let value = env(variable).unwrap_or_default();
            if value.is_empty() {
                field.note(format!(
                    "external_labels.{name}: environment variable {variable} is empty or not set"
                ));
            }
            value
        };
        (name.to_owned(), expand_variables(value, lookup))
    };
    Labels::from_pairs(labels.iter().map(expand))
}

/// Go's `os.Expand`: `$name`, `${name}`, `$$` for a dollar sign; `${` without an end and `${}` vanish.
fn expand_variables(text: &str, lookup: impl Fn(&str) -> String) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, used) = variable_name(after);
        match name {
            "" if used == 0 => expanded.push('$'),
            "" => {}
            "$" => expanded.push('$'),
            name => expanded.push_str(&lookup(name)),
        }
        rest = &after[used..];
    }
    expanded.push_str(rest);
    expanded
}

/// The variable's name after a dollar sign, and how many bytes it takes up.
fn variable_name(text: &str) -> (&str, usize) {
    let is_special = |byte: u8| matches!(byte, b'*' | b'#' | b'$' | b'@' | b'!' | b'?' | b'-' | b'0'..=b'9');
    match text.as_bytes() {
        [b'{', ..] => match text.find('}') {
            None => ("", 1),
            Some(end) => (&text[1..end], end + 1),
        },
        [first, ..] if is_special(*first) => (&text[..1], 1),
        bytes => {
            let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let len = bytes.iter().position(|byte| !is_name(byte)).unwrap_or(bytes.len());
            (&text[..len], len)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::expand_variables;

    #[test]
    fn variables_are_expanded_as_go_expands_them() {
        let env = |name: &str| if name == "HOST" { "box".to_owned() } else { format!("<{name}>") };
        let check = |text: &str, want: &str| assert_eq!(expand_variables(text, env), want, "{text}");
        check("a", "a");
        check("$HOST", "box");
        check("x${HOST}y", "xboxy");
        check("$HOST-$HOST.$", "box-box.$");
        check("$$HOST", "$HOST");
        check("$$$HOST", "$box");
        check("${}", "");
        check("${HOST", "HOST");
        check("$1x", "<1>x");
        check("$ x", "$ x");
        check("${a b}", "<a b>");
        check("é$HOSTé", "éboxé");
        check("${é}", "<é>");
        check("$é", "$é");
    }
}
