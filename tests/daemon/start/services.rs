//! What starts it on boxes without systemd: scripts that a shell takes, flags that exist, configurations that load.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::command::{finish, scraped};
use support::data;
use tempfile::TempDir;

fn etc(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("etc").join(name)
}

/// Files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn shells_take_every_script() {
    let mut scripts = Vec::new();
    for dir in ["etc", "scripts", "tests/data/services"] {
        for file in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)) {
            let content = fs::read(&file).unwrap();
            let first =
                String::from_utf8_lossy(content.split(|byte| *byte == b'\n').next().unwrap()).into_owned();
            if first.starts_with("#!") && (first.contains("sh") || first.contains("openrc-run")) {
                scripts.push(file);
            }
        }
    }
    assert!(scripts.len() >= 8, "{scripts:?}");
    let mut shellcheck = Command::new("shellcheck");
    // `local` is what every shell of theirs has.
    shellcheck.args(["-e", "SC3043"]).args(&scripts);
    let output = shellcheck.output().expect("shellcheck is missing (on Debian: apt-get install shellcheck)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Flags that a text names; `--sub.flag=value`.
fn flags_in(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("# "));
    let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || "=()`'\"[],".contains(c)));
    words.filter(|word| word.starts_with("--") && word.contains('.')).collect()
}

#[test]
fn every_flag_in_them_exists_and_a_stop_has_time() {
    let help = scraped(&["--help"]).stdout;
    let mut n_flags = 0;
    for name in [
        "openrc/scraped",
        "openwrt/scraped.init",
        "runit/run",
        "s6/run",
        "busybox/S80scraped",
        "container/Dockerfile",
        "k3s/scraped.yaml",
    ] {
        let text = fs::read_to_string(etc(name)).unwrap();
        for flag in flags_in(&text) {
            n_flags += 1;
            let flag = flag.trim_start_matches("--");
            assert!(
                help.contains(&format!("--{flag}")) || help.contains(&format!("--[no-]{flag}")),
                "{name}: {flag}"
            );
        }
        assert!(text.contains("--storage.remote.flush-deadline="), "{name}");
    }
    assert!(n_flags > 20, "{n_flags}");
}

/// What procd is asked for, and the configuration that was made.
fn openwrt(uci: &str, function: &str) -> (String, PathBuf, TempDir) {
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let uci_file = dir.path().join("uci");
    fs::write(&uci_file, uci).unwrap();
    let mut command = Command::new("sh");
    command.arg(data("services/openwrt.sh")).arg(etc("openwrt/scraped.init")).arg(uci_file).arg(function);
    let finished = finish(command.env("IPKG_INSTROOT", dir.path()));
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""), "{finished:?}");
    (finished.stdout, dir.path().join("var/etc/scraped.yml"), dir)
}

#[test]
fn ucis_options_become_a_configuration_that_loads() {
    let uci = fs::read_to_string(etc("openwrt/scraped.config")).unwrap()
        + "config label\n\toption name 'site'\n\toption value 'it'\\''s: here'\n\
           config job 'cpe'\n\toption name 'cpe'\n\tlist target 'a:1'\n\tlist target 'b:2'\n\toption interval '30s'\n\
           \toption scheme 'https'\n\toption metrics_path '/m'\n\
           config remote_write\n\toption url 'https://metrics.example/write'\n\toption name 'main'\n\
           \toption username 'box7'\n\toption password_file '/etc/scraped/password'\n";
    let (asked, config, _dir) = openwrt(&uci, "start_service");
    let text = fs::read_to_string(&config).unwrap();
    let checked = scraped(&["check", "config", "--syntax-only", config.to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{checked:?}\n{text}");
    assert!(checked.stdout.contains("3 jobs, 4 static targets"), "{checked:?}\n{text}");
    for line in [
        "  scrape_interval: '15s'",
        "  - targets: ['a:1', 'b:2']",
        "  metrics_path: '/m'",
        "- url: 'https://metrics.example/write'",
        "    password_file: '/etc/scraped/password'",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}: {text}");
    }
    let command = asked.lines().find(|line| line.starts_with("set command")).unwrap();
    let help = scraped(&["--help"]).stdout;
    for flag in flags_in(command) {
        assert!(help.contains(flag) || help.contains(&flag.replace("--", "--[no-]")), "{flag}");
    }
    assert!(asked.contains("set respawn 3600 5 0") && asked.contains("set term_timeout 30"), "{asked}");
    assert!(asked.starts_with("open\n") && asked.ends_with("close\n"), "{asked}");

    let (asked, _, _dir) = openwrt(&uci, "reload_service");
    assert_eq!(asked, "signal scraped\n");
    let (asked, _, _dir) = openwrt(&uci.replace("enabled '1'", "enabled '0'"), "start_service");
    assert_eq!(asked, "");
    let own = uci.replace("#option config_file", "option config_file");
    let (asked, made, _dir) = openwrt(&own, "start_service");
    assert!(asked.contains("--config.file=/etc/scraped/scraped.yml ") && !made.exists(), "{asked}");
}

/// What of a manifest is YAML that `check config` takes.
#[test]
fn configurations_of_containers_load() {
    let checked = scraped(&["check", "config", etc("container/scraped.yml").to_str().unwrap()]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let manifest = fs::read_to_string(etc("k3s/scraped.yaml")).unwrap();
    let documents: Vec<Value> = manifest.split("\n---\n").map(yaml).collect();
    let of = |kind: &str| documents.iter().find(|document| document["kind"] == kind).expect(kind);
    let dir = TempDir::with_prefix("scraped-test-").unwrap();
    let config = dir.path().join("scraped.yml");
    fs::write(&config, of("ConfigMap")["data"]["scraped.yml"].as_str().unwrap()).unwrap();
    let mut command = Command::new(support::program());
    command.args(["check", "config", "--syntax-only"]).arg(&config).env("NODE_NAME", "box");
    let checked = finish(&mut command);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    // Names that belong together.
    let pod = &of("DaemonSet")["spec"]["template"];
    assert_eq!(pod["spec"]["serviceAccountName"], of("ServiceAccount")["metadata"]["name"]);
    assert_eq!(of("ClusterRoleBinding")["roleRef"]["name"], of("ClusterRole")["metadata"]["name"]);
    assert_eq!(pod["metadata"]["labels"], of("DaemonSet")["spec"]["selector"]["matchLabels"]);
    assert_eq!(pod["spec"]["volumes"][0]["configMap"]["name"], of("ConfigMap")["metadata"]["name"]);
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= 25 && manifest.contains("--storage.remote.flush-deadline=15s"));
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}
