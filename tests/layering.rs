//! The shape of the source: who may import whom, how long a file may be, what may not be in the build, where random
//! cases come from.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → what it may import from this crate; a path like `scrape::status` allows only that part.
/// `daemon` may import everything and stands in nobody's list.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("allocator", &[]),
    ("calendar", &[]),
    ("clock", &[]),
    ("data_dir", &[]),
    ("descriptors", &[]),
    ("exec", &["descriptors"]),
    ("log", &["calendar"]),
    ("memory_limit", &[]),
    ("metrics", &[]),
    ("names", &[]),
    ("labels", &[]),
    ("float", &[]),
    ("histogram", &["float"]),
    ("exposition", &["float", "histogram"]),
    ("metadata", &["metric_type::MetricType", "exposition::recall"]),
    ("config", &["labels"]),
    ("lifecycle", &["config", "metrics"]),
    ("signals", &["lifecycle"]),
    ("flags", &["commands::query", "commands::scrape", "config::duration", "log", "wal::head", "web::site"]),
    ("http", &["calendar", "config", "descriptors", "names"]),
    ("series", &["metric_type::MetricType", "labels"]),
    ("wal", &["data_dir", "metric_type::MetricType", "histogram", "labels", "metrics", "series"]),
    ("discovery", &["config", "data_dir", "exec", "http", "labels", "metrics", "names"]),
    (
        "scrape",
        &[
            "calendar",
            "clock",
            "config",
            "discovery::TargetGroup",
            "discovery::TargetSets",
            "exec",
            "exposition",
            "histogram",
            "http",
            "labels",
            "metadata",
            "metrics",
            "series",
            "wal",
        ],
    ),
    (
        "remote",
        &[
            "clock",
            "config",
            "data_dir",
            "metric_type::MetricType",
            "histogram",
            "http",
            "labels",
            "metadata",
            "metrics",
            "series",
            "wal",
        ],
    ),
    (
        "web",
        &[
            "config",
            "descriptors",
            "discovery::complaints",
            "discovery::keeper",
            "labels",
            "lifecycle",
            "log",
            "metadata",
            "metrics",
            "names::listen",
            "remote::ledger",
            "remote::metrics",
            "scrape::report::SeriesUse",
            "scrape::status",
            "scrape::target::Discovered",
            "scrape::target_url",
        ],
    ),
    (
        "commands",
        &[
            "calendar",
            "clock",
            "config",
            "discovery::TargetGroup",
            "discovery::read_list",
            "exposition",
            "flags",
            "histogram",
            "labels",
            "metrics",
            "scrape",
            "series",
            "wal",
        ],
    ),
];

const MAX_LINES: usize = 600;

const ASYNC_CRATES: &[&str] =
    &["tokio", "async-std", "smol", "hyper", "futures-executor", "async-executor", "async-io", "mio"];

const GIVEN_CRATES: &[&str] =
    &["crossbeam-channel", "ureq", "rayon", "serde_yaml", "parking_lot", "signal-hook"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().unwrap() != "target" {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
}

/// Unit tests too long for the foot of their file.
fn is_test_file(file: &Path) -> bool {
    let stem = file.file_stem().unwrap().to_string_lossy();
    stem == "tests" || stem.ends_with("_tests")
}

fn module_of(file: &Path, src: &Path) -> String {
    let relative = file.strip_prefix(src).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.strip_suffix(".rs").unwrap_or(&first).to_owned()
}

/// Every `crate::a::b::…` of a file outside its tests and comments.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let mut imports = BTreeSet::new();
    for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
        for rest in line.split("crate::").skip(1) {
            let path: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':')).collect();
            imports.insert(path.trim_end_matches(':').to_owned());
        }
    }
    imports
}

#[test]
fn imports_point_one_way() {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    assert!(files.len() > 40, "only {} files found", files.len());
    let mut mistakes = Vec::new();
    for file in files {
        let module = module_of(&file, &src);
        if ["lib", "main", "daemon"].contains(&module.as_str()) || is_test_file(&file) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
            mistakes.push(format!("{module}: not in the table of modules"));
            continue;
        };
        for import in imports(&fs::read_to_string(&file).unwrap()) {
            let own = import == module || import.starts_with(&format!("{module}::"));
            let may = |path: &&str| import == **path || import.starts_with(&format!("{path}::"));
            if !own && !allowed.iter().any(may) {
                mistakes.push(format!("{} imports crate::{import}", file.display()));
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

#[test]
fn only_http_knows_ureq_and_only_config_knows_yaml() {
    let src = root().join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    for file in files {
        let module = module_of(&file, &src);
        let text = fs::read_to_string(&file).unwrap();
        for (word, owner) in
            [("ureq::", "http"), ("rustls::", "http"), ("serde_yaml::", "config"), ("rayon::", "scrape")]
        {
            let knows = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!knows || module == owner || is_test_file(&file), "{} knows {word}", file.display());
        }
    }
}

/// glibc's resolver loads the modules of `nsswitch.conf`, and a static binary dies of them.
#[test]
fn names_are_never_looked_up_by_the_c_library() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    for file in files.iter().filter(|file| !is_test_file(file)) {
        let text = fs::read_to_string(file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for word in
            ["to_socket_addrs", "ToSocketAddrs", "TcpStream::connect(", "TcpListener::bind(", "lookup_host"]
        {
            let is_used =
                code.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(word));
            assert!(!is_used, "{}: {word} may look a name up", file.display());
        }
    }
    // What is called of the C library stands in the binary by its name.
    let binary = fs::read(env!("CARGO_BIN_EXE_scraped")).unwrap();
    let has = |name: &[u8]| memchr::memmem::find(&binary, name).is_some();
    assert!(has(b"\0posix_fallocate"), "names of functions are not to be found in this binary");
    for name in ["getaddrinfo", "gethostbyname", "gethostbyname_r", "getnameinfo", "getservbyname"] {
        assert!(!has(format!("\0{name}\0").as_bytes()), "{name} is called");
    }
    for name in ["libnss", "nsswitch"] {
        assert!(!has(name.as_bytes()), "{name} stands in the binary");
    }
}

#[test]
fn no_file_is_too_long() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    rust_files(&root().join("tests"), &mut files);
    for file in files {
        let n_lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(n_lines <= MAX_LINES, "{}: {n_lines} lines (limit: {MAX_LINES})", file.display());
    }
}

#[test]
fn nothing_is_called_by_a_name_that_says_nothing() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    for file in files {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert!(
            !["utils", "util", "common", "helpers", "misc"].contains(&stem.as_str()),
            "{}",
            file.display()
        );
    }
}

#[test]
fn no_async_runtime_and_all_given_crates() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let has = |name: &str| lock.contains(&format!("name = \"{name}\"\n"));
    for name in ASYNC_CRATES {
        assert!(!has(name), "{name} is an async runtime or belongs to one");
    }
    for name in GIVEN_CRATES {
        assert!(has(name), "{name} is given and must do its job");
    }
}

/// `tests/support/cases.rs` alone decides on seeds, so that a normal run draws the same cases each time.
#[test]
fn every_random_case_has_a_known_seed() {
    // In pieces, since this file is looked at as well.
    let macro_start = concat!("proptest", "! {");
    let generators = [
        concat!("Proptest", "Config"),
        concat!("Test", "Runner"),
        concat!("Rng", "Seed"),
        concat!("SCRAPED_", "SEED\""),
        concat!("SCRAPED_", "LONG\""),
        concat!("ra", "nd::"),
        concat!("get", "random"),
        concat!("fast", "rand"),
    ];
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    rust_files(&root().join("tests"), &mut files);
    let (mut n_found, mut mistakes) = (0, Vec::new());
    for file in files.iter().filter(|file| !file.ends_with("tests/support/cases.rs")) {
        let text = fs::read_to_string(file).unwrap();
        for (_, inside) in
            text.match_indices(macro_start).map(|(at, _)| text.split_at(at + macro_start.len()))
        {
            n_found += 1;
            if !inside.trim_start().starts_with("#![proptest_config(") || !inside.contains("cases::cases(") {
                mistakes.push(format!("{}: a {macro_start} without cases::cases()", file.display()));
            }
        }
        for word in generators.iter().filter(|word| text.contains(**word)) {
            mistakes.push(format!("{}: {word}; ask tests/support/cases.rs", file.display()));
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
    assert!(n_found >= 15, "only {n_found} found");
}
