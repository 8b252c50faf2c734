//! The configuration against its fixtures in `tests/data/config`.
//!
//! `bad/`: the comment lines at the top are the mistakes, as `# LINE: KEY: SENTENCE`.
//! `ok/`: `NAME.yml` prints as `NAME.expect`, after its notes as comments. `SCRAPED_BLESS=1` rewrites these.
//! `prometheus/`: files of Prometheus' own tests, good or bad by their names.

use support::cases;
use support::empty_values;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::{Strategy, any, prop, proptest};
use scraped::config::error::ConfigErrors;
use scraped::config::{Config, load};

/// Ends of the sentences about what Prometheus has and this release does not.
const NOT_HERE: [&str; 2] = [
    concat!(" is not built yet in scraped ", env!("CARGO_PKG_VERSION"), "; remove it or leave its default"),
    "in a file for file_sd_configs, or printed for exec_sd_configs",
];

/// A file of Prometheus that is good there and bad here: its URLs have no scheme, so every request would fail.
const STRICTER: &str = "remote_write_retry_on_rate_limit.good.yml";

fn data(dir: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/config").join(dir)
}

/// The `.yml` files of a directory, by name.
fn fixtures(dir: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(data(dir)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    files.sort();
    assert!(!files.is_empty(), "no fixtures in {dir}");
    files
}

/// `LINE: KEY: SENTENCE` for each mistake.
fn render(errors: &ConfigErrors, path: &Path) -> Vec<String> {
    let prefix = path.display().to_string();
    let line = |line: &str| line.replace(&prefix, "").trim_start_matches(':').trim().to_owned();
    errors.to_string().lines().map(line).collect()
}

fn is_not_here(errors: &ConfigErrors) -> bool {
    errors.mistakes.iter().all(|mistake| NOT_HERE.iter().any(|end| mistake.sentence.ends_with(end)))
}

#[test]
fn every_mistake_has_its_line_key_and_sentence() {
    let mut wrong = Vec::new();
    for path in fixtures("bad") {
        let text = fs::read_to_string(&path).unwrap();
        let want: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("# ")).collect();
        let got = match load(&path) {
            Ok(_) => vec!["accepted".to_owned()],
            Err(errors) => render(&errors, &path),
        };
        if got != want {
            wrong.push(format!("{}\n  want {want:#?}\n  got {got:#?}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn good_configurations_print_with_their_defaults() {
    let mut wrong = Vec::new();
    for path in fixtures("ok") {
        let got = match load(&path) {
            Err(errors) => errors.to_string(),
            Ok(config) => {
                let notes: String = config.notes.iter().map(|note| format!("# {note}\n")).collect();
                (notes + &config.to_yaml()).replace(&data("ok").display().to_string(), "DIR")
            }
        };
        let expect = path.with_extension("expect");
        if std::env::var_os("SCRAPED_BLESS").is_some() {
            fs::write(&expect, &got).unwrap();
        }
        let want = fs::read_to_string(&expect).unwrap_or_default();
        if got != want {
            wrong.push(format!("{}\n--- want\n{want}--- got\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_printed_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("printed.yml");
    for path in fixtures("ok") {
        let config = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        check_printed(&config, &copy);
    }
}

/// Secrets come back as `<secret>`. Dollar signs of external labels cannot survive: they would be expanded once more.
fn check_printed(config: &Config, copy: &Path) {
    let printed = config.to_yaml();
    fs::write(copy, &printed).unwrap();
    let again = load(copy).unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
    if printed.contains("<secret>") || printed.contains(":xxxxx@") {
        assert_eq!(again.to_yaml(), printed);
        return;
    }
    let has_dollar = config.global.external_labels.iter().any(|(_, value)| value.contains('$'));
    if has_dollar {
        return;
    }
    let n_jobs = config.n_main_file_jobs;
    assert!(again.global == config.global, "{printed}\n{}", again.to_yaml());
    assert!(again.remote_write == config.remote_write, "{printed}\n{}", again.to_yaml());
    assert!(
        again.scrape_configs[..n_jobs] == config.scrape_configs[..n_jobs],
        "{printed}\n{}",
        again.to_yaml()
    );
}

#[test]
fn the_sample_configuration_is_good() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/scraped.yml");
    let config = load(&path).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(config.notes.is_empty(), "{:?}", config.notes);
}

#[test]
fn jobs_of_other_files_follow_and_are_not_printed() {
    let config = load(&data("ok/more_jobs.yml")).unwrap();
    let jobs: Vec<(&str, u64)> = config
        .scrape_configs
        .iter()
        .map(|job| (job.job_name.as_str(), job.scrape_interval.as_secs()))
        .collect();
    assert_eq!(jobs, [("main", 20), ("from_a", 20), ("from_b", 40)]);
    let printed = config.scrape_configs[1].to_yaml();
    let files = data("ok/jobs.d/targets/*.yml");
    assert!(printed.contains(&format!("- files:\n  - {}\n", files.display())), "{printed}");
}

/// Prometheus' verdicts; where it says good and we do not, the reason is nothing but what is not built or not for an agent.
#[test]
fn verdicts_on_files_of_prometheus() {
    let not_for_agents = ["alerting", "rule_files", "remote_read"]
        .map(|name| format!("field {name} is not allowed in agent mode"));
    let mut paths = fixtures("prometheus");
    paths.extend(fixtures("prometheus/main"));
    paths.extend(fixtures("prometheus/scrape_configs"));
    let (mut n_good, mut n_bad, mut wrong) = (0, 0, Vec::new());
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let good = !name.contains(".bad.") && !name.contains(".incompatible.") && name != STRICTER;
        match (good, load(&path)) {
            (true, Ok(_)) => n_good += 1,
            (false, Err(_)) => n_bad += 1,
            (false, Ok(_)) => wrong.push(format!("{name}: accepted")),
            (true, Err(mut errors)) => {
                errors.mistakes.retain(|mistake| !not_for_agents.contains(&mistake.sentence));
                if !is_not_here(&errors) {
                    wrong.push(format!("{name}: {errors}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_good >= 12 && n_bad >= 50, "good {n_good}, bad {n_bad}");
}

/// What may stand for nothing, and the least of every kind.
const EMPTY_VALUES: [&str; 3] = ["null", "''", "0"];

#[test]
fn an_empty_value_of_any_key_survives_printing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.yml");
    let mut paths = fixtures("ok");
    paths.push(data("prometheus/conf.good.yml"));
    let (mut seen, mut n_good, mut wrong) = (BTreeSet::new(), 0, Vec::new());
    for fixture in paths {
        let text = fs::read_to_string(&fixture).unwrap();
        // Several documents, which is one of the fixtures.
        let Ok(root) = serde_yaml::from_str::<serde_yaml::Value>(&text) else { continue };
        if cases::is_long() {
            seen.clear();
        }
        empty_values::visit(&root, &EMPTY_VALUES, &mut seen, &mut |change, changed| {
            fs::write(&path, serde_yaml::to_string(changed).unwrap()).unwrap();
            let Ok(config) = load(&path) else { return };
            n_good += 1;
            if std::panic::catch_unwind(|| check_printed(&config, &path)).is_err() {
                wrong.push(format!("{}: {change}", fixture.display()));
            }
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_good > 300, "only {n_good} were accepted");
    let seen: BTreeSet<&str> = seen.iter().filter_map(|path| path.rsplit('.').next()).collect();
    let forgotten: Vec<String> =
        keys_that_are_read().into_iter().filter(|key| !seen.contains(key.as_str())).collect();
    assert!(forgotten.is_empty(), "in no fixture of ok: {}", forgotten.join(", "));
}

/// Keys by the calls that read them.
fn keys_that_are_read() -> BTreeSet<String> {
    let readers = ["take", "text", "bool", "count", "size", "items"];
    let mut keys = BTreeSet::new();
    let mut dirs = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config")];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                // `--web.config.file` is another file, and never printed.
                dirs.extend(Some(path).filter(|path| !path.ends_with("web")));
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap();
            for reader in readers {
                for call in code.split(&format!(".{reader}(\"")).skip(1) {
                    keys.insert(call.split('"').next().unwrap().to_owned());
                }
            }
        }
    }
    assert!(keys.len() > 100, "{keys:?}");
    keys
}

/// A good configuration in which something was changed at random.
fn mutants() -> impl Strategy<Value = Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = fixtures("ok").iter().map(|path| fs::read(path).unwrap()).collect();
    seeds.push(fs::read(data("prometheus/conf.good.yml")).unwrap());
    let edit =
        (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8u8, prop::sample::select(PIECES));
    (prop::sample::select(seeds), prop::collection::vec(edit, 1..6)).prop_map(|(mut text, edits)| {
        for (at, other, kind, piece) in edits {
            if text.is_empty() {
                break;
            }
            let at = at.index(text.len());
            match kind {
                0 => drop(text.remove(at)),
                1 => text[at] ^= 1 << other.index(8),
                2 => drop(text.splice(at..at, piece.bytes())),
                3 => text.truncate(at),
                4 => text = with_swapped_lines(&text, at, other.index(text.len())),
                // A piece in place of what is there up to the end of the line.
                _ => {
                    let end =
                        at + text[at..].iter().position(|byte| *byte == b'\n').unwrap_or(text.len() - at);
                    drop(text.splice(at..end, piece.bytes()));
                }
            }
        }
        text
    })
}

const PIECES: &[&str] = &[
    "'",
    "\"",
    "{",
    "[",
    "]",
    "}",
    ": ",
    "\n- ",
    "\n",
    "\t",
    "#",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "|\n  ",
    "~",
    "null",
    "0",
    "-1",
    "1e400",
    "15s",
    "10MB",
    "true",
    "''",
    "$1",
    "(",
    "é",
    "\u{feff}",
    "\u{0}",
    "---\n",
    "static_configs:\n",
    " job_name: a\n",
    "https",
    "? ",
    "%YAML",
    "\u{85}",
    "\r",
];

/// The lines that hold these two bytes change places.
fn with_swapped_lines(text: &[u8], one: usize, other: usize) -> Vec<u8> {
    let line_of = |at: usize| text[..at].iter().filter(|byte| **byte == b'\n').count();
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    lines.swap(line_of(one), line_of(other));
    lines.join(&b'\n')
}

proptest! {
    #![proptest_config(cases::cases(1500))]

    /// No input panics; mistakes are one line each and have a place; what is accepted can be printed and read again.
    #[test]
    fn changed_configurations_are_read_or_refused(text in mutants()) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mutant.yml");
        fs::write(&path, &text).unwrap();
        match load(&path) {
            Err(errors) => {
                assert_eq!(errors.to_string().lines().count(), errors.mistakes.len());
                for mistake in &errors.mistakes {
                    assert!(mistake.line > 0 || mistake.key.is_empty(), "{mistake}");
                    assert!(!mistake.sentence.is_empty());
                }
            }
            Ok(config) => check_printed(&config, &path),
        }
    }
}
