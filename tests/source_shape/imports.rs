//! Who may import whom, inside each crate; between the crates it is the compiler's to check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::{code_of, is_test_file, module_of, path_of, root, rust_files};

/// The engine: module → modules that it may import. That it knows nothing of the daemon is the compiler's.
const ENGINE_MAY_IMPORT: &[(&str, &[&str])] = &[
    ("disk", &["metrics", "metrics_table"]),
    ("data_dir", &["disk"]),
    ("float", &[]),
    ("metric_type", &[]),
    ("mutant", &[]),
    ("sorting", &[]),
    // A macro of `metrics::table`, which stands at the root of the crate as all exported macros do.
    ("metrics", &["metrics_table", "sorting"]),
    ("threads", &["metrics", "metrics_table"]),
    ("protobuf", &[]),
    ("labels", &["float"]),
    ("histogram", &["float"]),
    ("chunk", &["float", "histogram"]),
    ("exposition", &["float", "histogram", "metric_type", "protobuf"]),
    ("families", &["exposition::recall", "metric_type"]),
    ("series", &["labels", "metric_type"]),
    (
        "wal",
        &[
            "data_dir",
            "disk",
            "histogram",
            "labels",
            "metric_type",
            "metrics",
            "metrics_table",
            "mutant",
            "series",
            "sorting",
            "threads",
        ],
    ),
    (
        "store",
        &[
            "exposition",
            "families",
            "float",
            "histogram",
            "labels",
            "metric_type",
            "series",
            "threads",
            "wal",
        ],
    ),
    ("encode", &["histogram", "labels", "metric_type", "protobuf", "series", "threads", "wal"]),
    ("remote_read", &["chunk", "encode", "labels", "protobuf"]),
    ("history", &["float", "histogram", "labels", "series", "sorting", "wal"]),
];

/// The daemon: module → modules that it may import; a path like `scrape::targets` allows only that part. `daemon` may
/// import everything and stands in no list but `main`'s.
const DAEMON_MAY_IMPORT: &[(&str, &[&str])] = &[
    ("allocator", &[]),
    ("calendar", &[]),
    ("clock", &["calendar", "duration"]),
    ("descriptors", &[]),
    ("duration", &[]),
    ("exec", &["descriptors"]),
    ("log", &["calendar"]),
    ("memory_limit", &[]),
    ("names", &[]),
    ("percent", &[]),
    ("process_metrics", &[]),
    ("sd_notify", &[]),
    ("stdio", &[]),
    ("config", &["duration", "percent"]),
    ("lifecycle", &["config"]),
    ("signals", &["lifecycle"]),
    ("terminal", &[]),
    ("flags", &["clock::keeper", "duration", "log", "terminal", "web::site"]),
    ("http", &["calendar", "config", "descriptors", "names", "percent"]),
    ("discovery", &["config", "exec", "http", "names"]),
    ("scrape", &["calendar", "clock", "config", "discovery::target_group", "duration", "exec", "http"]),
    ("remote", &["calendar", "clock", "config", "duration", "http"]),
    // The log is the engine's; no one else here is asked.
    ("query", &["duration"]),
    (
        "web",
        &[
            "calendar",
            "clock::metrics",
            "config",
            "descriptors",
            "discovery::complaints",
            "discovery::keeper",
            "duration",
            // TLS and the files that it is built of, for the server as for the client.
            "http::address::path",
            "http::tls::server",
            "http::watched",
            "lifecycle",
            "log",
            "names::listen",
            "percent",
            "query",
            "remote::metrics",
            "remote::settle::ledger",
            "remote::traffic",
            "scrape::targets",
        ],
    ),
    (
        "commands",
        &[
            "calendar",
            "clock",
            "config",
            "discovery",
            "duration",
            "flags",
            "http",
            "scrape",
            "terminal",
            "web::door::terms",
        ],
    ),
];

/// Files that import each other: what belongs together and is too long for one file. None may be added without a reason
/// as good as theirs.
const CIRCLES: &[&[&str]] = &[
    // A table of flags that fills the struct of flags.
    &["daemon::flags::daemon", "daemon::flags::table"],
    // A client may have an endpoint of tokens, which is asked by a client.
    &["daemon::config::client::http_client", "daemon::config::client::oauth2"],
    // A parser and the part of its syntax that stands in brackets.
    &["engine::labels::re2", "engine::labels::re2::class"],
    // A builder keeps the scratch space of the rules that change it.
    &["engine::labels::builder", "engine::labels::relabel"],
    // Metrics write themselves on a page.
    &["engine::metrics", "engine::metrics::kind", "engine::metrics::page"],
    // The table, its storage, and what makes the storage smaller.
    &["engine::series::slots", "engine::series::table", "engine::series::table::compaction"],
    // The log and the handle that it gives to those who commit.
    &["engine::wal::appender", "engine::wal::head"],
];

/// A crate's sources: its name here, its folder, and its files.
pub(crate) struct Sources {
    pub(crate) name: &'static str,
    pub(crate) src: PathBuf,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) may_import: &'static [(&'static str, &'static [&'static str])],
}

pub(crate) fn crates() -> [Sources; 2] {
    let engine_dir = root().join("src/engine");
    let (mut all, mut engine) = (Vec::new(), Vec::new());
    rust_files(&root().join("src"), &mut all);
    all.retain(|file| {
        let is_engine = file.starts_with(&engine_dir);
        if is_engine {
            engine.push(file.clone());
        }
        !is_engine
    });
    assert!(all.len() > 100 && engine.len() > 100, "{} and {} files found", all.len(), engine.len());
    [
        Sources { name: "daemon", src: root().join("src"), files: all, may_import: DAEMON_MAY_IMPORT },
        Sources { name: "engine", src: engine_dir, files: engine, may_import: ENGINE_MAY_IMPORT },
    ]
}

/// Every `crate::a::b::…` of a file outside its tests and comments; lists in braces one by one.
pub(crate) fn imports(file: &Path) -> BTreeSet<String> {
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let mut imports = BTreeSet::new();
    for rest in code_of(file).replace("(in crate::", "(in ").split("crate::").skip(1) {
        let path: String = rest.chars().take_while(|c| is_path(*c)).collect();
        let behind = &rest[path.len()..];
        match behind.strip_prefix('{').and_then(|list| list.split_once('}')) {
            Some((list, _)) => {
                for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                    imports.insert(format!("{path}{}", name.split(' ').next().unwrap()));
                }
            }
            None => drop(imports.insert(path.trim_end_matches(':').to_owned())),
        }
    }
    imports
}

#[test]
fn imports_point_one_way() {
    let mut mistakes = Vec::new();
    for Sources { name, src, files, may_import } in crates() {
        for file in files {
            let module = module_of(&file, &src);
            if ["lib", "main", "daemon"].contains(&module.as_str()) || is_test_file(&file) {
                continue;
            }
            let Some((_, allowed)) = may_import.iter().find(|(listed, _)| *listed == module) else {
                mistakes.push(format!("{name} {module}: not in the table of modules"));
                continue;
            };
            for import in imports(&file) {
                let own = import == module || import.starts_with(&format!("{module}::"));
                let may = |path: &&str| import == **path || import.starts_with(&format!("{path}::"));
                if !own && !allowed.iter().any(may) {
                    mistakes.push(format!("{} imports crate::{import}", file.display()));
                }
            }
        }
    }
    assert!(mistakes.is_empty(), "{}", mistakes.join("\n"));
}

/// Which files each file imports, by their paths with the crate's name in front.
fn import_graph() -> BTreeMap<String, BTreeSet<String>> {
    let mut graph = BTreeMap::new();
    for Sources { name, src, files, .. } in crates() {
        let files: BTreeMap<String, PathBuf> = files
            .into_iter()
            .filter(|file| !is_test_file(file))
            .map(|file| (path_of(&file, &src), file))
            .filter(|(path, _)| path != "lib" && path != "main")
            .collect();
        for (path, file) in &files {
            let mut imported = BTreeSet::new();
            for import in imports(file) {
                // The longest part of it that is a file.
                let mut parts: Vec<&str> = import.split("::").collect();
                while !parts.is_empty() && !files.contains_key(&parts.join("::")) {
                    parts.pop();
                }
                let found = parts.join("::");
                if !found.is_empty() && found != *path {
                    imported.insert(format!("{name}::{found}"));
                }
            }
            graph.insert(format!("{name}::{path}"), imported);
        }
    }
    graph
}

/// All that can be reached from a file by its imports.
fn reachable<'a>(graph: &'a BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = graph[from].iter().map(String::as_str).collect();
    while let Some(file) = next.pop() {
        if found.insert(file) {
            next.extend(graph[file].iter().map(String::as_str));
        }
    }
    found
}

#[test]
fn only_files_that_belong_together_import_each_other() {
    let graph = import_graph();
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (file.as_str(), reachable(&graph, file))).collect();
    let mut circles = BTreeSet::new();
    for (file, from_here) in &reached {
        let circle: Vec<&str> =
            from_here.iter().copied().filter(|other| reached[other].contains(file)).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    let known: BTreeSet<Vec<&str>> = CIRCLES.iter().map(|circle| circle.to_vec()).collect();
    assert_eq!(circles, known);
    assert!(known.iter().all(|circle| circle.len() <= 3));
}
