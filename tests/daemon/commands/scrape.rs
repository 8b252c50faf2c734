//! `scraped scrape` and `scraped check metrics` with the real binary.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use support::command::{finish, scraped};
use support::targets::{Behaviour, FakeTargets, packed_page, page};
use tempfile::TempDir;

const PAGE: &str = "# TYPE good counter\ngood{x=\"y\"} 1\ndropped 2\nlate 3 4000\n";

/// What was printed, with times and the address left out, and whether the command was content.
fn check(arguments: &[&str], targets: &FakeTargets) -> (String, bool) {
    let finished = scraped(arguments);
    assert_eq!(finished.stderr, "");
    let text = finished.stdout.replace(&targets.address(), "ADDRESS");
    let lines = text.lines().map(|line| {
        // `0.3 ms` and the time of a sample differ from run to run.
        let words = line.split_whitespace().map(|word| {
            let is_number = word.parse::<f64>().is_ok_and(|_| word.contains('.'));
            let is_time = word.starts_with("20") && word.ends_with('Z');
            if is_number || is_time { "N" } else { word }
        });
        words.collect::<Vec<_>>().join(" ")
    });
    (lines.collect::<Vec<_>>().join("\n"), finished.code == Some(0))
}

#[test]
fn a_url_is_scraped() {
    let targets = FakeTargets::start();
    targets.set("/m", Behaviour::Healthy(page(PAGE)));
    let url = format!("http://{}/m", targets.address());
    let (printed, is_good) = check(&["scrape", &url], &targets);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(is_good, "{printed}");
    assert_eq!(lines[0], "http://ADDRESS/m {instance=\"ADDRESS\", job=\"scrape\"}");
    assert!(
        lines[1].starts_with(&format!("fetched {} bytes in N ms, Identity, Content-Type", PAGE.len())),
        "{printed}"
    );
    assert_eq!(lines[2], format!("unpacked to {} bytes in N ms", PAGE.len()));
    assert_eq!(lines[3], "stored 3 of 3 samples in N ms");
    for series in [
        "good{instance=\"ADDRESS\",job=\"scrape\",x=\"y\"} N 1",
        "late{instance=\"ADDRESS\",job=\"scrape\"} 1970-01-01T00:00:04.000Z 3",
        "up{instance=\"ADDRESS\",job=\"scrape\"} N 1",
    ] {
        assert!(lines.contains(&series), "{series} is not in\n{printed}");
    }
}

#[test]
fn an_address_needs_no_scheme_and_no_tmp() {
    let targets = FakeTargets::start();
    targets.set("/m", Behaviour::Healthy(page(PAGE)));
    let dir = TempDir::new().unwrap();
    let mut command = std::process::Command::new(support::program());
    command.args(["scrape", &format!("{}/m", targets.address())]);
    let finished = finish(command.current_dir(dir.path()).env("TMPDIR", "/no/such/directory"));
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(0), ""));
    assert!(finished.stdout.contains("stored 3 of 3 samples"), "{}", finished.stdout);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
    let json = scraped(&["scrape", "--format=json", &format!("{}/m", targets.address())]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["error"], &json["labels"]["job"]), (&serde_json::Value::Null, &"scrape".into()));
    assert_eq!(json["stored"]["data"]["result"].as_array().unwrap().len(), 8, "{json}");
}

#[test]
fn a_job_is_scraped_with_its_settings() {
    let targets = FakeTargets::start();
    targets.set("/m", Behaviour::Gzip(packed_page(PAGE)));
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("scraped.yml");
    let address = targets.address();
    let text = format!(
        "scrape_configs:\n- job_name: mine\n  metrics_path: /m\n  static_configs: [{{targets: ['{address}'], labels: {{rack: a}}}}]\n  \
         metric_relabel_configs: [{{source_labels: [__name__], regex: dropped, action: drop}}]\n\
         - job_name: found\n  sample_limit: 2\n  file_sd_configs: [{{files: [x.yml]}}]\n"
    );
    fs::write(&config, text).unwrap();
    let config = format!("--config.file={}", config.display());
    let (printed, is_good) = check(&["scrape", "mine", &config], &targets);
    assert!(is_good && printed.contains("stored 2 of 3 samples"), "{printed}");
    assert!(
        printed.contains("Gzip") && printed.contains("rack=\"a\"") && !printed.contains("dropped{"),
        "{printed}"
    );
    // A URL with the settings of a job.
    let url = format!("http://{address}/m");
    let (printed, is_good) = check(&["scrape", &url, "--job=found", &config], &targets);
    assert!(
        !is_good && printed.contains("FAILED: sample limit exceeded (samples: 3, sample_limit: 2)"),
        "{printed}"
    );
    assert!(printed.contains("up{instance=\"ADDRESS\",job=\"found\"} N 0"), "{printed}");
    for (what, complaint) in [
        ("found", "scraped: job \"found\" has no static_configs; give the URL of a target and --job=found\n"),
        ("nobody", "scraped: no job is called \"nobody\"; give a URL or the name of a job\n"),
    ] {
        let finished = scraped(&["scrape", what, &config]);
        assert_eq!((finished.stderr.as_str(), finished.code), (complaint, Some(1)));
    }
}

#[test]
fn a_target_that_does_not_answer_is_told() {
    let targets = FakeTargets::start();
    targets.set("/503", Behaviour::Status(503));
    let (printed, is_good) = check(&["scrape", &format!("http://{}/503", targets.address())], &targets);
    assert!(!is_good);
    assert!(printed.contains("FAILED: server returned HTTP status 503"), "{printed}");
    let (printed, is_good) = check(&["scrape", "exec:/bin/echo a 1"], &targets);
    assert!(
        is_good && printed.contains("a{instance=\"exec:/bin/echo a 1\",job=\"scrape\"} N 1"),
        "{printed}"
    );
}

#[test]
fn a_page_on_the_standard_input_is_checked() {
    let check = |page: &str, want: &str, status: i32| {
        let mut command = std::process::Command::new(support::program());
        command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), want);
        assert_eq!(output.status.code(), Some(status));
    };
    check(PAGE, "good: 3 samples, 1 TYPE line, text\n", 0);
    check(
        "a{ 1\n",
        "expected label name, got \"1\" (\"INVALID\") while parsing: \"a{ 1\" (line 1, column 4)\n",
        1,
    );
}
