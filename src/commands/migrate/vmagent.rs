//! vmagent: a command line (a unit, a script, a compose file, a file of flags) with its `-remoteWrite.*`, or a file for
//! `-promscrape.config`.

use std::fs;
use std::path::PathBuf;

use crate::commands::migrate::draft::Draft;
use crate::commands::migrate::tree::{
    as_text, each, entries, get, into_items, is_true, list, map, plain, put, put_at, take, text, text_at,
    texts, texts_of,
};
use crate::commands::migrate::{MigrateError, Source};
use crate::config::text::node::{Node, Value};
use crate::config::text::yaml;
use crate::flags::foreign_sentence;

/// Adds one file.
pub(in crate::commands::migrate) fn add(source: &Source<'_>, draft: &mut Draft) -> Result<(), MigrateError> {
    let flags = flags_of(&source.text);
    match flags.iter().any(|(name, _)| name.starts_with("remoteWrite.") || name.starts_with("promscrape.")) {
        true => add_flags(source, flags, draft),
        false => add_promscrape(source, draft),
    }
}

/// Names without dashes, and values; `true` where none stands.
fn flags_of(content: &str) -> Vec<(String, String)> {
    let content = content.replace("\\\n", " ");
    let lines = content.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let words: Vec<String> = lines.flat_map(words_of).collect();
    let mut flags = Vec::new();
    for (idx, word) in words.iter().enumerate() {
        let bare = word.trim_start_matches('-');
        if bare.len() == word.len() || bare.is_empty() {
            continue;
        }
        let next = words.get(idx + 1).filter(|next| !next.starts_with('-'));
        match bare.split_once('=') {
            Some((name, value)) => flags.push((name.to_owned(), value.to_owned())),
            None => flags.push((bare.to_owned(), next.cloned().unwrap_or_else(|| "true".to_owned()))),
        }
    }
    flags
}

/// As a shell takes a line apart.
fn words_of(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in line.chars() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, ' ' | '\t' | '[' | ']') => words.push(std::mem::take(&mut word)),
            _ => word.push(character),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words.into_iter().map(|word| word.trim_end_matches(',').to_owned()).collect()
}

/// Of flags that stand once an endpoint: their place in its entry of `remote_write`.
const OF_ENDPOINT: [(&str, &[&str]); 20] = [
    ("basicAuth.username", &["basic_auth", "username"]),
    ("basicAuth.password", &["basic_auth", "password"]),
    ("basicAuth.passwordFile", &["basic_auth", "password_file"]),
    ("bearerToken", &["authorization", "credentials"]),
    ("bearerTokenFile", &["authorization", "credentials_file"]),
    ("oauth2.clientID", &["oauth2", "client_id"]),
    ("oauth2.clientSecret", &["oauth2", "client_secret"]),
    ("oauth2.clientSecretFile", &["oauth2", "client_secret_file"]),
    ("oauth2.tokenUrl", &["oauth2", "token_url"]),
    ("tlsCAFile", &["tls_config", "ca_file"]),
    ("tlsCertFile", &["tls_config", "cert_file"]),
    ("tlsKeyFile", &["tls_config", "key_file"]),
    ("tlsServerName", &["tls_config", "server_name"]),
    ("tlsInsecureSkipVerify", &["tls_config", "insecure_skip_verify"]),
    ("proxyURL", &["proxy_url"]),
    ("sendTimeout", &["remote_timeout"]),
    ("queues", &["queue_config", "max_shards"]),
    ("maxRowsPerBlock", &["queue_config", "max_samples_per_send"]),
    ("flushInterval", &["queue_config", "batch_send_deadline"]),
    ("aws.region", &["sigv4", "region"]),
];

fn add_flags(
    source: &Source<'_>,
    flags: Vec<(String, String)>,
    draft: &mut Draft,
) -> Result<(), MigrateError> {
    let all = |name: &str| -> Vec<String> {
        let of_name = flags.iter().filter(|(given, _)| given == name);
        of_name.map(|(_, value)| value.clone()).collect()
    };
    let mut endpoints: Vec<Node> =
        all("remoteWrite.url").iter().map(|url| map([("url", text(url))])).collect();
    let mut known = vec!["remoteWrite.url".to_owned()];
    for (name, place) in OF_ENDPOINT {
        let name = format!("remoteWrite.{name}");
        let values = all(&name);
        for (idx, endpoint) in endpoints.iter_mut().enumerate() {
            // One value counts for all of them.
            let value = if values.len() == 1 { values.first() } else { values.get(idx) };
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                put_at(endpoint, place, value_of(place, value));
            }
        }
        known.push(name);
    }
    for (name, is_of_one) in [("remoteWrite.urlRelabelConfig", true), ("remoteWrite.relabelConfig", false)] {
        for (idx, file) in all(name).into_iter().enumerate() {
            // An empty one holds the place of an endpoint without rules.
            let rules = (!file.is_empty()).then(|| rules_in(source, &file, draft)).flatten();
            let Some(rules) = rules else { continue };
            for (endpoint_idx, endpoint) in endpoints.iter_mut().enumerate() {
                if !is_of_one || endpoint_idx == idx {
                    let given = take(endpoint, "write_relabel_configs").map(into_items).unwrap_or_default();
                    put(endpoint, "write_relabel_configs", list(rules.iter().cloned().chain(given)));
                }
            }
        }
        known.push(name.to_owned());
    }
    for (idx, headers) in all("remoteWrite.headers").iter().enumerate() {
        for (name, value) in headers.split("^^").filter_map(|pair| pair.split_once(':')) {
            if let Some(endpoint) = endpoints.get_mut(idx) {
                put_at(endpoint, &["headers", name.trim()], text(value.trim()));
            }
        }
    }
    for label in all("remoteWrite.label").iter().flat_map(|labels| labels.split(',')) {
        if let Some((name, value)) = label.split_once('=') {
            put_at(&mut draft.global, &["external_labels", name], text(value));
        }
    }
    known.extend(["remoteWrite.headers", "remoteWrite.label", "promscrape.config"].map(str::to_owned));
    endpoints.into_iter().for_each(|endpoint| draft.add_endpoint(endpoint));
    for file in all("promscrape.config") {
        let path: PathBuf = source.beside(&file);
        match fs::read_to_string(&path) {
            Ok(text) => add_promscrape(&Source { path: &path, text }, draft)?,
            Err(cause) => draft.remark(format!(
                "-promscrape.config={file}: {cause}; give that file to scraped migrate vmagent as well"
            )),
        }
    }
    for (name, _) in flags.iter().filter(|(name, _)| !known.contains(name)) {
        let sentence =
            foreign_sentence(name).unwrap_or_else(|| "no flag of vmagent that is known here".to_owned());
        draft.remark(format!("-{name}: {}", sentence.trim_start_matches("a flag of vmagent: ")));
    }
    Ok(())
}

fn value_of(place: &[&str], value: &str) -> Node {
    match place {
        [.., "insecure_skip_verify" | "max_shards" | "max_samples_per_send"] => plain(value),
        _ => text(value),
    }
}

fn rules_in(source: &Source<'_>, file: &str, draft: &mut Draft) -> Option<Vec<Node>> {
    let read = fs::read_to_string(source.beside(file)).map_err(|cause| cause.to_string());
    match read.and_then(|text| yaml::parse(&text).map_err(|cause| cause.to_string())) {
        Ok(node) => Some(into_items(rules_of(node, draft))),
        Err(cause) => {
            draft
                .remark(format!("{file}: {cause}; put its rules into write_relabel_configs of remote_write"));
            None
        }
    }
}

fn add_promscrape(source: &Source<'_>, draft: &mut Draft) -> Result<(), MigrateError> {
    let mut root = yaml::parse(&source.text).map_err(|cause| source.not_theirs(cause))?;
    if get(&root, "scrape_configs").or(get(&root, "scrape_config_files")).is_none() {
        return Err(source.not_theirs("neither flags of vmagent nor scrape_configs stand there"));
    }
    if let Some(mut global) = take(&mut root, "global") {
        for key in ["metric_relabel_configs", "relabel_configs"] {
            if take(&mut global, key).is_some() {
                draft.remark(format!("global.{key}: put these rules into each job"));
            }
        }
        let keys: Vec<(String, Node)> =
            entries(&global).map(|(key, value)| (key.to_owned(), value.clone())).collect();
        for (key, value) in keys {
            if key == "external_labels" {
                let labels: Vec<(String, Node)> =
                    entries(&value).map(|(name, value)| (name.to_owned(), value.clone())).collect();
                labels.into_iter().for_each(|(name, value)| {
                    put_at(&mut draft.global, &["external_labels", &name], value);
                });
            } else {
                put(&mut draft.global, &key, value);
            }
        }
    }
    if let Some(files) = take(&mut root, "scrape_config_files") {
        draft.add_section("scrape_config_files", files);
    }
    for job in take(&mut root, "scrape_configs").map(into_items).unwrap_or_default() {
        let job = job_of(job, draft);
        draft.add_job(job);
    }
    Ok(())
}

/// vmagent's own keys of a job.
fn job_of(mut job: Node, draft: &mut Draft) -> Node {
    for key in ["relabel_configs", "metric_relabel_configs"] {
        if let Some(rules) = take(&mut job, key) {
            let rules = rules_of(rules, draft);
            put(&mut job, key, rules);
        }
    }
    if let Some(size) = take(&mut job, "max_scrape_size").as_ref().and_then(as_text) {
        put(&mut job, "body_size_limit", text(size));
    }
    if is_true(&job, "disable_compression") {
        put(&mut job, "enable_compression", plain("false"));
    }
    if let Some(headers) = take(&mut job, "headers") {
        for (name, value) in texts_of(&headers).iter().filter_map(|header| header.split_once(':')) {
            let values = map([("values", texts([value.trim()]))]);
            put_at(&mut job, &["http_headers", name.trim()], values);
        }
    }
    // What is always so here.
    for key in
        ["disable_compression", "stream_parse", "disable_keepalive", "relabel_debug", "metric_relabel_debug"]
    {
        take(&mut job, key);
    }
    job
}

/// vmagent's own rules, as far as Prometheus has others for them.
fn rules_of(mut rules: Node, draft: &mut Draft) -> Node {
    let mut join = |node: &mut Node| {
        // A list of patterns is one of alternatives.
        if let Some(Value::List(patterns)) = get(node, "regex").map(|regex| regex.value.clone()) {
            let patterns: Vec<&str> = patterns.iter().filter_map(as_text).collect();
            let joined = text(format!("({})", patterns.join("|")));
            put(node, "regex", joined);
        }
        match text_at(node, "action").map(str::to_owned).as_deref() {
            Some(action @ ("keep_metrics" | "drop_metrics")) => {
                put(node, "source_labels", texts(["__name__"]));
                put(node, "action", text(action.trim_end_matches("_metrics")));
            }
            Some(action @ ("keep_if_equal" | "drop_if_equal")) => {
                let labels = get(node, "source_labels").map(texts_of).unwrap_or_default();
                if let [one, other] = labels.as_slice() {
                    put(node, "source_labels", texts([one]));
                    put(node, "target_label", text(other));
                    put(node, "action", text(action.replace("_if_", "")));
                }
            }
            _ => {}
        }
    };
    each(&mut rules, &mut join);
    let kept: Vec<Node> = into_items(rules)
        .into_iter()
        .filter(|rule| {
            let condition = text_at(rule, "if");
            if let Some(condition) = condition {
                let action = text_at(rule, "action").unwrap_or("replace");
                draft.remark(format!(
                    "the rule {action} with if: {condition}: write it with source_labels and regex"
                ));
            }
            condition.is_none()
        })
        .collect();
    list(kept)
}
