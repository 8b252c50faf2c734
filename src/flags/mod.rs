//! The command line, with Prometheus' flag names.
//!
//! Read once in `main`; what a flag says goes to its module as a typed value and nothing reads a flag after that.

mod features;
mod table;

use crate::commands::query::{QueryFormat, QueryOptions};
use crate::commands::scrape::ScrapeOptions;
use crate::flags::features::Features;
use crate::flags::table::{FLAGS, Flag, parse_duration};
use crate::log::LogFormat;
use crate::wal::head::{Compression, WalOptions};
use lexopt::{Arg, Parser};
use log::LevelFilter;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// The flag that may be given more than once: its values are one list.
const LIST_FLAG: &str = "enable-feature";

/// Everything the daemon is told on the command line.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "fields are the flags of the table below, where each has its sentence")]
pub struct Flags {
    pub config_file: PathBuf,
    pub wal: WalOptions,
    pub flush_deadline: Duration,
    pub discovery_reload_interval: Duration,
    pub scrape_on_start: bool,
    pub adjust_timestamps: bool,
    pub timestamp_tolerance: Duration,
    pub max_workers: usize,
    pub body_budget_bytes: u64,
    pub max_body_bytes: u64,
    pub listen_address: String,
    pub enable_lifecycle: bool,
    pub features: Features,
    pub log_level: LevelFilter,
    pub log_format: LogFormat,
    /// Flag name → text as given or by default, for the API.
    pub texts: Vec<(&'static str, String)>,
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
            wal: WalOptions {
                path: PathBuf::new(),
                segment_size_bytes: 0,
                compression: Compression::Snappy,
                retention_min_time: Duration::ZERO,
                retention_max_time: Duration::ZERO,
                retention_max_bytes: None,
                fsync_interval: Duration::ZERO,
                lock_file: true,
            },
            flush_deadline: Duration::ZERO,
            discovery_reload_interval: Duration::ZERO,
            scrape_on_start: true,
            adjust_timestamps: true,
            timestamp_tolerance: Duration::ZERO,
            max_workers: 0,
            body_budget_bytes: 0,
            max_body_bytes: 0,
            listen_address: String::new(),
            enable_lifecycle: false,
            features: Features::default(),
            log_level: LevelFilter::Info,
            log_format: LogFormat::Logfmt,
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
/// A sentence that names the flag and the way out.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let args: Vec<OsString> = args.into_iter().collect();
    match args.first().and_then(|arg| arg.to_str()) {
        Some("check") => parse_check(&args[1..]),
        Some("query") => parse_query(args[1..].to_vec()),
        Some("scrape") => parse_scrape(args[1..].to_vec()),
        _ => parse_run(args),
    }
}

fn parse_run(args: Vec<OsString>) -> Result<Command, String> {
    let mut flags = Flags::default();
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(|err| err.to_string())? {
        let name = match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(Command::Help(help())),
            Arg::Long("version") => return Ok(Command::Version(version())),
            Arg::Long(name) => name.to_owned(),
            Arg::Short(short) => return Err(format!("unknown short flag '-{short}', try --help")),
            Arg::Value(value) => {
                let value = value.to_string_lossy();
                return Err(format!("unexpected {value}, try --help"));
            }
        };
        let (idx, text) = match find(&name) {
            Some((idx, flag)) if flag.value.is_empty() => {
                let text = parser.optional_value().map(|value| value.to_string_lossy().into_owned());
                (idx, text.unwrap_or_else(|| "true".to_owned()))
            }
            Some((idx, _)) => {
                let value = parser.value().map_err(|_| format!("--{name} needs a value, as in --help"))?;
                (idx, value.to_string_lossy().into_owned())
            }
            None => match name.strip_prefix("no-").and_then(find) {
                Some((idx, flag)) if flag.value.is_empty() => (idx, "false".to_owned()),
                _ => return Err(format!("unknown long flag '--{name}', try --help")),
            },
        };
        let given = &mut flags.texts[idx].1;
        *given = match name.as_str() {
            LIST_FLAG if !given.is_empty() => format!("{given},{text}"),
            _ => text,
        };
    }
    // Applied in the table's order, whatever order they came in.
    for (flag, (name, text)) in FLAGS.iter().zip(flags.texts.clone()) {
        (flag.apply)(&mut flags, &text).map_err(|why| format!("--{name}={text}: {why}"))?;
    }
    Ok(Command::Run(Box::new(flags)))
}

fn find(name: &str) -> Option<(usize, &'static Flag)> {
    FLAGS.iter().enumerate().find(|(_, flag)| flag.name == name)
}

fn parse_check(args: &[OsString]) -> Result<Command, String> {
    match args {
        [what, file] if what == "config" => Ok(Command::CheckConfig { file: PathBuf::from(file) }),
        [what] if what == "metrics" => Ok(Command::CheckMetrics),
        _ => Err("usage: scraped check config FILE, or scraped check metrics < PAGE".to_owned()),
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
         scraped check config FILE        print every mistake of a configuration; exit 0 or 1\n       \
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
        let _ = writeln!(text, "  {form}\n        {} (default {})", flag.doc, flag.default);
    }
    text.push_str("  --version\n        Print the version.\n  --help, -h\n        Print this.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Result<Flags, String> {
        match parse(args.iter().map(OsString::from))? {
            Command::Run(flags) => Ok(*flags),
            other => panic!("not a run: {other:?}"),
        }
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
        assert_eq!(flags.listen_address, "0.0.0.0:1234");
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
