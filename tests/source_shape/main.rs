//! The shape of the source: who may import whom, how long a file may be, what may not be in the build, where random
//! cases come from.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot be set up has to fail")]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::imports::{Sources, crates};

/// A folder with more files has another room in it.
const MAX_FILES: usize = 16;

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

/// `wal::format::page` for `wal/format/page.rs`; `wal` for `wal/mod.rs`.
fn path_of(file: &Path, src: &Path) -> String {
    let relative = file.strip_prefix(src).unwrap().with_extension("");
    let parts: Vec<String> =
        relative.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    let parts = parts.strip_suffix(&["mod".to_owned()]).unwrap_or(&parts);
    parts.join("::")
}

fn module_of(file: &Path, src: &Path) -> String {
    let relative = file.strip_prefix(src).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.strip_suffix(".rs").unwrap_or(&first).to_owned()
}

/// The code of a file outside its tests and comments.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn no_folder_is_too_full() {
    let mut n_files: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let mut files: Vec<PathBuf> = crates().into_iter().flat_map(|sources| sources.files).collect();
    rust_files(&root().join("tests"), &mut files);
    for file in files {
        if !is_test_file(&file) {
            *n_files.entry(file.parent().unwrap().to_owned()).or_default() += 1;
        }
    }
    for (dir, n_files) in n_files {
        assert!(n_files <= MAX_FILES, "{}: {n_files} files (limit: {MAX_FILES})", dir.display());
    }
}

#[test]
fn a_library_has_one_owner() {
    let owners =
        [("ureq::", "http"), ("rustls::", "http"), ("serde_yaml::", "config"), ("rayon::", "scrape")];
    for Sources { name, src, files, .. } in crates() {
        for file in files.iter().filter(|file| !is_test_file(file)) {
            let (module, code) = (module_of(file, &src), code_of(file));
            for (word, owner) in owners {
                let is_owner = name == "daemon" && module == owner;
                assert!(!code.contains(word) || is_owner, "{} knows {word}", file.display());
            }
        }
    }
}

#[test]
fn threads_are_started_in_one_place() {
    for Sources { src, files, .. } in crates() {
        for file in files.iter().filter(|file| !is_test_file(file) && module_of(file, &src) != "threads") {
            let code = code_of(file);
            for word in ["thread::Builder", "thread::spawn", "scope.spawn", "catch_unwind", "set_hook"] {
                assert!(!code.contains(word), "{}: {word} belongs to engine/threads", file.display());
            }
        }
    }
}

/// Otherwise a test's disk would not see what is done to a log.
#[test]
fn the_log_reaches_files_through_its_disk() {
    for Sources { src, files, .. } in crates() {
        for file in files.iter().filter(|file| !is_test_file(file)) {
            let path = path_of(file, &src);
            if !path.starts_with("wal") && !path.starts_with("remote::settle") {
                continue;
            }
            let code = code_of(file);
            for word in ["std::fs", "unix::fs", "rustix::fs", "File::open", "File::create"] {
                assert!(!code.contains(word), "{}: {word} belongs to engine/disk", file.display());
            }
        }
    }
}

/// The cells of the table under `heading` whose first words are `first`, row by row.
fn table_of(architecture: &str, heading: &str, first: &str) -> Vec<Vec<String>> {
    let section = architecture.split_once(heading).unwrap().1.split("\n## ").next().unwrap();
    let table = section.split_once(&format!("| {first} |")).unwrap().1.split("\n\n").next().unwrap();
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    table.lines().skip(2).map(cells).collect()
}

#[test]
fn the_list_of_threads_is_true() {
    let mut started = BTreeSet::new();
    for Sources { name, src, files, .. } in crates() {
        let prefix = if name == "engine" { "engine/" } else { "" };
        for file in files.iter().filter(|file| !is_test_file(file)) {
            let place = file.strip_prefix(&src).unwrap().display();
            for kind in code_of(file).split("ThreadKind { name: \"").skip(1) {
                let name = kind.split('"').next().unwrap();
                started.insert((name.to_owned(), format!("{prefix}{place}")));
            }
        }
    }
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = table_of(&architecture, "## Threads and channels", "thread");
    let listed: BTreeSet<(String, String)> = rows
        .iter()
        .map(|row| {
            let name = row[0].trim_matches('`').split("-<").next().unwrap();
            (name.to_owned(), row[1].trim_matches('`').to_owned())
        })
        .collect();
    assert_eq!(listed, started);
    for row in rows {
        assert!(["stops", "again", "owner"].iter().any(|word| row[2].starts_with(word)), "{row:?}");
    }
}

/// glibc's resolver loads the modules of `nsswitch.conf`, and a static binary dies of them.
#[test]
fn names_are_never_looked_up_by_the_c_library() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    for file in files.iter().filter(|file| !is_test_file(file)) {
        let code = code_of(file);
        for word in
            ["to_socket_addrs", "ToSocketAddrs", "TcpStream::connect(", "TcpListener::bind(", "lookup_host"]
        {
            assert!(!code.contains(word), "{}: {word} may look a name up", file.display());
        }
    }
    // What is called of the C library stands in the binary by its name.
    let binary = fs::read(support::program()).unwrap();
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
        concat!(" ra", "nd::"),
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
            let is_configured = ["cases::cases(", "cases::seeds("].iter().any(|known| inside.contains(known));
            if !inside.trim_start().starts_with("#![proptest_config(") || !is_configured {
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

/// Binaries of tests are listed in `Cargo.toml`; cargo runs no other.
#[test]
fn no_test_is_forgotten() {
    let is_stray = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "rs");
    let entries = fs::read_dir(root().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let stray: Vec<PathBuf> = entries.filter(is_stray).collect();
    assert!(stray.is_empty(), "they belong to a binary of Cargo.toml: {stray:?}");
}

/// The words of a file's code: no comments.
fn words(file: &Path) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    code.flat_map(|line| line.split(move |c| !is_word(c))).map(str::to_owned).collect()
}

/// The compiler does not say so of a crate's public items.
#[test]
fn what_tests_share_is_used() {
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    rust_files(&root().join("tests"), &mut files);
    let mut n_named: BTreeMap<String, usize> = BTreeMap::new();
    let mut n_defined: BTreeMap<String, usize> = BTreeMap::new();
    for file in &files {
        let words: Vec<String> = words(file).into_iter().filter(|word| !word.is_empty()).collect();
        for pair in words.windows(3).filter(|_| file.starts_with(root().join("tests/support"))) {
            let is_item = ["const", "enum", "fn", "mod", "static", "struct", "trait", "type"];
            if pair[0] == "pub" && is_item.contains(&pair[1].as_str()) {
                *n_defined.entry(pair[2].clone()).or_default() += 1;
            }
        }
        words.into_iter().for_each(|word| *n_named.entry(word).or_default() += 1);
    }
    assert!(n_defined.len() > 100, "only {} found", n_defined.len());
    let unused: Vec<&String> =
        n_defined.iter().filter(|(name, n)| n_named[*name] <= **n).map(|(name, _)| name).collect();
    assert!(unused.is_empty(), "named nowhere but where they are defined: {unused:?}");
}

/// Lines of the release profile, without the one that only makes the binary smaller.
fn release_profile(cargo_toml: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(cargo_toml)).unwrap();
    let mut is_profile = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            is_profile = line.starts_with("[profile.release");
        }
        if is_profile && !line.is_empty() && !line.starts_with('#') && !line.starts_with("strip") {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// Otherwise its instructions per sample say nothing about the daemon.
#[test]
fn the_bench_is_built_as_the_daemon_is() {
    let daemon = release_profile("Cargo.toml");
    assert!(daemon.len() > 10, "{daemon:?}");
    assert_eq!(release_profile("tests/bench/append/Cargo.toml"), daemon);
}

/// The first words of each entry of the code map: `` **`scrape/`** ``, `` **`lifecycle.rs`, `signals.rs`** ``.
fn code_map(architecture: &str) -> BTreeSet<String> {
    let entries = architecture.lines().filter_map(|line| line.strip_prefix("- **`"));
    let names = entries.filter_map(|line| line.split_once("`**")).flat_map(|(names, _)| names.split("`, `"));
    names.map(str::to_owned).collect()
}

#[test]
fn the_code_map_and_the_list_of_locks_are_true() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut modules = BTreeSet::new();
    let mut with_locks = BTreeSet::new();
    for Sources { name, src, files, .. } in crates() {
        let prefix = if name == "engine" { "engine/" } else { "" };
        for file in files {
            let relative = file.strip_prefix(&src).unwrap().display().to_string();
            let module = relative.split_once('/').map_or(relative.clone(), |(dir, _)| format!("{dir}/"));
            modules.insert(format!("{prefix}{module}"));
            let code = code_of(&file);
            let has_lock = code.contains("Mutex<") || code.contains("RwLock<");
            let is_fault = ["disk/faulty/mod.rs", "disk/recorder.rs", "threads/fault.rs"]
                .iter()
                .any(|fault| relative.ends_with(fault));
            if has_lock && !is_test_file(&file) && !is_fault {
                with_locks.insert(format!("{prefix}{relative}"));
            }
        }
    }
    modules.remove("lib.rs");
    modules.remove("engine/lib.rs");
    assert_eq!(code_map(&architecture), modules);

    let listed: BTreeSet<String> = table_of(&architecture, "## Locks", "lock")
        .into_iter()
        .filter_map(|row| Some(row[1].strip_prefix('`')?.strip_suffix('`')?.to_owned()))
        .collect();
    assert_eq!(listed, with_locks);
}
