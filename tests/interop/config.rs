//! The configuration against a real Prometheus: `promtool`'s verdict on every fixture, and what an agent prints.
//!
//! `scripts/peers` fetches both programs into `target/peers/bin`; `PROMTOOL` and `PROMETHEUS` name others. Where the peer
//! is older than the schema that we read (3.14), the differences are listed here with their reason.

use support::empty_values;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use scraped::config::load;
use support::peers::{Peer, promtool};

/// Ends of the sentences about what Prometheus has and this release does not.
const NOT_HERE: [&str; 2] = [
    concat!(" is not built yet in scraped ", env!("CARGO_PKG_VERSION"), "; remove it or leave its default"),
    "in a file for file_sd_configs, or printed for exec_sd_configs",
];

/// Refused by us alone, on purpose.
const STRICTER: &[(&str, &str)] = &[
    (
        "prometheus/remote_write_retry_on_rate_limit.good.yml",
        "a URL without a scheme: every request would fail",
    ),
    ("bad/file_sd_interval_zero.yml", "a real Prometheus panics when it starts the ticker"),
    ("bad/docker_sd_scheme.yml", "every question would fail"),
    ("bad/dns_sd_interval_zero.yml", "the names would be asked for without a pause"),
    ("bad/dns_sd_port.yml", "no target has such a port"),
    ("bad/kubernetes_sd_api_server_empty.yml", "every question would go to port 80 of this machine"),
    ("bad/http_sd_interval_zero.yml", "the list would be asked for without a pause"),
    ("bad/header_that_cannot_be_sent.yml", "every request would fail"),
    ("bad/proxy_scheme.yml", "a real Prometheus takes it for an HTTP proxy, or never gets there"),
    ("bad/scheme_empty.yml", "every scrape would fail"),
    ("bad/scheme_unknown.yml", "every scrape would fail"),
    ("bad/size_negative.yml", "a riddle for: no limit"),
    ("bad/tls_version_too_old.yml", "no server can be asked without those versions"),
    ("bad/tls_versions_swapped.yml", "every handshake would fail"),
    ("prometheus/main/remote_write_queue_capacity_zero.bad.yml", CHECKED_SINCE_3_6),
    ("prometheus/main/remote_write_queue_max_backoff_less_than_min.bad.yml", CHECKED_SINCE_3_6),
    ("prometheus/main/remote_write_queue_max_samples_per_send_zero.bad.yml", CHECKED_SINCE_3_6),
    ("prometheus/main/remote_write_queue_max_shards_zero.bad.yml", CHECKED_SINCE_3_6),
    ("prometheus/main/remote_write_queue_min_shards_greater_than_max.bad.yml", CHECKED_SINCE_3_6),
    ("prometheus/main/remote_write_queue_min_shards_zero.bad.yml", CHECKED_SINCE_3_6),
];

/// The file is Prometheus' own, of a version whose check 3.5 does not have.
const CHECKED_SINCE_3_6: &str = "an older peer has no such check";

/// Refused by the peer alone.
const ACCEPTED_HERE: [(&str, &str); 3] = [
    (
        "prometheus/main/scrape_config_local_infer_escaping.yml",
        "3.5 lets a job with names of its own inherit how global escapes them, which contradict each other",
    ),
    ("ok/exec_targets.yml", "files and commands are targets here alone"),
    ("ok/kubernetes_sd_3_14.yml", "3.5 attaches less to pods, and selects no nodes for that"),
];

/// Promtool looks whether files are there; we read them when they are used, and again when they change.
const FILE_IS_MISSING: &str = "no such file or directory";

/// Fields that only we have.
const OUR_FIELDS: [&str; 7] = [
    "in_order",
    "backlog_share",
    "exec_sd_configs",
    "kubelet_sd_configs",
    "mdns_sd_configs",
    "own_node",
    "series_limit",
];

/// Providers and clouds that Debian builds Prometheus without.
const FIELDS_NOT_IN_DEBIAN: [&str; 3] = ["azuread", "consul_sd_configs", "google_iam"];

/// Fields that Prometheus got after 3.5; an older peer calls them unknown.
const NEWER_FIELDS: [&str; 13] = [
    "extra_scrape_metrics",
    "scrape_native_histograms",
    "label_name_underscore_sanitization",
    "label_name_preserve_multiple_underscores",
    "stale_series_compaction_threshold",
    "chunk_encoding",
    "retention",
    "failed_request_logging",
    "promote_scope_metadata",
    "namespace",
    "deployment",
    "job",
    "cronjob",
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config")
}

fn fixtures(dirs: &[&str]) -> Vec<PathBuf> {
    let entries = dirs.iter().flat_map(|dir| fs::read_dir(data().join(dir)).unwrap());
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {dirs:?}");
    files
}

fn name_of(path: &Path) -> String {
    path.strip_prefix(data()).unwrap().display().to_string()
}

/// What promtool says against the file, if anything.
fn promtool_complaint(path: &Path) -> Option<String> {
    let output = promtool().args(["check", "config", "--agent"]).arg(path).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (!output.status.success()).then_some(text)
}

#[test]
fn promtool_has_the_same_verdicts() {
    let mut wrong = Vec::new();
    let mut n_same = 0;
    for path in
        fixtures(&["bad", "ok", "ok/jobs.d", "prometheus", "prometheus/main", "prometheus/scrape_configs"])
    {
        let name = name_of(&path);
        match (load(&path), promtool_complaint(&path)) {
            (Ok(_), None) | (Err(_), Some(_)) => n_same += 1,
            (Ok(_), Some(complaint)) => {
                let known = NEWER_FIELDS.iter().chain(&OUR_FIELDS).chain(&FIELDS_NOT_IN_DEBIAN);
                let is_meant = |line: &str| {
                    line.contains(FILE_IS_MISSING)
                        || known
                            .clone()
                            .any(|field| line.contains(&format!("field {field} not found in type")))
                };
                let told = [FILE_IS_MISSING, "not found in type"];
                let lines = complaint.lines().filter(|line| told.iter().any(|what| line.contains(what)));
                let only_newer = lines.map(is_meant);
                let is_ours = ACCEPTED_HERE.iter().any(|(ours, _)| *ours == name);
                if !is_ours && !only_newer.reduce(|all, one| all && one).unwrap_or(false) {
                    wrong.push(format!("{name}: accepted, promtool says: {complaint}"));
                }
            }
            (Err(errors), None) => {
                let meant = STRICTER.iter().any(|(stricter, _)| *stricter == name);
                let not_here = |sentence: &str| NOT_HERE.iter().any(|end| sentence.ends_with(end));
                if !meant && !errors.mistakes.iter().all(|mistake| not_here(&mistake.sentence)) {
                    wrong.push(format!("{name}: promtool accepts it, we say: {errors}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_same > 150, "only {n_same} verdicts were compared");
}

#[test]
fn an_agent_prints_the_same_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prometheus.yml");
    fs::write(&path, "").unwrap();
    let agent = Peer::agent(&path, &dir.path().join("data"));
    let mut wrong = Vec::new();
    let mut n_same = 0;
    for fixture in fixtures(&["ok"]) {
        fs::copy(&fixture, &path).unwrap();
        let Ok(config) = load(&path) else { continue };
        if agent.request("POST", "/-/reload").0 != 200 {
            // The verdicts are the other test's business.
            continue;
        }
        let (status, body) = agent.request("GET", "/api/v1/status/config");
        assert_eq!(status, 200, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
        let theirs = comparable(answer["data"]["yaml"].as_str().unwrap());
        let ours = comparable(&config.to_yaml());
        match ours == theirs {
            true => n_same += 1,
            false => wrong.push(format!("{}\n--- ours\n{ours}--- theirs\n{theirs}", name_of(&fixture))),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_same > 12, "only {n_same} configurations were compared");
}

/// What is in force after a reload, or the complaint.
fn reloaded(agent: &Peer) -> Result<String, String> {
    let (status, complaint) = agent.request("POST", "/-/reload");
    if status != 200 {
        return Err(complaint);
    }
    let (_, body) = agent.request("GET", "/api/v1/status/config");
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    Ok(answer["data"]["yaml"].as_str().unwrap().to_owned())
}

/// A pause of nothing kills a real Prometheus some time after the reload, and a queue that takes nothing stops an old
/// one; they are refused here.
const DEADLY: [&str; 2] = ["refresh_interval must be longer than 0", "must be positive"];

/// Values of nothing that are refused by us alone, on purpose; `STRICTER` says why. The last four are refused by a
/// real agent too, or kill it, but not by the `promtool` or the version that is asked.
const STRICTER_ABOUT_NOTHING: [&str; 7] = [
    "scheme \"\" is neither http nor https",
    "api_server is empty",
    "url for remote_write is empty",
    "no address: an empty target needs a relabel rule",
    "duplicate remote write configs are not allowed",
    "tracing.client_type: unknown value \"\"",
    "max_backoff must not be less than min_backoff",
];

/// Without what is printed for nothing: labels without a value, which are none, and texts that Prometheus leaves out
/// although nothing is not their default, and files without a name. A name that is nothing is `null` here, and there
/// `""`, which it refuses.
fn without_empty_texts(yaml: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines = yaml.lines().filter(|line| !line.ends_with(": \"\"") && line.trim() != "- \"\"");
    let lines: Vec<String> =
        lines.map(|line| line.replace("[\"\"", "[null").replace(" \"\",", " null,")).collect();
    let has_entries = |idx: usize| lines.get(idx + 1).is_some_and(|next| indent(next) > indent(&lines[idx]));
    let is_kept = |(idx, line): &(usize, &String)| {
        !["labels:", "files:"].iter().any(|key| line.ends_with(key)) || has_entries(*idx)
    };
    lines.iter().enumerate().filter(is_kept).map(|(_, line)| format!("{line}\n")).collect()
}

/// Whether an agent would not survive the reload, or not in time: a queue whose endpoint is not there may keep it from
/// the next configuration for a minute, and tracing without a `client_type` is a null pointer.
fn is_for_promtool(root: &serde_yaml::Value) -> bool {
    ["remote_write", "tracing"].iter().any(|section| root.get(section).is_some())
}

/// Nothing and the empty text as the value of any key: the same verdict, and the same configuration in force.
#[test]
fn nothing_in_place_of_a_value_means_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("prometheus.yml");
    fs::write(&path, "").unwrap();
    let agent = Peer::agent(&path, &dir.path().join("data"));
    let (mut seen, mut n_same, mut wrong) = (BTreeSet::new(), 0, Vec::new());
    for fixture in fixtures(&["ok"]) {
        let text = fs::read_to_string(&fixture).unwrap();
        let Ok(root) = serde_yaml::from_str::<serde_yaml::Value>(&text) else { continue };
        fs::copy(&fixture, &path).unwrap();
        if if is_for_promtool(&root) {
            promtool_complaint(&path).is_some()
        } else {
            reloaded(&agent).is_err()
        } {
            // Fields that the peer does not know.
            continue;
        }
        empty_values::visit(&root, &["null", "''"], &mut seen, &mut |change, changed| {
            fs::write(&path, serde_yaml::to_string(changed).unwrap()).unwrap();
            let ours = load(&path);
            let says = |text: &str| ours.as_ref().is_err_and(|errors| errors.to_string().contains(text));
            if DEADLY.iter().any(|sentence| says(sentence)) {
                return;
            }
            let case = format!("{}: {change}", name_of(&fixture));
            let theirs = match is_for_promtool(changed) {
                true => promtool_complaint(&path).map_or(Ok(None), Err),
                false => reloaded(&agent).map(Some),
            };
            match (&ours, theirs) {
                (Err(_), Err(_)) => n_same += 1,
                (Err(errors), Ok(_)) => {
                    if !STRICTER_ABOUT_NOTHING.iter().any(|meant| says(meant)) {
                        wrong.push(format!("{case}: refused here: {errors}"));
                    }
                }
                (Ok(_), Err(complaint)) => wrong.push(format!("{case}: refused there: {complaint}")),
                (Ok(_), Ok(None)) => n_same += 1,
                (Ok(config), Ok(Some(theirs))) => {
                    let ours = without_empty_texts(&comparable(&config.to_yaml()));
                    let theirs = without_empty_texts(&comparable(&theirs));
                    match ours == theirs {
                        true => n_same += 1,
                        false => wrong.push(format!("{case}\n--- ours\n{ours}--- theirs\n{theirs}")),
                    }
                }
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_same > 500, "only {n_same} were compared");
}

/// Without what differs between the versions of Prometheus, and sections that mean nothing in an agent.
fn comparable(yaml: &str) -> String {
    let mut kept = String::new();
    let mut skipped: Option<usize> = None;
    let mut section = "";
    for line in yaml.lines().filter(|line| !line.is_empty()) {
        let indent = line.len() - line.trim_start_matches([' ']).len();
        let text = line.trim_start();
        let is_item = text.starts_with("- ") || text == "-";
        // What is nested in something skipped, list items on its own level included.
        if skipped.is_some_and(|level| indent > level || (indent == level && is_item)) {
            continue;
        }
        skipped = None;
        if indent == 0 && !is_item {
            section = text.split(':').next().unwrap_or_default();
        }
        let key = text.split(':').next().unwrap_or_default();
        let skip = match key {
            "runtime" | "otlp" | "storage" | "tracing" if indent == 0 => true,
            "scrape_native_histograms" | "extra_scrape_metrics" => true,
            // Printed although it is empty, there or here.
            "proxy_url" | "metrics_path" => text.ends_with("\"\""),
            "http_headers" => text.ends_with("{}"),
            "scrape_protocols" | "metric_name_validation_scheme" | "metric_name_escaping_scheme" => {
                section == "global"
            }
            // 3.5 leaves these out when they are empty, 3.14 does not.
            "separator" | "replacement" | "regex" => {
                matches!(text.split_once(": "), Some((_, "\"\"" | "null")))
            }
            _ => false,
        };
        if skip {
            skipped = Some(indent);
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}
