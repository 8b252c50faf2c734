//! The command line, with Prometheus' flag names.
//!
//! Read once in `main`; what a flag says goes to its module as a typed value and nothing reads a flag after that.

mod features;
mod foreign;
mod table;

use crate::commands::query::{QueryFormat, QueryOptions};
use crate::commands::scrape::ScrapeOptions;
use crate::flags::features::Features;
use crate::flags::foreign::{FOREIGN, Foreign, Verdict};
use crate::flags::table::{FLAGS, Flag, parse_duration};
use crate::log::LogFormat;
use crate::web::site::{Cors, ExternalUrl};
use lexopt::{Arg, Parser};
use log::LevelFilter;
use scraped_engine::wal::options::WalOptions;
use std::ffi::OsString;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Flags that may be given more than once: their values are one list.
const LISTS: [&str; 3] = ["enable-feature", "local-targets.dir", "web.listen-address"];
/// Files of arguments within each other: more is a file that names itself.
const MAX_ARGUMENT_FILES: usize = 100;

/// Everything that the command line says.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields are the flags of the table below, where each has its sentence")]
pub struct Flags {
    pub config_file: PathBuf,
    pub auto_reload: bool,
    pub auto_reload_interval: Duration,
    pub wal: WalOptions,
    /// `None`: from the memory that there may be; 0: no bound.
    pub max_series: Option<u64>,
    pub flush_deadline: Duration,
    pub discovery_reload_interval: Duration,
    pub scrape_on_start: bool,
    pub adjust_timestamps: bool,
    pub timestamp_tolerance: Duration,
    pub max_workers: usize,
    pub body_budget_bytes: u64,
    pub max_body_bytes: u64,
    pub listen_addresses: Vec<String>,
    pub systemd_socket: bool,
    pub web_config_file: Option<PathBuf>,
    pub max_connections: usize,
    pub read_timeout: Duration,
    /// `--web.max-notifications-subscribers`.
    pub max_subscribers: usize,
    pub external_url: Option<ExternalUrl>,
    pub route_prefix: Option<String>,
    pub cors: Option<Cors>,
    pub enable_lifecycle: bool,
    pub features: Features,
    pub local_target_dirs: Vec<PathBuf>,
    pub log_level: LevelFilter,
    pub log_format: LogFormat,
    /// Sentences about flags that were given and change nothing.
    pub notes: Vec<String>,
    /// Flag name → text as given or by default, for the API.
    pub texts: Vec<(&'static str, String)>,
}

/// Why a command line is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagError {
    /// A sentence that names the flag and the way out.
    Mistake(String),
    /// Flags of a Prometheus server, as they were given.
    ServerOnly(Vec<String>),
}

impl fmt::Display for FlagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mistake(sentence) => f.write_str(sentence),
            // Prometheus' words (`cmd/prometheus/main.go`).
            Self::ServerOnly(flags) => {
                let flags: Vec<String> = flags.iter().map(|flag| format!("{flag:?}")).collect();
                write!(f, "The following flag(s) can not be used in agent mode: [{}]", flags.join(" "))
            }
        }
    }
}

impl std::error::Error for FlagError {}

impl From<String> for FlagError {
    fn from(sentence: String) -> Self {
        Self::Mistake(sentence)
    }
}

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Run the daemon.
    Run(Box<Flags>),
    /// `check config FILE`.
    CheckConfig {
        /// The file.
        file: PathBuf,
        /// `--syntax-only`: not the files that it names.
        is_syntax_only: bool,
    },
    /// `check web-config FILE...`.
    CheckWebConfig {
        /// The files.
        files: Vec<PathBuf>,
    },
    /// `check metrics`.
    CheckMetrics,
    /// `scrape URL|JOB`.
    Scrape(ScrapeOptions),
    /// `query SELECTOR`.
    Query(QueryOptions),
    /// `--help`: the text to print.
    Help(String),
    /// `--version`: the text to print.
    Version(String),
}

impl Default for Flags {
    /// The table's defaults.
    fn default() -> Self {
        let mut flags = Flags {
            config_file: PathBuf::new(),
            auto_reload: false,
            auto_reload_interval: Duration::ZERO,
            wal: WalOptions::at(""),
            max_series: None,
            flush_deadline: Duration::ZERO,
            discovery_reload_interval: Duration::ZERO,
            scrape_on_start: true,
            adjust_timestamps: true,
            timestamp_tolerance: Duration::ZERO,
            max_workers: 0,
            body_budget_bytes: 0,
            max_body_bytes: 0,
            listen_addresses: Vec::new(),
            systemd_socket: false,
            web_config_file: None,
            max_connections: 0,
            read_timeout: Duration::ZERO,
            max_subscribers: 0,
            external_url: None,
            route_prefix: None,
            cors: None,
            enable_lifecycle: false,
            features: Features::default(),
            local_target_dirs: Vec::new(),
            log_level: LevelFilter::Info,
            log_format: LogFormat::Logfmt,
            notes: Vec::new(),
            texts: Vec::with_capacity(FLAGS.len()),
        };
        for flag in FLAGS {
            if let Err(why) = (flag.apply)(&mut flags, flag.default) {
                panic!("BUG: default of --{}: {why}", flag.name);
            }
            flags.texts.push((flag.name, flag.default.to_owned()));
        }
        flags
    }
}

/// Reads a command line, the program's name left out.
///
/// # Errors
/// See [`FlagError`].
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, FlagError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = match args.first().and_then(|arg| arg.to_str()) {
        Some("check") => parse_check(&args[1..])?,
        Some("query") => parse_query(args[1..].to_vec())?,
        Some("scrape") => parse_scrape(args[1..].to_vec())?,
        _ => parse_run(expanded(args)?)?,
    };
    Ok(command)
}

/// `@FILE` stands for the arguments in it, one a line; lines that start with `#` are none (kingpin's
/// `ExpandArgsFromFile`).
fn expanded(args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut n_files = 0;
    let mut left: Vec<OsString> = args.into_iter().rev().collect();
    let mut expanded = Vec::new();
    while let Some(arg) = left.pop() {
        let Some(file) = arg.to_str().and_then(|arg| arg.strip_prefix('@')) else {
            expanded.push(arg);
            continue;
        };
        n_files += 1;
        if n_files > MAX_ARGUMENT_FILES {
            return Err(format!(
                "@{file}: more than {MAX_ARGUMENT_FILES} files of arguments; does one name itself?"
            ));
        }
        let text = std::fs::read_to_string(Path::new(file))
            .map_err(|err| format!("failed to open arguments file {file:?}: {err}"))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        left.extend(lines.rev().map(OsString::from));
    }
    Ok(expanded)
}

fn parse_run(args: Vec<OsString>) -> Result<Command, FlagError> {
    let mut flags = Flags::default();
    let mut given = [false; FLAGS.len()];
    let mut server_only = Vec::new();
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|err| err.to_string())? {
        let name = match arg {
            Arg::Short('h') | Arg::Long("help" | "help-long" | "help-man") => {
                return Ok(Command::Help(help()));
            }
            Arg::Long("version") => return Ok(Command::Version(version())),
            Arg::Long(name) => name.to_owned(),
            Arg::Short(short) => return Err(format!("unknown short flag '-{short}', try --help").into()),
            Arg::Value(value) => {
                let value = value.to_string_lossy();
                return Err(format!("unexpected {value}, try --help").into());
            }
        };
        if let Some((foreign, is_off)) = find_foreign(&name) {
            let text = match foreign.is_switch {
                true => parser.optional_value(),
                false => Some(value_of(&name, &mut parser)?),
            };
            let text = text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
            match foreign.verdict {
                Verdict::ServerOnly => server_only.push(format!("--{name}")),
                Verdict::NoEffect(why) => flags.notes.push(format!("--{name} has no effect: {why}")),
                Verdict::Refused(_)
                    if is_off || text == "false" || (text.is_empty() && !foreign.is_switch) => {}
                Verdict::Refused(why) => return Err(format!("--{name}: {why}").into()),
            }
            continue;
        }
        let (idx, text) = match find(&name) {
            Some((idx, flag)) if flag.value.is_empty() => {
                let text = parser.optional_value().map(|value| value.to_string_lossy().into_owned());
                (idx, text.unwrap_or_else(|| "true".to_owned()))
            }
            Some((idx, _)) => (idx, value_of(&name, &mut parser)?.to_string_lossy().into_owned()),
            None => match name.strip_prefix("no-").and_then(find) {
                Some((idx, flag)) if flag.value.is_empty() => (idx, "false".to_owned()),
                _ => return Err(format!("unknown long flag '--{name}', try --help").into()),
            },
        };
        let is_list = LISTS.contains(&name.as_str());
        let shown = &mut flags.texts[idx].1;
        *shown = match std::mem::replace(&mut given[idx], true) {
            true if is_list => format!("{shown},{text}"),
            // A second value would replace the first in silence.
            true => return Err(format!("flag '{}' cannot be repeated", FLAGS[idx].name).into()),
            false => text,
        };
    }
    if !server_only.is_empty() {
        return Err(FlagError::ServerOnly(server_only));
    }
    // Applied in the table's order, whatever order they came in.
    for (flag, (name, text)) in FLAGS.iter().zip(flags.texts.clone()) {
        (flag.apply)(&mut flags, &text).map_err(|why| format!("--{name}={text}: {why}"))?;
    }
    Ok(Command::Run(Box::new(flags)))
}

/// A flag without effect here, and whether it is in its `--no-…` form.
fn find_foreign(name: &str) -> Option<(&'static Foreign, bool)> {
    match (foreign::find(name), name.strip_prefix("no-").and_then(foreign::find)) {
        (Some(flag), _) => Some((flag, false)),
        (None, Some(flag)) if flag.is_switch => Some((flag, true)),
        _ => None,
    }
}

fn value_of(name: &str, parser: &mut Parser) -> Result<OsString, String> {
    parser.value().map_err(|_| format!("--{name} needs a value, as in --help"))
}

fn find(name: &str) -> Option<(usize, &'static Flag)> {
    FLAGS.iter().enumerate().find(|(_, flag)| flag.name == name)
}

fn parse_check(args: &[OsString]) -> Result<Command, String> {
    let (what, rest) = args.split_first().unzip();
    let rest: &[OsString] = rest.unwrap_or_default();
    // Promtool's; what is checked here is an agent's configuration in any case.
    let is_known = |arg: &&OsString| *arg == "--syntax-only" || *arg == "--agent";
    let others: Vec<&OsString> = rest.iter().filter(|arg| !is_known(arg)).collect();
    match (what.and_then(|what| what.to_str()), &others[..]) {
        (Some("config"), [file]) if !file.as_encoded_bytes().starts_with(b"--") => {
            let is_syntax_only = rest.iter().any(|arg| arg == "--syntax-only");
            Ok(Command::CheckConfig { file: PathBuf::from(file), is_syntax_only })
        }
        (Some("metrics"), []) if rest.is_empty() => Ok(Command::CheckMetrics),
        (Some("web-config"), [_, ..]) if others.len() == rest.len() => {
            Ok(Command::CheckWebConfig { files: others.iter().map(PathBuf::from).collect() })
        }
        _ => Err("usage: scraped check config [--syntax-only] FILE, scraped check web-config FILE... or scraped check \
                  metrics < PAGE"
            .to_owned()),
    }
}

fn parse_query(args: Vec<OsString>) -> Result<Command, String> {
    const USAGE: &str =
        "usage: scraped query SELECTOR [--since 1h] [--storage.agent.path DIR] [--format table|json]";
    let mut query = QueryOptions {
        selector: String::new(),
        since: None,
        path: Flags::default().wal.path,
        format: QueryFormat::Table,
    };
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|err| err.to_string())? {
        match arg {
            Arg::Value(selector) if query.selector.is_empty() => {
                query.selector = selector.to_string_lossy().into_owned();
            }
            Arg::Long(name @ ("since" | "storage.agent.path" | "format")) => {
                let name = name.to_owned();
                let value = parser.value().map_err(|_| format!("--{name} needs a value; {USAGE}"))?;
                let text = value.to_string_lossy();
                match name.as_str() {
                    "since" => {
                        let since = parse_duration(&text).map_err(|why| format!("--since={text}: {why}"))?;
                        query.since = Some(since);
                    }
                    "format" if text == "json" => query.format = QueryFormat::Json,
                    "format" if text == "table" => query.format = QueryFormat::Table,
                    "format" => return Err("--format must be table or json".to_owned()),
                    _ => query.path = PathBuf::from(value),
                }
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    if query.selector.is_empty() {
        return Err(USAGE.to_owned());
    }
    Ok(Command::Query(query))
}

fn parse_scrape(args: Vec<OsString>) -> Result<Command, String> {
    const USAGE: &str = "usage: scraped scrape URL|JOB [--job JOB] [--config.file FILE]";
    let mut options =
        ScrapeOptions { what: String::new(), job: None, config_file: Flags::default().config_file };
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|err| err.to_string())? {
        match arg {
            Arg::Value(what) if options.what.is_empty() => {
                options.what = what.to_string_lossy().into_owned();
            }
            Arg::Long(name @ ("job" | "config.file")) => {
                let name = name.to_owned();
                let value = parser.value().map_err(|_| format!("--{name} needs a value; {USAGE}"))?;
                match name.as_str() {
                    "job" => options.job = Some(value.to_string_lossy().into_owned()),
                    _ => options.config_file = PathBuf::from(value),
                }
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    if options.what.is_empty() {
        return Err(USAGE.to_owned());
    }
    Ok(Command::Scrape(options))
}

/// The text of `--version`.
pub fn version() -> String {
    format!("scraped, version {} ({})\n", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH)
}

fn help() -> String {
    let mut text = String::from(
        "usage: scraped [flags]                  run the daemon\n       \
         scraped check config [--syntax-only] FILE\n\
         \x20                                       print every mistake of a configuration and of the files that it \
         names; exit 0 or 1\n       \
         scraped check web-config FILE... print every mistake of files for --web.config.file; exit 0 or 1\n       \
         scraped check metrics < PAGE     say line, column and reason of a page's mistake; exit 0 or 1\n       \
         scraped scrape URL|JOB [--job JOB] [--config.file FILE]\n\
         \x20                                       one scrape as it would be stored, and what each phase took\n       \
         scraped query SELECTOR [--since 1h] [--storage.agent.path DIR] [--format table|json]\n\
         \x20                                       print what was collected, also while the daemon runs\n\n\
         Scrapes Prometheus targets into a write-ahead log in Prometheus' own format.\n\nflags:\n",
    );
    for flag in FLAGS {
        let form = match flag.value {
            "" => format!("--[no-]{}", flag.name),
            value => format!("--{}={value}", flag.name),
        };
        let default = if flag.default.is_empty() { "none" } else { flag.default };
        let _ = writeln!(text, "  {form}\n        {} (default {default})", flag.doc);
    }
    let names = |wanted: fn(Verdict) -> bool| {
        let found = FOREIGN.iter().filter(|flag| wanted(flag.verdict)).map(|flag| format!("--{}", flag.name));
        found.collect::<Vec<String>>().join("\n        ")
    };
    let _ = writeln!(
        text,
        "  @FILE\n        Arguments from a file, one a line.\n\nflags of Prometheus that are taken and have no effect:\n        \
         {}\nflags of Prometheus that are refused, since they must not be ignored:\n        {}\n\nother flags:",
        names(|verdict| matches!(verdict, Verdict::NoEffect(_))),
        names(|verdict| matches!(verdict, Verdict::Refused(_)))
    );
    text.push_str("  --version\n        Print the version.\n  --help, -h\n        Print this.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use scraped_engine::wal::options::Compression;

    fn flags(args: &[&str]) -> Result<Flags, String> {
        match parse(args.iter().map(OsString::from)).map_err(|err| err.to_string())? {
            Command::Run(flags) => Ok(*flags),
            other => panic!("not a run: {other:?}"),
        }
    }

    #[test]
    fn flags_of_prometheus_without_effect_are_said() {
        let flags = flags(&[
            "--web.console.templates=/etc/prometheus/consoles",
            "--web.console.libraries",
            "/etc/prometheus/console_libraries",
            "--no-auto-gomemlimit",
            "--no-web.enable-remote-write-receiver",
        ]);
        let notes = flags.unwrap().notes;
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert_eq!(
            notes[0],
            "--web.console.templates has no effect: pages here are fixed and have no assets"
        );
        assert_eq!(notes[2], "--no-auto-gomemlimit has no effect: there is no Go runtime here");
    }

    #[test]
    fn what_must_not_be_ignored_is_refused() {
        let mistake = |args: &[&str]| flags(args).unwrap_err();
        assert!(mistake(&["--web.enable-remote-write-receiver"]).contains("would be lost"));
        assert_eq!(
            mistake(&["--query.timeout=1m", "--storage.tsdb.path", "x", "--no-storage.tsdb.no-lockfile"]),
            "The following flag(s) can not be used in agent mode: [\"--query.timeout\" \"--storage.tsdb.path\" \
             \"--no-storage.tsdb.no-lockfile\"]"
        );
        assert_eq!(mistake(&["--log.level=info", "--log.level=warn"]), "flag 'log.level' cannot be repeated");
    }

    #[test]
    fn arguments_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("inner"));
        std::fs::write(&inner, "\u{feff}# a comment\n--log.level=ERROR\n--config.file\na b.yml\n").unwrap();
        std::fs::write(&outer, format!("--agent\n@{}\n", inner.display())).unwrap();
        let flags = flags(&[&format!("@{}", outer.display()), "--log.format=json"]).unwrap();
        assert_eq!(flags.config_file, PathBuf::from("a b.yml"));
        assert_eq!((flags.log_level, flags.log_format), (LevelFilter::Error, LogFormat::Json));
        std::fs::write(&inner, format!("@{}\n", inner.display())).unwrap();
        assert!(super::expanded(vec![format!("@{}", inner.display()).into()]).is_err());
        assert!(super::expanded(vec!["@/no/such/file".into()]).unwrap_err().contains("/no/such/file"));
    }

    #[test]
    fn several_addresses() {
        let given = flags(&["--web.listen-address=:1", "--web.listen-address", "[::1]:2"]).unwrap();
        assert_eq!(given.listen_addresses, [":1", "[::1]:2"]);
        assert!(given.texts.contains(&("web.listen-address", ":1,[::1]:2".to_owned())));
        assert_eq!(flags(&[]).unwrap().listen_addresses, ["127.0.0.1:9090"]);
        assert!(flags(&["--web.listen-address=a:70000"]).is_err());
        assert!(flags(&["--web.listen-address=unix:/run/scraped.sock"]).is_ok());
        assert!(flags(&["--web.listen-address=unix:scraped.sock"]).is_err());
        assert_eq!(flags(&["--web.config.file="]).unwrap().web_config_file, None);
        let file = flags(&["--web.config.file=web.yml"]).unwrap().web_config_file;
        assert_eq!(file, Some(PathBuf::from("web.yml")));
    }

    #[test]
    fn prometheus_spellings() {
        let flags = flags(&[
            "--agent",
            "--config.file=a.yml",
            "--web.listen-address",
            ":1234",
            "--no-scrape.on-start",
            "--storage.agent.wal-compression-type=zstd",
        ])
        .unwrap();
        assert_eq!(flags.config_file, PathBuf::from("a.yml"));
        assert_eq!(flags.listen_addresses, [":1234"]);
        assert!(!flags.scrape_on_start);
        assert_eq!(flags.wal.compression, Compression::Zstd);
        assert!(flags.texts.contains(&("scrape.on-start", "false".to_owned())));
    }

    #[test]
    fn features_may_be_given_one_by_one() {
        let flags = flags(&[
            "--enable-feature=extra-scrape-metrics",
            "--enable-feature",
            "metadata-wal-records,old-ui",
        ]);
        let flags = flags.unwrap();
        assert!(flags.features.extra_scrape_metrics && flags.features.metadata_wal_records);
        assert_eq!(flags.features.notes.len(), 1);
        let text = "extra-scrape-metrics,metadata-wal-records,old-ui".to_owned();
        assert!(flags.texts.contains(&("enable-feature", text)));
    }

    #[test]
    fn directories_of_local_targets_are_absolute() {
        let dirs = |args: &[&str]| flags(args).map(|flags| flags.local_target_dirs);
        assert_eq!(dirs(&[]), Ok(Vec::new()));
        let two = ["--local-targets.dir=/run/a", "--local-targets.dir", "/srv"];
        assert_eq!(dirs(&two), Ok(vec![PathBuf::from("/run/a"), PathBuf::from("/srv")]));
        let mistake = dirs(&["--local-targets.dir=run"]).unwrap_err();
        assert_eq!(mistake, "--local-targets.dir=run: \"run\" is not an absolute path of a directory");
    }

    #[test]
    fn defaults_of_the_log_are_the_engines() {
        let wal = flags(&[]).unwrap().wal;
        assert_eq!(wal, WalOptions::at(&wal.path));
    }

    #[test]
    fn compression_off_wins() {
        let flags =
            flags(&["--storage.agent.wal-compression-type=zstd", "--no-storage.agent.wal-compression"]);
        assert_eq!(flags.unwrap().wal.compression, Compression::None);
    }

    #[test]
    fn mistakes_name_the_flag() {
        let mistake = |arg| flags(&[arg]).unwrap_err();
        assert_eq!(
            mistake("--scrape.discovery-reload-interval=1s"),
            "--scrape.discovery-reload-interval=1s: must be at least 5s"
        );
        assert_eq!(mistake("--nonsense"), "unknown long flag '--nonsense', try --help");
        assert_eq!(mistake("--log.level"), "--log.level needs a value, as in --help");
        assert!(mistake("--no-agent").contains("there is no server mode"));
    }

    #[test]
    fn help_names_every_flag() {
        let text = help();
        for flag in FLAGS {
            assert!(text.contains(flag.name), "{}", flag.name);
        }
    }
}
